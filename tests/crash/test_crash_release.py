"""Disks and nodes that leave, after every power cut and kill: drained, emptied, forgotten."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from crash_kit import Report, explore
from crash_release import NODE, ReleaseOracle, record_leaving
from crash_trace import Trace

from admin.fleet import Fleet
from dc.objects.mending import Mender
from dc.objects.slot_map import SlotMap
from dc.system import SystemDisk

LIMITS = {"samples": 16, "torn_max": 2, "loose_max": 4}
LEAVING = ["disk1", NODE]


@cache
def recorded(leaving: str) -> Trace:
    return record_leaving(leaving)


def look(trace: Trace, leaving: str) -> Report:
    """Until something is wrong; every other state is gone on with."""
    return explore(trace, ReleaseOracle(leaving, 2), bad_max=1, **LIMITS)


@pytest.mark.parametrize("leaving", LEAVING)
def test_what_leaves_takes_nothing_with_it_and_can_always_leave(leaving: str) -> None:
    trace, oracle = recorded(leaving), ReleaseOracle(leaving)
    report = explore(trace, oracle, **LIMITS)
    assert report.losses == []
    assert report.tally.acks > 15 and report.tally.states > 300
    assert oracle.gone_on > 60 and oracle.half > 100
    steps = [f"{op.kind} {Path(op.target or op.path).name}" for op in trace.ops]
    assert steps.count("rename disks.json") == 2
    moved = sum(op.kind == "unlink" and op.path.endswith(".fss.new") for op in trace.ops)
    assert moved >= 3


# -- the check can fail ---------------------------------------------------------------------------


def test_finds_a_node_that_is_forgotten_before_it_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SlotMap, "left_on", lambda *_: 0)

    async def nothing(self: Mender) -> float:
        return 1.0

    monkeypatch.setattr(Mender, "step", nothing)
    trace = record_leaving(NODE)
    monkeypatch.undo()
    assert "lost" in look(trace, NODE).losses[0]


def test_finds_slots_that_are_moved_and_not_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync_dir(self: SystemDisk, path: Path) -> None:
        pass

    monkeypatch.setattr(SystemDisk, "sync_dir", sync_dir)
    trace = record_leaving("disk1")
    monkeypatch.undo()
    assert look(trace, "disk1").bad


def test_finds_moved_slots_whose_bytes_are_not_synced() -> None:
    trace = record_leaving(NODE, drop=lambda path, _: path.endswith(".new"))
    assert look(trace, NODE).bad


def test_finds_space_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fleet, "_settle", lambda *_: None)
    trace = record_leaving("disk1")
    assert "takes 4 slots" in look(trace, "disk1").losses[0]


def test_finds_a_release_that_is_said_and_not_written_down() -> None:
    trace = record_leaving(NODE, drop=lambda path, _: path == "paris")
    assert "was said to have left" in look(trace, NODE).losses[0]


def test_finds_what_never_becomes_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning of a container that a crash has cut off."""

    def carry(*_: Any) -> Any:
        yield from ()

    trace = recorded(NODE)
    monkeypatch.setattr(Mender, "_carry", carry)
    assert "do not become empty" in look(trace, NODE).losses[0]


def test_finds_a_draining_that_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has left is asked, as it is a disk again after the next start."""
    trace = recorded("disk1")
    real = Fleet.places
    monkeypatch.setattr(Fleet, "state", property(lambda self: self._state))
    monkeypatch.setattr(Fleet, "places", lambda self: real(_WithAll(self)))  # type: ignore[arg-type]
    assert "what has left is asked" in look(trace, "disk1").losses[0]


class _WithAll:
    """A fleet that has forgotten what was removed."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fleet, name)
        if name == "_state":
            return _Nothing(found)
        return found


class _Nothing:
    def __init__(self, state: Any) -> None:
        self._state = state

    removed: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)
