"""Disks that are drained and removed, and a node that is released, under power cuts and kills.

The real fleet, containers, mender and admin API work on real files; only how the disks of a node
are reached stands in for the network: they are folders beside those of the datacenter, so that one
trace has the writes of all machines in their order. Clients write before, between and after all
steps.

What must be so in every state, whatever machine lost how much of what it had not synced:

- the datacenter starts, and every acknowledged body is there, byte for byte, without any one disk;
- it is either all gone or still to go: what leaves is known, or is asked nothing.

On a part of the states it is gone on with: the same is asked for again. Then

- it ends; all bodies are there; each container has all its slots, each once, on disks that stay;
- what has left is asked nothing any more, by a read, a write or a repair.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from aiohttp import web
from crash_coded import in_turn
from crash_containers import CONTAINER_BYTES, Stored, small_frames
from crash_kit import FixedClock, SeededRandomness, noise, recorded, scratch
from crash_os import DropSync, InlineDisk
from crash_states import State
from crash_trace import Image, Trace, lay_out, read_in

from admin.errors import AdminError
from admin.fleet import Fleet
from admin.fleet_api import FleetApi
from admin.fleet_state import FleetState, NodeRecord, write_state
from admin.layout import Layout
from dc.config import Config, Objects
from dc.objects.api import ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import DiskPlace
from dc.objects.marks import MARK, mark_of
from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.settings import UNBOUNDED
from dc.objects.store import ContainerStore
from dc.ports import Disk, File
from tokens.identity import Identity

MODE = parse_mode("2+1")
LOCAL = ("disk0", "disk1", "disk2")
REMOTE = ("away0", "away1")
"""Folders of the node's disks."""
NODE = "os1"
IDENTITY = Identity.generate(SeededRandomness("paris").token)
GO_ON_EACH = 6
MENDS_MAX = 6
"""A slot is moved in one pass; what two disks have of it goes in the next."""


class AskedDisk(InlineDisk):
    """Counts what a folder is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def create(self, path: Path, mode: int = 0o644) -> File:
        self.asked += 1
        return super().create(path, mode)

    def open(self, path: Path) -> File:
        self.asked += 1
        return super().open(path)

    def read_bytes(self, path: Path) -> bytes:
        self.asked += 1
        return super().read_bytes(path)

    def list_dir(self, path: Path) -> list[str]:
        self.asked += 1
        return super().list_dir(path)


class FolderFleet(Fleet):
    """Its labels do not depend on where the datacenter lies, and its node's disks are folders."""

    def __init__(self, root: Path, disk: Disk, leaving: str) -> None:
        self.root = root
        self.leaving = leaving
        self.away = AskedDisk()
        """That of what is to leave."""
        config = Config(
            name="paris", region="eu", objects=Objects(redundancy=str(MODE), disks=LOCAL)
        )
        super().__init__(
            Layout(root / "paris"),
            config,
            IDENTITY,
            clock=FixedClock(),
            disk=disk,
            randomness=SeededRandomness("fleet"),
        )

    def _local(self, folder: Path) -> DiskPlace:
        return DiskPlace(folder.name, self.root / folder.name, self._asked(folder.name))

    def _asked(self, name: str) -> InlineDisk:
        return self.away if name == self.leaving else InlineDisk()

    def _of_node(self, node: NodeRecord) -> list[DiskPlace]:
        return [
            DiskPlace(node.label(number), self.root / REMOTE[number], self._asked(NODE), node.host)
            for number in range(len(node.disks))
        ]


class _Told:
    """Who asked for a release and hears how far it is."""

    async def write(self, line: bytes) -> None:
        pass


