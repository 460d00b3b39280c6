"""The nodes of the lab's datacenters: each a process of its own, with one disk or a gateway, kept
alive."""

import asyncio
from pathlib import Path

from admin.errors import AdminError
from admin.lab.child import Child
from admin.lab.setup import HOST, free_port
from admin.layout import read_run
from admin.os_node import is_node, join
from dc.ports import Clock, Disk, Randomness
from tokens.joining import GATEWAY, OS

DISKS = "os"
"""What names of nodes with disks begin with, behind the datacenter's."""
_READY_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.2


async def start_nodes(
    datacenter: Child,
    disks: int,
    gateways: int,
    clock: Clock,
    disk: Disk,
    randomness: Randomness,
) -> list[Child]:
    """So many nodes of a datacenter that runs, those of the last time first; returns when the
    datacenter sees them all."""
    children = []
    wanted = [(OS, f"{DISKS}{number}") for number in range(1, disks + 1)]
    wanted += [(GATEWAY, f"gw{number}") for number in range(1, gateways + 1)]
    for role, short in wanted:
        name = f"{datacenter.name}-{short}"
        root = datacenter.layout.root.with_name(name)
        if not is_node(root):
            await asyncio.to_thread(_join, datacenter, role, root, clock, disk, randomness)
        children.append(Child(name, root, clock))
    await asyncio.gather(*(child.start() for child in children))
    await _until_seen(datacenter, {child.name for child in children}, clock)
    return children


def _join(
    datacenter: Child, role: str, root: Path, clock: Clock, disk: Disk, randomness: Randomness
) -> None:
    wanted = {"lifetime_seconds": 600, "roles": [role]}
    token = datacenter.client.post("nodes", "token", body=wanted)["token"]
    join(
        root,
        token,
        name=root.name,
        listen=f"{HOST}:{free_port()}",
        advertise=[],
        host=root.name,
        disks=[root / "disk"] if role == OS else [],
        s3=f"{HOST}:{free_port()}" if role == GATEWAY else "",
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


def shown(child: Child) -> dict[str, str]:
    """A node, for people: where it listens, for the datacenter and for S3 clients."""
    run = read_run(child.layout)
    at = run.get("s3")
    s3 = f"http://{at['host']}:{at['port']}" if at else ""
    return {"name": child.name, "listens": str(run["listen"]), "s3": s3}
