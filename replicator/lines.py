"""Noticing that a line is dead, while there is another.

A line that swallows all packets looks like one on which nothing happens, until the silence of the
stream tells: 30 seconds, for the stream says something every 10 only. With one endpoint there is
nothing better to do than to wait. With several, the one that the stream is open at is asked whether
it answers as soon as there is doubt: the stream has missed to say that it is there; or there is
something that the peer should have acknowledged, or the peer has just opened our feed anew, as it
does when its own line broke. One that does not answer is given up: all that is under way over it is
ended, and goes on by another. On a line that is only busy, bytes come meanwhile.

Nothing is asked as long as all is well.
"""

import structlog

from dc.names.model import Peer
from replicator.client import PeerClient
from replicator.home import Home
from replicator.limits import (
    DOUBT_SECONDS,
    KEEPALIVE_SECONDS,
    LINE_ANSWER_SECONDS,
    LINE_LOOK_SECONDS,
)
from replicator.outbound import Outbound
from replicator.status import Inbound

log = structlog.get_logger("lines")


class LineWatch:
    """Of one peer with several endpoints. `look` is the work of a worker."""

    def __init__(
        self, home: Home, peer: Peer, client: PeerClient, inbound: Inbound, outbound: Outbound
    ) -> None:
        self._home = home
        self._peer = peer
        self._client = client
        self._inbound = inbound
        self._outbound = outbound
        self._answered_at = 0.0
        self._doubted_at = 0.0

    def doubt(self) -> None:
        """The peer has opened our feed anew: perhaps its line is dead, and then ours is, too."""
        self._doubted_at = self._home.clock.monotonic()

    async def look(self) -> float:
        endpoint = self._client.feed_endpoint
        if not endpoint or not self._is_doubtful():
            return LINE_LOOK_SECONDS
        before = self._inbound.sign_of_life
        if await self._client.answers(endpoint, LINE_ANSWER_SECONDS):
            self._answered_at = self._home.clock.monotonic()
        elif self._client.feed_endpoint == endpoint and self._inbound.sign_of_life == before:
            log.warning("a line is dead", peer=self._peer.name, endpoint=endpoint)
            self._client.give_up(endpoint)
        return LINE_LOOK_SECONDS

    def _is_doubtful(self) -> bool:
        heard = max(self._inbound.heard_at, self._answered_at)
        quiet = self._home.clock.monotonic() - heard
        if self._doubted_at > heard:
            return True
        settled = self._outbound.settled
        expected = settled is not None and settled < self._home.names.feed_end
        return quiet > (DOUBT_SECONDS if expected else KEEPALIVE_SECONDS + DOUBT_SECONDS)
