"""What two DCs exchange to find out how they differ: the items of leaves, what items are now, and
their records.

A leaf's items are found by reading through the bucket's keys, a page at a time: leaves are asked
for only when they differ, and an index for it would cost every write. A page of keys comes as one
text, so the interpreter lock is free while SQLite reads; of the few keys that belong to the leaves
the rows are read.

Tombstones are in no leaf. Whether an item that one side has was deleted at the other is seen when
its state is asked for.
"""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from dc.names import conflicts, registers
from dc.names.kinds import (
    CONFLICT,
    FEED_BUCKET,
    FEED_KEY,
    FEED_SITE,
    FEED_USER,
    TABLES,
    TOMBSTONE,
)
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    FeedEntry,
    ItemState,
    LeafItem,
    Site,
    Tombstone,
    User,
)
from dc.names.rows import read_version
from dc.names.trees import leaf_of

DIRECTORY_KINDS: dict[type, int] = {
    Bucket: FEED_BUCKET,
    User: FEED_USER,
    AccessKey: FEED_KEY,
    Site: FEED_SITE,
}
_KEYS = """
SELECT count(*), max(key), group_concat(key, char(0)) FROM
(SELECT key FROM {table} WHERE bucket = ?1 AND key > ?2 ORDER BY key LIMIT ?3)
"""
_VERSIONS = """
SELECT v.kind, v.key, v.vid, v.stamp, v.leaf FROM json_each(?2) j CROSS JOIN versions v
ON v.bucket = ?1 AND v.key = j.value
"""
_CONFLICTS = f"""
SELECT {CONFLICT}, c.key, c.stamp, c.winner, c.leaf FROM json_each(?2) j
CROSS JOIN conflicts c ON c.bucket = ?1 AND c.key = j.value AND NOT c.gone
"""
_COUNTS = """
SELECT b.id, (SELECT count(*) FROM versions v WHERE v.bucket = b.number)
    + (SELECT count(*) FROM conflicts c WHERE c.bucket = b.number AND NOT c.gone)
FROM buckets b WHERE ?1 = '' OR b.id = ?1
"""
_encode = msgspec.json.Encoder().encode


def leaf_items(
    db: sqlite3.Connection, number: int, leaves: frozenset[int], after: str, limit: int
) -> tuple[list[LeafItem], str]:
    """The items whose keys are after `after` and belong to those leaves, by key: of the next
    `limit` keys or so. The second is what to go on after, "" at the end."""
    last = ""
    keys: set[str] = set()
    for table in ("versions", "conflicts"):
        count, reached, text = db.execute(
            _KEYS.format(table=table), (number, after, limit)
        ).fetchone()
        if count == limit:
            last = min(last or reached, reached)
        if count:
            # No key has a NUL in it: the doors refuse them.
            keys.update(key for key in text.split("\0") if leaf_of(key) in leaves)
    wanted = _encode([key for key in keys if not last or key <= last]).decode()
    rows = db.execute(_VERSIONS, (number, wanted)).fetchall()
    rows += db.execute(_CONFLICTS, (number, wanted)).fetchall()
    found = [LeafItem(*row) for row in rows]
    found.sort(key=lambda one: one.key)
    return found, last


def directory_items(everything: Iterable[Change], leaves: frozenset[int]) -> list[LeafItem]:
    """The same of buckets, users, keys and sites, all at once."""
    found = []
    for change in everything:
        item = registers.id_of(change)
        if leaf_of(item) in leaves and not (isinstance(change, Bucket) and not change.created):
            kind = DIRECTORY_KINDS[type(change)]
            found.append(LeafItem(kind, item, "", change.stamp, registers.hash_of(change)))
    found.sort(key=lambda one: one.key)
    return found


def counts(db: sqlite3.Connection, bucket_id: str) -> dict[str, int]:
    """How many live items there are, by bucket id; of one bucket, or ("") of all."""
    return dict(db.execute(_COUNTS, (bucket_id,)).fetchall())


# -- what items are now -------------------------------------------------------------------------


def states(
    db: sqlite3.Connection, number: int, items: Sequence[tuple[int, str, str]]
) -> list[ItemState | None]:
    """What each item is now, asked for as in `records`; None when it is not here."""
    return [_state(db, number, *item) for item in items]


def _state(db: sqlite3.Connection, number: int, kind: int, key: str, vid: str) -> ItemState | None:
    if kind >= FEED_BUCKET:
        change = registers.read(db, kind, key)
        if change is None or (isinstance(change, Bucket) and not change.created):
            return None
        return ItemState(kind, change.stamp, registers.hash_of(change), "")
    if kind == CONFLICT:
        row = db.execute(
            "SELECT winner, leaf, seen FROM conflicts WHERE bucket = ? AND key = ? AND stamp = ?",
            (number, key, vid),
        ).fetchone()
        return ItemState(kind, *row) if row else None
    item = (number, key, vid)
    row = db.execute(
        "SELECT kind, stamp, leaf, seen FROM versions WHERE bucket = ? AND key = ? AND vid = ?",
        item,
    ).fetchone()
    if row is None:
        row = db.execute(
            f"SELECT {TOMBSTONE}, stamp, '', seen FROM tombstones"
            " WHERE bucket = ? AND key = ? AND vid = ?",
            item,
        ).fetchone()
    return ItemState(*row) if row else None


def records(
    db: sqlite3.Connection, number: int, bucket_id: str, items: Sequence[tuple[int, str, str]]
) -> list[FeedEntry]:
    """The records of items by (kind, key, vid or stamp of the conflict), as they are now; those
    that are not here are left out. Kinds are as in the feed; a version may have become a
    tombstone and the other way round."""
    found = []
    for kind, key, vid in items:
        if kind >= FEED_BUCKET:
            entry = _register(db, kind, key)
        elif kind == CONFLICT:
            conflict = conflicts.read(db, number, bucket_id, key, vid)
            entry = FeedEntry(conflict.loser.seq, conflict) if conflict else None
        else:
            entry = _version(db, number, bucket_id, key, vid)
        if entry is not None:
            found.append(entry)
    return found


def _register(db: sqlite3.Connection, kind: int, item: str) -> FeedEntry | None:
    change = registers.read(db, kind, item)
    if change is None or (isinstance(change, Bucket) and not change.created):
        return None
    (seq,) = db.execute(f"SELECT seq FROM {TABLES[kind]} WHERE id = ?", (item,)).fetchone()
    return FeedEntry(seq, change)


def _version(
    db: sqlite3.Connection, number: int, bucket_id: str, key: str, vid: str
) -> FeedEntry | None:
    version = read_version(db, number, key, vid, bucket_id)
    if version is not None:
        return FeedEntry(version.seq, version)
    row = db.execute(
        "SELECT stamp, seen, seq FROM tombstones WHERE bucket = ? AND key = ? AND vid = ?",
        (number, key, vid),
    ).fetchone()
    if row is None:
        return None
    stamp, seen, seq = row
    return FeedEntry(seq, Tombstone(bucket=bucket_id, key=key, vid=vid, stamp=stamp, seen=seen))
