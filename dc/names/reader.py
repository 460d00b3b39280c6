"""Reads of single objects, gathered: those that arrive while one query is under way share the next.

A query takes a JSON array of items and gives one JSON text back. So a group costs one hop to the
reader's thread and one row, and the interpreter lock is given up while SQLite works.

Current versions that were read are remembered, up to `ROWS_MAX` of them, so that what is asked for
again costs no hop at all. All changes of versions go through this process's writer, which tells
`forget` after each commit and before it tells those who made the changes: so whoever reads after a
write has been answered sees it. A row that was read while its item changed may be the old one, and
is not remembered.
"""

import asyncio
import sqlite3
from collections.abc import Iterable

import msgspec

from dc.names.api import NamesClosed
from dc.names.rows import ROW, Row
from dc.names.transaction import Item
from dc.ports import Database
from dc.worker import spawn

GROUP_MAX = 256
ROWS_MAX = 16_384
"""About 1 KB each."""

_CURRENT = f"""
SELECT group_concat(coalesce((
    SELECT row FROM (
        SELECT v.stamp AS stamp, {ROW} AS row FROM versions v
        WHERE v.bucket = j.value->>0 AND v.key = j.value->>1 AND j.value->>2 IS NULL
        ORDER BY v.vid LIMIT 2
    ) ORDER BY stamp DESC LIMIT 1
), (
    SELECT {ROW} FROM versions v
    WHERE v.bucket = j.value->>0 AND v.key = j.value->>1 AND v.vid = j.value->>2
), 'null')) FROM json_each(?1) j
"""
_decode = msgspec.json.Decoder(list[Row | None]).decode
_encode = msgspec.json.Encoder().encode

Ask = tuple[int, str, str | None]
"""(bucket number, key, vid or None for the current version)"""


class Reader:
    """Answers `get` through one database connection."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[tuple[Ask, asyncio.Future[Row | None]]] = []
        self._wake = asyncio.Event()
        self._closed = False
        self._rows: dict[tuple[int, str], Row] = {}
        self._changed: set[tuple[int, str]] = set()
        """What changed while the query under way was."""
        self._asking = False
        self._task = spawn(self._loop(), "names reader")

    def remembered(self, number: int, key: str) -> Row | None:
        """The current version, if it is remembered."""
        row = self._rows.pop((number, key), None)
        if row is not None:
            self._rows[number, key] = row
        return row

    def forget(self, items: Iterable[Item]) -> None:
        """These items have changed, and the change is committed."""
        for number, key, _ in items:
            self._rows.pop((number, key), None)
            if self._asking:
                self._changed.add((number, key))

    def _remember(self, number: int, key: str, row: Row) -> None:
        if (number, key) not in self._changed:
            self._rows[number, key] = row
            if len(self._rows) > ROWS_MAX:
                del self._rows[next(iter(self._rows))]

    def get(self, number: int, key: str, vid: str | None = None) -> asyncio.Future[Row | None]:
        if self._closed:
            raise NamesClosed("the name server is shutting down")
        future: asyncio.Future[Row | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((number, key, vid), future))
        self._wake.set()
        return future

    async def close(self) -> None:
        self._closed = True
        self._wake.set()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _loop(self) -> None:
        while True:
            await self._wake.wait()
            while self._waiting:
                group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
                await self._answer(group)
            self._wake.clear()
            if self._closed:
                return

    async def _answer(self, group: list[tuple[Ask, asyncio.Future[Row | None]]]) -> None:
        self._asking = True
        try:
            asked = _encode([ask for ask, _ in group])
            text = await self._db.run(lambda db: _query(db, asked))
            rows = _decode(f"[{text}]")
        except Exception as error:
            failure = NamesClosed(f"the name server could not read: {error}")
            for _, future in group:
                if not future.done():
                    future.set_exception(failure)
            return
        finally:
            self._asking = False
        for ((number, key, vid), future), row in zip(group, rows, strict=True):
            if vid is None and row is not None:
                self._remember(number, key, row)
            if not future.done():
                future.set_result(row)
        self._changed.clear()


def _query(db: sqlite3.Connection, asked: bytes) -> str:
    text: str = db.execute(_CURRENT, (asked,)).fetchone()[0]
    return text
