"""Exports to peers and imports from them: what the admin API asks for (`docs/air-gap.md`)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import msgspec

from dc.names.api import NoSuchPeer
from dc.names.exchanges import Exchanged
from replicator.errors import FileRefused
from replicator.exporting import Export, ExportReport
from replicator.feed_stream import Send
from replicator.filed import FileReader, Read
from replicator.home import Home
from replicator.importing import Import, ImportReport
from replicator.link import Link
from replicator.peers import Peers


class Files:
    """Of one DC."""

    def __init__(self, home: Home, peers: Peers) -> None:
        self._home = home
        self._peers = peers
        self._busy: dict[str, asyncio.Lock] = {}
        """By peer: who changes what is remembered of its files."""

    def after(self, dc_id: str, position: int | None, everything: bool) -> int:
        """The position after which an export begins: the one asked for, the beginning, or what the
        peer has acknowledged. ValueError for one that the feed has not reached."""
        if everything:
            return 0
        if position is None:
            return self._link(dc_id).outbound.has_all
        end = self._home.names.feed_end
        if not 0 <= position <= end:
            raise ValueError(f"the feed of this datacenter ends at position {end}, not {position}")
        return position

    async def export(
        self, dc_id: str, position: int | None, everything: bool, put: Send
    ) -> ExportReport:
        """Hand a file for a peer to `put`, piece by piece: NoSuchPeer; ValueError as `after`."""
        link = self._link(dc_id)
        after = self.after(dc_id, position, everything)
        report = await Export(self._home, link.peer, after, everything=everything).write(put)
        async with self._lock(dc_id):
            known = await self._home.names.exchanges.of(dc_id)
            record = msgspec.structs.replace(
                known,
                exported_ms=self._home.clock.wall_ms(),
                exported_position=report.last,
                exported_changes=report.changes,
                exported_bytes=report.bytes,
                exported_unreadable=report.unreadable,
            )
            with suppress(NoSuchPeer):
                await self._home.names.exchanges.put(dc_id, record)
            self._show(dc_id, record)
        return report

    async def take(self, read: Read, said: Callable[[ImportReport], None]) -> ImportReport:
        """Take a file that `read` reads: FileRefused; what was taken of it then, `said` has told
        last. NamesFull and ObjectsError when the disk is full."""
        reader = FileReader(self._home.identity, read)
        header = await reader.open(self._key_of)
        async with self._lock(header.sender):
            await self._home.meet()
            async with self._peers.held(header.sender) as link:
                if link is None:
                    raise FileRefused("not_paired", f"DC {header.sender} was removed meanwhile")
                try:
                    return await Import(self._home, link, reader, said).run()
                finally:
                    self._show(header.sender, await self._home.names.exchanges.of(header.sender))

    def _show(self, dc_id: str, record: Exchanged) -> None:
        """In the status, by the link of now: the peer's record may have changed meanwhile."""
        link = self._peers.link(dc_id)
        if link is not None:
            link.files.exchanged = record

    def _key_of(self, dc_id: str) -> bytes | None:
        peer = self._home.peer(dc_id)
        return peer.signing_key if peer else None

    def _lock(self, dc_id: str) -> asyncio.Lock:
        return self._busy.setdefault(dc_id, asyncio.Lock())

    def _link(self, dc_id: str) -> Link:
        link = self._peers.link(dc_id)
        if link is None:
            raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
        return link
