"""Two disks fail in one moment, and with them the container that is written to: what was on its way
is written again on others, and nobody who writes hears of it."""

import errno
import itertools

import pytest
from object_checks import Stored, noise, upload
from object_disks import MemoryDisk
from test_coded_store import check, folders, lose, store_on
from test_container_failures import KINDS, small_frames, work

from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.coded_disks import CodedDisks
from dc.objects.lane import TRIES_MAX
from dc.objects.redundancy import parse_mode
from dc.objects.store import ContainerStore

__all__ = ["small_frames"]
K = 1 << 10
MODE = parse_mode("4+2")
MORE = 2
"""Disks more than slots: so many may fail."""


async def outlives(disk: MemoryDisk, stored: list[Stored], lost: int) -> None:
    """The power, and then so many disks."""
    for number, image in enumerate(disk.power_cuts(states_max=2)):
        choices = list(itertools.combinations(folders(MODE, MORE), lost))
        left = MemoryDisk(image)
        for folder in folders(MODE, MORE):
            for name in disk.names:
                if name.parent == folder:
                    left.names[name] = disk.names[name]
        for folder in choices[(number * 7 + len(stored)) % len(choices)]:
            lose(left, folder)
        again = await store_on(left, MODE, MORE)
        await check(again, stored)
        await again.close()


def fail_two(disk: MemoryDisk, number: int, code: int, kinds: tuple[str, ...]) -> None:
    """The call of that number, and the next: mostly the same call of two slots."""
    disk.fail(number, code, kinds)
    disk._fail_at = dict.fromkeys((number, number + 1), code)


async def test_whatever_two_calls_fail_nobody_notices() -> None:
    number, again = 1, 0
    while True:
        disk = MemoryDisk()
        disk.short_writes = number % 2 == 0
        store = await store_on(disk, MODE, MORE, container_max_bytes=30 * K)
        fail_two(disk, number, errno.EIO, KINDS)
        stored, errors = await work(store, 2)
        assert not errors
        again += store.stats().containers
        await check(store, stored)
        calls = disk.calls
        await store.close()
        assert disk.open_files <= len(disk.names)
        await outlives(disk, stored, 1)
        if calls < number:
            break
        number += 5
    assert number > 200 and again


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_a_group_is_written_again_with_all_of_its_slots(kind: str) -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, MORE)
    [before] = await store.put(b"a", noise(100))
    fail_two(disk, 1, errno.EIO, (kind,))
    data = noise(5000)
    [after] = await store.put(b"b", data)
    disks = store._disk
    assert isinstance(disks, CodedDisks)
    assert before.container != after.container and not disks.slots.missing(after.container)
    assert store.stats().containers == 2
    await store.close()
    await outlives(disk, [(b"b", [after], data)], 2)


async def _stream_over_a_failure(disk: MemoryDisk, store: ContainerStore) -> list[Stored]:
    """A body of which much was written, and not synced, when two disks fail to sync."""
    fail_two(disk, 1, errno.EIO, ("sync",))
    stored = await upload(store, b"up", noise(20 * K), 600)
    assert disk.calls > 2
    return [stored]


async def test_earlier_records_of_a_stream_are_read_back_and_get_all_their_slots() -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, MORE)
    stored = await _stream_over_a_failure(disk, store)
    extents = stored[0][1]
    assert sum(extent.length for extent in extents) == 20 * K
    disks = store._disk
    assert isinstance(disks, CodedDisks)
    assert not any(disks.slots.missing(extent.container) for extent in extents)
    await check(store, stored)
    await store.close()
    for lost in (0, 2):
        await outlives(disk, stored, lost)


async def test_records_that_were_read_back_are_so_a_second_time() -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, 2 * MORE)
    disk.fail(1, errno.EIO, ("sync",))
    # Two of the first container's slots; the others are synced once more to be read; two of the
    # next one's.
    then = 2 * MODE.slots - 2
    disk._fail_at = dict.fromkeys((1, 2, then + 1, then + 2), errno.EIO)
    stored = [await upload(store, b"up", noise(20 * K), 600)]
    assert disk.calls > 2 * MODE.slots
    await check(store, stored)
    await store.close()


async def test_a_stream_fails_whose_earlier_records_cannot_be_read_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, MORE)

    def reread(*_: object) -> bytes:
        raise OSError(errno.EIO, "too few fragments")

    monkeypatch.setattr("dc.objects.coded_file.CodedFile.reread", reread)
    with pytest.raises(ObjectsError, match="injected"):
        await _stream_over_a_failure(disk, store)
    monkeypatch.undo()
    stored = [await upload(store, b"again", noise(20 * K), 600)]
    await check(store, stored)
    await store.close()


async def test_short_reads_are_no_records(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, MORE)
    monkeypatch.setattr("dc.objects.coded_file.CodedFile.reread", lambda *_: b"")
    with pytest.raises(ObjectsError, match="injected"):
        await _stream_over_a_failure(disk, store)
    await store.close()


async def test_it_is_tried_a_few_times_and_then_told() -> None:
    disk = MemoryDisk()
    more = MODE.slots * (TRIES_MAX + 1)
    store = await store_on(disk, MODE, more)
    await store.put(b"a", noise(100))
    disk.fail(1, errno.EIO, ("sync",))
    disk._fail_at = dict.fromkeys(range(1, 1000), errno.EIO)
    with pytest.raises(ObjectsError, match="injected"):
        await store.put(b"b", noise(100))
    assert disk.calls == TRIES_MAX * MODE.slots
    disk._fail_at = {}
    [extent] = await store.put(b"c", noise(100))
    assert store.stats().containers == 2, "attempts leave nothing"
    await check(store, [(b"c", [extent], noise(100))])
    await store.close()


async def test_full_disks_and_too_few_are_told_at_once() -> None:
    for code, kind in ((errno.ENOSPC, OutOfSpace), (errno.EIO, ObjectsError)):
        disk = MemoryDisk()
        store = await store_on(disk, MODE, 0)
        await store.put(b"a", noise(100))
        fail_two(disk, 1, code, ("write",))
        with pytest.raises(kind):
            await store.put(b"b", noise(100))
        assert disk.calls == MODE.slots
        await store.close()
