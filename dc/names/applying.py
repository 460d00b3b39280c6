"""Changes of any kind entering the tables, and what is here of those that might.

What was made here goes straight to `merge` and `registers`; this is for what came from elsewhere,
and for what is made of what is here.
"""

import sqlite3
from collections.abc import Mapping, Sequence

import msgspec

from dc.names import conflicts, locks, outbox, registers
from dc.names.attributes import as_born, join_of_version
from dc.names.errors import BytesMissing, NoSuchVersion, ObjectLocked
from dc.names.kinds import FEED_BUCKET, TOMBSTONE
from dc.names.merge import Record, merge, record
from dc.names.model import (
    CUSTOMER,
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Kind,
    Known,
    Register,
    Registers,
    Site,
    Tombstone,
    User,
    Version,
)
from dc.names.rows import read_version
from dc.names.seen import saw
from dc.names.sweep import LetGo
from dc.names.transaction import Covers, Item, Transaction
from dc.notary import NOTARY, born, is_notarized
from dc.placement import is_elsewhere
from dc.stamps import Stamp, stamp_ms, stamp_origin, version_id

_encode = msgspec.json.Encoder().encode

_KNOWN = """
SELECT
    (SELECT json_array(stamp, seen, kind) FROM versions o
     WHERE o.bucket = j.value->>0 AND o.key = j.value->>1 AND o.vid = j.value->>2),
    (SELECT json_array(stamp, seen, 2) FROM tombstones o
     WHERE o.bucket = j.value->>0 AND o.key = j.value->>1 AND o.vid = j.value->>2),
    (SELECT gone FROM conflicts o
     WHERE o.bucket = j.value->>0 AND o.key = j.value->>1 AND o.stamp = j.value->>3)
FROM json_each(?1) j
"""
_AS_LATE = """
SELECT EXISTS(SELECT 1 FROM buckets b JOIN versions o ON o.bucket = b.number
        AND o.key = ?2 AND o.vid = ?3 WHERE b.id = ?1 AND o.stamp >= ?4)
    OR EXISTS(SELECT 1 FROM buckets b JOIN tombstones o ON o.bucket = b.number
        AND o.key = ?2 AND o.vid = ?3 WHERE b.id = ?1 AND o.stamp >= ?4)
"""
_CURRENT = """
SELECT vid, stamp FROM (SELECT vid, stamp FROM versions WHERE bucket = ?1 AND key = ?2
    ORDER BY vid LIMIT 2) ORDER BY stamp DESC LIMIT 1
"""
_SAME = "SELECT registers FROM versions WHERE bucket = ? AND key = ? AND vid = ? AND stamp = ?"
_decode = msgspec.json.Decoder(tuple[str, str, int]).decode
_decode_registers = msgspec.json.Decoder(Registers).decode


def version_in(write: Version | Conflict) -> Version:
    """The version that a change brings."""
    return write.loser if isinstance(write, Conflict) else write


def known(
    db: sqlite3.Connection, asked: Sequence[tuple[int, Version | Conflict]], covers: Covers
) -> list[Known]:
    """What is here of each write, asked for with its bucket's number."""
    versions = [(number, version_in(write)) for number, write in asked]
    items = [(number, one.key, one.vid, one.stamp) for number, one in versions]
    rows = db.execute(_KNOWN, (_encode(items),)).fetchall()
    result = []
    for (_, write), (version, tombstone, conflict) in zip(asked, rows, strict=True):
        there = version or tombstone
        result.append(_known(write, _decode(there) if there else None, conflict, covers))
    return result


def _known(
    write: Version | Conflict,
    there: tuple[Stamp, str, int] | None,
    conflict: int | None,
    covers: Covers,
) -> Known:
    new = version_in(write)
    if there is not None and there[0] == new.stamp and there[2] == Kind.OBJECT:
        return Known.HELD
    if there is None and isinstance(write, Version):
        if covers(new.stamp):
            # Its deletion will be concluded, without its bytes.
            return Known.HELD
        # Even if it was in a conflict: what it lost to was deleted and forgotten.
        return Known.NEW
    if conflict is not None:
        return Known.HELD
    if isinstance(write, Conflict):
        return Known.PAST if write.gone else Known.NEW
    assert there is not None
    stamp, seen, kind = there
    if not new.vid and stamp < new.stamp:
        return Known.NEW
    if not new.vid and not saw(stamp, seen, new.stamp) and not covers(new.stamp):
        return Known.NEW
    # Who tells of what was deleted has not heard of that: applying it makes it be told again.
    return Known.HELD if kind == TOMBSTONE else Known.PAST


