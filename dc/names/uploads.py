"""Multipart uploads in the tables. They exist in this DC only, until they are completed.

An upload that was completed is remembered for a day, so that a client which lost the answer to its
Complete, and asks again, gets it instead of an error or a second object.
"""

import sqlite3

import msgspec

from dc.names import guards
from dc.names.api import NoSuchUpload
from dc.names.merge import Record, merge
from dc.names.model import Condition, Upload, UploadPart
from dc.names.transaction import Transaction
from dc.stamps import Stamp, stamp_ms

COMPLETED_KEPT_MS = 24 * 3600 * 1000

_upload = msgspec.json.Decoder(Upload).decode
_part = msgspec.json.Decoder(UploadPart).decode


def create(transaction: Transaction, number: int, upload: Upload) -> None:
    transaction.db.execute(
        "INSERT INTO uploads VALUES(?, ?, ?, ?)",
        (upload.id, number, upload.key, msgspec.json.encode(upload).decode()),
    )


def _require(transaction: Transaction, upload_id: str) -> None:
    row = transaction.db.execute("SELECT 1 FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    if row is None:
        raise NoSuchUpload(upload_id)


def put_part(transaction: Transaction, upload_id: str, part: UploadPart) -> None:
    _require(transaction, upload_id)
    known = _known_part(transaction.db, upload_id, part.number)
    if known is None or known.stamp < part.stamp:
        transaction.pointed.note(part.extents)
        transaction.db.execute(
            "INSERT OR REPLACE INTO parts VALUES(?, ?, ?)",
            (upload_id, part.number, msgspec.json.encode(part).decode()),
        )


def _known_part(db: sqlite3.Connection, upload_id: str, number: int) -> UploadPart | None:
    row = db.execute(
        "SELECT record FROM parts WHERE upload = ? AND number = ?", (upload_id, number)
    ).fetchone()
    return _part(row[0]) if row else None


def abort(transaction: Transaction, upload_id: str) -> None:
    _require(transaction, upload_id)
    transaction.db.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
    transaction.db.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))


def complete(
    transaction: Transaction,
    upload_id: str,
    bucket_id: str,
    record: Record,
    only_if: Condition | None,
) -> None:
    abort(transaction, upload_id)
    if only_if is not None:
        guards.check_current(transaction, record.number, record.change.key, only_if)
    merge(transaction, [record], local=True)
    stamp = record.change.stamp
    transaction.db.execute(
        "INSERT INTO completed VALUES(?, ?, ?, ?, ?)",
        (upload_id, bucket_id, record.change.key, record.change.vid, stamp),
    )
    oldest = f"{max(0, stamp_ms(stamp) - COMPLETED_KEPT_MS):012x}"
    transaction.db.execute("DELETE FROM completed WHERE stamp < ?", (oldest,))


# -- reading ------------------------------------------------------------------------------------


def read(db: sqlite3.Connection, upload_id: str) -> Upload | None:
    row = db.execute("SELECT record FROM uploads WHERE id = ?", (upload_id,)).fetchone()
    return _upload(row[0]) if row else None


def read_many(
    db: sqlite3.Connection, number: int, start: str, stop: str, after: tuple[str, str], limit: int
) -> list[Upload]:
    rows = db.execute(
        "SELECT record FROM uploads WHERE bucket = ? AND key >= ? AND key < ?"
        " AND (key, id) > (?, ?) ORDER BY key, id LIMIT ?",
        (number, start, stop, *after, limit),
    ).fetchall()
    return [_upload(row[0]) for row in rows]


def read_parts(db: sqlite3.Connection, upload_id: str, after: int, limit: int) -> list[UploadPart]:
    rows = db.execute(
        "SELECT record FROM parts WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
        (upload_id, after, limit),
    ).fetchall()
    return [_part(row[0]) for row in rows]


def read_completed(db: sqlite3.Connection, upload_id: str) -> tuple[str, str, str, Stamp] | None:
    row = db.execute(
        "SELECT bucket, key, vid, stamp FROM completed WHERE upload = ?", (upload_id,)
    ).fetchone()
    return tuple(row) if row else None
