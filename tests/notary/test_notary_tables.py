"""The notary's tables: logs that grow and are cut, what is found in them, what is kept."""

import asyncio
import sqlite3

import pytest
from notary_checker import mth
from notary_samples import (
    ALPHA,
    BETA,
    DELTA,
    GAMMA,
    SECONDS,
    begun,
    entry,
    log_key,
    opened,
    sealed,
    stamp_of,
    stamped,
)

from dc.names.api import NamesError
from dc.system import SystemDatabases
from notary import note, running, tables, tree
from notary.errors import NotaryError
from notary.store import MIGRATIONS, open_store
from notary.tables import Alarm, Log, Timestamp


@pytest.fixture
def db(tmp_path):
    with opened(tmp_path / "log.db") as found:
        yield found


def tiles_in(db: sqlite3.Connection, log: Log) -> dict[tuple[int, int], bytes]:
    rows = db.execute("SELECT level, number, hashes FROM tiles WHERE log = ?", (log.number,))
    return {(level, number): bytes(hashes) for level, number, hashes in rows}


def tiles_of_size(leaves: list[bytes], size: int) -> dict[tuple[int, int], bytes]:
    return tree.grown(lambda level, number: b"", 0, leaves[:size])


# -- logs ---------------------------------------------------------------------------------------


def test_a_log_is_begun_once(db):
    log = begun(db)
    assert log == (1, f"farshore/{ALPHA.dc_id}", ALPHA.public.signing_key, 0, 0)
    assert begun(db) == log == tables.log_of(db, log.origin)
    assert begun(db, BETA).number == 2 and tables.logs(db) == [log, begun(db, BETA)]
    assert tables.log_of(db, "farshore/other") is None
    with pytest.raises(NotaryError, match="another key"):
        tables.begin_log(db, log.origin, BETA.public.signing_key)


def test_entries_are_appended(db):
    other = begun(db, BETA, 3)
    log = begun(db)
    lines = [entry(ALPHA, number) for number in range(600)]
    for first, stop in ((0, 1), (1, 1), (1, 255), (255, 257), (257, 600)):
        log = tables.append(db, log, lines[first:stop])
        assert log.size == stop == tables.log_of(db, log.origin).size
        leaves = [tree.leaf_hash(line) for line in lines[:stop]]
        assert tree.root(tables.tiles_of(db, log.number), stop) == mth(leaves)
        assert tiles_in(db, log) == tiles_of_size(leaves, stop)
    assert tables.page(db, log.number, 0, 1000) == lines
    assert tables.page(db, log.number, 255, 258) == lines[255:258]
    assert tables.page(db, log.number, 600, 700) == tables.page(db, log.number, 5, 5) == []
    assert tables.page(db, other.number, 0, 10) == [entry(BETA, number) for number in range(3)]


def test_what_was_appended_is_not_written_over(db):
    log = begun(db)
    tables.append(db, log, [entry(ALPHA, 0)])
    with pytest.raises(sqlite3.IntegrityError):
        tables.append(db, log, [entry(ALPHA, 1)])


def test_many_tiles_are_read(db):
    """More than a reader keeps in memory."""
    log = begun(db)
    read = tables.tiles_of(db, log.number)
    assert read(0, 0) == b""
    tables._put_tiles(db, log.number, {(0, number): bytes([number]) * 32 for number in range(200)})
    read = tables.tiles_of(db, log.number)
    for number in (*range(200), *range(200)):
        assert read(0, number) == bytes([number]) * 32
    assert read(0, 200) == read(1, 0) == b""


# -- what is found ------------------------------------------------------------------------------


def test_an_entry_is_found_by_its_stamp(db):
    log = sealed(db, ALPHA, begun(db, count=3), 2)
    begun(db, BETA, 3)
    for number in range(3):
        place = tables.place_of(db, stamp_of(ALPHA, number))
        assert place == (log, number) and place.is_sealed == (number < 2)
    assert tables.place_of(db, stamp_of(BETA, 1)).log.origin == log_key(BETA).name
    assert tables.place_of(db, stamp_of(ALPHA, 3)) is None
    assert tables.place_of(db, stamp_of(DELTA, 1)) is None
    assert tables.place_of(db, "") is None


@pytest.mark.parametrize("order", [(BETA, ALPHA), (ALPHA, BETA)])
def test_another_log_does_not_answer_for_a_write(db, order):
    """A DC may put what it likes into its log; who made a write says its stamp."""
    stamp = stamp_of(ALPHA, 7)
    for identity in order:
        lines = [entry(identity, 1), entry(identity, 7, stamp=stamp)]
        tables.append(db, begun(db, identity), lines)
        if identity is BETA:
            held = tables.place_of(db, stamp)
            assert held is None or held.log.origin == log_key(ALPHA).name
    place = tables.place_of(db, stamp)
    assert (place.log.origin, place.position) == (log_key(ALPHA).name, 1)


