"""Disks that go and come back at any moment, many at once, in other places, or with a failure: what
is acknowledged stays, and nothing is written over what may be needed yet."""

import errno
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from compaction_kit import MovingClock
from object_checks import FOLDER, noise
from object_disks import ROOT, FixedClock, Inode, MemoryDisk
from test_coded_store import check, coded, fill, folders, lose, store_on, store_on_what_is_left
from test_mending import check_on, renew, slots, some_bodies

from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.coded_disks import CodedDisks
from dc.objects.format import HEADER_BYTES, file_name
from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.settings import UNBOUNDED
from dc.objects.store import ContainerStore
from dc.objects.stripes import Stripe


def take_away(disk: MemoryDisk, gone: Sequence[Path]) -> dict[Path, Inode]:
    kept = {path: inode for path, inode in disk.names.items() if {*gone} & {*path.parents}}
    for folder in gone:
        lose(disk, folder)
    return kept


def mender_on(disks: CodedDisks) -> Mender:
    return Mender(disks, FixedClock(), lambda _: None, UNBOUNDED)


async def mend(mender: Mender | None) -> None:
    """All there is to do."""
    assert mender is not None
    mender._next_look = mender._next_round = 0
    while not await mender.step():
        pass


def stripes_of(disks: CodedDisks, container: int) -> list[Stripe]:
    file = disks.coded(container)
    try:
        return list(file.stripes())
    finally:
        file.close()


# -- names ----------------------------------------------------------------------------------------


def test_the_names_of_a_new_container_are_durable_on_every_disk_that_has_one() -> None:
    """Also where the disk has failed another lane meanwhile."""
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    disks = coded(disk, mode)
    for folder in folders(mode):
        renew(disk, folder)
    disks.make_dirs(ROOT)
    real, failing = disk.create, iter(range(6))

    def create(path: Path, mode: int = 0o644) -> object:
        disks.failed(next(failing), OSError(errno.EIO, "in another lane"))
        return real(path, mode)

    disk.create = create  # type: ignore[method-assign,assignment]
    disks.create(FOLDER / file_name(1 << 16)).close()
    disks.sync_dir(FOLDER)
    assert set(slots(disk)) == {path for path in disk.durable_names if path.suffix == ".fss"}
    assert len(slots(disk)) == 6


async def test_a_folder_that_cannot_be_synced_is_gone_on_without() -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    disk.fail(3, errno.EIO, ("sync_dir",))
    stored = await fill(store)
    assert {len(store._disk.slots.missing(one)) for one in store._disk.slots.containers()} >= {1}  # type: ignore[attr-defined]
    await store.close()
    await check_on(disk, mode, stored)


def test_a_container_that_is_being_made_is_not_mended() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    seen, real = [], disks.slots.note

    def note(container: int, slot: int, number: int) -> None:
        real(container, slot, number)
        seen.append(disks.slots.sealed())

    disks.slots.note = note  # type: ignore[method-assign]
    disks.create(FOLDER / file_name(1 << 16))
    assert seen and not any(seen) and not disks.slots.sealed()


# -- many at once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1+1", "2+1", "4+2"])
async def test_when_too_many_are_gone_nothing_is_written_that_harms_when_they_come_back(
    text: str,
) -> None:
    mode = parse_mode(text)
    more = mode.slots
    disk, stored = await some_bodies(mode, more)
    for count in range(mode.m + 1, mode.slots + 1):
        store = await store_on(disk, mode, more)
        kept = take_away(
            disk, [each for each in folders(mode, more) if has_slots(disk, each)][:count]
        )
        await mend(store._mender)
        disk.names.update(kept)
        await mend(store._mender)
        await mend(store._mender)
        await check(store, stored)
        await store.close()
        await check_on(disk, mode, stored, more)
    assert len(slots(disk)) == mode.slots * len({path.name[:16] for path in slots(disk)})


def has_slots(disk: MemoryDisk, folder: Path) -> bool:
    return any(folder in path.parents for path in slots(disk))


