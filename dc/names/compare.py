"""What two DCs exchange to find out how they differ: the items of leaves, and records by item.

A leaf's items are found by reading through the bucket, a page at a time: leaves are asked for only
when they differ, and an index for it would cost every write.
"""

import sqlite3
from collections.abc import Iterable, Sequence

from dc.names import conflicts, registers
from dc.names.merge import TOMBSTONE
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    FeedEntry,
    LeafItem,
    Site,
    Tombstone,
    User,
)
from dc.names.rows import read_version
from dc.names.trees import leaf_of

DIRECTORY_KINDS: dict[type, int] = {
    Bucket: registers.FEED_BUCKET,
    User: registers.FEED_USER,
    AccessKey: registers.FEED_KEY,
    Site: registers.FEED_SITE,
}


def leaf_items(
    db: sqlite3.Connection, number: int, leaves: frozenset[int], after: str, limit: int
) -> tuple[list[LeafItem], str]:
    """The items whose keys are after `after` and belong to those leaves: of the next `limit` rows
    or so. The second is what to go on after, "" at the end."""
    rows = db.execute(
        "SELECT key, vid, stamp, kind, leaf FROM versions WHERE bucket = ? AND key > ?"
        " ORDER BY key LIMIT ?",
        (number, after, limit),
    ).fetchall()
    last = ""
    if len(rows) == limit:
        # All versions of the last key, or none: the next page begins after a key.
        last = rows[-1][0]
        if rows[0][0] == last:
            rows = db.execute(
                "SELECT key, vid, stamp, kind, leaf FROM versions WHERE bucket = ? AND key = ?",
                (number, last),
            ).fetchall()
        else:
            rows = [row for row in rows if row[0] != last]
            last = rows[-1][0]
    span = (number, after, last, last)
    found = [LeafItem(row[3], row[0], row[1], row[2], row[4]) for row in rows]
    found += [
        LeafItem(TOMBSTONE, key, vid, stamp, "")
        for key, vid, stamp in db.execute(
            "SELECT key, vid, stamp FROM tombstones WHERE bucket = ? AND key > ?"
            " AND (? = '' OR key <= ?)",
            span,
        )
    ]
    found += [
        LeafItem(conflicts.CONFLICT, key, stamp, winner, leaf)
        for key, stamp, winner, leaf in db.execute(
            "SELECT key, stamp, winner, leaf FROM conflicts WHERE bucket = ? AND key > ?"
            " AND (? = '' OR key <= ?)",
            span,
        )
    ]
    return [one for one in found if leaf_of(one.key) in leaves], last


def directory_items(everything: Iterable[Change], leaves: frozenset[int]) -> list[LeafItem]:
    """The same of buckets, users, keys and sites."""
    found = []
    for change in everything:
        item = registers.id_of(change)
        if leaf_of(item) in leaves and not (isinstance(change, Bucket) and not change.created):
            kind = DIRECTORY_KINDS[type(change)]
            found.append(LeafItem(kind, item, "", change.stamp, registers.hash_of(change)))
    return found


def records(
    db: sqlite3.Connection, number: int, bucket_id: str, items: Sequence[tuple[int, str, str]]
) -> list[FeedEntry]:
    """The records of items by (kind, key, vid or stamp of the conflict), as they are now; those
    that are not here are left out. Kinds are as in the feed; a version may have become a
    tombstone and the other way round."""
    found = []
    for kind, key, vid in items:
        if kind >= registers.FEED_BUCKET:
            entry = _register(db, kind, key)
        elif kind == conflicts.CONFLICT:
            conflict = conflicts.read(db, number, bucket_id, key, vid)
            entry = FeedEntry(conflict.loser.seq, conflict) if conflict else None
        else:
            entry = _version(db, number, bucket_id, key, vid)
        if entry is not None:
            found.append(entry)
    return found


def _register(db: sqlite3.Connection, kind: int, item: str) -> FeedEntry | None:
    change = registers.read(db, kind, item)
    if change is None:
        return None
    table = {
        registers.FEED_BUCKET: "buckets",
        registers.FEED_USER: "users",
        registers.FEED_KEY: "keys",
        registers.FEED_SITE: "sites",
    }[kind]
    (seq,) = db.execute(f"SELECT seq FROM {table} WHERE id = ?", (item,)).fetchone()
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
