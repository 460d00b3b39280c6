"""A node joins a datacenter that holds data: it gets its share. Real processes."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nodes_kit import Cluster, until

from tests.admin.conftest import Serving

STARTS = 3
"""Each leaves two containers and more behind."""
BYTES = 40_000_000
"""At the usual rate of repair a slot that holds such a body takes a second to be moved."""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 2, "1+1")
    try:
        yield made
    finally:
        made.stop()


def restart(cluster: Cluster, by: signal.Signals = signal.SIGTERM) -> None:
    """What was being written is sealed by it."""
    cluster.paris.stop(by)
    cluster.paris = Serving(cluster.root / "paris")
    cluster.s3 = cluster.client()
    until(cluster.states, dict.fromkeys(cluster.nodes, "ok"))


def slots(cluster: Cluster) -> dict[str, int]:
    """How many slots are on each node."""
    disks: list[dict[str, Any]] = cluster.paris.facts("disk", "list")
    return {one["disk"].partition(":")[0]: one["slots"] for one in disks if ":" in one["disk"]}


def repair(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.paris.facts("objects", "status")["repair"]
    return found


def test_a_new_node_gets_its_share_also_when_the_datacenter_is_killed_meanwhile(
    cluster: Cluster,
) -> None:
    bodies = {}
    for number in range(STARTS):
        bodies[f"k{number}"] = cluster.put(f"k{number}", BYTES)
        restart(cluster, signal.SIGKILL)
    before = slots(cluster)
    assert min(before.values()) >= 2 * STARTS and len(set(before.values())) == 1

    cluster.join("os2")
    until(lambda: cluster.states()["os2"], "ok")
    deadline = time.monotonic() + 60
    while slots(cluster)["os2"] < 2:
        assert time.monotonic() < deadline, slots(cluster)
        time.sleep(0.05)
    restart(cluster, signal.SIGKILL)
    for key, body in bodies.items():
        assert cluster.get(key) == body

    def even() -> bool:
        now = slots(cluster)
        return max(now.values()) - min(now.values()) < 4 and repair(cluster)["doing"] != "repairing"

    until(even, True, 60)
    now = slots(cluster)
    assert now["os2"] >= STARTS and sum(now.values()) >= sum(before.values())
    # Each slot is on one disk, and each container on two: any one of the three may go.
    cluster.nodes["os0"].stop(signal.SIGKILL)
    shutil.rmtree(cluster.root / "disk-os0")
    for key, body in bodies.items():
        assert cluster.get(key) == body
    assert cluster.paris.facts("status")["stripes_lost"] == 0
