"""The name server under power cuts, together with the containers that its versions point into.

A script goes through all that changes the names, through `dc/names/api.py` only. After each step
what the interface shows is kept: a *snapshot*. A state of the disk is opened by the normal code,
and then must show one of the snapshots, whole: of a step everything or nothing, and no step
without those before it. It must be the snapshot of the last acknowledged step or a later one. So
an effect without its cursor, or a cursor without its effect, is found, too. Beyond that:

- of every version that is shown, acknowledged or not, the bytes are in the containers;
- new stamps and feed positions are later than all that is there;
- buckets and objects can be made, and are there when the database is opened once more.

Databases that are the same to SQLite after recovery are opened once (`crash_wal.py`); that they are
is checked with SQLite on a part of the states.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from crash_containers import ContainerOracle, Stored, open_store, small_frames
from crash_kit import TURNS, FixedClock, SeededRandomness, SlowDisk, noise, recorded, scratch
from crash_os import DropSync
from crash_sqlite import VFS, InlineDatabase, InlineDatabases
from crash_states import State
from crash_trace import Image, Trace, lay_out
from crash_wal import Log, recovered

from dc.names import writer
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Cursor,
    Extent,
    Inboxed,
    Kind,
    Meta,
    Peer,
    Tombstone,
    Upload,
    UploadPart,
    User,
    Version,
    bucket_id,
)
from dc.names.service import SqliteNames, open_names
from dc.objects.store import ContainerStore
from dc.stamps import HybridClock

OWNER = "a" * 64
HERE = "1111111111111111"
THERE = "2222222222222222"
DATABASE = "names/names.db"
VERIFY_EACH = 100
"""SQLite itself looks at each n-th state that is taken to be the same as one before."""

Snapshot = list[Any]


class Told(NamedTuple):
    """A step was acknowledged: `snapshot` is the number of what the names showed then."""

    snapshot: int


class SlowDatabases(InlineDatabases):
    """Units of work begin some turns of the event loop late (`crash_kit.TURNS`)."""

    async def open(self, path: Path) -> "SlowDatabase":
        database = await super().open(path)
        assert isinstance(database, InlineDatabase)
        return SlowDatabase(database)


class SlowDatabase:
    def __init__(self, database: InlineDatabase) -> None:
        self._database = database

    async def run(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return await self._database.run(work)

    async def close(self) -> None:
        await self._database.close()


async def open_on(root: Path, databases: InlineDatabases, seed: str) -> SqliteNames:
    return await open_names(
        root / DATABASE,
        databases=databases,
        clock=FixedClock(),
        randomness=SeededRandomness(seed),
        dc_id=HERE,
    )


async def snapshot_of(names: SqliteNames) -> Snapshot:
    """All that the interface shows, in an order that does not depend on when it is asked."""
    entries = (await names.feed(after=0, limit=10_000))[0]
    uploads: list[Any] = []
    listings: list[Any] = []
    for entry in entries:
        if isinstance(entry.change, Bucket):
            bucket = entry.change.id
            listings.append(await names.list_objects(bucket_id=bucket))
            for upload in await names.uploads(bucket_id=bucket):
                uploads.append((upload, await names.parts(upload_id=upload.id)))
    peers: list[Any] = []
    for peer in names.peers():
        cursor = await names.cursor(peer=peer.dc_id)
        place = cursor and (cursor.epoch, cursor.seq)
        peers.append((peer, place, await names.inbox(peer=peer.dc_id)))
    completed = [await names.completed_upload(upload_id=f"upload {at}") for at in range(4)]
    users = [(user, names.directory.keys_of(user.id)) for user in names.directory.users()]
    return [entries, listings, uploads, completed, peers, users]


class Script:
    """The steps, on one name server and one object store; `snapshots` is appended to."""

    def __init__(self, trace: Trace, snapshots: list[Snapshot], seed: int) -> None:
        self.trace = trace
        self.snapshots = snapshots
        self.seed = seed
        self.names: SqliteNames
        self.objects: ContainerStore
        self._there = HybridClock(FixedClock(), THERE)
        self._bodies = 0

    async def open(self, root: Path, databases: InlineDatabases) -> None:
        run = f"{self.seed} {len(self.trace.acks)}"
        self.names = await open_on(root, databases, run)
        self.objects = open_store(root, SlowDisk(), run)
        await self.objects.open()
        await self._told()

    async def close(self) -> None:
        await self.objects.close()
        await self.names.close()

    async def _told(self) -> None:
        snapshot = await snapshot_of(self.names)
        if not self.snapshots or self.snapshots[-1] != snapshot:
            self.snapshots.append(snapshot)
        self.trace.ack(Told(len(self.snapshots) - 1))

    async def step(self, *work: Awaitable[Any]) -> None:
        """Things done at once, which share a transaction."""
        await asyncio.gather(*work)
        await self._told()

    async def body(self, ident: str, size: int) -> tuple[list[Extent], bytes]:
        self._bodies += 1
        data = noise(size, self.seed + self._bodies)
        name = f"{self.seed} {ident}".encode()
        extents = await self.objects.put(name, data)
        self.trace.ack(Stored(name, extents, data))
        return extents, data

    async def version(self, bucket: str, key: str, size: int = 300) -> Version:
        extents, data = await self.body(f"{key} {self._bodies}", size)
        return self._version(bucket, key, self.names.clock.now(), extents, data)

    def _version(
        self, bucket: str, key: str, stamp: str, extents: list[Extent], data: bytes
    ) -> Version:
        return Version(
            bucket=bucket,
            key=key,
            vid="",
            stamp=stamp,
            kind=Kind.OBJECT,
            size=len(data),
            etag=hashlib.md5(data).hexdigest(),
            meta=Meta(content_type="text/plain"),
            extents=extents,
        )

    # -- what is done ---------------------------------------------------------------------------

    async def buckets_and_objects(self) -> None:
        names, now = self.names, self.names.clock.now
        bucket = (await names.create_bucket(name="photos", owner=OWNER, region="eu")).id
        await self._told()
        await self.step(names.put(version=await self.version(bucket, "one")))
        several = [await self.version(bucket, f"several/{at}") for at in range(3)]
        await self.step(*(names.put(version=version) for version in several))
        await self.step(names.put(version=await self.version(bucket, "one", 700)))
        gone = [
            Tombstone(bucket=bucket, key=key, vid="", stamp=now())
            for key in ("several/0", "several/1")
        ]
        await self.step(names.delete(tombstones=gone))
        await self.step(names.create_bucket(name="empty", owner=OWNER, region="eu"))
        await self.step(names.delete_bucket(bucket_id=bucket_id(OWNER, "empty")))

    async def upload(self, number: int = 0) -> None:
        names, now = self.names, self.names.clock.now
        bucket = bucket_id(OWNER, "photos")
        upload = Upload(
            id=f"upload {number}",
            bucket=bucket,
            key="large",
            owner=OWNER,
            started=now(),
            meta=Meta(),
        )
        await self.step(names.create_upload(upload=upload))
        extents: list[Extent] = []
        whole = b""
        for part in (1, 2):
            places, data = await self.body(f"part {number}.{part}", 900)
            record = UploadPart(
                number=part, size=900, etag="e", stamp=now(), crc64=0, checksums={}, extents=places
            )
            await self.step(names.put_part(upload_id=upload.id, part=record))
            extents += places
            whole += data
        version = self._version(bucket, "large", now(), extents, whole)
        await self.step(names.complete_upload(upload_id=upload.id, version=version))

    async def users(self) -> None:
        names, now = self.names, self.names.clock.now
        user = User(id="b" * 64, email="b@example.org", stamp=now())
        keys = [
            AccessKey(id=f"KEY{at}", user=user.id, secret=noise(60, at), stamp=now())
            for at in range(2)
        ]
        await self.step(names.add_user(user=user, key=keys[0]))
        await self.step(names.add_key(key=keys[1]))
        await self.step(names.revoke_key(key_id="KEY0"))

    async def pair(self) -> None:
        peer = Peer(
            dc_id=THERE,
            name="tokyo",
            region="asia",
            endpoints=["tokyo.test:1"],
            fingerprint="f" * 64,
            signing_key=noise(32, 1),
            sealing_key=noise(32, 2),
            paired=self.names.clock.now(),
        )
        await self.step(
            self.names.add_peer(peer=peer, token_id="token", token_expires=2_000_000_000)
        )

    async def feed_of_peer(self, first: int, batches: int) -> None:
        """Batches of a peer's feed: bodies first, then records, inbox and cursor at once."""
        names = self.names
        bucket = Bucket(
            id=bucket_id(OWNER, "theirs"),
            name="theirs",
            owner=OWNER,
            region="asia",
            created=self._there.now(),
        )
        for batch in range(first, first + batches):
            versions = []
            for at in range(3):
                extents, data = await self.body(f"theirs {batch}.{at}", 200)
                stamp = self._there.now()
                names.clock.observe(stamp)
                versions.append(self._version(bucket.id, f"t{at}", stamp, extents, data))
            later = Inboxed(peer=THERE, seq=batch * 10 + 5, change=noise(80, batch))
            changes: list[Change] = [bucket, *versions]
            await self.step(
                names.apply(
                    changes=changes,
                    peer=THERE,
                    cursor=Cursor(epoch="theirs", seq=batch * 10 + 9),
                    inbox=[later],
                )
            )
            extents, data = await self.body(f"late {batch}", 150)
            stamp = self._there.now()
            names.clock.observe(stamp)
            late = self._version(bucket.id, "late", stamp, extents, data)
            await self.step(names.apply(changes=[late], peer=THERE, done=[later.seq]))

    async def goodbye(self) -> None:
        await self.step(self.names.remove_peer(dc_id=THERE))
        await self.step(self.names.delete_user(user_id="b" * 64))


