"""Containers that cannot be read, or of which nobody can tell what they are: what there is of them
stays as it is, and is not taken for something else."""

import errno
from pathlib import Path

import pytest
from compaction_kit import HALF, Place
from object_disks import ROOT, Inode, MemoryDisk
from test_coded_store import coded, folders
from test_disks_come_and_go import mend, mender_on, take_away
from test_mending import check_on, slots, some_bodies
from tier_kit import DISKS, choose, lose, tier, tiered

from admin.leaving import without
from dc.objects.api import MissingData, ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_set import BAD_SECONDS
from dc.objects.format import Header, encode_header
from dc.objects.redundancy import parse_mode
from dc.ports import File

ARCHIVE = tier("archive", "4+2")


async def filled(place: Place, name: str = "archive") -> int:
    """The one container that all bodies are in."""
    await choose(place, name)
    for number in range(5):
        await place.put(f"key {number}", 200_000 + number)
    return await place.container_of("key 0")


def disks_of(place: Place) -> CodedDisks:
    disk = place.store._disk
    assert isinstance(disk, CodedDisks)
    return disk


def slots_of(disk: MemoryDisk, container: int) -> list[Path]:
    return sorted(path for path in slots(disk) if path.name.startswith(f"{container:016x}"))


async def test_a_slot_that_cannot_be_opened_for_a_moment_stays_where_it_is() -> None:
    """It is moved later."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    before = slots(disk)
    first = min(before, key=lambda path: path.name)
    mine = [path for path in before if path.name[:16] == first.name[:16]]
    kept = take_away(disk, [path.parent.parent for path in mine if path != first])
    disks = coded(disk, mode, 1)
    disks.make_dirs(ROOT)
    number = folders(mode, 1).index(first.parent.parent)
    disks.disks.draining.add(number)
    real, broken = disk.open, False

    def opened(path: Path) -> File:
        if broken and path == first:
            raise OSError(errno.EIO, "for a moment")
        return real(path)

    disk.open = opened  # type: ignore[method-assign]
    mender = mender_on(disks)
    carry = mender._carry

    def work(container: int):  # type: ignore[no-untyped-def]
        nonlocal broken
        broken = True
        yield from carry(container)

    mender._carry = work  # type: ignore[method-assign]
    await mend(mender)
    assert slots(disk)[first] == before[first] and number in disks.disks.failing()
    assert not [path for path in disk.names if path.suffix == ".new"]
    mender._carry = carry  # type: ignore[method-assign]
    broken = False
    disks.disks._clock.now_ms += int(BAD_SECONDS * 1000) + 1  # type: ignore[attr-defined]
    await mend(mender)
    (moved,) = [path for path in slots(disk) if path.name == first.name]
    assert moved != first and slots(disk)[moved] == before[first]
    disk.names.update(kept)
    await check_on(disk, mode, stored, 1)


async def test_an_empty_slot_stays_empty(tmp_path: Path) -> None:
    """A header that is a guess would be believed later on."""
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+1", ARCHIVE) as place:
        container = await filled(place)
    mine = slots_of(disk, container)
    disk.names[mine[0]] = Inode()
    drained = DISKS.index(mine[0].parent.parent)
    kept = {path: disk.names.pop(path) for path in mine[1:]}
    async with tiered(tmp_path, disk, "1+1", ARCHIVE, before=place) as again:
        disks = disks_of(again)
        disks.disks.draining.add(drained)
        mender = mender_on(disks)
        await mend(mender)
        (moved,) = slots_of(disk, container)
        assert moved.parent != mine[0].parent and not disk.names[moved].content
        disks.disks.draining.clear()
        disk.names.update(kept)
    async with tiered(tmp_path, disk, "1+1", ARCHIVE, before=place) as again:
        await mend(mender_on(disks_of(again)))
        assert str(again.store.form(container).mode) == "4+2"
        assert await again.wrong() == [] and len(slots_of(disk, container)) == 6


async def test_what_is_said_to_be_two_things_is_left_alone(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+1", ARCHIVE) as place:
        container = await filled(place)
    for wrong in (5, 0):
        path = slots_of(disk, container)[wrong]
        header = encode_header(Header(container, container >> 16, 1, 1, wrong))
        disk.names[path].content[: len(header)] = header
        before = slots(disk)
        async with tiered(tmp_path, disk, "1+1", ARCHIVE, before=place) as again:
            await mend(mender_on(disks_of(again)))
        assert slots(disk) == before


async def test_what_nobody_knows_is_nothing_in_particular(tmp_path: Path) -> None:
    """It is of no tier: nothing of it is moved or thought whole, and who reads it is not told that
    it is lost."""
    disk = MemoryDisk()
    tiers = tier("archive", "1+1", 3, 4, 5), tier("standard", "1+1", 0, 1, 2)
    async with tiered(tmp_path, disk, "1+1", *tiers) as place:
        container = await filled(place)
    real, before, broken = disk.open, slots(disk), True

    def opened(path: Path) -> File:
        if broken and path.name.startswith(f"{container:016x}"):
            raise OSError(errno.EIO, "not now")
        return real(path)

    disk.open = opened  # type: ignore[method-assign]
    async with tiered(tmp_path, disk, "1+1", *tiers, before=place) as again:
        disks = disks_of(again)
        assert disks.slots.leaving(container) == frozenset()
        assert again.store.missing() == {container}
        assert disks.place_for(container, 0) is not None
        assert without(disks, {2}) == 1
        with pytest.raises(ObjectsError, match="what it is cannot be read") as raised:
            await again.wrong()
        assert not isinstance(raised.value, MissingData)
        await again.compactor.round(HALF)
        mender = mender_on(disks)
        await mend(mender)
        space, recoding = again.compactor.space(), again.compactor.recoding()
        assert space is not None and (space["objects"], space["objects_whole"]) == (5, 0)
        assert recoding is not None and not recoding["bytes_left"] and slots(disk) == before
        broken = False
        await mend(mender)
        assert await again.wrong() == [] and slots(disk) == before and without(disks, {2}) == 0


async def test_objects_whose_container_is_nowhere_are_not_whole(tmp_path: Path) -> None:
    """Nor do they keep a disk that is lost, and they with it."""
    disk, raw = MemoryDisk(), tier("raw", "1+0")
    async with tiered(tmp_path, disk, "2+1", raw) as place:
        container = await filled(place, "raw")
        number = disks_of(place).slots.places[container][0]
        await place.store.seal_all()
        assert without(disks_of(place), {number}) == 1
        lose(disk, number)
        disks_of(place).look()
        assert without(disks_of(place), {number}) == 0
    async with tiered(tmp_path, disk, "2+1", raw, before=place) as again:
        await again.compactor.round(HALF)
        space = again.compactor.space()
        assert space is not None and (space["objects"], space["objects_whole"]) == (5, 0)
        assert not again.store.status()["containers"]


async def test_disks_that_change_nothing_can_go(tmp_path: Path) -> None:
    """Also while there is a container that cannot be read, as long as they have nothing of it."""
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1") as place:
        container = await filled(place, "standard")
        disks = disks_of(place)
        await place.store.seal_all()
        first, second, third = disks.slots.places[container].values()
        other = min({*range(6)} - {first, second, third})
        for number in (first, second):
            disk.names.pop(DISKS[number] / "farshore-disk")
        disks.look()
        assert without(disks, {other}) == 0
        assert without(disks, {third}) == 1 and without(disks, {first}) == 1
