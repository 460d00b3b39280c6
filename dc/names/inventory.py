"""What bytes the name server knows of: of versions, of conflicts' losers, of parts of uploads.

`bodies` is for a check of what is stored, while nothing else uses the database. `count_page` and
`find_page` go through the same tables while everybody does, a page at a time and without a
transaction: which containers are pointed into, and by whom. They also see what an inbox has of
bodies that are still to come, what the notary is to read, and where the journal is.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from dc.names.model import Extent, Kind, Meta, UploadPart, Version
from dc.names.rows import CONFLICT_ROW, ROW, decode_row
from dc.placement import elsewhere

_VERSIONS = """
SELECT b.name, v.bucket, v.key, v.vid, v.size, v.meta, v.extents FROM versions v
JOIN buckets b ON b.number = v.bucket WHERE v.kind = ? ORDER BY v.bucket, v.key, v.vid
"""
_CONFLICTS = """
SELECT b.name, c.bucket, c.key, c.stamp, c.size, c.meta, c.extents FROM conflicts c
JOIN buckets b ON b.number = c.bucket WHERE NOT c.gone
"""
_PARTS = """
SELECT b.name, u.bucket, u.key, u.id, p.record FROM parts p
JOIN uploads u ON u.id = p.upload JOIN buckets b ON b.number = u.bucket
"""
_COUNTS = (
    "SELECT count(*) FROM versions WHERE kind = 0",
    "SELECT count(*) FROM conflicts WHERE NOT gone",
    "SELECT count(*) FROM parts",
)

_encode = msgspec.json.Encoder().encode
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
    row: tuple[int | str, ...] = ()
    """The key of its row."""


def count(db: sqlite3.Connection) -> int:
    """How many bodies there are."""
    return sum(db.execute(query).fetchone()[0] for query in _COUNTS)


def bodies(db: sqlite3.Connection) -> Iterator[Body]:
    """All of them, read as they are asked for."""
    for name, *row, size, meta, extents in db.execute(_VERSIONS, (Kind.OBJECT.value,)):
        yield _body("object", name, row, size, meta, extents)
    for name, *row, size, meta, extents in db.execute(_CONFLICTS):
        yield _body("conflict", name, row, size, meta, extents)
    for name, _, key, upload, record in db.execute(_PARTS):
        part = _part(record)
        about, row = f"{upload}/{part.number}", (upload, part.number)
        yield Body("part", name, key, about, part.size, part.crc64, part.extents, row)


def _body(what: str, bucket: str, row: list[Any], size: int, meta: str, extents: str) -> Body:
    _, key, own_id = row
    crc = _meta(meta).crc64
    return Body(what, bucket, key, own_id, size, crc, _extents(extents), tuple(row))


def has_peers(db: sqlite3.Connection) -> bool:
    """Whether other datacenters may have what is lost here."""
    return bool(db.execute("SELECT count(*) FROM peers").fetchone()[0])


def give_up(db: sqlite3.Connection, lost: Sequence[Body]) -> None:
    """Bodies that cannot be read are taken for what other datacenters hold, from where they are
    filled in (`dc/names/elsewhere.py`); parts of uploads are forgotten, so that they are sent
    again. In one transaction."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for one in lost:
            extents = _encode(elsewhere(one.size)).decode()
            if one.what == "part":
                db.execute("DELETE FROM parts WHERE upload = ? AND number = ?", one.row)
            elif one.what == "object":
                db.execute(
                    "UPDATE versions SET extents = ? WHERE bucket = ? AND key = ? AND vid = ?",
                    (extents, *one.row),
                )
            else:
                db.execute(
                    "UPDATE conflicts SET extents = ? WHERE bucket = ? AND key = ? AND stamp = ?",
                    (extents, *one.row),
                )
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


# -- page by page -------------------------------------------------------------------------------

VERSIONS, CONFLICTS, PARTS, INBOX, NOTED, JOURNAL = range(6)
"""The tables, in the order in which they are gone through."""

