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
_COUNT = f"""
SELECT count(*), coalesce(sum(size), 0) FROM (
    SELECT size FROM versions INDEXED BY versions_elsewhere WHERE {_NOT_HERE} {{some}}
    UNION ALL
    SELECT size FROM conflicts INDEXED BY conflicts_elsewhere WHERE {_NOT_HERE} {{some}})
"""
_COUNT_ALL = _COUNT.format(some="")
_GROUPS = """
SELECT bucket, count(*) n, sum(size) size FROM {table} INDEXED BY {table}_elsewhere
WHERE {where} GROUP BY bucket
"""
_BY_BUCKET = f"""
SELECT b.id, sum(e.n), sum(e.size) FROM (
    {_GROUPS.format(table="versions", where=_NOT_HERE)}
    UNION ALL
    {_GROUPS.format(table="conflicts", where=_NOT_HERE)}) e
JOIN buckets b ON b.number = e.bucket GROUP BY b.id
"""
_COUNT_SOME = _COUNT.format(some="AND bucket = ?1 AND key >= ?2 AND key < ?3")


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
    """`read` reaches the tables, `number` gives a bucket's."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        number: Callable[[str], int],
    ) -> None:
        self._read = read
        self._number = number
        self.perhaps = True
        """Whether there may be any: True from the moment that one is committed."""
        self._committed = 0

    def committed(self) -> None:
        """One was committed."""
        self.perhaps = True
        self._committed += 1

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
        found: tuple[int, int] = await self._read(lambda db: db.execute(_COUNT_ALL).fetchone())
        return found

    async def by_bucket(self) -> dict[str, tuple[int, int]]:
        """The same of each bucket that has any, by its id."""
        before = self._committed
        rows = await self._read(lambda db: db.execute(_BY_BUCKET).fetchall())
        self.perhaps = bool(rows) or self._committed != before
        return {bucket: (objects, size) for bucket, objects, size in rows}

    async def count_of(self, bucket_id: str, prefix: str) -> tuple[int, int]:
        """The same of those of a bucket whose keys begin with `prefix`."""
        asked = (self._number(bucket_id), prefix, prefix + _LAST)
        found: tuple[int, int] = await self._read(
            lambda db: db.execute(_COUNT_SOME, asked).fetchone()
        )
        return found
