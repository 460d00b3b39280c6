"""Writes of this DC that a peer had not taken when the two lost each other (`docs/failover.md`).

An *absence* is a time in which a peer did not have our feed open. The feed alone cannot tell later
what the peer lacked then: a write that is superseded meanwhile leaves it. So it is noted here, in
pages, before anything that came from elsewhere can supersede it. It is first too much, everything
after what the peer had acknowledged; when the peer comes back, its cursor says how much of that it
had, and the rest is kept: the exact list.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from dc.names.kinds import TOMBSTONE
from dc.names.transaction import Transaction
from dc.stamps import Stamp

WRITES_MAX = 100_000
"""Of one absence: some 20 MB."""
PAGE = 5_000
ABSENCES_MAX = 16
"""That are kept of a peer, and for how long: it is for looking into what was lost, soon after."""
KEPT_MS = 90 * 24 * 3600 * 1000

_NOTE = f"""
INSERT OR IGNORE INTO unshipped
SELECT ?1, f.seq, f.kind, f.bucket, f.key, f.vid, coalesce(v.stamp, t.stamp), coalesce(v.size, 0)
FROM (SELECT * FROM feed WHERE seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4) f
LEFT JOIN versions v ON f.kind < {TOMBSTONE}
    AND v.bucket = f.bucket AND v.key = f.key AND v.vid = f.vid
LEFT JOIN tombstones t ON f.kind = {TOMBSTONE}
    AND t.bucket = f.bucket AND t.key = f.key AND t.vid = f.vid AND NOT t.again
WHERE substr(coalesce(v.stamp, t.stamp), 17) = ?5
"""
_STRETCH = """
SELECT max(seq), count(*) FROM (SELECT seq FROM feed WHERE seq > ? AND seq <= ?
    ORDER BY seq LIMIT ?)
"""
_GAP = """
SELECT max(seq), max(CASE WHEN seq - before > 1 THEN seq - 1 END) FROM (
    SELECT seq, lag(seq, 1, ?1) OVER (ORDER BY seq) AS before FROM feed
    WHERE seq > ?1 AND seq <= ?2)
"""
_REPLACED = """
SELECT 1 FROM json_each(?1) AS open WHERE open.value <= ?2
    AND NOT EXISTS (SELECT 1 FROM feed WHERE seq = open.value)
    AND open.value NOT IN (SELECT seq FROM unshipped WHERE absence = ?3) LIMIT 1
"""
_WRITES = f"""
SELECT u.stamp, u.absence, u.kind, u.seq, b.id, b.name, u.key, u.vid, u.size,
    v.stamp, v.seq, t.stamp, t.seq, c.gone
FROM unshipped u JOIN buckets b ON b.number = u.bucket
LEFT JOIN versions v ON v.bucket = u.bucket AND v.key = u.key AND v.vid = u.vid
LEFT JOIN tombstones t ON t.bucket = u.bucket AND t.key = u.key AND t.vid = u.vid
LEFT JOIN conflicts c ON u.kind < {TOMBSTONE}
    AND c.bucket = u.bucket AND c.key = u.key AND c.stamp = u.stamp
WHERE u.stamp IN (SELECT value FROM json_each(?1))
ORDER BY u.stamp, u.absence
"""


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """Of one peer. Times are milliseconds since 1970 by this DC's clock."""

    id: int = 0
    peer: str
    since_ms: int
    """When it acknowledged something last."""
    back_ms: int = 0
    """When it had our feed open again; 0: not yet."""
    acked: int
    """What it had acknowledged by then."""
    end: int = 0
    """Writes up to this position are looked at."""
    cursor: int | None = None
    """Up to where it had taken our feed, as it said when it came back."""
    exact: bool = False
    """All writes in the list were not there, and no others; else they are the most there can be."""
    at_least: bool = False
    """There are more: only so many are noted."""
    gap: int = 0
    """The last position whose change was replaced before it could be noted; 0: there is none."""
    open_gap: bool = False
    """A change before the cursor that the peer had not finished was replaced, and is not noted."""

    @property
    def replaced(self) -> bool:
        """Whether something that the peer lacked may have been replaced before it was noted."""
        return self.open_gap or self.gap > (self.cursor or 0)


class Write(msgspec.Struct, frozen=True, array_like=True):
    """A write that was noted, and what there is of its item now; None: nothing."""

    stamp: Stamp
    absence: int
    kind: int
    seq: int
    bucket_id: str
    bucket: str
    key: str
    vid: str
    size: int
    version: Stamp | None
    version_seq: int | None
    tombstone: Stamp | None
    tombstone_seq: int | None
    gone: int | None
    """Of the conflict that it lost in: whether that is settled; None when there is none."""


_decode = msgspec.msgpack.Decoder(Absence).decode


