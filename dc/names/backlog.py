"""Measuring a stretch of the change feed: how many changes, of how many bytes, from when.

It is what another DC lacks of this one, when the stretch is what it has not acknowledged. Read from
the tables without making records of it, a bounded stretch at a time.
"""

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from dc.names import registers
from dc.names.kinds import CONFLICT, FEED_BUCKET, TOMBSTONE
from dc.names.model import Backlog, Bucket, Change, Conflict, Registers, Tombstone, Version
from dc.stamps import NO_DC, Stamp, stamp_ms, stamp_origin

_ITEMS = f"""
SELECT f.seq, f.kind, f.key,
    coalesce(v.stamp, iif(t.again, substr(t.stamp, 1, 16) || '{NO_DC}', t.stamp), c.winner),
    coalesce(v.size, c.size * (NOT c.gone), 0), coalesce(v.registers, '{{}}')
FROM (SELECT * FROM feed WHERE ROWS) f
LEFT JOIN versions v ON f.kind < {TOMBSTONE}
    AND v.bucket = f.bucket AND v.key = f.key AND v.vid = f.vid
LEFT JOIN tombstones t ON f.kind = {TOMBSTONE}
    AND t.bucket = f.bucket AND t.key = f.key AND t.vid = f.vid
LEFT JOIN conflicts c ON f.kind = {CONFLICT}
    AND c.bucket = f.bucket AND c.key = f.key AND c.stamp = f.vid
"""
STRETCH = _ITEMS.replace("ROWS", "seq > ?1 ORDER BY seq LIMIT ?2")
POSITIONS = _ITEMS.replace("ROWS", "seq IN (SELECT value FROM json_each(?1))")

_registers = msgspec.json.Decoder(Registers).decode
_Row = tuple[int, int, str, Stamp | None, int, str]


def made_by(change: Change) -> str:
    """The DC that made a change, and all of it, so that it has it; "" when that is not known. Of a
    bucket that was ever deleted nobody knows: its stamps may come from several DCs, and one that
    came back for an object has a stamp that its DC never made. Conflicts are made wherever two
    writes meet, and a tombstone that is told again is for all."""
    match change:
        case Conflict() | Tombstone(again=True):
            return ""
        case Bucket():
            origin = "" if change.deleted else stamp_origin(change.created)
        case _:
            origin = stamp_origin(change.stamp)
    if isinstance(change, Bucket | Version):
        return _all_by(origin, change.registers)
    return origin


def _all_by(origin: str, changed: Registers) -> str:
    others = any(stamp_origin(one.stamp) != origin for one in changed.values())
    return "" if others else origin


def measure(db: sqlite3.Connection, peer: str, after: int, limit: int) -> Backlog:
    """The changes at positions after `after`, of about `limit`, but those that `peer` made."""
    rows = db.execute(STRETCH, (after, limit)).fetchall()
    found = _sum(db, peer, rows)
    looked = max((row[0] for row in rows), default=after)
    return msgspec.structs.replace(found, looked=looked, complete=len(rows) < limit)


def measure_positions(db: sqlite3.Connection, peer: str, positions: Sequence[int]) -> Backlog:
    """The same of the changes that still have one of these positions."""
    asked = msgspec.json.encode(positions)
    return _sum(db, peer, db.execute(POSITIONS, (asked,)).fetchall())


def _sum(db: sqlite3.Connection, peer: str, rows: Iterable[_Row]) -> Backlog:
    changes = size = oldest = first = 0
    for seq, kind, key, stamp, weight, attributes in rows:
        origin, changed = _when(db, kind, key, stamp, attributes)
        if not changed or origin == peer:
            continue
        changes += 1
        first = min(first, seq) if first else seq
        size += weight
        made = stamp_ms(changed)
        oldest = min(oldest, made) if oldest else made
    return Backlog(changes=changes, bytes=size, oldest_ms=oldest, first=first)


def _when(
    db: sqlite3.Connection, kind: int, key: str, stamp: Stamp | None, attributes: str
) -> tuple[str, Stamp]:
    """Which DC made a change ("": several), and its latest stamp; "" when it is gone."""
    if kind >= FEED_BUCKET:
        change = registers.read(db, kind, key)
        if change is None:
            return "", ""
        stamps = [change.stamp]
        if isinstance(change, Bucket):
            stamps += [one.stamp for one in change.registers.values()]
        return made_by(change), max(stamps)
    if stamp is None:
        return "", ""
    if kind == CONFLICT:
        return "", stamp
    if attributes == "{}":
        return stamp_origin(stamp), stamp
    changed = _registers(attributes)
    return _all_by(stamp_origin(stamp), changed), max(
        stamp, *(one.stamp for one in changed.values())
    )
