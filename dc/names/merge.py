"""How versions, tombstones and conflicts enter the tables: many at a time, by one rule.

`docs/convergence.md` has the rule; `_decide` is it. A group of records costs one query for what is
there of their items, a decision for each, and a fixed handful of statements for what is to change.
Both ways the data is one JSON text. Why not a statement per record: Python's sqlite3 gives up the
interpreter lock around every statement and must get it back from the busy event loop afterwards; a
handful per group keeps the writer's thread out of the loop's way, on the other core.

Records of one item in one group are merged one after the other, in rounds: each sees what the one
before has left.

A loser whose bytes other DCs hold (`dc/placement.py`) is kept by those, if nobody who had seen it
has replaced it there. Kept here too, it might be kept though nobody has its bytes.

A record made here (`local`) gets its `seen` here, from the state that it replaces.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec

from dc.names import conflicts
from dc.names.api import BytesMissing
from dc.names.attributes import join_of_version
from dc.names.elsewhere import same_bytes
from dc.names.kinds import TOMBSTONE
from dc.names.model import Conflict, Kind, Registers, Tombstone, Version
from dc.names.notary_outbox import REMOVED, Noted, note, written
from dc.names.rows import read_version
from dc.names.seen import INFERRED, history, saw
from dc.names.transaction import Item, Transaction
from dc.names.trees import delta, item_hash
from dc.notary import is_notarized
from dc.placement import is_elsewhere
from dc.stamps import Stamp, stamp_after

_encode = msgspec.json.Encoder().encode

_OLD = """
SELECT group_concat('[' || j.key || ',' || o.seq || ',"' || o.stamp || '","' || o.seen || '",'
    || o.kind || ',"' || o.leaf || '",' || o.registers || {absent} || ']')
FROM json_each(?1) j CROSS JOIN {table} o
ON o.bucket = j.value->>0 AND o.key = j.value->>1 AND o.{item}
"""
_OF_VERSIONS = _OLD.format(
    table="versions",
    item="vid = j.value->>2",
    absent="iif(substr(o.extents, 1, 4) = '[[0,', ',true', '')",
)
_OF_TOMBSTONES = f"""
SELECT group_concat('[' || j.key || ',' || t.seq || ',"' || t.stamp || '","' || t.seen || '",'
    || {TOMBSTONE} || ',"",null]')
FROM json_each(?1) j CROSS JOIN tombstones t
ON t.bucket = j.value->>0 AND t.key = j.value->>1 AND t.vid = j.value->>2
"""
_OF_CONFLICTS = """
SELECT group_concat('[' || j.key || ',"' || c.stamp || '","' || c.seen || '"]')
FROM json_each(?1) j CROSS JOIN conflicts c
ON c.bucket = j.value->>0 AND c.key = j.value->>1 AND c.vid = j.value->>2
"""
# One row: each row costs the interpreter lock once more.
_WHAT_IS_THERE = f"SELECT ({_OF_TOMBSTONES}), ({_OF_CONFLICTS}), ({_OF_VERSIONS})"
_PUT_VERSIONS = """
INSERT OR REPLACE INTO versions(bucket, key, vid, stamp, kind, size, etag, meta, seen, registers,
    extents, leaf, seq)
SELECT j.value->>0, j.value->>1, j.value->>2, j.value->>3, j.value->>4, j.value->>5, j.value->>6,
    j.value->>7, j.value->>8, j.value->>9, j.value->>10, j.value->>11, ?2 + j.key
