"""What the containers tell of the names: all their records, put into a database of their own.

Used when the name server is lost (`admin/rebuilding.py`). Memory does not depend on how much there
is: every record becomes a row or two.

- `found`: where whole records are. A name that points elsewhere points at nothing.
- `pieces`: records by the body that they are of, and where in it. So what compaction has moved is
  found: it writes what it moves with the stamp of the version, and changes nothing in the journal.
- `wholes`: records that tell a whole version, by its stamp; `refused`: what was not stored at last.
- `segments`: the journal. `items`: what it tells of each item, at its last position.
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from dc.names.journal import read
from dc.names.journal_api import Token
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Extent,
    FeedEntry,
    Peer,
    Site,
    Tombstone,
    User,
    Version,
)
from dc.objects.ident import Piece, Refusal, SegmentIdent, Whole, decode_ident
from dc.objects.scan import Record
from dc.stamps import Stamp

_SCHEMA = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;
CREATE TABLE found(container INTEGER, offset INTEGER, length INTEGER,
    PRIMARY KEY(container, offset)) WITHOUT ROWID;
CREATE TABLE pieces(body BLOB, position INTEGER, container INTEGER, offset INTEGER, length INTEGER,
    PRIMARY KEY(body, position, container, offset)) WITHOUT ROWID;
CREATE TABLE wholes(stamp TEXT, container INTEGER, offset INTEGER, length INTEGER, ident BLOB,
    PRIMARY KEY(stamp, container, offset)) WITHOUT ROWID;
CREATE TABLE refused(stamp TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE segments(generation TEXT, serial INTEGER, position INTEGER, first INTEGER,
    last INTEGER, floor TEXT, begun INTEGER, final INTEGER, container INTEGER, offset INTEGER,
    length INTEGER, PRIMARY KEY(generation, serial, position, container, offset)) WITHOUT ROWID;
CREATE TABLE items(item BLOB PRIMARY KEY, seq INTEGER, kind INTEGER, change BLOB) WITHOUT ROWID;
"""
_KINDS: tuple[type, ...] = (Version, Tombstone, Conflict, Bucket, User, AccessKey, Site)
_encode = msgspec.msgpack.Encoder().encode
_decoders: list[Callable[[bytes], Any]] = [msgspec.msgpack.Decoder(kind).decode for kind in _KINDS]


class Span(NamedTuple):
    """A segment of the journal: where its bytes are, and the positions that it counts for."""

    serial: int
    first: int
    last: int
    floor: Stamp
    extents: list[Extent]
    spans: list[tuple[int, int]]
    """After which position, and up to which."""


class Told(NamedTuple):
    """What the journal tells beside items. `floor`: every change made here up to it is in it."""

    floor: Stamp
    peers: list[Peer]
    tokens: list[Token]


def prepare(db: sqlite3.Connection) -> None:
    db.executescript(_SCHEMA)


# -- records ------------------------------------------------------------------------------------


def add(db: sqlite3.Connection, records: Sequence[Record]) -> None:
    """Take in what a scan has found."""
    rows: dict[str, list[tuple[object, ...]]] = {
        name: [] for name in ("found", "pieces", "wholes", "refused", "segments")
    }
    for one in records:
        if one.intact:
            _add(rows, one)
    for name, found in rows.items():
        if found:
            marks = ",".join("?" * len(found[0]))
            db.executemany(f"INSERT OR REPLACE INTO {name} VALUES({marks})", found)


