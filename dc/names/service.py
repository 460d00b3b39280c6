"""The name server in this process: `dc.names.api.Names` on one SQLite database.

Four connections, each with its own thread: the writer, the checkpointer, one for reads of single
objects and one for everything that reads more (listings, the feed). Readers see the last committed
state (WAL), and a writer is told of its commit only after it is readable, so a read that begins
after a write has returned sees it.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from dc.names import (
    applying,
    backlog,
    compare,
    conflicts,
    feed,
    listing,
    peers,
    registers,
    trees,
    upkeep,
    uploads,
)
from dc.names.api import BucketExists, NamesClosed, NoSuchBucket, StampTooOld
from dc.names.directory import MemoryDirectory
from dc.names.knowledge import Knowledge
from dc.names.merge import record
from dc.names.model import (
    AccessKey,
    Backlog,
    Bucket,
    Change,
    Conflict,
    Cursor,
    FeedEntry,
    Inboxed,
    Interval,
    ItemState,
    Known,
    LeafItem,
    Page,
    Peer,
    Site,
    Tombstone,
    Upload,
    UploadPart,
    User,
    Version,
    bucket_id,
)
from dc.names.reader import Reader
from dc.names.schema import prepare
from dc.names.start import State, set_up
from dc.names.transaction import Transaction
from dc.names.writer import Writer
from dc.ports import Clock, Database, Databases, Randomness
from dc.stamps import HybridClock, Stamp, stamp_origin

T = TypeVar("T")


async def open_names(
    path: Path, *, databases: Databases, clock: Clock, randomness: Randomness, dc_id: str
) -> "SqliteNames":
    """Open the database file at `path`, made when it is not there."""
    opened: list[Database] = []
    names: SqliteNames | None = None
    try:
        opened.append(await databases.open(path))
        epoch = randomness.token(8).hex()
        state = await opened[0].run(lambda db: set_up(db, epoch))
        for _ in range(3):
            opened.append(await databases.open(path))
            await opened[-1].run(prepare)
        names = SqliteNames(clock, HybridClock(clock, dc_id, state.hlc), state, *opened)
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


class SqliteNames:
    """Made by `open_names`."""

    def __init__(
        self,
        wall: Clock,
        clock: HybridClock,
        state: State,
        writer: Database,
        checkpointer: Database,
        point: Database,
        scan: Database,
    ) -> None:
        self.clock = clock
        self.knowledge = Knowledge(
            wall, clock, state.epochs, state.coverage, state.progress, state.horizon
        )
        self._wall = wall
        self._databases = [writer, checkpointer, point, scan]
        self._directory = MemoryDirectory()
        self._peers: list[Peer] = []
        self._feed_end = state.seq
        self._fed = asyncio.Event()
        self._scan = scan
        self._reader = Reader(point)
        self._trees = state.loaded
        self._writer = Writer(
            writer,
            checkpointer,
            clock,
            state.seq,
            state.loaded,
            self.knowledge.covers,
            self._committed,
        )

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
    def epoch(self) -> str:
        return self.knowledge.epoch

    @property
    def directory(self) -> MemoryDirectory:
        return self._directory

    # -- buckets ------------------------------------------------------------------------------

    async def create_bucket(self, name: str, owner: str, region: str) -> Bucket:
        if (shown := self._directory.bucket(name)) is not None:
            raise BucketExists(shown)
        key, now = bucket_id(owner, name), self.clock.now()
        bucket = Bucket(id=key, name=name, owner=owner, region=region, created=now)
        return await self._writer.action(lambda one: registers.create_bucket(one, bucket))

    async def delete_bucket(self, bucket_id: str) -> None:
        stamp = self.clock.now()
        await self._writer.action(
            lambda transaction: registers.delete_bucket(transaction, bucket_id, stamp)
        )

    async def set_bucket_registers(self, bucket_id: str, values: Mapping[str, str]) -> None:
        stamp = self.clock.now()
        await self._writer.action(
            lambda transaction: registers.set_registers(transaction, bucket_id, values, stamp)
        )

    # -- objects ------------------------------------------------------------------------------

    async def put(self, version: Version) -> None:
        self._check_floor(version.stamp)
        await self._writer.records([record(self._live_number(version.bucket), version)])

    async def delete(self, tombstones: Sequence[Tombstone]) -> None:
        for gone in tombstones:
            self._check_floor(gone.stamp)
        await self._writer.records(
            [record(self._live_number(gone.bucket), gone) for gone in tombstones]
        )

    async def set_registers(
        self, bucket_id: str, key: str, vid: str, values: Mapping[str, str]
    ) -> None:
        number, stamp = self._live_number(bucket_id), self.clock.now()
        await self._writer.action(
            lambda transaction: applying.set_registers(
                transaction, (number, key, vid), bucket_id, values, stamp
            )
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

    async def known(self, writes: Sequence[Version | Conflict]) -> list[Known]:
        number = self._directory.number
        asked = [(number(applying.version_in(one).bucket), one) for one in writes]
        covers = self.knowledge.covers
        return await self._read(lambda db: applying.known(db, asked, covers))

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
        self._check_floor(version.stamp)
        number = self._live_number(version.bucket)
        completed = record(number, version)

        def act(transaction: Transaction) -> None:
            registers.require_live(transaction, number)
            uploads.complete(transaction, upload_id, version.bucket, version.vid, completed)

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

    async def feed(self, after: int, limit: int) -> tuple[list[FeedEntry], int, bool]:
        return await self._read(lambda db: feed.read_feed(db, after, limit))

    async def backlog(self, peer: str, after: int, limit: int) -> Backlog:
        return await self._read(lambda db: backlog.measure(db, peer, after, limit))

    async def backlog_at(self, peer: str, positions: Sequence[int]) -> Backlog:
        return await self._read(lambda db: backlog.measure_positions(db, peer, positions))

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
        restoring: bool = False,
    ) -> None:
        def act(transaction: Transaction) -> None:
            applying.apply(transaction, changes, restoring=restoring)
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
        self.knowledge.note_progress(dc_id, None)

    async def token_used(self, token_id: str) -> bool:
        return await self._read(lambda db: peers.token_used(db, token_id))

    async def cursor(self, peer: str) -> Cursor | None:
        return await self._read(lambda db: peers.read_cursor(db, peer))

    async def inbox(
        self,
        peer: str,
        *,
        due_ms: int | None = None,
        after: int = 0,
        limit: int = 100,
        failing: bool = False,
    ) -> list[Inboxed]:
        return await self._read(
            lambda db: peers.read_inbox(db, peer, due_ms, after, limit, failing)
        )

    async def inbox_open(
        self, peer: str, limit: int, failing_max: int
    ) -> tuple[list[int], list[tuple[int, str]], int]:
        return await self._read(lambda db: peers.inbox_open(db, peer, limit, failing_max))

    async def inbox_update(self, entries: Sequence[Inboxed]) -> None:
        await self._writer.action(lambda transaction: peers.update_inbox(transaction, entries))

    async def inbox_state(self, peer: str) -> tuple[int, int]:
        return await self._read(lambda db: peers.inbox_state(db, peer))

    # -- conflicts ----------------------------------------------------------------------------

    async def conflicts(
        self, *, bucket_id: str = "", after: tuple[str, str, str] = ("", "", ""), limit: int = 1000
    ) -> list[Conflict]:
        return await self._read(lambda db: conflicts.page(db, bucket_id, after, limit))

    async def conflict(self, bucket_id: str, key: str, stamp: Stamp) -> Conflict | None:
        number = self._directory.number(bucket_id)
        return await self._read(lambda db: conflicts.read(db, number, bucket_id, key, stamp))

    async def conflicts_of(self, bucket_id: str, stamps: Sequence[Stamp]) -> list[Conflict]:
        number = self._directory.number(bucket_id)
        return await self._read(lambda db: conflicts.find(db, number, bucket_id, stamps))

    async def conflict_count(self) -> int:
        return await self._read(conflicts.count)

    async def drop_conflict(self, bucket_id: str, key: str, stamp: Stamp) -> None:
        number = self._directory.number(bucket_id)
        await self._writer.action(
            lambda transaction: conflicts.take(transaction, number, bucket_id, key, stamp)
        )

    async def restore_conflict(self, bucket_id: str, key: str, stamp: Stamp) -> Version:
        number, now = self._live_number(bucket_id), self.clock.now()
        return await self._writer.action(
            lambda transaction: applying.restore(transaction, (number, key, stamp), bucket_id, now)
        )

    # -- hash trees ---------------------------------------------------------------------------

    def roots(self) -> dict[str, str]:
        roots = self._trees.roots()
        found = {"": roots.pop(trees.DIRECTORY)} if trees.DIRECTORY in roots else {}
        return found | {self._directory.id_of(number): root for number, root in roots.items()}

    def leaves(self, bucket_id: str) -> bytes:
        if not bucket_id:
            return self._trees.leaves(trees.DIRECTORY)
        number = self._directory.number(bucket_id)
        return self._trees.leaves(number) if number else bytes(trees.TREE_BYTES)

    async def leaf_items(
        self, bucket_id: str, leaves: frozenset[int], after: str, limit: int
    ) -> tuple[list[LeafItem], str]:
        if not bucket_id:
            return compare.directory_items(self._directory.everything(), leaves), ""
        number = self._directory.number(bucket_id)
        return await self._read(lambda db: compare.leaf_items(db, number, leaves, after, limit))

    async def records(
        self, bucket_id: str, items: Sequence[tuple[int, str, str]]
    ) -> list[FeedEntry]:
        number = self._directory.number(bucket_id)
        return await self._read(lambda db: compare.records(db, number, bucket_id, items))

    async def states(
        self, bucket_id: str, items: Sequence[tuple[int, str, str]]
    ) -> list[ItemState | None]:
        number = self._directory.number(bucket_id)
        return await self._read(lambda db: compare.states(db, number, items))

    async def item_counts(self, bucket_id: str = "") -> dict[str, int]:
        return await self._read(lambda db: compare.counts(db, bucket_id))

    # -- what is known, and chores ------------------------------------------------------------

    async def put_site(self, name: str, region: str) -> Stamp:
        stamp = self.clock.now()
        site = Site(dc_id=stamp_origin(stamp), name=name, region=region, stamp=stamp)
        await self._writer.action(lambda transaction: registers.merge_site(transaction, site))
        return stamp

    def coverage(self) -> list[Interval]:
        return self.knowledge.coverage.intervals()

    def cover(self, intervals: Sequence[Interval]) -> None:
        self.knowledge.cover(intervals)

    async def upkeep(self) -> bool:
        if self.knowledge.settle():
            # What was accepted before the floor rose is before this in the writer's queue.
            await self._writer.action(lambda _: None)
            self.knowledge.cover_own()
        chores = self.knowledge.chores(self._peers)
        return await self._writer.action(lambda transaction: upkeep.work(transaction, chores))

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

    def _check_floor(self, stamp: Stamp) -> None:
        if stamp <= self.knowledge.floor:
            raise StampTooOld("the change took too long to be stored: make it again")

    def _committed(self, done: Transaction) -> None:
        """A transaction is durable: tell the directory and those who wait for the feed."""
        self._reader.forget(done.items)
        for bucket, number in done.numbers:
            self._directory.set_number(bucket, number)
        if done.changed:
            self._directory.update(done.changed)
        if done.peers is not None:
            self._peers = done.peers
        self.knowledge.horizon = max(self.knowledge.horizon, done.horizon)
        if done.seq != self._feed_end:
            self._feed_end = done.seq
            fed, self._fed = self._fed, asyncio.Event()
            fed.set()
