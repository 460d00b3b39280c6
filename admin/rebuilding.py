"""A name server that was lost, made again from the containers: `farshore names rebuild`.

The datacenter must not run. All containers are read once, whole (`dc/objects/finding.py`); then the
journal tells what was committed, and the bodies themselves what was committed after its end. A new
database is made beside, with a journal of its own, and put in place when all of it is durable. The
containers are only added to. An attempt that is ended in between leaves nothing that counts, and is
made again from the beginning.

`docs/object-servers.md` says what can be missing.
"""

import itertools
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from msgspec.structs import replace

from admin.disks import note_disks
from admin.errors import AdminError
from admin.layout import PRIVATE_FOLDER, Layout, Lock, existing
from admin.parts import Files, fleet_of, object_disk, read_files
from dc.names.api import NamesError
from dc.names.journal import generation
from dc.names.model import (
    DATA_KEYS,
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Extent,
    Kind,
    Tombstone,
    User,
    Version,
)
from dc.names.service import SqliteNames, open_names
from dc.objects import finding
from dc.objects.api import CorruptData, ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.container import ContainerDisk
from dc.objects.format import container_of
from dc.objects.journal import Journal
from dc.objects.scan import Record, Scan, scan
from dc.objects.store import ContainerStore
from dc.placement import elsewhere, is_elsewhere
from dc.ports import Clock, Database, Databases, Disk, File, Randomness
from dc.stamps import Stamp, stamp_ms, stamp_origin

T = TypeVar("T")
LOST_SHOWN_MAX = 1000
_RECORDS = 2000
_CHANGES = 500
_TELL_SECONDS = 1.0


class Lost(msgspec.Struct, frozen=True):
    """A version whose bytes, or some of them, are in no container."""

    bucket: str
    key: str
    vid: str
    size: int


class Report(msgspec.Struct, kw_only=True):
    """What a rebuild has found, and made. `journal_until`: every change made up to then, in
    milliseconds since 1970, is known for certain to have been made or not; 0 when there is no whole
    journal. `after_journal`: versions that are known by their bodies only; `refused` and
    `unfinished` ones were not taken in. `lost` are those whose bytes are not there.
    `not_journaled`: why the new database could not be journaled yet, which the datacenter will do
    as soon as it can."""

    containers: int = 0
    containers_damaged: int = 0
    bytes_read: int = 0
    records: int = 0
    records_damaged: int = 0
    journal_until: int = 0
    buckets: int = 0
    users: int = 0
    keys: int = 0
    data_keys: int = 0
    versions: int = 0
    delete_markers: int = 0
    deletions: int = 0
    conflicts: int = 0
    peers: int = 0
    after_journal: int = 0
    refused: int = 0
    unfinished: int = 0
    lost: int = 0
    first_lost: list[Lost] = []
    kept_aside: str = ""
    not_journaled: str = ""


class Progress(NamedTuple):
    """How far a rebuild is: `doing`, and `done` of `of` of what that counts."""

    doing: str
    done: int
    of: int


Tell = Callable[[Progress], None]


class Ports(NamedTuple):
    """What a rebuild takes from outside."""

    clock: Clock
    disk: Disk
    databases: Databases
    randomness: Randomness


async def rebuild(root: Path, ports: Ports, *, force: bool, dry_run: bool, tell: Tell) -> Report:
    """Make the name server of a datacenter again. With `force` also when there is one, which is
    kept aside; with `dry_run` nothing is changed. AdminError."""
    layout = existing(root)
    lock = Lock(layout.lock, f"the datacenter in {root}")
    lock.acquire()
    try:
        if (layout.names / "names.db").exists() and not (force or dry_run):
            raise AdminError(
                f"{layout.names / 'names.db'} is there: nothing is lost, as far as can be seen;"
                " --force makes it again all the same, and keeps the old one aside"
            )
        files = await ports.disk.run(lambda: read_files(layout))
        return await _rebuild(layout, files, ports, dry_run, tell)
    except (sqlite3.Error, NamesError, ObjectsError) as error:
        raise AdminError(f"the names of {root} cannot be made again: {error}") from error
    finally:
        lock.release()