@pytest.mark.parametrize("seed", range(12))
async def test_disks_that_come_and_go(seed: int) -> None:
    """Any number may be gone at times; while no more than allowed are, all is there."""
    mode, more, chance = parse_mode("4+2"), 3, random.Random(seed)
    disk = MemoryDisk()
    store = await store_on(disk, mode, more, 1 << 22)
    stored, away = await fill(store), dict[Path, dict[Path, Inode]]()
    for turn in range(12):
        for folder in folders(mode, more):
            if folder in away and chance.random() < 0.4:
                disk.names.update(away.pop(folder))
            elif folder not in away and chance.random() < 0.2:
                away[folder] = take_away(disk, [folder])
        if chance.random() < 0.5:
            disk.fail(chance.randrange(1, 40), errno.EIO, ("write", "sync", "read", "create"))
        try:
            await mend(store._mender)
        except OSError:
            pass
        try:
            stored.append((b"k", await store.put(b"k", noise(5000, turn)), noise(5000, turn)))
        except ObjectsError:
            pass
        if chance.random() < 0.3:
            await store.close()
            store = await store_on_again(disk, store)
    for inodes in away.values():
        disk.names.update(inodes)
    disk.fail(0, 0)
    await mend(store._mender)
    await mend(store._mender)
    await check(store, stored)
    state = store.status()
    await store.close()
    assert state["stripes_lost"] == 0
    await check_on(disk, mode, stored, more)


async def store_on_again(disk: MemoryDisk, before: ContainerStore) -> ContainerStore:
    from object_disks import SeededRandomness

    store = ContainerStore(
        ROOT,
        disk=coded(disk, parse_mode("4+2"), 3),
        clock=FixedClock(before._clock.wall_ms() + 1000),
        randomness=SeededRandomness(len(disk.names)),
        container_max_bytes=1 << 22,
    )
    await store.open()
    return store


# -- back again -----------------------------------------------------------------------------------


async def test_containers_of_disks_that_come_after_the_start_are_counted() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    await fill(store)
    there = store.stats().containers
    await store.close()
    kept = take_away(disk, folders(mode))
    store = await store_on_what_is_left(disk, mode)
    assert store.stats().containers == 0 < there
    disk.names.update(kept)
    store._disk.look()  # type: ignore[attr-defined]
    assert store.stats().containers == there
    await store.close()


async def test_who_is_away_is_soon_looked_for_again_for_a_while() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    clock = MovingClock()
    store = await store_on(disk, mode)
    disks = store._disk
    assert isinstance(disks, CodedDisks)
    mender = Mender(disks, clock, lambda _: None, UNBOUNDED)

    async def waits() -> float:
        clock.now += 10.0
        while not (seconds := await mender.step()):
            pass
        return round(seconds, 1)

    assert await waits() == 10.0
    kept = take_away(disk, folders(mode)[:1])
    clock.now += 1000.0
    assert await waits() == 1.0, "it has just gone"
    clock.now += 200.0
    assert await waits() == 10.0, "it will stay away"
    disk.names.update(kept)
    assert await waits() == 10.0
    await store.close()


