"""What bytes the name server knows of: of versions, of conflicts' losers, of parts of uploads.

For a check of what is stored, while nothing else uses the database.
"""

import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from dc.names.model import Extent, Kind, Meta, UploadPart

_VERSIONS = """
SELECT b.name, v.key, v.vid, v.size, v.meta, v.extents FROM versions v
JOIN buckets b ON b.number = v.bucket WHERE v.kind = ? ORDER BY v.bucket, v.key, v.vid
"""
_CONFLICTS = """
SELECT b.name, c.key, c.stamp, c.size, c.meta, c.extents FROM conflicts c
JOIN buckets b ON b.number = c.bucket WHERE NOT c.gone
"""
_PARTS = """
SELECT b.name, u.key, u.id, p.record FROM parts p
JOIN uploads u ON u.id = p.upload JOIN buckets b ON b.number = u.bucket
"""
_COUNTS = (
    "SELECT count(*) FROM versions WHERE kind = 0",
    "SELECT count(*) FROM conflicts WHERE NOT gone",
    "SELECT count(*) FROM parts",
)

_meta = msgspec.json.Decoder(Meta).decode
_extents = msgspec.json.Decoder(list[Extent]).decode
_part = msgspec.json.Decoder(UploadPart).decode


class Body(NamedTuple):
    """Bytes that somebody may ask for. `what` is object, conflict or part; `id` is the version id
    of an object, the stamp of a conflict's loser, the upload id and number of a part."""

    what: str
    bucket: str
    key: str
    id: str
    size: int
    crc64: int
    """CRC-64/NVME of the bytes as they are stored; 0 when it is not known."""
    extents: list[Extent]


def count(db: sqlite3.Connection) -> int:
    """How many bodies there are."""
    return sum(db.execute(query).fetchone()[0] for query in _COUNTS)


def bodies(db: sqlite3.Connection) -> Iterator[Body]:
    """All of them, read as they are asked for."""
    for name, key, vid, size, meta, extents in db.execute(_VERSIONS, (Kind.OBJECT.value,)):
        yield Body("object", name, key, vid, size, _meta(meta).crc64, _extents(extents))
    for name, key, stamp, size, meta, extents in db.execute(_CONFLICTS):
        yield Body("conflict", name, key, stamp, size, _meta(meta).crc64, _extents(extents))
    for name, key, upload, record in db.execute(_PARTS):
        part = _part(record)
        about = f"{upload}/{part.number}"
        yield Body("part", name, key, about, part.size, part.crc64, part.extents)