FROM json_each(?1) j
"""
_PUT_TOMBSTONES = """
INSERT OR REPLACE INTO tombstones(bucket, key, vid, stamp, seen, seq)
SELECT j.value->>0, j.value->>1, j.value->>2, j.value->>3, j.value->>4, ?2 + j.key
FROM json_each(?1) j
"""
_FEED = """
INSERT INTO feed SELECT ?2 + j.key, j.value->>0, j.value->>1, j.value->>2, j.value->>3
FROM json_each(?1) j
"""
_DROP_NULL = """
DELETE FROM {table} WHERE bucket = ? AND vid = '' AND key IN (SELECT value FROM json_each(?))
"""
_UNFEED = "DELETE FROM feed WHERE seq IN (SELECT value FROM json_each(?1))"


class Record(NamedTuple):
    """A version or tombstone on its way into the tables."""

    number: int
    change: Version | Tombstone
    row: bytes
    """A version as the JSON array of the columns in `_PUT_VERSIONS`, without `seq`."""
    hash: str

    @property
    def item(self) -> Item:
        return (self.number, self.change.key, self.change.vid)


class _Old(msgspec.Struct, array_like=True, frozen=True):
    """What is there of an item: a version or a tombstone."""

    place: int
    seq: int
    stamp: Stamp
    seen: str
    kind: int
    leaf: str
    registers: Registers | None
    absent: bool = False
    """Its bytes are in other DCs."""


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    """A conflict of an item."""

    place: int
    stamp: Stamp
    seen: str


_decode_old = msgspec.json.Decoder(list[_Old]).decode
_decode_kept = msgspec.json.Decoder(list[_Kept]).decode


def record(number: int, change: Version | Tombstone) -> Record:
    """The record of a change in the bucket with that number."""
    if isinstance(change, Tombstone):
        return Record(number, change, b"", "")
    content = (
        change.key,
        change.vid,
        change.stamp,
        change.kind,
        change.size,
        change.etag,
        change.meta,
        change.seen,
        change.registers,
    )
    leaf = item_hash(content)
    row = _encode((number, *content, change.extents, leaf))
    return Record(number, change, row, leaf)


def merge(
    transaction: Transaction,
    records: Sequence[Record],
    *,
    local: bool,
    restoring: bool = False,
    again: bool = False,
) -> None:
    """Merge records inside the open transaction. `local`: they are made here and now. `restoring`:
    what is not here is taken, whatever is covered: it was lost, not deleted; and a version that has
    other content here is damaged, and replaced. `again`: they were made here before, and others may
    have had them since."""
    for some in _rounds(records):
        _merge_round(transaction, some, local=local, restoring=restoring, again=again)
    transaction.items += [one.item for one in records]


def _rounds(records: Sequence[Record]) -> Iterable[Sequence[Record]]:
    """The records in groups with one of each item."""
    if len({one.item for one in records}) == len(records):
        return [records] if records else []
    rounds: list[dict[Item, Record]] = []
    for one in records:
        for some in rounds:
            if one.item not in some:
                some[one.item] = one
                break
        else:
            rounds.append({one.item: one})
    return [list(some.values()) for some in rounds]


class Verdict(IntEnum):
    """What becomes of a record."""

    WINS = 0
    LOSES = 1
    JOINS = 2
    """It is the write that is here already; its registers may be later."""


def _merge_round(
    transaction: Transaction,
    records: Sequence[Record],
    *,
    local: bool,
    restoring: bool,
    again: bool,
) -> None:
    old, kept = _read(transaction, records)
    if local:
        _note(transaction, records, old, is_certain=not again)
    winners: list[Record] = []
    unheard: list[_Old] = []
    replaced: list[tuple[Record, _Old]] = []
    for place, new in enumerate(records):
        there, conflicting = old.get(place), kept.get(place, ())
        if local:
            new = _with_seen(transaction, new, there, conflicting)
        elif there is None and not restoring:
            new = _unless_deleted(transaction, new)
        if there is None:
            winners.append(_with_bytes(new))
            continue
        verdict, concurrent = _decide(new.change, there)
        if verdict == Verdict.JOINS:
            # Bytes that are here are not given up for a record of who has none.
            whole = restoring and (there.absent or not _is_absent(new))
            joined = (_replaced if whole else _joined)(transaction, new, there)
            if joined is not None:
                winners.append(joined)
                replaced.append((joined, there))
        elif verdict == Verdict.WINS:
            if concurrent and there.kind == Kind.OBJECT and not there.absent:
                conflicts.keep_current(transaction, new.number, new.change)
            winners.append(_with_bytes(new))
            replaced.append((new, there))
        else:
            if there.kind == TOMBSTONE and isinstance(new.change, Version) and not local:
                unheard.append(there)
            if concurrent and (local or restoring or not transaction.covers(new.change.stamp)):
                _keep(transaction, new, there.stamp)
    if winners:
        _write(transaction, winners, replaced)
    for tombstone in unheard:
        _tell_again(transaction, tombstone.seq)


def _note(
    transaction: Transaction,
    records: Sequence[Record],
    old: dict[int, _Old],
    *,
    is_certain: bool,
) -> None:
    """Leave to the notary what is made here: of versions that are notarized, and of what takes the
    place of such a one. `is_certain`: as of `written`."""
    noted: list[Noted] = []
    for place, new in enumerate(records):
        change, there = new.change, old.get(place)
        if there is not None and is_notarized(there.registers) and _replaces(change, there):
            gone = Noted(
                type=REMOVED,
                bucket=change.bucket,
                at=change.stamp,
                stamp=there.stamp,
                key=change.key,
                vid=change.vid,
            )
            noted.append(gone)
        if isinstance(change, Version):
            one = written(change, is_certain=is_certain)
            noted += [] if one is None else [one]
    if noted:
        note(transaction, noted)


def _replaces(new: Version | Tombstone, there: _Old) -> bool:
    return there.kind == Kind.OBJECT and _decide(new, there)[0] == Verdict.WINS


def _is_absent(new: Record) -> bool:
    return isinstance(new.change, Version) and is_elsewhere(new.change.extents)


def _with_bytes(new: Record) -> Record:
    """The record, unless it is a version whose bytes are not here: BytesMissing."""
    if isinstance(new.change, Version) and new.change.size and not new.change.extents:
        raise BytesMissing(f"the bytes of {new.change.key!r} are not here")
    return new


def _keep(transaction: Transaction, new: Record, winner: Stamp) -> None:
    """Keep an object that loses; one without bytes comes again, with them, as a conflict."""
    lost = new.change
    if isinstance(lost, Tombstone) or lost.kind != Kind.OBJECT:
        return
    if lost.size and (not lost.extents or is_elsewhere(lost.extents)):
        return
    conflicts.merge_conflict(transaction, new.number, Conflict(loser=lost, winner=winner))


def _read(
    transaction: Transaction, records: Sequence[Record]
) -> tuple[dict[int, _Old], dict[int, list[_Kept]]]:
    """What is there of each record's item, and its conflicts, by the record's place."""
    items = _encode([one.item for one in records])
    tombstones, kept, versions = transaction.db.execute(_WHAT_IS_THERE, (items,)).fetchone()
    old: dict[int, _Old] = {}
    for text in (tombstones, versions):
        if text:
            old.update((one.place, one) for one in _decode_old(f"[{text}]"))
    conflicting: dict[int, list[_Kept]] = {}
    for one in _decode_kept(f"[{kept}]") if kept else ():
        conflicting.setdefault(one.place, []).append(one)
    return old, conflicting


def _decide(new: Version | Tombstone, old: _Old) -> tuple[Verdict, bool]:
    """The rule for two records of one item, and whether neither had seen the other."""
    is_tombstone, was_tombstone = isinstance(new, Tombstone), old.kind == TOMBSTONE
    if new.vid and is_tombstone != was_tombstone:
        # A version id is never written again: its deletion counts whenever it comes.
        seen = new.seen if is_tombstone else old.seen
        return (Verdict.WINS if is_tombstone else Verdict.LOSES), seen == INFERRED
    if new.stamp == old.stamp:
        if is_tombstone or was_tombstone:
            return (Verdict.WINS if was_tombstone and not is_tombstone else Verdict.LOSES), False
        return Verdict.JOINS, False
    concurrent = not (saw(new.stamp, new.seen, old.stamp) or saw(old.stamp, old.seen, new.stamp))
    return (Verdict.WINS if new.stamp > old.stamp else Verdict.LOSES), concurrent


def _with_seen(
    transaction: Transaction, new: Record, there: _Old | None, conflicting: Sequence[_Kept]
) -> Record:
    """The record of a write made here, with what it has seen."""
    if new.change.vid or (there is None and not conflicting):
        return new
    writes = [(one.stamp, one.seen) for one in conflicting]
    if there is not None:
        if there.stamp > new.change.stamp:
            # It lost a race with a replica, after its stamp was taken: it has not seen that.
            return new
        writes.append((there.stamp, there.seen))
    seen = history(transaction.dc_id, writes)
    return record(new.number, msgspec.structs.replace(new.change, seen=seen)) if seen else new


def _unless_deleted(transaction: Transaction, new: Record) -> Record:
    """A version that is not here though it must have been was deleted, and its tombstone
    collected: the record is its tombstone, then. That it is here as a conflict changes nothing:
    what it lost to was deleted."""
    change = new.change
    if isinstance(change, Tombstone) or not transaction.covers(change.stamp):
        return new
    gone = concluded(change.bucket, change.key, change.vid, change.stamp, transaction.dc_id)
    return record(new.number, gone)


def concluded(bucket: str, key: str, vid: str, stamp: Stamp, dc_id: str) -> Tombstone:
    """The tombstone of a version with that stamp of which this DC, `dc_id`, concludes that it was
    deleted: of the first moment after it, in this DC's name."""
    after = stamp_after(stamp, dc_id)
    return Tombstone(bucket=bucket, key=key, vid=vid, stamp=after, seen=INFERRED)


