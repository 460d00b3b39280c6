"""A database of the first schema, kept as it was: it opens, and nothing of it is lost."""

import sqlite3
from pathlib import Path

from dcs_kit import START_MS, TickingClock, assert_trees, state
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at

from dc.names import peers
from dc.names.model import (
    AccessKey,
    Bucket,
    Cursor,
    Extent,
    Kind,
    Meta,
    Peer,
    Tombstone,
    User,
    Version,
    bucket_id,
)
from dc.names.schema import MIGRATIONS

V1 = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE buckets(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    region TEXT NOT NULL,
    created TEXT NOT NULL,
    deleted TEXT NOT NULL,
    seq INTEGER NOT NULL
);
CREATE TABLE users(
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    stamp TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE keys(
    id TEXT PRIMARY KEY,
    user TEXT NOT NULL,
    secret BLOB NOT NULL,
    stamp TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE versions(
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    vid TEXT NOT NULL,
    stamp TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    meta TEXT NOT NULL,
    extents TEXT NOT NULL,
    PRIMARY KEY(bucket, key, vid)
) WITHOUT ROWID;
CREATE TABLE tombstones(
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    vid TEXT NOT NULL,
    stamp TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY(bucket, key, vid)
) WITHOUT ROWID;
CREATE TABLE feed(
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    vid TEXT NOT NULL
);

CREATE TABLE uploads(
    id TEXT PRIMARY KEY,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    record TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_by_key ON uploads(bucket, key, id);
CREATE TABLE parts(
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    record TEXT NOT NULL,
    PRIMARY KEY(upload, number)
) WITHOUT ROWID;
CREATE TABLE completed(
    upload TEXT PRIMARY KEY,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    vid TEXT NOT NULL,
    stamp TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX completed_by_time ON completed(stamp);

CREATE TABLE peers(dc_id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record BLOB NOT NULL)
    WITHOUT ROWID;
CREATE TABLE used_tokens(id TEXT PRIMARY KEY, peer TEXT NOT NULL, expires INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE cursors(peer TEXT PRIMARY KEY, epoch TEXT NOT NULL, seq INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE inbox(
    peer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    change BLOB NOT NULL,
    extents TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_try_ms INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY(peer, seq)
) WITHOUT ROWID;
CREATE INDEX inbox_by_time ON inbox(peer, next_try_ms, seq);
"""
PHOTOS, OLD = bucket_id(OWNER, "photos"), bucket_id(OWNER, "old")
EPOCH = "00112233aabbccdd"
AT = START_MS - 5_000
DATA = f"""
INSERT INTO facts VALUES('epoch', '{EPOCH}'), ('position', '{stamp_at(AT + 99)} 12');
INSERT INTO buckets VALUES(1, '{PHOTOS}', 'photos', '{OWNER}', 'eu', '{stamp_at(AT)}', '', 1),
    (2, '{OLD}', 'old', '{OWNER}', 'eu', '{stamp_at(AT)}', '{stamp_at(AT + 5)}', 2);
INSERT INTO users VALUES('{OWNER}', 'ann@example.com', '{stamp_at(AT + 1)}', 0, 3);
INSERT INTO keys VALUES('FSAK', '{OWNER}', x'0102', '{stamp_at(AT + 1)}', 0, 4),
    ('FSGONE', '{OWNER}', x'', '{stamp_at(AT + 2)}', 1, 5);
INSERT INTO versions VALUES
    (1, 'a/ü "q"', '', '{stamp_at(AT + 3, origin=TOKYO)}', 6, 0, 3, 'e1',
        '{{"user":{{"who":"ännä"}},"crc64":18446744073709551615}}', '[[4,64,3]]'),
    (1, 'v', '{"1" * 32}', '{stamp_at(AT + 4)}', 7, 0, 1, 'e2', '{{}}', '[[4,128,1]]'),
    (1, 'v', '{"0" * 32}', '{stamp_at(AT + 6)}', 8, 1, 0, '', '{{}}', '[]');
INSERT INTO tombstones VALUES(1, 'gone', '', '{stamp_at(AT + 7)}', 9),
    (1, 'v', '{"2" * 32}', '{stamp_at(AT + 8)}', 10);
INSERT INTO feed VALUES(1, 10, 0, '{PHOTOS}', ''), (2, 10, 0, '{OLD}', ''),
    (3, 11, 0, '{OWNER}', ''), (4, 12, 0, 'FSAK', ''), (5, 12, 0, 'FSGONE', ''),
    (6, 0, 1, 'a/ü "q"', ''), (7, 0, 1, 'v', '{"1" * 32}'), (8, 1, 1, 'v', '{"0" * 32}'),
    (9, 2, 1, 'gone', ''), (10, 2, 1, 'v', '{"2" * 32}');
INSERT INTO cursors VALUES('{TOKYO}', 'feedface', 77);
INSERT INTO inbox VALUES('{TOKYO}', 70, x'00', '[[0,[4,64,3]]]', 2, 5, 'OutOfSpace: full');
PRAGMA user_version=1;
"""
PEER = Peer(
    dc_id=TOKYO,
    name="tokyo",
    region="ap",
    endpoints=["tokyo:7"],
    fingerprint="f" * 64,
    signing_key=b"s",
    sealing_key=b"k",
    paired=stamp_at(AT),
)


def make(path: Path) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(V1 + DATA)
    record = peers.msgspec.msgpack.encode(PEER)
    db.execute("INSERT INTO peers VALUES(?, ?, ?)", (TOKYO, PEER.name, record))
    db.close()


def expected() -> list[Bucket | User | AccessKey | Version | Tombstone]:
    old = {"owner": OWNER, "region": "eu", "created": stamp_at(AT)}
    first = Meta(user={"who": "ännä"}, crc64=2**64 - 1)
    marker = Kind.DELETE_MARKER
    made = stamp_at(AT + 3, origin=TOKYO)
    return [
        Bucket(id=PHOTOS, name="photos", **old),
        Bucket(id=OLD, name="old", deleted=stamp_at(AT + 5), **old),
        User(id=OWNER, email="ann@example.com", stamp=stamp_at(AT + 1)),
        AccessKey(id="FSAK", user=OWNER, secret=b"\1\2", stamp=stamp_at(AT + 1)),
        AccessKey(id="FSGONE", user=OWNER, secret=b"", stamp=stamp_at(AT + 2), deleted=True),
        Version(
            PHOTOS, 'a/ü "q"', "", made, Kind.OBJECT, 3, "e1", first,
            [Extent(4, 64, 3)], seq=6,
        ),
        Version(
            PHOTOS, "v", "1" * 32, stamp_at(AT + 4), Kind.OBJECT, 1, "e2", Meta(),
            [Extent(4, 128, 1)], seq=7,
        ),
        Version(PHOTOS, "v", "0" * 32, stamp_at(AT + 6), marker, 0, "", Meta(), [], seq=8),
        Tombstone(bucket=PHOTOS, key="gone", vid="", stamp=stamp_at(AT + 7)),
        Tombstone(bucket=PHOTOS, key="v", vid="2" * 32, stamp=stamp_at(AT + 8)),
    ]  # fmt: skip


async def test_version_1_opens_with_all_that_it_had(tmp_path: Path) -> None:
    path = tmp_path / "names.db"
    make(path)
    for _ in range(2):
        async with opened(path, PARIS, TickingClock(START_MS)) as names:
            entries, end, complete = await names.feed(0, 100)
            assert [entry.change for entry in entries] == expected()
            assert [entry.seq for entry in entries] == list(range(1, 11))
            assert (end, complete, names.feed_end) == (12, True, 12)
            await assert_trees(names)
            assert set(names.roots()) == {"", PHOTOS}
            assert names.peers() == [PEER]
            assert await names.cursor(TOKYO) == Cursor("feedface", 77)
            [entry] = await names.inbox(TOKYO)
            assert (entry.seq, entry.attempts, entry.extents) == (70, 2, [(0, Extent(4, 64, 3))])
            assert names.knowledge.recognises(EPOCH, 12, names.feed_end)
            assert not names.knowledge.recognises(EPOCH, 13, names.feed_end)
            assert names.epoch != EPOCH
            assert names.clock.now() > stamp_at(AT + 99)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    assert db.execute("SELECT * FROM facts WHERE name = 'rebuild'").fetchall() == []
    db.close()


async def test_it_is_the_same_as_one_made_now(tmp_path: Path) -> None:
    make(tmp_path / "old.db")
    clock = TickingClock(START_MS)
    async with (
        opened(tmp_path / "old.db", PARIS, clock) as old,
        opened(tmp_path / "new.db", TOKYO, clock) as new,
    ):
        await new.apply(expected())
        assert await state(new) == await state(old)
        assert new.roots() == old.roots()


async def test_a_crash_before_the_hashes_are_made_is_made_up_for(tmp_path: Path) -> None:
    path = tmp_path / "names.db"
    make(path)
    db = sqlite3.connect(path, isolation_level=None)
    for number, migration in enumerate(MIGRATIONS[1:], 2):
        db.executescript(f"BEGIN;{migration};PRAGMA user_version={number};COMMIT;")
    assert db.execute("SELECT leaf FROM versions").fetchall() == [("",)] * 3
    db.close()
    async with opened(path, PARIS, TickingClock(START_MS)) as names:
        await assert_trees(names)
        assert PHOTOS in names.roots()
