"""Asking a peer what it has: the requests of `replicator/compare_wire.py`, answers checked."""

import asyncio
from typing import TypeVar

import aiohttp

from dc.names.kinds import CONFLICT, FEED_BUCKET, FEED_KEY, FEED_SITE, FEED_USER, item_kind
from dc.names.model import ItemState, LeafItem
from dc.names.trees import HASH_BYTES
from replicator import compare_wire as shapes
from replicator import messages, wire
from replicator.client import PeerClient
from replicator.errors import Unreachable, WireError, printable
from replicator.leaves import GROUP_BYTES
from replicator.limits import (
    COMPARE_BUCKETS_MORE_MAX,
    COMPARE_ITEMS_ASKED_MAX,
    COMPARE_PAGES_MAX,
)

T = TypeVar("T")


class Broke(Unreachable):
    """The connection broke when an answer was expected."""


class CompareClient:
    """For one comparison: it counts the bytes that move. Whatever an answer holds that cannot be
    is a WireError; Refused, Unreachable and BodyUnavailable as of any request."""

    def __init__(self, client: PeerClient) -> None:
        self._client = client
        self._pages = 0
        self.moved = 0
        """Bytes of bodies, of requests and answers."""
        self.reconciling = False
        """Whether the peer said, when it last did, that it looks for deletions of ours."""
        self.unasked = 0
        """Items at the end for whose records it was not asked, the last time: it was gone."""

    async def head(self, root: str, *, coverage: bool = False) -> shapes.Roots:
        """The peer's root, and none of its trees when that is `root`."""
        return await self._roots(shapes.RootsAsk(None, root, coverage))

    async def roots(self, after: str | None) -> shapes.Roots:
        """A page of the roots of its trees, by bucket id; of those after that one."""
        return await self._roots(shapes.RootsAsk(after, "", False))

    async def _roots(self, ask: shapes.RootsAsk) -> shapes.Roots:
        answer = await self._ask("roots", ask, shapes.Roots)
        shapes.check_roots(answer, ask.after)
        self.reconciling = answer.reconciling
        return answer

    async def groups(self, bucket: str) -> bytes:
        """The hashes of all groups of leaves of a tree."""
        answer = await self._ask("leaves", shapes.LeavesAsk(bucket, []), shapes.Leaves)
        shapes.need(len(answer.hashes) == shapes.GROUPS * HASH_BYTES, "groups", "so many")
        return answer.hashes

    async def leaves(self, bucket: str, groups: list[int]) -> bytes:
        """The leaves of some groups."""
        answer = await self._ask("leaves", shapes.LeavesAsk(bucket, groups), shapes.Leaves)
        shapes.need(len(answer.hashes) == len(groups) * GROUP_BYTES, "leaves", "so many")
        return answer.hashes

    async def items(
        self, bucket: str, leaves: frozenset[int], after: str
    ) -> tuple[list[LeafItem], str]:
        """The next items of those leaves by key; and what to go on after, "" at the end."""
        ask = shapes.ItemsAsk(bucket, shapes.bitmap(leaves), after)
        page = await self._ask("items", ask, shapes.ItemsPage)
        return shapes.unpacked(page, ask, leaves), page.last

    async def states(
        self, items: list[shapes.Item]
    ) -> tuple[list[ItemState | None], shapes.States]:
        """What items are there now; and the whole answer, for where the feeds stand."""
        answer = await self._ask("states", shapes.ItemsAsked(items), shapes.States)
        self.reconciling = answer.reconciling
        return shapes.checked_states(answer, len(items)), answer

    async def records(self, items: list[shapes.Item]) -> list[wire.Record]:
        """The records of items, of those that are there. An answer may have 2 MiB: on a line that
        breaks before it has carried that, fewer are asked for at once. If it is gone, those that
        came."""
        found: list[wire.Record] = []
        self.unasked = 0
        while items:
            some = items[: self._client.records_at_once]
            try:
                answer = await self._ask("records", shapes.ItemsAsked(some), shapes.Records)
            except Unreachable as error:
                if isinstance(error, Broke) and len(some) > 1:
                    self._client.records_at_once = max(1, len(some) // 4)
                    continue
                if not found:
                    raise
                self.unasked = len(items)
                return found
            shapes.need(0 < answer.looked <= len(some), "records", answer.looked)
            shapes.need(len(answer.records) <= answer.looked, "records", len(answer.records))
            more = max(self._client.records_at_once, 2 * len(some))
            self._client.records_at_once = min(more, COMPARE_ITEMS_ASKED_MAX)
            wanted = {identity(item) for item in items[: answer.looked]}
            for data in answer.records:
                record = wire.decode_record(data)
                if type(record) is not wire.UnreadableRecord:
                    shapes.need(item_in(record) in wanted, "record", "of another item")
                found.append(record)
            items = items[answer.looked :]
        return found

    async def pull(self, items: list[shapes.Item]) -> int:
        """Have the peer fetch the records of items from here; how many it has put into its
        inbox."""
        answer = await self._ask("pull", shapes.ItemsAsked(items), shapes.Pulled)
        return answer.count

    async def buckets(self, known: int) -> list[tuple[str, str, str, bool]]:
        """(id, name, when created, whether it lives) of all buckets there ever were, by id; of
        `known` there were here."""
        found: list[tuple[str, str, str, bool]] = []
        after = ""
        while True:
            answer = await self._ask("buckets", shapes.BucketsAsk(after), shapes.Buckets)
            shapes.check_buckets(answer, after)
            found += answer.buckets
            if len(found) > known + COMPARE_BUCKETS_MORE_MAX:
                raise WireError(
                    f"the peer tells of {len(found)} buckets or more, and here are {known}: at most"
                    f" {COMPARE_BUCKETS_MORE_MAX} more can be compared"
                )
            if not answer.more:
                return found
            after = found[-1][0]

    async def _ask(self, name: str, ask: object, shape: type[T]) -> T:
        self._pages += 1
        if self._pages > COMPARE_PAGES_MAX:
            raise WireError("the peer's answers never end")
        body = shapes.encode(ask)
        try:
            answer = await self._client.call(name, body)
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise Broke(f"the connection broke: {printable(error)}") from None
        self.moved += len(body) + len(answer)
        return messages.decode_body(answer, shape)


def identity(item: shapes.Item) -> shapes.Item:
    """The item whatever it is now: versions, delete markers and tombstones are of one kind."""
    bucket, kind, key, vid = item
    return (bucket, item_kind(kind), key, vid)


def item_in(record: wire.Record) -> shapes.Item | None:
    """The item that a record is of."""
    match record:
        case wire.VersionRecord() | wire.TombstoneRecord():
            return (record.bucket, 0, record.key, record.vid)
        case wire.ConflictRecord():
            return (record.loser.bucket, CONFLICT, record.loser.key, record.loser.stamp)
        case wire.BucketRecord():
            return ("", FEED_BUCKET, record.id, "")
        case wire.UserRecord():
            return ("", FEED_USER, record.id, "")
        case wire.AccessKeyRecord():
            return ("", FEED_KEY, record.id, "")
        case wire.SiteRecord():
            return ("", FEED_SITE, record.dc_id, "")
    return None
