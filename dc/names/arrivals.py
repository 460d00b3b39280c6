"""What has come here from other datacenters, for those who wait for it (`dc/positions.py`).

A write made elsewhere is here when it was applied, or a later one of the same item was: then what
is read here is that write or what has replaced it. That it lost to one which is still on its way is
no such news (`dc/names/applying.py:arrived`). So for each item that came lately the latest
stamp is kept, and who waits is woken by the commit that brings it: nobody looks again and again.
What came longer ago is covered (`docs/convergence.md`); coverage alone would not do, since a DC
covers its own changes only half a minute after it has made them.

As long as nobody has asked, nothing is kept. The first to ask has the end of the feed read, for
what came just before: back to where all is covered. A request that names a key has that looked up,
too (`gateway/waiting.py`), so it does not go by this memory alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from dc.names.errors import NamesClosed, TooManyWaiting
from dc.names.model import Bucket, Change, Conflict, Tombstone, Version
from dc.ports import Clock
from dc.positions import Position, position_of
from dc.stamps import Stamp, stamp_origin
from dc.worker import spawn

ITEMS_MAX = 131_072
"""Kept, and looked for in the feed at the first question: about 23 MB. That is two minutes of a
thousand a second, which are covered by then, or half a minute of catching up."""
FEED_PAGE = 4096
"""Positions of the feed that are read at once: some 50 ms of the thread that reads."""
WAITING_MAX = 1024
"""Questions that wait. More are refused: each holds a connection, and a call of a gateway's."""

Recent = Callable[[int, int], Awaitable[Sequence[Position]]]


def positions_of(changes: Iterable[Change]) -> Iterator[Position]:
    """What changes that were applied bring here; of conflicts as `dc.names.applying.arrived`."""
    for change in changes:
        match change:
            case Version() | Tombstone():
                yield position_of(change.stamp, change.bucket, change.key, change.vid)
            case Conflict(loser=lost):
                # What it lost to is here.
                yield position_of(lost.stamp, lost.bucket, lost.key, lost.vid)
            case Bucket():
                yield position_of(change.stamp, change.id)
                for name, register in change.registers.items():
                    yield position_of(register.stamp, change.id, "", name)
            case _:
                pass


class Arrivals:
    """Of the DC `dc_id`. `covers`: whether a stamp is covered; `recent`: what the feed holds at
    positions after one, up to another; `end`: its last position."""

    def __init__(
        self,
        clock: Clock,
        dc_id: str,
        covers: Callable[[Stamp], bool],
        recent: Recent,
        end: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._dc_id = dc_id
        self._covers = covers
        self._recent = recent
        self._end = end
        self._is_asked = False
        self._is_closed = False
        self._latest: dict[str, Stamp] = {}
        """By item, those that came last at the end."""
        self._waiting: dict[str, set[asyncio.Event]] = {}
        """By item, who is to look again when it comes."""
        self._count = 0

    # -- what is told -----------------------------------------------------------------------------

    def note(self, changes: Iterable[Change]) -> None:
        """These were applied, and it is committed; see `dc.names.applying.arrived`."""
        if not self._is_asked:
            return
        for position in positions_of(changes):
            self._came(position)

    def _came(self, position: Position) -> None:
        latest, (stamp, item) = self._latest, position
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
                await self._note_recent()
            except BaseException:
                self._is_asked = False
                raise
        left = self._left(positions)
        if not left or seconds <= 0:
            return left
        if self._count >= WAITING_MAX:
            raise TooManyWaiting(f"{WAITING_MAX} requests wait for positions: try again later")
        return await self._wait(positions, seconds)

    async def _note_recent(self) -> None:
        """Note what came last, the last of it at the end, from where all is covered on."""
        stop = self._end()
        pages: list[Sequence[Position]] = []
        for _ in range(ITEMS_MAX // FEED_PAGE):
            start = max(0, stop - FEED_PAGE)
            page = await self._recent(start, stop)
            pages.append(page)
            if not start or (page and all(self._covers(one.stamp) for one in page)):
                break
            stop = start
        for page in reversed(pages):
            for position in page:
                self._came(position)

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
