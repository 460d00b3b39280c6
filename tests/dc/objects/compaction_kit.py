"""A datacenter's names and objects with compaction, on real SQLite and a disk in memory, one or
several, on a clock that goes on when somebody sleeps."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from awscrt.checksums import crc64nvme
from object_disks import ROOT, MemoryDisk, SeededRandomness
from test_coded_store import disks_on

from dc.names.model import (
    Bucket,
    Extent,
    Kind,
    Meta,
    Tombstone,
    Upload,
    UploadPart,
    Version,
)
from dc.names.service import SqliteNames, open_names
from dc.objects.compaction import Ask, Compactor
from dc.objects.ident import body_ident, version_ident
from dc.objects.redundancy import parse_mode
from dc.objects.settings import CompactionSettings
from dc.objects.store import ContainerStore
from dc.objects.tiers import tier_of
from dc.system import SystemClock, SystemDatabases, SystemRandomness

OWNER = "a" * 64
GRACE = 60.0
SETTINGS = CompactionSettings(0.3, 1 << 40, GRACE, 3600.0)
HALF = Ask(0.3)
FOLDER = ROOT / "containers"


class MovingClock:
    """Time goes on only when somebody sleeps, or a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed * 1_000_003 + length).randbytes(length)


class Place:
    """What `opened` gives."""

    def __init__(
        self, names: SqliteNames, store: ContainerStore, disk: MemoryDisk, clock: MovingClock
    ) -> None:
        self.names = names
        self.store = store
        self.disk = disk
        self.clock = clock
        self.compactor = Compactor(names, store, clock, SETTINGS)
        self.bucket: Bucket
        self.bodies: dict[str, bytes] = {}
        """What is current."""

    def version(self, key: str, data: bytes, extents: list[Extent], vid: str = "") -> Version:
        stamp = self.names.clock.now()
        meta = Meta(crc64=crc64nvme(data))
        return Version(
            self.bucket.id, key, vid, stamp, Kind.OBJECT, len(data), "e" * 32, meta, extents
        )

    async def put(self, key: str, size: int = 1000, seed: int = 0) -> Version:
        data = noise(size, seed)
        made = await self.stored(key, data)
        await self.names.put(made)
        self.bodies[key] = data
        return made

    async def stored(self, key: str, data: bytes) -> Version:
        """A version whose bytes are durable, and that is not committed."""
        made = self.version(key, data, [])
        extents = await self.store.put(version_ident(made), data, tier=tier_of(self.bucket))
        return msgspec.structs.replace(made, extents=extents)

    async def upload(self, key: str, size: int, seed: int = 0) -> Version:
        """A body of several records."""
        data = noise(size, seed)
        ident = body_ident(self.bucket.id, key, "", self.names.clock.now())
        async with self.store.writer(ident, tier=tier_of(self.bucket)) as writer:
            for at in range(0, size, 1 << 18):
                await writer.write(data[at : at + (1 << 18)])
            made = self.version(key, data, await writer.finish())
        await self.names.put(made)
        self.bodies[key] = data
        return made

    async def part(self, upload: str, number: int, data: bytes) -> UploadPart:
        ident = body_ident(self.bucket.id, "up", "", self.names.clock.now(), upload, number)
        extents = await self.store.put(ident, data, tier=tier_of(self.bucket))
        stamp = self.names.clock.now()
        made = UploadPart(number, len(data), "e", stamp, crc64nvme(data), {}, extents)
        await self.names.put_part(upload, made)
        return made

    async def begin_upload(self, upload: str) -> None:
        started = self.names.clock.now()
        await self.names.create_upload(Upload(upload, self.bucket.id, "up", OWNER, started, Meta()))

    async def delete(self, *keys: str) -> None:
        for key in keys:
            gone = Tombstone(bucket=self.bucket.id, key=key, vid="", stamp=self.names.clock.now())
            await self.names.delete([gone])
            del self.bodies[key]

    async def seal(self) -> None:
        """All that is written to; and nobody remembers it."""
        await self.store.seal(self.store.unsealed())
        self.clock.now += GRACE

    async def rounds(self, count: int = 3, ask: Ask = HALF) -> None:
        for _ in range(count):
            await self.compactor.round(ask)
            self.clock.now += GRACE

    async def read(self, extents: list[Extent]) -> bytes:
        size = sum(one.length for one in extents)
        return b"".join([bytes(one) async for one in self.store.read(extents, 0, size)])

    async def wrong(self) -> list[str]:
        """The keys that cannot be read as they were written."""
        found = []
        for key, data in self.bodies.items():
            version = await self.names.current(self.bucket.id, key)
            assert version is not None, key
            if await self.read(version.extents) != data:
                found.append(key)
        return found

    async def containers(self) -> set[int]:
        return set(await self.store.sizes())

    async def container_of(self, key: str) -> int:
        version = await self.names.current(self.bucket.id, key)
        assert version is not None
        (container,) = {one.container for one in version.extents}
        return container


@asynccontextmanager
async def opened(
    tmp_path: Path, mode: str = "1+0", disk: MemoryDisk | None = None, max_bytes: int = 1 << 30
) -> AsyncIterator[Place]:
    disk = disk or MemoryDisk()
    clock = MovingClock()
    names = await open_names(
        tmp_path / "names.db",
        databases=SystemDatabases(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        dc_id="1" * 16,
    )
    store = ContainerStore(
        ROOT,
        disk=disk if mode == "1+0" else disks_on(disk, parse_mode(mode)),
        clock=clock,
        randomness=SeededRandomness(),
        container_max_bytes=max_bytes,
    )
    await store.open()
    place = Place(names, store, disk, clock)
    known = names.directory.bucket("photos")
    place.bucket = known or await names.create_bucket("photos", OWNER, "eu")
    try:
        yield place
    finally:
        await store.close()
        await names.close()
