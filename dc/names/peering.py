"""What a name server is asked about peers: the part of `dc/names/service.py` that keeps who they
are, how far their feeds were taken, what came by them, and what of them is not finished."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from dc.names import applying, feed, peers
from dc.names.api import NamesClosed, NamesError
from dc.names.arrivals import Arrivals, positions_of
from dc.names.directory_api import DirectoryCopies
from dc.names.journal_api import JournalNames
from dc.names.knowledge import Knowledge
from dc.names.model import Change, Cursor, Event, Inboxed, Interval, Peer
from dc.names.transaction import Transaction
from dc.names.writer import Writer
from dc.ports import Clock, Database
from dc.positions import Position
from dc.rates import Terms

T = TypeVar("T")


class PeerNames:
    """A base of `SqliteNames`, which sets what stands here."""

    knowledge: Knowledge
    journal: JournalNames
    copies: DirectoryCopies
    arrivals: Arrivals
    _wall: Clock
    _writer: Writer
    _scan: Database
    _peers: list[Peer]
    _feed_end: int

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._scan.run(work)
        except sqlite3.Error as error:
            raise NamesClosed(f"the name server could not read: {error}") from error

    async def _rare(self, action: Callable[[Transaction], T], events: Sequence[Event] = ()) -> T:
        """What is not done often: return when the journal has it, too (`dc/objects/journal.py`)."""
        result = await self._writer.action(action, events)
        await self.journal.settled()
        return result

    async def _known(self, action: Callable[[Transaction], T], events: Sequence[Event] = ()) -> T:
        """A change of the directory: return when all gateways know of it, too
        (`dc/remote/copies.py`); also when there is nothing to do, as it is so already."""
        try:
            result = await self._rare(action, events)
        except NamesError:
            await self.copies.settled()
            raise
        await self.copies.settled()
        return result

    def peers(self) -> list[Peer]:
        return self._peers

    async def add_peer(self, peer: Peer, token_id: str = "", token_expires: int = 0) -> None:
        now_ms = self._wall.wall_ms()

        await self._known(
            lambda transaction: peers.add(transaction, peer, token_id, token_expires, now_ms)
        )

    async def remove_peer(self, dc_id: str) -> None:
        await self._known(lambda transaction: peers.remove(transaction, dc_id))
        self.knowledge.note_progress(dc_id, None)

    async def set_terms(self, dc_id: str, terms: Terms) -> None:
        await self._known(lambda transaction: peers.set_terms(transaction, dc_id, terms))

    async def token_used(self, token_id: str) -> bool:
        return await self._read(lambda db: peers.token_used(db, token_id))

    async def cursor(self, peer: str) -> Cursor | None:
        return await self._read(lambda db: peers.read_cursor(db, peer))

    async def inbox(
        self,
        peer: str,
        *,
        due_ms: int | None = None,
        after: int = 0,
        limit: int = 100,
        failing: bool = False,
    ) -> list[Inboxed]:
        return await self._read(
            lambda db: peers.read_inbox(db, peer, due_ms, after, limit, failing)
        )

    async def inbox_open(
        self, peer: str, limit: int, failing_max: int
    ) -> tuple[list[int], list[tuple[int, str]], int]:
        return await self._read(lambda db: peers.inbox_open(db, peer, limit, failing_max))

    async def inbox_update(self, entries: Sequence[Inboxed]) -> None:
        await self._writer.action(lambda transaction: peers.update_inbox(transaction, entries))

    async def inbox_state(self, peer: str) -> tuple[int, int]:
        return await self._read(lambda db: peers.inbox_state(db, peer))

    # -- what comes from them ---------------------------------------------------------------------

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        peer: str = "",
        cursor: Cursor | None = None,
        inbox: Sequence[Inboxed] = (),
        done: Sequence[int] = (),
        restoring: bool = False,
    ) -> None:
        def act(transaction: Transaction) -> None:
            applying.apply(transaction, changes, restoring=restoring)
            if peer:
                peers.advance(transaction, peer, cursor, inbox, done)
            transaction.arrived += applying.arrived(transaction.db, changes)

        await self._writer.action(act)

    def coverage(self) -> list[Interval]:
        return self.knowledge.coverage.intervals()

    def cover(self, intervals: Sequence[Interval]) -> None:
        self.knowledge.cover(intervals)
        self.arrivals.covered()

    async def missing(self, positions: Sequence[Position], seconds: float) -> list[Position]:
        return await self.arrivals.missing(positions, seconds)

    async def _recent(self, start: int, stop: int) -> list[Position]:
        """See `dc.names.arrivals.Arrivals`."""

        def read(db: sqlite3.Connection) -> list[Position]:
            found = feed.entries(feed.texts(db, start, stop))
            return list(positions_of(applying.arrived(db, [one.change for one in found])))

        return await self._read(read)
