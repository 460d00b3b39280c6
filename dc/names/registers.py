"""Buckets, users and keys in the tables: last-writer-wins registers.

These run in the writer's thread (actions of `dc/names/writer.py`); what changed goes into
`Transaction.changed`, for the directory. Each `merge_*` is a join: it takes a record from anywhere
and leaves the later of what was and what came.
"""

import sqlite3

from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchKey,
    NoSuchUser,
    TooManyKeys,
    UserExists,
)
from dc.names.model import AccessKey, Bucket, Change, User
from dc.names.writer import Transaction

FEED_BUCKET = 10
FEED_USER = 11
FEED_KEY = 12
KEYS_MAX = 2


def load(db: sqlite3.Connection) -> tuple[list[Change], list[tuple[str, int]]]:
    """Everything the directory holds: the records, and (bucket id, number) pairs."""
    changes: list[Change] = []
    numbers = []
    for row in db.execute("SELECT id, name, owner, region, created, deleted, number FROM buckets"):
        changes.append(_bucket(row))
        numbers.append((row[0], row[6]))
    for row in db.execute("SELECT id, email, stamp, deleted FROM users"):
        changes.append(_user(row))
    for row in db.execute("SELECT id, user, secret, stamp, deleted FROM keys"):
        changes.append(_key(row))
    return changes, numbers


def read(db: sqlite3.Connection, kind: int, item: str) -> Change | None:
    """One record by its kind of feed row and its id."""
    if kind == FEED_BUCKET:
        row = db.execute(
            "SELECT id, name, owner, region, created, deleted FROM buckets WHERE id = ?", (item,)
        ).fetchone()
        return _bucket(row) if row else None
    if kind == FEED_USER:
        row = db.execute(
            "SELECT id, email, stamp, deleted FROM users WHERE id = ?", (item,)
        ).fetchone()
        return _user(row) if row else None
    row = db.execute(
        "SELECT id, user, secret, stamp, deleted FROM keys WHERE id = ?", (item,)
    ).fetchone()
    return _key(row) if row else None


def _bucket(row: tuple[str, ...]) -> Bucket:
    return Bucket(
        id=row[0], name=row[1], owner=row[2], region=row[3], created=row[4], deleted=row[5]
    )


def _user(row: tuple[str, str, str, int]) -> User:
    return User(id=row[0], email=row[1], stamp=row[2], deleted=bool(row[3]))


def _key(row: tuple[str, str, bytes, str, int]) -> AccessKey:
    return AccessKey(id=row[0], user=row[1], secret=row[2], stamp=row[3], deleted=bool(row[4]))


# -- merging ------------------------------------------------------------------------------------


def bucket_number(transaction: Transaction, bucket_id: str) -> int:
    """The bucket's number; an unknown bucket gets one, and is not live until its record comes."""
    db = transaction.db
    row = db.execute("SELECT number FROM buckets WHERE id = ?", (bucket_id,)).fetchone()
    if row:
        return int(row[0])
    cursor = db.execute("INSERT INTO buckets VALUES(NULL, ?, '', '', '', '', '', 0)", (bucket_id,))
    number = int(cursor.lastrowid or 0)
    transaction.numbers.append((bucket_id, number))
    return number


def merge_bucket(transaction: Transaction, bucket: Bucket) -> None:
    bucket_number(transaction, bucket.id)
    known = read(transaction.db, FEED_BUCKET, bucket.id)
    assert isinstance(known, Bucket)
    # Two DCs in which a deleted bucket came back have one `created`, and perhaps two regions.
    newer = max(bucket, known, key=lambda one: (one.created, one.region))
    created = max(bucket.created, known.created)
    deleted = max(bucket.deleted, known.deleted)
    if created and created <= deleted and _holds_objects(transaction.db, bucket.id):
        # Only an empty bucket is deleted, and the feed brings the deletions of what was in it
        # before its own. So whoever deleted it had not seen this object: rather a bucket back
        # than an object lost.
        created = _just_after(deleted)
    merged = Bucket(
        id=bucket.id,
        name=newer.name,
        owner=newer.owner,
        region=newer.region,
        created=created,
        deleted=deleted,
    )
    if merged == known:
        return
    seq = _feed(transaction, FEED_BUCKET, bucket.id, "buckets")
    transaction.db.execute(
        "UPDATE buckets SET name = ?, owner = ?, region = ?, created = ?, deleted = ?, seq = ?"
        " WHERE id = ?",
        (merged.name, merged.owner, merged.region, merged.created, merged.deleted, seq, merged.id),
    )
    transaction.changed.append(merged)


