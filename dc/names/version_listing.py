"""Listings of versions: a page costs what is in the page, not what is in the bucket.

The rows of `versions` stand in the order of a listing, but for null versions: they come first of
their key, whenever they were written. So a walk over the rows holds a null version back until those
that are newer than it have passed. Where a common prefix has been found the walk goes on behind it,
by a new search when that is not among the rows at hand.
"""

import sqlite3
from collections import deque

import msgspec

from dc.names.listing import END, MORE, after_all, span
from dc.names.pages import ListedVersion, VersionPage
from dc.stamps import Stamp, version_id, version_stamp

_ROWS = f"""
SELECT group_concat('[' || json_quote(key) || ',"' || vid || '","' || stamp || '",' || kind || ','
    || size || ',"' || etag || '"' || {MORE} || ']') FROM (
    SELECT * FROM versions WHERE bucket = ?1 AND (key, vid) >= (?2, ?3) AND key < ?4
    ORDER BY key, vid LIMIT ?5
)
"""
_NULL = "SELECT stamp FROM versions WHERE bucket = ? AND key = ? AND vid = ''"
_NEWEST = """
SELECT max(stamp) FROM (
    SELECT stamp FROM versions WHERE bucket = ? AND key = ? ORDER BY vid LIMIT 2
)
"""
_ROWS_MAX = 1000
_ROWS_BETWEEN_PREFIXES = 50
"""Read at once when there is a delimiter: most of them may be behind a common prefix."""
_decode = msgspec.json.Decoder(list[ListedVersion]).decode


def list_page(
    db: sqlite3.Connection,
    number: int,
    prefix: str,
    delimiter: str,
    after: tuple[str, str | None],
    limit: int,
) -> VersionPage:
    """One page; see `dc.names.api.Names.list_versions`."""
    if limit <= 0:
        return VersionPage([], [], False, "", None)
    after_key, after_vid = after
    start, stop = span(prefix, delimiter, after_key)
    rows = min(limit + 2, _ROWS_MAX) if not delimiter else _ROWS_BETWEEN_PREFIXES
    walk = _Walk(db, number, stop or END, rows)
    walk.seek(start)
    inside = delimiter and delimiter in after_key[len(prefix) :]
    if after_vid is not None and after_key.startswith(prefix) and not inside:
        walk.seek_version(after_key, after_vid)
    past = after_all(delimiter) or delimiter + END
    versions: list[ListedVersion] = []
    prefixes: list[str] = []
    last: tuple[str, str | None] = ("", None)
    while (row := walk.take()) is not None:
        if len(versions) + len(prefixes) == limit:
            return VersionPage(versions, prefixes, True, *last)
        place = row.key.find(delimiter, len(prefix)) if delimiter else -1
        if place < 0:
            versions.append(row)
            last = row.key, row.vid or version_id(row.stamp)
        else:
            prefixes.append(row.key[: place + len(delimiter)])
            last = prefixes[-1], None
            walk.seek(row.key[:place] + past)
    return VersionPage(versions, prefixes, False, *last)


class _Walk:
    """Versions by key, those of a key newest first."""

    def __init__(self, db: sqlite3.Connection, number: int, stop: str, rows: int) -> None:
        self._db = db
        self._number = number
        self._stop = stop
        self._count = rows
        self._rows: deque[ListedVersion] = deque()
        self._next: tuple[str, str] | None = ("", "")
        """Where the rows after those at hand begin; None when there are none."""
        self._held: ListedVersion | None = None
        """A null version that waits for newer ones of its key."""
        self._key = ""
        self._newest: Stamp = ""
        """The stamp of the latest version of the key that the walk is at."""

    def seek(self, key: str) -> None:
        """Go on with the first key that is not before this one."""
        self._held = None
        while self._rows and self._rows[0].key < key:
            self._rows.popleft()
        if not self._rows and self._next is not None:
            self._next = max(self._next, (key, ""))

    def seek_version(self, key: str, vid: str) -> None:
        """Go on after this version of a key; "" is the null version. If that is gone, it is not
        known where it stood, and the key begins again."""
        stamp = version_stamp(vid) if vid else self._one(_NULL, key)
        self._next = (key, version_id(stamp) + "0" if stamp else "")
        if not stamp:
            return
        self._key, self._newest = key, self._one(_NEWEST, key)
        null = self._one(_NULL, key)
        if null and null < stamp:
            rows = self._read((key, ""), 1)
            self._held = rows[0] if rows and not rows[0].vid else None

    def take(self) -> ListedVersion | None:
        """The next version, None at the end."""
        while True:
            if not self._rows:
                self._fill()
            row, held = (self._rows[0] if self._rows else None), self._held
            if held is not None and (row is None or row.key != held.key or row.stamp < held.stamp):
                self._held = None
                return self._shown(held)
            if row is None:
                return None
            self._rows.popleft()
            if row.vid:
                return self._shown(row)
            self._held = row

    def _shown(self, row: ListedVersion) -> ListedVersion:
        if row.key != self._key:
            self._key, self._newest = row.key, row.stamp
        latest = row.stamp == self._newest
        return msgspec.structs.replace(row, latest=True) if latest else row

    def _fill(self) -> None:
        if self._next is None:
            return
        rows = self._read(self._next, self._count)
        self._rows.extend(rows)
        # A version id with one more digit stands between it and the next.
        self._next = (rows[-1].key, rows[-1].vid + "0") if len(rows) == self._count else None

    def _read(self, start: tuple[str, str], count: int) -> list[ListedVersion]:
        asked = (self._number, *start, self._stop, count)
        text = self._db.execute(_ROWS, asked).fetchone()[0]
        return _decode(f"[{text or ''}]")

    def _one(self, query: str, key: str) -> Stamp:
        row = self._db.execute(query, (self._number, key)).fetchone()
        return row[0] or "" if row else ""
