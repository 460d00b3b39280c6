"""Peers in the tables: who is paired, how far their feeds were taken, what of them is unfinished.

All of it is this DC's own business; nothing here travels.
"""

import sqlite3
from collections.abc import Sequence

import msgspec

from dc.names.api import NoSuchPeer, PeerExists, TokenUsed
from dc.names.model import Cursor, Extent, Inboxed, Peer
from dc.names.transaction import Transaction
from dc.rates import Terms

_decode = msgspec.msgpack.Decoder(Peer).decode
_extents = msgspec.json.Decoder(list[tuple[int, Extent]]).decode

_TAKE_IN = """
INSERT INTO inbox VALUES(?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET change = excluded.change,
    extents = iif(change = excluded.change, extents, excluded.extents),
    attempts = iif(change = excluded.change, attempts, excluded.attempts),
    error = iif(change = excluded.change, error, excluded.error),
    next_try_ms = excluded.next_try_ms, restoring = max(restoring, excluded.restoring)
"""
"""A change that is fetched again keeps what is here of its body."""
_INBOX = "SELECT peer, seq, change, extents, attempts, next_try_ms, error, restoring FROM inbox"


def load(db: sqlite3.Connection) -> list[Peer]:
    return [_decode(row[0]) for row in db.execute("SELECT record FROM peers ORDER BY name")]


