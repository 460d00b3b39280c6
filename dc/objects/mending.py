"""Scrub and repair of containers on several disks.

One container at a time, at a bounded rate: every fragment of it is read and checked by its CRC.
Slots that are missing or have a fragment that is not what was written are written anew, whole, from
the others: on the disk they were on, or, if that is gone, on one that has no slot of the container.
The new file takes the place of the old one when it is durable, so a crash leaves the old one or the
new one.

Containers of which a slot is missing come first, then all in turn, for ever. Those that are being
written are left alone; they are sealed sooner or later.

A stripe of which more fragments are wrong than there are to spare is lost. It is told, and its
container stays as it is: perhaps a disk comes back.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator

import structlog

from dc.objects.api import CorruptData
from dc.objects.coded_disks import CodedDisks
from dc.objects.coded_file import CodedFile
from dc.objects.format import HEADER_BYTES, decode_header, file_name
from dc.ports import Clock, File
from dc.worker import spawn

log = structlog.get_logger("objects")

BYTES_PER_SECOND = 64 << 20
"""Read and written by scrub and repair: an eighth of what a slow SSD gives."""
ROUND_SECONDS = 24 * 3600.0
"""From the beginning of a round of scrubbing to that of the next."""
_BATCH_BYTES = 4 << 20
"""In one visit to a disk thread."""
_IDLE_SECONDS = 10.0
"""After which it is looked again whether something is missing."""


class Mender:
    """`step` is the work of a `dc.worker.Worker`; `forget` is told of a container whose files were
    replaced."""

    def __init__(
        self,
        disks: CodedDisks,
        clock: Clock,
        forget: Callable[[int], None],
        bytes_per_second: int = BYTES_PER_SECOND,
    ) -> None:
        self._disks = disks
        self._clock = clock
        self._forget = forget
        self._rate = bytes_per_second
        self._cursor = 0
        """The container that was scrubbed last in this round."""
        self._next_round = clock.monotonic()
        self._tried: dict[int, tuple[frozenset[int], frozenset[int]]] = {}
        """Containers that could not be mended whole: the slots that were missing, and the disks
        that could be written then."""
        self.checked = 0
        self.mended = 0
        self.lost = 0

    def status(self) -> dict[str, int]:
        """For the status page: containers, those with all their slots, and what was done since the
        start: containers checked, slots written anew, stripes found lost."""
        containers = self._disks.containers()
        return {
            "containers": len(containers),
            "containers_whole": sum(not self._disks.missing(one) for one in containers),
            "containers_checked": self.checked,
            "slots_mended": self.mended,
            "stripes_lost": self.lost,
        }

    async def step(self) -> float:
        """Look after one container; the seconds to wait."""
        await self._disks.run(self._disks.look)
        container = self._worst() or self._next()
        if container is None:
            return _IDLE_SECONDS
        work = self._mend(container)
        try:
            while await self._some(work):
                pass
        finally:
            await self._disks.run(work.close)
        return 0.0

    async def _some(self, work: Iterator[int]) -> bool:
        """Do some of the work, at the rate that is allowed. False at its end."""
        began = self._clock.monotonic()
        job: asyncio.Task[tuple[int, bool]] = spawn(
            self._disks.run(lambda: _batch(work)), "objects mending"
        )
        try:
            size, more = await asyncio.shield(job)
        except asyncio.CancelledError:
            # It cannot be ended while a thread is at it.
            await asyncio.wait([job])
            raise
        wait_s = size / self._rate - (self._clock.monotonic() - began)
        if more and wait_s > 0:
            await self._clock.sleep(wait_s)
        return more

    def _worst(self) -> int | None:
        """A container with a missing slot that can be written somewhere."""
        for container in self._disks.sealed():
            missing = self._disks.missing(container)
            if not missing or self._tried.get(container) == (missing, self._disks.usable()):
                continue
            if any(self._disks.place_for(container, slot) is not None for slot in missing):
                return container
        return None

    def _next(self) -> int | None:
        """The next one of this round."""
        if self._clock.monotonic() < self._next_round:
            return None
        later = next((one for one in self._disks.sealed() if one > self._cursor), None)
        self._cursor = later or 0
        if later is None:
            self._next_round = self._clock.monotonic() + ROUND_SECONDS
        return later

    # -- in disk threads --------------------------------------------------------------------------

    def _mend(self, container: int) -> Generator[int]:
        """Check a container, and write anew what is wrong; yields the bytes that it took."""
        slots, spare = range(self._disks.mode.slots), self._disks.mode.m
        file, lost = self._disks.coded(container), 0
        try:
            bad = {slot for slot in slots if not _has_header(file, slot, container)}
            for stripe in file.stripes():
                wrong = {slot for slot in slots if file.fragment(stripe, slot) is None}
                bad |= wrong
                lost += len(wrong) > spare
                yield stripe.fragment * len(slots)
            self.checked += 1
            if lost:
                self.lost += lost
                log.error("stripes are lost", container=file_name(container), stripes=lost)
            elif bad:
                yield from self._rewrite(file, container, bad)
        finally:
            file.close()
        self._tried.pop(container, None)
        if missing := self._disks.missing(container):
            self._tried[container] = missing, self._disks.usable()

    def _rewrite(self, file: CodedFile, container: int, bad: set[int]) -> Iterator[int]:
        """Write slots anew, on all disks that can take them."""
        places: dict[int, int] = {}
        for slot in sorted(bad):
            number = self._disks.place_for(container, slot, frozenset(places.values()))
            if number is None:
                log.warning("no disk for a slot", container=file_name(container), slot=slot)
            else:
                places[slot] = number
        files: dict[int, File] = {}
        try:
            for slot, number in places.items():
                files[slot] = self._disks.begin_slot(container, slot, number)
            for stripe in file.stripes():
                file.rebuild(stripe, files)
                yield stripe.fragment * len(files)
            for slot, number in places.items():
                self._disks.end_slot(container, slot, number, files[slot])
                self.mended += 1
        finally:
            for one in files.values():
                one.close()
            self._forget(container)
        log.info("slots were mended", container=file_name(container), slots=sorted(places))


def _batch(work: Iterator[int]) -> tuple[int, bool]:
    """Some steps of work: the bytes they took, and whether there is more."""
    size = 0
    for count in work:
        size += count
        if size >= _BATCH_BYTES:
            return size, True
    return size, False


def _has_header(file: CodedFile, slot: int, container: int) -> bool:
    """Whether a slot is there and says that it is that slot."""
    try:
        header = decode_header(file.raw(slot, HEADER_BYTES, 0))
    except (CorruptData, OSError):
        return False
    return (header.container, header.slot) == (container, slot)
