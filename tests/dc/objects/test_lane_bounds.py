"""What lanes keep and read back is bounded, and what fails goes elsewhere while there is room."""

import asyncio
import errno
from pathlib import Path

import pytest
from object_checks import noise
from object_disks import MemoryDisk
from test_coded_store import check, store_on
from tier_kit import choose, tier, tiered

from dc.objects import lane as lanes
from dc.objects.api import OutOfSpace
from dc.objects.lane import Lane
from dc.objects.redundancy import parse_mode


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "SYNC_EACH_BYTES", 1 << 20)
    monkeypatch.setattr(lanes, "LOOSE_MAX_BYTES", 4 << 20, raising=False)
    monkeypatch.setattr(lanes, "GROUP_MAX_BYTES", 1 << 20)


async def test_a_sync_that_takes_long_is_waited_for(
    small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not durable may have to be read back, into memory. After it has failed, too."""
    disk = MemoryDisk()
    store = await store_on(disk, parse_mode("4+2"), 2)
    go, real = asyncio.Event(), Lane._sync

    async def slow(self: Lane, container: lanes.OpenContainer) -> None:
        await go.wait()
        container.fail(OSError(errno.EIO, "at last"))
        self._syncing = None

    monkeypatch.setattr(Lane, "_sync", slow)
    writer, data = store.writer(b"x"), noise(1 << 20)
    most = 0

    async def write() -> None:
        for _ in range(20):
            await writer.write(data)

    job = asyncio.create_task(write())
    for _ in range(400):
        await asyncio.sleep(0)
        lane = writer._lane
        if lane is not None and lane._container is not None:
            most = max(most, lane._container.end - lane._container.durable_end)
    assert 4 << 20 <= most < 7 << 20 and not job.done()
    monkeypatch.setattr(Lane, "_sync", real)
    go.set()
    await job
    await check(store, [(b"x", await writer.finish(), data * 20)])
    await store.close()


async def test_what_is_read_back_for_nobody_is_not_kept() -> None:
    """The body whose it was has ended: before the container is sealed, or after it."""
    for early in (True, False):
        disk = MemoryDisk()
        store = await store_on(disk, parse_mode("4+2"), 2)
        writer = store.writer(b"x")
        for _ in range(4):
            await writer.write(noise(1 << 20))
        await asyncio.sleep(0.05)
        lane = writer._lane
        assert lane is not None and lane._container is not None and lane._loose
        lane._container.fail(OSError(errno.EIO, "failed"))
        if early:
            writer.abort()
        await lane.seal()
        assert bool(lane._saved) is not early
        writer.abort()
        assert not lane._saved and not lane.writers
        await store.close()


@pytest.mark.parametrize("mode", ["1+0", "1+1"])
async def test_a_disk_that_is_full_keeps_nobody_from_the_others(tmp_path: Path, mode: str) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1", tier("raw", mode)) as place:
        await choose(place, "raw")
        await place.put("before", 1000)
        disk.fail(1, errno.ENOSPC, ("write",))
        await place.put("after", 1000)
        assert await place.wrong() == []
        disk.full = True
        with pytest.raises(OutOfSpace):
            await place.put("all are full", 1000)


async def test_wide_containers_of_the_past_take_as_few_descriptors(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "4+2", max_bytes=70_000) as place:
        for number in range(60):
            await place.put(f"key {number}", 60_000)
    async with tiered(tmp_path, disk, "1+1", before=place) as again:
        assert len(await again.containers()) == 60
        assert await again.wrong() == [] and 200 < disk.open_files <= 256
