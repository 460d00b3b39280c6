"""What the notary's database holds: logs, their entries, tiles, checkpoints and timestamps.

The own log and the mirrors of others are in the same tables, each log by a number. `size` is how
many entries of a log are there; `sealed` is the size of the last checkpoint that was published of
it and that they give the root of. Of a mirror these are the same, but for what is to be cosigned
(`notary/ahead.py`): entries come together with the checkpoint that seals them. So between two
checkpoints there are no more than go together (`span`).

Functions take a connection, and run in a transaction of `Store.act`, or inside `Store.read`.
A row that peers copy has a `serial`, greater than that of all rows that were written before.
"""

from collections.abc import Iterable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

from dc.stamps import Stamp, stamp_origin
from notary import tree
from notary.entries import ENTRY_BYTES_MAX, WRITTEN, read_entry
from notary.errors import NotaryError
from notary.note import Checkpoint, origin_of, read_checkpoint
from notary.signers import SIGNER_BYTES, public_of

_READERS_TILES = 64
"""Tiles that are kept in memory while a proof is made."""
SPAN_ENTRIES = 10_000
SPAN_BYTES = 4 << 20
"""Under one checkpoint and not under the one before: what a mirror takes at once. An answer between
DCs has 16 MiB."""
OWN = 1
"""The number of the own log."""
SIGNERS_MAX = 64
"""Witnesses of one log. A note has 100 signatures at most."""
KINDS_MAX = 8
"""Of timestamps of one log. A certificate has one of each, and 8 MiB at most."""

ALARMS_MAX = 100
"""Of one log. Each is of something that was taken before: many take a log that goes on lying."""


class Log(NamedTuple):
    """A log, the own or a mirror."""

    number: int
    origin: str
    key: bytes
    """Its DC's public signing key."""
    size: int
    sealed: int


class Place(NamedTuple):
    """Where an entry is."""

    log: Log
    position: int

    @property
    def is_sealed(self) -> bool:
        """A published checkpoint covers it."""
        return self.position < self.log.sealed


class Timestamp(NamedTuple):
    """What a plug-in has got for a checkpoint."""

    kind: str
    size: int
    data: bytes
    signature: bytes
    """The log's, over `timestamp_text` (`notary/certificate.py`)."""


class Alarm(NamedTuple):
    """A log that said something else than before. `known` and `shown` are the two notes."""

    id: int
    time_ms: int
    origin: str
    reason: str
    text: str
    known: str
    shown: str


# -- logs ---------------------------------------------------------------------------------------

_LOG = "SELECT number, origin, key, size, sealed FROM logs"


def logs(db: Connection) -> list[Log]:
    """All of them; the own one is the first."""
    return [Log(*row) for row in db.execute(f"{_LOG} ORDER BY number")]


def log_of(db: Connection, origin: str) -> Log | None:
    row = db.execute(f"{_LOG} WHERE origin = ?", (origin,)).fetchone()
    return Log(*row) if row else None


def the_log(db: Connection, origin: str) -> Log:
    """A log that is there."""
    found = log_of(db, origin)
    assert found is not None
    return found


def begin_log(db: Connection, origin: str, key: bytes) -> Log:
    """The log; it is begun if it is not there. NotaryError when it is another DC's."""
    if log_of(db, origin) is None:
        db.execute("INSERT INTO logs(origin, key) VALUES(?, ?)", (origin, key))
    found = the_log(db, origin)
    if found.key != key:
        raise NotaryError(f"the log {origin} is signed with another key than before")
    return found


def is_used(db: Connection) -> bool:
    """Whether anything was ever notarized, as far as these tables tell."""
    row = db.execute(
        "SELECT EXISTS(SELECT 1 FROM logs WHERE size > 0) OR EXISTS(SELECT 1 FROM witnessed)"
    ).fetchone()
    return bool(row[0])


def tiles_of(db: Connection, log: int) -> tree.Reader:
    """Reads the tiles of a log, and keeps some for as long as it is used."""
    held: tree.Tiles = {}

    def read(level: int, number: int) -> bytes:
        found = held.get((level, number))
        if found is None:
            row = db.execute(
                "SELECT hashes FROM tiles WHERE log = ? AND level = ? AND number = ?",
                (log, level, number),
            ).fetchone()
            found = bytes(row[0]) if row else b""
            if len(held) >= _READERS_TILES:
                held.clear()
            held[level, number] = found
        return found

    return read