class Datacenter:
    """What of a datacenter has to do with disks, open."""

    def __init__(self, root: Path, leaving: str, seed: str) -> None:
        disk = InlineDisk()
        self.fleet = FolderFleet(root, disk, leaving)
        self.leaving = leaving
        self.disks = CodedDisks(
            disk, self.fleet.places(), IDENTITY.dc_id, MODE, clock=FixedClock(), side=in_turn
        )
        self.fleet.opened(self.disks)
        self.store = ContainerStore(
            root / "paris",
            disk=self.disks,
            clock=FixedClock(),
            randomness=SeededRandomness(seed),
            container_max_bytes=CONTAINER_BYTES,
        )
        self.fleet.seal = self.store.seal_all

    async def mend(self) -> None:
        mender = Mender(self.disks, FixedClock(), lambda _: None, UNBOUNDED, self.store.seal)
        while not await mender.step():
            pass

    async def leave(self) -> None:
        """What an operator asks for, from the beginning, whatever was done of it. AdminError."""
        if self.leaving == NODE:
            await self._release()
        elif self.leaving in {one["disk"] for one in self.fleet.shown_disks()}:
            await self.fleet.drain([self.leaving])
            await self._empty({self.leaving})
            await self.fleet.remove_disk(self.leaving)

    async def _release(self) -> None:
        if self.fleet.state.node(NODE) is None:
            return
        api = FleetApi(self.fleet, FixedClock(), "paris")
        labels = self.fleet.labels_of(NODE)
        api._check_there(labels)
        await self.fleet.drain(labels)
        await self._empty(set(labels))
        await api._wait(cast(web.StreamResponse, _Told()), set(labels))
        await self.fleet.forget_node(NODE)

    async def _empty(self, labels: set[str]) -> None:
        """As the mender does in the background."""
        for _ in range(MENDS_MAX):
            await self.mend()
            if not any(one["slots"] for one in self.fleet.shown_disks() if one["disk"] in labels):
                return
        raise AdminError(f"{labels} do not become empty")

    def left(self) -> bool:
        """Whether what was to leave has left, by what is written down."""
        state = self.fleet.state
        return state.node(NODE) is None if self.leaving == NODE else self.leaving in state.removed


@asynccontextmanager
async def opened(root: Path, leaving: str, seed: str) -> AsyncIterator[Datacenter]:
    made = Datacenter(root, leaving, seed)
    await made.store.open()
    try:
        yield made
    finally:
        await made.store.close()


def folders_of(leaving: str) -> tuple[str, ...]:
    return REMOTE if leaving == NODE else (leaving,)


async def _put(at: Datacenter, number: int) -> Stored:
    ident, data = f"body {number}".encode(), noise(700 + number, number)
    return Stored(ident, await at.store.put(ident, data), data)


def with_bodies(leaving: str) -> tuple[Image, list[Stored]]:
    """A datacenter with three disks and a node of two, and bodies on all of them."""
    image: Image = dict.fromkeys(("paris", *LOCAL, *REMOTE))
    for name in (*LOCAL, *REMOTE):
        image[f"{name}/{MARK}"] = mark_of(IDENTITY.dc_id)
    node = NodeRecord(
        name=NODE,
        node_id="0" * 16,
        endpoints=["127.0.0.1:7"],
        fingerprint="0" * 64,
        signing_key=b"k" * 32,
        host=NODE,
        disks=["/a", "/b"],
        joined="2026-01-01T00:00:00Z",
    )

    async def fill(root: Path) -> list[Stored]:
        async with opened(root, leaving, "fill") as at:
            return [await _put(at, number) for number in range(20)]

    with small_frames(), scratch() as root:
        lay_out(image, root)
        write_state(root / "paris" / "disks.json", FleetState(nodes=[node]), InlineDisk())
        stored = asyncio.run(fill(root))
        return read_in(root, ()), stored


def record_leaving(leaving: str, drop: DropSync = lambda path, number: False) -> Trace:
    """Let a disk or the node go while clients write."""
    image, stored = with_bodies(leaving)
    trace = Trace(image)
    for one in stored:
        trace.ack(one)

    async def work(root: Path) -> None:
        async with opened(root, leaving, "leave") as at:
            number = 100

            async def client() -> None:
                nonlocal number
                number += 1
                trace.ack(await _put(at, number))

            await client()
            real = at.mend

            async def mend() -> None:
                await client()
                await real()
                await client()

            at.mend = mend  # type: ignore[method-assign]
            await at.leave()
            trace.ack("left")
            await client()

    with small_frames(), recorded(trace, drop) as root:
        asyncio.run(work(root))
    return trace


