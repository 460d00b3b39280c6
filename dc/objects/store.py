"""The object store of one disk: containers under `ROOT/containers`.

Small bodies go through one lane and share its appends and syncs. Large ones stream through
`BULK_LANES` lanes, so that each lies mostly in one piece. Reads need neither lane: a written record
never changes. After a restart new containers are begun when they are needed, and the old ones are
only read. `docs/containers.md` tells the whole in plain words.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dc.names.model import Extent
from dc.objects.api import SMALL_MAX_BYTES, ObjectsError
from dc.objects.coded_disks import CodedDisks, DisksState
from dc.objects.container import ContainerDisk, ContainerIds
from dc.objects.format import CONTAINER_LIMIT_BYTES, FLAG_LAST, container_of
from dc.objects.lane import GROUP_MAX_BYTES, Counters, Lane, Shared
from dc.objects.mending import BYTES_PER_SECOND, Mender
from dc.objects.reader import CACHED_MAX_BYTES, FILES_MAX, FileCache, read_cached, read_pieces
from dc.objects.writer import StreamWriter
from dc.ports import Buffer, Clock, Randomness
from dc.worker import Worker

CONTAINER_MAX_BYTES = 1 << 30
"""The size at which a container is sealed: what a repair or a compaction handles at a time."""

BULK_LANES = 4
"""Streams written side by side; more would only make the disk seek."""


class StoreStats(NamedTuple):
    """`appends` counts records and `syncs` fdatasyncs since the start."""

    containers: int
    bytes_on_disk: int
    appends: int
    syncs: int


class ContainerStore:
    """An `ObjectStore` (`dc/objects/api.py`). Call `open` before anything else."""

    def __init__(
        self,
        root: Path,
        *,
        disk: ContainerDisk,
        clock: Clock,
        randomness: Randomness,
        container_max_bytes: int = CONTAINER_MAX_BYTES,
        files_max: int = FILES_MAX,
    ) -> None:
        if not 0 < container_max_bytes <= CONTAINER_LIMIT_BYTES - 2 * GROUP_MAX_BYTES:
            raise ValueError(f"a container of {container_max_bytes} bytes: at most 4 GiB - 8 MiB")
        self._disk = disk
        self._folder = root / "containers"
        self._counters = Counters()
        shared = Shared(
            disk,
            self._folder,
            ContainerIds(clock, randomness),
            container_max_bytes,
            self._counters,
        )
        self._small = Lane("small", shared)
        self._bulk = [Lane(f"bulk {number}", shared) for number in range(BULK_LANES)]
        # A descriptor for each slot of each container.
        slots = disk.mode.slots if isinstance(disk, CodedDisks) else 1
        self._files = FileCache(disk, self._folder, max(1, files_max // slots))
        self._clock = clock
        self._mender: Mender | None = None
        if isinstance(disk, CodedDisks):
            self._mender = self.mender(BYTES_PER_SECOND)
        self._opened = False

    async def open(self) -> None:
        """Make the folder if need be, and count what is there."""
        sizes = await self._disk.run(self._list)
        self._counters.containers += len(sizes)
        self._counters.bytes_on_disk += sum(sizes)
        self._opened = True

    async def put(self, ident: bytes, data: Buffer) -> list[Extent]:
        length = len(data)
        if not length:
            return []
        if length > SMALL_MAX_BYTES:
            raise ValueError(f"a body of {length} bytes is not small: use writer()")
        self._check_open()
        future = await self._small.append(ident, (data,), length, 0, FLAG_LAST, durable=True)
        return [(await future).extent]

    def writer(self, ident: bytes) -> StreamWriter:
        self._check_open()
        return StreamWriter(ident, self._bulk)

    def read_cached(self, extents: Sequence[Extent]) -> bytes | None:
        if len(extents) != 1:
            return None if extents else b""
        if extents[0].length > CACHED_MAX_BYTES:
            return None
        return read_cached(self._files, extents[0])

    def read(self, extents: Sequence[Extent], start: int, stop: int) -> AsyncIterator[Buffer]:
        self._check_open()
        return read_pieces(self._disk, self._files, extents, start, stop)

    def stats(self) -> StoreStats:
        counters = self._counters
        return StoreStats(
            counters.containers, counters.bytes_on_disk, counters.appends, counters.syncs
        )

    def status(self) -> dict[str, Any]:
        """For the status page: the disks that containers are on, and how they are looked after."""
        if self._mender is None or not isinstance(self._disk, CodedDisks):
            return DisksState("1+0", 1, [], [])._asdict()
        return {**self._disk.state()._asdict(), **self._mender.status()}

    def mender(self, bytes_per_second: int) -> Mender:
        """What looks after containers on several disks, at some rate."""
        assert isinstance(self._disk, CodedDisks), "one disk has nothing to mend with"
        return Mender(self._disk, self._clock, self._files.forget, bytes_per_second)

    def workers(self) -> list[Worker]:
        """What looks after the containers, to be started and stopped with the datacenter."""
        if self._mender is None:
            return []
        return [Worker("object repair", self._clock, self._mender.step)]

    async def close(self) -> None:
        """Write what is queued; everything after that is refused."""
        self._opened = False
        await asyncio.gather(*(lane.close() for lane in (self._small, *self._bulk)))
        await self._disk.run(self._files.close)

    def _check_open(self) -> None:
        if not self._opened:
            raise ObjectsError("the object store is not open")

    def _list(self) -> list[int]:
        """The size of each container."""
        self._disk.make_dirs(self._folder)
        if isinstance(self._disk, CodedDisks):
            return self._disk.sizes()
        sizes = []
        for name in self._disk.list_dir(self._folder):
            if container_of(name) is None:
                continue
            try:
                file = self._disk.open(self._folder / name)
            except FileNotFoundError:
                # Another process just removed a container that it could not use.
                continue
            try:
                sizes.append(file.size())
            finally:
                file.close()
        return sizes
