"""What went to a peer and came from it in files, for those without a link (`docs/air-gap.md`).

One record for each peer. It also remembers the pieces of the peer's feed that were taken before
what is in front of them: the cursor cannot move over a gap, and goes over them once it is closed.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from dc.names.errors import NoSuchPeer
from dc.names.model import Cursor
from dc.names.transaction import Transaction

SPANS_MAX = 64
"""Pieces of one peer's feed that are remembered beyond the cursor."""


class Span(msgspec.Struct, frozen=True, array_like=True):
    """A piece of a feed that was taken: what is after the position `after`, up to `last`."""

    epoch: str
    after: int
    last: int
    epochs: dict[str, int]
    """The feed's earlier epochs, with the last position of each."""


class Exchanged(msgspec.Struct, frozen=True, kw_only=True):
    """Times are milliseconds since 1970 by this DC's clock, but `newest_ms`; 0: never."""

    exported_ms: int = 0
    exported_position: int = 0
    """Our feed up to here is in a file for the peer."""
    exported_changes: int = 0
    exported_bytes: int = 0
    exported_unreadable: int = 0
    """Bodies that could not be read, and are not in that file."""
    imported_ms: int = 0
    imported_position: int = 0
    """Where the last file of the peer ended."""
    imported_changes: int = 0
    acked_ms: int = 0
    """When an acknowledgement came in a file."""
    newest_ms: int = 0
    """When the newest file that came was made, by the peer's clock; not later than it came here,
    but for a little."""
    epoch: str = ""
    """Of the newest file that came."""
    epochs: dict[str, int] = {}
    """Its earlier ones."""
    spans: list[Span] = []


_decode = msgspec.msgpack.Decoder(Exchanged).decode


def read(db: sqlite3.Connection, peer: str) -> Exchanged:
    row = db.execute("SELECT record FROM exchanges WHERE peer = ?", (peer,)).fetchone()
    return _decode(row[0]) if row else Exchanged()


class Exchanges:
    """Those of a name server. `read` and `act` reach its tables."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], None]], Awaitable[None]],
    ) -> None:
        self._read = read
        self._act = act

    async def of(self, peer: str) -> Exchanged:
        """Of one peer; empty when there never was a file."""
        found: Exchanged = await self._read(lambda db: read(db, peer))
        return found

    async def put(
        self,
        peer: str,
        record: Exchanged,
        cursor: Cursor | None = None,
        done: Sequence[int] = (),
    ) -> None:
        """Remember it; in the same transaction move the peer's cursor, and take the positions
        `done` out of its inbox: NoSuchPeer."""

        def act(transaction: Transaction) -> None:
            db = transaction.db
            if not db.execute("SELECT 1 FROM peers WHERE dc_id = ?", (peer,)).fetchone():
                raise NoSuchPeer(peer)
            if cursor is not None:
                db.execute(
                    "INSERT OR REPLACE INTO cursors VALUES(?, ?, ?, ?)",
                    (peer, cursor.epoch, cursor.seq, cursor.missed),
                )
            gone = [(peer, seq) for seq in done]
            db.executemany("DELETE FROM inbox WHERE peer = ? AND seq = ?", gone)
            db.execute(
                "INSERT OR REPLACE INTO exchanges VALUES(?, ?)",
                (peer, msgspec.msgpack.encode(record)),
            )

        await self._act(act)
