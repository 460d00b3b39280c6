"""Listings: what a page costs depends on the page, not on the bucket.

Without a delimiter a page is one run through the table, newest version of each key. With a
delimiter it is a walk that seeks: from a key to the next, and from a common prefix straight past
everything below it. The walk is a recursive query, so it runs in SQLite without coming back for
every step.

Order is that of UTF-8 bytes, which is that of code points: the first key after all that begin with
a prefix is the prefix with its last code point raised by one.
"""

import sqlite3

import msgspec

from dc.names.pages import Listed, Page
from dc.stamps import STAMP_LENGTH

UNCOMMON = "(meta >= '{\"ch' AND meta < '{\"cm')"
"""Whether the JSON of Meta begins with `checksums` or `class`: where there are any, they stand
first."""
MORE = f"""CASE WHEN {UNCOMMON} THEN ',' || coalesce(meta->'$.checksums', '{{}}') || ','
    || json_quote(coalesce(meta->>'$.checksum_type', '')) || ','
    || json_quote(coalesce(meta->>'$.class', '')) ELSE '' END"""
"""What a row of a listing says of these."""
_LISTED = f"""json_quote(key) || ',"' || stamp || '",' || size || ',"' || etag || '"' || {MORE}"""

# Most pages hold null versions of objects with neither checksums nor a class, one row per key. A
# text per column costs a third of a text per row; the last three columns tell whether the page is
# such a one.
_COLUMNS = f"""
SELECT group_concat(json_quote(key)), group_concat(stamp, ''), group_concat(size),
    group_concat(etag), max(vid), max(kind), max({UNCOMMON}) FROM (
    SELECT key, vid, stamp, kind, size, etag, meta FROM versions
    WHERE bucket = ?1 AND key >= ?2 AND key < ?3 ORDER BY key LIMIT ?4
)
"""
# max() decides which row of a group the bare columns are taken from (SQLite, "Bare columns").
_NEWEST_OF_EACH = f"""
SELECT group_concat('[' || {_LISTED} || ']') FROM (
    SELECT key, max(stamp) AS stamp, kind, size, etag, meta FROM versions
    WHERE bucket = ?1 AND key >= ?2 AND key < ?3
    GROUP BY key HAVING kind = 0 ORDER BY key LIMIT ?4
)
"""

# A step holds the current version of a key. `place` is where the delimiter stands in what follows
# the prefix (0: nowhere, or the key has only a delete marker and shows nothing); `next` is where
# the walk goes on: past the common prefix or just past the key.
_NEWEST = """(SELECT vid FROM (SELECT vid, stamp FROM versions WHERE bucket = ?1 AND key = {key}
    ORDER BY vid LIMIT 2) ORDER BY stamp DESC LIMIT 1)"""
_SEEK = """(SELECT key FROM versions WHERE bucket = ?1 AND key >= {start} AND key < ?3
    ORDER BY key LIMIT 1)"""
_PLACE = "CASE v.kind WHEN 0 THEN instr(substr(v.key, ?5), ?6) ELSE 0 END"
_COMMON = f"substr(v.key, 1, ?5 - 2 + ({_PLACE}))"
_STEP = f"""v.key AS key, v.vid AS vid, {_PLACE} AS place, CASE {_PLACE} WHEN 0
    THEN v.key || char(0) ELSE {_COMMON} || ?7 END AS next"""
_WALK = f"""
WITH RECURSIVE walk(key, vid, place, next) AS (
    SELECT {_STEP} FROM versions v WHERE v.bucket = ?1
        AND v.key = {_SEEK.format(start="?2")} AND v.vid = {_NEWEST.format(key="v.key")}
    UNION ALL
    SELECT {_STEP} FROM walk w CROSS JOIN versions v ON v.bucket = ?1
        AND v.key = {_SEEK.format(start="w.next")} AND v.vid = {_NEWEST.format(key="v.key")}
    LIMIT ?4
)
SELECT group_concat(CASE WHEN place > 0
    THEN '[' || json_quote(substr(w.key, 1, ?5 - 2 + place + length(?6))) || ',"",0,""]'
    WHEN v.kind = 0 THEN '[' || {_LISTED.replace("(key)", "(v.key)")} || ']'
    ELSE '[' || json_quote(w.key) || ',"-",0,""]' END)
FROM walk w CROSS JOIN versions v ON v.bucket = ?1 AND v.key = w.key AND v.vid = w.vid
"""