def append(db: Connection, log: Log, entries: Sequence[bytes]) -> Log:
    """Put entries behind those that are there."""
    rows = []
    for index, data in enumerate(entries, log.size):
        if len(data) > ENTRY_BYTES_MAX:
            raise NotaryError(
                f"entry {index} of {log.origin} has {len(data)} bytes, more than the"
                f" {ENTRY_BYTES_MAX} that can be served"
            )
        kind, stamp = _facts(data)
        rows.append((log.number, index, kind, stamp, data))
    db.executemany("INSERT INTO entries VALUES(?, ?, ?, ?, ?)", rows)
    hashes = [tree.leaf_hash(data) for data in entries]
    tiles = tree.grown(tiles_of(db, log.number), log.size, hashes)
    _put_tiles(db, log.number, tiles)
    size = log.size + len(entries)
    db.execute("UPDATE logs SET size = ? WHERE number = ?", (size, log.number))
    return log._replace(size=size)


def _facts(data: bytes) -> tuple[int, Stamp]:
    """What an entry is found by; one of a mirror that cannot be read is kept all the same."""
    try:
        entry = read_entry(data)
    except NotaryError:
        return -1, ""
    return entry.kind, entry.stamp


def _put_tiles(db: Connection, log: int, tiles: tree.Tiles) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO tiles VALUES(?, ?, ?, ?)",
        [(log, level, number, hashes) for (level, number), hashes in tiles.items()],
    )


def span(db: Connection, log: Log) -> int:
    """Up to which size the next checkpoint of the own log goes."""
    rows = db.execute(
        "SELECT length(data) FROM entries WHERE log = ? AND idx >= ? ORDER BY idx LIMIT ?",
        (log.number, log.sealed, SPAN_ENTRIES),
    )
    size, total = log.sealed, 0
    for (length,) in rows:
        total += length
        if total > SPAN_BYTES and size > log.sealed:
            break
        size += 1
    return size


def page(db: Connection, log: int, first: int, stop: int) -> list[bytes]:
    """The entries [first, stop) that there are."""
    rows = db.execute(
        "SELECT data FROM entries WHERE log = ? AND idx >= ? AND idx < ? ORDER BY idx",
        (log, first, stop),
    )
    return [bytes(row[0]) for row in rows]


def place_of(db: Connection, stamp: Stamp, kind: int = WRITTEN) -> Place | None:
    """Where the entry of a write is: in the log of the DC that made it. With another `kind` in any
    log."""
    query, facts = "SELECT log, idx FROM entries WHERE stamp = ? AND kind = ?", [stamp, kind]
    if kind == WRITTEN:
        own = log_of(db, origin_of(stamp_origin(stamp)))
        if own is None:
            return None
        query, facts = f"{query} AND log = ?", [*facts, own.number]
    row = db.execute(f"{query} LIMIT 1", facts).fetchone()
    if row is None:
        return None
    return Place(Log(*db.execute(f"{_LOG} WHERE number = ?", row[:1]).fetchone()), row[1])


def known(db: Connection, log: int, writes: Iterable[tuple[Stamp, int]]) -> set[tuple[Stamp, int]]:
    """Those of (stamp, kind) that a log has entries of."""
    return {
        one
        for one in writes
        if db.execute(
            "SELECT 1 FROM entries WHERE stamp = ? AND kind = ? AND log = ?", (*one, log)
        ).fetchone()
    }