def _add(rows: dict[str, list[tuple[object, ...]]], one: Record) -> None:
    extent = one.extent
    place = (extent.container, extent.offset, extent.length)
    about = decode_ident(one.ident)
    if isinstance(about, SegmentIdent):
        row = (about.generation, about.serial, one.position, about.first, about.last, about.floor)
        rows["segments"].append((*row, about.begun, one.last, *place))
        return
    if isinstance(about, Refusal):
        rows["refused"].append((about.stamp,))
        return
    rows["found"].append(place)
    if isinstance(about, Whole):
        version = about.version
        body = body_of(version.bucket, version.key, about.body or version.stamp)
        rows["pieces"].append((body, one.position, *place))
        rows["wholes"].append((version.stamp, *place, one.ident))
    elif isinstance(about, Piece):
        # A range of a replica is numbered by its place.
        replica = about.upload == "replica"
        position = one.position + (about.part if replica else 0)
        upload, part = ("", 0) if replica else (about.upload, about.part)
        body = body_of(about.bucket, about.key, about.stamp, upload, part)
        rows["pieces"].append((body, position, *place))


def body_of(bucket: str, key: str, stamp: Stamp, upload: str = "", part: int = 0) -> bytes:
    """What a body is found by."""
    return blake2b(_encode((bucket, key, stamp, upload, part)), digest_size=16).digest()


# -- the journal --------------------------------------------------------------------------------


def choose(db: sqlite3.Connection) -> tuple[str, list[Span]]:
    """The generation that counts, "" when there is none, and its segments that are whole, with the
    positions that each is the latest for."""
    # One without a floor was never whole, and an older one that is tells more.
    row = db.execute(
        "SELECT generation FROM segments WHERE begun ORDER BY floor != '' DESC, generation DESC"
    ).fetchone()
    if row is None:
        return "", []
    rows = db.execute(
        "SELECT serial, position, first, last, floor, final, container, offset, length"
        " FROM segments WHERE generation = ? ORDER BY serial DESC, position",
        (row[0],),
    ).fetchall()
    spans: list[Span] = []
    taken: list[tuple[int, int]] = []
    for serial, group in groupby(rows, key=lambda row: row[0]):
        pieces = list(group)
        extents = _whole(pieces)
        if not extents:
            continue
        _, _, first, last, floor, *_ = pieces[0]
        spans.append(Span(serial, first, last, floor, extents, _left(first, last, taken)))
        taken = _joined([*taken, (first, last)])
    return str(row[0]), spans


def _whole(pieces: Sequence[tuple[int, ...]]) -> list[Extent]:
    """The extents of a segment; none when some of it is not there."""
    extents, at = [], 0
    for _, position, *_, container, offset, length in pieces:
        if position != at:
            return []
        extents.append(Extent(container, offset, length))
        at += length
    return extents if pieces[-1][5] else []