class Unshipped:
    """Those of a name server. `read` and `act` reach its tables."""

    def __init__(
        self,
        read: Callable[[Callable[[sqlite3.Connection], Any]], Awaitable[Any]],
        act: Callable[[Callable[[Transaction], Any]], Awaitable[Any]],
    ) -> None:
        self._read = read
        self._act = act

    async def note(self, absence: Absence, after: int, end: int) -> Absence:
        """Note this DC's writes at positions after `after`, up to `end`; the absence as it is then,
        with an id if there are any."""
        noted = absence
        while after < end and not noted.at_least:
            page = _Page(noted, after, end)
            noted, after = await self._act(page)
        return noted

    async def settle(
        self, absence: Absence, cursor: int, unfinished: Sequence[int], taken: int
    ) -> Absence | None:
        """The peer is back, had taken all up to `cursor`, and everything up to `taken` has taken
        effect there but what is `unfinished`. The absence, if anything of it is left."""
        known = min(cursor, taken)
        asked = msgspec.json.encode(list(unfinished))

        def act(transaction: Transaction) -> Absence | None:
            db = transaction.db
            there = db.execute(_REPLACED, (asked, known, absence.id)).fetchone()
            settled = msgspec.structs.replace(absence, cursor=cursor, open_gap=there is not None)
            exact = taken >= cursor and not settled.replaced
            settled = msgspec.structs.replace(settled, exact=exact)
            db.execute(
                "DELETE FROM unshipped WHERE absence = ? AND seq <= ?"
                " AND seq NOT IN (SELECT value FROM json_each(?))",
                (absence.id, known, asked),
            )
            left = db.execute(
                "SELECT 1 FROM unshipped WHERE absence = ? LIMIT 1", (absence.id,)
            ).fetchone()
            if left is None:
                db.execute("DELETE FROM absences WHERE id = ?", (absence.id,))
                return None
            _store(db, settled)
            return settled

        found: Absence | None = await self._act(act)
        return found

    async def back(self, absence: Absence) -> None:
        """Remember what an absence has become."""
        await self._act(lambda transaction: _store(transaction.db, absence))

    async def absences(self) -> list[tuple[Absence, int, int]]:
        """All that are kept, the newest first, each with how many writes, of how many bytes."""
        found: list[tuple[Absence, int, int]] = await self._read(_absences)
        return found

    async def writes(
        self, absences: Sequence[int], after: Stamp, limit: int
    ) -> tuple[list[Write], Stamp]:
        """The writes of these absences, of about `limit` stamps later than `after`, in their order,
        each once for every absence that it is in; and what to go on after, "" at the end."""
        asked = msgspec.json.encode(list(absences))

        def look(db: sqlite3.Connection) -> tuple[list[Write], Stamp]:
            stamps = [
                row[0]
                for row in db.execute(
                    "SELECT DISTINCT stamp FROM unshipped WHERE stamp > ? AND absence IN"
                    " (SELECT value FROM json_each(?)) ORDER BY stamp LIMIT ?",
                    (after, asked, limit),
                )
            ]
            rows = db.execute(_WRITES, (msgspec.json.encode(stamps),)).fetchall()
            return [Write(*row) for row in rows], stamps[-1] if len(stamps) == limit else ""

        found: tuple[list[Write], Stamp] = await self._read(look)
        return found


class _Page:
    """The action that notes one page; gives the absence, and up to where it has looked."""

    def __init__(self, absence: Absence, after: int, end: int) -> None:
        self._absence = absence
        self._after = after
        self._end = end

    def __call__(self, transaction: Transaction) -> tuple[Absence, int]:
        db, absence = transaction.db, self._absence
        last, count = db.execute(_STRETCH, (self._after, self._end, PAGE)).fetchone()
        looked = self._end if count < PAGE else int(last)
        newest, gap = db.execute(_GAP, (self._after, looked)).fetchone()
        if (newest or self._after) < looked:
            gap = looked
        absence = msgspec.structs.replace(absence, gap=gap or absence.gap)
        there = 0
        is_new = not absence.id
        if is_new:
            (number,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM absences").fetchone()
            absence = msgspec.structs.replace(absence, id=int(number))
        else:
            (there,) = db.execute(
                "SELECT count(*) FROM unshipped WHERE absence = ?", (absence.id,)
            ).fetchone()
        added = db.execute(
            _NOTE, (absence.id, self._after, looked, PAGE, transaction.dc_id)
        ).rowcount
        if is_new and not added:
            return msgspec.structs.replace(absence, id=0, end=looked), looked
        absence = msgspec.structs.replace(
            absence, end=looked, at_least=there + added >= WRITES_MAX and looked < self._end
        )
        _store(db, absence)
        if is_new:
            _forget_old(db, absence)
        return absence, looked


def _store(db: sqlite3.Connection, absence: Absence) -> None:
    db.execute(
        "INSERT OR REPLACE INTO absences VALUES(?, ?, ?)",
        (absence.id, absence.peer, msgspec.msgpack.encode(absence)),
    )


def _forget_old(db: sqlite3.Connection, newest: Absence) -> None:
    kept = db.execute(
        "SELECT record FROM absences WHERE peer = ? ORDER BY id DESC", (newest.peer,)
    ).fetchall()
    for index, (record,) in enumerate(kept):
        old = _decode(record)
        if index >= ABSENCES_MAX or old.since_ms < newest.since_ms - KEPT_MS:
            db.execute("DELETE FROM unshipped WHERE absence = ?", (old.id,))
            db.execute("DELETE FROM absences WHERE id = ?", (old.id,))


def _absences(db: sqlite3.Connection) -> list[tuple[Absence, int, int]]:
    rows = db.execute(
        "SELECT record, (SELECT count(*) FROM unshipped WHERE absence = a.id),"
        " (SELECT coalesce(sum(size), 0) FROM unshipped WHERE absence = a.id)"
        " FROM absences a ORDER BY id DESC"
    ).fetchall()
    return [(_decode(record), count, size) for record, count, size in rows]