Place = tuple[int, tuple[int | str, ...]]
"""A table, and the key after which the next page begins."""
START: Place = (VERSIONS, (-1, "", ""))
_FIRST: dict[int, tuple[int | str, ...]] = {
    CONFLICTS: (-1, "", ""),
    PARTS: ("", -1),
    INBOX: ("", -1),
    NOTED: (-1,),
    JOURNAL: (-1,),
}
_STAY = (INBOX, NOTED, JOURNAL)
"""What they point to is not moved: who uses it knows it by where it is."""
_PAGES = {
    VERSIONS: "SELECT bucket, key, vid, extents, length(key) + length(vid) + length(meta)"
    " FROM versions WHERE (bucket, key, vid) > (?, ?, ?) ORDER BY bucket, key, vid LIMIT ?",
    CONFLICTS: "SELECT bucket, key, stamp, extents, length(key) + length(vid) + length(meta)"
    " FROM conflicts WHERE (bucket, key, stamp) > (?, ?, ?) ORDER BY bucket, key, stamp LIMIT ?",
    PARTS: "SELECT upload, number, record, 128, (SELECT bucket FROM uploads WHERE id = upload)"
    " FROM parts WHERE (upload, number) > (?, ?) ORDER BY upload, number LIMIT ?",
    INBOX: "SELECT peer, seq, extents, 128 FROM inbox"
    " WHERE (peer, seq) > (?, ?) ORDER BY peer, seq LIMIT ?",
    NOTED: "SELECT id, extents, 128 FROM notary_outbox WHERE id > ? ORDER BY id LIMIT ?",
    JOURNAL: "SELECT serial, extents, 128 FROM journal WHERE serial > ? ORDER BY serial LIMIT ?",
}
_KEY_FIELDS = {VERSIONS: 3, CONFLICTS: 3, PARTS: 2, INBOX: 2, NOTED: 1, JOURNAL: 1}
"""What a row begins with; after it come the extents, and what is beside each of them."""
_FULL = {
    VERSIONS: f"SELECT (SELECT id FROM buckets WHERE number = v.bucket), v.key, {ROW}, v.extents"
    " FROM versions v WHERE bucket = ? AND key = ? AND vid = ?",
    CONFLICTS: f"SELECT (SELECT id FROM buckets WHERE number = v.bucket), v.key, {CONFLICT_ROW},"
    " v.extents FROM conflicts v WHERE bucket = ? AND key = ? AND stamp = ?",
    PARTS: "SELECT b.id, u.key, p.record, p.record FROM parts p JOIN uploads u ON u.id = p.upload"
    " JOIN buckets b ON b.number = u.bucket WHERE p.upload = ? AND p.number = ?",
}
_RECORD_BYTES = 128
"""What a record takes beside its data, checksums, and the texts of its ident: rather too much."""
_BLOCK_BYTES, _BLOCK_SUM_BYTES = 64 << 10, 4

_all_extents = msgspec.json.Decoder(list[list[Extent]]).decode
_all_parts = msgspec.json.Decoder(list[UploadPart]).decode
_all_ranges = msgspec.json.Decoder(list[list[tuple[int, Extent]]]).decode


class Tiering(NamedTuple):
    """Which tiers buckets (by number) want, and containers were begun for, beside `standard`.
    Containers that are not among them are not looked at."""

    standard: str
    buckets: dict[int, str]
    containers: dict[int, str]

    def is_wrong(self, bucket: int | None, container: int) -> bool:
        """Whether bytes of a bucket are in a container of another tier."""
        if bucket is None:
            return False
        there = self.containers.get(container)
        return there is not None and there != self.buckets.get(bucket, self.standard)


NO_TIERS = Tiering("", {}, {})


class Share(msgspec.Struct):
    """What points into one container: how many bodies have bytes there, how many bytes, about how
    many these take with what stands beside them (not less), and how many bytes belong into
    containers of another tier."""

    bodies: int = 0
    bytes: int = 0
    taken: int = 0
    wrong: int = 0

    def add(self, other: "Share") -> None:
        self.bodies += other.bodies
        self.bytes += other.bytes
        self.taken += other.taken
        self.wrong += other.wrong


class CountPage(NamedTuple):
    """`rows` were looked at, `bodies` of them are bodies; `coming` are containers that an inbox has
    ranges in, the notary is to read, or the journal is in; `after` is where the next page begins,
    None at the end."""

    rows: int
    bodies: int
    containers: dict[int, Share]
    coming: set[int]
    after: Place | None


