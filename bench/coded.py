"""Rows about a datacenter on several disks: 4+2 over six folders, which are on one disk here."""

import asyncio
import os
import shutil
import time
from pathlib import Path
from statistics import median

from bench import large, small
from bench.errors import BenchError
from bench.small import Figures
from bench.world import World
from dc.memory import keep_freed
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import local_places
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import Mode
from dc.objects.settings import UNBOUNDED, ScrubSettings
from dc.objects.store import ContainerStore
from dc.system import SideBySide, SystemClock, SystemDisk, SystemRandomness

MODE = Mode(4, 2)
STORED_BYTES = 512 << 20
REPAIRS = 7
_PIECE = 1 << 20


def put64(world: World) -> Figures:
    _, found = small.put(world, world.coded(), "coded64", 64)
    return found


def put64m(world: World) -> Figures:
    return large.put(world, world.coded())


def get64m(world: World) -> Figures:
    return large.get(world, world.coded(), "codedget")


def degraded(world: World) -> Figures:
    """As get64m, after two of the disks were lost, with a restart in between."""
    datacenter = world.coded()
    bucket = world.new_bucket(datacenter, "degraded")
    keys = world.new_keys(large.READ_OBJECTS)
    for key in keys:
        datacenter.s3.must("PUT", bucket, key, body=world.large_body.read_bytes())
    datacenter.stop()
    kept = [(disk, disk.with_suffix(".kept")) for disk in world.coded_disks[:2]]
    for disk, away in kept:
        disk.rename(away)
    datacenter.start()
    try:
        return large.again(world, datacenter, bucket, keys)
    finally:
        datacenter.stop()
        for disk, away in kept:
            away.rename(disk)
        datacenter.start()


def repair(world: World) -> Figures:
    """The slots of one lost disk written anew, unthrottled, in this process: the median."""
    return asyncio.run(_repair(world))


def scrub(world: World) -> Figures:
    """All fragments read and checked, unthrottled, in this process."""
    return asyncio.run(_scrub(world))


async def _repair(world: World) -> Figures:
    folders = await _filled(world)
    lost = sum(path.stat().st_size for path in folders[0].rglob("*.fss"))
    took = []
    for _ in range(REPAIRS):
        shutil.rmtree(folders[0])
        _prepare(folders[0])
        _uncache(folders)
        # No scrub beside it: that would read all of what it measures once more.
        seconds, mended = await _mend(folders, UNBOUNDED._replace(scrub_rate=0))
        if sum(path.stat().st_size for path in folders[0].rglob("*.fss")) != lost or not mended:
            raise BenchError("the lost disk has not what it had")
        took.append(seconds)
    rates = [lost / seconds / 1e6 for seconds in sorted(took)]
    return {"mb_per_second": median(rates), "least": rates[-1], "most": rates[0], "mb": lost / 1e6}


async def _scrub(world: World) -> Figures:
    folders = await _filled(world)
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*.fss"))
    seconds, mended = await _mend(folders)
    if mended:
        raise BenchError(f"{mended} slots were found wrong")
    return {"mb_per_second": size / seconds / 1e6, "seconds": seconds, "mb": size / 1e6}


async def _filled(world: World) -> list[Path]:
    """Six folders with half a GiB of objects in them."""
    root = world.folder / "coded-store"
    shutil.rmtree(root, ignore_errors=True)
    folders = [root / f"disk{number}" for number in range(MODE.slots)]
    for folder in folders:
        _prepare(folder)
    store = _store(folders)
    await store.open()
    writer, piece = store.writer(b"bench"), world.random.randbytes(_PIECE)
    for _ in range(STORED_BYTES // _PIECE):
        await writer.write(piece)
    await writer.finish()
    await store.close()
    _uncache(folders)
    return folders


def _uncache(folders: list[Path]) -> None:
    """So that what reads the slots reads the disk."""
    for path in [path for folder in folders for path in folder.rglob("*.fss")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


async def _mend(folders: list[Path], settings: ScrubSettings = UNBOUNDED) -> tuple[float, int]:
    """The seconds until nothing was left to do, and how many slots were written."""
    keep_freed()  # As a datacenter does.
    store = _store(folders)
    await store.open()
    began = time.perf_counter()
    mender = store.mender(settings)
    while not await mender.step():
        pass
    seconds = time.perf_counter() - began
    await store.close()
    return seconds, mender.mended


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / MARK).write_bytes(mark_of("bench"))


def _store(folders: list[Path]) -> ContainerStore:
    clock = SystemClock()
    disk = SystemDisk()
    places = local_places(disk, folders)
    disks = CodedDisks(disk, places, "bench", MODE, clock=clock, side=SideBySide())
    return ContainerStore(folders[0], disk=disks, clock=clock, randomness=SystemRandomness())
