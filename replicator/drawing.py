"""When a peer's feed is drawn that is not kept open: on idle and metered links.

A draw opens the feed, takes all there is, and ends with it. The next one is made when

    the doorbell rings (`replicator/doorbell.py`) and tells of something that is not here yet,
    or the time to poll is over: for a ring may be lost,
    or somebody here needs the feed now: a comparison, an operator.

While nobody would ring, since the broker is away, or the peer from it, polling is more frequent:
once a minute, if that is not often anyway. However often it rings, there is a pause between draws:
what happens meanwhile comes with the next one.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from dc.names.model import Peer
from replicator.home import Home
from replicator.limits import DRAW_GAP_SECONDS, DRAW_TICK_SECONDS, POLL_AWAY_SECONDS_MAX
from replicator.status import Inbound


class Bells(Protocol):
    """The doorbells of all peers (`replicator/doorbell.py`)."""

    last_error: str
    """Why the broker is away."""

    def state(self, dc_id: str) -> str:
        """Of a peer's: LIVE, SILENT, AWAY or NONE."""
        ...


LIVE = "live"
SILENT = "silent"
AWAY = "away"
NONE = "none"


class Drawing:
    """Of one peer. `bell` says of its doorbell: LIVE, it rings; SILENT, the broker is there and the
    peer is not; AWAY, the broker is not; NONE, none is configured."""

    def __init__(self, home: Home, peer: Peer, inbound: Inbound, bell: Callable[[], str]) -> None:
        self._home = home
        self._peer = peer
        self._inbound = inbound
        self._bell = bell
        self._wake = asyncio.Event()
        self._rung: tuple[str, int] | None = None
        self._rested = 0.0

    @property
    def bell(self) -> str:
        return self._bell() if self.on else ""

    @property
    def on(self) -> bool:
        """Whether the feed is drawn; else it is kept open."""
        return self._peer.poll_seconds > 0

    @property
    def poll_seconds(self) -> float:
        """The time from one draw to the next at the latest, as things are."""
        poll = float(self._peer.poll_seconds)
        return poll if self._bell() == LIVE else min(poll, POLL_AWAY_SECONDS_MAX)

    @property
    def next_seconds(self) -> float:
        """Until it is polled."""
        return max(0.0, self._rested + self.poll_seconds - self._home.clock.monotonic())

    def rung(self, epoch: str, position: int) -> None:
        """The peer says up to where its feed goes."""
        self._rung = (epoch, position)
        if self._is_news():
            self._wake.set()

    async def ended(self) -> None:
        """Wait a moment for the end of a draw: then its connection can be used for something
        else."""
        until = self._home.clock.monotonic() + DRAW_GAP_SECONDS
        while self.on and self._inbound.connected and not self._inbound.idle:
            if self._home.clock.monotonic() >= until:
                return
            await self._home.clock.sleep(DRAW_GAP_SECONDS / 20)

    def ask(self) -> None:
        """Draw soon."""
        if self.on and self._inbound.idle:
            self._wake.set()

    def _is_news(self) -> bool:
        cursor = self._inbound.cursor
        if self._rung is None:
            return False
        return cursor is None or self._rung[0] != cursor.epoch or self._rung[1] > cursor.seq

    async def rest(self) -> None:
        """Return when it is time for the next draw; one has just ended."""
        clock = self._home.clock
        self._rested = clock.monotonic()
        if not self._is_news():
            # What was rung meanwhile has come with that draw.
            self._wake.clear()
        await clock.sleep(DRAW_GAP_SECONDS)
        while (left := self.next_seconds) > 0 and not self._wake.is_set():
            try:
                async with asyncio.timeout(min(left, DRAW_TICK_SECONDS)):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._wake.clear()
        self._rung = None
