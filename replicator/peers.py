"""The links to all peers: what runs for each, while it is a peer.

A link holds everything of one peer: the client, the consumer of its feed, the inbox, the
acknowledgements, and what the status shows. `Peers.refresh` makes the links follow the list of
peers, whenever that has changed.

A stream that ends or fails is opened again after a back-off that doubles from 0.2 to 15 seconds,
with jitter, and starts anew after a stream that worked. A peer that refuses us is asked once a
minute; it will hardly change its mind, unless the pairing is so new that it may not have recorded
it yet. But whenever a peer opens *our* feed, it is plainly there and on good terms with us, and the
wait ends at once: after a pairing or an outage both directions come up together.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp
import structlog

from dc.names.api import NamesError, NoSuchPeer
from dc.names.model import Interval, Peer
from dc.stamps import StampAhead, stamp_ms
from dc.worker import Worker, spawn
from replicator import messages, status
from replicator.agreement import Agreement
from replicator.checks import Checks
from replicator.client import PeerClient
from replicator.compare_wire import Item
from replicator.consumer import Consumer
from replicator.errors import Refused, ReplicatorError, Unreachable, printable
from replicator.feed_server import PeerServer
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.limits import (
    ACK_IDLE_SECONDS,
    ACK_SECONDS,
    ERROR_CHARACTERS_MAX,
    FAILING_TOLD_MAX,
    GAP_SECONDS,
    REFUSED_RETRY_SECONDS,
    RETRY_FIRST_SECONDS,
    RETRY_MAX_SECONDS,
    UNFINISHED_TOLD_MAX,
    WORKED_SECONDS,
)
from replicator.measures import Measures, open_positions, taken_effect
from replicator.verify import VerifyReport

log = structlog.get_logger("replicator")


class Link:
    """One peer. Made and stopped in the event loop."""

    def __init__(
        self, home: Home, peer: Peer, server: PeerServer, given_back: Callable[[], None]
    ) -> None:
        self.peer = peer
        self._given_back = given_back
        self._home = home
        self.outbound = server.outbound(peer.dc_id)
        self._client = PeerClient(home, peer)
        self.inbound = status.Inbound(home.clock)
        self._inbox = Inbox(home, peer, self._client, self.inbound)
        self._consumer = Consumer(
            home, peer, self._client, self._inbox, self.inbound, self.outbound.told
        )
        self._state = status.CONNECTING
        self._last_error = ""
        self._error_at = 0.0
        self._failures = 0
        self._ever = False
        self._retry_at = 0.0
        self._kick = asyncio.Event()
        self._measures = Measures(home, peer, self.outbound, self.inbound)
        self._agreement = Agreement(home, self._client, self.outbound, self.inbound)
        self.checks = Checks(
            home,
            peer,
            self._client,
            self._inbox,
            self.inbound,
            self.outbound,
            self._agreement,
        )
        self._workers = [
            Worker(f"feed of {peer.name}", home.clock, self._follow),
            Worker(f"acks to {peer.name}", home.clock, self._acknowledge),
            Worker(f"measures of {peer.name}", home.clock, self._measures.look),
            Worker(f"agreement with {peer.name}", home.clock, self._agreement.look),
            Worker(f"comparing with {peer.name}", home.clock, self.checks.look),
        ]

    def start(self) -> None:
        self._inbox.start()
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        for worker in self._workers:
            await worker.stop()
        await self._inbox.stop()
        await self._client.close()

    async def reopen(self) -> None:
        """Open the stream anew, from the cursor: it tells the peer who our other peers are."""
        await self._workers[0].stop()
        self._failures = 0
        self._workers[0].start()

    def kick(self) -> None:
        """The peer is there: do not wait any longer."""
        self._kick.set()

    # -- following the feed ---------------------------------------------------------------------

    async def _follow(self) -> float:
        """One stream, and the wait before the next."""
        self._kick.clear()
        if not self._failures:
            self._state = status.CONNECTING
        began = self._home.clock.monotonic()
        taken = self.inbound.changes
        try:
            await self._consumer.run()
            self._note(status.CONNECTING, "the peer ended the stream")
        except Exception as error:
            # Whatever broke the stream, it is shown and the stream is opened again.
            self._note_failure(error)
        finally:
            worked = self.inbound.connected
            self._ever |= worked
            self.inbound.ended()
        lived = self._home.clock.monotonic() - began
        if worked and (lived > WORKED_SECONDS or self.inbound.changes > taken):
            self._failures = 0
        await self._wait()
        return 0

    def _note(self, state: str, error: str) -> None:
        self._state = state
        self._last_error = error[:ERROR_CHARACTERS_MAX]
        self._error_at = self._home.clock.monotonic()

    def _note_failure(self, error: BaseException) -> None:
        text = printable(error) or type(error).__name__
        if isinstance(error, Refused):
            self._note(status.REFUSED, text)
        elif isinstance(error, Unreachable):
            self._note(status.UNREACHABLE, text)
        elif isinstance(error, aiohttp.ClientError | OSError | TimeoutError):
            self._note(status.UNREACHABLE, f"the stream broke: {text}")
        else:
            self._note(status.FAILED, f"{type(error).__name__}: {text}")
        log.warning(
            "no stream from a peer", peer=self.peer.name, state=self._state, error=self._last_error
        )

    async def _wait(self) -> None:
        paired_seconds = (self._home.clock.wall_ms() - stamp_ms(self.peer.paired)) / 1000
        is_new = not self._ever and paired_seconds < REFUSED_RETRY_SECONDS
        if self._state == status.REFUSED and not is_new:
            wait = self._home.backoff_seconds(0, REFUSED_RETRY_SECONDS, REFUSED_RETRY_SECONDS)
        else:
            wait = self._home.backoff_seconds(
                self._failures, RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS
            )
        self._failures += 1
        self._retry_at = self._home.clock.monotonic() + wait
        try:
            async with asyncio.timeout(wait):
                await self._kick.wait()
        except TimeoutError:
            pass

    # -- acknowledging --------------------------------------------------------------------------

    async def _acknowledge(self) -> float:
        """Tell the peer up to where everything has taken effect, when that has changed; and now
        and then anyway, for the peer may have lost it, and sees by it that we are there."""
        with suppress(TimeoutError):
            async with asyncio.timeout(ACK_IDLE_SECONDS):
                await self._inbox.moved.wait()
        self._inbox.moved.clear()
        cursor = self.inbound.cursor
        positions: list[int] = []
        failing: list[tuple[int, str]] = []
        names, dc_id = self._home.names, self.peer.dc_id
        try:
            count, lowest = await names.inbox_state(dc_id)
            if count:
                positions, failing, self.inbound.failing = await names.inbox_open(
                    dc_id, UNFINISHED_TOLD_MAX, FAILING_TOLD_MAX
                )
        except NamesError:
            # The worker comes again, and must find that there is something to tell.
            self._inbox.moved.set()
            raise
        self.inbound.inbox_is(count)
        now = self.inbound.cursor
        if cursor is None or now is None or not self.inbound.connected:
            return 0
        if now.epoch != cursor.epoch:
            # Meanwhile the feed was opened anew, and may be another one: this says nothing of it.
            self._inbox.moved.set()
            return 0
        position = taken_effect(cursor.seq, count, lowest)
        self._settled(position)
        taken, unfinished = open_positions(cursor.seq, positions, UNFINISHED_TOLD_MAX)
        ack = messages.Ack(
            epoch=cursor.epoch,
            position=position,
            taken=taken,
            unfinished=unfinished,
            failing=failing,
        )
        try:
            await self._client.ack(ack)
        except (ReplicatorError, aiohttp.ClientError, OSError, TimeoutError) as error:
            # The stream will notice what is wrong; the next acknowledgement says it all again.
            log.info("an acknowledgement failed", peer=self.peer.name, error=printable(error))
            self._inbox.moved.set()
            return 1.0
        return ACK_SECONDS

    def _settled(self, position: int) -> None:
        """All of the peer's feed up to a position has taken effect: take over what it covers."""
        if position < self._client.superseded_until:
            # Something was left out because a later state of it is on its way.
            return
        names = self._home.names
        for frame in self.inbound.settled(position):
            for origin, _, high in frame.intervals:
                if origin == self._home.dc_id:
                    with suppress(StampAhead):
                        names.clock.observe(high)
            names.cover([Interval(*one) for one in frame.intervals])
        if self.inbound.given_back:
            self._given_back()

    # -- status ---------------------------------------------------------------------------------

    @property
    def last_verify(self) -> VerifyReport | None:
        """What the last comparison of everything found; None before the first."""
        return self.checks.last

    def _verified(self) -> status.Verified | None:
        found = self.checks.last
        if found is None:
            return None
        return status.Verified(
            at_ms=found.at_ms,
            identical=found.identical,
            only_here=found.only_here,
            only_there=found.only_there,
            different=found.different,
            in_flight=found.in_flight,
            repaired=found.repaired,
            error=found.error,
        )

    def word(self) -> str:
        """The state: one of the words of `replicator/status.py`."""
        if not self.inbound.connected:
            return self._state
        word = self.inbound.word()
        return status.IDENTICAL if word == status.STREAMING and self._agreement.root else word

    def status(self) -> status.PeerStatus:
        out, inbound = self.outbound, self.inbound
        now, end = self._home.clock.monotonic(), self._home.names.feed_end
        connected, settled, word = inbound.connected, out.settled, self.word()
        to_give = self._measures.to_give()
        recovered = connected and inbound.caught_up_at > self._error_at
        return status.PeerStatus(
            dc_id=self.peer.dc_id,
            name=self.peer.name,
            region=self.peer.region,
            endpoints=self.peer.endpoints,
            endpoint=self._client.endpoint,
            state=word,
            root=self._agreement.root if word == status.IDENTICAL else "",
            differs=self._agreement.differs,
            verified=self._verified(),
            their_position=inbound.position,
            their_end=inbound.end,
            behind=inbound.behind,
            our_acked=settled,
            our_end=end,
            our_behind=None if settled is None else end - settled,
            lag_seconds=None if to_give is None else to_give.oldest_seconds,
            to_give=to_give,
            to_take=self._agreement.to_take(),
            streaming_to=out.streams > 0,
            heard_ms=inbound.heard_ms,
            changes_in=inbound.changes,
            bytes_in=inbound.bytes,
            changes_out=out.records,
            bytes_out=out.bytes,
            inbox=inbound.inbox,
            failing=inbound.failing,
            problems=self._measures.problems,
            their_problems=self._measures.their_problems,
            last_error="" if recovered else self._last_error,
            retry_seconds=0.0 if connected else max(0.0, self._retry_at - now),
        )


class Peers:
    """All links, by the peers' ids."""

    def __init__(self, home: Home, server: PeerServer) -> None:
        self._home = home
        self._server = server
        self._links: dict[str, Link] = {}
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
                if wanted.get(dc_id) != link.peer:
                    await self._end(dc_id)
            new = [dc_id for dc_id in wanted if dc_id not in self._links]
            if new:
                for link in self._links.values():
                    await link.reopen()
            for dc_id, peer in wanted.items():
                if dc_id in new:
                    link = self._links[dc_id] = Link(
                        self._home, peer, self._server, self._given_back
                    )
                    link.start()

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
