"""Rebalancing: disks that were added get their share of what is there already.

How full a disk is, is reckoned by its slots, as when a new container chooses its disks. Where two
disks of a tier differ by more than `MARGIN` slots, and by a tenth, slots go from the one to the
other, one at a time, as from a disk that is drained (`dc/objects/mending.py`). The failure domains
of a container get no fewer by that. It ends, since each move brings two disks nearer to each other.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from dc.objects.disk_set import DiskSet
from dc.objects.slot_map import SlotMap
from dc.objects.tiers import Tier

MARGIN = 4


class Move(NamedTuple):
    """A slot that is to go to another disk."""

    container: int
    slot: int
    to: int


def uneven(
    slots: SlotMap, disks: DiskSet, tiers: Sequence[Tier], but: Collection[int]
) -> Move | None:
    """A slot to be moved, of a sealed container that has all its slots, none of those in `but`."""
    for tier in tiers:
        pairs = list(_pairs(disks, tier))
        containers = slots.sealed() if pairs else []
        mine = [one for one in containers if one not in but and slots.tier_of(one) is tier]
        for full, empty in pairs:
            for container in mine:
                move = _move(slots, disks, container, full, empty)
                if move is not None and not slots.missing(container):
                    return move
    return None


def surplus(disks: DiskSet, tiers: Sequence[Tier]) -> int:
    """About how many slots are to be moved."""
    found = 0
    for tier in tiers:
        if next(_pairs(disks, tier), None) is not None:
            used = [disks.used[one] for one in disks.candidates(tier)]
            found += sum(max(0, one - sum(used) // len(used)) for one in used)
    return found


def _pairs(disks: DiskSet, tier: Tier) -> Iterator[tuple[int, int]]:
    """Disks that differ by too much, the fuller one first; the worst pairs first."""
    by_use = sorted(disks.candidates(tier), key=lambda one: disks.used[one])
    for full in reversed(by_use):
        for empty in by_use:
            more = disks.used[full] - disks.used[empty]
            if more < MARGIN or more * 10 <= disks.used[full]:
                break
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
