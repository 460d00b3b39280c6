"""Conflicts in the tables: writes that lost to one that had not seen them, and their bytes.

A conflict is an item of its own, `(bucket, key, stamp of the loser)`: it has a place in the feed
(the stamp stands in `vid` there), travels with its bytes, and all DCs list the same. It is made
wherever winner and loser meet. When it is restored, dropped or old, it is `gone` everywhere; what
is left of it then is collected like a tombstone.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from dc.names.api import BytesMissing, NoSuchConflict
from dc.names.attributes import join_of_version
from dc.names.elsewhere import same_bytes
from dc.names.kinds import CONFLICT
from dc.names.model import Conflict, Tombstone, Version
from dc.names.rows import CONFLICT_ROW, decode_row, read_version
from dc.names.transaction import Transaction
from dc.names.trees import delta, item_hash
from dc.placement import is_elsewhere
from dc.stamps import Stamp

_encode = msgspec.json.Encoder().encode
_SELECT = f"SELECT {CONFLICT_ROW}, winner, gone, leaf FROM conflicts v"


class _Kept(NamedTuple):
    """What is in the table."""

    conflict: Conflict
    leaf: str


def keep_current(transaction: Transaction, number: int, winner: Version | Tombstone) -> None:
    """Keep the version that `winner` is about to replace."""
    loser = read_version(transaction.db, number, winner.key, winner.vid, winner.bucket)
    assert loser is not None
    merge_conflict(transaction, number, Conflict(loser=loser, winner=winner.stamp))


def merge_conflict(transaction: Transaction, number: int, conflict: Conflict) -> None:
    """Join a conflict with what is known of it."""
    loser = conflict.loser
    known = _read(transaction.db, number, loser.bucket, loser.key, loser.stamp)
    gone, winner, leaf, seq = conflict.gone, conflict.winner, "", 0
    if known is not None:
        gone |= known.conflict.gone
        winner = max(winner, known.conflict.winner)
        here = known.conflict.loser
        registers = join_of_version(here.registers, loser.registers, loser.stamp)
        if is_elsewhere(here.extents) and same_bytes(here, loser):
            transaction.pointed.note(loser.extents)
            transaction.db.execute(
                "UPDATE conflicts SET extents = ? WHERE bucket = ? AND key = ? AND stamp = ?",
                (_encode(loser.extents).decode(), number, here.key, here.stamp),
            )
            here = msgspec.structs.replace(here, extents=loser.extents)
        if (gone, winner, registers) == (
            known.conflict.gone,
            known.conflict.winner,
            here.registers,
        ) and not (known.conflict.gone and not conflict.gone):
            # Who tells of a conflict that is gone here has not heard of that: it is told again.
            return
        loser = msgspec.structs.replace(here, registers=registers)
        leaf, seq = known.leaf, here.seq
    elif not gone and loser.size and (not loser.extents or is_elsewhere(loser.extents)):
        # It may be here as the current version: then its bytes are.
        current = read_version(transaction.db, number, loser.key, loser.vid, loser.bucket)
        if current is not None and current.stamp == loser.stamp:
            registers = join_of_version(current.registers, loser.registers, loser.stamp)
            loser = msgspec.structs.replace(current, registers=registers)
        elif not loser.extents:
            raise BytesMissing(f"the bytes of the lost version of {loser.key!r} are not here")
    _write(transaction, number, Conflict(loser=loser, winner=winner, gone=gone), leaf, seq)


def _write(
    transaction: Transaction, number: int, conflict: Conflict, old_leaf: str, old_seq: int
) -> None:
    db, loser = transaction.db, conflict.loser
    leaf = "" if conflict.gone else _hash(conflict)
    if not conflict.gone:
        transaction.pointed.note(loser.extents)
    seq = transaction.take_seq()
    if old_seq:
        db.execute("DELETE FROM feed WHERE seq = ?", (old_seq,))
    db.execute(
        "INSERT OR REPLACE INTO conflicts VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            loser.key,
            loser.stamp,
            loser.vid,
            conflict.winner,
            conflict.gone,
            seq,
            loser.size,
            loser.etag,
            _encode(loser.meta).decode(),
            "[]" if conflict.gone else _encode(loser.extents).decode(),
            loser.seen,
            _encode(loser.registers).decode(),
            leaf,
        ),
    )
    db.execute(
        "INSERT INTO feed VALUES(?, ?, ?, ?, ?)", (seq, CONFLICT, number, loser.key, loser.stamp)
    )
    transaction.deltas.append(delta(number, loser.key, old_leaf, leaf))


def _hash(conflict: Conflict) -> str:
    loser = conflict.loser
    content = (
        "conflict",
        conflict.winner,
        loser.key,
        loser.vid,
        loser.stamp,
        loser.size,
        loser.etag,
        loser.meta,
        loser.seen,
        loser.registers,
    )
    return item_hash(content)


def _read(
    db: sqlite3.Connection, number: int, bucket_id: str, key: str, stamp: Stamp
) -> _Kept | None:
    row = db.execute(
        f"{_SELECT} WHERE bucket = ? AND key = ? AND stamp = ?", (number, key, stamp)
    ).fetchone()
    return _kept(row, bucket_id, key) if row else None


def _kept(row: Sequence[str | int], bucket_id: str, key: str) -> _Kept:
    text, winner, gone, leaf = row
    loser = decode_row(str(text)).version(bucket_id, key)
    return _Kept(Conflict(loser=loser, winner=str(winner), gone=bool(gone)), str(leaf))


# -- settling -----------------------------------------------------------------------------------


def take(transaction: Transaction, number: int, bucket: str, key: str, stamp: Stamp) -> Version:
    """Mark a conflict as gone and return its loser; NoSuchConflict."""
    known = _read(transaction.db, number, bucket, key, stamp)
    if known is None or known.conflict.gone:
        raise NoSuchConflict(f"there is no conflict {stamp} of {key!r}")
    merge_conflict(transaction, number, msgspec.structs.replace(known.conflict, gone=True))
    return known.conflict.loser


def expire(transaction: Transaction, winner_before: Stamp, limit: int) -> int:
    """Mark as gone what has been kept for long enough; how many."""
    rows = transaction.db.execute(
        "SELECT c.bucket, b.id, c.key, c.stamp FROM conflicts c"
        " JOIN buckets b ON b.number = c.bucket"
        " WHERE NOT gone AND winner < ? ORDER BY winner LIMIT ?",
        (winner_before, limit),
    ).fetchall()
    for number, bucket, key, stamp in rows:
        take(transaction, number, bucket, key, stamp)
    return len(rows)


# -- reading ------------------------------------------------------------------------------------


def read(
    db: sqlite3.Connection, number: int, bucket_id: str, key: str, stamp: Stamp
) -> Conflict | None:
    known = _read(db, number, bucket_id, key, stamp)
    return known.conflict if known else None


def page(
    db: sqlite3.Connection, bucket: str, after: tuple[str, str, str], limit: int
) -> list[Conflict]:
    """Those that are not gone, by (bucket id, key, stamp), of one bucket or ("") of all."""
    rows = db.execute(
        f"SELECT b.id, v.key, {CONFLICT_ROW}, v.winner, v.gone, v.leaf"
        " FROM conflicts v JOIN buckets b ON b.number = v.bucket"
        " WHERE NOT v.gone AND (?1 = '' OR b.id = ?1) AND (b.id, v.key, v.stamp) > (?2, ?3, ?4)"
        " ORDER BY b.id, v.key, v.stamp LIMIT ?5",
        (bucket, *after, limit),
    ).fetchall()
    return [_kept(row[2:], row[0], row[1]).conflict for row in rows]


def find(
    db: sqlite3.Connection, number: int, bucket_id: str, stamps: Sequence[Stamp]
) -> list[Conflict]:
    """Those of a bucket whose losers have these stamps, by key."""
    rows = db.execute(
        f"SELECT v.key, {CONFLICT_ROW}, winner, gone, leaf FROM conflicts v"
        " WHERE bucket = ? AND stamp IN (SELECT value FROM json_each(?)) ORDER BY v.key, v.stamp",
        (number, _encode(list(stamps))),
    ).fetchall()
    return [_kept(row[1:], bucket_id, row[0]).conflict for row in rows]


def count(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM conflicts WHERE NOT gone").fetchone()[0])


def hashes(db: sqlite3.Connection) -> Iterator[tuple[int, str, str]]:
    """(bucket number, key, hash) of those that are not gone, the hashes made anew."""
    rows = db.execute(
        f"SELECT v.bucket, v.key, {CONFLICT_ROW}, winner, gone, leaf FROM conflicts v"
    )
    for number, key, *row in rows.fetchall():
        conflict = _kept(row, "", key).conflict
        if not conflict.gone:
            yield number, key, _hash(conflict)
