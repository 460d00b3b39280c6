"""Compaction under power cuts and kills: a datacenter with garbage, on one disk or several, is
compacted until nothing is left to do.

What must be so in every state: names and objects open; every body that was there is there, byte
for byte: current versions, kept conflicts, parts of uploads. On a part of the states it is gone on
with, and in the end all bodies are there again, and nothing else takes space.

`1+0 to 2+1` and the like is a datacenter that was written with one redundancy and is opened with
another one: then compaction re-codes all of it. `2+1 in archive`: its bucket was put into another
tier.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from crash_coded import NAMES, in_turn, store_on
from crash_coded import empty as empty_disks
from crash_containers import CONTAINER_BYTES, open_store, small_frames
from crash_kit import FixedClock, SeededRandomness, noise, recorded, scratch
from crash_names import OWNER, SlowDatabases, early_checkpoints, open_on
from crash_os import DropSync, InlineDisk
from crash_sqlite import VFS, InlineDatabases
from crash_states import State
from crash_trace import Image, Trace, lay_out, read_in

from dc.names.model import Conflict, Kind, Meta, Tombstone, Upload, UploadPart, Version
from dc.names.service import SqliteNames
from dc.objects import moving
from dc.objects.coded_disks import CodedDisks
from dc.objects.compaction import Ask, Compactor
from dc.objects.disk_place import local_places
from dc.objects.ident import version_ident
from dc.objects.one_disk import OneDisk
from dc.objects.redundancy import parse_mode
from dc.objects.settings import CompactionSettings
from dc.objects.store import ContainerStore
from dc.objects.tiers import TIER, Tier
from dc.ports import Disk

SETTINGS = CompactionSettings(0.3, 1 << 40, 0.0, 1.0)
ROUNDS_MAX = 20
GO_ON_EACH = 12
"""Compaction is gone on with on each n-th state."""
IN_ARCHIVE = "2+1 in archive"
LOOK_EACH = {"1+0": 1, "2+1": 5, "1+0 to 2+1": 5, "2+1 to 1+1": 2, IN_ARCHIVE: 2}
"""Each n-th state is looked at: on several disks there are many, and they are alike."""
KEYS = [f"key {number}" for number in range(12)]
GONE = KEYS[:3] + KEYS[6:11]

Open = Callable[[Path, Disk, str], ContainerStore]
Bodies = dict[str, bytes]


def coded_as(mode: str, *tiers: Tier) -> Open:
    """Opens a datacenter on several disks, that may have been on one."""

    def open_it(root: Path, disk: Disk, seed: str) -> ContainerStore:
        disks = CodedDisks(
            disk,
            local_places(disk, [root / name for name in NAMES]),
            "dc",
            parse_mode(mode),
            clock=FixedClock(),
            side=in_turn,
            tiers=tiers,
            before=OneDisk(disk, root / "containers"),
        )
        return ContainerStore(
            root,
            disk=disks,
            clock=FixedClock(),
            randomness=SeededRandomness(seed),
            container_max_bytes=CONTAINER_BYTES,
        )

    return open_it


OPEN: dict[str, Open] = {
    "1+0": open_store,
    "2+1": store_on,
    "1+0 to 2+1": coded_as("2+1"),
    "2+1 to 1+1": coded_as("1+1"),
    IN_ARCHIVE: coded_as("2+1", Tier("archive", parse_mode("1+1"))),
}


@asynccontextmanager
async def opened(root: Path, mode: str, databases: InlineDatabases, seed: str) -> Any:
    """The names and objects of a datacenter."""
    async with AsyncExitStack() as stack:
        names = await open_on(root, databases, seed)
        stack.push_async_callback(names.close)
        objects = OPEN[mode](root, InlineDisk(), seed)
        stack.push_async_callback(objects.close)
        await objects.open()
        yield names, objects


def with_garbage(mode: str) -> tuple[Image, Bodies]:
    """A datacenter in which much was deleted; and the bodies that are left."""
    with small_frames(), scratch() as root:
        disks = {} if mode == "1+0" else empty_disks()
        one = {"containers": None} if mode.startswith("1+0") else {}
        lay_out({"names": None, **disks, **one}, root)
        bodies = asyncio.run(_fill(root, mode.partition(" to ")[0]))
        return read_in(root, ("-shm",)), bodies


async def _fill(root: Path, mode: str) -> Bodies:
    bodies: Bodies = {}
    async with opened(root, mode, InlineDatabases(), "fill") as (names, objects):
        bucket = (await names.create_bucket("photos", OWNER, "eu")).id
        now = names.clock.now

        async def stored(key: str, size: int, seed: int) -> tuple[Version, bytes]:
            data = noise(size, seed)
            stamp, meta = now(), Meta()
            made = Version(bucket, key, "", stamp, Kind.OBJECT, size, "e" * 32, meta, [])
            if size < 1000:
                extents = await objects.put(version_ident(made), data)
            else:
                async with objects.writer(b"large") as writer:
                    await writer.write(data)
                    extents = await writer.finish()
            return Version(bucket, key, "", stamp, Kind.OBJECT, size, "e" * 32, meta, extents), data

        for seed, key in enumerate(KEYS):
            made, bodies[key] = await stored(key, 2500 if seed in (4, 7) else 600 + seed, seed)
            await names.put(made)
        lost, bodies["conflict"] = await stored("fought over", 500, 77)
        await names.apply([Conflict(loser=lost, winner=now())])
        await names.create_upload(Upload("up", bucket, "up", OWNER, now(), Meta()))
        part, bodies["part"] = await stored("part", 700, 78)
        await names.put_part("up", UploadPart(1, 700, "e", now(), 0, {}, part.extents))
        for key in GONE:
            await names.delete([Tombstone(bucket=bucket, key=key, vid="", stamp=now())])
            del bodies[key]
        if mode == IN_ARCHIVE:
            await names.set_bucket_registers(bucket, {TIER: "archive"})
    return bodies


async def compact(names: SqliteNames, objects: ContainerStore) -> int:
    """Until nothing is left to do; how many containers were removed."""
    compactor = Compactor(names, objects, FixedClock(), SETTINGS)
    for _ in range(ROUNDS_MAX):
        if not await compactor.round(Ask(0.05)):
            break
    return int(compactor.progress()["removed_containers"])


@contextmanager
def small_batches() -> Iterator[None]:
    """So that a few bodies are moved in many steps."""
    with (
        mock.patch.object(moving, "LOAD_BYTES", 1000),
        mock.patch.object(moving, "BATCH_RECORDS", 3),
    ):
        yield


def record_compaction(
    image: Image, mode: str, drop: DropSync = lambda path, number: False
) -> tuple[Trace, int]:
    """Compact a datacenter; how many containers were removed."""
    trace = Trace(image)

    async def work(root: Path) -> int:
        async with opened(root, mode, SlowDatabases(VFS, None), "compact") as (names, objects):
            return await compact(names, objects)

    with small_frames(), small_batches(), early_checkpoints(), recorded(trace, drop) as root:
        return trace, asyncio.run(work(root))


async def bodies_of(names: SqliteNames, objects: ContainerStore) -> Bodies:
    """All that is there, read."""
    found: Bodies = {}

    async def read(extents: Sequence[Any]) -> bytes:
        size = sum(one.length for one in extents)
        return b"".join([bytes(one) async for one in objects.read(list(extents), 0, size)])

    bucket = names.directory.bucket("photos")
    assert bucket is not None
    for listed in (await names.list_objects(bucket.id)).objects:
        version = await names.current(bucket.id, listed.key)
        assert version is not None
        found[listed.key] = await read(version.extents)
    for conflict in await names.conflicts():
        found["conflict"] = await read(conflict.loser.extents)
    for part in await names.parts("up"):
        found["part"] = await read(part.extents)
    return found


class CompactionOracle:
    """See the head of the file. `gone_on` counts the states on which it was gone on with."""

    def __init__(self, mode: str, bodies: Bodies, go_on_each: int = GO_ON_EACH) -> None:
        self.gone_on = 0
        self.seen = 0
        self._mode = mode
        self._bodies = bodies
        self._go_on_each = go_on_each
        self._states = 0

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        self.seen += 1
        return self.look(state.image) if self.seen % LOOK_EACH[self._mode] == 0 else []

    def look(self, image: Image) -> list[str]:
        self._states += 1
        goes_on = self._states % self._go_on_each == 0
        self.gone_on += goes_on
        with small_frames(), scratch() as root:
            lay_out({"names": None, **image}, root)
            try:
                return asyncio.run(self._look(root, goes_on))
            except Exception as error:
                return [f"it cannot be used: {type(error).__name__}: {error}"]

    async def _look(self, root: Path, goes_on: bool) -> list[str]:
        async with opened(root, self._mode, InlineDatabases(), "again") as (names, objects):
            problems = self._compare(await bodies_of(names, objects))
            if goes_on and not problems:
                await compact(names, objects)
                problems = self._compare(await bodies_of(names, objects))
                problems += await self._useless(objects)
        return problems

    def _compare(self, found: Bodies) -> list[str]:
        keys = found.keys() | self._bodies.keys()
        return [f"{key} is lost" for key in sorted(keys) if found.get(key) != self._bodies.get(key)]

    async def _useless(self, objects: ContainerStore) -> list[str]:
        taken = sum((await objects.sizes()).values())
        alive = sum(map(len, self._bodies.values()))
        problems = [f"{taken} bytes for {alive}"] if taken > 1.7 * alive + 1000 else []
        forms = {one: objects.form(one) for one in await objects.sizes()}
        wanted = "archive" if self._mode == IN_ARCHIVE else "standard"
        past = [one for one, form in forms.items() if objects.is_past(one) or form.tier != wanted]
        return [*problems, f"{len(past)} containers are not re-coded"] if past else problems