@contextmanager
def early_checkpoints(commits: int = 5) -> Iterator[None]:
    """The log is copied back after a few commits, so that it is written over again and again."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(writer, "CHECKPOINT_COMMITS", commits))
        yield


async def whole_life(root: Path, script: Script, databases: InlineDatabases) -> None:
    """Everything, with a restart in the middle."""
    await script.open(root, databases)
    await script.buckets_and_objects()
    await script.upload()
    await script.close()
    await script.open(root, databases)
    await script.users()
    await script.pair()
    await script.feed_of_peer(0, 1)
    await script.goodbye()
    await script.close()


async def short_life(root: Path, script: Script, databases: InlineDatabases) -> None:
    """A few objects, or some more where there are some."""
    await script.open(root, databases)
    if script.names.directory.bucket("photos"):
        await script.upload(2)
    else:
        await script.buckets_and_objects()
    await script.close()


async def uploads_only(root: Path, script: Script, databases: InlineDatabases) -> None:
    await script.open(root, databases)
    await script.step(script.names.create_bucket(name="photos", owner=OWNER, region="eu"))
    await script.upload()
    await script.close()


async def replication(root: Path, script: Script, databases: InlineDatabases) -> None:
    """Pairing and batches of the peer's feed only."""
    await script.open(root, databases)
    await script.pair()
    await script.feed_of_peer(0, 2)
    await script.close()