def test_a_log_that_names_a_write_often_makes_nobody_read_all_of_that(db):
    stamp = stamp_of(ALPHA, 7)
    tables.append(db, begun(db, BETA), [entry(BETA, 7, stamp=stamp)] * 2000)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    for entries in ([], [entry(ALPHA, 7, stamp=stamp)] * 2000):
        tables.append(db, begun(db, ALPHA), entries)
        db.set_progress_handler(step, 1)
        place = tables.place_of(db, stamp)
        db.set_progress_handler(None, 1)
        assert (place is None) == (not entries)
    assert 0 < steps < 500


def test_removals_may_be_of_any_log(db):
    """A version is removed by whoever has it."""
    stamp = stamp_of(ALPHA, 1)
    begun(db, ALPHA, 3)
    tables.append(db, begun(db, BETA), [entry(BETA, 9, stamp=stamp, type="removed")])
    assert tables.place_of(db, stamp).log.origin == log_key(ALPHA).name
    assert tables.place_of(db, stamp, 1).log.origin == log_key(BETA).name
    assert tables.place_of(db, stamp, 2) is None


def test_what_a_log_knows(db):
    log, other = begun(db, count=2), begun(db, BETA, 1)
    tables.append(db, log, [entry(ALPHA, 1, type="removed")])
    asked = [(stamp_of(one, n), kind) for one in (ALPHA, BETA) for n in (0, 1) for kind in (0, 1)]
    assert tables.known(db, log.number, asked) == {
        (stamp_of(ALPHA, 0), 0),
        (stamp_of(ALPHA, 1), 0),
        (stamp_of(ALPHA, 1), 1),
    }
    assert tables.known(db, other.number, asked) == {(stamp_of(BETA, 0), 0)}
    assert tables.known(db, log.number, []) == set()


def test_what_cannot_be_read_is_kept_all_the_same(db):
    """Of a mirror: the tree is of it."""
    lines = [b"\xff\x00", b"", entry(BETA, 1) + b" ", entry(BETA, 2)]
    log = tables.append(db, begun(db, BETA), lines)
    assert tables.page(db, log.number, 0, 9) == lines
    assert tree.root(tables.tiles_of(db, log.number), 4) == mth([*map(tree.leaf_hash, lines)])
    assert tables.place_of(db, "") is None and tables.place_of(db, "", -1) is not None
    assert tables.place_of(db, stamp_of(BETA, 1)) is None
    assert tables.place_of(db, stamp_of(BETA, 2)).position == 3


# -- checkpoints and timestamps -----------------------------------------------------------------


def _rows(db, number, serial, limit, kind):
    rows = tables.rows_after(db, number, serial, 99)
    return [row for row in rows if isinstance(row[1], kind)][:limit]


def checkpoints_after(db, number, serial, limit):
    return _rows(db, number, serial, limit, str)


def timestamps_after(db, number, serial, limit):
    return _rows(db, number, serial, limit, Timestamp)


def test_checkpoints_are_published(db):
    log = sealed(db, ALPHA, begun(db, count=9), 3)
    assert log.sealed == 3 == tables.log_of(db, log.origin).sealed
    log = sealed(db, ALPHA, log, 9)
    log = sealed(db, ALPHA, log, 5)
    assert log.sealed == 9 == tables.log_of(db, log.origin).sealed, "it does not go back"
    assert tables.checkpoint_at(db, log.number, 5).size == 5
    assert tables.checkpoint_at(db, log.number, 4) is None
    assert tables.checkpoint_at(db, 99, 5) is None


def test_signatures_are_added_to_a_checkpoint(db):
    log = sealed(db, ALPHA, begun(db, count=2), 2)
    assert [serial for serial, _ in checkpoints_after(db, log.number, 0, 9)] == [1]
    for witnesses, serial in (((), 1), ((BETA,), 2), ((BETA,), 2), ((GAMMA,), 3), ((), 3)):
        sealed(db, ALPHA, log, 2, *witnesses)
        ((found, text),) = checkpoints_after(db, log.number, 0, 9)
        assert found == serial, "what is no news has no new serial"
    head = note.read_checkpoint(text)
    assert head == tables.checkpoint_at(db, log.number, 2) and len(head.witnesses) == 2
    later = note.cosign(BETA, head, SECONDS + 99)
    tables.put_checkpoint(db, log, head._replace(signatures=(head.signatures[0], later)))
    newer = tables.checkpoint_at(db, log.number, 2)
    assert later in newer.witnesses and len(newer.witnesses) == 2
    tables.put_checkpoint(db, log, head)
    assert tables.checkpoint_at(db, log.number, 2) == newer, "the earlier one does not come back"


