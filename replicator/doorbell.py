"""Doorbells: how a DC tells a peer that keeps no stream open that there is something to draw.

All goes through the MQTT broker that each DC has in its own configuration; two brokers may be
bridged. `replicator/ring.py` has the topics and what a ring says.

Ringing   After a commit each peer that draws is rung, if what was committed is its business; a few
          times a second at most. The ring is retained: who comes later finds the last one. When the
          connection was lost it is looked what each peer has not acknowledged, and rung for that.
Hearing   A ring of a peer whose feed is drawn, signed by it and newer than the last one, is handed
          to `replicator/drawing.py`. Everything else is dropped. So many rings are looked at in a
          second; in a flood of others, polling takes their place.

There is a connection as long as somebody is to be rung or heard. It is a convenience, and nothing
depends on it: whatever is wrong with it, polling goes on.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol

import structlog

from dc.broker import Broker, Connection, Message, Will
from dc.names.model import Peer
from dc.worker import TaskGroup
from replicator.drawing import AWAY, LIVE, NONE, SILENT, Drawing
from replicator.errors import WireError, printable
from replicator.home import Home
from replicator.limits import (
    BACKLOG_POSITIONS_MAX,
    ERROR_CHARACTERS_MAX,
    RING_AHEAD_MS_MAX,
    RING_GAP_SECONDS,
    RING_TICK_SECONDS,
    RINGS_CHECKED_MAX,
)
from replicator.outbound import Outbound
from replicator.ring import GONE, HERE, ROOT, Ring, here_topic, read_ring, ring_topic, sign_ring
from replicator.status import Inbound

log = structlog.get_logger("doorbell")


class Rung(Protocol):
    """What of a link is needed here."""

    peer: Peer
    outbound: Outbound
    drawing: Drawing
    inbound: Inbound


class Doorbell:
    """Of one DC. `step` is the work of a worker. `broker`: None when none is configured."""

    def __init__(
        self, home: Home, broker: Broker | None, links: Callable[[], Iterable[Rung]]
    ) -> None:
        self._home = home
        self._broker = broker
        self._links = links
        self._connected = False
        self._here: dict[str, bool] = {}
        self._heard_ms: dict[str, int] = {}
        """Of each peer, when the last ring was made that was taken."""
        self._second = 0.0
        self._checked = 0
        self.last_error = ""
        self.rings = 0
        """That were published since the start."""
        self.dropped = 0
        """Messages that were no ring, or no news, or too many."""

    def state(self, dc_id: str) -> str:
        """See `replicator/drawing.py`."""
        if self._broker is None:
            return NONE
        if not self._connected:
            return AWAY
        return LIVE if self._here.get(dc_id) else SILENT

    # -- the connection -----------------------------------------------------------------------

    async def step(self) -> float:
        """One connection, for as long as it holds and the same peers are to be rung and heard."""
        heard, ringing = self._heard(), self._is_ringing()
        if self._broker is None or not (heard or ringing):
            return RING_TICK_SECONDS
        own = here_topic(self._home.dc_id)
        try:
            async with self._broker.connect(Will(own, GONE)) as connection:
                if heard:
                    topics = [f"{ROOT}/{self._home.dc_id}/ring/+", *map(here_topic, sorted(heard))]
                    await connection.subscribe(topics)
                await connection.publish(own, HERE if ringing else GONE, retain=True)
                self._connected, self.last_error = True, ""
                try:
                    await self._work(connection, heard, ringing)
                finally:
                    # The will is for who goes without a word.
                    with suppress(Exception):
                        async with asyncio.timeout(RING_TICK_SECONDS):
                            await connection.publish(own, GONE, retain=True)
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {printable(error)}"[:ERROR_CHARACTERS_MAX]
            raise
        finally:
            self._connected = False
            self._here.clear()
        return 0

    def _heard(self) -> frozenset[str]:
        """The peers whose ring is to be heard."""
        return frozenset(link.peer.dc_id for link in self._links() if link.drawing.on)

    def _is_ringing(self) -> bool:
        """Whether there is a peer that draws, or may do so: none is known of after a start."""
        return any(link.outbound.draw_seconds != 0 for link in self._links())

    async def _work(self, connection: Connection, heard: frozenset[str], ringing: bool) -> None:
        async with TaskGroup() as group:
            work = [group.create_task(self._hear(connection))]
            if ringing:
                work.append(group.create_task(self._ring(connection)))
            while (heard, ringing) == (self._heard(), self._is_ringing()):
                if any(task.done() for task in work):
                    return
                await self._home.clock.sleep(RING_TICK_SECONDS)
            for task in work:
                task.cancel()

    # -- ringing ------------------------------------------------------------------------------

    async def _ring(self, connection: Connection) -> None:
        names, home = self._home.names, self._home
        rung: dict[str, int] = {}
        while True:
            end = names.feed_end
            for link in self._links():
                peer, out = link.peer.dc_id, link.outbound
                after = max(rung.get(peer, 0), out.settled or 0)
                if out.draw_seconds == 0 or after >= end:
                    continue
                found = await names.backlog(peer, after, BACKLOG_POSITIONS_MAX)
                if found.changes or not found.complete:
                    at_ms = home.clock.wall_ms()
                    ring = Ring(epoch=names.epoch, position=end, at_ms=at_ms)
                    payload = sign_ring(home.identity, peer, ring)
                    topic = ring_topic(peer, home.dc_id)
                    await connection.publish(topic, payload, retain=True)
                    self.rings += 1
                rung[peer] = end
            await home.clock.sleep(RING_GAP_SECONDS)
            with suppress(TimeoutError):
                # A peer may begin to draw, with nothing committed since.
                async with asyncio.timeout(RING_TICK_SECONDS):
                    await names.feed_wait(end)

    # -- hearing ------------------------------------------------------------------------------

    async def _hear(self, connection: Connection) -> None:
        async for message in connection.messages():
            if not self._take(message):
                self.dropped += 1

    def _take(self, message: Message) -> bool:
        """Whether it was news."""
        links = {link.peer.dc_id: link for link in self._links() if link.drawing.on}
        levels = message.topic.split("/")
        if len(levels) == 3 and message.topic == here_topic(levels[1]) and levels[1] in links:
            self._here[levels[1]] = message.payload == HERE
            return True
        sender = levels[-1]
        link = links.get(sender)
        if link is None or message.topic != ring_topic(self._home.dc_id, sender):
            return False
        if not self._may_check():
            return False
        try:
            key = link.peer.signing_key
            ring = read_ring(message.payload, self._home.dc_id, sender, key)
        except WireError as error:
            log.debug("a ring that a peer did not make", peer=link.peer.name, error=str(error))
            return False
        if not self._is_news(link, ring):
            return False
        link.drawing.rung(ring.epoch, ring.position)
        return True

    def _is_news(self, link: Rung, ring: Ring) -> bool:
        """Of the feed that is taken its position tells, whatever the clocks do. Of another one only
        its date, which must not be far ahead: no later ring would be heard."""
        cursor, sender = link.inbound.cursor, link.peer.dc_id
        heard, most = self._heard_ms.get(sender, -1), self._home.clock.wall_ms() + RING_AHEAD_MS_MAX
        if cursor is not None and cursor.epoch == ring.epoch:
            is_news = ring.position > cursor.seq
        else:
            is_news = heard < ring.at_ms <= most
        if is_news:
            self._heard_ms[sender] = max(heard, min(ring.at_ms, most))
        return is_news

    def _may_check(self) -> bool:
        """Whether there is room for one more in this second."""
        now = self._home.clock.monotonic()
        if now - self._second >= 1.0:
            self._second, self._checked = now, 0
        self._checked += 1
        return self._checked <= RINGS_CHECKED_MAX
