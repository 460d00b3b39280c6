"""Containers on several disks: what is acknowledged outlives as many of them as the mode says."""

import errno
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from object_checks import Stored, noise, upload, whole
from object_disks import ROOT, FixedClock, MemoryDisk, SeededRandomness

from dc.objects.api import ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import local_places
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.scan import scan
from dc.objects.store import ContainerStore

SIZES = [1, 100, 4096, 65_536, 65_537, 1 << 20, (1 << 20) + 5, 3_500_000]
FEWER_SIZES = [1, 4096, 65_537, (1 << 20) + 5]
MODES = ["1+1", "1+2", "2+1", "4+2"]


def one_by_one(work: Sequence[Callable[[], None]]) -> list[OSError | None]:
    errors: list[OSError | None] = []
    for one in work:
        try:
            one()
            errors.append(None)
        except OSError as error:
            errors.append(error)
    return errors


def folders(mode: Mode, more: int = 0) -> list[Path]:
    return [ROOT / f"disk{number}" for number in range(mode.slots + more)]


def disks_on(disk: MemoryDisk, mode: Mode, more: int = 0) -> CodedDisks:
    for folder in folders(mode, more):
        if folder / MARK not in disk.names:
            file = disk.create(folder / MARK)
            file.writev([mark_of("dc")], 0)
            file.close()
    return coded(disk, mode, more)


def coded(disk: MemoryDisk, mode: Mode, more: int = 0) -> CodedDisks:
    places = local_places(disk, folders(mode, more))
    return CodedDisks(disk, places, "dc", mode, clock=FixedClock(), side=one_by_one)


async def store_on(
    disk: MemoryDisk, mode: Mode, more: int = 0, container_max_bytes: int = 1 << 30
) -> ContainerStore:
    store = ContainerStore(
        ROOT,
        disk=disks_on(disk, mode, more),
        clock=FixedClock(),
        randomness=SeededRandomness(len(disk.names)),
        container_max_bytes=container_max_bytes,
    )
    await store.open()
    return store


async def fill(store: ContainerStore, seed: int = 0, sizes: Sequence[int] = SIZES) -> list[Stored]:
    """Bodies of all sizes, small ones by `put`, large ones by `writer`."""
    stored = []
    for size in sizes:
        data, ident = noise(size, seed), f"body {size}".encode()
        if size <= 1 << 20:
            stored.append((ident, await store.put(ident, data), data))
        else:
            stored.append(await upload(store, ident, data))
    return stored


async def check(store: ContainerStore, stored: list[Stored]) -> None:
    for _, extents, data in stored:
        assert await whole(store, extents, 0, len(data)) == data
        low, high = len(data) // 3, len(data) - len(data) // 4
        assert await whole(store, extents, low, high) == data[low:high]
        cached = store.read_cached(extents)
        assert cached is None or cached == data


def lose(disk: MemoryDisk, folder: Path) -> None:
    for path in [path for path in disk.names if path.parent.parent == folder]:
        del disk.names[path]
    disk.names.pop(folder / MARK, None)


def combinations(mode: Mode) -> Iterator[tuple[Path, ...]]:
    return itertools.combinations(folders(mode), mode.m)


@pytest.mark.parametrize("text", MODES)
async def test_any_disks_as_the_mode_says_may_be_lost(text: str) -> None:
    mode = parse_mode(text)
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    await check(store, stored)
    await store.close()
    for gone in combinations(mode):
        left = MemoryDisk(disk.image())
        for folder in gone:
            lose(left, folder)
        again = await store_on_what_is_left(left, mode)
        await check(again, stored)
        await again.close()


async def store_on_what_is_left(disk: MemoryDisk, mode: Mode) -> ContainerStore:
    store = ContainerStore(
        ROOT,
        disk=coded(disk, mode),
        clock=FixedClock(),
        randomness=SeededRandomness(7),
    )
    await store.open()
    return store


async def test_one_disk_more_is_too_many_and_gives_no_wrong_byte() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    await store.close()
    lose(disk, folders(mode)[0])
    lose(disk, folders(mode)[1])
    again = await store_on_what_is_left(disk, mode)
    for _, extents, data in stored:
        with pytest.raises(ObjectsError):
            assert await whole(again, extents, 0, len(data)) == data
    await again.close()


