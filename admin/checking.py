"""Whether all bytes that the name server knows of are there and right: `farshore check`.

The datacenter must not run. Every body is read as a client would read it, each block checked by its
CRC, and the whole by the CRC-64 that was made when the client sent it. With several disks every
slot of every container is read as well, for what can still be decoded. Nothing is changed, unless a
repair is asked for: then slots are written anew that are missing or wrong (several disks), before
anything is read; and what cannot be read all the same is taken for what other datacenters hold, if
there are any, and fetched from there when the datacenter runs again.
"""

from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
from awscrt.checksums import crc64nvme

from admin.errors import AdminError
from admin.layout import Layout, Lock, existing
from admin.parts import fleet_of, object_disk, read_files
from dc.names import inventory
from dc.names.inventory import Body
from dc.objects.api import ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.container import ContainerDisk
from dc.objects.format import container_of
from dc.objects.inspecting import Fault, inspect
from dc.objects.settings import UNBOUNDED
from dc.objects.store import ContainerStore
from dc.placement import is_elsewhere
from dc.ports import Clock, Database, Databases, Disk, Randomness

_PAGE = 500
_TELL_SECONDS = 1.0


class Defect(msgspec.Struct, frozen=True):
    """A body that is not as it should be."""

    what: str
    bucket: str
    key: str
    id: str
    problem: str


class Damage(msgspec.Struct, kw_only=True):
    """Something wrong with a slot of a container, or, `slot` -1, with all of it: also where enough
    other slots are right for every byte. `disk`: "" where there is none. `offset`: of the first
    damaged byte or fragment in the slot's file, -1 when it is none of one place."""

    container: str
    slot: int
    disk: str
    problem: str
    offset: int = -1
    mended: bool = False


class Report(msgspec.Struct, kw_only=True):
    """What a check has found. `bytes_live` are those that somebody may ask for; `elsewhere` are
    bodies that other datacenters hold, by the rules of their buckets."""

    bodies: int = 0
    elsewhere: int = 0
    bytes_live: int = 0
    containers: int = 0
    bytes_on_disk: int = 0
    defects: int = 0
    slots_mended: int = 0
    given_up: int = 0
    """Of the defects: bodies that are fetched from other datacenters, or sent again by clients."""
    damages_left: int = 0
    """Of the damages: those that are not mended."""
    found: list[Defect] = []
    damages: list[Damage] = []
    """Both are all that there is, however many."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, or nothing is left to be done about it here."""
        return self.defects <= self.given_up and not self.damages_left


class Progress(NamedTuple):
    """How far a check is: bodies of all, and bytes."""

    done: int
    of: int
    bytes: int


async def check(
    root: Path,
    *,
    read: bool,
    repair: bool = False,
    tell: Callable[[Progress], None],
    clock: Clock,
    disk: Disk,
    databases: Databases,
    randomness: Randomness,
) -> Report:
    """Check a datacenter; without `read` only that containers are there, and long enough.
    AdminError when it runs, or cannot be read at all."""
    layout = existing(root)
    lock = Lock(layout.lock, f"the datacenter in {root}")
    lock.acquire()
    try:
        return await _check(layout, read, repair, tell, clock, disk, databases, randomness)
    finally:
        lock.release()


async def _check(
    layout: Layout,
    read: bool,
    repair: bool,
    tell: Callable[[Progress], None],
    clock: Clock,
    disk: Disk,
    databases: Databases,
    randomness: Randomness,
) -> Report:
    files = read_files(layout)
    path = layout.names / "names.db"
    if not path.exists():
        raise AdminError(f"{path} is not there: this datacenter has never run")
    kept = object_disk(files, disk, clock, fleet_of(files, clock, disk, randomness))
    store = ContainerStore(layout.root, disk=kept, clock=clock, randomness=randomness)
    database = await databases.open(path)
    report = Report()
    try:
        await store.open()
        stats = store.stats()
        report.containers, report.bytes_on_disk = stats.containers, stats.bytes_on_disk
        if isinstance(kept, CodedDisks):
            report.damages = await _inspect(kept, read or repair)
            if repair:
                report.slots_mended = await _mend(store)
                await _note_mended(kept, report)
            report.damages_left = sum(not one.mended for one in report.damages)
        sizes = await kept.run(lambda: _sizes(kept, layout.containers))
        checker = _Checker(store, sizes, read, report)
        total = await database.run(inventory.count)
        told = clock.monotonic()
        async for body in _all(database):
            await checker.look(body)
            if clock.monotonic() - told > _TELL_SECONDS:
                told = clock.monotonic()
                tell(Progress(report.bodies, total, report.bytes_live))
        if repair and checker.lost:
            await _give_up(database, checker.lost, report)
        return report
    finally:
        await store.close()
        await database.close()


