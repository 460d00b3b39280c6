"""Buckets, users, keys and sites in the tables.

These run in the writer's thread (actions of `dc/names/writer.py`); what changed goes into
`Transaction.changed`, for the directory. Each `merge_*` is a join: it takes a record from anywhere
and leaves what `docs/convergence.md` says of what was and what came. A user or key that was
deleted anywhere stays deleted: no later change made elsewhere brings access back.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from dc.names import notary_outbox
from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUser,
    TooManyKeys,
    UserExists,
)
from dc.names.attributes import join_registers
from dc.names.kinds import FEED_BUCKET, FEED_KEY, FEED_SITE, FEED_USER, TABLES
from dc.names.model import DATA_KEYS, AccessKey, Bucket, Change, Register, Registers, Site, User
from dc.names.rows import LIVE
from dc.names.transaction import Transaction
from dc.names.trees import DIRECTORY, delta, item_hash
from dc.notary import NOTARY, OFF, notarizes
from dc.stamps import stamp_after

KEYS_MAX = 2

_BUCKETS = "SELECT id, name, owner, region, created, deleted, revived, registers FROM buckets"
_USERS = "SELECT id, email, stamp, deleted FROM users"
_KEYS = "SELECT id, user, secret, stamp, deleted FROM keys"
_SITES = "SELECT id, name, region, stamp FROM sites"

_registers = msgspec.json.Decoder(Registers).decode


def load(db: sqlite3.Connection) -> tuple[list[Change], list[tuple[str, int]]]:
    """Everything the directory holds: the records, and (bucket id, number) pairs."""
    changes: list[Change] = []
    changes += [_bucket(row) for row in db.execute(_BUCKETS)]
    changes += [_user(row) for row in db.execute(_USERS)]
    changes += [_key(row) for row in db.execute(_KEYS)]
    changes += [_site(row) for row in db.execute(_SITES)]
    numbers = db.execute("SELECT id, number FROM buckets").fetchall()
    return changes, numbers


def read(db: sqlite3.Connection, kind: int, item: str) -> Change | None:
    """One record by its kind of feed row and its id."""
    query, decode = _OF_KIND[kind]
    row = db.execute(f"{query} WHERE id = ?", (item,)).fetchone()
    return decode(row) if row else None


def hashes(db: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """(id, hash) of all records, for the directory's tree."""
    for change in load(db)[0]:
        if not isinstance(change, Bucket) or change.created:
            yield id_of(change), hash_of(change)


def id_of(change: Change) -> str:
    """The id of a bucket, user, key or site."""
    if isinstance(change, Site):
        return change.dc_id
    assert isinstance(change, Bucket | User | AccessKey)
    return change.id


def _bucket(row: tuple[str, ...]) -> Bucket:
    return Bucket(
        id=row[0],
        name=row[1],
        owner=row[2],
        region=row[3],
        created=row[4],
        deleted=row[5],
        revived=row[6],
        registers=_registers(row[7]),
    )


def _user(row: tuple[str, str, str, int]) -> User:
    return User(id=row[0], email=row[1], stamp=row[2], deleted=bool(row[3]))


def _key(row: tuple[str, str, bytes, str, int]) -> AccessKey:
    return AccessKey(id=row[0], user=row[1], secret=row[2], stamp=row[3], deleted=bool(row[4]))


def _site(row: tuple[str, str, str, str]) -> Site:
    return Site(dc_id=row[0], name=row[1], region=row[2], stamp=row[3])


_OF_KIND: dict[int, tuple[str, Callable[[Any], Change]]] = {
    FEED_BUCKET: (_BUCKETS, _bucket),
    FEED_USER: (_USERS, _user),
    FEED_KEY: (_KEYS, _key),
    FEED_SITE: (_SITES, _site),
}


def hash_of(change: Change) -> str:
    """The hash of a record in the directory's tree. Secrets are not in it: each DC encrypts them
    for itself."""
    if isinstance(change, AccessKey):
        return item_hash(("key", change.id, change.user, change.stamp, change.deleted))
    return item_hash((type(change).__name__, change))


# -- merging ------------------------------------------------------------------------------------


def bucket_number(transaction: Transaction, bucket_id: str) -> int:
    """The bucket's number; an unknown bucket gets one, and is not live until its record comes."""
    db = transaction.db
    row = db.execute("SELECT number FROM buckets WHERE id = ?", (bucket_id,)).fetchone()
    if row:
        return int(row[0])
    cursor = db.execute(
        "INSERT INTO buckets(id, name, owner, region, created, deleted, seq)"
        " VALUES(?, '', '', '', '', '', 0)",
        (bucket_id,),
    )
    number = int(cursor.lastrowid or 0)
    transaction.numbers.append((bucket_id, number))
    return number


