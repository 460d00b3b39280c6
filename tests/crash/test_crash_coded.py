"""Containers on several disks, after every power cut: appends, syncs, rolls, repair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from crash_coded import NAMES, CodedOracle, empty, record_coded, record_repair
from crash_kit import Report, explore
from crash_trace import Trace

from dc.objects import lane
from dc.objects.coded_file import CodedFile
from dc.system import SystemDisk

LIMITS = {"samples": 16, "torn_max": 2, "loose_max": 4}


def look(trace: Trace, seed: int = 0, bad_max: int = 0) -> Report:
    return explore(trace, CodedOracle(), seed=seed, bad_max=bad_max, **LIMITS)


def test_nothing_acknowledged_is_lost_with_a_disk() -> None:
    whole, repaired = Report(), 0
    for seed in range(2):
        trace = record_coded(Trace(empty()), seed)
        oracle = CodedOracle()
        whole.add(explore(trace, oracle, seed=seed, **LIMITS))
        repaired += oracle.repaired
    assert whole.losses == []
    assert whole.tally.acks > 8
    assert whole.tally.states > 1000
    assert repaired > 50


@pytest.mark.parametrize("lost", NAMES[:2])
def test_a_repair_loses_nothing_and_then_another_disk_may_be_lost(lost: str) -> None:
    trace = record_repair(record_coded(Trace(empty()), 1), lost)
    report = explore(trace, CodedOracle(may_be_lost=0), samples=64, loose_max=6)
    assert report.losses == []
    assert report.tally.states > 100


# -- the check can fail ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES[:3])
def test_finds_syncs_of_one_disk_that_are_left_out(name: str) -> None:
    """Of the bytes: another disk is lost, and then there are too few."""
    trace = record_coded(
        Trace(empty()), 1, drop=lambda path, _: path.startswith(name) and path.endswith(".fss")
    )
    assert look(trace, bad_max=1).bad


@pytest.mark.parametrize("name", NAMES[:3])
def test_finds_folders_that_are_not_synced_on_one_disk(name: str) -> None:
    trace = record_coded(Trace(empty()), 1, drop=lambda path, _: path == f"{name}/containers")
    assert look(trace, bad_max=1).bad


def test_finds_an_acknowledgement_before_the_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def append_first(container: Any, group: Sequence[Any], durable: bool) -> Any:
        extents = container.append(group)
        container.durable_end = container.end if durable else container.durable_end
        return extents

    monkeypatch.setattr(lane, "_append", append_first)
    assert look(record_coded(Trace(empty())), bad_max=1).bad


def test_finds_a_slot_that_failed_and_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three fail to be synced, and nobody minds."""

    def sync(self: CodedFile) -> None:
        file = self._slots[0]
        assert file is not None
        file.sync()

    monkeypatch.setattr(CodedFile, "sync", sync)
    assert look(record_coded(Trace(empty())), bad_max=1).bad


def test_finds_a_repair_that_syncs_nothing() -> None:
    trace = record_repair(
        record_coded(Trace(empty()), 1), "disk0", drop=lambda path, _: path.endswith(".new")
    )
    assert explore(trace, CodedOracle(may_be_lost=0), bad_max=1, **LIMITS).bad


def test_finds_a_repair_that_is_not_renamed_durably(monkeypatch: pytest.MonkeyPatch) -> None:
    first = record_coded(Trace(empty()), 1)

    def sync_dir(self: SystemDisk, path: Path) -> None:
        pass

    monkeypatch.setattr(SystemDisk, "sync_dir", sync_dir)
    trace = record_repair(first, "disk0")
    assert explore(trace, CodedOracle(may_be_lost=0), bad_max=1, **LIMITS).bad
