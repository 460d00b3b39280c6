"""Containers, after every power cut: appends and group syncs, lanes, rolls, seals, reopening."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from crash_containers import ContainerOracle, record_containers
from crash_kit import Report, explore
from crash_states import PowerCuts
from crash_trace import Trace

from dc.objects import lane, store
from dc.objects.container import OpenContainer
from dc.objects.lane import Appended
from dc.system import SystemDisk, SystemFile


def look(trace: Trace, seed: int = 0, **limits: int) -> Report:
    return explore(trace, ContainerOracle(trace), seed=seed, **limits)


def test_nothing_acknowledged_is_lost() -> None:
    whole, reopened = Report(), 0
    for seed in range(6):
        trace = record_containers(Trace(), seed)
        created = {op.path for op in trace.ops if op.kind == "create"}
        assert len(created) >= 4, "containers are not rolled"
        oracle = ContainerOracle(trace)
        whole.add(explore(trace, oracle, seed=seed))
        reopened += oracle.reopened
    assert whole.losses == []
    tally = whole.tally
    assert tally.acks > 60
    assert reopened > 60
    assert tally.states > 2000
    assert tally.torn > 1000
    assert tally.sampled == 0, "all states up to 12 loose operations, and there never are more"
    assert max(tally.loose) >= 6


def test_reopened_after_a_power_cut_and_appended_to_and_cut_again() -> None:
    first = record_containers(Trace(), seed=1, rounds=2)
    states = list(PowerCuts(first))
    whole = Report()
    for number in range(0, len(states), len(states) // 6):
        state = states[number]
        trace = Trace(state.image)
        for ack in first.acks[: state.acks]:
            trace.ack(ack.fact)
        record_containers(trace, seed=number + 2, rounds=1)
        oracle = ContainerOracle(trace)
        oracle.expect_all(first)
        whole.add(explore(trace, oracle))
    assert whole.losses == []
    assert whole.tally.states > 500


def test_a_killed_process_is_followed_by_another_and_then_the_power_goes() -> None:
    """What the first had not synced is still loose while the second works."""
    first = record_containers(Trace(), seed=4, rounds=1)
    whole = Report()
    for after in range(0, len(first.ops), 3):
        trace = first.killed(after)
        record_containers(trace, seed=5, rounds=1)
        oracle = ContainerOracle(trace)
        oracle.expect_all(first)
        whole.add(explore(trace, oracle))
    assert whole.losses == []
    assert whole.tally.states > 500


# -- the check can fail ---------------------------------------------------------------------------


def finds_loss(seeds: Sequence[int] = range(4)) -> bool:
    return any(look(record_containers(Trace(), seed), bad_max=1).bad for seed in seeds)


@pytest.mark.parametrize("number", [3, 7, 12])
def test_finds_one_sync_that_is_left_out(number: int) -> None:
    trace = record_containers(Trace(), drop=lambda path, syncs: syncs == number)
    report = look(trace)
    assert report.bad
    assert "is lost" in report.losses[0]


def test_finds_directories_that_are_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemDisk, "sync_dir", lambda self, path: None)
    assert finds_loss()


def test_finds_an_acknowledgement_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def append_first(container: OpenContainer, group: Sequence[Any], durable: bool) -> Any:
        """Sync what came before, not what is told now."""
        if durable and container.end > container.durable_end:
            container.sync()
        extents = container.append(group)
        container.durable_end = container.end if durable else container.durable_end
        return extents

    monkeypatch.setattr(lane, "_append", append_first)
    assert finds_loss()


def test_finds_an_upload_that_forgets_its_earlier_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seal without a sync, and nobody who asks."""
    monkeypatch.setattr(lane, "_seal", lambda container, *_: (container.close(), []))
    monkeypatch.setattr(Appended, "check_durable", lambda self: None)
    assert finds_loss(range(8))


def test_finds_a_container_that_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process that appends to the last container of the first overwrites what is there."""
    monkeypatch.setattr(store, "ContainerIds", _SameIds)
    monkeypatch.setattr(SystemDisk, "create", _create_or_open)
    trace = record_containers(Trace(), seed=0, rounds=1)
    record_containers(trace, seed=1, rounds=1)
    assert look(trace, bad_max=1).bad


def _create_or_open(self: SystemDisk, path: Path, mode: int = 0o644) -> SystemFile:
    return SystemFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))


class _SameIds:
    """Ids that begin anew with each process."""

    def __init__(self, clock: object, randomness: object) -> None:
        self._last = 0
        self.unsealed: set[int] = set()

    def next(self) -> tuple[int, int]:
        self._last += 1
        return 1 << 60 | self._last, self._last