def apply(transaction: Transaction, changes: Sequence[Change], *, restoring: bool = False) -> None:
    """Merge records of any kind, made elsewhere. Versions and tombstones come before buckets, for
    a bucket's deletion looks at what is in it; conflicts come first, so that what loses is kept
    before it is replaced."""
    numbers: dict[str, int] = {}

    def number_of(bucket_id: str) -> int:
        if bucket_id not in numbers:
            numbers[bucket_id] = registers.bucket_number(transaction, bucket_id)
        return numbers[bucket_id]

    records: list[Record] = []
    for change in map(_as_born, changes):
        if isinstance(change, Version | Conflict) and is_elsewhere(version_in(change).extents):
            transaction.absent = True
        if isinstance(change, Conflict):
            conflicts.merge_conflict(transaction, number_of(change.loser.bucket), change)
        elif isinstance(change, Version | Tombstone):
            records.append(record(number_of(change.bucket), change))
    if records:
        merge(transaction, records, local=False, restoring=restoring)
        objects = {
            one.number
            for one in records
            if isinstance(one.change, Version) and one.change.kind == Kind.OBJECT
        }
        if objects:
            registers.revive_buckets(transaction, objects)
    for change in changes:
        match change:
            case Bucket():
                registers.merge_bucket(transaction, change)
            case User():
                registers.merge_user(transaction, change)
            case AccessKey():
                registers.merge_key(transaction, change)
            case Site():
                registers.merge_site(transaction, change)


def _as_born(change: Change) -> Change:
    """The change, without what nobody can have made of its version."""
    if not isinstance(change, Version | Conflict):
        return change
    version = version_in(change)
    registers = as_born(version.registers, version.stamp)
    if registers is version.registers:
        return change
    version = msgspec.structs.replace(version, registers=registers)
    if isinstance(change, Conflict):
        return msgspec.structs.replace(change, loser=version)
    return version


def arrived(db: sqlite3.Connection, changes: Sequence[Change]) -> list[Change]:
    """Of changes that were applied, those whose write is here, or a later one of the item. A
    conflict may be told before what the loser lost to: then that is still on its way."""
    return [one for one in changes if not isinstance(one, Conflict) or _is_as_late(db, one.loser)]


def _is_as_late(db: sqlite3.Connection, lost: Version) -> bool:
    asked = (lost.bucket, lost.key, lost.vid, lost.stamp)
    return bool(db.execute(_AS_LATE, asked).fetchone()[0])


def set_registers(
    transaction: Transaction,
    item: Item,
    bucket_id: str,
    values: Mapping[str, str],
    stamp: Stamp,
    *,
    written: Stamp | None,
    now_ms: int,
    bypass: bool,
) -> None:
    """Set attributes of a version: NoSuchVersion, ObjectLocked. `written`: if it is still that."""
    number, key, vid = item
    here = read_version(transaction.db, number, key, vid, bucket_id)
    if here is None:
        raise NoSuchVersion(f"{key!r} has no version {vid or 'null'!r}")
    if written not in (None, here.stamp):
        return
    if locks.RETENTION in values:
        locks.check_change(here.registers, values[locks.RETENTION], now_ms, bypass)
    new = {name: Register(stamp, value) for name, value in values.items()}
    joined = join_of_version(here.registers, new, here.stamp)
    merge(
        transaction,
        [record(number, msgspec.structs.replace(here, registers=joined))],
        local=False,
    )


def restore(transaction: Transaction, item: Item, bucket_id: str, stamp: Stamp) -> Version:
    """Write the loser of a conflict again, as a new version; `item` is (bucket number, key, stamp
    of the loser). NoSuchConflict."""
    number, key, lost = item
    registers.require_live(transaction, number)
    loser = conflicts.take(transaction, number, bucket_id, key, lost)
    if is_elsewhere(loser.extents):
        # It would be a write of this DC's that no DC has got the bytes of from here.
        raise BytesMissing(f"other datacenters hold the bytes of the lost version of {key!r}")
    again = msgspec.structs.replace(
        loser,
        stamp=stamp,
        vid=version_id(stamp) if loser.vid else "",
        seen="",
        registers=_born_notarized(transaction, bucket_id, loser, stamp),
    )
    merge(transaction, [record(number, again)], local=True)
    return again


def _born_notarized(
    transaction: Transaction, bucket_id: str, loser: Version, stamp: Stamp
) -> Registers:
    """The registers of a version that is written again. Its bytes are read again, for whoever had
    them since may have changed what is said of them; but for those that only a client can read."""
    bucket = registers.read(transaction.db, FEED_BUCKET, bucket_id)
    assert isinstance(bucket, Bucket)
    sse, known = loser.meta.sse, ""
    is_secret = sse is not None and sse.kind == CUSTOMER
    is_own = stamp_origin(loser.stamp) == transaction.dc_id
    if is_secret and is_own and is_notarized(loser.registers):
        known = loser.registers[NOTARY].value
    return born(bucket, stamp, known)


def let_go(transaction: Transaction, number: int, items: Sequence[LetGo]) -> list[bool]:
    """Let go of what is still as it was judged (`dc/names/sweep.py`); of each, whether it was."""
    registers.require_live(transaction, number)
    found: list[bool] = []
    for item in items:
        still = _is_still(transaction.db, number, item)
        if still:
            merge(transaction, [record(number, item.change)], local=True)
            if item.events:
                outbox.add(transaction, item.events)
        found.append(still)
    return found


def _is_still(db: sqlite3.Connection, number: int, item: LetGo) -> bool:
    one, change = item.version, item.change
    if item.current and db.execute(_CURRENT, (number, one.key)).fetchone() != (one.vid, one.stamp):
        return False
    same = db.execute(_SAME, (number, one.key, one.vid, one.stamp)).fetchone()
    if same is None or isinstance(change, Version):
        return same is not None
    try:
        locks.check_removal(_decode_registers(same[0]), stamp_ms(change.stamp), bypass=False)
    except ObjectLocked:
        return False
    return True