Life = Callable[[Path, Script, InlineDatabases], Awaitable[None]]


def record_names(
    trace: Trace,
    life: Life = whole_life,
    *,
    seed: int = 0,
    snapshots: list[Snapshot] | None = None,
    drop: DropSync = lambda path, number: False,
    before: Callable[[sqlite3.Connection], None] | None = None,
) -> tuple[Trace, list[Snapshot]]:
    """Let a DC live on what `trace` begins with."""
    snapshots = [] if snapshots is None else snapshots

    async def run(root: Path) -> None:
        await life(root, Script(trace, snapshots, seed), SlowDatabases(VFS, before))

    with small_frames(), early_checkpoints(9 - seed % 7), recorded(trace, drop) as root:
        asyncio.run(run(root))
    return trace, snapshots


class Opened(NamedTuple):
    """What the normal code made of a database."""

    places: list[int]
    """Which snapshots it is."""
    extents: frozenset[Extent]
    """Where the bytes of the versions are that it shows."""
    problems: list[str]
    content: str
    """A hash of what SQLite sees in its tables."""


class NamesOracle:
    """See the head of the file. `opened` counts databases that were opened by the name server,
    `verified` those that SQLite found to be the same as one of them."""

    def __init__(self, trace: Trace, snapshots: Sequence[Snapshot]) -> None:
        self.opened = 0
        self.verified = 0
        self.objects = ContainerOracle(trace)
        self.snapshots = snapshots
        self._known: dict[object, Opened] = {}
        self._states = 0
        self._log = Log()
        self._last: tuple[Image, Opened]

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        opened = self._open(state.image)
        self._last = state.image, opened
        good, problems = self.objects.good(state.image)
        if opened.problems:
            return problems + opened.problems
        least = max((fact.snapshot for fact in acked if isinstance(fact, Told)), default=0)
        if not opened.places:
            problems.append("half of a change of names is there")
        elif max(opened.places) < least:
            problems.append("an acknowledged change of names is lost")
        if not good.issuperset(opened.extents):
            problems.append("an object has a name and no bytes")
        return problems

    def opened_as(self, image: Image) -> list[int]:
        """Which snapshots the state shows that was asked for last."""
        assert image is self._last[0]
        return self._last[1].places

    def _open(self, image: Image) -> Opened:
        files = {path: data for path, data in image.items() if path.startswith("names")}
        database, log, journal = (files.get(DATABASE + end) for end in ("", "-wal", "-journal"))
        key: object = recovered(self._log, database, log, journal)
        if key is None:
            key = tuple(sorted(files.items(), key=lambda item: item[0]))
        known = self._known.get(key)
        self._states += 1
        if known is None:
            self.opened += 1
            known = self._known[key] = asyncio.run(self._open_anew(files))
        elif self._states % VERIFY_EACH == 0 and not known.problems:
            self.verified += 1
            with scratch() as root:
                content = content_of(files, root)
            if content != known.content:
                return Opened([], frozenset(), ["crash_wal.py is mistaken"], content)
        return known

    async def _open_anew(self, files: Image) -> Opened:
        with scratch() as root:
            content = content_of(files, root)
        with scratch() as root:
            lay_out({"names": None, **files}, root)
            # Whatever is in the shared memory after a crash, it does not count.
            (root / f"{DATABASE}-shm").write_bytes(noise(32 << 10, 3))
            try:
                names = await open_on(root, InlineDatabases(), "again")
                try:
                    snapshot = await snapshot_of(names)
                    problems = await self._go_on(names, snapshot)
                finally:
                    await names.close()
                names = await open_on(root, InlineDatabases(), "once more")
                try:
                    if "again" not in {bucket.name for bucket in names.directory.buckets_of(OWNER)}:
                        problems.append("a new bucket was forgotten")
                finally:
                    await names.close()
            except Exception as error:
                told = f"the name server cannot open: {error!r}"
                return Opened([], frozenset(), [told], content)
        places = [at for at, one in enumerate(self.snapshots) if one == snapshot]
        changes = [entry.change for entry in snapshot[0]]
        extents = {e for one in changes if isinstance(one, Version) for e in one.extents}
        return Opened(places, frozenset(extents), problems, content)

    async def _go_on(self, names: SqliteNames, snapshot: Snapshot) -> list[str]:
        """Change something after a crash."""
        problems = []
        end = max((entry.seq for entry in snapshot[0]), default=0)
        last = max((entry.change.stamp for entry in snapshot[0]), default="")
        if names.feed_end < end:
            problems.append(f"the feed ends at {names.feed_end}, and has {end}")
        if names.clock.now() <= last:
            problems.append("a new stamp is not later than those that are there")
        bucket = await names.create_bucket(name="again", owner=OWNER, region="eu")
        fed = [one.change for one in (await names.feed(after=end, limit=10))[0]]
        if not any(isinstance(one, Bucket) and one.id == bucket.id for one in fed):
            problems.append("a new bucket is not at the end of the feed")
        return problems


def content_of(files: Image, root: Path) -> str:
    """A hash of all rows in a database, as SQLite opens it."""
    lay_out({"names": None, **files}, root)
    found = hashlib.sha256()
    with closing(sqlite3.connect(root / DATABASE, isolation_level=None)) as db:
        try:
            tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master ORDER BY 1")]
            for table in tables:
                if not table.startswith("sqlite_") and "_by_" not in table:
                    rows = db.execute(f"SELECT * FROM {table}").fetchall()
                    found.update(repr((table, rows)).encode())
            found.update(repr(db.execute("PRAGMA user_version").fetchone()).encode())
        except sqlite3.DatabaseError as error:
            found.update(repr(error).encode())
    return found.hexdigest()