@pytest.mark.parametrize("seed", range(40))
async def test_damaged_bytes_are_decoded_around(seed: int) -> None:
    """Any bytes of as many slots as the mode may lose, headers and checksums among them."""
    mode, chance = parse_mode("4+2"), random.Random(seed)
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store, seed)
    await store.close()
    for folder in chance.sample(folders(mode), mode.m):
        for path, inode in disk.names.items():
            if path.parent.parent != folder or not inode.content:
                continue
            for _ in range(20):
                place = chance.randrange(len(inode.content))
                inode.content[place] ^= 1 << chance.randrange(8)
            if chance.random() < 0.3:
                del inode.content[chance.randrange(len(inode.content)) :]
    again = await store_on_what_is_left(disk, mode)
    await check(again, stored)
    await again.close()


async def test_slots_that_were_swapped_are_decoded_around() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    stored += await fill(store, 1)
    await store.close()
    slots = [path for path in disk.names if path.parent.parent == folders(mode)[1]]
    paths = [path for path in slots if path.name.endswith(".fss")]
    assert len(paths) > 1
    contents = [disk.names[path] for path in paths]
    for path, inode in zip(paths, contents[1:] + contents[:1], strict=True):
        disk.names[path] = inode
    again = await store_on_what_is_left(disk, mode)
    await check(again, stored)
    await again.close()


@pytest.mark.parametrize("kind", ["write", "sync", "create"])
@pytest.mark.parametrize("at", range(1, 20))
async def test_a_disk_that_fails_is_gone_on_without(kind: str, at: int) -> None:
    """Nobody who writes notices, and what was written is there without that disk."""
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store, sizes=FEWER_SIZES)
    disk.fail(at, errno.EIO, (kind,))
    for number in range(4):
        stored += await fill(store, number + 1, FEWER_SIZES)
    await check(store, stored)
    await store.close()
    for folder in folders(mode):
        left = MemoryDisk(disk.image())
        lose(left, folder)
        again = await store_on_what_is_left(left, mode)
        await check(again, stored)
        await again.close()


async def test_with_too_few_disks_nothing_is_acknowledged() -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    await store.close()
    lose(disk, folders(mode)[0])
    again = await store_on_what_is_left(disk, mode)
    stored.append((b"more", await again.put(b"more", b"more"), b"more"))
    await again.close()
    lose(disk, folders(mode)[1])
    again = await store_on_what_is_left(disk, mode)
    await check(again, stored)
    with pytest.raises(ObjectsError):
        await again.put(b"more", b"more")
    await again.close()


async def test_a_full_disk_is_left_out_until_there_is_space() -> None:
    mode = parse_mode("1+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    disk.full = True
    with pytest.raises(ObjectsError):
        await store.put(b"k", b"data")
    disk.full = False
    await store.close()


async def test_a_scan_finds_all_records_without_the_lost_disks() -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    await store.close()
    lose(disk, folders(mode)[0])
    lose(disk, folders(mode)[3])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    found = {}
    for name in disks.list_dir(ROOT):
        for record in scan(disks.open(ROOT / name)):
            assert record.intact
            found[record.extent] = record.ident
    wanted = {extent: ident for ident, extents, _ in stored for extent in extents}
    assert found == wanted


async def test_power_cuts_lose_nothing_that_was_acknowledged() -> None:
    """At every moment: what any power cut may leave on any of the disks."""
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored: list[Stored] = []
    images = []
    chance = random.Random(1)

    def watch() -> None:
        if chance.random() < 0.3:
            images.append((list(stored), list(disk.power_cuts(states_max=24, seed=len(images)))))

    disk.watch = watch
    for size in (10, 5000, 70_000):
        data = noise(size)
        stored.append((b"s", await store.put(b"s", data), data))
    stored.append(await upload(store, b"l", noise(2_300_000)))
    disk.watch = None
    images.append((list(stored), list(disk.power_cuts(states_max=64))))
    await store.close()
    assert len(images) > 5
    for known, states in images:
        for image in states:
            left = MemoryDisk(image)
            for folder in folders(mode):
                left.names[folder / MARK] = disk.names[folder / MARK]
            again = await store_on_what_is_left(left, mode)
            await check(again, known)
            await again.close()


def test_modes() -> None:
    assert parse_mode("4+2") == Mode(4, 2)
    assert [parse_mode(text).slots_min for text in ("1+0", "1+1", "1+2", "4+2")] == [1, 1, 2, 5]
    for text in ("", "4", "4+", "+2", "0+1", "4+0", "17+2", "4+9", "4+2+1", "-4+2", "4 + 2"):
        with pytest.raises(ValueError):
            parse_mode(text)