async def _inspect(kept: CodedDisks, read: bool) -> list[Damage]:
    """What is wrong with slots, a container in each visit to a disk thread."""
    found: list[Fault] = []
    for container in kept.slots.containers():
        found += await kept.run(partial(inspect, kept, container, read))
    return [
        Damage(
            container=f"{one.container:016x}",
            slot=one.slot,
            disk=one.disk,
            problem=one.problem,
            offset=one.offset,
        )
        for one in found
    ]


async def _note_mended(kept: CodedDisks, report: Report) -> None:
    """Look again, and note what is left."""
    left = {(one.container, one.slot): one for one in await _inspect(kept, read=True)}
    for one in report.damages:
        one.mended = left.pop((one.container, one.slot), None) is None
    report.damages += left.values()


async def _mend(store: ContainerStore) -> int:
    """Look through all containers once, and write anew what is missing or wrong; how many slots."""
    mender = store.mender(UNBOUNDED)
    while not await mender.step():
        pass
    return mender.mended


async def _give_up(database: Database, lost: list[Body], report: Report) -> None:
    """Note what is to be had from elsewhere. Without other datacenters only parts are."""
    if not await database.run(inventory.has_peers):
        lost = [body for body in lost if body.what == "part"]
    await database.run(lambda db: inventory.give_up(db, lost))
    report.given_up = len(lost)


async def _all(database: Database) -> AsyncIterator[Body]:
    """All bodies, a page in each visit to the database's thread."""
    found = await database.run(inventory.bodies)
    while page := await database.run(lambda _: list(islice(found, _PAGE))):
        for body in page:
            yield body


def _sizes(kept: ContainerDisk, folder: Path) -> dict[int, int]:
    """How long each container is; 0 where it cannot be opened."""
    sizes = {}
    for name in kept.list_dir(folder):
        container = container_of(name)
        if container is not None:
            try:
                file = kept.open(folder / name)
            except OSError:
                sizes[container] = 0
                continue
            try:
                sizes[container] = file.size()
            finally:
                file.close()
    return sizes


class _Checker:
    """Looks at bodies, and writes down what it finds."""

    def __init__(
        self, store: ContainerStore, sizes: dict[int, int], read: bool, report: Report
    ) -> None:
        self._store = store
        self._sizes = sizes
        self._read = read
        self._report = report
        self.lost: list[Body] = []

    async def look(self, body: Body) -> None:
        report = self._report
        report.bodies += 1
        if is_elsewhere(body.extents):
            report.elsewhere += 1
            return
        report.bytes_live += sum(extent.length for extent in body.extents)
        problem = self._shape(body) or (await self._bytes(body) if self._read else "")
        if problem:
            report.defects += 1
            self.lost.append(body)
            report.found.append(Defect(body.what, body.bucket, body.key, body.id, problem))

    def _shape(self, body: Body) -> str:
        """What is wrong without looking at any byte."""
        length = sum(extent.length for extent in body.extents)
        if length != body.size:
            return f"it has {body.size} bytes, and {length} are written down"
        for extent in body.extents:
            size = self._sizes.get(extent.container)
            if size is None:
                return f"container {extent.container:016x} is not there"
            if extent.offset + extent.length > size:
                return f"container {extent.container:016x} ends at {size}"
        return ""

    async def _bytes(self, body: Body) -> str:
        crc = 0
        try:
            async for piece in self._store.read(body.extents, 0, body.size):
                crc = crc64nvme(piece, crc)
        except ObjectsError as error:
            return str(error)
        if body.crc64 and crc != body.crc64:
            return "the bytes are not those that were sent (CRC-64)"
        return ""
