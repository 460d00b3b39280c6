"""Running the lab: start all, pair all with all, see that the demo user's key works everywhere,
say how to use it, and keep it running until a signal.

The ready file is written when that point is reached, and again when a datacenter had to be started
anew, since it holds the process ids.
"""

import asyncio
import shlex
import signal
import sys
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from admin.errors import AdminError, UsageError
from admin.lab.child import Child
from admin.lab.demo import DemoUser, aws_command, ensure_user, free_bucket, list_buckets
from admin.lab.nodes import DISKS, shown, start_nodes
from admin.lab.setup import LabFile, choose_names, ensure_datacenters, load_lab, save_lab
from admin.lab.tour import Place, Tour
from admin.layout import PRIVATE, PRIVATE_FOLDER, Lock, shown_json
from admin.output import print_fields, print_table
from dc.config import Config
from dc.objects.redundancy import parse_mode
from dc.system import SystemClock, SystemDisk, SystemRandomness
from dc.worker import TaskGroup

SPREAD_SECONDS_MAX = 60.0
SPREAD_POLL_SECONDS = 0.1


class Wish(NamedTuple):
    """What is asked of a lab; None and "" are as the last time."""

    names: list[str]
    dcs: int | None
    nodes: int | None
    redundancy: str
    gateways: int | None
    demo: bool = False
    """Show what the nodes are for, and end."""


def run(folder: Path, wish: Wish, ready_file: Path | None) -> None:
    """Until SIGTERM or Ctrl-C; AdminError when it cannot start."""
    asyncio.run(_Lab(folder.resolve(), ready_file).run(wish))


class _Lab:
    def __init__(self, folder: Path, ready_file: Path | None) -> None:
        self._folder = folder
        self._ready_file = ready_file
        self._clock = SystemClock()
        self._disk = SystemDisk()
        self._children: dict[str, Child] = {}
        self._nodes: list[Child] = []
        self._configs: dict[str, Config] = {}
        self._user: DemoUser | None = None
        self._bucket = ""

    async def run(self, wish: Wish) -> None:
        self._disk.make_dirs(self._folder, PRIVATE_FOLDER)
        lock = Lock(self._folder / "lab.lock", f"a lab in {self._folder}")
        lock.acquire()
        ended = asyncio.Event()
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _end, ended, task)
        try:
            if self._ready_file is not None:
                self._ready_file.unlink(missing_ok=True)
            await self._start(wish)
            async with TaskGroup() as group:
                children = [*self._children.values(), *self._nodes]
                works = [child.keep(_say, self._write_ready) for child in children]
                kept = [group.create_task(work) for work in works]
                if wish.demo:
                    await self._tour()
                    for task in kept:
                        task.cancel()
        except asyncio.CancelledError:
            if not ended.is_set():
                raise
        finally:
            await self._stop()
            lock.release()

    async def _start(self, wish: Wish) -> None:
        lab, randomness = load_lab(self._folder), SystemRandomness()
        chosen = choose_names(wish.names, wish.dcs, lab.names)
        lab.nodes = lab.nodes if wish.nodes is None else wish.nodes
        lab.gateways = lab.gateways if wish.gateways is None else wish.gateways
        lab.redundancy = wish.redundancy or lab.redundancy
        _check_nodes(lab)
        if wish.demo and not lab.nodes:
            raise UsageError("the demo shows nodes: --nodes 6 --redundancy 4+2")
        lab.names = chosen + [name for name in lab.names if name not in chosen]
        self._configs = ensure_datacenters(
            self._folder, chosen, lab.redundancy, self._clock, self._disk, randomness
        )
        save_lab(self._folder, lab, self._disk)
        for name in chosen:
            self._children[name] = Child(name, self._folder / name, self._clock)
        await asyncio.gather(*(child.start() for child in self._children.values()))
        for child in self._children.values() if lab.nodes or lab.gateways else ():
            self._nodes += await start_nodes(
                child, lab.nodes, lab.gateways, self._clock, self._disk, randomness
            )
        for issuer, joiner in combinations(self._children.values(), 2):
            await asyncio.to_thread(_pair, issuer, joiner)
        first = next(iter(self._children.values()))
        lab.user = self._user = await asyncio.to_thread(ensure_user, first.client, lab.user)
        save_lab(self._folder, lab, self._disk)
        taken = [await self._until_known(child) for child in self._children.values()]
        await self._write_ready()
        self._bucket = free_bucket([name for names in taken for name in names])
        if not wish.demo:
            self._show(self._bucket)

    async def _tour(self) -> None:
        assert self._user is not None
        places = [
            Place(name, child.address("s3"), self._configs[name].region)
            for name, child in self._children.items()
        ]
        first = self._children[places[0].name]
        nodes = [one for one in self._nodes if one.name.startswith(f"{first.name}-{DISKS}")]
        mode = parse_mode(load_lab(self._folder).redundancy)
        print(f"{first.name} has {len(nodes)} nodes of one disk each; redundancy {mode}.")
        tour = Tour(
            places[0],
            places[1:],
            first,
            nodes,
            mode,
            self._user,
            self._bucket,
            self._clock,
            SystemRandomness(),
        )
        await tour.run()

    async def _until_known(self, child: Child) -> list[str]:
        """The demo user's buckets at a datacenter, once its key works there."""
        assert self._user is not None
        region = self._configs[child.name].region
        deadline = self._clock.monotonic() + SPREAD_SECONDS_MAX
        while True:
            buckets = await asyncio.to_thread(
                list_buckets, child.address("s3"), region, self._user, self._clock.wall_ms()
            )
            if buckets is not None:
                return buckets
            if self._clock.monotonic() > deadline:
                raise AdminError(
                    f"the demo user's key does not work at {child.name} after"
                    f" {SPREAD_SECONDS_MAX:.0f} s: `farshore -C {child.layout.root} replication"
                    " status` may say why"
                )
            await self._clock.sleep(SPREAD_POLL_SECONDS)

    async def _write_ready(self) -> None:
        if self._ready_file is None or self._user is None:
            return
        facts = {"datacenters": self._rows(), "user": self._user}
        encoded = shown_json(facts)
        self._disk.write_atomic(self._ready_file.absolute(), encoded, PRIVATE)

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "region": self._configs[name].region,
                "dir": str(child.layout.root),
                "s3": f"http://{child.address('s3')}",
                "admin": f"http://{child.address('admin')}",
                "pid": child.pid,
            }
            for name, child in self._children.items()
        ]

    def _show(self, bucket: str) -> None:
        assert self._user is not None
        rows = self._rows()
        columns = {"name": "DATACENTER", "s3": "S3 ENDPOINT", "admin": "ADMIN ENDPOINT"}
        print_table(rows, columns)
        print()
        print_fields(
            {
                "demo user": self._user.email,
                "access key": self._user.access_key,
                "secret key": self._user.secret_key,
            }
        )
        if self._nodes:
            print()
            columns = {"name": "NODE", "listens": "LISTENS", "s3": "S3 ENDPOINT"}
            print_table([shown(one) for one in self._nodes], columns)
        put, get = rows[0], rows[-1]
        aws = aws_command()
        source, target = (
            f"{aws} --endpoint-url {row['s3']} --region {row['region']}" for row in (put, get)
        )
        print(f"\nTo try it: put to {put['name']}, get from {get['name']}, in another terminal:\n")
        print(f"export AWS_ACCESS_KEY_ID={shlex.quote(self._user.access_key)}", end=" ")
        print(f"AWS_SECRET_ACCESS_KEY={shlex.quote(self._user.secret_key)}", end=" ")
        print(f"AWS_DEFAULT_REGION={put['region']}")
        print(f"{source} s3 mb s3://{bucket}")
        print(f"echo 'from {put['name']}' | {source} s3 cp - s3://{bucket}/greeting.txt")
        print(f"{target} s3 cp s3://{bucket}/greeting.txt -")
        print(f"\nData and logs are in {self._folder}. Ctrl-C ends the lab.", flush=True)

    async def _stop(self) -> None:
        # Nodes last: what a datacenter has begun is to become durable on their disks.
        for children in (list(self._children.values()), self._nodes):
            for child in children:
                child.end()
            await asyncio.gather(*(child.ended() for child in children))


