"""What of the tables is read in many places, as SQL: a version's columns as one JSON array, and
whether a bucket lives."""

import sqlite3

import msgspec

from dc.names.model import Extent, Kind, Meta, Registers, Version

ROW = """'["' || v.vid || '","' || v.stamp || '",' || v.kind || ',' || v.size || ',"' || v.etag
    || '",' || v.meta || ',' || v.extents || ',"' || v.seen || '",' || v.registers || ','
    || v.seq || ']'"""
"""SQL text of a version's JSON array; `vid`, `stamp`, `etag` and `seen` need no escaping."""

LIVE = "(max(created, revived) > deleted)"
"""Of a row of `buckets`: `model.Bucket.live`."""

CONFLICT_ROW = ROW.replace("v.kind", "0")
"""The same of a row of `conflicts`: the loser."""


class Row(msgspec.Struct, array_like=True, frozen=True):
    """What `ROW` makes."""

    vid: str
    stamp: str
    kind: Kind
    size: int
    etag: str
    meta: Meta
    extents: list[Extent]
    seen: str
    registers: Registers
    seq: int

    def version(self, bucket_id: str, key: str) -> Version:
        return Version(
            bucket_id,
            key,
            self.vid,
            self.stamp,
            self.kind,
            self.size,
            self.etag,
            self.meta,
            self.extents,
            self.seen,
            self.registers,
            self.seq,
        )


_READ = f"SELECT {ROW} FROM versions v WHERE bucket = ? AND key = ? AND vid = ?"

decode_row = msgspec.json.Decoder(Row).decode


def read_version(
    db: sqlite3.Connection, number: int, key: str, vid: str, bucket_id: str
) -> Version | None:
    """The version with that id in the bucket with that number."""
    row = db.execute(_READ, (number, key, vid)).fetchone()
    return decode_row(row[0]).version(bucket_id, key) if row else None
