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

from dc.names import inventory
from dc.names.inventory import CONFLICTS, PARTS, VERSIONS, CountPage, FindPage, Place
from dc.names.transaction import Transaction

_MOVE = {
    VERSIONS: "UPDATE versions SET extents = ? WHERE bucket = ? AND key = ? AND vid = ?"
    " AND extents = ?",
    CONFLICTS: "UPDATE conflicts SET extents = ? WHERE bucket = ? AND key = ? AND stamp = ?"
    " AND extents = ? AND NOT gone",
    PARTS: "UPDATE parts SET record = ? WHERE upload = ? AND number = ? AND record = ?",
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

    async def count(self, after: Place, limit: int) -> CountPage:
        found: CountPage = await self._read(lambda db: inventory.count_page(db, after, limit))
        return found

    async def find(self, after: Place, limit: int, containers: frozenset[int]) -> FindPage:
        found: FindPage = await self._read(
            lambda db: inventory.find_page(db, after, limit, containers)
        )
        return found

    async def move(self, moves: Sequence[Move]) -> list[bool]:
        """In one transaction; of each, whether it was still so."""
        found: list[bool] = await self._act(lambda transaction: move(transaction, moves))
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


def move(transaction: Transaction, moves: Sequence[Move]) -> list[bool]:
    found = []
    for one in moves:
        done = transaction.db.execute(_MOVE[one.table], (one.new, *one.key, one.old)).rowcount
        if done and one.table == VERSIONS:
            number, key, vid = one.key
            transaction.items.append((int(number), str(key), str(vid)))
        found.append(bool(done))
    return found


def retire(transaction: Transaction, containers: set[int]) -> set[int]:
    pointed = transaction.pointed
    assert pointed.counting, "what was not watched cannot be retired"
    free = containers - pointed.named
    pointed.gone |= free
    return free