class Found(NamedTuple):
    """A row that points into some containers. `text` is the column as it is stored; of a version or
    a conflict `version` is all of it, of a part `part` is, and `bucket` and `key` say of what."""

    table: int
    key: tuple[int | str, ...]
    text: str
    extents: list[Extent]
    bucket: str
    name: str
    version: Version | None = None
    part: UploadPart | None = None


class FindPage(NamedTuple):
    rows: int
    found: list[Found]
    after: Place | None


def count_page(
    db: sqlite3.Connection, after: Place, limit: int, tiering: Tiering = NO_TIERS
) -> CountPage:
    """Which containers the next `limit` rows of a table point into."""
    table = after[0]
    rows, places, following = _page(db, after, limit)
    containers: dict[int, Share] = {}
    for row, extents in zip(rows, places, strict=True):
        of_body: set[int] = set()
        beside, bucket = _RECORD_BYTES + row[_KEY_FIELDS[table] + 1], _bucket(table, row)
        for one in extents:
            if not one.container:
                continue  # These bytes are elsewhere.
            there = containers.get(one.container)
            if there is None:
                there = containers[one.container] = Share()
            # What the journal says is not what clients have stored, nor once more what is noted.
            there.bytes += one.length if table not in (NOTED, JOURNAL) else 0
            there.taken += one.length + beside + _sums(one.length)
            if tiering.containers and tiering.is_wrong(bucket, one.container):
                there.wrong += one.length
            of_body.add(one.container)
        for container in of_body:
            containers[container].bodies += 1
    coming = set(containers) if table in _STAY else set()
    bodies = 0 if table in _STAY else sum(1 for extents in places if extents)
    return CountPage(len(rows), bodies, containers, coming, following)


def find_page(
    db: sqlite3.Connection,
    after: Place,
    limit: int,
    containers: frozenset[int],
    tiering: Tiering = NO_TIERS,
) -> FindPage:
    """Those of the next `limit` rows of a table that point into these containers, or that belong
    into containers of another tier. What stays where it is is left out."""
    table = after[0]
    if table in _STAY:
        return FindPage(0, [], None)
    rows, places, following = _page(db, after, limit)
    found = []
    for row, extents in zip(rows, places, strict=True):
        bucket = _bucket(table, row)
        if any(
            one.container in containers or tiering.is_wrong(bucket, one.container)
            for one in extents
        ):
            key = row[: _KEY_FIELDS[table]]
            full = db.execute(_FULL[table], key).fetchone()
            if full is not None:
                found.append(_found(table, key, full))
    return FindPage(len(rows), found, following)


def _bucket(table: int, row: tuple[Any, ...]) -> int | None:
    """The number of the bucket that a body is of."""
    if table in _STAY:
        return None
    found: int | None = row[-1] if table == PARTS else row[0]
    return found


def _found(table: int, key: tuple[int | str, ...], full: tuple[str, str, str, str]) -> Found:
    bucket, name, record, text = full
    if table == PARTS:
        part = _part(record)
        return Found(table, key, text, part.extents, bucket, name, part=part)
    version = decode_row(record).version(bucket, name)
    return Found(table, key, text, version.extents, bucket, name, version)


def _page(
    db: sqlite3.Connection, after: Place, limit: int
) -> tuple[list[tuple[Any, ...]], list[list[Extent]], Place | None]:
    """Rows, the extents of each, and where to go on."""
    table, key = after
    rows = db.execute(_PAGES[table], (*key, limit)).fetchall()
    fields = _KEY_FIELDS[table]
    text = f"[{','.join([row[fields] for row in rows])}]"
    if table == PARTS:
        places = [part.extents for part in _all_parts(text)]
    elif table == INBOX:
        places = [[extent for _, extent in ranges] for ranges in _all_ranges(text)]
    else:
        places = _all_extents(text)
    if len(rows) == limit:
        return rows, places, (table, rows[-1][:fields])
    return rows, places, (table + 1, _FIRST[table + 1]) if table < JOURNAL else None


def _sums(length: int) -> int:
    return -(-length // _BLOCK_BYTES) * _BLOCK_SUM_BYTES
