"""Moving live bytes out of containers: read, checked, written elsewhere, and then named there.

Bodies are taken a batch at a time. Their extents are read and every block is checked by its CRC;
they are written through the lane of compaction of the tier that their bucket is in, which makes
them durable; then one transaction replaces `extents` of each that still has exactly the old ones.
A crash leaves names that are all old or all new, and garbage.

When the disks of one tier are full, or too few, bodies go on to be moved to others. The error is
raised in the end.

A body of which something cannot be read is left where it is, with all of its extents, and so are
the containers that it is in: nothing else is moved out of them, for they have to stay.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import structlog

from dc.names.inventory import Found
from dc.names.model import Extent
from dc.names.places import Move, Places
from dc.objects.api import CorruptData, MissingData, ObjectsError
from dc.objects.container import Append
from dc.objects.format import FLAG_LAST
from dc.objects.ident import body_ident, version_ident
from dc.objects.store import ContainerStore
from dc.ports import Clock

log = structlog.get_logger("objects")

BATCH_BYTES = 3 << 20
"""Written and named at a time: one group of the lane, in stripes as large as there are."""
BATCH_RECORDS = 1024
LOAD_BYTES = 512 << 10
"""Read in one visit to a disk thread: the event loop has to share its lock with that."""


class Pace:
    """Keeps work at a rate."""

    def __init__(self, clock: Clock, bytes_per_second: int) -> None:
        self._clock = clock
        self._rate = bytes_per_second
        self._free_at = clock.monotonic()

    async def spend(self, size: int) -> None:
        """Wait until so many more bytes are within the rate."""
        now = self._clock.monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        if self._free_at > now:
            await self._clock.sleep(self._free_at - now)


class _Job:
    """A body that is to be moved: `places` are those of its extents that are, `now` where their
    bytes are now."""

    def __init__(self, found: Found, places: list[int], tier: str) -> None:
        self.found = found
        self.places = places
        self.tier = tier
        self.ident = _ident(found)
        self.starts = _starts(found.extents)
        self.now: dict[int, Extent] = {}
        self.failed = False

    def record(self, number: int, data: bytes) -> Append:
        last = number + 1 == len(self.found.extents)
        flags = FLAG_LAST if last else 0
        return Append(self.ident, (data,), len(data), self.starts[number], flags)

    def move(self) -> Move:
        """The row with the bytes where they are now."""
        found = self.found
        extents = [self.now.get(number, one) for number, one in enumerate(found.extents)]
        if found.part is None:
            new = msgspec.json.encode(extents)
        else:
            new = msgspec.json.encode(msgspec.structs.replace(found.part, extents=extents))
        return Move(found.table, found.key, found.text, new.decode())


class Plan(NamedTuple):
    """What is to be moved: all out of `containers`, of which some are `past`; out of the `mixed`
    ones what is of another tier than they are. `tier` says that of a bucket."""

    containers: frozenset[int]
    past: frozenset[int]
    mixed: Mapping[int, str]
    tier: Callable[[str], str]

    def is_moved(self, container: int, tier: str) -> bool:
        return container in self.containers or self.mixed.get(container, tier) != tier

    def is_recoded(self, container: int) -> bool:
        return container in self.past or container in self.mixed


class Mover:
    """Moves bodies; `moved` is told of bytes, and of how many of these were re-coded. `left` are
    containers that were not emptied, `damaged` those of them that have bytes which cannot be read.
    """

    def __init__(
        self,
        places: Places,
        store: ContainerStore,
        pace: Pace,
        plan: Plan,
        moved: Callable[[int, int], None],
    ) -> None:
        self._plan = plan
        self.left: set[int] = set()
        self.damaged: set[int] = set()
        self._places = places
        self._store = store
        self._pace = pace
        self._moved = moved
        self._jobs: list[_Job] = []
        self._to_read: list[tuple[_Job, int]] = []
        self._to_read_bytes = 0
        self._to_write: list[tuple[_Job, int, Append]] = []
        self._to_write_bytes = 0
        self._refused: dict[str, ObjectsError] = {}
        """Tiers that cannot be written to."""

    async def move(self, bodies: Sequence[Found]) -> None:
        """Take these bodies; they are moved by now or at the latest by `finish`. Raises
        ObjectsError, NamesError: then what was not moved is where it was."""
        for found in bodies:
            tier = self._plan.tier(found.bucket)
            places = self._to_move(found, tier)
            if not places:
                continue
            job = _Job(found, places, tier)
            if tier in self._refused:
                self._is_left(job)
                continue
            self._jobs.append(job)
            for number in places:
                self._to_read.append((job, number))
                self._to_read_bytes += found.extents[number].length
                if self._to_read_bytes >= LOAD_BYTES:
                    await self._read()

    async def finish(self) -> None:
        """Move what was taken and is not moved yet."""
        await self._read()
        await self._write()
        for error in self._refused.values():
            raise error

    def _to_move(self, found: Found, tier: str) -> list[int]:
        """Which of the extents of a body are to be moved."""
        return [
            number
            for number, one in enumerate(found.extents)
            if self._plan.is_moved(one.container, tier) and one.container not in self.damaged
        ]

    async def _read(self) -> None:
        reads, self._to_read = self._to_read, []
        size, self._to_read_bytes = self._to_read_bytes, 0
        await self._pace.spend(2 * size)
        extents = [job.found.extents[number] for job, number in reads]
        for (job, number), data in zip(reads, await self._store.load(extents), strict=True):
            if isinstance(data, ObjectsError):
                self._stays(job, number, data)
            elif not job.failed:
                self._to_write.append((job, number, job.record(number, data)))
                self._to_write_bytes += len(data)
        if self._to_write_bytes >= BATCH_BYTES or len(self._to_write) >= BATCH_RECORDS:
            await self._write()

    async def _write(self) -> None:
        """Store what was read, and name what is whole now."""
        writes, self._to_write = self._to_write, []
        self._to_write_bytes = 0
        for tier in sorted({job.tier for job, *_ in writes}):
            some = [one for one in writes if one[0].tier == tier]
            try:
                extents = await self._store.store_moved([record for *_, record in some], tier)
            except ObjectsError as error:
                self._refused[tier] = error
                if len(self._refused) == len(self._store.tiers.all()):
                    raise
                for job, *_ in some:
                    self._is_left(job)
                continue
            for (job, number, _), extent in zip(some, extents, strict=True):
                job.now[number] = extent
        jobs = [job for job in self._jobs if not job.failed]
        ready = [job for job in jobs if len(job.now) == len(job.places)]
        self._jobs = [job for job in jobs if len(job.now) < len(job.places)]
        if ready:
            # What has changed meanwhile may still have the old ones: the next count tells.
            await self._places.move([job.move() for job in ready])
            sizes = [
                (one.length, self._plan.is_recoded(job.found.extents[number].container))
                for job in ready
                for number, one in job.now.items()
            ]
            recoded = sum(size for size, is_recoded in sizes if is_recoded)
            self._moved(sum(size for size, _ in sizes), recoded)

    def _is_left(self, job: _Job) -> None:
        """A body is not moved this time, and so its containers stay."""
        job.failed = True
        self.left |= {job.found.extents[place].container for place in job.places}

    def _stays(self, job: _Job, number: int, error: ObjectsError) -> None:
        """A body cannot be moved."""
        self._is_left(job)
        bad = job.found.extents[number].container
        if isinstance(error, CorruptData | MissingData):
            self.damaged.add(bad)
        log.error(
            "bytes that are needed cannot be read, and stay where they are",
            container=f"{bad:016x}",
            key=job.found.name,
            error=str(error),
        )


def _starts(extents: Sequence[Extent]) -> list[int]:
    """Where in the body each extent begins."""
    found, at = [], 0
    for one in extents:
        found.append(at)
        at += one.length
    return found


def _ident(found: Found) -> bytes:
    """What is kept beside the bytes: as when they were stored."""
    if found.part is not None:
        upload, number = found.key
        part = found.part
        return body_ident(found.bucket, found.name, "", part.stamp, str(upload), int(number))
    version = found.version
    assert version is not None
    if len(version.extents) == 1:
        return version_ident(version)
    return body_ident(found.bucket, found.name, version.vid, version.stamp)
