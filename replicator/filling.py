"""Filling in bodies that belong here and are not here.

The rules of a bucket (`dc/placement.py`) may be changed so that bytes belong here which were kept
elsewhere. This finds them in the name server's index of absent bodies, and has them fetched from a
peer that has them: the one that made them first, then those that the rules name. They come by the
peer's inbox, like what a repair fetches (`replicator/checks.py`): durably noted, bounded, tried
again, shown with the reason when it fails, and not acknowledged before they are here.

Nothing else is remembered: after a restart it looks again. Where the rules stop sending bytes
here, nothing is deleted: what is here stays, what comes later has its bytes elsewhere.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

import structlog

from dc.names.elsewhere import AbsentBody
from dc.names.kinds import CONFLICT
from dc.placement import Placement, placement
from dc.stamps import stamp_origin
from replicator.compare_wire import Item
from replicator.errors import ReplicatorError, printable
from replicator.home import Home
from replicator.limits import (
    COMPARE_ITEMS_ASKED_MAX,
    FILL_AGAIN_SECONDS,
    FILL_INBOX_MAX,
    FILL_SECONDS,
    FILL_TICK_SECONDS,
)
from replicator.peers import Link, Peers

log = structlog.get_logger("filling")


class ToCome(NamedTuple):
    """What belongs here and is not here."""

    objects: int
    bytes: int


class _Asked:
    """Whom an absent body was asked of, and until when to wait for it."""

    def __init__(self) -> None:
        self.tried: set[str] = set()
        self.until = 0.0


class Filling:
    """Of one DC. `look` is the work of a worker."""

    def __init__(self, home: Home, peers: Peers) -> None:
        self._home = home
        self._peers = peers
        self._asked: dict[Item, _Asked] = {}
        self._found: ToCome | None = None
        self._looked_end = -1

    def to_come(self) -> ToCome | None:
        """What is to come; None while that is not known, as after a change."""
        if not self._home.names.elsewhere.perhaps:
            return ToCome(0, 0)
        return self._found if self._looked_end == self._home.names.feed_end else None

    async def look(self) -> float:
        """Look for what is to come, and ask for it; returns the seconds until the next look."""
        clock, names = self._home.clock, self._home.names
        end = names.feed_end
        is_known = self._looked_end == end and not (self._found and self._found.objects)
        if is_known or not names.elsewhere.perhaps:
            await names.feed_wait(end)
            return FILL_TICK_SECONDS
        began = clock.monotonic()
        objects = size = 0
        asked, self._asked = self._asked, {}
        for bucket_id in await names.elsewhere.buckets():
            bucket = names.directory.bucket_by_id(bucket_id)
            rules = placement(bucket)
            async for page in self._absent(bucket_id, rules):
                objects += len(page)
                size += sum(one.size for one in page)
                for one in page:
                    item = _item(bucket_id, one)
                    self._asked[item] = asked.get(item) or _Asked()
                await self._ask(bucket_id, rules, page)
        self._found, self._looked_end = ToCome(objects, size), end
        return max(FILL_SECONDS if objects else FILL_TICK_SECONDS, clock.monotonic() - began)

    async def _absent(
        self, bucket_id: str, rules: Placement | None
    ) -> AsyncIterator[list[AbsentBody]]:
        """What of a bucket belongs here and is not here, page by page."""
        prefixes = [""] if rules is None else rules.prefixes(self._home.place.name)
        for prefix in prefixes:
            for kind in (0, CONFLICT):
                after: AbsentBody | None = None
                while page := await self._home.names.elsewhere.page(
                    bucket_id, kind, prefix, after, COMPARE_ITEMS_ASKED_MAX
                ):
                    yield page
                    after = page[-1]

    # -- asking ---------------------------------------------------------------------------------

    async def _ask(self, bucket_id: str, rules: Placement | None, page: list[AbsentBody]) -> None:
        """Ask for a page of what is to come, each of one peer that has not been asked yet."""
        links = [
            link
            for link in self._peers.links()
            if link.checks.connected and link.inbound.inbox < FILL_INBOX_MAX
        ]
        now = self._home.clock.monotonic()
        wanted: dict[str, list[Item]] = {}
        for one in page:
            item = _item(bucket_id, one)
            asked = self._asked[item]
            if asked.until > now:
                continue
            link = _next(links, rules, one, asked.tried)
            if link is not None:
                wanted.setdefault(link.peer.dc_id, []).append(item)
            elif asked.tried:
                asked.tried.clear()
                asked.until = now + FILL_AGAIN_SECONDS
        for link in links:
            if link.peer.dc_id in wanted:
                await self._ask_one(link, wanted[link.peer.dc_id])

    async def _ask_one(self, link: Link, items: list[Item]) -> None:
        try:
            coming = await link.checks.fill(items)
        except ReplicatorError as error:
            log.info("nothing to fill in", peer=link.peer.name, error=printable(error))
            return
        if coming:
            log.info("filling in bodies", peer=link.peer.name, objects=len(coming))
        until = self._home.clock.monotonic() + FILL_AGAIN_SECONDS
        for item in items:
            asked = self._asked[item]
            asked.tried.add(link.peer.dc_id)
            if item in coming:
                asked.until = until


def _item(bucket_id: str, one: AbsentBody) -> Item:
    return (bucket_id, one.kind, one.key, one.id)


def _next(
    links: list[Link], rules: Placement | None, one: AbsentBody, tried: set[str]
) -> Link | None:
    """Whom to ask: who made it, then those that the rules send it to, then anybody."""
    origin = stamp_origin(one.stamp)

    def rank(link: Link) -> int:
        if link.peer.dc_id == origin:
            return 0
        return 1 if rules is not None and rules.holds(link.peer.name, one.key) else 2

    left = [link for link in links if link.peer.dc_id not in tried]
    return min(left, key=rank, default=None)