def test_serials_go_on_behind_those_of_a_database_that_was_put_back(db):
    tables.raise_serial(db, 1_800_000_000_000)
    assert tables.next_serial(db) == 1_800_000_000_001
    tables.raise_serial(db, 1_700_000_000_000)
    assert tables.next_serial(db) == 1_800_000_000_002, "also when the clock has gone back"


def test_a_signature_counts_once(db):
    """Otherwise a checkpoint would be among the best for one that it has twice."""
    log = sealed(db, ALPHA, begun(db, count=4), 2, BETA, GAMMA)
    plain = note.sign(ALPHA, 4, tree.root(tables.tiles_of(db, log.number), 4))
    signed = note.cosign(BETA, plain, SECONDS)
    tables.put_checkpoint(db, log, plain._replace(signatures=(*plain.signatures, *[signed] * 5)))
    assert len(tables.checkpoint_at(db, log.number, 4).witnesses) == 1
    assert tables.best_checkpoint(db, log.number, 0).size == 2


def test_the_best_checkpoint(db):
    log = begun(db, count=9)
    assert tables.best_checkpoint(db, log.number, 0) is None
    for size, witnesses in (
        (2, ()),
        (3, (BETA,)),
        (4, ()),
        (5, (GAMMA,)),
        (6, (BETA, GAMMA)),
        (8, ()),
    ):
        log = sealed(db, ALPHA, log, size, *witnesses)
    sealed(db, DELTA, begun(db, DELTA, 9), 9, ALPHA, BETA, GAMMA)
    found = [tables.best_checkpoint(db, log.number, index) for index in range(9)]
    assert [one and one.size for one in found] == [6, 6, 6, 6, 6, 6, 8, 8, None]
    db.execute("DELETE FROM checkpoints WHERE size = 6")
    found = [tables.best_checkpoint(db, log.number, index) for index in range(9)]
    assert [one and one.size for one in found] == [3, 3, 3, 5, 5, 8, 8, 8, None]


def test_the_first_timestamps(db):
    log = begun(db, count=9)
    for size, kind in ((3, "b"), (5, "b"), (2, "a"), (7, "a"), (9, "c")):
        stamped(db, ALPHA, log, size, kind, b"%d" % size)
    stamped(db, BETA, begun(db, BETA, 1), 1, "b", b"another log's")
    found = [
        [(one.kind, one.size) for one in tables.first_timestamps(db, log.number, index)]
        for index in (0, 1, 2, 3, 4, 5, 8, 9)
    ]
    assert found == [
        [("a", 2), ("b", 3), ("c", 9)],
        [("a", 2), ("b", 3), ("c", 9)],
        [("a", 7), ("b", 3), ("c", 9)],
        [("a", 7), ("b", 5), ("c", 9)],
        [("a", 7), ("b", 5), ("c", 9)],
        [("a", 7), ("c", 9)],
        [("c", 9)],
        [],
    ]


def test_a_better_timestamp_takes_the_place_of_one(db):
    number = begun(db, count=9).number
    tables.put_timestamp(db, number, Timestamp("a", 2, b"one", b"s1"))
    tables.put_timestamp(db, number, Timestamp("a", 2, b"one", b"s2"))
    assert timestamps_after(db, number, 0, 9) == [(1, Timestamp("a", 2, b"one", b"s1"))]
    tables.put_timestamp(db, number, Timestamp("a", 2, b"two", b"s3"))
    assert timestamps_after(db, number, 1, 9) == [(2, Timestamp("a", 2, b"two", b"s3"))]
    assert tables.first_timestamps(db, number, 0) == [Timestamp("a", 2, b"two", b"s3")]


def test_serials_grow_over_all_that_peers_copy(db):
    log, other = begun(db, count=9), begun(db, BETA, 9)
    log = sealed(db, ALPHA, log, 1)
    stamped(db, ALPHA, log, 1, "a", b"x")
    sealed(db, BETA, other, 1)
    for size in (3, 2):
        log = sealed(db, ALPHA, log, size)
    stamped(db, ALPHA, log, 3, "a", b"y")
    log = sealed(db, ALPHA, log, 1, BETA)
    number = log.number
    found = checkpoints_after(db, number, 0, 9)
    assert [(serial, text.split("\n")[1]) for serial, text in found] == [
        (4, "3"),
        (5, "2"),
        (7, "1"),
    ]
    assert checkpoints_after(db, number, 4, 9) == found[1:]
    assert checkpoints_after(db, number, 0, 2) == found[:2]
    assert [serial for serial, _ in timestamps_after(db, number, 0, 9)] == [2, 6]
    assert [serial for serial, _ in timestamps_after(db, number, 2, 9)] == [6]
    assert len(timestamps_after(db, number, 0, 1)) == 1
    assert [serial for serial, _ in checkpoints_after(db, other.number, 0, 9)] == [3]
    assert tables.next_serial(db) == 8


