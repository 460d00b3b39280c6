"""Reading the change feed: which items changed after a position, as they are now.

The rows and the items are read in one read transaction, so what is given out for a position is
what the item was when that position was its last. Versions and tombstones come as JSON texts, like
everywhere (`dc/names/merge.py` says why); buckets, users and keys are few and read one by one.
"""

import sqlite3
from typing import NamedTuple

import msgspec

from dc.names import registers
from dc.names.kinds import CONFLICT, FEED_BUCKET, TOMBSTONE
from dc.names.model import Change, Conflict, FeedEntry, Tombstone
from dc.names.rows import CONFLICT_ROW, ROW, Row

_VERSIONS = f"""
SELECT group_concat('[' || f.seq || ',' || f.bucket || ',' || json_quote(f.key) || ',' || {ROW}
    || ']')
FROM feed f CROSS JOIN versions v ON v.bucket = f.bucket AND v.key = f.key AND v.vid = f.vid
WHERE f.seq > ?1 AND f.seq <= ?2 AND f.kind < {TOMBSTONE}
"""
_TOMBSTONES = f"""
SELECT group_concat('[' || f.seq || ',' || f.bucket || ',' || json_quote(f.key) || ',"' || f.vid
    || '","' || t.stamp || '","' || t.seen || '",' || t.again || ']')
FROM feed f CROSS JOIN tombstones t ON t.bucket = f.bucket AND t.key = f.key AND t.vid = f.vid
WHERE f.seq > ?1 AND f.seq <= ?2 AND f.kind = {TOMBSTONE}
"""
_CONFLICTS = f"""
SELECT group_concat('[' || f.seq || ',' || f.bucket || ',' || json_quote(f.key) || ','
    || {CONFLICT_ROW} || ',"' || v.winner || '",' || v.gone || ']')
FROM feed f CROSS JOIN conflicts v ON v.bucket = f.bucket AND v.key = f.key AND v.stamp = f.vid
WHERE f.seq > ?1 AND f.seq <= ?2 AND f.kind = {CONFLICT}
"""
_REGISTERS = f"""
SELECT seq, kind, key FROM feed WHERE seq > ?1 AND seq <= ?2 AND kind >= {FEED_BUCKET}
"""

_BUCKETS = """
SELECT number, id FROM buckets
WHERE number IN (SELECT bucket FROM feed WHERE seq > ?1 AND seq <= ?2)
"""


class _VersionRow(msgspec.Struct, array_like=True):
    seq: int
    bucket: int
    key: str
    row: Row


class _TombstoneRow(msgspec.Struct, array_like=True):
    seq: int
    bucket: int
    key: str
    vid: str
    stamp: str
    seen: str
    again: int


class _ConflictRow(msgspec.Struct, array_like=True):
    seq: int
    bucket: int
    key: str
    row: Row
    winner: str
    gone: int


_decode_conflicts = msgspec.json.Decoder(list[_ConflictRow]).decode
_decode_versions = msgspec.json.Decoder(list[_VersionRow]).decode
_decode_tombstones = msgspec.json.Decoder(list[_TombstoneRow]).decode


class Texts(NamedTuple):
    """What the feed holds in a span of positions: JSON arrays without their brackets, as SQLite
    gives them; `ids` are those of the buckets in them by number. `directory` is decoded already."""

    ids: dict[int, str]
    versions: str
    tombstones: str
    conflicts: str
    directory: list[tuple[int, Change]]


def read_feed(db: sqlite3.Connection, after: int, limit: int) -> tuple[list[FeedEntry], int, bool]:
    """See `dc.names.api.Names.feed`."""
    db.execute("BEGIN")
    try:
        end, count = find_end(db, after, limit)
        found = entries(texts(db, after, end)) if count else []
    finally:
        db.execute("COMMIT")
    return found, max(after, end), count < limit


def find_end(
    db: sqlite3.Connection, after: int, limit: int, stop: int | None = None
) -> tuple[int, int]:
    """Where a page ends of `limit` rows after a position, and how many rows there are. `stop`: the
    position where it ends at the latest."""
    last = 2**62 if stop is None else stop
    (end, count) = db.execute(
        "SELECT max(seq), count(*) FROM"
        " (SELECT seq FROM feed WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?)",
        (after, last, limit),
    ).fetchone()
    if count == limit:
        return int(end), limit
    if stop is not None:
        return stop, int(count)
    # Positions that were taken and stayed empty are looked at, too.
    position = db.execute("SELECT value FROM facts WHERE name = 'position'").fetchone()[0]
    return int(position.split(" ")[1]), int(count)


def texts(db: sqlite3.Connection, after: int, end: int) -> Texts:
    """What the feed holds from after one position up to another, as it is now."""
    span = (after, end)
    return Texts(
        dict(db.execute(_BUCKETS, span).fetchall()),
        db.execute(_VERSIONS, span).fetchone()[0] or "",
        db.execute(_TOMBSTONES, span).fetchone()[0] or "",
        db.execute(_CONFLICTS, span).fetchone()[0] or "",
        [
            (seq, change)
            for seq, kind, item in db.execute(_REGISTERS, span).fetchall()
            if (change := registers.read(db, kind, item)) is not None
        ],
    )


def entries(found: Texts) -> list[FeedEntry]:
    """The same in the order of the feed."""
    ids = found.ids
    result = [FeedEntry(seq, change) for seq, change in found.directory]
    for one in _decode_versions(f"[{found.versions}]"):
        result.append(FeedEntry(one.seq, one.row.version(ids[one.bucket], one.key)))
    for gone in _decode_tombstones(f"[{found.tombstones}]"):
        tombstone = Tombstone(
            bucket=ids[gone.bucket],
            key=gone.key,
            vid=gone.vid,
            stamp=gone.stamp,
            seen=gone.seen,
            again=bool(gone.again),
        )
        result.append(FeedEntry(gone.seq, tombstone))
    for lost in _decode_conflicts(f"[{found.conflicts}]"):
        loser = lost.row.version(ids[lost.bucket], lost.key)
        conflict = Conflict(loser=loser, winner=lost.winner, gone=bool(lost.gone))
        result.append(FeedEntry(lost.seq, conflict))
    result.sort(key=lambda entry: entry.seq)
    return result
