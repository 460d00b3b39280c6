"""What has come here from other datacenters, for those who wait for it (`dc/positions.py`).

A write made elsewhere is here when it was applied, or a later one of the same item was: then what
is read here is that write or what has replaced it. So for each item that came lately the latest
stamp is kept, and who waits is woken by the commit that brings it: nobody looks again and again.
What came longer ago is covered (`docs/convergence.md`); coverage alone would not do, since a DC
covers its own changes only half a minute after it has made them.

As long as nobody has asked, nothing is kept. The first to ask has the end of the feed read, for
what came just before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

from dc.names.errors import NamesClosed, TooManyWaiting
from dc.names.model import Bucket, Change, Conflict, Tombstone, Version
from dc.ports import Clock
from dc.positions import Position, item_of
from dc.stamps import Stamp, stamp_origin
from dc.worker import spawn

ITEMS_MAX = 65_536
"""Kept: about 13 MB. A thousand of them a second are covered before they are forgotten."""
FEED_POSITIONS = 4096
"""Of the feed's end that are read at the first question: what came in the last seconds."""
WAITING_MAX = 1024
"""Questions that wait. More are refused: each holds a connection, and a call of a gateway's."""

Recent = Callable[[], Awaitable[Sequence[Change]]]


class Arrivals:
    """Of the DC `dc_id`. `covers`: whether a stamp is covered; `recent`: the end of the feed."""

    def __init__(
        self, clock: Clock, dc_id: str, covers: Callable[[Stamp], bool], recent: Recent
    ) -> None:
        self._clock = clock
        self._dc_id = dc_id
        self._covers = covers
        self._recent = recent
        self._is_asked = False
        self._is_closed = False
        self._latest: dict[str, Stamp] = {}
        """By item, those that came last at the end."""
        self._waiting: dict[str, set[asyncio.Event]] = {}
        """By item, who is to look again when it comes."""
        self._count = 0

    # -- what is told -----------------------------------------------------------------------------

    def note(self, changes: Iterable[Change]) -> None:
        """These were applied, and it is committed."""
        if not self._is_asked:
            return
        for change in changes:
            match change:
                case Version() | Tombstone():
                    self._came(item_of(change.bucket, change.key, change.vid), change.stamp)
                case Conflict(loser=lost):
                    self._came(item_of(lost.bucket, lost.key, lost.vid), lost.stamp)
                case Bucket():
                    self._came(item_of(change.id, "", ""), change.stamp)
                    for name, register in change.registers.items():
                        self._came(item_of(change.id, "", name), register.stamp)
                case _:
                    pass

    def _came(self, item: str, stamp: Stamp) -> None:
        latest = self._latest
        latest[item] = max(latest.pop(item, ""), stamp)
        if len(latest) > ITEMS_MAX:
            del latest[next(iter(latest))]
        for moved in self._waiting.get(item, ()):
            moved.set()

    def covered(self) -> None:
        """More is covered than before."""
        for events in self._waiting.values():
            for moved in events:
                moved.set()

    def close(self) -> None:
        """Nothing will come any more: who waits gets NamesClosed."""
        self._is_closed = True
        self.covered()

    # -- what is asked ----------------------------------------------------------------------------

    async def missing(self, positions: Sequence[Position], seconds: float) -> list[Position]:
        """See `dc.names.gateway_api.GatewayNames.missing`."""
        if not self._is_asked:
            # From here on all that comes is noted; what came before is added to it.
            self._is_asked = True
            try:
                self.note(await self._recent())
            except BaseException:
                self._is_asked = False
                raise
        left = self._left(positions)
        if not left or seconds <= 0:
            return left
        if self._count >= WAITING_MAX:
            raise TooManyWaiting(f"{WAITING_MAX} requests wait for positions: try again later")
        return await self._wait(positions, seconds)

    async def _wait(self, positions: Sequence[Position], seconds: float) -> list[Position]:
        moved = asyncio.Event()
        items = {one.item for one in positions}
        timer = spawn(self._clock.sleep(seconds), "waiting for a position")
        timer.add_done_callback(lambda _: moved.set())
        self._count += 1
        for item in items:
            self._waiting.setdefault(item, set()).add(moved)
        try:
            while (left := self._left(positions)) and not timer.done():
                if self._is_closed:
                    raise NamesClosed("the name server is shutting down")
                moved.clear()
                await moved.wait()
            return left
        finally:
            self._count -= 1
            timer.cancel()
            for item in items:
                self._waiting[item].discard(moved)
                if not self._waiting[item]:
                    del self._waiting[item]

    def _left(self, positions: Sequence[Position]) -> list[Position]:
        return [one for one in positions if not self._is_here(one)]

    def _is_here(self, position: Position) -> bool:
        stamp, item = position
        return (
            # It was told after its commit.
            stamp_origin(stamp) == self._dc_id
            or self._latest.get(item, "") >= stamp
            or self._covers(stamp)
        )