def merge_bucket(transaction: Transaction, bucket: Bucket) -> None:
    bucket_number(transaction, bucket.id)
    known = read(transaction.db, FEED_BUCKET, bucket.id)
    assert isinstance(known, Bucket)
    # A total order, here and below: what a DC made up with one stamp must not go round for ever.
    newer = max(bucket, known, key=lambda one: (one.created, one.region, one.name, one.owner))
    created = max(bucket.created, known.created)
    deleted = max(bucket.deleted, known.deleted)
    revived = max(bucket.revived, known.revived)
    dead = created and max(created, revived) <= deleted
    if dead and _holds_objects(transaction.db, bucket.id):
        # Only an empty bucket is deleted, and the feed brings the deletions of what was in it
        # before its own. So whoever deleted it had not seen this object: rather a bucket back
        # than an object lost.
        revived = stamp_after(deleted)
    registers = join_registers(bucket.registers, known.registers)
    merged = Bucket(
        id=bucket.id,
        name=newer.name,
        owner=newer.owner,
        region=newer.region,
        created=created,
        deleted=deleted,
        revived=revived,
        # A bucket that was made anew has nothing of the old one.
        registers={name: one for name, one in registers.items() if one.stamp >= created},
    )
    if merged == known:
        return
    seq = _feed(transaction, FEED_BUCKET, bucket.id)
    _count(transaction, bucket.id, known if known.created else None, merged)
    transaction.db.execute(
        "UPDATE buckets SET name = ?, owner = ?, region = ?, created = ?, deleted = ?,"
        " revived = ?, registers = ?, seq = ? WHERE id = ?",
        (
            merged.name,
            merged.owner,
            merged.region,
            merged.created,
            merged.deleted,
            merged.revived,
            msgspec.json.encode(merged.registers).decode(),
            seq,
            merged.id,
        ),
    )
    transaction.changed.append(merged)


def _holds_objects(db: sqlite3.Connection, bucket_id: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM versions WHERE kind = 0"
        " AND bucket = (SELECT number FROM buckets WHERE id = ?) LIMIT 1",
        (bucket_id,),
    ).fetchone()
    return row is not None


def merge_user(transaction: Transaction, user: User) -> None:
    known = read(transaction.db, FEED_USER, user.id)
    merged = user
    if isinstance(known, User):
        later = max(user, known, key=lambda one: (one.stamp, one.deleted, one.email))
        merged = msgspec.structs.replace(later, deleted=user.deleted or known.deleted)
        if merged == known:
            return
    seq = _feed(transaction, FEED_USER, user.id)
    _count(transaction, user.id, known, merged)
    transaction.db.execute(
        "INSERT OR REPLACE INTO users VALUES(?, ?, ?, ?, ?)",
        (merged.id, merged.email, merged.stamp, merged.deleted, seq),
    )
    transaction.changed.append(merged)


def merge_key(transaction: Transaction, key: AccessKey) -> None:
    known = read(transaction.db, FEED_KEY, key.id)
    merged = key
    if isinstance(known, AccessKey):
        if known.user == DATA_KEYS:
            return  # What was encrypted with it must stay readable, whoever says what.
        if known.stamp >= key.stamp and (known.deleted or not key.deleted):
            return
        later = max(key, known, key=lambda one: (one.stamp, one.deleted))
        if key.deleted or known.deleted:
            merged = msgspec.structs.replace(later, secret=b"", deleted=True)
        else:
            merged = later
        if merged == known:
            return
    seq = _feed(transaction, FEED_KEY, key.id)
    _count(transaction, key.id, known, merged)
    transaction.db.execute(
        "INSERT OR REPLACE INTO keys VALUES(?, ?, ?, ?, ?, ?)",
        (merged.id, merged.user, merged.secret, merged.stamp, merged.deleted, seq),
    )
    transaction.changed.append(merged)


def merge_site(transaction: Transaction, site: Site) -> None:
    known = read(transaction.db, FEED_SITE, site.dc_id)
    if isinstance(known, Site) and known.stamp >= site.stamp:
        return
    seq = _feed(transaction, FEED_SITE, site.dc_id)
    _count(transaction, site.dc_id, known, site)
    transaction.db.execute(
        "INSERT OR REPLACE INTO sites VALUES(?, ?, ?, ?, ?)",
        (site.dc_id, site.name, site.region, site.stamp, seq),
    )
    transaction.changed.append(site)


def _count(transaction: Transaction, item: str, old: Change | None, new: Change) -> None:
    """Bring the directory's hash tree up to date."""
    was = hash_of(old) if old is not None else ""
    transaction.deltas.append(delta(DIRECTORY, item, was, hash_of(new)))


def _feed(transaction: Transaction, kind: int, item: str) -> int:
    """Give the item a new place at the feed's end."""
    seq = transaction.take_seq()
    transaction.db.execute(
        f"DELETE FROM feed WHERE seq = (SELECT seq FROM {TABLES[kind]} WHERE id = ?)", (item,)
    )
    transaction.db.execute("INSERT INTO feed VALUES(?, ?, 0, ?, '')", (seq, kind, item))
    return seq


# -- what users ask for -------------------------------------------------------------------------


