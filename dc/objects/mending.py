"""Scrub and repair of containers on several disks.

One container at a time, at a bounded rate. To scrub it, every fragment is read and checked by its
CRC. Slots that are missing or have a fragment that is not what was written are written anew, whole,
from the others: on the disk they were on, or, if that is gone, on one that has no slot of the
container. The new file takes the place of the old one when it is durable, so a crash leaves the old
one or the new one.

What lacks a slot is not scrubbed first: as many others are read, once, as it takes to make it.

Containers of which a slot is missing come first, then all in turn, the newest first, for ever
(`dc/objects/rounds.py`).
Those that are being written are left alone; they are sealed when they lack a slot, or are full.

A stripe of which more fragments are wrong than there are to spare is lost, or, at the end of a
container, torn by a power cut before it was acknowledged. It is told. What there is of it stays,
and so does what is behind the last stripe: perhaps a disk comes back. The rest of the container is
mended. One of which too few slots can be read, or whose end cannot be told because of errors, is
left alone; but for its slots on disks that are to become empty, which go to others as they are.
Such a container may be the beginning of one, cut off by a crash: nobody else would ever move it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import NamedTuple

import structlog

from dc.objects.balance import Rest, has_room, surplus, uneven
from dc.objects.coded_disks import CodedDisks, ContainerRemoved
from dc.objects.coded_file import CodedFile
from dc.objects.format import file_name
from dc.objects.learning import form_in
from dc.objects.rounds import RoundFile, Rounds
from dc.objects.settings import ScrubSettings
from dc.ports import Clock, File
from dc.worker import spawn

log = structlog.get_logger("objects")

_BATCH_BYTES = 4 << 20
"""In one visit to a disk thread."""
_IDLE_SECONDS = 10.0
"""After which it is looked again whether something is missing;"""
_SOON_SECONDS, _SOON_FOR_SECONDS = 1.0, 120.0
"""or so soon, while one is away, for so long after it has gone: nodes come back."""


class _State(NamedTuple):
    """What a container is mended by: the slots that are missing or are to go, the disks that can be
    written, and those that failed lately or are slow, which may be better later."""

    bad: frozenset[int]
    usable: frozenset[int]
    failing: frozenset[int]


class Mender:
    """`step` is the work of a `dc.worker.Worker`; `forget` is told of a container whose files were
    replaced; `seal` ends the writing of containers; `file` says how far scrubbing is."""

    def __init__(
        self,
        disks: CodedDisks,
        clock: Clock,
        forget: Callable[[int], None],
        settings: ScrubSettings,
        seal: Callable[[Collection[int]], Awaitable[None]] | None = None,
        file: RoundFile | None = None,
    ) -> None:
        self._disks = disks
        self._clock = clock
        self._forget = forget
        self._seal = seal
        self.settings = settings
        self._rate = settings.repair_rate
        """Of what is done now, in bytes a second."""
        self._rounds = Rounds(clock, settings.every, file)
        self._next_look = clock.monotonic()
        self._away: frozenset[int] = frozenset()
        """The disks that were not there at the last look; until when it is looked soon again."""
        self._soon_until = self._next_look + _SOON_FOR_SECONDS
        self._rest = Rest(clock)
        self._scrub_now = False
        """Scrubbing and rebalancing take turns."""
        self._all_checked = False
        """Whether all of the container is to be read now, whatever is known of it."""
        self._tried: dict[int, _State] = {}
        """Containers that could not be mended whole, and how it was then."""
        self.checked = 0
        self.mended = 0
        self._lost: dict[int, tuple[int, int]] = {}
        """Of containers: how many stripes are lost, and how many such are at its end."""

    @property
    def lost(self) -> int:
        """Stripes that were found lost, and not found again."""
        return sum(lost for lost, _ in self._lost.copy().values())

    @property
    def torn(self) -> int:
        """The same at the ends of containers."""
        return sum(torn for _, torn in self._lost.copy().values())

    def status(self) -> dict[str, int]:
        """For the status page: containers, those with all their slots; since the start: containers
        checked, slots written anew, stripes found lost, and such at the end of a container."""
        containers = self._disks.slots.containers()
        return {
            "containers": len(containers),
            "containers_whole": sum(not self._disks.slots.missing(one) for one in containers),
            "containers_checked": self.checked,
            "slots_mended": self.mended,
            "stripes_lost": self.lost,
            "stripes_torn": self.torn,
        }

    def left(self) -> tuple[str, list[int]]:
        """Whether it is repairing, rebalancing, scrubbing or idle, and the containers that it has
        still to look at: those that lack slots, or have one on a disk that is too full, else the
        rest of this round."""
        sealed = self._disks.slots.sealed()
        if lacking := [one for one in sealed if self._disks.slots.missing(one)]:
            return "repairing", lacking
        disks = self._disks
        if not self._rest.found_none and (more := surplus(disks.disks, disks.tiers.all())):
            # Of which containers the slots will be is not known, but how many.
            return "rebalancing", list(islice(cycle(sealed), more))
        left = self._rounds.left(sealed)
        return ("scrubbing" if left else "idle"), left

    def round(self) -> tuple[dict[str, int | float | str], list[int]]:
        """How far the round of scrubbing is, and the containers that are left of it."""
        left = self._rounds.left(self._disks.slots.sealed())
        return self._rounds.shown(len(left)), left

    def forget_lost(self, container: int) -> None:
        """A container was removed: nothing in it is lost."""
        self._lost.pop(container, None)
        self._tried.pop(container, None)

    async def step(self) -> float:
        """Look after one container; the seconds to wait."""
        container = await self._disks.run(self._choose)
        await self._seal_lacking()
        if container is None:
            return max(0.0, self._next_look - self._clock.monotonic())
        work = self._mend(container)
        try:
            while await self._some(work):
                pass
        finally:
            await self._disks.run(work.close)
        return 0.0

    async def _seal_lacking(self) -> None:
        """What is written to, and lacks a slot for which there is a disk, is to be mended: so it is
        written to no more. Without such a disk another container would lack the slot, too."""
        disks = self._disks
        open_now = set(disks.slots.containers()) - set(disks.slots.sealed())
        lacking = {
            one
            for one in open_now
            if any(disks.place_for(one, slot) is not None for slot in self._bad(one))
        }
        if lacking and self._seal is not None:
            await self._seal(lacking)

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

    # -- in disk threads --------------------------------------------------------------------------

    def _choose(self) -> int | None:
        """The container to look after now."""
        now = self._clock.monotonic()
        if now >= self._next_look:
            for container in self._disks.look():
                self._forget(container)
            now = self._clock.monotonic()
            self._next_look = now + self._until_next_look(now)
        self._rate, self._all_checked = self.settings.repair_rate, False
        if (worst := self._worst()) is not None:
            return worst
        self._scrub_now = not self._scrub_now
        if self._scrub_now:
            return self._next() or self._uneven()
        return self._uneven() or self._next()

    def _until_next_look(self, now: float) -> float:
        away = frozenset(self._disks.disks.absent)
        if away - self._away:
            self._soon_until = now + _SOON_FOR_SECONDS
        self._away = away
        return _SOON_SECONDS if away and now < self._soon_until else _IDLE_SECONDS

    def _uneven(self) -> int | None:
        """A container of which a slot is to go to a disk that has fewer, and room for it."""
        disks = self._disks
        if self._rest.is_on(disks.disks):
            return None
        full: set[int] = set()
        while found := uneven(disks.slots, disks.disks, disks.tiers.all(), self._tried, full):
            if has_room(disks.slots, disks.disks, found):
                disks.slots.moves[found.container] = (found.slot, found.to)
                self._rest.end()
                return found.container
            full.add(found.to)
        self._rest.begin(disks.disks)
        return None

    def _worst(self) -> int | None:
        """A container with a missing slot that can be written somewhere, or one too many."""
        usable, draining = self._disks.usable(), self._disks.disks.draining
        for container in self._disks.slots.sealed():
            missing, others = self._bad(container), self._disks.slots.others(container)
            if not (missing or others) or self._tried.get(container) == self._state(container):
                continue
            if any(number in usable | draining for _, number in others):
                return container
            if any(self._disks.place_for(container, slot) is not None for slot in missing):
                return container
        return None

    def _bad(self, container: int) -> frozenset[int]:
        """The slots that are missing, or are to go to another disk."""
        return self._disks.slots.missing(container) | self._disks.slots.leaving(container)

    def _state(self, container: int) -> _State:
        disks = self._disks
        return _State(self._bad(container), disks.usable(), frozenset(disks.disks.avoided()))

    def _next(self) -> int | None:
        """The next one of this round."""
        if not self.settings.scrub_rate:
            return None
        container = self._rounds.next(self._disks.slots.sealed())
        if container is not None:
            self._rate, self._all_checked = self.settings.scrub_rate, True
        return container

    def _mend(self, container: int) -> Generator[int]:
        """Check a container, and write anew what is wrong; yields the bytes that it took."""
        file: CodedFile | None = None
        try:
            file = self._disks.coded(container)
        except FileNotFoundError:
            return  # It was removed meanwhile.
        except OSError as error:
            log.error("a container is not read", container=file_name(container), error=str(error))
        try:
            yield from self._mend_file(file, container)
        except ContainerRemoved:
            log.info("it was removed while it was mended", container=file_name(container))
            self.forget_lost(container)

    def _mend_file(self, file: CodedFile | None, container: int) -> Generator[int]:
        """`file`: None when it is not known what it is."""
        done = False
        move = self._disks.slots.moves.pop(container, None)
        try:
            if file and self._is_one(file, container) and self._can_be_read(file, container):
                done = yield from self._mend_slots(file, container, move)
            else:
                yield from self._carry(container)
        finally:
            if file is not None:
                file.close()
            self._disks.slots.moves.pop(container, None)
            self._tried.pop(container, None)
            if not done:
                self._tried[container] = self._state(container)

    def _mend_slots(
        self, file: CodedFile, container: int, move: tuple[int, int] | None
    ) -> Generator[int, None, bool]:
        """Returns whether the container is whole now."""
        bad = self._without_header(file, container) | self._bad(container)
        lost = 0
        # Only a check tells whether what was lost still is.
        if self._all_checked or not bad or container in self._lost:
            wrong, lost = yield from self._check(file, container)
            bad |= wrong
        if move is not None and not (bad or lost):
            # Where something is to be mended, that comes first, and alone: its slot could be put
            # where the moved one goes.
            self._disks.slots.moves[container] = move
            bad = {move[0]}
        if bad:
            return (yield from self._rewrite(file, container, bad)) and not lost
        if not lost:
            self._disks.remove_others(container)
        return not (lost or self._disks.slots.others(container))

    def _carry(self, container: int) -> Generator[int]:
        """Move slots of a container that cannot be decoded off disks that are to become empty.
        What cannot be read or written stays where it is, till it is tried again."""
        for slot in sorted(self._disks.slots.leaving(container)):
            left = self._disks.slots.place_of(container, slot)
            number = self._disks.place_for(container, slot)
            if left is None or number is None:
                continue
            name = file_name(container)
            try:
                yield from self._carry_slot(container, slot, left, number)
            except OSError as error:
                log.error("a slot was not moved", container=name, slot=slot, error=str(error))
            else:
                log.info("a slot was moved as it is", container=name, slot=slot)

    def _carry_slot(self, container: int, slot: int, left: int, number: int) -> Generator[int]:
        """Raises OSError, and then nothing has changed."""
        raws = self._disks.raw(container, slot)
        with self._told(number):
            copy = self._disks.begin_slot(container, slot, number, header=False)
        try:
            while True:
                with self._told(left, FileNotFoundError):
                    place, raw = next(raws, (0, b""))
                if not raw:
                    break
                with self._told(number):
                    copy.writev([raw], place)
                yield 2 * len(raw)
            with self._told(number):
                self._disks.end_slot(container, slot, number, copy)
        except BaseException:
            raws.close()
            self._disks.drop_slot(container, slot, number, copy)
            raise
        copy.close()
        self._disks.remove_other(container, slot, left)
        self._forget(container)

    def _is_one(self, file: CodedFile, container: int) -> bool:
        """Whether its slots do not say that it is something else than what is believed."""
        form, places = self._disks.form(container), self._disks.slots.places.get(container, {})
        said = {form_in(raw, container, slot) for slot, raw in file.headers()} - {None, form}
        beyond = [slot for slot in places if slot >= form.mode.slots]
        if said or beyond:
            name, forms = file_name(container), [str(one) for one in said]
            log.error("the slots of a container do not agree", container=name, also=forms)
        return not (said or beyond)

    def _can_be_read(self, file: CodedFile, container: int) -> bool:
        mode = self._disks.form(container).mode
        count = mode.slots - len(self._without_header(file, container))
        if count < mode.k:
            log.error("a container has too few slots", container=file_name(container), slots=count)
        return count >= mode.k

    def _without_header(self, file: CodedFile, container: int) -> set[int]:
        """The slots that do not say that they are those slots."""
        there = {slot for slot, raw in file.headers() if self._is_header(raw, slot, container)}
        return set(range(self._disks.form(container).mode.slots)) - there

    def _check(self, file: CodedFile, container: int) -> Generator[int, None, tuple[set[int], int]]:
        """Which slots have a wrong fragment that can be mended, and how many stripes are lost."""
        mode = self._disks.form(container).mode
        slots, bad, losses = set(range(mode.slots)), set[int](), _Losses()
        for stripe in file.stripes():
            wrong = slots - file.fragments(stripe).keys()
            gone = len(wrong) > mode.m and len(file.good(stripe)) < mode.k
            if not gone:
                bad |= wrong
            losses.add(gone)
            yield stripe.fragment * len(slots)
        self._end(file, container)
        self.checked += 1
        self._lost.pop(container, None)
        self._tell(container, losses)
        return bad, losses.all

    def _end(self, file: CodedFile, container: int) -> None:
        """All stripes of a container were looked at. OSError when that may not be all."""
        if file.unsure:
            raise OSError(f"{file_name(container)}: where it ends cannot be read")

    def _tell(self, container: int, losses: "_Losses") -> None:
        if losses.all:
            lost, torn = self._lost[container] = losses.all - losses.last, losses.last
            name = file_name(container)
            log.error("stripes are lost", container=name, stripes=lost, at_the_end=torn)

    def _is_header(self, raw: bytes, slot: int, container: int) -> bool:
        """Whether a slot says that it is that slot."""
        return form_in(raw, container, slot) == self._disks.form(container)

    def _rewrite(
        self, file: CodedFile, container: int, bad: set[int]
    ) -> Generator[int, None, bool]:
        """Write slots anew, on all disks that can take them. Returns whether that were all."""
        self._rate = self.settings.repair_rate
        places: dict[int, int] = {}
        for slot in sorted(bad):
            number = self._disks.place_for(container, slot, frozenset(places.values()))
            if number is None:
                log.warning("no disk for a slot", container=file_name(container), slot=slot)
            else:
                places[slot] = number
        files: dict[int, File] = {}
        losses = _Losses()
        before = {slot: self._disks.slots.place_of(container, slot) for slot in places}
        leaving = self._disks.slots.leaving(container)
        # What is in the place of the old one, or is to make it needless, has all that it has.
        replaced = {slot for slot in places if before[slot] == places[slot] or slot in leaving}
        try:
            for slot, number in places.items():
                with self._told(number):
                    files[slot] = self._disks.begin_slot(container, slot, number)
            for stripe in file.stripes():
                renewed = file.renewed(stripe, places, replaced)
                losses.add(renewed.lost)
                for slot, number in places.items():
                    with self._told(number):
                        files[slot].writev(renewed.made[slot], stripe.offset)
                yield stripe.fragment * (renewed.read + len(files))
            self._end(file, container)
            if container not in self._lost:  # A check has found as many, or more.
                self._tell(container, losses)
            for slot, number in places.items():
                for place, raw in file.rest(slot) if slot in replaced else ():
                    with self._told(number):
                        files[slot].writev([raw], place)
                    yield len(raw)
            for slot, number in places.items():
                with self._told(number):
                    self._disks.end_slot(container, slot, number, files[slot])
                files.pop(slot).close()
                left = before[slot]
                if slot in leaving and left is not None and left != number:
                    self._disks.remove_other(container, slot, left)
                self.mended += 1
                log.info("a slot was mended", container=file_name(container), slot=slot)
        finally:
            for slot, one in files.items():
                self._disks.drop_slot(container, slot, places[slot], one)
            self._forget(container)
        return len(places) == len(bad) and not losses.all

    @contextmanager
    def _told(self, number: int, but: type[OSError] | tuple[()] = ()) -> Iterator[None]:
        """Lets the disks know of a failure of one of them, but for what is none."""
        try:
            yield
        except but:
            raise
        except OSError as error:
            self._disks.failed(number, error)
            raise


class _Losses:
    """How many stripes are lost, and how many such are at the end."""

    def __init__(self) -> None:
        self.all = self.last = 0

    def add(self, gone: bool) -> None:
        """The next stripe."""
        self.all, self.last = self.all + gone, self.last + 1 if gone else 0


def _batch(work: Iterator[int]) -> tuple[int, bool]:
    """Some steps of work: the bytes they took, and whether there is more."""
    size = 0
    for count in work:
        size += count
        if size >= _BATCH_BYTES:
            return size, True
    return size, False