def fact(db: Connection, name: str) -> str:
    """A text that is kept by a name; "" when there is none."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return str(row[0]) if row else ""


def set_fact(db: Connection, name: str, value: str) -> None:
    db.execute("INSERT OR REPLACE INTO facts VALUES(?, ?)", (name, value))


# -- checkpoints --------------------------------------------------------------------------------


def next_serial(db: Connection) -> int:
    serial = int(fact(db, "serial") or 0) + 1
    set_fact(db, "serial", str(serial))
    return serial


def raise_serial(db: Connection, now_ms: int) -> None:
    """Let the next serials be later than those that a database had which was put back since: a
    row takes longer than a millisecond."""
    if int(fact(db, "serial") or 0) < now_ms:
        set_fact(db, "serial", str(now_ms))


def put_checkpoint(db: Connection, log: Log, checkpoint: Checkpoint) -> Log:
    """Publish a checkpoint that the entries give the root of, or one of that size with further
    signatures."""
    held = checkpoint_at(db, log.number, checkpoint.size)
    checkpoint = (held or checkpoint).with_signatures(checkpoint.signatures)
    if checkpoint == held:
        return log
    db.execute(
        "INSERT OR REPLACE INTO checkpoints VALUES(?, ?, ?, ?, ?)",
        (
            log.number,
            checkpoint.size,
            next_serial(db),
            len(checkpoint.witnesses),
            str(checkpoint),
        ),
    )
    sealed = max(log.sealed, checkpoint.size)
    db.execute("UPDATE logs SET sealed = ? WHERE number = ?", (sealed, log.number))
    return log._replace(sealed=sealed)


def checkpoint_at(db: Connection, log: int, size: int) -> Checkpoint | None:
    row = db.execute(
        "SELECT note FROM checkpoints WHERE log = ? AND size = ?", (log, size)
    ).fetchone()
    return read_checkpoint(row[0]) if row else None


def checkpoints_over(db: Connection, log: int, size: int, limit: int) -> list[Checkpoint]:
    """Of larger trees, the smallest first."""
    rows = db.execute(
        "SELECT note FROM checkpoints WHERE log = ? AND size > ? ORDER BY size LIMIT ?",
        (log, size, limit),
    )
    return [read_checkpoint(row[0]) for row in rows]


def signers(db: Connection, log: int) -> list[bytes]:
    """Of the witnesses of a log (`notary/signers.py`)."""
    rows = db.execute(
        "SELECT key FROM signers WHERE log = ? AND length(key) = ? ORDER BY key",
        (log, SIGNER_BYTES),
    )
    return [bytes(row[0]) for row in rows]


def put_signers(db: Connection, log: int, some: Iterable[bytes]) -> None:
    there = signers(db, log)
    keys = set(map(public_of, there))
    new = [one for one in some if public_of(one) not in keys]
    db.executemany(
        "INSERT INTO signers VALUES(?, ?)",
        [(log, one) for one in new[: SIGNERS_MAX - len(there)]],
    )


def best_checkpoint(db: Connection, log: int, index: int) -> Checkpoint | None:
    """The earliest of those over an entry that most witnesses have signed."""
    most = 1 << 30
    while True:
        row = db.execute(
            "SELECT max(witnesses) FROM checkpoints WHERE log = ? AND witnesses < ?", (log, most)
        ).fetchone()
        if row[0] is None:
            return None
        most = row[0]
        found = db.execute(
            "SELECT note FROM checkpoints WHERE log = ? AND witnesses = ? AND size > ?"
            " ORDER BY size LIMIT 1",
            (log, most, index),
        ).fetchone()
        if found:
            return read_checkpoint(found[0])


# -- timestamps ---------------------------------------------------------------------------------


def put_timestamp(
    db: Connection, log: int, timestamp: Timestamp, *, is_better: bool = True
) -> None:
    """In place of one of that kind for that checkpoint, if it is another and `is_better`. One of a
    kind too many is left out."""
    kind, size, data, signature = timestamp
    kinds = _kinds(db, log)
    if kind not in kinds and len(kinds) >= KINDS_MAX:
        return
    row = db.execute(
        "SELECT data FROM timestamps WHERE log = ? AND kind = ? AND size = ?", (log, kind, size)
    ).fetchone()
    if row is None or (is_better and bytes(row[0]) != data):
        db.execute(
            "INSERT OR REPLACE INTO timestamps(log, kind, size, serial, data, signature)"
            " VALUES(?, ?, ?, ?, ?, ?)",
            (log, kind, size, next_serial(db), data, signature),
        )


def first_timestamps(db: Connection, log: int, index: int) -> list[Timestamp]:
    """Of each kind the one for the earliest checkpoint over an entry."""
    found = []
    for kind in _kinds(db, log):
        row = db.execute(
            "SELECT kind, size, data, signature FROM timestamps"
            " WHERE log = ? AND kind = ? AND size > ? ORDER BY size LIMIT 1",
            (log, kind, index),
        ).fetchone()
        if row:
            found.append(Timestamp(row[0], row[1], bytes(row[2]), bytes(row[3])))
    return found


def _kinds(db: Connection, log: int) -> list[str]:
    """The kinds of a log's timestamps, in their order: each by a look of its own, as there may be
    any number of timestamps."""
    found = [""]
    while len(found) <= KINDS_MAX:
        row = db.execute(
            "SELECT kind FROM timestamps WHERE log = ? AND kind > ? ORDER BY kind LIMIT 1",
            (log, found[-1]),
        ).fetchone()
        if row is None:
            break
        found.append(row[0])
    return found[1:]


def set_final(db: Connection, log: int, kind: str, size: int) -> None:
    """Of a timestamp no better one will be had."""
    db.execute(
        "UPDATE timestamps SET final = 1 WHERE log = ? AND kind = ? AND size = ?", (log, kind, size)
    )


def open_timestamps(
    db: Connection, log: int, kind: str, size: int, limit: int
) -> list[tuple[Checkpoint, bytes]]:
    """Those of one kind that are not known to be final, of checkpoints larger than `size`, with
    these, the oldest first."""
    rows = db.execute(
        "SELECT note, data FROM timestamps JOIN checkpoints USING(log, size)"
        " WHERE log = ? AND kind = ? AND size > ? AND NOT final ORDER BY size LIMIT ?",
        (log, kind, size, limit),
    ).fetchall()
    return [(read_checkpoint(note), bytes(data)) for note, data in rows]


def rows_after(
    db: Connection, log: int, serial: int, limit: int
) -> list[tuple[int, str | Timestamp]]:
    """Checkpoints (their notes) and timestamps with later serials, in the order of these."""
    notes = db.execute(
        "SELECT serial, note FROM checkpoints WHERE log = ? AND serial > ? ORDER BY serial LIMIT ?",
        (log, serial, limit),
    ).fetchall()
    others = db.execute(
        "SELECT serial, kind, size, data, signature FROM timestamps"
        " WHERE log = ? AND serial > ? ORDER BY serial LIMIT ?",
        (log, serial, limit),
    ).fetchall()
    rows: list[tuple[int, str | Timestamp]] = list(notes)
    rows += [(row[0], Timestamp(row[1], row[2], bytes(row[3]), bytes(row[4]))) for row in others]
    return sorted(rows, key=lambda row: row[0])[:limit]


def last_serial(db: Connection, log: int) -> int:
    """Of all rows of a log."""
    row = db.execute(
        "SELECT max((SELECT coalesce(max(serial), 0) FROM checkpoints WHERE log = ?1),"
        " (SELECT coalesce(max(serial), 0) FROM timestamps WHERE log = ?1))",
        (log,),
    ).fetchone()
    return int(row[0])


def mirrored(db: Connection, log: int, peer: str) -> int:
    """The serial up to which a peer's rows of a log were taken."""
    row = db.execute(
        "SELECT serial FROM mirrors WHERE log = ? AND peer = ?", (log, peer)
    ).fetchone()
    return int(row[0]) if row else 0


