"""The name server in this process: `dc.names.api.Names` on one SQLite database.

Four connections, each with its own thread: the writer, the checkpointer, one for reads of single
objects and one for everything that reads more (listings, the feed). Readers see the last committed
state (WAL), and a writer is told of its commit only after it is readable, so a read that begins
after a write has returned sees it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from dc.names import feed, listing, peers, registers, uploads
from dc.names.api import NamesClosed, NoSuchBucket
from dc.names.directory import MemoryDirectory
from dc.names.merge import Record, tombstone_record, version_record
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Cursor,
    FeedEntry,
    Inboxed,
    Page,
    Peer,
    Tombstone,
    Upload,
    UploadPart,
    User,
    Version,
    bucket_id,
)
from dc.names.reader import Reader, read_known
from dc.names.schema import BATCH, migrate, prepare
from dc.names.writer import Transaction, Writer
from dc.ports import Clock, Database, Databases, Randomness
from dc.stamps import HybridClock, Stamp

T = TypeVar("T")


async def open_names(
    path: Path, *, databases: Databases, clock: Clock, randomness: Randomness, dc_id: str
) -> "SqliteNames":
    """Open the database file at `path`, made when it is not there."""
    opened: list[Database] = []
    names: SqliteNames | None = None
    try:
        opened.append(await databases.open(path))
        epoch, hlc, seq = await opened[0].run(lambda db: _set_up(db, randomness.token(8).hex()))
        for _ in range(3):
            opened.append(await databases.open(path))
            await opened[-1].run(prepare)
        names = SqliteNames(clock, HybridClock(clock, dc_id, hlc), epoch, seq, *opened)
        await names.load()
    except BaseException:
        # Each holds a thread, which the process could not end without.
        if names is not None:
            await names.close()
        else:
            for database in reversed(opened):
                await database.close()
        raise
    return names


def _set_up(db: sqlite3.Connection, new_epoch: str) -> tuple[str, Stamp, int]:
    """(epoch, last stamp, last feed position) of the database, made when it is new."""
    prepare(db)
    migrate(db)
    db.executescript(BATCH)
    db.execute("INSERT OR IGNORE INTO facts VALUES('epoch', ?), ('position', ' 0')", (new_epoch,))
    facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
    hlc, seq = facts["position"].split(" ")
    return facts["epoch"], hlc, int(seq)


class SqliteNames:
    """Made by `open_names`."""

    def __init__(
        self,
        wall: Clock,
        clock: HybridClock,
        epoch: str,
        seq: int,
        writer: Database,
        checkpointer: Database,
        point: Database,
        scan: Database,
    ) -> None:
        self.clock = clock
        self.epoch = epoch
        self._wall = wall
        self._databases = [writer, checkpointer, point, scan]
        self._directory = MemoryDirectory()
        self._peers: list[Peer] = []
        self._feed_end = seq
        self._fed = asyncio.Event()
        self._scan = scan
        self._reader = Reader(point)
        self._writer = Writer(writer, checkpointer, clock, seq, self._committed)

    async def load(self) -> None:
        changes, numbers = await self._scan.run(registers.load)
        for bucket, number in numbers:
            self._directory.set_number(bucket, number)
        self._directory.update(changes)
        self._peers = await self._scan.run(peers.load)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()
        for database in reversed(self._databases):
            await database.close()

    @property
    def directory(self) -> MemoryDirectory:
        return self._directory

    # -- buckets ------------------------------------------------------------------------------

    async def create_bucket(self, name: str, owner: str, region: str) -> Bucket:
        bucket = Bucket(
            id=bucket_id(owner, name),
            name=name,
            owner=owner,
            region=region,
            created=self.clock.now(),
        )
        await self._writer.action(lambda transaction: registers.create_bucket(transaction, bucket))
        return bucket

    async def delete_bucket(self, name: str) -> None:
        bucket = self._directory.bucket(name)
        if bucket is None:
            raise NoSuchBucket(name)
        identity, stamp = bucket.id, self.clock.now()
        await self._writer.action(
            lambda transaction: registers.delete_bucket(transaction, identity, stamp)
        )

    # -- objects ------------------------------------------------------------------------------

    async def put(self, version: Version) -> None:
        await self._writer.records(
            [version_record(self._live_number(version.bucket), version)],
        )

    async def delete(self, tombstones: Sequence[Tombstone]) -> None:
        await self._writer.records(
            [tombstone_record(self._live_number(gone.bucket), gone) for gone in tombstones]
        )

    async def current(self, bucket_id: str, key: str) -> Version | None:
        number = self._directory.number(bucket_id)
        row = self._reader.remembered(number, key)
        if row is None:
            row = await self._reader.get(number, key)
        return None if row is None else row.version(bucket_id, key)

    async def version(self, bucket_id: str, key: str, vid: str) -> Version | None:
        row = await self._reader.get(self._directory.number(bucket_id), key, vid)
        return None if row is None else row.version(bucket_id, key)

    async def known(self, items: Sequence[tuple[str, str, str]]) -> list[Stamp]:
        number = self._directory.number
        asked = [(number(bucket), key, vid) for bucket, key, vid in items]
        return await self._read(lambda db: read_known(db, asked))

    async def list_objects(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> Page:
        number = self._directory.number(bucket_id)
        return await self._read(
            lambda db: listing.list_page(db, number, prefix, delimiter, after, limit)
        )

    # -- multipart uploads --------------------------------------------------------------------

    async def create_upload(self, upload: Upload) -> None:
        number = self._live_number(upload.bucket)

        def act(transaction: Transaction) -> None:
            registers.require_live(transaction, number)
            uploads.create(transaction, number, upload)

        await self._writer.action(act)

    async def upload(self, upload_id: str) -> Upload | None:
        return await self._read(lambda db: uploads.read(db, upload_id))

    async def uploads(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        after: tuple[str, str] = ("", ""),
        limit: int = 1001,
    ) -> list[Upload]:
        number = self._directory.number(bucket_id)
        stop = listing.after_all(prefix) or listing.END
        return await self._read(
            lambda db: uploads.read_many(db, number, prefix, stop, after, limit)
        )

    async def put_part(self, upload_id: str, part: UploadPart) -> None:
        await self._writer.action(
            lambda transaction: uploads.put_part(transaction, upload_id, part)
        )

    async def parts(
        self, upload_id: str, *, after: int = 0, limit: int = 10_000
    ) -> list[UploadPart]:
        return await self._read(lambda db: uploads.read_parts(db, upload_id, after, limit))

    async def complete_upload(self, upload_id: str, version: Version) -> None:
        number = self._live_number(version.bucket)
        record = version_record(number, version)

        def act(transaction: Transaction) -> None:
            registers.require_live(transaction, number)
            uploads.complete(transaction, upload_id, version.bucket, version.vid, record)

        await self._writer.action(act)

    async def completed_upload(self, upload_id: str) -> tuple[str, str, str, Stamp] | None:
        return await self._read(lambda db: uploads.read_completed(db, upload_id))

    async def abort_upload(self, upload_id: str) -> None:
        await self._writer.action(lambda transaction: uploads.abort(transaction, upload_id))

    # -- users --------------------------------------------------------------------------------

    async def add_user(self, user: User, key: AccessKey) -> None:
        await self._writer.action(lambda transaction: registers.add_user(transaction, user, key))

    async def delete_user(self, user_id: str) -> None:
        stamp = self.clock.now()
        await self._writer.action(
            lambda transaction: registers.delete_user(transaction, user_id, stamp)
        )

    async def add_key(self, key: AccessKey) -> None:
        await self._writer.action(lambda transaction: registers.add_key(transaction, key))

    async def revoke_key(self, key_id: str) -> None:
        stamp = self.clock.now()
        await self._writer.action(
            lambda transaction: registers.revoke_key(transaction, key_id, stamp)
        )

    # -- the change feed ----------------------------------------------------------------------

    @property
    def feed_end(self) -> int:
        return self._feed_end

    async def feed(self, after: int, limit: int) -> tuple[list[FeedEntry], int]:
        return await self._read(lambda db: feed.read_feed(db, after, limit))

    async def feed_wait(self, after: int) -> None:
        while self._feed_end <= after:
            await self._fed.wait()

    async def apply(
        self,
        changes: Sequence[Change],
        *,
        peer: str = "",
        cursor: Cursor | None = None,
        inbox: Sequence[Inboxed] = (),
        done: Sequence[int] = (),
    ) -> None:
        def act(transaction: Transaction) -> None:
            _merge(transaction, changes)
            if peer:
                peers.advance(transaction, peer, cursor, inbox, done)

        await self._writer.action(act)

    # -- peers --------------------------------------------------------------------------------

    def peers(self) -> list[Peer]:
        return self._peers

    async def add_peer(self, peer: Peer, token_id: str = "", token_expires: int = 0) -> None:
        now_ms = self._wall.wall_ms()

        await self._writer.action(
            lambda transaction: peers.add(transaction, peer, token_id, token_expires, now_ms)
        )

    async def remove_peer(self, dc_id: str) -> None:
        await self._writer.action(lambda transaction: peers.remove(transaction, dc_id))

    async def cursor(self, peer: str) -> Cursor | None:
        return await self._read(lambda db: peers.read_cursor(db, peer))

    async def inbox(
        self, peer: str, *, due_ms: int | None = None, after: int = 0, limit: int = 100
    ) -> list[Inboxed]:
        return await self._read(lambda db: peers.read_inbox(db, peer, due_ms, after, limit))

    async def inbox_update(self, entries: Sequence[Inboxed]) -> None:
        await self._writer.action(lambda transaction: peers.update_inbox(transaction, entries))

    async def inbox_state(self, peer: str) -> tuple[int, int]:
        return await self._read(lambda db: peers.inbox_state(db, peer))

    # -- inside -------------------------------------------------------------------------------

    async def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._scan.run(work)
        except sqlite3.Error as error:
            raise NamesClosed(f"the name server could not read: {error}") from error

    def _live_number(self, bucket: str) -> int:
        known = self._directory.bucket_by_id(bucket)
        if known is None or not known.live:
            raise NoSuchBucket(bucket)
        return self._directory.number(bucket)

    def _committed(self, done: Transaction) -> None:
        """A transaction is durable: tell the directory and those who wait for the feed."""
        self._reader.forget(done.items)
        for bucket, number in done.numbers:
            self._directory.set_number(bucket, number)
        if done.changed:
            self._directory.update(done.changed)
        if done.peers is not None:
            self._peers = done.peers
        if done.seq != self._feed_end:
            self._feed_end = done.seq
            fed, self._fed = self._fed, asyncio.Event()
            fed.set()


def _merge(transaction: Transaction, changes: Sequence[Change]) -> None:
    """Merge records of any kind, made elsewhere. Versions and tombstones come before buckets, for
    a bucket's deletion looks at what is in it."""
    numbers: dict[str, int] = {}
    records: list[Record] = []
    for change in changes:
        if isinstance(change, Version | Tombstone):
            number = numbers.get(change.bucket)
            if number is None:
                number = registers.bucket_number(transaction, change.bucket)
                numbers[change.bucket] = number
            if isinstance(change, Version):
                records.append(version_record(number, change))
            else:
                records.append(tombstone_record(number, change))
    if records:
        transaction.merge(records)
        registers.revive_buckets(transaction)
    for change in changes:
        if isinstance(change, Bucket):
            registers.merge_bucket(transaction, change)
        elif isinstance(change, User):
            registers.merge_user(transaction, change)
        elif isinstance(change, AccessKey):
            registers.merge_key(transaction, change)
