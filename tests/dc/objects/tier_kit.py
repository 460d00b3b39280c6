"""Names and objects of a datacenter whose redundancy, tiers and disks are changed by a restart."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from compaction_kit import OWNER, MovingClock, Place
from object_disks import ROOT, FixedClock, MemoryDisk, SeededRandomness
from test_coded_store import one_by_one

from dc.names.service import open_names
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import local_places
from dc.objects.marks import MARK, mark_of
from dc.objects.one_disk import OneDisk
from dc.objects.redundancy import parse_mode
from dc.objects.store import ContainerStore
from dc.objects.tiers import TIER, Tier
from dc.system import SystemClock, SystemDatabases, SystemRandomness

DISKS = [ROOT / f"disk{number}" for number in range(6)]


def tier(name: str, mode: str, *disks: int) -> Tier:
    return Tier(name, parse_mode(mode), tuple(str(DISKS[number]) for number in disks))


def disks_on(disk: MemoryDisk, mode: str, tiers: Sequence[Tier] = ()) -> CodedDisks:
    for folder in DISKS:
        if folder / MARK not in disk.names and not lost(disk, folder):
            file = disk.create(folder / MARK)
            file.writev([mark_of("dc")], 0)
            file.close()
    return CodedDisks(
        disk,
        local_places(disk, DISKS),
        "dc",
        parse_mode(mode),
        clock=FixedClock(),
        side=one_by_one,
        tiers=tiers,
        before=OneDisk(disk, ROOT / "containers"),
    )


def lose(disk: MemoryDisk, *numbers: int) -> None:
    """A disk is gone, and does not come back."""
    for number in numbers:
        for path in [path for path in disk.names if DISKS[number] in path.parents]:
            del disk.names[path]
        disk.create(ROOT / f"lost-{DISKS[number].name}").close()


def lost(disk: MemoryDisk, folder: Path) -> bool:
    return ROOT / f"lost-{folder.name}" in disk.names


@asynccontextmanager
async def tiered(
    tmp_path: Path,
    disk: MemoryDisk,
    mode: str,
    *tiers: Tier,
    before: Place | None = None,
    max_bytes: int = 1 << 30,
) -> AsyncIterator[Place]:
    """A datacenter on six disks, or on one with `1+0`; `before`: the one that it goes on from."""
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
        disk=disk if mode == "1+0" else disks_on(disk, mode, tiers),
        clock=clock,
        randomness=SeededRandomness(len(disk.names)),
        container_max_bytes=max_bytes,
    )
    await store.open()
    place = Place(names, store, disk, clock)
    known = names.directory.bucket("photos")
    place.bucket = known or await names.create_bucket("photos", OWNER, "eu")
    if before is not None:
        place.bodies = before.bodies
    try:
        yield place
    finally:
        await store.close()
        await names.close()


async def choose(place: Place, name: str) -> None:
    """Give the bucket a tier."""
    await place.names.set_bucket_registers(place.bucket.id, {TIER: name})
    place.bucket = place.names.directory.bucket_by_id(place.bucket.id) or place.bucket


async def forms(place: Place) -> set[str]:
    """What the containers are, as `mode tier`."""
    found = [place.store.form(one) for one in await place.containers()]
    return {f"{one.mode} {one.tier}" for one in found}


async def recode(place: Place, rounds_max: int = 8) -> None:
    """Until nothing is left to do."""
    from compaction_kit import GRACE, HALF

    for _ in range(rounds_max):
        place.clock.now += GRACE
        if not await place.compactor.round(HALF):
            return
    raise AssertionError("it does not end")
