"""The object store of one disk: containers under `ROOT/containers`.

Small bodies go through one lane and share its appends and syncs. Large ones stream through
`BULK_LANES` lanes, so that each lies mostly in one piece. Each tier has such lanes of its own.
Reads need no lane: a written record never changes. After a restart new containers are begun when
they are needed, and the old ones are only read. `docs/containers.md` tells the whole.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dc.names.model import Extent
from dc.objects.api import SMALL_MAX_BYTES, STANDARD, ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.container import Append, ContainerDisk, ContainerIds
from dc.objects.disk_set import DisksState
from dc.objects.format import CONTAINER_LIMIT_BYTES, FLAG_LAST, container_of, file_name
from dc.objects.lane import GROUP_MAX_BYTES, Counters, Lane, Shared
from dc.objects.mending import Mender
from dc.objects.reader import (
    CACHED_MAX_BYTES,
    FILES_MAX,
    FileCache,
    read_cached,
    read_piece,
    read_pieces,
)
from dc.objects.redundancy import Mode
from dc.objects.rounds import RoundFile
from dc.objects.settings import ScrubSettings
from dc.objects.tier_disk import TierDisk
from dc.objects.tiers import Form, Tier, Tiers
from dc.objects.usage import Usage
from dc.objects.writer import StreamWriter
from dc.placement import ELSEWHERE
from dc.ports import Buffer, Clock, Randomness
from dc.worker import Worker

CONTAINER_MAX_BYTES = 1 << 30
"""The size at which a container is sealed: what a repair or a compaction handles at a time."""

JOURNAL_MAX_BYTES = 64 << 20
"""The same of containers of the journal, which are removed whole: none of it is ever moved."""

BULK_LANES = 4
"""Streams written side by side; more would only make the disk seek."""


class StoreStats(NamedTuple):
    """`appends` counts records and `syncs` fdatasyncs since the start."""

    containers: int
    bytes_on_disk: int
    appends: int
    syncs: int


class _TierLanes:
    """What the bodies of a tier go through."""

    def __init__(self, name: str, shared: Shared) -> None:
        mark = "" if name == STANDARD else f" {name}"
        self.small = Lane(f"small{mark}", shared)
        self.bulk = [Lane(f"bulk {number}{mark}", shared) for number in range(BULK_LANES)]
        self.moved = Lane(f"compaction{mark}", shared)
        """What compaction moves: nobody else waits for it, and it waits for nobody."""

    def all(self) -> list[Lane]:
        return [self.small, *self.bulk, self.moved]


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
        scrub: ScrubSettings = ScrubSettings(),
        round_file: RoundFile | None = None,
    ) -> None:
        if not 0 < container_max_bytes <= CONTAINER_LIMIT_BYTES - 2 * GROUP_MAX_BYTES:
            raise ValueError(f"a container of {container_max_bytes} bytes: at most 4 GiB - 8 MiB")
        self._disk = disk
        self._folder = root / "containers"
        self._counters = Counters()
        self.usage = Usage(clock)
        self._ids = ContainerIds(clock, randomness)
        shared = Shared(
            disk, self._folder, self._ids, container_max_bytes, self._counters, self.usage
        )
        self.tiers = disk.tiers if isinstance(disk, CodedDisks) else Tiers(Mode(1, 0))
        self._standard = _TierLanes(STANDARD, _of_tier(shared, self.tiers.standard))
        others = [one for one in self.tiers.all() if one.name != STANDARD]
        self._tiers = {one.name: _TierLanes(one.name, _of_tier(shared, one)) for one in others}
        self._journal = Lane(
            "journal",
            replace(
                _of_tier(shared, self.tiers.standard),
                container_max_bytes=min(container_max_bytes, JOURNAL_MAX_BYTES),
            ),
        )
        self._files = FileCache(disk, self._folder, files_max)
        self._clock = clock
        self._mender: Mender | None = None
        if isinstance(disk, CodedDisks):
            self._mender = self.mender(scrub, round_file)
        self._opened = False

    async def open(self) -> None:
        """Make the folder if need be, and count what is there."""
        sizes = await self._disk.run(self._begin)
        self._counters.containers += len(sizes)
        self._counters.bytes_on_disk += sum(sizes.values())
        self._opened = True

    async def put(self, ident: bytes, data: Buffer, *, tier: str = STANDARD) -> list[Extent]:
        length = len(data)
        if not length:
            return []
        if length > SMALL_MAX_BYTES:
            raise ValueError(f"a body of {length} bytes is not small: use writer()")
        self._check_open()
        lane = self._tiers.get(tier, self._standard).small
        future = await lane.append(ident, (data,), length, 0, FLAG_LAST, durable=True)
        return [(await future).extent]

    def writer(self, ident: bytes, *, tier: str = STANDARD) -> StreamWriter:
        self._check_open()
        return StreamWriter(ident, self._tiers.get(tier, self._standard).bulk, self.usage)

    def journal_writer(self, ident: bytes) -> StreamWriter:
        """Store a segment of the names' journal: apart from bodies, in containers of its own."""
        self._check_open()
        return StreamWriter(ident, [self._journal], self.usage)

    def read_cached(self, extents: Sequence[Extent]) -> bytes | None:
        if len(extents) != 1:
            return None if extents else b""
        if extents[0].length > CACHED_MAX_BYTES:
            return None
        return read_cached(self._files, extents[0])

    def read(self, extents: Sequence[Extent], start: int, stop: int) -> AsyncIterator[Buffer]:
        self._check_open()
        return read_pieces(self._disk, self._files, self.usage, extents, start, stop)

    def stats(self) -> StoreStats:
        counters, disk = self._counters, self._disk
        # Nodes come after the start, with what they have.
        here = disk.slots.count() if isinstance(disk, CodedDisks) else 0
        containers = max(counters.containers, here)
        return StoreStats(containers, counters.bytes_on_disk, counters.appends, counters.syncs)

    def status(self) -> dict[str, Any]:
        """For the status page: the disks that containers are on, and how they are looked after."""
        if self._mender is None or not isinstance(self._disk, CodedDisks):
            return DisksState("1+0", 1, [], [], [])._asdict()
        return {**self._disk.state()._asdict(), **self._mender.status()}

    # -- for compaction ---------------------------------------------------------------------------

    @property
    def mode(self) -> Mode:
        """That of `standard`."""
        return self.tiers.standard.mode

    def form(self, container: int) -> Form:
        """What a container is: its mode, and the tier that it was begun for."""
        disk = self._disk
        return disk.form(container) if isinstance(disk, CodedDisks) else self.tiers.standard.form

    def is_known(self, container: int) -> bool:
        """Whether that could be read."""
        disk = self._disk
        return not isinstance(disk, CodedDisks) or disk.is_known(container)

    def disks_of(self, tier: Tier) -> list[str]:
        """The disks of a tier; none with one disk."""
        disk = self._disk
        return disk.disks.labels(disk.disks.of_tier(tier)) if isinstance(disk, CodedDisks) else []

    def is_past(self, container: int) -> bool:
        """Whether a container is kept as none would be that is begun now."""
        return not self.tiers.has(self.form(container))

    def raw(self, container: int, size: int) -> int:
        """What so many bytes of a container take on the disks."""
        mode = self.form(container).mode
        return size * mode.slots // mode.k

    async def sizes(self) -> dict[int, int]:
        """About how many bytes each container takes, redundancy left out: those that are written
        to by what was written, the others by their files."""
        sizes: dict[int, int] = await self._disk.run(self._list)
        return {one: size for one, size in sizes.items() if one not in self._ids.unsealed} | {
            one.open_container[0]: one.open_container[1]
            for one in self._lanes()
            if one.open_container
        }

    def unsealed(self) -> frozenset[int]:
        """The containers that are written to, or are about to be."""
        return frozenset(self._ids.unsealed)

    def missing(self) -> frozenset[int]:
        """The containers that have not all their slots."""
        disk = self._disk
        if not isinstance(disk, CodedDisks):
            return frozenset()
        return frozenset(one for one in disk.slots.containers() if disk.slots.missing(one))

    def lacking(self, containers: Iterable[int]) -> frozenset[int]:
        """Those of the containers that have not all their slots, or are nowhere."""
        disk, bad = self._disk, self.missing()
        if not isinstance(disk, CodedDisks):
            return bad
        return frozenset(
            one for one in containers if one != ELSEWHERE and (one in bad or not disk.has(one))
        )

    def repair_progress(self, sizes: Mapping[int, int]) -> dict[str, Any] | None:
        """What scrub and repair do, given about how large containers are; None with one disk."""
        if self._mender is None:
            return None
        doing, left = self._mender.left()
        size = sum(sizes.get(one, 0) for one in left)
        if doing != "rebalancing":  # Of that one slot, which is read from several disks.
            size = self._raw_of(left, sizes)
        settings, (scrub, rest) = self._mender.settings, self._mender.round()
        rate = settings.scrub_rate if doing == "scrubbing" else settings.repair_rate
        seconds = self._raw_of(rest, sizes) / max(1, settings.scrub_rate)
        return {
            "doing": doing,
            "containers_left": len(left),
            "seconds_left": round(size / max(1, rate), 1),
            "bytes_per_second": settings.repair_rate,
            "scrub": {
                **scrub,
                "seconds_left": round(seconds, 1),
                "bytes_per_second": settings.scrub_rate,
            },
        }

    def _raw_of(self, containers: Collection[int], sizes: Mapping[int, int]) -> int:
        """What containers take on the disks, given about how large they are."""
        return sum(self.raw(one, sizes.get(one, 0)) for one in containers)

    async def seal(self, containers: Collection[int]) -> None:
        """Begin others in the place of these."""
        for lane in self._lanes():
            if lane.open_container and lane.open_container[0] in containers:
                await lane.seal()

    async def seal_all(self) -> None:
        """The same of all, and of those that are being begun."""
        await asyncio.gather(*(lane.seal() for lane in self._lanes()))

    async def load(self, extents: Sequence[Extent]) -> list[bytes | ObjectsError]:
        """The data of some extents, checked, or what is wrong with them."""
        return await self._disk.run(lambda: [_load(self._files, extent) for extent in extents])

    async def store_moved(self, records: Sequence[Append], tier: str = STANDARD) -> list[Extent]:
        """Store records that are read from another container, durably. Raises ObjectsError."""
        self._check_open()
        lane = self._tiers.get(tier, self._standard).moved
        lane.writers += 1
        try:
            futures = [
                await lane.append(
                    one.ident, one.buffers, one.length, one.position, one.flags, one is records[-1]
                )
                for one in records
            ]
            written = await asyncio.gather(*futures)
        finally:
            lane.leave()
        for appended in written:
            appended.check_durable()
        return [appended.extent for appended in written]

    async def remove(self, container: int, size: int) -> None:
        """Remove a container that nobody points into, and that had this size. That it is gone need
        not be durable: what comes back after a power cut is garbage again. Raises OSError."""
        path = self._folder / file_name(container)
        await self._disk.run(lambda: self._disk.remove(path))
        self._files.forget(container)
        self.usage.forget(container)
        if self._mender is not None:
            self._mender.forget_lost(container)
        self._counters.containers -= 1
        self._counters.bytes_on_disk = max(0, self._counters.bytes_on_disk - size)

    def _lanes(self) -> list[Lane]:
        tiers = [self._standard, *self._tiers.values()]
        return [*(lane for one in tiers for lane in one.all()), self._journal]

    def mender(self, settings: ScrubSettings, file: RoundFile | None = None) -> Mender:
        """What looks after containers on several disks. Without a file it begins anew."""
        assert isinstance(self._disk, CodedDisks), "one disk has nothing to mend with"
        return Mender(self._disk, self._clock, self._files.forget, settings, self.seal, file)

    def workers(self) -> list[Worker]:
        """What looks after the containers, to be started and stopped with the datacenter."""
        if self._mender is None:
            return []
        return [Worker("object repair", self._clock, self._mender.step)]

    async def close(self) -> None:
        """Write what is queued; everything after that is refused."""
        self._opened = False
        await asyncio.gather(*(lane.close() for lane in self._lanes()))
        await self._disk.run(self._files.close)

    def _check_open(self) -> None:
        if not self._opened:
            raise ObjectsError("the object store is not open")

    def _begin(self) -> dict[int, int]:
        self._disk.make_dirs(self._folder)
        return self._list()

    def _list(self) -> dict[int, int]:
        """The size of each container."""
        if isinstance(self._disk, CodedDisks):
            return self._disk.sizes()
        sizes = {}
        for name in self._disk.list_dir(self._folder):
            if (container := container_of(name)) is None:
                continue
            try:
                file = self._disk.open(self._folder / name)
            except FileNotFoundError:
                # Another process just removed a container that it could not use.
                continue
            try:
                sizes[container] = file.size()
            finally:
                file.close()
        return sizes


def _of_tier(shared: Shared, tier: Tier) -> Shared:
    """What lanes of a tier share. With one disk there is one."""
    if not isinstance(shared.disk, CodedDisks):
        return shared
    enough = partial(shared.disk.disks.are_enough, tier)
    return replace(shared, disk=TierDisk(shared.disk, tier), elsewhere=enough)


def _load(files: FileCache, extent: Extent) -> bytes | ObjectsError:
    """In a disk thread: the data of an extent."""
    try:
        return bytes(read_piece(files, extent, 0, extent.length))
    except ObjectsError as error:
        return error
