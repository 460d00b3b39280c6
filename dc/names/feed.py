"""Reading the change feed: which items changed after a position, as they are now.

The rows and the items are read in one read transaction, so what is given out for a position is
what the item was when that position was its last. Versions and tombstones come as JSON texts, like
everywhere (`dc/names/merge.py` says why); buckets, users and keys are few and read one by one.
"""

import sqlite3

import msgspec

from dc.names import registers
from dc.names.kinds import CONFLICT, FEED_BUCKET, TOMBSTONE
from dc.names.model import Conflict, FeedEntry, Tombstone
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


def read_feed(db: sqlite3.Connection, after: int, limit: int) -> tuple[list[FeedEntry], int, bool]:
    """See `dc.names.api.Names.feed`."""
    db.execute("BEGIN")
    try:
        entries, end, complete = _read(db, after, limit)
    finally:
        db.execute("COMMIT")
    entries.sort(key=lambda entry: entry.seq)
    return entries, end, complete


def _read(db: sqlite3.Connection, after: int, limit: int) -> tuple[list[FeedEntry], int, bool]:
    (end, count) = db.execute(
        "SELECT max(seq), count(*) FROM (SELECT seq FROM feed WHERE seq > ? ORDER BY seq LIMIT ?)",
        (after, limit),
    ).fetchone()
    if count < limit:
        # Positions that were taken and stayed empty are looked at, too.
        position = db.execute("SELECT value FROM facts WHERE name = 'position'").fetchone()[0]
        end = int(position.split(" ")[1])
    if not count:
        return [], max(after, end), True
    span = (after, end)
    ids = dict(db.execute(_BUCKETS, span).fetchall())
    entries = [
        FeedEntry(seq, change)
        for seq, kind, item in db.execute(_REGISTERS, span).fetchall()
        if (change := registers.read(db, kind, item)) is not None
    ]
    text = db.execute(_VERSIONS, span).fetchone()[0]
    for found in _decode_versions(f"[{text}]") if text else ():
        entries.append(FeedEntry(found.seq, found.row.version(ids[found.bucket], found.key)))
    text = db.execute(_TOMBSTONES, span).fetchone()[0]
    for gone in _decode_tombstones(f"[{text}]") if text else ():
        bucket = ids[gone.bucket]
        tombstone = Tombstone(
            bucket=bucket,
            key=gone.key,
            vid=gone.vid,
            stamp=gone.stamp,
            seen=gone.seen,
            again=bool(gone.again),
        )
        entries.append(FeedEntry(gone.seq, tombstone))
    text = db.execute(_CONFLICTS, span).fetchone()[0]
    for one in _decode_conflicts(f"[{text}]") if text else ():
        loser = one.row.version(ids[one.bucket], one.key)
        conflict = Conflict(loser=loser, winner=one.winner, gone=bool(one.gone))
        entries.append(FeedEntry(one.seq, conflict))
    return entries, end, count < limit
