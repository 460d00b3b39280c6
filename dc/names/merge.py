"""How versions and tombstones enter the tables: many at a time, by one rule.

Of two records of one `(bucket, key, vid)`, the later stamp stands, whether it is a version or a
tombstone; the same record again changes nothing. So it does not matter in which order, how often,
or in what groups records come.

A group is handed to SQLite as one JSON text and spread into a temporary table, on which a fixed
handful of statements does the work. Why not a statement per record: Python's sqlite3 gives up the
interpreter lock around every statement and must get it back from the busy event loop afterwards;
a handful per group keeps the writer's thread out of the loop's way, on the other core.

A record is the JSON array [bucket number, key, vid, stamp, kind, size, etag, meta, extents]; a
tombstone is one of kind TOMBSTONE with nothing in the last four.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from dc.names.model import Tombstone, Version

TOMBSTONE = 2
"""The `kind` of a tombstone; 0 and 1 are `model.Kind`. Also the kinds of feed rows."""

_encode = msgspec.json.Encoder().encode

_SPREAD = """
INSERT INTO batch SELECT j.key, j.value->>0, j.value->>1, j.value->>2, j.value->>3, j.value->>4,
    j.value->>5, j.value->>6, j.value->>7, j.value->>8 FROM json_each(?1) j
"""
_DROP_LOSERS = """
DELETE FROM batch WHERE
    EXISTS(SELECT 1 FROM versions v WHERE v.bucket = batch.bucket AND v.key = batch.key
           AND v.vid = batch.vid AND v.stamp >= batch.stamp)
    OR EXISTS(SELECT 1 FROM tombstones t WHERE t.bucket = batch.bucket AND t.key = batch.key
           AND t.vid = batch.vid AND t.stamp >= batch.stamp)
"""
_UNFEED_VERSIONS = """
DELETE FROM feed WHERE seq IN (SELECT v.seq FROM batch b CROSS JOIN versions v
    ON v.bucket = b.bucket AND v.key = b.key AND v.vid = b.vid)
"""
_UNFEED_TOMBSTONES = """
DELETE FROM feed WHERE seq IN (SELECT t.seq FROM batch b CROSS JOIN tombstones t
    ON t.bucket = b.bucket AND t.key = b.key AND t.vid = b.vid)
"""
_PUT_VERSIONS = """
INSERT OR REPLACE INTO versions
    SELECT bucket, key, vid, stamp, ?1 + position, kind, size, etag, meta, extents
    FROM batch WHERE kind < 2
"""
# DELETE knows no join, and a row value with IN makes SQLite read the whole bucket: with a condition
# on each column it seeks every combination, which is every row when bucket and vid are the same.
_DROP = """
DELETE FROM {table} AS old WHERE bucket IN (SELECT bucket FROM batch WHERE {which})
    AND key IN (SELECT key FROM batch WHERE {which})
    AND vid IN (SELECT vid FROM batch WHERE {which})
    AND EXISTS(SELECT 1 FROM batch b WHERE b.bucket = old.bucket AND b.key = old.key
        AND b.vid = old.vid AND b.{which})
"""
_DROP_TOMBSTONES = _DROP.format(table="tombstones", which="kind < 2")
_DROP_VERSIONS = _DROP.format(table="versions", which="kind = 2")
_PUT_TOMBSTONES = """
INSERT OR REPLACE INTO tombstones SELECT bucket, key, vid, stamp, ?1 + position
    FROM batch WHERE kind = 2
"""
_FEED = "INSERT INTO feed SELECT ?1 + position, kind, bucket, key, vid FROM batch"

Item = tuple[int, str, str]
"""(bucket number, key, vid)"""


class Record(msgspec.Struct, frozen=True):
    """A version or tombstone on its way into the tables."""

    item: Item
    stamp: str
    row: bytes


def version_record(number: int, version: Version) -> Record:
    row = _encode(
        (
            number,
            version.key,
            version.vid,
            version.stamp,
            version.kind,
            version.size,
            version.etag,
            version.meta,
            version.extents,
        )
    )
    return Record((number, version.key, version.vid), version.stamp, row)


def tombstone_record(number: int, tombstone: Tombstone) -> Record:
    row = _encode(
        (number, tombstone.key, tombstone.vid, tombstone.stamp, TOMBSTONE, 0, "", None, None)
    )
    return Record((number, tombstone.key, tombstone.vid), tombstone.stamp, row)


def merge(db: sqlite3.Connection, records: Sequence[Record], first_seq: int) -> int:
    """Merge records inside the open transaction; give feed positions from `first_seq` on. Returns
    how many positions are taken (those of losers among winners stay empty)."""
    latest: dict[Item, Record] = {}
    for record in records:
        known = latest.get(record.item)
        if known is None or record.stamp > known.stamp:
            latest[record.item] = record
    if not latest:
        return 0
    winners = list(latest.values())
    db.execute("DELETE FROM batch")
    db.execute(_SPREAD, (b"[%b]" % b",".join([record.row for record in winners]),))
    db.execute(_DROP_LOSERS)
    db.execute(_UNFEED_VERSIONS)
    seq = (first_seq,)
    if db.execute(_UNFEED_TOMBSTONES).rowcount:
        db.execute(_DROP_TOMBSTONES)
    db.execute(_PUT_VERSIONS, seq)
    if db.execute(_PUT_TOMBSTONES, seq).rowcount:
        db.execute(_DROP_VERSIONS)
    # Losers must take no position: two DCs would answer each other's answers for ever.
    return len(winners) if db.execute(_FEED, seq).rowcount else 0