def _holds_objects(db: sqlite3.Connection, bucket_id: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM versions WHERE kind = 0"
        " AND bucket = (SELECT number FROM buckets WHERE id = ?) LIMIT 1",
        (bucket_id,),
    ).fetchone()
    return row is not None


def _just_after(stamp: str) -> str:
    """The stamp that follows, the same in every DC."""
    return f"{int(stamp[:16], 16) + 1:016x}{stamp[16:]}"


def merge_user(transaction: Transaction, user: User) -> None:
    known = read(transaction.db, FEED_USER, user.id)
    if isinstance(known, User) and known.stamp >= user.stamp:
        return
    seq = _feed(transaction, FEED_USER, user.id, "users")
    transaction.db.execute(
        "INSERT OR REPLACE INTO users VALUES(?, ?, ?, ?, ?)",
        (user.id, user.email, user.stamp, user.deleted, seq),
    )
    transaction.changed.append(user)


def merge_key(transaction: Transaction, key: AccessKey) -> None:
    known = read(transaction.db, FEED_KEY, key.id)
    if isinstance(known, AccessKey) and known.stamp >= key.stamp:
        return
    seq = _feed(transaction, FEED_KEY, key.id, "keys")
    transaction.db.execute(
        "INSERT OR REPLACE INTO keys VALUES(?, ?, ?, ?, ?, ?)",
        (key.id, key.user, key.secret, key.stamp, key.deleted, seq),
    )
    transaction.changed.append(key)


def _feed(transaction: Transaction, kind: int, item: str, table: str) -> int:
    """Give the item a new place at the feed's end."""
    seq = transaction.take_seq()
    transaction.db.execute(
        f"DELETE FROM feed WHERE seq = (SELECT seq FROM {table} WHERE id = ?)", (item,)
    )
    transaction.db.execute("INSERT INTO feed VALUES(?, ?, 0, ?, '')", (seq, kind, item))
    return seq


# -- what users ask for -------------------------------------------------------------------------


def create_bucket(transaction: Transaction, bucket: Bucket) -> None:
    row = transaction.db.execute(
        "SELECT id, name, owner, region, created, deleted FROM buckets"
        " WHERE name = ? AND created > deleted ORDER BY created LIMIT 1",
        (bucket.name,),
    ).fetchone()
    if row:
        raise BucketExists(_bucket(row))
    merge_bucket(transaction, bucket)


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
    gone = Bucket(
        id=bucket.id,
        name=bucket.name,
        owner=bucket.owner,
        region=bucket.region,
        created=bucket.created,
        deleted=stamp,
    )
    merge_bucket(transaction, gone)


def require_live(transaction: Transaction, number: int) -> None:
    row = transaction.db.execute(
        "SELECT 1 FROM buckets WHERE number = ? AND created > deleted", (number,)
    ).fetchone()
    if row is None:
        raise NoSuchBucket("the bucket was deleted meanwhile")


def revive_buckets(transaction: Transaction) -> None:
    """After a merge: revive the deleted buckets that objects just came for (see
    `merge_bucket`)."""
    rows = transaction.db.execute(
        "SELECT id, name, owner, region, created, deleted FROM buckets"
        " WHERE created <= deleted AND created != ''"
        " AND number IN (SELECT bucket FROM batch WHERE kind = 0)"
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
