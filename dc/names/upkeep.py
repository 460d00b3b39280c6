"""What is done now and then: remembering what is known, and collecting tombstones.

One transaction a few times a minute. What it stores (coverage, how far the peers are) may be older
than what is true, never newer; a tombstone is collected in the transaction that stores the coverage
which allows it, so that after a crash nothing that the tombstone beat is taken as new.
"""

import sqlite3

from dc.names import conflicts, coverage
from dc.names.knowledge import Chores
from dc.names.model import Progress
from dc.names.transaction import Transaction
from dc.stamps import version_stamp

COLLECTED_AT_ONCE = 5_000
EXPIRED_AT_ONCE = 500
EPOCHS_MAX = 10_000

_COLLECTABLE = """
SELECT t.bucket, t.key, t.vid, t.seq FROM
(SELECT * FROM feed WHERE kind = 2 AND seq <= ?1 ORDER BY seq LIMIT ?3) due
CROSS JOIN tombstones t ON t.bucket = due.bucket AND t.key = due.key AND t.vid = due.vid
WHERE t.stamp <= ?2
"""


def work(transaction: Transaction, chores: Chores) -> bool:
    """One round; whether there is more to do at once."""
    db = transaction.db
    coverage.store(db, chores.intervals)
    # What is not known any more must not be taken for known after a crash.
    db.execute("DELETE FROM progress")
    db.executemany(
        "INSERT OR REPLACE INTO progress SELECT ?1, ?2, ?3, ?4"
        " WHERE EXISTS(SELECT 1 FROM peers WHERE dc_id = ?1)",
        [(one.peer, one.epoch, one.acked, one.heard_ms) for one in chores.progress],
    )
    expired = conflicts.expire(transaction, chores.conflicts_before, EXPIRED_AT_ONCE)
    collected = 0
    if chores.acked and chores.stable:
        collected = _collect(transaction, chores)
    return expired == EXPIRED_AT_ONCE or collected >= COLLECTED_AT_ONCE


def _collect(transaction: Transaction, chores: Chores) -> int:
    """Take out tombstones that have nothing left to do, and what is left of settled conflicts; how
    many."""
    db = transaction.db
    rows = [
        row
        for row in db.execute(_COLLECTABLE, (chores.acked, chores.stable, COLLECTED_AT_ONCE))
        # A version with an id may have been made later than it was deleted, by clocks that differ.
        if not row[2] or version_stamp(row[2]) <= chores.stable
    ]
    db.executemany(
        "DELETE FROM tombstones WHERE bucket = ? AND key = ? AND vid = ?",
        [row[:3] for row in rows],
    )
    settled = db.execute(
        "SELECT bucket, key, stamp, seq FROM conflicts WHERE gone AND seq <= ? AND winner <= ?"
        " LIMIT ?",
        (chores.acked, chores.stable, COLLECTED_AT_ONCE),
    ).fetchall()
    db.executemany(
        "DELETE FROM conflicts WHERE bucket = ? AND key = ? AND stamp = ?",
        [row[:3] for row in settled],
    )
    gone = [row[3] for row in rows + settled]
    db.executemany("DELETE FROM feed WHERE seq = ?", [(seq,) for seq in gone])
    if gone:
        transaction.horizon = max(gone)
        db.execute(
            "INSERT INTO facts VALUES('horizon', ?1) ON CONFLICT(name) DO UPDATE"
            " SET value = max(CAST(value AS INTEGER), ?1)",
            (transaction.horizon,),
        )
    return len(gone)


# -- at start -----------------------------------------------------------------------------------


def begin_epoch(db: sqlite3.Connection, epoch: str, first: int) -> None:
    """A new epoch, whose first position is `first`."""
    db.execute("INSERT INTO epochs VALUES(?, ?)", (first, epoch))
    db.execute(
        "DELETE FROM epochs WHERE rowid <= (SELECT max(rowid) FROM epochs) - ?", (EPOCHS_MAX,)
    )


def load_epochs(db: sqlite3.Connection) -> list[tuple[str, int]]:
    """(id, first position) of all epochs, in their order."""
    return db.execute("SELECT id, first FROM epochs ORDER BY rowid").fetchall()


def load_progress(db: sqlite3.Connection) -> dict[str, Progress]:
    rows = db.execute("SELECT peer, epoch, acked, heard_ms FROM progress").fetchall()
    return {
        peer: Progress(peer=peer, epoch=epoch, acked=acked, heard_ms=heard)
        for peer, epoch, acked, heard in rows
    }
