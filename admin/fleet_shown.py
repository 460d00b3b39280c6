"""What is told of disks and nodes."""

from collections.abc import Mapping
from typing import Any

from admin.fleet_state import NodeRecord
from dc.objects.coded_disks import CodedDisks


def shown_disks(coded: CodedDisks) -> list[dict[str, Any]]:
    """For the admin API."""
    disks = coded.disks
    failing, slow = disks.failing(), disks.slow()
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