def set_mirrored(db: Connection, log: int, peer: str, serial: int) -> None:
    db.execute("INSERT OR REPLACE INTO mirrors VALUES(?, ?, ?)", (log, peer, serial))


# -- witnessing, alarms ------------------------------------------------------------------------


def witnessed(db: Connection, origin: str) -> Checkpoint | None:
    """The checkpoint of a log that was cosigned last."""
    row = db.execute("SELECT note FROM witnessed WHERE origin = ?", (origin,)).fetchone()
    return read_checkpoint(row[0]) if row else None


def all_witnessed(db: Connection) -> list[tuple[str, str]]:
    """(origin, note) of each log that was ever cosigned."""
    return db.execute("SELECT origin, note FROM witnessed").fetchall()


def set_witnessed(db: Connection, checkpoint: Checkpoint) -> None:
    db.execute(
        "INSERT OR REPLACE INTO witnessed VALUES(?, ?, ?)",
        (checkpoint.origin, checkpoint.size, str(checkpoint)),
    )


def alarm(
    db: Connection, now_ms: int, origin: str, reason: str, text: str, known: str, shown: str
) -> bool:
    """Note that a log said something else than before; whether that is news. Of what it said before
    one is enough until it is forgotten: each further checkpoint contradicts the same."""
    count, is_known = db.execute(
        "SELECT count(*), total(reason = ? AND known = ?) FROM alarms WHERE origin = ?",
        (reason, known, origin),
    ).fetchone()
    if is_known or count >= ALARMS_MAX:
        return False
    db.execute(
        "INSERT INTO alarms(time_ms, origin, reason, text, known, shown) VALUES(?, ?, ?, ?, ?, ?)",
        (now_ms, origin, reason, text, known, shown),
    )
    return True


def alarms(db: Connection) -> list[Alarm]:
    return [Alarm(*row) for row in db.execute("SELECT * FROM alarms ORDER BY id")]


def forget_alarm(db: Connection, number: int) -> bool:
    return db.execute("DELETE FROM alarms WHERE id = ?", (number,)).rowcount > 0
