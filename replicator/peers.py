"""The links to all peers. `Peers.refresh` makes them follow the list of peers, whenever that has
changed (`replicator/link.py` is one of them).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import structlog

from dc.names.api import NamesError, NoSuchPeer
from dc.names.exchanges import Exchanged
from dc.names.model import Peer
from dc.rates import Terms
from dc.worker import spawn
from replicator.compare_wire import Item
from replicator.drawing import Bells
from replicator.feed_server import PeerServer
from replicator.home import Home
from replicator.limits import (
    GAP_SECONDS,
)
from replicator.link import Link
from replicator.pace import is_same_link

log = structlog.get_logger("replicator")


class Peers:
    """All links, by the peers' ids."""

    def __init__(self, home: Home, server: PeerServer, bells: Bells) -> None:
        self._home = home
        self._server = server
        self._bells = bells
        self._links: dict[str, Link] = {}
        self._held: set[str] = set()
        """Whose streams are to be closed (`held`)."""
        self._changing = asyncio.Lock()
        self._began = home.clock.monotonic()

    async def refresh(self) -> None:
        """Start and stop links so that there is one for each peer, as it is now. A caller that is
        cancelled does not stop this in the middle, where a link is not followed by anybody."""
        await asyncio.shield(spawn(self._refresh(), "refresh of the peers"))

    async def _refresh(self) -> None:
        async with self._changing:
            wanted = {peer.dc_id: peer for peer in self._home.names.peers()}
            for dc_id, link in list(self._links.items()):
                if not is_same_link(link.peer, wanted.get(dc_id)):
                    await self._end(dc_id)
            new = [dc_id for dc_id in wanted if dc_id not in self._links]
            if new:
                for link in self._links.values():
                    await link.reopen()
            for dc_id, peer in wanted.items():
                if dc_id in new:
                    link = self._links[dc_id] = Link(
                        self._home, peer, self._server, self._given_back, self._bells
                    )
                    if dc_id in self._held:
                        await link.hold()
                    link.files.exchanged = await self._exchanged(dc_id)
                    link.start()

    async def _exchanged(self, dc_id: str) -> Exchanged:
        """What went by files. A link starts without it, too: it says how old an acknowledgement by
        file was, which is asked when the next one comes."""
        try:
            return await self._home.names.exchanges.of(dc_id)
        except NamesError as error:
            log.warning("what a peer took by files is not known", error=str(error))
            return Exchanged()

    async def remove(self, dc_id: str) -> None:
        """Forget a peer, then end all dealings with it. NoSuchPeer; when it cannot be forgotten,
        as on a full disk, all goes on."""
        async with self._changing:
            if self._home.peer(dc_id) is None:
                raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
            try:
                await self._home.names.remove_peer(dc_id)
            finally:
                # An error does not say that it had no effect.
                if self._home.peer(dc_id) is None:
                    await self._end(dc_id)
                    await self._server.drop(dc_id)

    async def set_link(self, dc_id: str, poll_seconds: int) -> None:
        """See `replicator.service.Replicator.set_link`."""
        await self._change(dc_id, poll_seconds=poll_seconds)

    async def move(self, dc_id: str, endpoints: list[str]) -> Peer:
        """Reach a peer at other endpoints from now on. NoSuchPeer."""
        return await self._change(dc_id, endpoints=endpoints)

    async def _change(self, dc_id: str, **facts: Any) -> Peer:
        """Change what is recorded of a peer, and go on by that. NoSuchPeer."""
        async with self._changing:
            peer = self._home.peer(dc_id)
            if peer is None:
                raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
            changed = msgspec.structs.replace(peer, **facts)
            if changed == peer:
                return peer
            try:
                await self._home.names.add_peer(changed)
            finally:
                # An error does not say that it had no effect.
                refreshed = spawn(self._refresh(), "refresh of the peers")
        await asyncio.shield(refreshed)
        return changed

    async def agree(self, dc_id: str, alter: Callable[[Terms], Terms]) -> None:
        """Change the terms of a peer, at once. NoSuchPeer, and what `alter` raises. Who is
        cancelled does not leave it half done."""
        await asyncio.shield(spawn(self._agree(dc_id, alter), "terms of a peer"))

    async def _agree(self, dc_id: str, alter: Callable[[Terms], Terms]) -> None:
        async with self._changing:
            peer = self._home.peer(dc_id)
            if peer is None:
                raise NoSuchPeer(f"DC {dc_id} is not paired with this one")
            terms = alter(peer.terms)
            if terms == peer.terms:
                return
            try:
                await self._home.names.set_terms(dc_id, terms)
            finally:
                # An error does not say that it had no effect.
                peer, link = self._home.peer(dc_id), self._links.get(dc_id)
                if peer is not None and link is not None:
                    await link.agree(peer)
                    if peer.terms.paused_ms:
                        await self._server.cut(dc_id)

    @asynccontextmanager
    async def held(self, dc_id: str) -> AsyncIterator[Link | None]:
        """No stream from a peer meanwhile, also when its record changes and it gets another link:
        the cursor is another's to move. Not to be entered twice for one peer."""
        self._held.add(dc_id)
        try:
            link = self._links.get(dc_id)
            if link is not None:
                await link.hold()
            yield link
        finally:
            self._held.discard(dc_id)
            link = self._links.get(dc_id)
            if link is not None:
                link.release()

    async def stop(self) -> None:
        async with self._changing:
            for dc_id in list(self._links):
                await self._end(dc_id)

    async def _end(self, dc_id: str) -> None:
        link = self._links.pop(dc_id, None)
        if link is not None:
            await link.stop()

    def _given_back(self) -> None:
        """When all peers have given back what this DC may have forgotten, it knows all it made. A
        peer counts also while it has no link, as when its record changes. This is asked again with
        every acknowledgement, and not believed at once: a peer may have forgotten it as well."""
        if self._home.clock.monotonic() - self._began < GAP_SECONDS:
            return
        links = [self._links.get(peer.dc_id) for peer in self._home.names.peers()]
        if all(link is not None and link.inbound.given_back for link in links):
            self._home.names.knowledge.close_gap()

    def heard(self, dc_id: str) -> None:
        """A peer has opened our feed."""
        if dc_id in self._links:
            self._links[dc_id].kick()

    def reconciling(self, dc_id: str) -> bool:
        """Whether this DC is about to find out which deletions of a peer it missed."""
        link = self._links.get(dc_id)
        return link is not None and link.inbound.missed_deletions

    async def taken(self, dc_id: str) -> tuple[str, int]:
        """Up to where all of a peer's feed has taken effect here: epoch and position."""
        link = self._links.get(dc_id)
        return ("", 0) if link is None else (link.checks.epoch, await link.checks.taken())

    async def pull(self, dc_id: str, items: list[Item]) -> int:
        """Fetch the records of items from a peer into its inbox; how many came."""
        link = self._links.get(dc_id)
        return 0 if link is None else await link.checks.restore(items)

    def link(self, dc_id: str) -> Link | None:
        return self._links.get(dc_id)

    def links(self) -> list[Link]:
        """By the peers' names."""
        return sorted(self._links.values(), key=lambda link: link.peer.name)
