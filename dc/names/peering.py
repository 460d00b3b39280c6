"""What a name server is asked about peers: the part of `dc/names/service.py` that keeps who they
are, how far their feeds were taken, and what of them is not finished."""

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from dc.names import peers
from dc.names.api import NamesClosed
from dc.names.directory_api import DirectoryCopies
from dc.names.journal_api import JournalNames
from dc.names.knowledge import Knowledge
from dc.names.model import Cursor, Event, Inboxed, Peer
from dc.names.transaction import Transaction
from dc.names.writer import Writer
from dc.ports import Clock, Database

T = TypeVar("T")


class PeerNames:
    """A base of `SqliteNames`, which sets what stands here."""

    knowledge: Knowledge
    journal: JournalNames
    copies: DirectoryCopies
    _wall: Clock
    _writer: Writer
    _scan: Database
    _peers: list[Peer]

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._scan.run(work)
        except sqlite3.Error as error:
            raise NamesClosed(f"the name server could not read: {error}") from error

    async def _rare(self, action: Callable[[Transaction], T], events: Sequence[Event] = ()) -> T:
        """What is not done often: return when the journal has it, too (`dc/objects/journal.py`),
        and so have all gateways (`dc/remote/copies.py`)."""
        result = await self._writer.action(action, events)
        await self.journal.settled()
        await self.copies.settled()
        return result

    def peers(self) -> list[Peer]:
        return self._peers

    async def add_peer(self, peer: Peer, token_id: str = "", token_expires: int = 0) -> None:
        now_ms = self._wall.wall_ms()

        await self._rare(
            lambda transaction: peers.add(transaction, peer, token_id, token_expires, now_ms)
        )

    async def remove_peer(self, dc_id: str) -> None:
        await self._rare(lambda transaction: peers.remove(transaction, dc_id))
        self.knowledge.note_progress(dc_id, None)

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
