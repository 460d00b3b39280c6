"""What other DCs may ask to find out how they differ from this one.

The requests are in `replicator/compare_wire.py`; who may ask was decided before
(`replicator/feed_server.py`). All but one only read. `pull` makes this DC fetch records from the
caller, by the connection that it has to it anyway, and put them into its inbox; it takes no
address.

What is read for one request is bounded; a scan of a bucket goes in pages, so that nobody else waits
long for the name server.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from aiohttp import web

from dc.names.api import Names, NamesError
from dc.names.model import Bucket, ItemState, LeafItem, Peer
from dc.names.trees import HASH_BYTES, LEAVES, root_of
from dc.placement import is_elsewhere
from replicator import compare_wire as shapes
from replicator import messages, wire
from replicator.errors import ReplicatorError, WireError, printable
from replicator.home import Home
from replicator.leaves import group_hashes, some_leaves
from replicator.limits import (
    COMPARE_BUCKETS_MAX,
    COMPARE_ITEMS_MAX,
    COMPARE_KEYS_MAX,
    COMPARE_PAGE_ITEMS,
    COMPARE_PAGE_KEYS,
    COMPARE_RECORDS_BYTES,
    COMPARE_SCANS_MAX,
    COMPARE_VERSIONS_MAX,
    INTERVALS_MAX,
)
from replicator.placing import withheld
from replicator.records import body_in, outgoing

log = structlog.get_logger("compare")

GUEST_ROUTES = frozenset({"roots", "leaves", "items", "states", "buckets"})
"""What a DC may ask that is about to be paired (`replicator/preview.py`)."""


class Links(Protocol):
    """What the answers need of the links to the peers."""

    def reconciling(self, dc_id: str) -> bool:
        """Whether this DC is about to find out which deletions of that peer it missed."""
        ...

    async def taken(self, dc_id: str) -> tuple[str, int]:
        """Up to where all of that peer's feed has taken effect here: epoch and position."""
        ...

    async def pull(self, dc_id: str, items: list[shapes.Item]) -> int:
        """Fetch the records of items from that peer into its inbox; how many came."""
        ...


Handler = Callable[[bytes, Peer], Awaitable[web.StreamResponse]]


