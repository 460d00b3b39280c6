"""The disks of a datacenter: which there are, which can be written, and in which order."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import structlog

from dc.objects.disk_place import DiskPlace
from dc.objects.pace import PacedFile, Paces
from dc.objects.tiers import Tier
from dc.ports import Clock, File

log = structlog.get_logger("objects")

BAD_SECONDS = 60.0
"""How long a disk that failed, or is slow to sync, is not written to, as long as there are enough
others;"""
SLOW_SECONDS_MAX = 1920.0
"""twice as long each time that it is slow soon again, up to this."""


class DisksState(NamedTuple):
    """For the status page: the mode, how many disks there are, and the folders of those that were
    missing at the start, that are left out since they failed, and that are to become empty."""

    redundancy: str
    disks: int
    disks_missing: list[str]
    disks_failing: list[str]
    disks_draining: list[str]


class _Slow(NamedTuple):
    """Until when a disk is left out, and for how long it is."""

    until: float
    seconds: float


class DiskSet:
    """Disks by number. One that was removed keeps its number. Whoever changes `used` or `absent`
    holds the lock of `CodedDisks`."""

    def __init__(self, places: Sequence[DiskPlace], clock: Clock) -> None:
        self._clock = clock
        self.places = list(places)
        self.used = [0] * len(places)
        """Slots on each disk."""
        self.absent: set[int] = set()
        """Disks that are not there."""
        self.draining: set[int] = set()
        """Disks that are to become empty: nothing new goes there."""
        self.paces = Paces(clock)
        self._removed: set[int] = set()
        self._bad_until: dict[int, float] = {}
        self._slow: dict[int, _Slow] = {}

    def add(self, place: DiskPlace) -> int:
        """A further disk, absent until it is looked at; its number."""
        self.used.append(0)
        number = len(self.places)
        self.absent.add(number)
        self.places.append(place)
        return number

    def remove(self, number: int) -> None:
        self._removed.add(number)
        self.draining.discard(number)
        self.absent.discard(number)
        self.good_again(number)
        self._slow.pop(number, None)
        self.paces.forget(number)

    def is_removed(self, number: int) -> bool:
        return number in self._removed

    def paced(self, file: File, tier: str, number: int) -> File:
        """The same file of a disk, which is not waited for when the disk is slow."""
        if self.is_removed(number):
            return file
        return PacedFile(file, self.paces.of(tier, number, self.places[number].label))

    def numbers(self) -> list[int]:
        """All that were not removed."""
        return [one for one in range(len(self.places)) if one not in self._removed]

    def number_of(self, label: str) -> int | None:
        return next((one for one in self.numbers() if self.places[one].label == label), None)

    def labels(self, numbers: Iterable[int]) -> list[str]:
        return [self.places[number].label for number in sorted(numbers)]

    def state(self, redundancy: str) -> DisksState:
        return DisksState(
            redundancy,
            len(self.numbers()),
            self.labels(self.absent),
            self.labels(self.failing() - self.absent),
            self.labels(self.draining),
        )

    # -- which to write to ----------------------------------------------------------------------

    def of_tier(self, tier: Tier) -> list[int]:
        """The disks of a tier, whether they are there or not."""
        return [one for one in self.numbers() if tier.takes(self.places[one])]

    def by_use(self, tier: Tier | None = None) -> list[int]:
        """Those (of a tier) that are there and not to become empty, those with the fewest slots
        first."""
        some = self.numbers() if tier is None else self.of_tier(tier)
        here = [one for one in some if one not in self.absent | self.draining]
        return sorted(here, key=lambda number: self.used[number])

    def candidates(self, tier: Tier | None = None) -> list[int]:
        """Those of them that have not failed lately. Those that are slow to sync come last, and
        only where there are fewer others than a container has slots."""
        failing, slow = self.failing(), self._slow_to_sync()
        good = [one for one in self.by_use(tier) if one not in failing]
        quick = [one for one in good if one not in slow]
        if tier is None or len(quick) >= tier.mode.slots:
            return quick
        return quick + [one for one in good if one in slow]

    def are_enough(self, tier: Tier) -> bool:
        """Whether so many of a tier have not failed lately as a container must be begun on."""
        return len(self.candidates(tier)) >= tier.mode.slots_min

    def spread(self, numbers: Sequence[int], taken: Collection[int] = ()) -> list[int]:
        """The same disks, so ordered that slots go to other failure domains than those of the
        disks `taken` first, and to each of these once before to any of them twice."""
        count: dict[str, int] = {}
        for number in taken:
            domain = self.places[number].domain
            count[domain] = count.get(domain, 0) + 1
        turns = []
        for number in numbers:
            domain = self.places[number].domain
            turns.append((count.get(domain, 0), number))
            count[domain] = count.get(domain, 0) + 1
        # Sorting is stable: within a turn those with the fewest slots stay first.
        return [number for _, number in sorted(turns, key=lambda turn: turn[0])]

    def most_on_one(self, numbers: Sequence[int], slots: int) -> int:
        """How many of so many slots of one container are on the same host, if these disks are
        those that there are."""
        domains = [self.places[number].domain for number in self.spread(numbers)[:slots]]
        return max(map(domains.count, domains), default=0)

    # -- failures -------------------------------------------------------------------------------

    def failed(self, number: int, error: OSError) -> None:
        """A disk could not be written."""
        now = self._clock.monotonic()
        if self._bad_until.get(number, now) <= now:
            log.error("a disk failed", disk=self.places[number].label, error=str(error))
        self._bad_until[number] = now + BAD_SECONDS

    def leave_slow(self, number: int, tier: Tier | None) -> bool:
        """Leave a disk out for a while that takes much longer than others, if new containers are
        as safe without it. Whether it is."""
        if tier is None:
            return False
        avoided, slots = self.avoided(), tier.mode.slots
        now = [one for one in self.by_use(tier) if one not in avoided]
        others = [one for one in now if one != number]
        if len(others) < slots or self.most_on_one(others, slots) > self.most_on_one(now, slots):
            return False
        now_s = self._clock.monotonic()
        before = self._slow.get(number, _Slow(0.0, 0.0))
        if before.until <= now_s:
            again = now_s < before.until + before.seconds
            seconds = min(2 * before.seconds, SLOW_SECONDS_MAX) if again else BAD_SECONDS
            self._slow[number] = _Slow(now_s + seconds, seconds)
            label = self.places[number].label
            log.warning("a disk is slow: others are written", disk=label, seconds=seconds)
        return True

    def good_again(self, number: int) -> None:
        self._bad_until.pop(number, None)

    def failing(self) -> set[int]:
        """Those that failed lately."""
        now = self._clock.monotonic()
        return {number for number, until in dict(self._bad_until).items() if until > now}

    def slow(self) -> set[int]:
        """Those that are not read from or not written to as they are slow."""
        return self._slow_to_sync() | self.paces.slow()

    def avoided(self) -> set[int]:
        """Those that nothing new is written to, as long as there are enough others."""
        return self.failing() | self._slow_to_sync()

    def _slow_to_sync(self) -> set[int]:
        now = self._clock.monotonic()
        return {number for number, one in self._slow.copy().items() if one.until > now}