async def _rebuild(layout: Layout, files: Files, ports: Ports, dry_run: bool, tell: Tell) -> Report:
    work = layout.root / "names.rebuild"
    await ports.disk.run(lambda: _empty(work, ports.disk))
    fleet = fleet_of(files, ports.clock, ports.disk, ports.randomness)
    kept = object_disk(files, ports.disk, ports.clock, fleet)
    store = ContainerStore(layout.root, disk=kept, clock=ports.clock, randomness=ports.randomness)
    made = work / "names"
    try:
        if isinstance(kept, CodedDisks):
            await ports.disk.run(lambda: note_disks(layout, ports.disk))
        await store.open()
        await ports.disk.run(lambda: ports.disk.make_dirs(made, PRIVATE_FOLDER))
        rebuilder = _Rebuilder(layout, files, ports, kept, store, tell)
        report = await rebuilder.run(work, dry_run)
        await store.close()
        if not dry_run:
            report.kept_aside = await ports.disk.run(lambda: _swap(layout, made, ports.disk))
        return report
    finally:
        await store.close()
        await ports.disk.run(lambda: shutil.rmtree(work, ignore_errors=True))


def _empty(folder: Path, disk: Disk) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    disk.make_dirs(folder, PRIVATE_FOLDER)


def _swap(layout: Layout, made: Path, disk: Disk) -> str:
    """Put the new folder in place; where the old one is now, "" when there was none."""
    disk.sync_dir(made)
    aside = ""
    if layout.names.exists():
        if any(layout.names.iterdir()):
            numbers = itertools.count(1)
            old = next(
                path
                for number in numbers
                if not (path := layout.root / f"names.old-{number}").exists()
            )
            disk.rename(layout.names, old)
            aside = str(old)
        else:
            layout.names.rmdir()
    disk.rename(made, layout.names)
    disk.sync_dir(layout.root)
    return aside


