"""Going through all versions of a bucket, and letting go of some: what lifecycle needs of the name
server.

A page is one seek and a run through the table. What is let go was judged on what a page said, and
much may have happened since: in the transaction it is looked at again, and stays unless it is the
very same write, and still current if it was judged as that.

How far a sweep has come is stored, so that a restart does not begin again with the first bucket.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from dc.names.model import Event, Kind, Registers, SweptVersion, Tombstone, Version
from dc.names.transaction import Transaction

_PAGE = """
SELECT key, vid, stamp, kind, size, registers FROM versions
WHERE bucket = ?1 AND (key, vid) > (?2, ?3) ORDER BY key, vid LIMIT ?4
"""
_decode = msgspec.json.Decoder(Registers).decode


class LetGo(msgspec.Struct, frozen=True):
    """`version`, judged as `current` or not, is to be followed by `change`: a delete marker that
    goes over it, or its tombstone."""

    version: SweptVersion
    current: bool
    change: Version | Tombstone
    events: Sequence[Event] = ()


class Place(msgspec.Struct, frozen=True, array_like=True):
    """How far a sweep has come: all keys up to `key` in the bucket, and all buckets before it in
    the order of ids; when it began, in milliseconds since 1970."""

    bucket: str = ""
    key: str = ""
    began_ms: int = 0


class Sweeper:
    """`read` and `act` reach the tables, `number` gives a bucket's, `let_go` is that of
    `dc/names/applying.py`."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], Any]], Awaitable[Any]],
        number: Callable[[str], int],
        let_go: Callable[[Transaction, int, Sequence[LetGo]], list[bool]],
    ) -> None:
        self._read = read
        self._act = act
        self._number = number
        self._let_go = let_go

    async def page(
        self, bucket_id: str, after: tuple[str, str], limit: int = 1000
    ) -> list[SweptVersion]:
        """Versions and delete markers by key; of a key the null version first, then the others,
        newest first; those after `after` = (key, vid)."""
        number = self._number(bucket_id)
        found: list[SweptVersion] = await self._read(lambda db: _page(db, number, after, limit))
        return found

    async def let_go(self, bucket_id: str, items: Sequence[LetGo]) -> list[bool]:
        """Of each, whether it was still so, and went."""
        number = self._number(bucket_id)
        found: list[bool] = await self._act(
            lambda transaction: self._let_go(transaction, number, items)
        )
        return found

    async def place(self, name: str) -> Place:
        """Where the sweep of that name is."""
        found: Place = await self._read(lambda db: _place(db, name))
        return found

    async def set_place(self, name: str, place: Place) -> None:
        text = msgspec.json.encode(place).decode()

        def act(transaction: Transaction) -> None:
            transaction.db.execute("INSERT OR REPLACE INTO facts VALUES(?, ?)", (name, text))

        await self._act(act)


def _page(
    db: sqlite3.Connection, number: int, after: tuple[str, str], limit: int
) -> list[SweptVersion]:
    rows = db.execute(_PAGE, (number, *after, limit)).fetchall()
    return [
        SweptVersion(key, vid, stamp, Kind(kind), size, _decode(text) if text != "{}" else {})
        for key, vid, stamp, kind, size, text in rows
    ]


def _place(db: sqlite3.Connection, name: str) -> Place:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return msgspec.json.decode(row[0], type=Place) if row else Place()