def _left(first: int, last: int, taken: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What of a span no later segment counts for. `taken` are apart, and in order."""
    left, at = [], first
    for low, high in taken:
        if high <= at or low >= last:
            continue
        if low > at:
            left.append((at, low))
        at = high
    return [*left, (at, last)] if at < last else left


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for low, high in sorted(span for span in spans if span[0] < span[1]):
        if result and low <= result[-1][1]:
            result[-1] = (result[-1][0], max(high, result[-1][1]))
        else:
            result.append((low, high))
    return result


def complete(spans: Sequence[Span]) -> bool:
    """Whether there is a segment for every position up to the last."""
    joined = _joined([(one.first, one.last) for one in spans])
    return not joined or (len(joined) == 1 and joined[0][0] == 0)


def take(db: sqlite3.Connection, span: Span, data: bytes) -> Told:
    """Take in a segment. ValueError when it cannot be read."""
    told = read(data)
    rows = []
    for entry in told.entries:
        if any(first < entry.seq <= last for first, last in span.spans):
            change = entry.change
            kind = _KINDS.index(type(change))
            rows.append((_encode(item_of(change)), entry.seq, kind, _encode(change)))
    db.executemany(
        "INSERT INTO items VALUES(?, ?, ?, ?) ON CONFLICT(item) DO UPDATE SET seq = excluded.seq,"
        " kind = excluded.kind, change = excluded.change WHERE excluded.seq > seq",
        rows,
    )
    return Told(span.floor, told.peers, told.tokens)


def item_of(change: Change) -> tuple[str, ...]:
    """What is the same of two records of one item."""
    match change:
        case Version() | Tombstone():
            return ("version", change.bucket, change.key, change.vid)
        case Conflict():
            return ("conflict", change.loser.bucket, change.loser.key, change.loser.stamp)
        case Site():
            return ("site", change.dc_id)
        case _:
            return (type(change).__name__, change.id)


def index(db: sqlite3.Connection) -> None:
    """After the last of the journal: by position."""
    db.execute("CREATE INDEX items_by_seq ON items(seq)")


def page(db: sqlite3.Connection, after: int, limit: int) -> list[FeedEntry]:
    """What the journal tells, in the order of the feed."""
    rows = db.execute(
        "SELECT seq, kind, change FROM items WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
    ).fetchall()
    return [FeedEntry(seq, _decoders[kind](change)) for seq, kind, change in rows]


# -- bodies -------------------------------------------------------------------------------------


def located(db: sqlite3.Connection, version: Version) -> tuple[list[Extent], list[Extent]]:
    """Where the bytes of a version are now, and those of its extents that are nowhere."""
    extents: list[Extent] = []
    missing: list[Extent] = []
    at = 0
    for one in version.extents:
        there = db.execute(
            "SELECT length FROM found WHERE container = ? AND offset = ?",
            (one.container, one.offset),
        ).fetchone()
        if there is not None and there[0] >= one.length:
            extents.append(one)
        else:
            moved = _piece(db, body_of(version.bucket, version.key, version.stamp), at, one.length)
            if moved is None:
                missing.append(one)
            extents.append(moved or one)
        at += one.length
    return extents, missing


def _piece(db: sqlite3.Connection, body: bytes, position: int, length: int) -> Extent | None:
    row = db.execute(
        "SELECT container, offset, length FROM pieces WHERE body = ? AND position = ?"
        " AND length = ? ORDER BY container DESC LIMIT 1",
        (body, position, length),
    ).fetchone()
    return None if row is None else Extent(*row)


def claims(
    db: sqlite3.Connection, after: tuple[Stamp, int, int], limit: int
) -> list[tuple[Stamp, Whole, Extent, bool]]:
    """Versions that records tell whole, in the order of their stamps; and whether it was refused.
    `after`: stamp, container and offset."""
    rows = db.execute(
        "SELECT stamp, container, offset, length, ident, stamp IN (SELECT stamp FROM refused)"
        " FROM wholes WHERE (stamp, container, offset) > (?, ?, ?)"
        " ORDER BY stamp, container, offset LIMIT ?",
        (*after, limit),
    ).fetchall()
    found = []
    for stamp, container, offset, length, ident, refused in rows:
        about = decode_ident(ident)
        assert isinstance(about, Whole)
        found.append((stamp, about, Extent(container, offset, length), bool(refused)))
    return found


def whole_body(db: sqlite3.Connection, about: Whole, extent: Extent) -> list[Extent] | None:
    """Where all bytes of a version are that a record tells; None when some are nowhere."""
    version = about.version
    if not about.body:
        return [extent] if extent.length == version.size else None
    body = body_of(version.bucket, version.key, about.body)
    found, at = [], 0
    for one in _pieces(db, body):
        if one[0] == at:
            found.append(Extent(*one[1:]))
            at += one[3]
    return found if at == version.size else None


def _pieces(db: sqlite3.Connection, body: bytes) -> Iterator[tuple[int, int, int, int]]:
    return iter(
        db.execute(
            "SELECT position, container, offset, length FROM pieces WHERE body = ?"
            " ORDER BY position, container",
            (body,),
        ).fetchall()
    )


def is_told(db: sqlite3.Connection, version: Version) -> bool:
    """Whether the journal has this write."""
    row = db.execute(
        "SELECT kind, change FROM items WHERE item = ?", (_encode(item_of(version)),)
    ).fetchone()
    if row is None or row[0] != 0:
        return False
    there: Version = _decoders[0](row[1])
    return there.stamp == version.stamp
