"""Filling in bodies that belong here and are not here.

The rules of a bucket (`dc/placement.py`) may be changed so that bytes belong here which were kept
elsewhere. This finds them in the name server's index of absent bodies, and has them fetched from a
peer that has them: the one that made them first, then those that the rules name, one at a time: who
is slow is waited for, who fails or is lost is not. Each peer is asked by itself, at the same time
as the others, and only what is to come from it waits when it is slow; one that cannot be asked is
left alone for a while, and others that have the bytes are asked. They come by the peer's inbox,
like what a repair fetches (`replicator/checks.py`): durably noted, bounded, tried again, shown with
the reason when it fails, and not acknowledged before they are here.

Nothing else is remembered: after a restart it looks again. Where the rules stop sending bytes
here, nothing is deleted: what is here stays, what comes later has its bytes elsewhere.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable
from itertools import chain
from typing import NamedTuple

import structlog

from dc.names.api import NamesError
from dc.names.elsewhere import AbsentBody
from dc.names.kinds import CONFLICT
from dc.placement import Placement, placement
from dc.stamps import stamp_origin
from dc.worker import spawn
from replicator.compare_wire import Item
from replicator.errors import ReplicatorError, printable
from replicator.home import Home
from replicator.limits import (
    COMPARE_ITEMS_ASKED_MAX,
    FILL_AGAIN_SECONDS,
    FILL_ASKED_MAX,
    FILL_FAILED_SECONDS,
    FILL_FAILING_MAX,
    FILL_INBOX_MAX,
    FILL_LOOKED_MAX,
    FILL_PAGES_MAX,
    FILL_SECONDS,
    FILL_TICK_SECONDS,
)
from replicator.link import Link
from replicator.peers import Peers

log = structlog.get_logger("filling")


class ToCome(NamedTuple):
    """What belongs here and is not here."""

    objects: int
    bytes: int


class _Page(NamedTuple):
    bucket_id: str
    rules: Placement | None
    bodies: list[AbsentBody]


class _Asked:
    """Whom an absent body was asked of, and until when to wait for it. `peer`, `seq`: from whom it
    is to come, and where it is in their inbox."""

    __slots__ = ("peer", "seq", "tried", "until")

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.until = 0.0
        self.peer = ""
        self.seq = 0


class _Asking:
    """What a peer is to be asked for."""

    def __init__(self) -> None:
        self.queue: deque[list[Item]] = deque()
        self.items = 0
        """Those in the queue, and those that it is being asked for."""
        self.task: asyncio.Task[None] | None = None
        self.not_before = 0.0
        """It could not be asked: nothing more until then."""


class Filling:
    """Of one DC. `look` is the work of a worker.

    There may be millions of absent bodies: they are counted by the database, and asked for some
    pages a look, going round. Whom the last ones were asked of is remembered; older ones may be
    asked for once more, which does no harm."""

    def __init__(self, home: Home, peers: Peers) -> None:
        self._home = home
        self._peers = peers
        self._asked: dict[Item, _Asked] = {}
        self._asking: dict[str, _Asking] = {}
        self._pages: AsyncIterator[_Page] | None = None
        self._found: ToCome | None = None
        self._found_in: dict[str, int] = {}
        """How many of each bucket."""
        self._looked_end = 0

    def to_come(self) -> ToCome | None:
        """What is to come; None while that is not known, as after a change."""
        if not self._home.names.elsewhere.perhaps:
            return ToCome(0, 0)
        return self._found if self._looked_end == self._home.names.feed_end else None

    def known(self, bucket: str) -> tuple[int, int]:
        """How many bodies of a bucket (by id), or "" of all, are to come, and up to which position
        of the feed that is known."""
        if not self._home.names.elsewhere.perhaps:
            return 0, self._home.names.feed_end
        if bucket:
            return self._found_in.get(bucket, 0), self._looked_end
        return (self._found.objects if self._found else 0), self._looked_end

    async def stop(self) -> None:
        """End what is being asked, when `look` is called no more."""
        tasks = [one.task for one in self._asking.values() if one.task is not None]
        self._asking.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> float:
        """Look for what is to come, and ask for it; returns the seconds until the next look."""
        clock, names = self._home.clock, self._home.names
        end, began = names.feed_end, clock.monotonic()
        is_known = self._looked_end == end and self._found == (0, 0)
        if is_known or not names.elsewhere.perhaps:
            await names.feed_wait(end)
            return FILL_TICK_SECONDS
        size = 0
        found_in: dict[str, int] = {}
        absent = await names.elsewhere.by_bucket()
        for bucket_id, all_of_it in absent.items():
            rules = self._rules(bucket_id)
            counted = [all_of_it]
            if rules is not None:
                prefixes = rules.prefixes(self._home.place.name)
                counted = [await names.elsewhere.count_of(bucket_id, one) for one in prefixes]
            if count := sum(one[0] for one in counted):
                found_in[bucket_id] = count
            size += sum(one[1] for one in counted)
        objects = sum(found_in.values())
        self._found, self._looked_end = ToCome(objects, size), end
        self._found_in = found_in
        if objects:
            await self._ask_some(absent)
        else:
            self._asked.clear()
        return max(FILL_SECONDS if objects else FILL_TICK_SECONDS, clock.monotonic() - began)

    def _rules(self, bucket_id: str) -> Placement | None:
        return placement(self._home.names.directory.bucket_by_id(bucket_id))

    async def _absent(self, buckets: Iterable[str]) -> AsyncIterator[_Page]:
        """What belongs here and is not here, page by page."""
        for bucket_id in buckets:
            rules = self._rules(bucket_id)
            for prefix in ("",) if rules is None else rules.prefixes(self._home.place.name):
                for kind in (0, CONFLICT):
                    after: AbsentBody | None = None
                    while page := await self._home.names.elsewhere.page(
                        bucket_id, kind, prefix, after, COMPARE_ITEMS_ASKED_MAX
                    ):
                        yield _Page(bucket_id, rules, page)
                        after = page[-1]

    # -- asking ---------------------------------------------------------------------------------

    async def _ask_some(self, buckets: Iterable[str]) -> None:
        """Go on where the last look ended, as far as peers have room."""
        for _ in range(FILL_PAGES_MAX):
            if not any(map(self._has_room, self._links())):
                return
            if self._pages is None:
                self._pages = self._absent(buckets)
            page = await anext(self._pages, None)
            if page is None:
                self._pages = None
                return
            await self._ask(page)

    def _links(self) -> list[Link]:
        """Of peers whose feed is open here: more is not needed to fetch something of them."""
        return [link for link in self._peers.links() if link.inbound.connected]

    def _has_room(self, link: Link) -> bool:
        """Whether more may be asked of a peer. What fails again and again does not hold up
        others."""
        asking, inbound = self._asking.setdefault(link.peer.dc_id, _Asking()), link.inbound
        if self._home.clock.monotonic() < asking.not_before:
            return False
        waiting = inbound.inbox - min(inbound.failing, FILL_FAILING_MAX)
        return waiting + asking.items < FILL_INBOX_MAX

    async def _ask(self, page: _Page) -> None:
        """Ask for a page of what is to come, each of one peer that has not been asked yet."""
        links, now = self._links(), self._home.clock.monotonic()
        items = [(page.bucket_id, one.kind, one.key, one.id) for one in page.bodies]
        await self._wait_on(items, {link.peer.dc_id for link in links}, now)
        wanted: dict[str, list[Item]] = {}
        for one, item in zip(page.bodies, items, strict=True):
            asked = self._asked.get(item)
            if asked is not None and asked.until > now:
                continue
            left = [link for link in links if asked is None or link.peer.dc_id not in asked.tried]
            link = self._best(left, page.rules, one)
            if link is not None:
                wanted.setdefault(link.peer.dc_id, []).append(item)
                self._note(item).until = now + FILL_AGAIN_SECONDS
            elif asked is not None and not left:
                asked.tried.clear()
                asked.until = now + FILL_AGAIN_SECONDS
        for link in links:
            if link.peer.dc_id in wanted:
                self._ask_soon(link, wanted[link.peer.dc_id])

    def _best(self, links: list[Link], rules: Placement | None, one: AbsentBody) -> Link | None:
        """Whom to ask now: who made it, then those that the rules send it to; without them,
        anybody."""
        origin = stamp_origin(one.stamp)

        def rank(link: Link) -> int:
            if link.peer.dc_id == origin:
                return 0
            return 1 if rules is None or rules.holds(link.peer.name, one.key) else 2

        likely = [link for link in links if rank(link) < 2] or links
        return min(filter(self._has_room, likely), key=rank, default=None)

    def _note(self, item: Item) -> _Asked:
        """What is known of an item. The last that were asked for are the last to be forgotten."""
        asked = self._asked.pop(item) if item in self._asked else _Asked()
        self._asked[item] = asked
        while len(self._asked) > FILL_ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return asked

    def _ask_soon(self, link: Link, items: list[Item]) -> None:
        asking = self._asking[link.peer.dc_id]
        asking.queue.append(items)
        asking.items += len(items)
        if asking.task is None:
            asking.task = spawn(self._ask_all(link, asking), f"filling from {link.peer.name}")

    async def _ask_all(self, link: Link, asking: _Asking) -> None:
        """Ask a peer for what is in its queue, one page after the other."""
        try:
            while asking.queue:
                items = asking.queue.popleft()
                if not await self._ask_one(link, items):
                    asking.not_before = self._home.clock.monotonic() + FILL_FAILED_SECONDS
                    for item in chain(items, *asking.queue):
                        if item in self._asked:
                            self._asked[item].until = 0.0
                    return
                asking.items -= len(items)
        finally:
            asking.queue.clear()
            asking.items, asking.task = 0, None

    async def _wait_on(self, items: list[Item], connected: set[str], now: float) -> None:
        """Wait longer for what is on its way: in an inbox still, and not tried in vain."""
        late: dict[str, list[_Asked]] = {}
        for item in items:
            asked = self._asked.get(item)
            if asked is not None and asked.until <= now and asked.peer in connected:
                late.setdefault(asked.peer, []).append(asked)
        for peer, those in late.items():
            positions, failing, _ = await self._home.names.inbox_open(
                peer, FILL_LOOKED_MAX, FILL_LOOKED_MAX
            )
            coming = set(positions).difference(seq for seq, _ in failing)
            for asked in those:
                if asked.seq in coming:
                    asked.until = now + FILL_AGAIN_SECONDS

    async def _ask_one(self, link: Link, items: list[Item]) -> bool:
        """Have items fetched from a peer; whether it could be asked."""
        try:
            coming, count = await link.checks.fill(items)
        except (ReplicatorError, NamesError) as error:
            log.info("nothing to fill in", peer=link.peer.name, error=printable(error))
            return False
        if coming:
            log.info("filling in bodies", peer=link.peer.name, objects=len(coming))
        until = self._home.clock.monotonic() + FILL_AGAIN_SECONDS
        for place, item in enumerate(items):
            asked = self._note(item)
            asked.until = 0.0
            if place >= count:
                # The line had gone: nothing is known of this one.
                continue
            asked.tried.add(link.peer.dc_id)
            if item in coming:
                asked.peer, asked.seq, asked.until = link.peer.dc_id, coming[item], until
        return True
