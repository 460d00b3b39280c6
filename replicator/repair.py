"""Bringing two DCs together where they differ: only what differs moves.

What lacks here, or is another here, is fetched by record and put into the peer's inbox, from where
it takes effect like a change of the feed, its body after it; what lacks there the peer is asked to
fetch from here in the same way. The merge rules decide as always, on both sides.

Two versions with one stamp are one write: if they are not alike, one of them is damaged. The DC
that made the write is believed. Where it is neither of the two nothing is replaced: only
attributes are joined.

A plain repair restores the union: whatever one side lacks was lost there. But while this DC has
`missed_deletions` (`docs/convergence.md`), what only it has and the peer covers was deleted there;
it is deleted here, too, and kept as a conflict. The peer may find out the same of us meanwhile (two
DCs with a past each are paired, say): then what only it has, and we cover, is left to it.
"""

from dc.names.kinds import CONFLICT, FEED_BUCKET, TOMBSTONE
from dc.names.merge import concluded
from dc.names.model import ItemState
from dc.stamps import stamp_origin
from replicator import compare_wire as shapes
from replicator.limits import COMPARE_ITEMS_ASKED_MAX, COMPARE_POLL_SECONDS, REPAIR_PAUSE_SECONDS
from replicator.verify import Pair, Pairs, Verification

_REPAIR_ROUNDS = 2


class Repair:
    """Of one comparison."""

    async def bring_together(self, work: Verification, differing: Pairs) -> Pairs:
        """Repair; what still differs."""
        left = differing
        if work.streams.missed_deletions:
            left = await self._delete(work, left)
        theirs: Pairs = {}
        if work.client.reconciling:
            theirs = {item: pair for item, pair in left.items() if _is_theirs(work, item, pair)}
            left = {item: pair for item, pair in left.items() if item not in theirs}
        began = len(left)
        for number in range(_REPAIR_ROUNDS):
            if not left:
                break
            asked = await self._ask(work, left, number)
            if not asked:
                break
            left = await self._wait(work, left)
        work.repaired += began - len(left)
        return left | theirs

    async def _delete(self, work: Verification, differing: Pairs) -> Pairs:
        """Delete here what was deleted there while this DC was away; what differs otherwise."""
        deleted = [item for item, pair in differing.items() if _was_deleted(work, item, pair)]
        names, dc_id = work.home.names, work.home.dc_id
        for begin in range(0, len(deleted), COMPARE_ITEMS_ASKED_MAX):
            tombstones = [
                concluded(bucket, key, vid, here.stamp, dc_id)
                for bucket, _, key, vid in deleted[begin : begin + COMPARE_ITEMS_ASKED_MAX]
                if (here := differing[(bucket, 0, key, vid)].here) is not None
            ]
            await names.apply(tombstones)
        work.deleted += len(deleted)
        gone = set(deleted)
        return {item: pair for item, pair in differing.items() if item not in gone}

    async def _ask(self, work: Verification, differing: Pairs, number: int) -> int:
        """Have both sides fetch what they lack; how many items there were to fetch."""
        own, peer = work.home.dc_id, work.peer.dc_id
        fetch: list[shapes.Item] = []
        push: list[shapes.Item] = []
        for item, pair in differing.items():
            fetches, pushes = directions(pair, own, peer, again=number > 0)
            if fetches:
                fetch.append(item)
            if pushes:
                push.append(item)
        work.say("repairing")
        for begin in range(0, len(fetch), COMPARE_ITEMS_ASKED_MAX):
            some = fetch[begin : begin + COMPARE_ITEMS_ASKED_MAX]
            await work.streams.restore(some, work.client)
        for begin in range(0, len(push), COMPARE_ITEMS_ASKED_MAX):
            await work.client.pull(push[begin : begin + COMPARE_ITEMS_ASKED_MAX])
            work.say("repairing")
        return len(fetch) + len(push)

    async def _wait(self, work: Verification, differing: Pairs) -> Pairs:
        """Wait until nothing of it differs, or nothing moves any more; what still differs."""
        clock = work.home.clock
        pause = min(REPAIR_PAUSE_SECONDS, work.options.wait_seconds)
        until = clock.monotonic() + pause
        before: object = None
        wait = COMPARE_POLL_SECONDS
        while True:
            work.check()
            differing, _ = await work.look(list(differing))
            state = (len(differing), work.streams.moved())
            if state != before:
                before, until = state, clock.monotonic() + pause
            if not differing or clock.monotonic() >= until:
                return differing
            await clock.sleep(wait)
            wait = min(wait * 2, 1.0)
            work.say("repairing")


def _was_deleted(work: Verification, item: shapes.Item, pair: Pair) -> bool:
    return (
        item[1] == 0
        and pair.there is None
        and pair.here is not None
        and pair.here.stamp in work.coverage
    )


def _is_theirs(work: Verification, item: shapes.Item, pair: Pair) -> bool:
    """Whether the peer will find out that this was deleted here while it was away."""
    covers = work.home.names.knowledge.covers
    return (
        item[1] == 0 and pair.here is None and pair.there is not None and covers(pair.there.stamp)
    )


def directions(pair: Pair, own: str, peer: str, *, again: bool) -> tuple[bool, bool]:
    """Whether this side is to fetch the item, and whether the peer is. `again`: it was fetched
    once, and what is left is to be joined."""
    here, there = pair
    if here is None or there is None or not _is_one_write(here, there):
        return there is not None, here is not None
    joins = here.kind <= TOMBSTONE or here.kind in (CONFLICT, FEED_BUCKET)
    if joins and (again or here.kind == CONFLICT):
        return True, True
    origin = stamp_origin(here.stamp)
    if origin in (own, peer):
        return origin == peer, origin == own
    return joins, joins


def _is_one_write(here: ItemState, there: ItemState) -> bool:
    return bool(here.hash and there.hash) and here.stamp == there.stamp
