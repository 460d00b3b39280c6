"""The name server, after every power cut: its commits, with the objects that they name."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from crash_kit import Report, explore
from crash_names import (
    DATABASE,
    NamesOracle,
    Script,
    Snapshot,
    record_names,
    short_life,
    uploads_only,
    whole_life,
)
from crash_sqlite import InlineDatabases
from crash_states import LOOSE_MAX, PowerCuts
from crash_trace import Image, Trace

from dc.names.model import Version
from dc.names.service import SqliteNames

FOLDERS: Image = {"names": None, "containers": None}


def look(trace: Trace, snapshots: list[Snapshot], **limits: int) -> Report:
    return explore(trace, NamesOracle(trace, snapshots), **limits)


def test_what_is_acknowledged_stays_and_what_is_there_is_whole() -> None:
    trace, snapshots = record_names(Trace(FOLDERS), whole_life)
    assert len(snapshots) > 20
    oracle = NamesOracle(trace, snapshots)
    report = explore(trace, oracle)
    assert report.losses == []
    tally = report.tally
    assert tally.cuts == len(trace.ops) + 1
    assert tally.complete > 5 * tally.sampled
    assert sum(tally.loose[loose] for loose in range(8, LOOSE_MAX + 1)) > 20
    assert tally.states > 20_000
    assert tally.torn > 5000
    assert len(snapshots) <= oracle.opened < 200
    assert oracle.verified > 300
    checkpoints = [op for op in trace.ops if op.kind == "sync" and op.path == DATABASE]
    assert len(checkpoints) > 4, "the log is never written over"


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
    for number in range(7, len(states), len(states) // 5):
        state = states[number]
        trace = Trace(state.image)
        for ack in first.acks[: state.acks]:
            trace.ack(ack.fact)
        whole.add(go_on(first, trace, snapshots, number))
    assert whole.losses == []
    assert whole.tally.states > 1000


def kill_and_cut(step: int) -> Report:
    """A process is killed before a sync of the log, another goes on, the power goes."""
    first, snapshots = record_names(Trace(FOLDERS), short_life)
    whole = Report()
    syncs = [at for at, op in enumerate(first.ops) if op.kind == "sync" and "-wal" in op.path]
    for after in syncs[::step]:
        whole.add(go_on(first, first.killed(after), snapshots, 1000 + after))
    return whole


def test_a_killed_process_is_followed_by_another_and_then_the_power_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing that was acknowledged to a client is lost."""
    first_of_all = Script.open

    async def open_quietly(self: Script, root: Path, databases: InlineDatabases) -> None:
        """What is there at the start is not taken as acknowledged."""
        acks = len(self.trace.acks)
        await first_of_all(self, root, databases)
        del self.trace.acks[acks:]

    monkeypatch.setattr(Script, "open", open_quietly)
    report = kill_and_cut(step=3)
    assert report.losses == []
    assert report.tally.states > 800
    assert report.tally.acks > 30


@pytest.mark.xfail(reason="a start does not sync the log that a killed process left", strict=False)
def test_what_a_name_server_shows_at_its_start_is_durable() -> None:
    """A killed process may have left a commit in the log that it had not synced. Who starts next
    shows it, and a peer may take it: it must not go any more with the power."""
    report = kill_and_cut(step=5)
    assert report.losses == []


# -- the check can fail ---------------------------------------------------------------------------


def planted(**bug: Any) -> Report:
    trace, snapshots = record_names(Trace(FOLDERS), short_life, **bug)
    return look(trace, snapshots, bad_max=1, samples=8, loose_max=6)


def test_the_harness_alone_finds_nothing() -> None:
    assert planted().losses == []


@pytest.mark.parametrize("level", ["OFF", "NORMAL"])
def test_finds_commits_that_are_not_synced(level: str) -> None:
    def before(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA synchronous={level}")

    loss = planted(before=before).losses[0]
    assert "is lost" in loss or "cannot open" in loss


@pytest.mark.parametrize("number", [4, 5])
def test_finds_one_sync_of_the_log_that_is_left_out(number: int) -> None:
    logged = 0

    def drop(path: str, _number: int) -> bool:
        nonlocal logged
        logged += path.endswith("-wal")
        return path.endswith("-wal") and logged == number

    assert "is lost" in planted(drop=drop).losses[0]


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
