"""The nodes of the lab's datacenters: each a process of its own, with one disk, kept alive."""

import asyncio
from pathlib import Path

from admin.errors import AdminError
from admin.lab.child import Child
from admin.lab.setup import HOST, free_port
from admin.layout import read_run
from admin.os_node import is_node, join
from dc.ports import Clock, Disk, Randomness

_READY_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.2


async def start_nodes(
    datacenter: Child, count: int, clock: Clock, disk: Disk, randomness: Randomness
) -> list[Child]:
    """So many nodes of a datacenter that runs, those of the last time first; returns when the
    datacenter sees them all."""
    children = []
    for number in range(1, count + 1):
        name = f"{datacenter.name}-os{number}"
        root = datacenter.layout.root.with_name(name)
        if not is_node(root):
            await asyncio.to_thread(_join, datacenter, name, root, clock, disk, randomness)
        children.append(Child(name, root, clock))
    await asyncio.gather(*(child.start() for child in children))
    await _until_seen(datacenter, {child.name for child in children}, clock)
    return children


def _join(
    datacenter: Child, name: str, root: Path, clock: Clock, disk: Disk, randomness: Randomness
) -> None:
    token = datacenter.client.post("nodes", "token", body={"lifetime_seconds": 600})["token"]
    join(
        root,
        token,
        name=name,
        listen=f"{HOST}:{free_port()}",
        advertise=[],
        host=name,
        disks=[root / "disk"],
        s3="",
        clock=clock,
        disk=disk,
        randomness=randomness,
    )


async def _until_seen(datacenter: Child, names: set[str], clock: Clock) -> None:
    deadline = clock.monotonic() + _READY_SECONDS_MAX
    while True:
        found = (await asyncio.to_thread(datacenter.client.get, "nodes"))["nodes"]
        away = sorted(
            one["name"] for one in found if one["name"] in names and one["state"] == "unreachable"
        )
        if not away:
            return
        if clock.monotonic() > deadline:
            raise AdminError(f"{datacenter.name} does not reach {', '.join(away)}")
        await clock.sleep(_POLL_SECONDS)


def listens(child: Child) -> str:
    """The address of a node."""
    return str(read_run(child.layout)["listen"])