async def test_what_is_open_is_opened_anew_when_disks_came_back() -> None:
    """Readers keep files open; those of disks that were gone would stay gone with them."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    one, two, _ = folders(mode)
    kept = take_away(disk, [one])
    store = await store_on_what_is_left(disk, mode)
    await check(store, stored)
    disk.names.update(kept)
    store._disk.look()  # type: ignore[attr-defined]
    for path in [path for path in slots(disk) if two in path.parents]:
        del disk.names[path].content[HEADER_BYTES:]
    await check(store, stored)
    await store.close()


async def test_a_disk_that_is_changed_for_an_empty_one_between_two_looks_is_filled() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    store = await store_on(disk, mode)
    await mend(store._mender)
    renew(disk, folders(mode)[0])
    await mend(store._mender)
    assert store.status()["containers_whole"] == store.status()["containers"] > 0
    lose(disk, folders(mode)[1])
    await check(store, stored)
    await store.close()


async def test_of_slots_on_two_disks_the_good_one_is_used_and_one_is_left() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    before = {path.name: data for path, data in slots(disk).items()}
    for path in [path for path in slots(disk) if path.parent.parent == folders(mode)[1]]:
        other = folders(mode, 1)[3] / "containers" / path.name
        disk.names[other] = Inode(bytes(disk.names[path].content))
        chance = random.Random(path.name)
        spoilt = disk.names[chance.choice([path, other])].content
        del spoilt[chance.randrange(HEADER_BYTES, len(spoilt)) :]
    lose(disk, folders(mode)[0])
    await check_on(disk, mode, stored, 1)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode, 1)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    await mend(mender)
    assert {path.name: data for path, data in slots(disk).items()} == before
    assert len(slots(disk)) == len(before)
    assert not disks.slots.doubles


async def test_a_container_that_is_removed_while_it_is_mended_stays_removed() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    mender, gone = mender_on(disks), disks.slots.sealed()[0]
    work = mender._mend(gone)
    next(work)
    disks.remove(FOLDER / file_name(gone))
    for _ in work:
        pass
    assert not disks.state().disks_failing
    assert not [path for path in disk.names if f"{gone:016x}" in path.name]
    assert gone not in disks.slots.containers()


# -- failures -------------------------------------------------------------------------------------


async def test_a_disk_that_cannot_be_written_holds_up_no_other() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    renew(disk, folders(mode)[0])
    broken = folders(mode)[0] / "containers"
    real = disk.create

    def create(path: Path, mode: int = 0o644) -> object:
        if path.parent == broken:
            raise OSError(errno.EROFS, "read-only")
        return real(path, mode)

    disk.create = create  # type: ignore[method-assign,assignment]
    disks = coded(disk, mode, 1)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    for _ in range(12):
        try:
            await mender.step()
        except OSError:
            pass
    assert mender.status()["containers_whole"] == len(disks.slots.containers())
    await check_on(disk, mode, stored, 1)


@pytest.mark.parametrize("kind", ["write", "sync", "create"])
async def test_a_repair_that_failed_leaves_no_files(kind: str) -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    disk.fail(2 if kind == "write" else 1, errno.ENOSPC, (kind,))
    with pytest.raises(OSError, match="injected"):
        await mender_on(disks).step()
    assert not [path for path in disk.names if path.suffix == ".new"]
    assert disk.open_files == 0
    assert disks.state().disks_failing == [str(folders(mode)[0])]


async def test_full_disks_say_so_and_are_used_as_soon_as_there_is_space() -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = [(b"a", await store.put(b"a", noise(5000)), noise(5000))]
    names = set(disk.names)
    disk.full = True
    for _ in range(3):
        with pytest.raises(OutOfSpace):
            await store.put(b"k", noise(5000))
    disk.full = False
    assert set(disk.names) == names
    stored.append((b"k", await store.put(b"k", noise(5000, 1)), noise(5000, 1)))
    await check(store, stored)
    await store.close()


def test_what_can_be_removed_of_a_container_is_removed() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    disks.create(FOLDER / file_name(1 << 16)).close()
    del disk.names[min(slots(disk))]
    disks.remove(FOLDER / file_name(1 << 16))
    assert not slots(disk) and disks.disks.used == [0, 0, 0]


# -- cost -----------------------------------------------------------------------------------------


async def test_opening_reads_no_stripes_and_few_files_are_kept_open() -> None:
    mode = parse_mode("4+2")
    disk, stored = await some_bodies(mode)
    disk.fail(0, 0, ("read",))
    store = await store_on(disk, mode)
    # One header of each container, which says what it is.
    assert disk.calls == store.stats().containers == 2
    size = sum(extent.length for _, extents, _ in stored for extent in extents)
    assert size <= store.stats().bytes_on_disk < size * 1.1
    await store.close()
    assert store._files._files_max <= 256


async def test_the_event_loop_never_waits_for_who_looks_for_stripes() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    store = await store_on(disk, mode)
    await check(store, stored)
    _, extents, data = stored[0]
    assert store.read_cached(extents) == data
    opened = store._files._opened[extents[0].container]
    with opened.file._lock:  # type: ignore[attr-defined]
        assert store.read_cached(extents) is None
    await store.close()


async def test_a_slot_that_moved_is_not_left_where_it_was() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    before = {path.name: data for path, data in slots(disk).items()}
    first = folders(mode)[0]
    for path in [path for path in slots(disk) if first in path.parents]:
        disk.names[path].content[-1] ^= 1
    disks = coded(disk, mode, 1)
    disks.make_dirs(ROOT)
    disks.failed(0, OSError(errno.EIO, "for a while"))
    mender = mender_on(disks)
    await mend(mender)
    assert mender.mended > 0
    assert len(slots(disk)) == len(before) + mender.mended
    disks.disks._bad_until.clear()
    await mend(mender)
    assert {path.name: data for path, data in slots(disk).items()} == before
    assert len(slots(disk)) == len(before)
    await check_on(disk, mode, stored, 1)


async def test_a_container_that_cannot_be_begun_leaves_no_files() -> None:
    mode = parse_mode("4+2")
    disk, _ = await some_bodies(mode)
    for folder in folders(mode)[:2]:
        lose(disk, folder)
    before = set(disk.names)
    store = await store_on_what_is_left(disk, mode)
    with pytest.raises(ObjectsError, match="4 of 6 disks can be written"):
        await store.put(b"k", noise(10))
    await store.close()
    assert (set(disk.names), disk.open_files) == (before, 0)