class ReleaseOracle:
    """See the head of the file. `gone_on` counts the states on which it was gone on with."""

    def __init__(self, leaving: str, go_on_each: int = GO_ON_EACH) -> None:
        self.gone_on = 0
        self.half = 0
        """States in which something had been done, and not all."""
        self._leaving = leaving
        self._go_on_each = go_on_each
        self._states = 0

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        self._states += 1
        stored = [fact for fact in acked if isinstance(fact, Stored)]
        everything = (*LOCAL, *REMOTE)
        lost = everything[self._states % len(everything)]
        image = {
            path: content for path, content in state.image.items() if path.partition("/")[0] != lost
        }
        try:
            problems = [
                f"without {lost}: {one}" for one in self._look(image, stored, "left" in acked)
            ]
            if self._states % self._go_on_each == 0:
                self.gone_on += 1
                problems += self._look(state.image, stored, "left" in acked, goes_on=True)
        except Exception as error:
            problems = [f"it cannot be used: {type(error).__name__}: {error}"]
        return problems

    def _look(
        self, image: Image, stored: Sequence[Stored], left: bool, goes_on: bool = False
    ) -> list[str]:
        with small_frames(), scratch() as root:
            lay_out(image, root)
            return asyncio.run(self._in(root, stored, left, goes_on))

    async def _in(
        self, root: Path, stored: Sequence[Stored], left: bool, goes_on: bool
    ) -> list[str]:
        async with opened(root, self._leaving, f"again {self._states}") as at:
            self.half += bool(at.fleet.state.draining) and not at.left()
            if left and not at.left():
                return ["it was said to have left, and has not"]
            problems = await self._read(at, stored)
            if at.left():
                problems += await self._asked(at, stored)
            if not goes_on:
                return problems
            await at.leave()
            for _ in range(2):
                await at.mend()
            more = [*stored, await _put(at, 500)]
            problems += await self._read(at, more) + await self._asked(at, more)
            problems += self._in_order(at, more)
        # What was written down holds for the next start.
        async with opened(root, self._leaving, f"later {self._states}") as at:
            return problems + await self._read(at, more) + await self._asked(at, more)

    async def _read(self, at: Datacenter, stored: Sequence[Stored]) -> list[str]:
        problems = []
        for ident, extents, data in stored:
            try:
                read = [bytes(one) async for one in at.store.read(extents, 0, len(data))]
                if b"".join(read) != data:
                    problems.append(f"{ident!r}: wrong bytes")
            except ObjectsError as error:
                problems.append(f"{ident!r} is lost: {error}")
        return problems

    async def _asked(self, at: Datacenter, stored: Sequence[Stored]) -> list[str]:
        """What has left, when all is done that a datacenter does with disks."""
        before = at.fleet.away.asked
        await at.mend()
        await _put(at, 900)
        problems = await self._read(at, stored)
        at.disks.look()
        if at.fleet.away.asked > before or any(
            one["disk"].startswith(f"{self._leaving}") for one in at.fleet.shown_disks()
        ):
            problems.append("what has left is asked")
        return problems

    def _in_order(self, at: Datacenter, stored: Sequence[Stored]) -> list[str]:
        """What is written down of what has left, and what is on the disks that stay. Containers in
        which nobody was told of anything may be as they are: they are garbage."""
        state, problems = at.fleet.state, []
        if not at.left() or state.draining or (self._leaving == NODE and state.removed):
            problems.append(f"it has not left: {state}")
        for container in {extent.container for one in stored for extent in one.extents}:
            whole = not at.disks.slots.missing(container) and not at.disks.slots.others(container)
            if container in at.disks.slots.sealed() and not whole:
                problems.append(f"{container:016x} is not whole, or has too much")
            slots = f"{container:016x}-*.fss"
            found = [one for name in (*LOCAL, *REMOTE) for one in self._find(at, name, slots)]
            if len(found) != MODE.slots:
                problems.append(f"{container:016x} takes {len(found)} slots")
        for name in {*LOCAL, *REMOTE} - set(folders_of(self._leaving)):
            problems += [f"{one} is left behind" for one in self._find(at, name, ".*")]
        return problems

    def _find(self, at: Datacenter, name: str, pattern: str) -> list[Path]:
        return list((at.fleet.root / name / "containers").glob(pattern))
