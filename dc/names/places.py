"""Which containers the name server points into: counting, moving, and the last word before one is
removed. What compaction (`dc/objects/compaction.py`) asks of names.

A count goes through the tables a page at a time, while everybody writes. So it may miss a name: one
that is committed where it has been already, or that goes from a place that it has not seen to one
that it has (a conflict that is restored, an upload that is completed). Therefore the writer notes,
from `begin` on, every container that any transaction gives a name to. `retire` looks at that in the
writer's thread, between two transactions, and what it retires can be given no name from then on, by
anybody: who has kept extents for too long (they were read before they were moved, or of bytes that
were stored and not committed) gets BytesMissing. So whether a container can be removed does not
depend on how long anything takes.

That what is retired is known in memory only is enough: extents that have no name yet do not
outlive the process.

To move bytes is a matter of this datacenter alone. A move replaces `extents`, where they are still
exactly the old ones; no stamp, no position in the feed and no hash changes by it.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from dc.names import inventory
from dc.names.inventory import (
    CONFLICTS,
    NO_TIERS,
    PARTS,
    VERSIONS,
    CountPage,
    FindPage,
    Place,
    Tiering,
)
from dc.names.transaction import Transaction

_encode = msgspec.json.Encoder().encode

# One statement for many rows: see `dc/names/merge.py`.
_MOVE = {
    VERSIONS: "UPDATE versions AS o SET extents = j.value->>1 FROM json_each(?1) AS j"
    " WHERE o.bucket = j.value->>2 AND o.key = j.value->>3 AND o.vid = j.value->>4"
    " AND o.extents = j.value->>0",
    CONFLICTS: "UPDATE conflicts AS o SET extents = j.value->>1 FROM json_each(?1) AS j"
    " WHERE o.bucket = j.value->>2 AND o.key = j.value->>3 AND o.stamp = j.value->>4"
    " AND o.extents = j.value->>0",
    PARTS: "UPDATE parts AS o SET record = j.value->>1 FROM json_each(?1) AS j"
    " WHERE o.upload = j.value->>2 AND o.number = j.value->>3 AND o.record = j.value->>0",
}


class Move(NamedTuple):
    """A row of a table that is to say `new` where it says `old`."""

    table: int
    key: tuple[int | str, ...]
    old: str
    new: str


class Places:
    """`read` and `act` reach the tables."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], Any]], Awaitable[Any]],
    ) -> None:
        self._read = read
        self._act = act

    async def begin(self) -> None:
        """A count begins: what is given a name from now on is noted."""
        await self._act(_begin)

    async def count(self, after: Place, limit: int, tiering: Tiering = NO_TIERS) -> CountPage:
        found: CountPage = await self._read(
            lambda db: inventory.count_page(db, after, limit, tiering)
        )
        return found

    async def find(
        self,
        after: Place,
        limit: int,
        containers: frozenset[int],
        tiering: Tiering = NO_TIERS,
    ) -> FindPage:
        found: FindPage = await self._read(
            lambda db: inventory.find_page(db, after, limit, containers, tiering)
        )
        return found

    async def move(self, moves: Sequence[Move]) -> int:
        """In one transaction, those that are still so; how many were."""
        found: int = await self._act(lambda transaction: move(transaction, moves))
        return found

    async def retire(self, containers: Iterable[int]) -> set[int]:
        """Those of these containers that nobody has given a name to since `begin`: they can be
        given none any more."""
        asked = set(containers)
        found: set[int] = await self._act(lambda transaction: retire(transaction, asked))
        return found

    async def end(self) -> None:
        """The count is over."""
        await self._act(_end)


def _begin(transaction: Transaction) -> None:
    transaction.pointed.counting = True
    transaction.pointed.named.clear()


def _end(transaction: Transaction) -> None:
    transaction.pointed.counting = False
    transaction.pointed.named.clear()


def move(transaction: Transaction, moves: Sequence[Move]) -> int:
    found = 0
    for table, sql in _MOVE.items():
        rows = [(one.old, one.new, *one.key) for one in moves if one.table == table]
        if rows:
            found += transaction.db.execute(sql, (_encode(rows),)).rowcount
    for one in moves:
        if one.table == VERSIONS:
            number, key, vid = one.key
            transaction.items.append((int(number), str(key), str(vid)))
    return found


def retire(transaction: Transaction, containers: set[int]) -> set[int]:
    pointed = transaction.pointed
    assert pointed.counting, "what was not watched cannot be retired"
    free = containers - pointed.named
    pointed.gone |= free
    return free
