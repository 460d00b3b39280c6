"""The states that a power cut may leave: small traces, for which they can be told by hand."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from crash_kit import explore, recorded, scratch
from crash_os import InlineDisk, recorded_os
from crash_sqlite import VFS
from crash_states import LOOSE_MAX, PowerCuts, State
from crash_trace import Image, Trace, lay_out, read_in
from crash_wal import Log, recovered


def after(trace: Trace) -> list[Image]:
    """The states of the last cut of a trace."""
    trace.ack("all of them")
    return [state.image for state in PowerCuts(trace) if state.cut == len(trace.ops)]


def as_set(images: list[Image]) -> set[frozenset[tuple[str, bytes | None]]]:
    return {frozenset(image.items()) for image in images}


def test_a_name_and_its_bytes_are_durable_each_by_its_own_sync() -> None:
    trace = Trace()
    inode = trace.create("a")
    trace.write(inode, "a", 0, b"new")
    assert as_set(after(trace)) == {
        frozenset(),
        frozenset({("a", b"")}),
        frozenset({("a", b"new")}),
    }
    trace.sync(inode, "a")
    assert as_set(after(trace)) == {frozenset(), frozenset({("a", b"new")})}
    trace.sync_dir("")
    assert after(trace) == [{"a": b"new"}]


def test_writes_are_kept_in_any_subset_and_gaps_are_zeros() -> None:
    trace = Trace({"a": b"...."})
    for offset, data in ((0, b"11"), (1, b"2"), (5, b"3")):
        trace.write(1, "a", offset, data)
    kept = {b"....", b"11..", b".2..", b"12.."}
    assert {image["a"] for image in after(trace)} == kept | {one + b"\x003" for one in kept}


def test_a_write_is_torn_at_a_sector_only() -> None:
    trace = Trace({"a": bytes(2048), "b": bytes(1024)})
    trace.write(1, "a", 500, b"x" * 1000)
    trace.write(2, "b", 512, b"y" * 512)
    found = {image["a"] for image in after(trace)}
    head = bytes(500) + b"x" * 524 + bytes(1024)
    tail = bytes(1024) + b"x" * 476 + bytes(548)
    assert found == {bytes(2048), head, tail, bytes(500) + b"x" * 1000 + bytes(548)}
    assert len({image["b"] for image in after(trace)}) == 2


def test_a_rename_is_old_or_new_and_a_lost_folder_takes_its_files_with_it() -> None:
    trace = Trace({"a": b"old"})
    inode = trace.create("t")
    trace.write(inode, "t", 0, b"new")
    trace.sync(inode, "t")
    trace.rename("t", "a")
    states = after(trace)
    assert {image["a"] for image in states} == {b"old", b"new"}
    trace = Trace()
    trace.mkdir("folder")
    trace.create("folder/file")
    trace.sync_dir("folder")
    assert as_set(after(trace)) == {
        frozenset(),
        frozenset({("folder", None), ("folder/file", b"")}),
    }


def test_truncations_and_removals_may_be_lost() -> None:
    trace = Trace({"a": b"abcd", "b": b""})
    trace.truncate(1, "a", 2)
    trace.unlink("b")
    states = as_set(after(trace))
    assert len(states) == 4
    assert frozenset({("a", b"ab")}) in states
    assert frozenset({("a", b"abcd"), ("b", b"")}) in states


def test_all_subsets_up_to_the_limit_and_a_seeded_sample_beyond() -> None:
    trace = Trace({"a": b"." * (LOOSE_MAX + 8)})
    for at in range(LOOSE_MAX):
        trace.write(1, "a", at, b"x")
    cuts = PowerCuts(trace)
    assert len(list(cuts)) == 2**LOOSE_MAX == cuts.tally.states
    assert (cuts.tally.complete, cuts.tally.sampled) == (LOOSE_MAX + 1, 0)
    for at in range(LOOSE_MAX, LOOSE_MAX + 8):
        trace.write(1, "a", at, b"x")
    first, again, other = (
        [state.image["a"] for state in PowerCuts(trace, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert b"x" * (LOOSE_MAX + 8) in first
    cuts = PowerCuts(trace)
    assert len(list(cuts)) > 2**LOOSE_MAX + 64
    assert cuts.tally.sampled == 8
    assert cuts.tally.loose == dict.fromkeys(range(LOOSE_MAX + 9), 1)


def test_what_is_left_out_as_known_was_looked_at() -> None:
    """States without the newest operation, and after syncs, are not made again."""

    class Everything(PowerCuts):
        def _all_fates(self, only_newest: bool):  # type: ignore[no-untyped-def]
            return super()._all_fates(False)

    trace = Trace()
    for name in "ab":
        inode = trace.create(name)
        trace.write(inode, name, 0, name.encode() * 1200)
        trace.write(inode, name, 700, b"-" * 600)
        trace.sync(inode, name)
        trace.ack(name)
    trace.sync_dir("")
    told = {(frozenset(state.image.items()), state.acks) for state in PowerCuts(trace)}
    every = {(frozenset(state.image.items()), state.acks) for state in Everything(trace)}
    assert told == every


def test_every_state_is_told_the_most_that_was_acknowledged_by_then() -> None:
    trace = Trace()
    trace.create("a")
    trace.ack("too early")
    trace.sync_dir("")

    class Oracle:
        def problems(self, state: State, acked: object) -> list[str]:
            return ["lost"] if acked and "a" not in state.image else []

    report = explore(trace, Oracle())
    assert report.bad == 1
    assert report.losses == ["lost: cut after operation 1: create a lost"]


def test_a_process_that_is_killed_leaves_loose_what_was_loose() -> None:
    trace = Trace()
    inode = trace.create("a")
    trace.write(inode, "a", 0, b"1")
    trace.sync(inode, "a")
    trace.sync_dir("")
    killed = trace.killed(2)
    assert killed.view() == {"a": b"1"}
    assert len(after(killed)) == 3


def test_files_that_get_past_the_recorder_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not recorded"):
        with recorded_os(Trace(), tmp_path):
            (tmp_path / "a").write_bytes(b"unseen")


def test_the_disk_is_recorded(tmp_path: Path) -> None:
    trace = Trace({"old": b"x"})
    with recorded_os(trace, tmp_path):
        disk = InlineDisk()
        disk.make_dirs(tmp_path / "a" / "b")
        file = disk.create(tmp_path / "a" / "c")
        file.writev([b"12", b"34"], 2)
        file.sync()
        file.close()
        disk.write_atomic(tmp_path / "old", b"new")
        disk.remove(tmp_path / "a" / "c")
    told = [str(op).replace(str(os.getpid()), "PID") for op in trace.ops]
    assert told == [
        *("mkdir a", "mkdir a/b", "sync_dir a", "sync_dir "),
        *("create a/c", "write a/c [2, 6)", "sync a/c"),
        *("create .old.PID.tmp", "write .old.PID.tmp [0, 3)", "sync .old.PID.tmp"),
        *("rename .old.PID.tmp to old", "sync_dir ", "unlink a/c"),
    ]


# -- SQLite -------------------------------------------------------------------------------------

STATEMENTS = (
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
    "CREATE TABLE t(a); INSERT INTO t VALUES(1); INSERT INTO t VALUES(zeroblob(9000));"
    "PRAGMA wal_checkpoint(PASSIVE); INSERT INTO t VALUES(3); DELETE FROM t WHERE a = 1;"
    "PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(4);"
)


def use(path: str) -> None:
    connection = sqlite3.connect(path, uri=True, isolation_level=None)
    for statement in STATEMENTS.split(";"):
        connection.execute(statement).fetchall()
    connection.close()


def test_sqlite_is_recorded_as_it_is() -> None:
    trace = Trace()
    with recorded(trace) as root:
        use(f"file:{root}/t.db?vfs={VFS}")
        shown = read_in(root)
    assert trace.view() == shown
    kinds = [op.kind for op in trace.ops]
    assert kinds.count("sync") > 8
    assert kinds.count("sync_dir") >= 2
    assert {op.path for op in trace.ops if op.kind == "unlink"} == {"t.db-journal", "t.db-wal"}


def test_the_record_is_what_a_process_asks_of_its_kernel(tmp_path: Path) -> None:
    """Only with strace: the same statements in a process, by its system calls. Truncations are
    left out: a trace has only those that change something."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    trace = Trace()
    with recorded(trace) as root:
        use(f"file:{root}/t.db?vfs={VFS}")
    log = tmp_path / "strace"
    calls = "trace=pwrite64,fsync,fdatasync,unlink"
    command = ["strace", "-y", "-o", str(log), "-e", calls, sys.executable, __file__]
    subprocess.run([*command, str(tmp_path / "t.db")], check=True)
    told = []
    for line in log.read_text().splitlines():
        if str(tmp_path) not in line or "-shm" in line:
            continue
        call, _, rest = line.partition("(")
        name = rest.split("<")[1].split(">")[0] if "<" in rest else rest.split('"')[1]
        kind = {"pwrite64": "write", "unlink": "unlink"}.get(call, "sync")
        relative = os.path.relpath(name, tmp_path)
        told.append(("sync_dir", "") if relative == "." else (kind, relative))
    ops = [op for op in trace.ops if op.kind not in ("create", "truncate")]
    assert told == [(op.kind, op.path) for op in ops]


def test_recovery_is_foretold() -> None:
    """What `crash_wal.py` finds in every state is what SQLite does."""
    trace = Trace()
    with recorded(trace) as root:
        use(f"file:{root}/t.db?vfs={VFS}")
    log = Log()
    contents: dict[object, set[str]] = {}
    foretold = 0
    for number, state in enumerate(PowerCuts(trace, samples=10, loose_max=4)):
        files = [state.image.get(f"t.db{end}") for end in ("", "-wal", "-journal")]
        pages = recovered(log, *files)
        if pages is None or number % 2:
            continue
        foretold += 1
        with scratch() as root:
            lay_out(state.image, root)
            connection = sqlite3.connect(root / "t.db")
            try:
                tables = connection.execute("SELECT sql FROM sqlite_master").fetchall()
                rows = connection.execute("SELECT a FROM t").fetchall() if tables else []
            finally:
                connection.close()
        contents.setdefault(pages, set()).add(repr((tables, rows)))
    assert foretold > 100
    assert len(contents) > 5
    assert all(len(found) == 1 for found in contents.values())


if __name__ == "__main__":
    use(f"file:{sys.argv[1]}")
