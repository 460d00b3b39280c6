"""The n-th disk call fails: what was acknowledged stays, what was not is told, others go on."""

import asyncio
import errno

import pytest
from object_checks import Stored, loss, noise, settle, store_on, upload, whole
from object_disks import MemoryDisk

from dc.objects import lane, store, writer
from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.store import ContainerStore

KINDS = ("create", "write", "sync", "sync_dir")
K = 1 << 10


async def put(objects: ContainerStore, number: int, size: int = 500) -> Stored:
    ident, data = b"put%d" % number, noise(size, number)
    return ident, await objects.put(ident, data), data


async def work(objects: ContainerStore, rounds: int) -> tuple[list[Stored], list[Exception]]:
    """Puts and uploads at the same time, some of them several to a group."""
    stored: list[Stored] = []
    errors: list[Exception] = []
    for number in range(rounds):
        results = await asyncio.gather(
            *(put(objects, number * 10 + one) for one in range(4)),
            *(
                upload(objects, b"up%d.%d" % (number, one), noise(9 * K, one), 600)
                for one in (0, 1)
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, Exception):
                errors.append(result)
            else:
                assert not isinstance(result, BaseException)
                stored.append(result)
    return stored, errors


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "SYNC_EACH_BYTES", 3 * K)
    monkeypatch.setattr(writer, "RECORD_MAX_BYTES", K)
    monkeypatch.setattr(store, "BULK_LANES", 1)


def assert_nothing_lost(disk: MemoryDisk, stored: list[Stored]) -> None:
    for image in disk.power_cuts(states_max=16):
        assert loss(image, stored) == ""


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_each_call_failing_once(code: int, short: bool) -> None:
    number = 0
    while True:
        number += 1
        disk = MemoryDisk()
        disk.short_writes = short
        objects = store_on(disk, seed=number, container_max_bytes=30 * K)
        await objects.open()
        disk.fail(number, code, KINDS)
        stored, errors = await work(objects, 3)
        for error in errors:
            assert isinstance(error, OutOfSpace if code == errno.ENOSPC else ObjectsError)
        failed = disk.calls >= number
        more, later = await work(objects, 1)
        assert not (failed and later)
        assert_nothing_lost(disk, stored + more)
        for _, extents, data in stored + more:
            assert await whole(objects, extents, 0, len(data)) == data
        assert objects.stats().containers == len(disk.names)
        await objects.close()
        assert disk.open_files == 0
        if disk.calls < number:
            break
    assert number > 30


async def test_a_failure_is_told_to_the_whole_group_and_only_to_it() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    before = await put(objects, 1)
    disk.fail(1, errno.EIO, ("sync",))
    group = await asyncio.gather(*(put(objects, n) for n in range(2, 8)), return_exceptions=True)
    assert all(type(result) is ObjectsError for result in group)
    assert len({id(result) for result in group}) == 6
    after = await put(objects, 9)
    assert before[1][0].container != after[1][0].container
    assert_nothing_lost(disk, [before, after])
    await objects.close()


async def test_a_full_disk_heals_and_attempts_leave_no_files() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    first = await put(objects, 1)
    names = set(disk.names)
    disk.full = True
    for number in range(5):
        with pytest.raises(OutOfSpace, match="full"):
            await put(objects, number)
        with pytest.raises(OutOfSpace):
            await upload(objects, b"up", noise(4 * K))
    assert set(disk.names) == names
    disk.full = False
    second = await put(objects, 2)
    third = await upload(objects, b"up", noise(4 * K))
    assert_nothing_lost(disk, [first, second, third])
    assert objects.stats().containers == len(disk.names) == 3
    await objects.close()


async def test_an_upload_whose_earlier_frames_lost_their_sync_is_not_acknowledged() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    disk.fail(1, errno.EIO, ("sync",))
    with pytest.raises(ObjectsError, match="injected"):
        await upload(objects, b"up", noise(20 * K), 600)
    again = await upload(objects, b"up", noise(20 * K), 600)
    assert_nothing_lost(disk, [again])
    await objects.close()


async def test_frames_synced_before_another_upload_broke_the_container_stay() -> None:
    """The container must not be removed as one in which nothing was acknowledged."""
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    data = noise(9 * K)
    slow = objects.writer(b"slow")
    await slow.write(data[: 3 * K + 1])
    await settle(50)
    assert disk.syncs == 1
    disk.fail(1, errno.EIO, ("write",))
    with pytest.raises(ObjectsError):
        await upload(objects, b"broken", noise(100))
    await slow.write(data[3 * K + 1 :])
    extents = await slow.finish()
    assert len({extent.container for extent in extents}) == 2
    assert_nothing_lost(disk, [(b"slow", extents, data)])
    await objects.close()


async def test_a_name_that_is_taken_is_never_written_over() -> None:
    disk = MemoryDisk()
    one, two = store_on(disk), store_on(disk)
    await one.open()
    await two.open()
    stored = [await put(one, 1), await put(two, 2), await put(one, 3), await put(two, 4)]
    assert len(disk.names) == 2
    assert_nothing_lost(disk, stored)
    await one.close()
    await two.close()


async def test_a_read_error_is_an_objects_error() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    _, extents, data = await put(objects, 1)
    disk.fail(1, errno.EIO, ("read",))
    with pytest.raises(ObjectsError, match="cannot read"):
        await whole(objects, extents, 0, len(data))
    assert await whole(objects, extents, 0, len(data)) == data
    await objects.close()
