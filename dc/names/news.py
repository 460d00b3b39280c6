"""Whether an object that another datacenter tells of, and that is not applied here, is to be shown
here as if it were: read-through asks (`docs/read-through.md`).

It is not when it was deleted here: there is a tombstone that stands against it, or it is covered
(all of what its datacenter made up to then was taken in, and it is gone). Nor is it the current
version of its key when there is any version of the key here: then what is here is shown, an older
one too, and a delete marker hides it. `Known.NEW` says less: it counts what loses and is kept.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from dc.names.pages import Listed
from dc.names.transaction import Covers
from dc.stamps import Stamp

_HERE = """
SELECT EXISTS (SELECT 1 FROM versions o WHERE o.bucket = ?2 AND o.key = j.value->>0),
    EXISTS (SELECT 1 FROM versions o
     WHERE o.bucket = ?2 AND o.key = j.value->>0 AND o.vid = j.value->>1),
    (SELECT stamp FROM tombstones o
     WHERE o.bucket = ?2 AND o.key = j.value->>0 AND o.vid = j.value->>1)
FROM json_each(?1) j
"""
_VIDS = """
SELECT coalesce((SELECT vid FROM versions o
    WHERE o.bucket = ?2 AND o.key = j.value->>0 AND o.stamp = j.value->>1), '')
FROM json_each(?1) j
"""
_encode = msgspec.json.Encoder().encode


class ToldOf(NamedTuple):
    """A version that another datacenter has."""

    key: str
    vid: str
    stamp: Stamp


class _Here(NamedTuple):
    """What is here of a version that another datacenter has: any of its key, itself (of a null
    version any null one), whether it was deleted."""

    key: bool
    version: bool
    deleted: bool


class News:
    """`read` reaches the tables, `number` gives a bucket's, `covers` says what was taken in."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        number: Callable[[str], int],
        covers: Covers,
    ) -> None:
        self._read = read
        self._number = number
        self._covers = covers

    async def are_news(
        self, bucket_id: str, told: Sequence[ToldOf], *, as_current: bool = True
    ) -> list[bool]:
        """Of each version whether it is to be shown here: as the current one of its key, or just as
        the version that it is."""
        here = await self._here(bucket_id, told)
        return [not (as_current and one.key) and not one.deleted for one in here]

    async def are_versions(self, bucket_id: str, told: Sequence[ToldOf]) -> list[bool]:
        """Of each version whether it is to be shown beside the versions that are here."""
        here = await self._here(bucket_id, told)
        return [not one.version and not one.deleted for one in here]

    async def _here(self, bucket_id: str, told: Sequence[ToldOf]) -> list[_Here]:
        if not told:
            return []
        number, asked = self._number(bucket_id), _encode([(one.key, one.vid) for one in told])
        rows = await self._read(lambda db: db.execute(_HERE, (asked, number)).fetchall())
        return [
            _Here(bool(key), bool(version), self._is_deleted(one, tombstone))
            for one, (key, version, tombstone) in zip(told, rows, strict=True)
        ]

    def _is_deleted(self, told: ToldOf, tombstone: Stamp | None) -> bool:
        if self._covers(told.stamp):
            return True
        # A version id is never written again, whatever the stamps.
        return tombstone is not None and (bool(told.vid) or tombstone >= told.stamp)

    async def vids(self, bucket_id: str, listed: Sequence[Listed]) -> list[str]:
        """The version ids of what a listing of this DC shows; "" of one that has gone since."""
        number, asked = self._number(bucket_id), _encode([(one.key, one.stamp) for one in listed])
        rows = await self._read(lambda db: db.execute(_VIDS, (asked, number)).fetchall())
        return [vid for (vid,) in rows]