def add(
    transaction: Transaction, peer: Peer, token_id: str, token_expires: int, now_ms: int
) -> None:
    db = transaction.db
    if token_id:
        db.execute("DELETE FROM used_tokens WHERE expires < ?", (now_ms // 1000 - 3600,))
        used = db.execute("SELECT peer FROM used_tokens WHERE id = ?", (token_id,)).fetchone()
        if used and used[0] != peer.dc_id:
            raise TokenUsed(token_id)
        if not used:
            db.execute(
                "INSERT INTO used_tokens VALUES(?, ?, ?)", (token_id, peer.dc_id, token_expires)
            )
    known = _read(db, peer.dc_id)
    if known is not None:
        peer = msgspec.structs.replace(peer, terms=known.terms)
    named = db.execute("SELECT dc_id FROM peers WHERE name = ?", (peer.name,)).fetchone()
    if named and named[0] != peer.dc_id:
        raise PeerExists(peer.name)
    db.execute(
        "INSERT OR REPLACE INTO peers VALUES(?, ?, ?)",
        (peer.dc_id, peer.name, msgspec.msgpack.encode(peer)),
    )
    transaction.peers = load(db)


def set_terms(transaction: Transaction, dc_id: str, terms: Terms) -> None:
    peer = _read(transaction.db, dc_id)
    if peer is None:
        raise NoSuchPeer(dc_id)
    record = msgspec.msgpack.encode(msgspec.structs.replace(peer, terms=terms))
    transaction.db.execute("UPDATE peers SET record = ? WHERE dc_id = ?", (record, dc_id))
    transaction.peers = load(transaction.db)


def _read(db: sqlite3.Connection, dc_id: str) -> Peer | None:
    row = db.execute("SELECT record FROM peers WHERE dc_id = ?", (dc_id,)).fetchone()
    return _decode(row[0]) if row else None


def remove(transaction: Transaction, dc_id: str) -> None:
    db = transaction.db
    if not db.execute("DELETE FROM peers WHERE dc_id = ?", (dc_id,)).rowcount:
        raise NoSuchPeer(dc_id)
    db.execute("DELETE FROM cursors WHERE peer = ?", (dc_id,))
    db.execute("DELETE FROM inbox WHERE peer = ?", (dc_id,))
    db.execute("DELETE FROM progress WHERE peer = ?", (dc_id,))
    db.execute("DELETE FROM exchanges WHERE peer = ?", (dc_id,))
    own = "(SELECT id FROM absences WHERE peer = ?)"
    db.execute(f"DELETE FROM unshipped WHERE absence IN {own}", (dc_id,))
    db.execute("DELETE FROM absences WHERE peer = ?", (dc_id,))
    # Nor may it come back with the token that once let it in.
    db.execute("UPDATE used_tokens SET peer = '' WHERE peer = ?", (dc_id,))
    transaction.peers = load(db)


def token_used(db: sqlite3.Connection, token_id: str) -> bool:
    found = db.execute("SELECT 1 FROM used_tokens WHERE id = ?", (token_id,)).fetchone()
    return found is not None


# -- cursor and inbox ---------------------------------------------------------------------------


def read_cursor(db: sqlite3.Connection, peer: str) -> Cursor | None:
    row = db.execute("SELECT epoch, seq, missed FROM cursors WHERE peer = ?", (peer,)).fetchone()
    return Cursor(row[0], row[1], bool(row[2])) if row else None


def advance(
    transaction: Transaction,
    peer: str,
    cursor: Cursor | None,
    inbox: Sequence[Inboxed],
    done: Sequence[int],
) -> None:
    """Move the cursor, fill and empty the inbox. A removed peer has neither any more."""
    db = transaction.db
    if not db.execute("SELECT 1 FROM peers WHERE dc_id = ?", (peer,)).fetchone():
        raise NoSuchPeer(peer)
    if cursor is not None:
        db.execute(
            "INSERT OR REPLACE INTO cursors VALUES(?, ?, ?, ?)",
            (peer, cursor.epoch, cursor.seq, cursor.missed),
        )
    rows = [_row(transaction, entry) for entry in inbox]
    db.executemany(_TAKE_IN, rows)
    db.executemany("DELETE FROM inbox WHERE peer = ? AND seq = ?", [(peer, seq) for seq in done])


def update_inbox(transaction: Transaction, entries: Sequence[Inboxed]) -> None:
    transaction.db.executemany(
        "UPDATE inbox SET change = ?3, extents = ?4, attempts = ?5, next_try_ms = ?6, error = ?7,"
        " restoring = ?8 WHERE peer = ?1 AND seq = ?2",
        [_row(transaction, entry) for entry in entries],
    )


def _row(
    transaction: Transaction, entry: Inboxed
) -> tuple[str, int, bytes, str, int, int, str, bool]:
    """Without the ranges that are in containers which were removed: those are fetched again."""
    pointed = transaction.pointed
    there = [one for one in entry.extents if not pointed.is_gone([one[1]])]
    pointed.note([extent for _, extent in there])
    extents = msgspec.json.encode(there).decode()
    return (
        entry.peer,
        entry.seq,
        entry.change,
        extents,
        entry.attempts,
        entry.next_try_ms,
        entry.error,
        entry.restoring,
    )


def read_inbox(
    db: sqlite3.Connection,
    peer: str,
    due_ms: int | None,
    after: int,
    limit: int,
    failing: bool = False,
) -> list[Inboxed]:
    if failing:
        rows = db.execute(
            f"{_INBOX} WHERE peer = ? AND seq > ? AND error != '' ORDER BY seq LIMIT ?",
            (peer, after, limit),
        )
    elif due_ms is None:
        rows = db.execute(
            f"{_INBOX} WHERE peer = ? AND seq > ? ORDER BY seq LIMIT ?", (peer, after, limit)
        )
    else:
        rows = db.execute(
            f"{_INBOX} WHERE peer = ? AND seq > ? AND next_try_ms <= ? ORDER BY seq LIMIT ?",
            (peer, after, due_ms, limit),
        )
    return [
        Inboxed(
            peer=row[0],
            seq=row[1],
            change=row[2],
            extents=_extents(row[3]),
            attempts=row[4],
            next_try_ms=row[5],
            error=row[6],
            restoring=bool(row[7]),
        )
        for row in rows.fetchall()
    ]


def inbox_open(
    db: sqlite3.Connection, peer: str, limit: int, failing_max: int
) -> tuple[list[int], list[tuple[int, str]], int]:
    """See `dc.names.api.Names.inbox_open`."""
    positions = db.execute(
        "SELECT seq FROM inbox WHERE peer = ? ORDER BY seq LIMIT ?", (peer, limit)
    ).fetchall()
    failing = db.execute(
        "SELECT seq, error FROM inbox WHERE peer = ? AND error != '' ORDER BY seq LIMIT ?",
        (peer, failing_max),
    ).fetchall()
    (count,) = db.execute(
        "SELECT count(*) FROM inbox WHERE peer = ? AND error != ''", (peer,)
    ).fetchone()
    return [seq for (seq,) in positions], failing, count


def inbox_state(db: sqlite3.Connection, peer: str) -> tuple[int, int]:
    count, lowest = db.execute(
        "SELECT count(*), coalesce(min(seq), 0) FROM inbox WHERE peer = ?", (peer,)
    ).fetchone()
    return count, lowest
