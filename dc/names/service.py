"""The name server in this process: `dc.names.api.Names` on one SQLite database.

Four connections, each with its own thread: the writer, the checkpointer, one for reads of single
objects and one for everything that reads more (listings, the feed). Readers see the last committed
state (WAL), and a writer is told of its commit only after it is readable, so a read that begins
after a write has returned sees it.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from dc.names import (
    applying,
    backlog,
    compare,
    conflicts,
    feed,
    guards,
    listing,
    peers,
    registers,
    trees,
    upkeep,
    version_listing,
)
from dc.names.api import BucketExists
from dc.names.arrivals import Arrivals
from dc.names.directory import MemoryDirectory
from dc.names.directory_api import DirectoryCopies, NoCopies
from dc.names.elsewhere import Elsewhere
from dc.names.event_cursor import EventCursor
from dc.names.exchanges import Exchanges
from dc.names.journal import JournalTables
from dc.names.knowledge import Knowledge
from dc.names.merge import record
from dc.names.model import (
    DATA_KEYS,
    AccessKey,
    Backlog,
    Bucket,
    Condition,
    Conflict,
    Event,
    FeedEntry,
    ItemState,
    Known,
    LeafItem,
    Peer,
    Register,
    Removal,
    Site,
    Tombstone,
    User,
    Version,
    bucket_id,
)
from dc.names.news import News
from dc.names.notary_outbox import NotaryOutbox
from dc.names.outbox import Outbox
from dc.names.pages import Page, VersionPage
from dc.names.places import Places
from dc.names.reader import Reader
from dc.names.registers import create_bucket as make_bucket
from dc.names.schema import prepare
from dc.names.start import State, set_up
from dc.names.sweep import Sweeper
from dc.names.transaction import Transaction
from dc.names.unshipped import Unshipped
from dc.names.uploading import UploadNames
from dc.names.writer import Writer
from dc.ports import Clock, Database, Databases, Randomness
from dc.stamps import HybridClock, Stamp, stamp_origin

T = TypeVar("T")
SKIP_BYTES = 3
"""How many stamps may be left out at a start, as a number of so many bytes: 256 ms of them."""


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
        hybrid = HybridClock(clock, dc_id, state.hlc)
        hybrid.skip(int.from_bytes(randomness.token(SKIP_BYTES)))
        names = SqliteNames(clock, hybrid, state, *opened)
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


class SqliteNames(UploadNames):
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
        self.copies: DirectoryCopies = NoCopies()
        self._feed_end = state.seq
        self.commits = 0
        """Transactions that have become durable, since the start."""
        self._fed = asyncio.Event()
        self._scan = scan
        self._reader = Reader(point)
        self.arrivals = Arrivals(
            wall, self.dc_id, self.knowledge.covers, self._recent, lambda: self._feed_end
        )
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
        self.elsewhere = Elsewhere(self._read, self._directory.number)
        self.news = News(self._read, self._directory.number, self.knowledge.covers)
        self.outbox = Outbox(self._read, self._writer.action)
        self.notary_outbox = NotaryOutbox(self._read, self._writer.action)
        self.event_cursor = EventCursor(self._writer.action, self.knowledge.silence)
        self.knowledge.told_until = self.event_cursor.holds
        self.unshipped = Unshipped(self._read, self._writer.action)
        self.exchanges = Exchanges(self._read, self._writer.action)
        self.places = Places(self._read, self._writer.action)
        self.journal = JournalTables(self._read, self._writer.action)
        self.sweeper = Sweeper(self._read, self._writer.action, self._live_number, applying.let_go)

    async def load(self) -> None:
        changes, numbers = await self._scan.run(registers.load)
        for bucket, number in numbers:
            self._directory.set_number(bucket, number)
        self._directory.update(changes)
        self._peers = await self._scan.run(peers.load)
        await self._scan.run(self.event_cursor.load)

    async def close(self) -> None:
        self.arrivals.close()
        await self._writer.close()
        await self._reader.close()
        for database in reversed(self._databases):
            await database.close()

    @property
    def dc_id(self) -> str:
        return stamp_origin(self.clock.last)

    async def stamp(self) -> Stamp:
        return self.clock.now()

    async def stamps(self, count: int) -> list[Stamp]:
        return [self.clock.now() for _ in range(count)]

    @property
    def epoch(self) -> str:
        return self.knowledge.epoch

    @property
    def directory(self) -> MemoryDirectory:
        return self._directory

    # -- buckets ------------------------------------------------------------------------------

    async def create_bucket(
        self, name: str, owner: str, region: str, *, registers: Mapping[str, str] = {}
    ) -> Bucket:
        if (shown := self._directory.bucket(name)) is not None:
            await self.copies.settled()  # Who made it may not have been answered yet.
            raise BucketExists(shown)
        key, now = bucket_id(owner, name), self.clock.now()
        set_now = {name: Register(now, value) for name, value in registers.items()}
        bucket = Bucket(
            id=key, name=name, owner=owner, region=region, created=now, registers=set_now
        )
        return await self._known(lambda one: make_bucket(one, bucket))

    async def delete_bucket(self, bucket_id: str) -> Stamp:
        stamp = self.clock.now()
        await self._known(lambda one: registers.delete_bucket(one, bucket_id, stamp))
        return stamp

    async def set_bucket_registers(
        self, bucket_id: str, values: Mapping[str, str], *, events: Sequence[Event] = ()
    ) -> Stamp:
        _check_texts(values)
        stamp = self.clock.now()
        await self._known(
            lambda transaction: registers.set_registers(transaction, bucket_id, values, stamp),
            events,
        )
        return stamp

    # -- objects ------------------------------------------------------------------------------

    async def put(
        self,
        version: Version,
        *,
        only_if: Condition | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        self._check_floor(version.stamp)
        new = record(self._live_number(version.bucket), version)
        if only_if is None:
            await self._writer.records([new], events)
        else:
            await self._writer.action(lambda one: guards.put(one, new, only_if), events)

    async def delete(
        self, tombstones: Sequence[Tombstone], *, events: Sequence[Event] = ()
    ) -> None:
        for gone in tombstones:
            self._check_floor(gone.stamp)
        await self._writer.records(
            [record(self._live_number(gone.bucket), gone) for gone in tombstones], events
        )

    async def remove(self, removals: Sequence[Removal]) -> list[guards.Outcome]:
        for one in removals:
            self._check_floor(one.change.stamp)
        asked = [
            (record(self._live_number(one.change.bucket), one.change), one) for one in removals
        ]
        now_ms = self._wall.wall_ms()
        return await self._rare(lambda one: guards.remove(one, asked, now_ms))

    async def set_registers(
        self,
        bucket_id: str,
        key: str,
        vid: str,
        values: Mapping[str, str],
        *,
        written: Stamp | None = None,
        bypass: bool = False,
        events: Sequence[Event] = (),
    ) -> None:
        _check_texts(values)
        number, stamp = self._live_number(bucket_id), self.clock.now()
        now_ms = self._wall.wall_ms()
        await self._rare(
            lambda transaction: applying.set_registers(
                transaction,
                (number, key, vid),
                bucket_id,
                values,
                stamp,
                written=written,
                now_ms=now_ms,
                bypass=bypass,
            ),
            events,
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

    async def list_versions(
        self,
        bucket_id: str,
        *,
        prefix: str = "",
        delimiter: str = "",
        after: tuple[str, str | None] = ("", None),
        limit: int = 1000,
    ) -> VersionPage:
        number = self._directory.number(bucket_id)
        return await self._read(
            lambda db: version_listing.list_page(db, number, prefix, delimiter, after, limit)
        )

    # -- users --------------------------------------------------------------------------------

    async def add_user(self, user: User, key: AccessKey) -> None:
        await self._known(lambda transaction: registers.add_user(transaction, user, key))

    async def delete_user(self, user_id: str) -> None:
        stamp = self.clock.now()
        await self._known(lambda transaction: registers.delete_user(transaction, user_id, stamp))

    async def add_key(self, key: AccessKey) -> None:
        await self._known(lambda transaction: registers.add_key(transaction, key))

    async def add_data_key(self, key: AccessKey) -> None:
        assert key.user == DATA_KEYS
        await self._known(lambda transaction: registers.merge_key(transaction, key))

    async def revoke_key(self, key_id: str) -> None:
        stamp = self.clock.now()
        await self._known(lambda transaction: registers.revoke_key(transaction, key_id, stamp))

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

    async def upkeep(self) -> bool:
        if self.knowledge.settle():
            # What was accepted before the floor rose is before this in the writer's queue.
            await self._writer.action(lambda _: None)
            self.knowledge.cover_own()
        chores = self.knowledge.chores(self._peers)
        return await self._writer.action(lambda transaction: upkeep.work(transaction, chores))

    # -- inside -------------------------------------------------------------------------------

    def _committed(self, done: Transaction) -> None:
        """A transaction is durable: tell the directory and those who wait for the feed."""
        self.commits += 1
        self._reader.forget(done.items)
        for bucket, number in done.numbers:
            self._directory.set_number(bucket, number)
        if done.changed:
            self._directory.update(done.changed)
        if done.peers is not None:
            self._peers = done.peers
        if done.changed or done.peers is not None:
            self.copies.changed(done.changed, done.peers)
        if done.told:
            self.outbox.tell()
        if done.noted:
            self.notary_outbox.tell()
        if done.arrived:
            self.arrivals.note(done.arrived)
        if done.absent:
            self.elsewhere.committed()
        self.knowledge.horizon = max(self.knowledge.horizon, done.horizon)
        if done.seq != self._feed_end:
            self._feed_end = done.seq
            fed, self._fed = self._fed, asyncio.Event()
            fed.set()


def _check_texts(values: Mapping[str, str]) -> None:
    """ValueError for what is no text: half a surrogate pair can be neither stored nor sent, and in
    the database it would fail the transaction of all who write at the same time."""
    for value in values.values():
        value.encode()