def _joined(transaction: Transaction, new: Record, old: _Old) -> Record | None:
    """The version that is here with the registers of both; None when they are what they were."""
    assert isinstance(new.change, Version)
    registers = join_of_version(old.registers or {}, new.change.registers, old.stamp)
    change = new.change
    if old.absent:
        _fill(transaction, new.number, change)
    if registers == old.registers:
        return None
    here = read_version(transaction.db, new.number, change.key, change.vid, change.bucket)
    assert here is not None
    return record(new.number, msgspec.structs.replace(here, registers=registers))


def _replaced(transaction: Transaction, new: Record, old: _Old) -> Record | None:
    """The record that comes, with the registers of both; None when that is what is here."""
    assert isinstance(new.change, Version)
    registers = join_of_version(old.registers or {}, new.change.registers, old.stamp)
    again = record(new.number, msgspec.structs.replace(new.change, registers=registers))
    if old.absent and again.hash == old.leaf:
        _fill(transaction, new.number, new.change)
    return None if again.hash == old.leaf else _with_bytes(again)


def _fill(transaction: Transaction, number: int, change: Version) -> None:
    """Note where the bytes of a write are that were not here until now. It is no change: other DCs
    see nothing of it."""
    here = read_version(transaction.db, number, change.key, change.vid, change.bucket)
    assert here is not None
    if same_bytes(here, change):
        transaction.pointed.note(change.extents)
        transaction.db.execute(
            "UPDATE versions SET extents = ? WHERE bucket = ? AND key = ? AND vid = ?",
            (_encode(change.extents).decode(), number, change.key, change.vid),
        )