class _Rebuilder:
    """One rebuild."""

    def __init__(
        self,
        layout: Layout,
        files: Files,
        ports: Ports,
        kept: ContainerDisk,
        store: ContainerStore,
        tell: Tell,
    ) -> None:
        self._layout = layout
        self._own = files.identity.dc_id
        self._ports = ports
        self._kept = kept
        self._store = store
        self._report = Report()
        self._latest: Stamp = ""
        self._tell = tell
        self._told_at = 0.0
        self._has_peers = False

    async def run(self, work: Path, dry_run: bool) -> Report:
        """Make a database in the folder `names` of `work`."""
        scratch = await self._ports.databases.open(work / "found.db")
        try:
            await scratch.run(finding.prepare)
            await self._scan(scratch)
            name, told = await self._read_journal(scratch)
            if not name:
                raise AdminError(
                    f"no journal of names is in the containers of {self._layout.root}: an older"
                    " farshore wrote them; pair a new datacenter with one that has the same objects"
                )
            names = await open_names(
                work / "names" / "names.db",
                databases=self._ports.databases,
                clock=self._ports.clock,
                randomness=self._ports.randomness,
                dc_id=self._own,
            )
            try:
                token = self._ports.randomness.token(8).hex()
                number = int(name[:8], 16) + 1
                await names.journal.begin(generation(number, token), told.peers, told.tokens)
                self._has_peers = bool(told.peers)
                self._report.peers = len(told.peers)
                await self._apply_journal(scratch, names)
                await self._apply_claims(scratch, names, told.floor)
                names.clock.resume(self._latest)
                # A transaction, which stores the clock.
                await names.journal.replace([], [])
                await self._count(names)
                self._name_buckets(names)
                if not dry_run:
                    # Of all that was found up to now it is settled whether it was made.
                    settled = f"{self._latest[:16]}{self._own}" if self._latest else ""
                    journal = Journal(
                        names, self._store, self._ports.clock, begins=False, floor=settled
                    )
                    await journal.open()
                    try:
                        await journal.finish()
                    except ObjectsError as error:
                        # Disks are full, or too few. The old journal stays in force until the
                        # datacenter has written a new one.
                        self._report.not_journaled = str(error)
            finally:
                await names.close()
        finally:
            await scratch.close()
        return self._report

    def _progress(self, doing: str, done: int, of: int) -> None:
        now = self._ports.clock.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            self._tell(Progress(doing, done, of))

    # -- reading ---------------------------------------------------------------------------------

    async def _scan(self, scratch: Database) -> None:
        """Read all containers, and note what is in them."""
        folder, kept, report = self._layout.containers, self._kept, self._report
        listed = await kept.run(lambda: kept.list_dir(folder))
        paths = [folder / name for name in listed if container_of(name) is not None]
        report.containers = len(paths)
        for number, path in enumerate(paths):
            try:
                file = await kept.run(lambda path=path: kept.open(path))  # type: ignore[misc]
            except OSError:
                report.containers_damaged += 1
                continue
            try:
                async for records in self._records(file):
                    await scratch.run(lambda db, found=records: finding.add(db, found))  # type: ignore[misc]
                    self._progress("containers", number, len(paths))
            except (CorruptData, OSError):
                report.containers_damaged += 1
            finally:
                await kept.run(file.close)

    async def _records(self, file: File) -> AsyncIterator[list[Record]]:
        """All whole records of a container, also behind a place where something else stands."""
        report, run = self._report, self._kept.run
        found: Scan = await run(lambda: scan(file))
        records = iter(found)
        while True:
            page = await run(lambda: list(itertools.islice(records, _RECORDS)))  # noqa: B023
            if page:
                report.records += len(page)
                report.records_damaged += sum(1 for one in page if not one.intact)
                report.bytes_read += sum(one.extent.length for one in page)
                yield page
            elif found.torn and await run(found.skip):
                records = iter(found)
            else:
                return

    async def _read_journal(self, scratch: Database) -> tuple[str, finding.Told]:
        """Take the journal in: its generation, and what it tells beside items."""
        name, spans = await scratch.run(finding.choose)
        latest = finding.Told("", [], [])
        floor: Stamp = ""
        for number, span in enumerate(reversed(spans)):
            data = bytearray()
            for piece in await self._store.load(span.extents):
                if isinstance(piece, ObjectsError):
                    raise AdminError(f"the journal was read a moment ago and cannot be: {piece}")
                data += piece
            try:
                latest = await scratch.run(
                    lambda db, span=span, data=data: finding.take(db, span, bytes(data))  # type: ignore[misc]
                )
            except ValueError as error:
                raise AdminError(f"{error}: use the newer farshore that wrote it") from None
            floor = max(floor, span.floor)
            self._progress("journal", number, len(spans))
        await scratch.run(finding.index)
        if not finding.complete(spans):
            floor = ""
        self._report.journal_until = stamp_ms(floor) if floor else 0
        return name, latest._replace(floor=floor)

    # -- making ----------------------------------------------------------------------------------

    async def _apply_journal(self, scratch: Database, names: SqliteNames) -> None:
        after, done = 0, 0
        (total,) = await scratch.run(lambda db: db.execute("SELECT count(*) FROM items").fetchone())
        while entries := await scratch.run(
            lambda db, after=after: finding.page(db, after, _CHANGES)  # type: ignore[misc]
        ):
            changes = [one.change for one in entries]
            for change in changes:
                self._latest = max(self._latest, *_stamps(change))
            placed = await scratch.run(
                lambda db, changes=changes: [_placed(db, one) for one in changes]  # type: ignore[misc]
            )
            ready = [await self._with_bytes(change, missing) for change, missing in placed]
            await names.apply(ready, restoring=True)
            after, done = entries[-1].seq, done + len(entries)
            self._progress("names", done, total)

    async def _with_bytes(self, change: Change, missing: Sequence[Extent]) -> Change:
        """The change; if some of its bytes are really nowhere, others are asked for them."""
        if not missing:
            return change
        # The head of the record may be damaged, and what it is the head of not.
        loaded = await self._store.load(missing)
        if not any(isinstance(one, ObjectsError) for one in loaded):
            return change
        version = change.loser if isinstance(change, Conflict) else change
        assert isinstance(version, Version)
        self._lose(version)
        if not self._has_peers:
            return change
        asked = replace(version, extents=elsewhere(version.size))
        return replace(change, loser=asked) if isinstance(change, Conflict) else asked

    def _lose(self, version: Version) -> None:
        self._report.lost += 1
        if len(self._report.first_lost) < LOST_SHOWN_MAX:
            self._report.first_lost.append(
                Lost(version.bucket, version.key, version.vid, version.size)
            )

    async def _apply_claims(self, scratch: Database, names: SqliteNames, floor: Stamp) -> None:
        """Take in what only bodies tell: what was made here after the journal's floor. Without a
        whole journal, whatever they tell."""
        report = self._report
        after: tuple[Stamp, int, int] = (floor, 2**63 - 1, 2**63 - 1)
        while found := await scratch.run(
            lambda db, after=after: finding.claims(db, after, _CHANGES)  # type: ignore[misc]
        ):
            last = found[-1]
            after = (last[0], last[2].container, last[2].offset)
            own: list[Version] = []
            others: list[Version] = []
            for stamp, about, extent, refused in found:
                self._latest = max(self._latest, stamp)
                if stamp_origin(stamp) != self._own and floor:
                    continue  # Who made it gives it back.
                if await scratch.run(lambda db, one=about.version: finding.is_told(db, one)):  # type: ignore[misc]
                    continue
                extents = await scratch.run(
                    lambda db, about=about, extent=extent: finding.whole_body(db, about, extent)  # type: ignore[misc]
                )
                if refused:
                    report.refused += 1
                elif extents is None:
                    report.unfinished += 1
                else:
                    by = own if stamp_origin(stamp) == self._own else others
                    by.append(replace(about.version, extents=extents))
            report.after_journal += await names.journal.admit(own) + len(others)
            await names.apply(others, restoring=True)
            self._progress("bodies", report.after_journal, 0)

    def _name_buckets(self, names: SqliteNames) -> None:
        """In what is lost: by name instead of id."""
        shown = [(one, names.directory.bucket_by_id(one.bucket)) for one in self._report.first_lost]
        self._report.first_lost = [
            one if bucket is None else replace(one, bucket=bucket.name) for one, bucket in shown
        ]

    async def _count(self, names: SqliteNames) -> None:
        report = self._report
        after, complete = 0, False
        while not complete:
            entries, after, complete = await names.feed(after, _CHANGES)
            for entry in entries:
                match entry.change:
                    case Version():
                        marker = entry.change.kind == Kind.DELETE_MARKER
                        report.delete_markers += marker
                        report.versions += not marker
                    case Tombstone():
                        report.deletions += 1
                    case Conflict():
                        report.conflicts += not entry.change.gone
                    case Bucket():
                        report.buckets += entry.change.live
                    case User():
                        report.users += not entry.change.deleted
                    case AccessKey():
                        of_data = entry.change.user == DATA_KEYS
                        report.data_keys += of_data
                        report.keys += not (of_data or entry.change.deleted)
                    case _:
                        pass


def _placed(db: sqlite3.Connection, change: Change) -> tuple[Change, list[Extent]]:
    """A change with its bytes where they are now, and the extents that are not there."""
    version = change.loser if isinstance(change, Conflict) else change
    if not isinstance(version, Version) or is_elsewhere(version.extents):
        return change, []
    extents, missing = finding.located(db, version)
    if extents == version.extents:
        return change, missing
    version = replace(version, extents=extents)
    return replace(change, loser=version) if isinstance(change, Conflict) else version, missing


def _stamps(change: Change) -> list[Stamp]:
    """All stamps of a change, and ""."""
    match change:
        case Version():
            return ["", change.stamp, *(one.stamp for one in change.registers.values())]
        case Conflict():
            return [change.winner, *_stamps(change.loser)]
        case Bucket():
            registers = [one.stamp for one in change.registers.values()]
            return ["", change.created, change.deleted, change.revived, *registers]
        case _:
            return ["", change.stamp]
