"""Whether disks can be done without: what is on them, and what would be left."""

from collections.abc import Iterable

from admin.errors import AdminError
from dc.objects.coded_disks import CodedDisks
from dc.objects.tiers import Tier


def check_left(disks: CodedDisks, numbers: set[int]) -> None:
    """AdminError when some tier would have too few disks without these."""
    for tier in _tiers_of(disks, numbers):
        left = [one for one in disks.disks.by_use(tier) if one not in numbers]
        if len(left) < tier.mode.slots:
            raise AdminError(
                f"{_named(disks, tier)} takes {tier.mode.slots} disks, and {len(left)} would be"
                " left: add others first"
            )


def check_hosts(disks: CodedDisks, numbers: set[int]) -> None:
    """AdminError when some tier would be on so few hosts without these disks that the loss of one
    host loses containers, or more slots of them than now."""
    for tier in _tiers_of(disks, numbers):
        now = disks.disks.by_use(tier)
        left = [one for one in now if one not in numbers]
        slots = tier.mode.slots
        most = disks.disks.most_on_one(left, slots)
        if most > tier.mode.m and most > disks.disks.most_on_one(now, slots):
            hosts = len(_hosts(disks, left))
            raise AdminError(
                f"{_named(disks, tier)} would be on {hosts} {'host' if hosts == 1 else 'hosts'},"
                f" {len(_hosts(disks, now))} now: one of them would have {most} of the"
                f" {slots} slots of a container, which can lose {tier.mode.m}. Add"
                " hosts first, or say --fewer-hosts"
            )


def _tiers_of(disks: CodedDisks, numbers: set[int]) -> list[Tier]:
    """The tiers that have some of these disks."""
    return [tier for tier in disks.tiers.all() if numbers & set(disks.disks.of_tier(tier))]


def _named(disks: CodedDisks, tier: Tier) -> str:
    of_tier = f" of the tier {tier.name}" if len(disks.tiers.all()) > 1 else ""
    return f"{tier.mode}{of_tier}"


def _hosts(disks: CodedDisks, numbers: Iterable[int]) -> list[str]:
    """The failure domains of disks, one for each of them."""
    return sorted({disks.disks.places[number].domain for number in numbers})


def check_removable(disks: CodedDisks, number: int, label: str, lost: bool) -> None:
    """AdminError when a disk may have something on it, and is not said to be lost."""
    if number in disks.disks.absent:
        if not lost:
            raise AdminError(
                f"{label} is not there, and nobody knows what is on it: say --lost if it will not"
                " come back"
            )
    elif left := disks.slots.left_on(number):
        raise AdminError(f"{label} has {left} slots on it: drain it first")
    elif number not in disks.disks.draining:
        raise AdminError(f"{label} is empty, and may be written to: drain it first")


def check_here(disks: CodedDisks, numbers: set[int]) -> None:
    """AdminError when so few of the other disks are there that nobody knows what is on these."""
    disk_set, of_tiers = disks.disks, []
    for tier in disks.tiers.all():
        of_tiers.append((set(disk_set.of_tier(tier)), tier.mode.slots_min))
    # What is on a disk of no tier, as they are now, was begun when it was of one.
    if numbers - set().union(*(mine for mine, _ in of_tiers)):
        of_tiers.append((set(disk_set.numbers()), min(least for _, least in of_tiers)))
    for mine, least in of_tiers:
        others = mine - numbers
        here = len(others - disk_set.absent)
        if mine & numbers and others and here < least:
            raise AdminError(
                f"of the {len(others)} other disks {here} are there: nobody knows what is on those"
                " that are not. Bring them back, or add others, first"
            )


def without(disks: CodedDisks, numbers: set[int]) -> int:
    """How many containers cannot be read without these disks."""
    return sum(_needs(disks, container, numbers) for container in disks.slots.containers())


def _needs(disks: CodedDisks, container: int, numbers: set[int]) -> bool:
    """Whether a container cannot be read without these disks, or nobody knows."""
    slots, absent = disks.slots, disks.disks.absent
    if not slots.is_known(container):
        return True
    mode = disks.form(container).mode
    whole = set(range(mode.slots)) - slots.missing(container)
    places = {slots.place_of(container, slot) for slot in whole} - {None}
    if len(places - numbers - absent) >= mode.k:
        return False
    if len(places - absent) >= mode.k:
        return True
    # It cannot be read now either: they change something when they have slots of it, or when one
    # of them is not there and may have what others lack. A copy that is nowhere has gone with it.
    nowhere = mode.k == 1 and not slots.places.get(container)
    return bool(places & numbers) or (bool(numbers & absent) and not nowhere)
