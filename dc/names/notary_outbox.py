"""What the notary is to make entries of: each write that it is about, in the order of the commits.

A row is written in the transaction of its change, so that there is one if and only if the change is
durable; it leaves when there is an entry. Nothing is left out however long the notary takes: a row
is not larger than that of the version itself. `docs/notary.md`.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from dc.names.model import Version
from dc.names.outbox import Waiting
from dc.names.transaction import Transaction
from dc.notary import NOTARY, ON, TO_BE_READ, is_found, is_notarized
from dc.stamps import Stamp

WRITTEN, REMOVED, ENABLED, DISABLED = "version", "removed", "enabled", "disabled"


class Noted(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A write. `at` is the stamp of what happened, `stamp` that of the version it happened to."""

    type: str
    """One of the four above."""
    bucket: str
    """Its id."""
    at: Stamp
    stamp: Stamp
    key: str = ""
    vid: str = ""
    size: int = 0
    sha256: str = ""
    """Of WRITTEN, if it is known."""
    version: Version | None = None
    """Of WRITTEN, if it is to be read."""


_FACT = "notary log"
"""How large the log was with what left the outbox last: that it is smaller now tells that its
database was put back."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Noted).decode


def written(version: Version, *, is_certain: bool = True) -> Noted | None:
    """What is to be noted of a version that is written; None when it is not notarized.
    `is_certain`: its register is as it was written here, and no other DC has had it since."""
    if not is_notarized(version.registers):
        return None
    known = version.registers[NOTARY].value
    to_be_read = known == TO_BE_READ or not (is_certain and is_found(known))
    return Noted(
        type=WRITTEN,
        bucket=version.bucket,
        at=version.stamp,
        stamp=version.stamp,
        key=version.key,
        vid=version.vid,
        size=version.size,
        sha256="" if to_be_read else known,
        version=version if to_be_read else None,
    )


def switched(bucket: str, value: str, stamp: Stamp) -> Noted:
    """What is to be noted of a bucket's setting."""
    kind = ENABLED if value == ON else DISABLED
    return Noted(type=kind, bucket=bucket, at=stamp, stamp=stamp)


def note(transaction: Transaction, writes: Sequence[Noted]) -> None:
    """In the transaction of these writes."""
    transaction.db.executemany(
        "INSERT INTO notary_outbox(record, extents) VALUES(?, ?)",
        [(_encode(one), _extents(one)) for one in writes],
    )
    transaction.noted = True


def _extents(one: Noted) -> str:
    """The bytes that are to stay where they are until they are read."""
    return msgspec.json.encode([] if one.version is None else one.version.extents).decode()


def _page(db: sqlite3.Connection, limit: int, after: int) -> list[tuple[int, Noted]]:
    rows = db.execute(
        "SELECT id, record FROM notary_outbox WHERE id > ? ORDER BY id LIMIT ?", (after, limit)
    ).fetchall()
    return [(number, _decode(record)) for number, record in rows]


def _rows(db: sqlite3.Connection, ids: Sequence[int]) -> list[tuple[int, Noted]]:
    marks = ",".join("?" * len(ids))
    query = f"SELECT id, record FROM notary_outbox WHERE id IN ({marks}) ORDER BY id"
    return [(number, _decode(record)) for number, record in db.execute(query, ids)]


def _count(db: sqlite3.Connection) -> int:
    # Rows may leave before earlier ones: ids do not tell.
    return int(db.execute("SELECT count(*) FROM notary_outbox").fetchone()[0])


def _log_size(db: sqlite3.Connection) -> int:
    row = db.execute("SELECT value FROM facts WHERE name = ?", (_FACT,)).fetchone()
    return int(row[0]) if row else 0


class NotaryOutbox(Waiting):
    """What was noted, for the notary."""

    async def page(self, limit: int, after: int = 0) -> list[tuple[int, Noted]]:
        """The oldest, of those with later ids than `after`; with their ids."""
        found: list[tuple[int, Noted]] = await self._read(lambda db: _page(db, limit, after))
        return found

    async def rows(self, ids: Sequence[int]) -> list[tuple[int, Noted]]:
        """Those of these ids that are there, in the order of the ids."""
        found: list[tuple[int, Noted]] = await self._read(lambda db: _rows(db, ids))
        return found

    async def add(self, writes: Sequence[Noted]) -> None:
        """Note writes that were committed before, and perhaps not noted."""
        await self._act(lambda transaction: note(transaction, writes))

    async def done(self, ids: Sequence[int], size: int = 0) -> None:
        """Take these out: there are entries of them, durable. `size`: of the log with these; 0
        when it has not grown."""

        def act(transaction: Transaction) -> None:
            transaction.db.executemany(
                "DELETE FROM notary_outbox WHERE id = ?", [(one,) for one in ids]
            )
            if size:
                transaction.db.execute(
                    "INSERT OR REPLACE INTO facts VALUES(?, ?)", (_FACT, str(size))
                )

        await self._act(act)

    async def set_log_size(self, size: int) -> None:
        """It is smaller, and that is to be so."""

        def act(transaction: Transaction) -> None:
            transaction.db.execute("INSERT OR REPLACE INTO facts VALUES(?, ?)", (_FACT, str(size)))

        await self._act(act)

    async def log_size(self) -> int:
        """That of the log when it had grown last."""
        found: int = await self._read(_log_size)
        return found

    async def waiting(self) -> int:
        found: int = await self._read(_count)
        return found