def _check_nodes(lab: LabFile) -> None:
    """UsageError when the redundancy takes more nodes, or none."""
    try:
        mode = parse_mode(lab.redundancy)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if lab.nodes and lab.nodes < mode.slots:
        raise UsageError(f"{mode} takes at least {mode.slots} nodes: --nodes {mode.slots}")
    if bool(lab.nodes) != bool(mode.m):
        raise UsageError("nodes go with a redundancy: --nodes 6 --redundancy 4+2")


def _pair(issuer: Child, joiner: Child) -> None:
    """Pair two datacenters, unless each has the other, by its id, as a peer already. Half a
    pairing, or one with a datacenter whose folder was removed since, is taken back first."""
    ends = ((issuer, joiner), (joiner, issuer))
    ids = {child: child.client.get("status")["dc_id"] for child in (issuer, joiner)}
    known = {child: _peers(child) for child in (issuer, joiner)}
    if all(known[one].get(other.name) == ids[other] for one, other in ends):
        return
    for one, other in ends:
        if other.name in known[one]:
            one.client.delete("datacenters", other.name)
    token = issuer.client.post("tokens", body={"lifetime_seconds": 600})["token"]
    joiner.client.post("datacenters", body={"token": token})


def _peers(child: Child) -> dict[str, str]:
    found = child.client.get("datacenters")["datacenters"]
    return {peer["name"]: peer["dc_id"] for peer in found}


def _end(ended: asyncio.Event, task: asyncio.Task[None]) -> None:
    if not ended.is_set():
        ended.set()
        task.cancel()


def _say(text: str) -> None:
    print(f"farshore lab: {text}", file=sys.stderr, flush=True)
