"""Writes that depend on what is there: conditions, and locks.

They are looked at inside the writer's transaction that makes the write, so nothing can come in
between. A write without a condition takes the short way (`Writer.records`) and costs nothing more.
"""

from collections.abc import Sequence

import msgspec

from dc.names import locks, outbox, registers
from dc.names.errors import NamesError, NoSuchVersion, NothingToMatch, PreconditionFailed
from dc.names.merge import Record, merge
from dc.names.model import Condition, Event, Kind, Registers, Removal, Tombstone
from dc.names.transaction import Transaction
from dc.stamps import Stamp, stamp_ms

_FOUND = """'[' || v.kind || ',"' || v.stamp || '",' || v.size || ',"' || v.etag || '",'
    || v.registers || ']'"""
_THERE = f"""
SELECT group_concat(coalesce((
    SELECT row FROM (
        SELECT v.stamp AS stamp, {_FOUND} AS row FROM versions v
        WHERE v.bucket = j.value->>0 AND v.key = j.value->>1 AND j.value->>2 IS NULL
        ORDER BY v.vid LIMIT 2
    ) ORDER BY stamp DESC LIMIT 1
), (
    SELECT {_FOUND} FROM versions v
    WHERE v.bucket = j.value->>0 AND v.key = j.value->>1 AND v.vid = j.value->>2
), 'null')) FROM json_each(?1) j
"""
_TOMBSTONE = "SELECT 1 FROM tombstones WHERE bucket = ? AND key = ? AND vid = ?"


class _There(msgspec.Struct, array_like=True, frozen=True):
    """What is there of a version."""

    kind: Kind
    stamp: Stamp
    size: int
    etag: str
    registers: Registers


_decode = msgspec.json.Decoder(list[_There | None]).decode
_encode = msgspec.json.Encoder().encode
_Asked = tuple[int, str, str | None]
"""(bucket number, key, vid or None for the current version)"""
Outcome = Kind | NamesError | None
"""What became of a removal: the kind of the version that it took away, None when it took none, or
why it was not made."""


def put(transaction: Transaction, record: Record, condition: Condition) -> None:
    """Merge a version if the current one is as it must be. PreconditionFailed, NothingToMatch."""
    registers.require_live(transaction, record.number)
    check_current(transaction, record.number, record.change.key, condition)
    merge(transaction, [record], local=True)


def check_current(transaction: Transaction, number: int, key: str, condition: Condition) -> None:
    """Look at the current version; a delete marker is nothing. PreconditionFailed,
    NothingToMatch."""
    there = _read(transaction, [(number, key, None)])[0]
    _check(condition, None if there is None or there.kind is not Kind.OBJECT else there)


def remove(
    transaction: Transaction, asked: Sequence[tuple[Record, Removal]], now_ms: int
) -> list[Outcome]:
    """Make the removals that may be made; what became of each. All are looked at before any is
    made."""
    for number in {record.number for record, _ in asked}:
        registers.require_live(transaction, number)
    looked = [place for place, (_, removal) in enumerate(asked) if _must_look(removal)]
    found = dict(
        zip(looked, _read(transaction, [_target(*asked[at]) for at in looked]), strict=True)
    )
    outcomes: list[Outcome] = []
    made: list[Record] = []
    events: list[Event] = []
    for place, (record, removal) in enumerate(asked):
        there = found.get(place)
        try:
            if place in found:
                _check_removal(transaction, record, removal, there, now_ms)
        except NamesError as error:
            outcomes.append(error)
            continue
        made.append(record)
        events += removal.events
        removes = isinstance(removal.change, Tombstone) and there is not None
        outcomes.append(there.kind if removes and there is not None else None)
    merge(transaction, made, local=True)
    if events:
        outbox.add(transaction, events)
    return outcomes


def _must_look(removal: Removal) -> bool:
    return removal.only_if is not None or isinstance(removal.change, Tombstone)


def _target(record: Record, removal: Removal) -> _Asked:
    """The version that a removal looks at."""
    vid = record.change.vid if isinstance(removal.change, Tombstone) else None
    return record.number, record.change.key, vid


def _check_removal(
    transaction: Transaction,
    record: Record,
    removal: Removal,
    there: _There | None,
    now_ms: int,
) -> None:
    if removal.only_if is not None:
        _check(removal.only_if, there)
    if not isinstance(removal.change, Tombstone):
        return
    if there is not None:
        locks.check_removal(there.registers, now_ms, removal.bypass)
    elif removal.lockable and not transaction.db.execute(_TOMBSTONE, record.item).fetchone():
        raise NoSuchVersion(f"{record.change.key!r} has no version {record.change.vid!r} here")


def _read(transaction: Transaction, asked: Sequence[_Asked]) -> list[_There | None]:
    text = transaction.db.execute(_THERE, (_encode(asked),)).fetchone()[0] if asked else ""
    return _decode(f"[{text}]")


def _check(condition: Condition, there: _There | None) -> None:
    if there is None:
        if condition.match or condition.modified_s is not None or condition.size is not None:
            raise NothingToMatch("there is nothing to match")
        return
    matches = not condition.match or _has_etag(condition.match, there)
    clear = not condition.none_match or not _has_etag(condition.none_match, there)
    same_time = condition.modified_s in (None, stamp_ms(there.stamp) // 1000)
    if not (matches and clear and same_time and condition.size in (None, there.size)):
        raise PreconditionFailed("what is there is not as it must be")


def _has_etag(etags: tuple[str, ...], there: _There) -> bool:
    return "*" in etags or there.etag in etags
