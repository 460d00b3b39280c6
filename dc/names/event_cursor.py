"""How far the change feed was told to the broker (`dc/events/publisher.py`), and whether it is to
be: durable, in the database that has the feed. So both are put back together to an old backup, and
what was made since is told.

While events are on, tombstones are kept until they were told, as they are for peers; of a broker
that has acknowledged nothing for `peer_absence_max` that is over (`dc/names/knowledge.py`).
"""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from dc.names.silence import Silence
from dc.names.transaction import Transaction

_FACT = "events"


class EventState(msgspec.Struct, frozen=True, kw_only=True):
    """`position` is that of the feed up to which the broker has acknowledged all."""

    on: bool = False
    position: int | None = None
    """None: events were never on."""
    heard_ms: int = 0
    """When the broker acknowledged something last, or events were turned on, by the wall clock."""


class EventCursor:
    """Of one name server. `state` is what was stored last."""

    def __init__(
        self, act: Callable[[Callable[[Transaction], None]], Awaitable[None]], silence: Silence
    ) -> None:
        self._act = act
        self._silence = silence
        self.state = EventState()

    def load(self, db: sqlite3.Connection) -> None:
        row = db.execute("SELECT value FROM facts WHERE name = ?", (_FACT,)).fetchone()
        self.state = msgspec.json.decode(row[0], type=EventState) if row else EventState()

    async def store(self, **changes: Any) -> None:
        """Change these fields; durable on return."""
        state = msgspec.structs.replace(self.state, **changes)
        text = msgspec.json.encode(state).decode()

        def act(transaction: Transaction) -> None:
            transaction.db.execute("INSERT OR REPLACE INTO facts VALUES(?, ?)", (_FACT, text))

        await self._act(act)
        self.state = state
        if "heard_ms" in changes:
            self._silence.heard(_FACT)

    def holds(self, most_ms: int) -> int | None:
        """The position after which tombstones are to be kept; None: it holds up none. `most_ms`:
        a broker that was silent for longer is not waited for."""
        state = self.state
        if not state.on or self._silence.is_longer(_FACT, state.heard_ms, most_ms):
            return None
        return state.position
