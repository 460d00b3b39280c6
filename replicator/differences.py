"""Where two DCs may differ: roots, then leaves, then the items of the leaves that differ.

Roots come by bucket, and both sides' items of those leaves by key, page by page, and are compared
as they come: what is held in memory does not grow with the buckets. What is found may be on its way
only; whether it is, is found out in `replicator/verify.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from dc.names.api import Names
from dc.names.kinds import item_kind
from dc.names.model import LeafItem
from dc.names.trees import HASH_BYTES
from replicator.compare_client import CompareClient
from replicator.compare_server import scan
from replicator.compare_wire import GROUP_LEAVES, Item
from replicator.leaves import differing, group_hashes, some_leaves

Fetch = Callable[[str], Awaitable[tuple[list[LeafItem], str]]]
_Hashes = dict[tuple[int, str, str], str]


async def candidates(
    names: Names, client: CompareClient, bucket: str | None = None
) -> AsyncIterator[list[Item]]:
    """Items that the two sides do not have alike now, some at a time; of one tree, or of all.
    The directory comes first: buckets before what is in them."""
    async for tree in _trees(names, client):
        if bucket is None or tree == bucket:
            async for found in _in_tree(names, client, tree):
                yield found


async def _trees(names: Names, client: CompareClient) -> AsyncIterator[str]:
    """The trees whose roots differ, by id, a page of the peer's at a time."""
    after: str | None = None
    while True:
        ours, page = names.roots(), await client.roots(after)
        theirs = dict(page.roots)
        reach = page.roots[-1][0] if page.more else None
        for tree in sorted(ours.keys() | theirs.keys()):
            here = (after is None or tree > after) and (reach is None or tree <= reach)
            if here and ours.get(tree) != theirs.get(tree):
                yield tree
        if reach is None:
            return
        after = reach


async def _in_tree(names: Names, client: CompareClient, tree: str) -> AsyncIterator[list[Item]]:
    leaves = await _leaves(names, client, tree)
    if not leaves:
        return
    here = _Pages(lambda after: scan(names, tree, leaves, after))
    there = _Pages(lambda after: client.items(tree, leaves, after))
    while True:
        await asyncio.gather(here.more(), there.more())
        reach = min((one.reach for one in (here, there) if one.reach is not None), default=None)
        ours, theirs = here.take(reach), there.take(reach)
        found = [item for item in ours.keys() | theirs.keys() if ours.get(item) != theirs.get(item)]
        if found:
            yield [(tree, *item) for item in sorted(found)]
        if reach is None:
            return


async def _leaves(names: Names, client: CompareClient, tree: str) -> frozenset[int]:
    """The leaves of a tree that differ."""
    theirs = await client.groups(tree)
    groups = differing(group_hashes(names.leaves(tree)), theirs)
    if not groups:
        return frozenset()
    there = await client.leaves(tree, groups)
    here = some_leaves(names.leaves(tree), groups)
    assert len(here) == len(there) == len(groups) * GROUP_LEAVES * HASH_BYTES
    return frozenset(
        groups[place // GROUP_LEAVES] * GROUP_LEAVES + place % GROUP_LEAVES
        for place in differing(here, there)
    )


class _Pages:
    """One side's items by key, as far as they were read."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._items: list[LeafItem] = []
        self._after = ""
        self._ended = False
        self._taken: str | None = ""

    @property
    def reach(self) -> str | None:
        """All items with keys up to here are read; None: all there are."""
        return None if self._ended else self._after

    async def more(self) -> None:
        """Read on, unless there is something read that was not taken."""
        if self._ended or (self._after and self._taken != self._after):
            return
        items, self._after = await self._fetch(self._after)
        self._items += items
        self._ended = not self._after

    def take(self, reach: str | None) -> _Hashes:
        """The hashes of what was read with keys up to `reach`, by item."""
        taken = [one for one in self._items if reach is None or one.key <= reach]
        self._items = self._items[len(taken) :]
        self._taken = reach
        return {(item_kind(one.kind), one.key, one.vid): one.hash for one in taken}
