"""The bodies that are not here, because the rules of their buckets keep them in other datacenters
(`dc/placement.py`): a partial index has them, which costs nothing where there are none."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from dc.names.kinds import CONFLICT
from dc.names.model import Version
from dc.placement import is_elsewhere
from dc.stamps import Stamp

_NOT_HERE = "substr(extents, 1, 4) = '[[0,'"
"""Word for word as in the index, or it is not used."""
_PAGE = f"""
SELECT {{kind}}, key, {{id}}, stamp, size FROM {{table}} INDEXED BY {{table}}_elsewhere
WHERE bucket = ?1 AND {_NOT_HERE} AND (key, {{id}}) >= (?2, ?3) AND key < ?4
ORDER BY key, {{id}} LIMIT ?5
"""
_LAST = "\U0010ffff" * 257
"""After any key: these have at most 1,024 bytes."""
_PAGES = {
    0: _PAGE.format(kind=0, id="vid", table="versions"),
    CONFLICT: _PAGE.format(kind=CONFLICT, id="stamp", table="conflicts"),
}
_BUCKETS = f"""
WITH RECURSIVE found(number) AS (
    SELECT min(bucket) FROM {{table}} INDEXED BY {{table}}_elsewhere WHERE {_NOT_HERE}
    UNION ALL
    SELECT (SELECT min(bucket) FROM {{table}} INDEXED BY {{table}}_elsewhere
            WHERE {_NOT_HERE} AND bucket > number)
    FROM found WHERE number IS NOT NULL)
SELECT number FROM found WHERE number IS NOT NULL
"""
_COUNT = f"""
SELECT count(*), coalesce(sum(size), 0) FROM (
    SELECT size FROM versions INDEXED BY versions_elsewhere WHERE {_NOT_HERE}
    UNION ALL
    SELECT size FROM conflicts INDEXED BY conflicts_elsewhere WHERE {_NOT_HERE})
"""


def same_bytes(here: Version, other: Version) -> bool:
    """Whether `other` has bytes that are those of `here`."""
    if not other.extents or is_elsewhere(other.extents):
        return False
    return (here.size, here.meta.crc64) == (other.size, other.meta.crc64)


class AbsentBody(NamedTuple):
    """A body that is not here."""

    kind: int
    """0 of a version, else of the loser of a conflict (`dc/names/kinds.py`)."""
    key: str
    id: str
    """The version id; of a conflict the loser's stamp."""
    stamp: Stamp
    size: int


class Elsewhere:
    """`read` reaches the tables, `number` gives a bucket's and `id_of` its id."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        number: Callable[[str], int],
        id_of: Callable[[int], str],
    ) -> None:
        self._read = read
        self._number = number
        self._id_of = id_of
        self.perhaps = True
        """Whether there may be any: True from the moment that one is committed."""
        self._committed = 0

    def committed(self) -> None:
        """One was committed."""
        self.perhaps = True
        self._committed += 1

    async def buckets(self) -> list[str]:
        """The ids of the buckets that have some."""
        before = self._committed
        numbers = await self._read(_buckets)
        self.perhaps = bool(numbers) or self._committed != before
        return sorted(map(self._id_of, numbers))

    async def page(
        self, bucket_id: str, kind: int, prefix: str, after: AbsentBody | None, limit: int
    ) -> list[AbsentBody]:
        """Those of a bucket, of a kind, whose keys begin with `prefix`, by key and id, after
        `after` only."""
        number, query = self._number(bucket_id), _PAGES[kind]
        # Ids have no space: so this is the next one.
        begin = (prefix, "") if after is None else (after.key, f"{after.id} ")
        asked = (number, *begin, prefix + _LAST, limit)
        rows = await self._read(lambda db: db.execute(query, asked).fetchall())
        return [AbsentBody(*row) for row in rows]

    async def count(self) -> tuple[int, int]:
        """How many there are, and how many bytes they have."""
        found: tuple[int, int] = await self._read(lambda db: db.execute(_COUNT).fetchone())
        return found


def _buckets(db: sqlite3.Connection) -> set[int]:
    found: set[int] = set()
    for table in ("versions", "conflicts"):
        found.update(number for (number,) in db.execute(_BUCKETS.format(table=table)))
    return found
