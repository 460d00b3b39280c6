"""The tables of a name server, and how an older database becomes a newer one.

`versions` holds one row per version, in listing order; `vid` "" is the null version, other version
ids sort newest first, so the newest of a key is one of its first two rows. Buckets are a small
number inside the tables and an identity everywhere else.

`feed` names what changed, by position. A change of an item takes the row of its earlier change
out, so the table holds one row per item that exists (or has a tombstone), however often it changed:
reading it from 0 is a full copy, and it never needs trimming. The row of the item has its position
in `seq`, which is how the earlier feed row is found.

A database says its schema version in `PRAGMA user_version`. Each migration brings it one version
on, inside a transaction. A database from a newer Farshore is refused. A migration that changes what
is hashed leaves the fact `rebuild`: the trees are then made anew (`dc/names/rebuild.py`).
"""

import sqlite3
from collections.abc import Sequence

from dc.names.api import NamesError

_V1 = """
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

# Writes know what they had seen, losers are kept, attributes are registers, and everything that is
# the same in all DCs has a hash (`docs/convergence.md`). `leaf` is filled in
# by `rebuild.py`.
_V2 = """
ALTER TABLE buckets ADD COLUMN revived TEXT NOT NULL DEFAULT '';
ALTER TABLE buckets ADD COLUMN registers TEXT NOT NULL DEFAULT '{}';
ALTER TABLE versions ADD COLUMN seen TEXT NOT NULL DEFAULT '';
ALTER TABLE versions ADD COLUMN registers TEXT NOT NULL DEFAULT '{}';
ALTER TABLE versions ADD COLUMN leaf TEXT NOT NULL DEFAULT '';
ALTER TABLE tombstones ADD COLUMN seen TEXT NOT NULL DEFAULT '';
ALTER TABLE tombstones ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
CREATE TABLE conflicts(
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    stamp TEXT NOT NULL,
    vid TEXT NOT NULL,
    winner TEXT NOT NULL,
    gone INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    meta TEXT NOT NULL,
    extents TEXT NOT NULL,
    seen TEXT NOT NULL,
    registers TEXT NOT NULL,
    leaf TEXT NOT NULL,
    PRIMARY KEY(bucket, key, stamp)
) WITHOUT ROWID;
CREATE INDEX conflicts_by_winner ON conflicts(winner) WHERE NOT gone;
CREATE INDEX conflicts_gone ON conflicts(seq) WHERE gone;
CREATE INDEX feed_tombstones ON feed(seq) WHERE kind = 2;
CREATE TABLE sites(
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    region TEXT NOT NULL,
    stamp TEXT NOT NULL,
    seq INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE epochs(first INTEGER NOT NULL, id TEXT NOT NULL UNIQUE);
INSERT INTO epochs SELECT 0, value FROM facts WHERE name = 'epoch';
DELETE FROM facts WHERE name = 'epoch';
INSERT INTO facts VALUES('rebuild', '');
CREATE TABLE coverage(origin TEXT NOT NULL, low TEXT NOT NULL, high TEXT NOT NULL,
    PRIMARY KEY(origin, low)) WITHOUT ROWID;
CREATE TABLE progress(peer TEXT PRIMARY KEY, epoch TEXT NOT NULL, acked INTEGER NOT NULL,
    heard_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE trees(bucket INTEGER PRIMARY KEY, leaves BLOB NOT NULL);
CREATE TABLE tree_log(deltas BLOB NOT NULL);
"""

# Of an unfinished change one asks first what is wrong with it.
_V3 = """
CREATE INDEX inbox_failing ON inbox(peer, seq, attempts, error) WHERE error != '';
"""

# What a comparison brings back is told apart, and that one is due outlives a restart.
_V4 = """
ALTER TABLE inbox ADD COLUMN restoring INTEGER NOT NULL DEFAULT 0;
ALTER TABLE cursors ADD COLUMN missed INTEGER NOT NULL DEFAULT 0;
"""

# Events (`dc/names/outbox.py`): ids are never used again, so that "all up to this one" is clear.
_V5 = """
CREATE TABLE outbox(id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL,
    payload BLOB NOT NULL);
"""

# Bodies that other datacenters hold (`dc/placement.py`): what is to be filled in is among them.
_V6 = """
CREATE INDEX versions_elsewhere ON versions(bucket, key, vid, stamp, size)
    WHERE substr(extents, 1, 4) = '[[0,';
CREATE INDEX conflicts_elsewhere ON conflicts(bucket, key, stamp, size)
    WHERE substr(extents, 1, 4) = '[[0,';
"""

# Where the journal is that the names can be made again from (`dc/names/journal.py`).
_V7 = """
CREATE TABLE journal(serial INTEGER PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL,
    rows INTEGER NOT NULL, floor TEXT NOT NULL, begun INTEGER NOT NULL, extents TEXT NOT NULL);
"""

# What went to peers and came from them in files (`dc/names/exchanges.py`), and what peers lacked
# when they were lost (`dc/names/unshipped.py`).
_V8 = """
CREATE TABLE exchanges(peer TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE absences(id INTEGER PRIMARY KEY, peer TEXT NOT NULL, record BLOB NOT NULL);
CREATE TABLE unshipped(
    absence INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    bucket INTEGER NOT NULL,
    key TEXT NOT NULL,
    vid TEXT NOT NULL,
    stamp TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY(absence, seq)
) WITHOUT ROWID;
CREATE INDEX unshipped_by_time ON unshipped(stamp, absence);
"""

# What is to be notarized (`dc/names/notary_outbox.py`); `extents` are those of what is to be read.
_V9 = """
CREATE TABLE notary_outbox(
    id INTEGER PRIMARY KEY AUTOINCREMENT, record BLOB NOT NULL, extents TEXT NOT NULL
);
"""

MIGRATIONS = [_V1, _V2, _V3, _V4, _V5, _V6, _V7, _V8, _V9]
"""MIGRATIONS[n] brings a database from schema version n to n + 1."""


def prepare(db: sqlite3.Connection) -> None:
    """Set up a connection, whoever uses it."""
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA wal_autocheckpoint=0")
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute("PRAGMA cache_size=-16384")


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to the newest schema; NamesError when it is newer than this program."""
    bring_up(db, MIGRATIONS, "the name server's database")


def bring_up(db: sqlite3.Connection, migrations: Sequence[str], what: str) -> None:
    """Make all migrations of a database that are not made yet. `what`: which it is, for the
    NamesError when it is newer than they are."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > len(migrations):
        raise NamesError(
            f"{what} has schema {version}, this farshore knows up to {len(migrations)}: run the"
            " newer farshore that wrote it"
        )
    for number in range(version, len(migrations)):
        db.executescript(
            f"BEGIN IMMEDIATE;\n{migrations[number]}\nPRAGMA user_version={number + 1};\nCOMMIT;"
        )
