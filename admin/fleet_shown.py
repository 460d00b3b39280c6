"""What is told of disks and nodes, and whether a disk can be done without."""

from collections.abc import Mapping
from typing import Any

from admin.errors import AdminError
from admin.fleet_state import NodeRecord
from dc.objects.coded_disks import CodedDisks


def shown_disks(coded: CodedDisks) -> list[dict[str, Any]]:
    """For the admin API."""
    disks = coded.disks
    failing, slow = disks.failing(), disks.paces.slow()
    found = []
    for number in disks.numbers():
        left = coded.slots.left_on(number)
        state = "ok"
        if number in disks.absent:
            state = "missing"
        elif number in disks.draining:
            state = "draining" if left else "drained"
        elif number in failing:
            state = "failing"
        elif number in slow:
            state = "slow"
        place = disks.places[number]
        found.append({"disk": place.label, "host": place.host, "state": state, "slots": left})
    return found


def shown_node(
    node: NodeRecord, by_label: Mapping[str, dict[str, Any]], connection: str
) -> dict[str, Any]:
    """The same of a node, given the disks by their labels; `connection` is that of a gateway."""
    disks = [
        by_label[label]
        for number in range(len(node.disks))
        if (label := node.label(number)) in by_label
    ]
    words = {one["state"] for one in disks}
    gateway = connection if node.is_gateway else ""
    if gateway:
        words.add("ok" if gateway == "connected" else "missing")
    if words == {"missing"}:
        state = "unreachable"
    elif not words or words & {"draining", "drained"}:
        state = "leaving"
    else:
        state = "ok" if words == {"ok"} else "degraded"
    return {
        "name": node.name,
        "id": node.node_id,
        "host": node.host,
        "endpoints": node.endpoints,
        "joined": node.joined,
        "roles": node.roles,
        "gateway": gateway,
        "state": state,
        "disks": disks,
        "slots": sum(one["slots"] for one in disks),
    }


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
