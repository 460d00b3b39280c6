"""The outbox: what the world outside is to be told of changes, once for each change.

The feed says what an item is now; what needs every single event (notifications) finds it here. An
event is written in the transaction of its change, so that there is one if and only if the change
is durable, and leaves when the receiver has acknowledged it. Events leave in the order in which
they came, which for one key is the order of its changes in this DC.

A broker that is away for long must not fill the disk that objects need: past `EVENTS_MAX` events a
change is made without its event, which is counted (`lost`), for ever, and shown in the status.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from dc.names.model import Event, OutboxState, Outgoing
from dc.names.transaction import Transaction

EVENTS_MAX = 1_000_000
"""About 1 GB; a day of 11 changes each second."""


def add(transaction: Transaction, events: Sequence[Event], events_max: int = EVENTS_MAX) -> None:
    """Put events in, in the transaction of their change."""
    db = transaction.db
    room = max(0, events_max - _waiting(db))
    db.executemany(
        "INSERT INTO outbox(topic, payload) VALUES(?, ?)",
        [(event.topic, event.payload) for event in events[:room]],
    )
    if len(events) > room:
        db.execute(
            "INSERT INTO facts VALUES('outbox_lost', ?1) ON CONFLICT(name)"
            " DO UPDATE SET value = CAST(value AS INTEGER) + ?1",
            (len(events) - room,),
        )
    transaction.told = True


def _waiting(db: sqlite3.Connection) -> int:
    """How many there are; ids have no gaps but those of an acknowledgement under way."""
    first, last = db.execute(
        "SELECT (SELECT min(id) FROM outbox), (SELECT max(id) FROM outbox)"
    ).fetchone()
    return 0 if first is None else int(last) - int(first) + 1


def state(db: sqlite3.Connection) -> OutboxState:
    lost = db.execute("SELECT value FROM facts WHERE name = 'outbox_lost'").fetchone()
    return OutboxState(_waiting(db), int(lost[0]) if lost else 0)


def _page(db: sqlite3.Connection, after: int, limit: int) -> list[Outgoing]:
    rows = db.execute(
        "SELECT id, topic, payload FROM outbox WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).fetchall()
    return [Outgoing(number, Event(topic, payload)) for number, topic, payload in rows]


class Waiting:
    """A table of a name server, for who empties it. `read` and `act` reach its tables."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], None]], Awaitable[None]],
    ) -> None:
        self._read = read
        self._act = act
        self._told = asyncio.Event()
        self._told.set()

    def tell(self) -> None:
        """Rows were committed."""
        self._told.set()

    async def wait(self) -> None:
        """Return when there may be rows that no `page` since the last return has shown."""
        await self._told.wait()
        self._told.clear()


class Outbox(Waiting):
    """The outbox, for who empties it."""

    async def page(self, after: int = 0, limit: int = 100) -> list[Outgoing]:
        """The oldest events after `after`."""
        found: list[Outgoing] = await self._read(lambda db: _page(db, after, limit))
        return found

    async def done(self, upto: int) -> None:
        """Take out all events up to this id: they have arrived."""

        def act(transaction: Transaction) -> None:
            transaction.db.execute("DELETE FROM outbox WHERE id <= ?", (upto,))

        await self._act(act)

    async def state(self) -> OutboxState:
        found: OutboxState = await self._read(state)
        return found
