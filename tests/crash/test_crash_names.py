"""The name server, after every power cut: its commits, with the objects that they name."""

import sqlite3
from typing import Any

import pytest
from crash_kit import Report, explore
from crash_names import (
    DATABASE,
    NamesOracle,
    Snapshot,
    record_names,
    short_life,
    uploads_only,
    whole_life,
)
from crash_states import PowerCuts
from crash_trace import Image, Trace

from dc.names.model import Version
from dc.names.service import SqliteNames

LOOSE_MAX = 10
"""Wider cuts are sampled here. A commit of the name server is several dozen writes at times; its
cuts up to 12 are complete in `test_crash_cursor.py` and `make crash-states`."""

FOLDERS: Image = {"names": None, "containers": None}


def look(trace: Trace, snapshots: list[Snapshot], **limits: int) -> Report:
    return explore(trace, NamesOracle(trace, snapshots), **limits)


def test_what_is_acknowledged_stays_and_what_is_there_is_whole() -> None:
    trace, snapshots = record_names(Trace(FOLDERS), whole_life)
    assert len(snapshots) > 15
    oracle = NamesOracle(trace, snapshots)
    report = explore(trace, oracle, loose_max=LOOSE_MAX)
    assert report.losses == []
    tally = report.tally
    assert tally.cuts == len(trace.ops) + 1
    assert tally.complete + tally.sampled == tally.cuts
    assert tally.complete > 250
    assert sum(tally.loose[loose] for loose in range(8, LOOSE_MAX + 1)) > 20
    assert tally.states > 10_000
    assert tally.torn > 3000
    assert len(snapshots) <= oracle.opened
    assert oracle.verified > 100
    checkpoints = [op for op in trace.ops if op.kind == "sync" and op.path == DATABASE]
    assert len(checkpoints) >= 4, "the log is never written over"


def go_on(first: Trace, trace: Trace, snapshots: list[Snapshot], seed: int) -> Report:
    """Another process takes over `trace`, which comes from the trace `first`."""
    snapshots, begin = list(snapshots), len(trace.ops)
    record_names(trace, short_life, seed=seed, snapshots=snapshots)
    oracle = NamesOracle(trace, snapshots)
    oracle.objects.expect_all(first)
    return explore(trace, oracle, samples=6, loose_max=4, first_cut=begin)


def test_the_power_goes_again_while_what_was_left_is_gone_on_with() -> None:
    """Also while SQLite is about to recover."""
    first, snapshots = record_names(Trace(FOLDERS), short_life)
    states = list(PowerCuts(first, samples=4, loose_max=3))
    whole = Report()
    for number in range(7, len(states), len(states) // 3):
        state = states[number]
        trace = Trace(state.image)
        for ack in first.acks[: state.acks]:
            trace.ack(ack.fact)
        whole.add(go_on(first, trace, snapshots, number))
    assert whole.losses == []
    assert whole.tally.states > 500


def test_a_killed_process_is_followed_by_another_and_then_the_power_goes() -> None:
    """A killed process may leave a commit in the log that it had not synced. Who starts next shows
    it, and a peer may take it: so it is durable before it is shown."""
    first, snapshots = record_names(Trace(FOLDERS), short_life)
    syncs = [at for at, op in enumerate(first.ops) if op.kind == "sync" and "-wal" in op.path]
    whole = Report()
    for after in syncs[::3]:
        whole.add(go_on(first, first.killed(after), snapshots, 1000 + after))
    assert whole.losses == []
    assert whole.tally.states > 800
    assert whole.tally.acks > 30


# -- the check can fail ---------------------------------------------------------------------------


def planted(**bug: Any) -> Report:
    trace, snapshots = record_names(Trace(FOLDERS), short_life, **bug)
    return look(trace, snapshots, bad_max=1, samples=8, loose_max=6)


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_finds_commits_that_are_not_synced(level: str) -> None:
    def before(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA synchronous={level}")

    loss = planted(before=before).losses[0]
    assert "is lost" in loss or "cannot open" in loss


@pytest.mark.parametrize("acks", [1, 3])
def test_finds_one_sync_of_the_log_that_is_left_out(acks: int) -> None:
    """The first one after so much was acknowledged."""
    trace, dropped = Trace(FOLDERS), list[str]()

    def drop(path: str, _number: int) -> bool:
        if dropped or len(trace.acks) != acks or not path.endswith("-wal"):
            return False
        dropped.append(path)
        return True

    _, snapshots = record_names(trace, short_life, drop=drop)
    report = look(trace, snapshots, bad_max=1, samples=8, loose_max=6)
    assert "is lost" in report.losses[0]


def test_finds_a_directory_that_is_not_synced() -> None:
    report = planted(drop=lambda path, _: path == "names")
    assert "is lost" in report.losses[0] or "cannot open" in report.losses[0]


def test_finds_a_checkpoint_that_does_not_sync_the_database() -> None:
    """The log is written over while the pages copied from it may not be there."""
    report = planted(drop=lambda path, _: path == DATABASE)
    assert report.bad


def test_finds_a_name_whose_bytes_are_not_synced() -> None:
    report = planted(drop=lambda path, _: path.endswith(".fsc"))
    assert "an object has a name and no bytes" in report.losses[0] or "is lost" in report.losses[0]


def test_finds_a_change_in_two_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    complete = SqliteNames.complete_upload

    async def in_two(self: SqliteNames, upload_id: str, version: Version) -> None:
        await self.put(version=version)
        await complete(self, upload_id=upload_id, version=version)

    monkeypatch.setattr(SqliteNames, "complete_upload", in_two)
    trace, snapshots = record_names(Trace(FOLDERS), uploads_only)
    report = look(trace, snapshots, bad_max=1, samples=8, loose_max=6)
    assert "half of a change of names is there" in report.losses[0]