class CompareServer:
    """Answers by name of the request: the body and the caller in, the response out."""

    def __init__(self, home: Home, links: Links) -> None:
        self._home = home
        self._links = links
        self._scans = asyncio.Semaphore(COMPARE_SCANS_MAX)
        self.routes: dict[str, Handler] = {
            "roots": self._roots,
            "leaves": self._leaves,
            "items": self._items,
            "states": self._states,
            "records": self._records,
            "pull": self._pull,
            "buckets": self._buckets,
        }

    async def _roots(self, body: bytes, peer: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.RootsAsk)
        names = self._home.names
        roots = sorted(names.roots().items())
        root = root_of(roots)
        if root == ask.root:
            roots = []
        if ask.after is not None:
            roots = [one for one in roots if one[0] > ask.after]
        intervals = names.coverage()[-INTERVALS_MAX:] if ask.coverage else []
        return _answer(
            shapes.Roots(
                root,
                names.epoch,
                names.feed_end,
                self._links.reconciling(peer.dc_id),
                [(one.origin, one.low, one.high) for one in intervals],
                roots[:COMPARE_BUCKETS_MAX],
                len(roots) > COMPARE_BUCKETS_MAX,
            )
        )

    async def _leaves(self, body: bytes, _: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.LeavesAsk)
        shapes.check_bucket(ask.bucket)
        leaves = self._home.names.leaves(ask.bucket)
        hashes = some_leaves(leaves, ask.groups) if ask.groups else group_hashes(leaves)
        assert len(hashes) <= LEAVES * HASH_BYTES
        return _answer(shapes.Leaves(hashes))

    async def _items(self, body: bytes, _: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.ItemsAsk)
        shapes.check_bucket(ask.bucket)
        leaves = shapes.leaves_in(ask.leaves)
        async with self._scans:
            items, last = await scan(self._home.names, ask.bucket, leaves, ask.after)
        return _answer(shapes.packed(items, last))

    async def _states(self, body: bytes, peer: Peer) -> web.StreamResponse:
        items = _items_in(body)
        states = await states_of(self._home.names, items)
        found = [(one.kind, one.stamp, one.hash, one.seen) if one else None for one in states]
        names, links = self._home.names, self._links
        epoch, taken = await links.taken(peer.dc_id)
        reconciling = links.reconciling(peer.dc_id)
        return _answer(shapes.States(found, names.epoch, names.feed_end, epoch, taken, reconciling))

    async def _records(self, body: bytes, peer: Peer) -> web.StreamResponse:
        items = _items_in(body)
        looked, size = 0, 0
        found: list[bytes] = []
        sealer = self._home.sealer
        for bucket, kind, key, vid in items:
            if size >= COMPARE_RECORDS_BYTES:
                break
            looked += 1
            for entry in await self._home.names.records(bucket, [(kind, key, vid)]):
                version = body_in(entry.change)
                absent = version is not None and is_elsewhere(version.extents)
                none = wire.WITHHELD if absent else withheld(self._home, peer.name, entry.change)
                record = outgoing(entry.seq, entry.change, none, sealer, peer.sealing_key)
                found.append(wire.encode_record(record))
                size += len(found[-1])
        return _answer(shapes.Records(looked, found))

    async def _pull(self, body: bytes, peer: Peer) -> web.StreamResponse:
        items = _items_in(body)
        try:
            return _answer(shapes.Pulled(await self._links.pull(peer.dc_id, items)))
        except (ReplicatorError, NamesError) as error:
            log.info("nothing was fetched for a peer", peer=peer.name, error=printable(error))
            return web.Response(status=503)

    async def _buckets(self, body: bytes, _: Peer) -> web.StreamResponse:
        ask = messages.decode_body(body, shapes.BucketsAsk)
        found = [one for one in buckets_of(self._home.names) if one.id > ask.after]
        shown = [(one.id, one.name, one.created, one.live) for one in found[:COMPARE_BUCKETS_MAX]]
        return _answer(shapes.Buckets(shown, len(found) > COMPARE_BUCKETS_MAX))


def _items_in(body: bytes) -> list[shapes.Item]:
    items = messages.decode_body(body, shapes.ItemsAsked).items
    shapes.check_items(items)
    return items


def _answer(shape: object) -> web.Response:
    return web.Response(body=shapes.encode(shape))


async def scan(
    names: Names, bucket: str, leaves: frozenset[int], after: str
) -> tuple[list[LeafItem], str]:
    """The next items of those leaves by key, as many as one answer holds; and what to go on
    after, "" at the end. WireError when a key has more versions than an answer holds."""
    items: list[LeafItem] = []
    looked = 0
    dense = COMPARE_PAGE_ITEMS * LEAVES // max(1, len(leaves))
    limit = min(COMPARE_PAGE_KEYS, dense)
    while True:
        found, after = await names.leaf_items(bucket, leaves, after, limit)
        if not bucket:
            return found, ""
        items += found
        looked += limit
        if len(items) > COMPARE_VERSIONS_MAX:
            raise WireError(f"{items[-1].key!a} has too many versions to be compared")
        if not after or looked >= COMPARE_KEYS_MAX or len(items) >= COMPARE_ITEMS_MAX:
            return items, after


async def states_of(names: Names, items: list[shapes.Item]) -> list[ItemState | None]:
    """What items of any buckets are now, in their order."""
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item[0], []).append(place)
    result: list[ItemState | None] = [None] * len(items)
    for bucket, some in places.items():
        states = await names.states(bucket, [items[place][1:] for place in some])
        for place, state in zip(some, states, strict=True):
            result[place] = state
    return result


def buckets_of(names: Names) -> list[Bucket]:
    """All that were ever made, by id."""
    return sorted(names.directory.all_buckets(), key=lambda one: one.id)
