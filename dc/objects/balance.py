"""Rebalancing: disks that were added get their share of what is there already.

How full a disk is, is reckoned by its slots, as when a new container chooses its disks. Where two
disks of a tier differ by `MARGIN` slots or more, and by a tenth, slots go from the one to the
other, one at a time, as from a disk that is drained (`dc/objects/mending.py`). The failure domains
of a container get no fewer by that, and no disk gets so full that a twentieth of it is not free. It
ends, since each move brings two disks nearer to each other.

Where disks differ and nothing can be moved, it is looked again after a while that doubles, or when
a disk has come, gone, or is to become empty: with many containers, looking takes long.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from dc.objects.disk_set import DiskSet
from dc.objects.slot_map import SlotMap
from dc.objects.stripes import slot_name
from dc.objects.tiers import Tier
from dc.ports import Clock

MARGIN = 4
REST_SECONDS, REST_SECONDS_MAX = 10.0, 600.0


class Move(NamedTuple):
    """A slot that is to go to another disk."""

    container: int
    slot: int
    to: int


class Rest:
    """The time after something was looked for in vain."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = 0.0
        self._until = clock.monotonic()
        self._disks: object = None
        self.found_none = False
        """Nothing was found when it was looked for last."""

    def is_on(self, disks: DiskSet) -> bool:
        return self._clock.monotonic() < self._until and self._disks == _known(disks)

    def begin(self, disks: DiskSet) -> None:
        now = _known(disks)
        again = self.found_none and now == self._disks
        self._seconds = min(2 * self._seconds, REST_SECONDS_MAX) if again else REST_SECONDS
        self._until = self._clock.monotonic() + self._seconds
        self._disks, self.found_none = now, True

    def end(self) -> None:
        self.found_none = False


def _known(disks: DiskSet) -> tuple[frozenset[int], ...]:
    return frozenset(disks.numbers()), frozenset(disks.absent), frozenset(disks.draining)


def uneven(
    slots: SlotMap,
    disks: DiskSet,
    tiers: Sequence[Tier],
    but: Collection[int],
    full: Collection[int] = (),
) -> Move | None:
    """A slot to be moved, of a sealed container that has all its slots, none of those in `but`, and
    to no disk in `full`."""
    sealed = slots.sealed()
    for tier in tiers:
        mine: dict[int, list[int]] = {}
        for one, other in _pairs(disks, tier, full):
            if not mine:
                mine = _by_disk(slots, tier, sealed, but)
            for container in mine.get(one, ()):
                move = _move(slots, disks, container, one, other)
                if move is not None and not slots.missing(container):
                    return move
    return None


def _by_disk(
    slots: SlotMap, tier: Tier, containers: Sequence[int], but: Collection[int]
) -> dict[int, list[int]]:
    """The containers of a tier on each disk."""
    found: dict[int, list[int]] = {}
    for container in containers:
        if container not in but and slots.tier_of(container) is tier:
            for number in slots.places.get(container, {}).values():
                found.setdefault(number, []).append(container)
    return found


def has_room(slots: SlotMap, disks: DiskSet, move: Move) -> bool:
    """Whether a slot may go there without making the disk too full. Blocks."""
    left = slots.place_of(move.container, move.slot)
    if left is None:
        return False
    place, name = disks.places[move.to], slot_name(move.container, move.slot)
    try:
        file = disks.places[left].disk.open(disks.places[left].containers / name)
        try:
            size = file.size()
        finally:
            file.close()
        return size <= place.disk.room(place.containers)
    except OSError:
        return False


def surplus(disks: DiskSet, tiers: Sequence[Tier]) -> int:
    """About how many slots are to be moved."""
    found = 0
    groups = {frozenset(disks.candidates(tier)) for tier in tiers if any(_pairs(disks, tier))}
    for group in groups:
        used = [disks.used[one] for one in group]
        found += sum(max(0, one - sum(used) // len(used)) for one in used)
    return found


def _pairs(disks: DiskSet, tier: Tier, without: Collection[int] = ()) -> Iterator[tuple[int, int]]:
    """Disks that differ by too much, the fuller one first; the worst pairs first."""
    by_use = sorted(disks.candidates(tier), key=lambda one: disks.used[one])
    for full in reversed(by_use):
        for empty in by_use:
            more = disks.used[full] - disks.used[empty]
            if more < MARGIN or more * 10 <= disks.used[full]:
                break
            if empty not in without:
                yield full, empty


def _move(slots: SlotMap, disks: DiskSet, container: int, full: int, empty: int) -> Move | None:
    places = slots.places.get(container, {})
    slot = next((one for one, number in places.items() if number == full), None)
    if slot is None or empty in places.values():
        return None
    domain = disks.places[empty].domain
    others = {disks.places[number].domain for number in places.values() if number != full}
    if domain in others and domain != disks.places[full].domain:
        return None
    return Move(container, slot, empty)
