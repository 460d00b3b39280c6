"""Mistakes in compaction, as patches of the product."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from dc.names import inventory, places
from dc.names.model import Extent
from dc.objects.compaction import Compactor, Count
from dc.objects.store import ContainerStore


def _whatever_was_named(transaction: Any, containers: set[int]) -> set[int]:
    return containers


@contextmanager
def removed_after_one_count() -> Iterator[None]:
    """What a count does not find is removed at once, whatever was named since it began."""
    remove = Compactor._remove_empty

    async def at_once(self: Compactor, count: Count) -> None:
        self._note_empty(count)
        self._empty = dict.fromkeys(self._empty, -1e9)
        await remove(self, count)

    with (
        mock.patch.object(Compactor, "_remove_empty", at_once),
        mock.patch.object(Compactor, "_busy", lambda self: set(self._store.unsealed())),
        mock.patch.object(places, "retire", _whatever_was_named),
    ):
        yield


@contextmanager
def removed_when_emptied() -> Iterator[None]:
    """What was moved from is removed without a second count."""
    move = Compactor._move

    async def and_remove(self: Compactor, chosen: dict[int, int]) -> None:
        await move(self, chosen)
        for container in self._empty.keys() & chosen.keys():
            await self._store.remove(container, 0)

    with mock.patch.object(Compactor, "_move", and_remove):
        yield


@contextmanager
def moved_whatever_is_there() -> Iterator[None]:
    """A name is moved without looking whether it still has the old extents."""
    blind = {
        table: sql.replace(" AND o.extents = j.value->>0", "").replace(
            " AND o.record = j.value->>0", ""
        )
        for table, sql in places._MOVE.items()
    }
    with mock.patch.object(places, "_MOVE", blind):
        yield


@contextmanager
def moved_before_durable() -> Iterator[None]:
    """Names point to where bytes are before these are durable."""

    async def hasty(self: ContainerStore, records: Sequence[Any], tier: str) -> list[Extent]:
        futures = [
            await self._standard.moved.append(
                one.ident, one.buffers, one.length, one.position, one.flags, durable=False
            )
            for one in records
        ]
        return [appended.extent for appended in await asyncio.gather(*futures)]

    with mock.patch.object(ContainerStore, "store_moved", hasty):
        yield


@contextmanager
def conflicts_not_counted() -> Iterator[None]:
    """What lost to another write is not taken for alive."""
    page = inventory._page

    def without(db: Any, after: Any, limit: int) -> Any:
        rows, extents, following = page(db, after, limit)
        return (
            rows,
            [[] for _ in extents] if after[0] == inventory.CONFLICTS else extents,
            following,
        )

    with mock.patch.object(inventory, "_page", without):
        yield


@contextmanager
def remembered_where_it_was() -> Iterator[None]:
    """Who remembers current versions is not told that their bytes were moved."""
    move = places.move

    def quietly(transaction: Any, moves: Any) -> Any:
        items = list(transaction.items)
        found = move(transaction, moves)
        transaction.items = items
        return found

    with mock.patch.object(places, "move", quietly):
        yield


COMPACTION: tuple[Callable[[], Any], ...] = (
    removed_after_one_count,
    removed_when_emptied,
    moved_whatever_is_there,
    moved_before_durable,
    conflicts_not_counted,
    remembered_where_it_was,
)
