"""The journal in the tables: what of the name server is written down in the containers, and where.

If the name server is lost, the containers tell it again (`docs/object-servers.md`). The journal is
the feed, copied in *segments*: the items whose positions are after `first` and up to `last`, as
they were when it was written. A segment that was written later counts for its positions instead of
those before it. So segments whose items have moved on (they have changed, and stand further back
now) are written anew, several as one, and nothing in it grows but with the number of items.

`dc/objects/journal.py` writes it. Here is what it asks of the tables: pages of the feed, as they
are to be stored, and the rows of `journal`, which keep compaction from removing what still counts.

Names that were made again begin a new *generation*: positions of another one mean nothing.
"""

import sqlite3
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from dc.names import feed, peers
from dc.names.journal_api import Page, Segment, Token
from dc.names.merge import merge, record
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Extent,
    FeedEntry,
    Peer,
    Site,
    User,
    Version,
)
from dc.names.rows import LIVE
from dc.names.transaction import Transaction

LEVEL = 1
"""Of compression: the texts of rows are much alike, and more would only cost time."""
DATA_BYTES_MAX = 1 << 30
"""What a segment may decode to: far more than is ever written."""

_extents = msgspec.json.Decoder(list[Extent]).decode


class _Directory(msgspec.Struct, array_like=True):
    """Records of the directory, each with its position."""

    buckets: list[tuple[int, Bucket]] = []
    users: list[tuple[int, User]] = []
    keys: list[tuple[int, AccessKey]] = []
    sites: list[tuple[int, Site]] = []


class _Data(msgspec.Struct, array_like=True):
    """What a segment holds, before it is compressed."""

    ids: dict[int, str]
    versions: str
    tombstones: str
    conflicts: str
    directory: _Directory
    peers: list[Peer]
    tokens: list[Token]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Data).decode


class Told(NamedTuple):
    """What a segment tells."""

    entries: list[FeedEntry]
    peers: list[Peer]
    tokens: list[Token]


def generation(number: int, token: str) -> str:
    """The name of a generation: later ones sort after earlier ones."""
    return f"{number:08x}{token}"


async def _at_once() -> None:
    pass


class JournalTables:
    """`JournalNames`: `read` and `act` reach the tables."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], Any]], Awaitable[Any]],
    ) -> None:
        self._read = read
        self._act = act
        self.settled: Callable[[], Awaitable[None]] = _at_once

    async def load(self) -> tuple[str, int, list[Segment]]:
        found: tuple[str, int, list[Segment]] = await self._read(load)
        return found

    async def page(self, after: int, limit: int, stop: int | None = None) -> Page:
        found: Page = await self._read(lambda db: read_page(db, after, limit, stop))
        return found

    async def count(self, first: int, last: int) -> int:
        found: int = await self._read(
            lambda db: db.execute(
                "SELECT count(*) FROM feed WHERE seq > ? AND seq <= ?", (first, last)
            ).fetchone()[0]
        )
        return found

    async def replace(self, gone: Sequence[int], new: Sequence[Segment]) -> None:
        await self._act(lambda transaction: replace(transaction, gone, new))

    # -- for names that are made again -----------------------------------------------------------

    async def begin(self, name: str, paired: Sequence[Peer], tokens: Sequence[Token]) -> None:
        await self._act(lambda transaction: begin(transaction, name, paired, tokens))

    async def admit(self, versions: Sequence[Version]) -> int:
        found: int = await self._act(lambda transaction: admit(transaction, versions))
        return found


def begin(
    transaction: Transaction, name: str, paired: Sequence[Peer], tokens: Sequence[Token]
) -> None:
    db = transaction.db
    db.execute("UPDATE facts SET value = ? WHERE name = 'generation'", (name,))
    for peer in paired:
        peers.add(transaction, peer, "", 0, 0)
    db.executemany(
        "INSERT OR REPLACE INTO used_tokens VALUES(?, ?, ?)",
        [(one.id, one.peer, one.expires) for one in tokens],
    )


def admit(transaction: Transaction, versions: Sequence[Version]) -> int:
    live = dict(transaction.db.execute(f"SELECT id, number FROM buckets WHERE {LIVE}").fetchall())
    records = [record(live[one.bucket], one) for one in versions if one.bucket in live]
    merge(transaction, records, local=True, again=True)
    return len(records)


def load(db: sqlite3.Connection) -> tuple[str, int, list[Segment]]:
    (name,) = db.execute("SELECT value FROM facts WHERE name = 'generation'").fetchone()
    (start,) = db.execute("SELECT max(rowid) FROM epochs").fetchone()
    rows = db.execute(
        "SELECT serial, first, last, rows, floor, begun, extents FROM journal ORDER BY last, serial"
    ).fetchall()
    segments = [
        Segment(serial, first, last, count, floor, bool(begun), _extents(extents))
        for serial, first, last, count, floor, begun, extents in rows
    ]
    return name, int(start), segments


def replace(transaction: Transaction, gone: Sequence[int], new: Sequence[Segment]) -> None:
    db = transaction.db
    db.executemany("DELETE FROM journal WHERE serial = ?", [(serial,) for serial in gone])
    for one in new:
        transaction.pointed.note(one.extents)
    db.executemany(
        "INSERT INTO journal VALUES(?, ?, ?, ?, ?, ?, ?)",
        [
            (one.serial, one.first, one.last, one.rows, one.floor, one.begun, _text(one.extents))
            for one in new
        ],
    )


def _text(extents: list[Extent]) -> str:
    return msgspec.json.encode(extents).decode()


def read_page(db: sqlite3.Connection, after: int, limit: int, stop: int | None) -> Page:
    """See `JournalNames.page`. In one read transaction: what is told of a position is what the item
    was when that position was its last."""
    db.execute("BEGIN")
    try:
        end, count = feed.find_end(db, after, limit, stop)
        found = feed.texts(db, after, end)
        paired = peers.load(db)
        tokens = [
            Token(*row)
            for row in db.execute("SELECT id, peer, expires FROM used_tokens ORDER BY id")
        ]
    finally:
        db.execute("COMMIT")
    data = _encode(
        _Data(
            found.ids,
            found.versions,
            found.tombstones,
            found.conflicts,
            _sorted(found.directory),
            paired,
            tokens,
        )
    )
    return Page(zlib.compress(data, LEVEL), max(after, end), count, count < limit)


def _sorted(changes: Sequence[tuple[int, Change]]) -> _Directory:
    """Records by their kinds: so each can be read as what it is."""
    found = _Directory([], [], [], [])
    for seq, change in changes:
        match change:
            case Bucket():
                found.buckets.append((seq, change))
            case User():
                found.users.append((seq, change))
            case AccessKey():
                found.keys.append((seq, change))
            case Site():
                found.sites.append((seq, change))
    return found


def read(data: bytes) -> Told:
    """What a segment tells. ValueError when it is none."""
    inflate = zlib.decompressobj()
    try:
        found = _decode(inflate.decompress(data, DATA_BYTES_MAX))
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"a segment of the journal cannot be read: {error}") from error
    records = found.directory
    directory: list[tuple[int, Change]] = [
        *records.buckets,
        *records.users,
        *records.keys,
        *records.sites,
    ]
    told = feed.Texts(found.ids, found.versions, found.tombstones, found.conflicts, directory)
    return Told(feed.entries(told), found.peers, found.tokens)