_decode = msgspec.json.Decoder(list[Listed]).decode
_decode_keys = msgspec.json.Decoder(list[str]).decode
_TOP = chr(0x10FFFF)
END = _TOP * 260
"""Sorts after every key: no key is longer than 1024 bytes."""
_STEPS_MAX = 2000


def after_all(prefix: str) -> str:
    """The first string, in code point order, after all strings that begin with `prefix`; "" when
    there is none."""
    while prefix and prefix[-1] == _TOP:
        prefix = prefix[:-1]
    if not prefix:
        return ""
    code = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(0xE000 if code == 0xD800 else code)


def list_page(
    db: sqlite3.Connection, number: int, prefix: str, delimiter: str, after: str, limit: int
) -> Page:
    """One page; see `dc.names.api.Names.list_objects`."""
    if limit <= 0:
        return Page([], [], False, "")
    start, stop = span(prefix, delimiter, after)
    if delimiter:
        return _walk(db, number, prefix, delimiter, start, stop, limit)
    # One row for the key after the page, and one to see whether that key has more than one.
    found = _plain(db, (number, start, stop or END, limit + 2))
    page = found[:limit]
    return Page(page, [], len(found) > limit, page[-1].key if page else "")


def _plain(db: sqlite3.Connection, asked: tuple[int, str, str, int]) -> list[Listed]:
    row = db.execute(_COLUMNS, asked).fetchone()
    keys, stamps, sizes, etags, vid, kind, uncommon = row
    if keys is None:
        return []
    if vid or kind or uncommon:
        return _decode(f"[{db.execute(_NEWEST_OF_EACH, asked).fetchone()[0] or ''}]")
    cut = range(0, len(stamps), STAMP_LENGTH)
    return [
        Listed(key, stamps[at : at + STAMP_LENGTH], int(size), etag)
        for key, at, size, etag in zip(
            _decode_keys(f"[{keys}]"), cut, sizes.split(","), etags.split(","), strict=True
        )
    ]


def span(prefix: str, delimiter: str, after: str) -> tuple[str, str]:
    """Where a listing starts (inclusive) and stops (exclusive, "" for the end)."""
    start = max(prefix, after + "\0") if after else prefix
    if delimiter and after.startswith(prefix):
        place = after.find(delimiter, len(prefix))
        if place >= 0:
            start = after[:place] + (after_all(delimiter) or delimiter + END)
    return start, after_all(prefix)


def _walk(
    db: sqlite3.Connection,
    number: int,
    prefix: str,
    delimiter: str,
    start: str,
    stop: str,
    limit: int,
) -> Page:
    objects: list[Listed] = []
    prefixes: list[str] = []
    past = after_all(delimiter) or delimiter + END
    last = ""
    while True:
        steps = min(limit + 1 - len(objects) - len(prefixes), _STEPS_MAX)
        text = db.execute(
            _WALK,
            (number, start, stop or END, steps, len(prefix) + 1, delimiter, past),
        ).fetchone()[0]
        found = _decode(f"[{text}]") if text else []
        for item in found:
            start = item.key + "\0"
            if item.stamp == "-":
                continue
            if len(objects) + len(prefixes) == limit:
                return Page(objects, prefixes, True, last)
            last = item.key
            if item.stamp:
                objects.append(item)
            else:
                prefixes.append(item.key)
                start = item.key[: -len(delimiter)] + past
        if len(found) < steps:
            return Page(objects, prefixes, False, last)