def _write(
    transaction: Transaction,
    winners: Sequence[Record],
    replaced: Sequence[tuple[Record, _Old]],
) -> None:
    db = transaction.db
    if replaced:
        db.execute(_UNFEED, (_encode([old.seq for _, old in replaced]),))
        _drop_other_kind(transaction, replaced)
    versions = [one for one in winners if isinstance(one.change, Version)]
    tombstones = [one for one in winners if isinstance(one.change, Tombstone)]
    first = transaction.seq + 1
    transaction.seq += len(winners)
    for one in versions:
        transaction.pointed.note(one.change.extents)  # type: ignore[union-attr]
    if versions:
        db.execute(_PUT_VERSIONS, (b"[%b]" % b",".join([one.row for one in versions]), first))
    if tombstones:
        rows = [(*one.item, one.change.stamp, one.change.seen) for one in tombstones]
        db.execute(_PUT_TOMBSTONES, (_encode(rows), first + len(versions)))
    feed = [(int(one.change.kind), *one.item) for one in versions]  # type: ignore[union-attr]
    feed += [(TOMBSTONE, *one.item) for one in tombstones]
    db.execute(_FEED, (_encode(feed), first))
    old_hashes = {one.item: old.leaf for one, old in replaced}
    for one in winners:
        old = old_hashes.get(one.item, "")
        if old or one.hash:
            transaction.deltas.append(delta(one.number, one.change.key, old, one.hash))


def _tell_again(transaction: Transaction, old_seq: int) -> None:
    """Give a tombstone a new place in the feed: who sent what it beats does not have it, and may
    be the very DC that made it, and has collected it."""
    db = transaction.db
    bucket, key, vid = db.execute(
        "SELECT bucket, key, vid FROM feed WHERE seq = ?", (old_seq,)
    ).fetchone()
    seq = transaction.take_seq()
    db.execute("UPDATE feed SET seq = ? WHERE seq = ?", (seq, old_seq))
    db.execute(
        "UPDATE tombstones SET seq = ?, again = 1 WHERE bucket = ? AND key = ? AND vid = ?",
        (seq, bucket, key, vid),
    )


def _drop_other_kind(transaction: Transaction, replaced: Sequence[tuple[Record, _Old]]) -> None:
    """Take tombstones out whose place a version takes, and the other way round."""
    for table, tombstones in (("tombstones", True), ("versions", False)):
        null: dict[int, list[str]] = {}
        others: list[Item] = []
        for new, old in replaced:
            if (old.kind == TOMBSTONE) != tombstones:
                continue
            if isinstance(new.change, Tombstone) == tombstones:
                continue
            if new.change.vid:
                others.append(new.item)
            else:
                null.setdefault(new.number, []).append(new.change.key)
        for number, keys in null.items():
            transaction.db.execute(_DROP_NULL.format(table=table), (number, _encode(keys)))
        transaction.db.executemany(
            f"DELETE FROM {table} WHERE bucket = ? AND key = ? AND vid = ?", others
        )