def create_bucket(transaction: Transaction, bucket: Bucket) -> Bucket:
    """Make a bucket: as it is then, or BucketExists."""
    row = transaction.db.execute(
        f"{_BUCKETS} WHERE name = ? AND {LIVE} ORDER BY created LIMIT 1",
        (bucket.name,),
    ).fetchone()
    if row:
        raise BucketExists(_bucket(row))
    known, stamp = read(transaction.db, FEED_BUCKET, bucket.id), bucket.created
    if isinstance(known, Bucket) and known.stamp:
        # Its deletion may be a moment ahead of this DC's clock.
        created = max(bucket.created, stamp_after(known.stamp))
        registers = {name: Register(created, one.value) for name, one in bucket.registers.items()}
        bucket = msgspec.structs.replace(bucket, created=created, registers=registers)
    merge_bucket(transaction, bucket)
    made = read(transaction.db, FEED_BUCKET, bucket.id)
    assert isinstance(made, Bucket)
    if isinstance(known, Bucket) and notarizes(known) and not notarizes(made):
        notary_outbox.note(transaction, [notary_outbox.switched(bucket.id, OFF, stamp)])
    return made


def delete_bucket(transaction: Transaction, bucket_id: str, stamp: str) -> None:
    db = transaction.db
    bucket = read(db, FEED_BUCKET, bucket_id)
    if not isinstance(bucket, Bucket) or not bucket.live:
        raise NoSuchBucket(bucket_id)
    number = bucket_number(transaction, bucket_id)
    if db.execute("SELECT 1 FROM versions WHERE bucket = ? LIMIT 1", (number,)).fetchone():
        raise BucketNotEmpty(bucket.name)
    db.execute(
        "DELETE FROM parts WHERE upload IN (SELECT id FROM uploads WHERE bucket = ?)", (number,)
    )
    db.execute("DELETE FROM uploads WHERE bucket = ?", (number,))
    # A revival may be a moment ahead of this DC's clock.
    deleted = max(stamp, stamp_after(bucket.stamp))
    merge_bucket(transaction, msgspec.structs.replace(bucket, deleted=deleted))


def set_registers(
    transaction: Transaction, bucket_id: str, values: Mapping[str, str], stamp: str
) -> None:
    """Set attributes of a bucket: NoSuchBucket."""
    bucket = read(transaction.db, FEED_BUCKET, bucket_id)
    if not isinstance(bucket, Bucket) or not bucket.live:
        raise NoSuchBucket(bucket_id)
    registers = {name: Register(stamp, value) for name, value in values.items()}
    registers = join_registers(bucket.registers, registers)
    switched = msgspec.structs.replace(bucket, registers=registers)
    if notarizes(switched) != notarizes(bucket):
        value = registers[NOTARY].value
        notary_outbox.note(transaction, [notary_outbox.switched(bucket_id, value, stamp)])
    merge_bucket(transaction, switched)


def require_live(transaction: Transaction, number: int) -> None:
    row = transaction.db.execute(
        f"SELECT 1 FROM buckets WHERE number = ? AND {LIVE}", (number,)
    ).fetchone()
    if row is None:
        raise NoSuchBucket("the bucket was deleted meanwhile")


def revive_buckets(transaction: Transaction, numbers: set[int]) -> None:
    """After objects came for these buckets: revive those that are deleted (see `merge_bucket`)."""
    places = ",".join("?" * len(numbers))
    rows = transaction.db.execute(
        f"{_BUCKETS} WHERE NOT {LIVE} AND created != '' AND number IN ({places})",
        tuple(numbers),
    ).fetchall()
    for row in rows:
        merge_bucket(transaction, _bucket(row))


def add_user(transaction: Transaction, user: User, key: AccessKey) -> None:
    taken = transaction.db.execute(
        "SELECT 1 FROM users WHERE (email = ? AND NOT deleted) OR id = ?", (user.email, user.id)
    ).fetchone()
    if taken:
        raise UserExists(user.email)
    merge_user(transaction, user)
    merge_key(transaction, key)


def delete_user(transaction: Transaction, user_id: str, stamp: str) -> None:
    db = transaction.db
    user = read(db, FEED_USER, user_id)
    if not isinstance(user, User) or user.deleted:
        raise NoSuchUser(user_id)
    merge_user(transaction, User(id=user.id, email=user.email, stamp=stamp, deleted=True))
    keys = db.execute("SELECT id FROM keys WHERE user = ? AND NOT deleted", (user_id,)).fetchall()
    for (key_id,) in keys:
        revoke_key(transaction, key_id, stamp)


def add_key(transaction: Transaction, key: AccessKey) -> None:
    db = transaction.db
    user = read(db, FEED_USER, key.user)
    if not isinstance(user, User) or user.deleted:
        raise NoSuchUser(key.user)
    (count,) = db.execute(
        "SELECT count(*) FROM keys WHERE user = ? AND NOT deleted", (key.user,)
    ).fetchone()
    if count >= KEYS_MAX:
        raise TooManyKeys(user.email)
    merge_key(transaction, key)


def revoke_key(transaction: Transaction, key_id: str, stamp: str) -> None:
    key = read(transaction.db, FEED_KEY, key_id)
    if not isinstance(key, AccessKey) or key.deleted:
        raise NoSuchKey(key_id)
    merge_key(
        transaction,
        AccessKey(id=key.id, user=key.user, secret=b"", stamp=stamp, deleted=True),
    )
