"""Containers under power cuts: what is written to them, and what must be there afterwards.

Told by a state and what was acknowledged:

- every acknowledged body is there by its extents, byte for byte, and a scan finds its records;
- an extent never gives other bytes than were written to it, whatever was acknowledged;
- a scan finds no record with data that nobody wrote;
- the store opens, and takes and gives back a new body, without touching what is there.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from crash_kit import FixedClock, SeededRandomness, SlowDisk, noise, recorded, scratch
from crash_os import DropSync, InlineDisk
from crash_states import State
from crash_trace import Image, Trace, lay_out, read_in

from dc.names.model import Extent
from dc.objects import lane, store, writer
from dc.objects.api import CorruptData, ObjectsError
from dc.objects.format import container_of
from dc.objects.reader import FileCache, read_piece
from dc.objects.scan import Scan
from dc.objects.store import ContainerStore
from dc.ports import Disk

CONTAINER_BYTES = 6 << 10
FOLDER = "containers"
REOPEN_EACH = 64
"""The store is opened on every state with new names, and on each n-th other."""


class Stored(NamedTuple):
    """A body that was acknowledged."""

    ident: bytes
    extents: list[Extent]
    data: bytes


@contextmanager
def small_frames(frame_bytes: int = 512, sync_each_bytes: int = 4096) -> Iterator[None]:
    """Limits at which a few KiB go through everything: groups, lanes, early syncs, rolls."""
    with ExitStack() as stack:
        for owner, name, value in (
            (lane, "SYNC_EACH_BYTES", sync_each_bytes),
            (writer, "RECORD_MAX_BYTES", frame_bytes),
            (store, "BULK_LANES", 2),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


def open_store(root: Path, disk: Disk, seed: str) -> ContainerStore:
    return ContainerStore(
        root,
        disk=disk,
        clock=FixedClock(),
        randomness=SeededRandomness(seed),
        container_max_bytes=CONTAINER_BYTES,
    )


class Workload:
    """Puts, alone and together, and uploads beside them, over several containers. The seed 0 is
    the one of `make test`."""

    def __init__(self, trace: Trace, seed: int = 0, rounds: int = 3) -> None:
        self.trace = trace
        self.seed = seed
        self.rounds = rounds

    async def run(self, root: Path, disk: Disk) -> None:
        first = len(self.trace.acks)
        objects = open_store(root, disk, f"{self.seed} {first}")
        await objects.open()
        for number in range(first, first + self.rounds):
            chance = SeededRandomness(f"{self.seed} {number}")
            small = [int(chance.uniform(1, 900)) for _ in range(int(chance.uniform(2, 5)))]
            large = [int(chance.uniform(1500, 5000)) for _ in range(int(chance.uniform(1, 3)))]
            await asyncio.gather(
                *(self._put(objects, f"{number} {at}", size) for at, size in enumerate(small)),
                *(self._upload(objects, f"{number} up{at}", size) for at, size in enumerate(large)),
            )
            await self._put(objects, f"{number} alone", 600)
        await objects.close()

    async def _put(self, objects: ContainerStore, name: str, size: int) -> None:
        ident, data = f"{self.seed} {name}".encode(), noise(size, self.seed)
        extents = await objects.put(ident, data)
        self.trace.ack(Stored(ident, extents, data))

    async def _upload(self, objects: ContainerStore, name: str, size: int) -> None:
        ident, data = f"{self.seed} {name}".encode(), noise(size, self.seed)
        async with objects.writer(ident) as body:
            for start in range(0, size, 700):
                await body.write(data[start : start + 700])
            extents = await body.finish()
        self.trace.ack(Stored(ident, extents, data))


def record_containers(
    trace: Trace, seed: int = 0, rounds: int = 3, drop: DropSync = lambda path, number: False
) -> Trace:
    limits = ((512, 4096), (700, 2048), (400, 16384), (300, 1024))[seed % 4]
    with small_frames(*limits), recorded(trace, drop) as root:
        asyncio.run(Workload(trace, seed, rounds).run(root, SlowDisk()))
    return trace


class ContainerOracle:
    """See the head of the file. Files are looked at once for each content that they have."""

    def __init__(self, trace: Trace) -> None:
        self.reopened = 0
        self._bodies: dict[bytes, bytes] = {}
        self._extents: dict[int, list[tuple[Extent, bytes, bytes]]] = {}
        self.expect_all(trace)
        self._looked: dict[tuple[str, bytes], tuple[frozenset[Extent], list[str]]] = {}
        self._names: set[tuple[str, ...]] = set()
        self._states = 0

    def expect_all(self, trace: Trace) -> None:
        """Bodies that may be found, acknowledged or not."""
        for ack in trace.acks:
            if isinstance(ack.fact, Stored) and ack.fact.ident not in self._bodies:
                self._expect(ack.fact)

    def _expect(self, stored: Stored) -> None:
        at = 0
        self._bodies[stored.ident] = stored.data
        for extent in stored.extents:
            data = stored.data[at : at + extent.length]
            at += extent.length
            self._extents.setdefault(extent.container, []).append((extent, stored.ident, data))

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        good, problems = self.good(state.image)
        for fact in acked:
            if isinstance(fact, Stored) and not good.issuperset(fact.extents):
                problems.append(f"{fact.ident!r} is lost")
        names = tuple(path for path, _ in state.key)
        self._states += 1
        if names not in self._names or self._states % REOPEN_EACH == 0:
            self._names.add(names)
            self.reopened += 1
            problems += asyncio.run(self._reopen(state.image))
        return problems

    def good(self, image: Image) -> tuple[set[Extent], list[str]]:
        """The extents that are there with their bytes, and what there should not be."""
        good: set[Extent] = set()
        problems: list[str] = []
        for path, content in image.items():
            if content is not None and path.startswith(f"{FOLDER}/"):
                looked = self._looked.get((path, content))
                if looked is None:
                    looked = self._looked[path, content] = self._look(path, content)
                good |= looked[0]
                problems += looked[1]
        return good, problems

    def _look(self, path: str, content: bytes) -> tuple[frozenset[Extent], list[str]]:
        problems: list[str] = []
        found = self._scan(path, content, problems)
        good: set[Extent] = set()
        container = container_of(Path(path).name)
        assert container is not None
        with scratch() as root:
            lay_out({FOLDER: None, path: content}, root)
            files = FileCache(InlineDisk(), root / FOLDER, 8)
            for extent, ident, data in self._extents.get(container, []):
                try:
                    read = bytes(read_piece(files, extent, 0, extent.length))
                except ObjectsError:
                    continue
                if read != data:
                    problems.append(f"{ident!r}: wrong bytes at {extent}")
                elif extent in found:
                    good.add(extent)
            files.close()
        return frozenset(good), problems

    def _scan(self, path: str, content: bytes, problems: list[str]) -> set[Extent]:
        found: set[Extent] = set()
        with scratch() as root:
            lay_out({FOLDER: None, path: content}, root)
            file = InlineDisk().open(root / path)
            try:
                for record in Scan(file):
                    extent = record.extent
                    data = content[extent.offset : extent.offset + extent.length]
                    body = self._bodies.get(record.ident, b"")
                    if not record.intact:
                        continue
                    if data == body[record.position : record.position + extent.length] != b"":
                        found.add(extent)
                    else:
                        problems.append(f"{path}: a scan finds {record} that nobody wrote")
            except CorruptData:
                # The header of a container in which nothing was acknowledged.
                pass
            finally:
                file.close()
        return found

    async def _reopen(self, image: Image) -> list[str]:
        data = noise(2000, 7)
        with small_frames(), scratch() as root:
            lay_out(image, root)
            objects = open_store(root, InlineDisk(), f"again {self.reopened}")
            try:
                await objects.open()
                extents = await objects.put(b"again", data)
                read = b"".join([bytes(one) async for one in objects.read(extents, 0, 2000)])
            except (OSError, ObjectsError) as error:
                return [f"the store cannot be used again: {error}"]
            finally:
                await objects.close()
            after = read_in(root)
        if read != data:
            return ["a new body comes back with wrong bytes"]
        touched = [path for path, content in image.items() if after.get(path) != content]
        return [f"{path} was touched" for path in touched]