# -- the rest -----------------------------------------------------------------------------------


def test_how_far_a_peer_was_copied(db):
    assert tables.mirrored(db, 1, "beta") == 0
    tables.set_mirrored(db, 1, "beta", 7)
    tables.set_mirrored(db, 1, "beta", 9)
    tables.set_mirrored(db, 2, "beta", 3)
    tables.set_mirrored(db, 1, "gamma", 4)
    assert [tables.mirrored(db, *at) for at in ((1, "beta"), (2, "beta"), (1, "gamma"))] == [
        9,
        3,
        4,
    ]


def test_what_was_witnessed_last(db):
    assert tables.witnessed(db, log_key(ALPHA).name) is None
    for size in (5, 7):
        head = note.sign(ALPHA, size, b"r" * 32)
        tables.set_witnessed(db, head)
        tables.set_witnessed(db, note.sign(BETA, 1, b"r" * 32))
        assert tables.witnessed(db, head.origin) == head


def test_alarms_are_told_once_until_they_are_forgotten(db):
    assert tables.alarms(db) == []
    facts = ("farshore/x", "fork", "what it is", "known", "shown")
    assert tables.alarm(db, 1, *facts)
    assert not tables.alarm(db, 2, *facts), "it is no news"
    assert tables.alarm(db, 3, "farshore/y", *facts[1:])
    assert tables.alarm(db, 4, facts[0], "rollback", *facts[2:])
    assert not tables.alarm(db, 5, *facts[:4], "something else"), "one is enough"
    found = tables.alarms(db)
    assert found[0] == Alarm(1, 1, *facts) and [one.time_ms for one in found] == [1, 3, 4]
    assert tables.forget_alarm(db, 1) and not tables.forget_alarm(db, 1)
    assert [one.id for one in tables.alarms(db)] == [2, 3]
    assert tables.alarm(db, 9, *facts)


def test_each_thing_that_is_contradicted_is_an_alarm_a_hundred_of_a_log(db):
    """One that nobody has forgotten hides no other."""
    for number in range(150):
        is_news = tables.alarm(db, 1, "farshore/x", "fork", "text", f"known {number}", "shown")
        assert is_news == (number < 100)
    assert tables.alarm(db, 1, "farshore/y", "fork", "text", "known 7", "shown")
    assert [one.known for one in tables.alarms(db)] == [
        *(f"known {number}" for number in range(100)),
        "known 7",
    ]
    assert tables.forget_alarm(db, 1)
    assert tables.alarm(db, 1, "farshore/x", "fork", "text", "known 149", "shown")


def test_where_hooks_are(db):
    assert running.hook_at(db, "rfc3161") is None
    running.set_hook(db, "rfc3161", 0, 0)
    running.set_hook(db, "other", 1, 2)
    assert running.hook_at(db, "rfc3161") == (0, 0)
    running.set_hook(db, "rfc3161", 7, 5)
    assert (running.hook_at(db, "rfc3161"), running.hook_at(db, "other")) == ((7, 5), (1, 2))


# -- the store ----------------------------------------------------------------------------------


async def test_a_store_keeps_what_was_done_and_nothing_of_what_failed(tmp_path):
    store = await open_store(tmp_path / "log.db", SystemDatabases())
    log = await store.act(lambda db: begun(db, count=3))

    def fail(db):
        tables.append(db, log, [entry(ALPHA, 3)])
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        await store.act(fail)
    assert await store.read(lambda db: tables.logs(db)) == [log]
    await store.close()
    store = await open_store(tmp_path / "log.db", SystemDatabases())
    assert await store.read(lambda db: tables.page(db, 1, 0, 9)) == [
        entry(ALPHA, n) for n in range(3)
    ]
    with pytest.raises(ZeroDivisionError):
        await store.read(lambda db: 1 / 0)
    assert await store.read(tables.logs) == [log]
    await store.close()


def test_a_newer_database_is_refused(tmp_path):
    path = tmp_path / "log.db"
    with opened(path):
        pass
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        db.execute(f"PRAGMA user_version={len(MIGRATIONS) + 1}")
    db.close()

    async def refused():
        databases = Counted()
        with pytest.raises(NamesError, match=f"schema {len(MIGRATIONS) + 1}.*newer farshore"):
            await open_store(path, databases)
        assert databases.open_ones == 0, "each has a thread, for which the process would wait"

    asyncio.run(refused())


class Counted(SystemDatabases):
    """Knows how many are open."""

    open_ones = 0

    async def open(self, path):
        found = await super().open(path)
        close = found.close

        async def closed() -> None:
            self.open_ones -= 1
            await close()

        found.close = closed
        self.open_ones += 1
        return found
