"""A node that answers, but slowly: it runs for a moment now and then."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import pytest
from nodes_kit import Cluster, until

STOPPED_S, RUNNING_S = 0.5, 0.02


class Slowed:
    """A process that is stopped most of the time, till `end`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            os.kill(self._pid, signal.SIGSTOP)
            self._ended.wait(STOPPED_S)
            os.kill(self._pid, signal.SIGCONT)
            self._ended.wait(RUNNING_S)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, 7, "4+2")
    try:
        yield made
    finally:
        made.stop()


def test_nobody_waits_for_a_slow_node(cluster: Cluster) -> None:
    bodies = {f"k{number}": cluster.put(f"k{number}", 300_000) for number in range(40)}
    for key in bodies:
        cluster.get(key)  # So that it is known how long reads take.
    slowed = Slowed(cluster.nodes["os2"].process.pid)
    try:
        # It is found out, by reads and by writes.
        for number in range(12):
            bodies[f"early{number}"] = cluster.put(f"early{number}", 20_000)
        for key, body in bodies.items():
            assert cluster.get(key) == body
        reads, writes = [], []
        for number in range(40):
            began = time.monotonic()
            key = f"late{number}"
            bodies[key] = cluster.put(key, 20_000)
            writes.append(time.monotonic() - began)
        for key, body in bodies.items():
            began = time.monotonic()
            assert cluster.get(key) == body, key
            reads.append(time.monotonic() - began)
    finally:
        slowed.end()
    # Nine of ten took less than a third of what the node takes to answer at all.
    assert quantiles(reads, n=10)[8] < STOPPED_S / 3
    assert quantiles(writes, n=10)[8] < STOPPED_S / 3
    until(cluster.states, dict.fromkeys(cluster.nodes, "ok"), 60)
    for key, body in bodies.items():
        assert cluster.get(key) == body, key
    cluster.paris.process.send_signal(signal.SIGTERM)
    said = cluster.paris.stop()
    assert "a disk is slow: others are " in said
