"""Disks that are drained and removed while things go on: what is on them is needed until it is
elsewhere, and nothing is thought to be where it is not."""

import errno
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from moved_clock import MovedClock
from object_checks import FOLDER, noise
from object_disks import ROOT, FixedClock, MemoryDisk
from test_coded_store import coded, disks_on, folders, one_by_one, store_on
from test_disks_come_and_go import mend, mender_on
from test_mending import check_on, renew, slots, some_bodies

from dc.objects.coded_disks import CodedDisks, ContainerRemoved
from dc.objects.disk_place import DiskPlace, local_places
from dc.objects.disk_set import BAD_SECONDS, DiskSet
from dc.objects.format import file_name
from dc.objects.pace import LATE_MAX, Pace
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.tiers import Tier
from dc.ports import File


class SecondName:
    """A disk as it is seen under another path: by a link, or by another node of the machine."""

    def __init__(self, disk: MemoryDisk, seen: Path, real: Path) -> None:
        self._disk = disk
        self._seen, self._real = seen, real

    def _at(self, path: Path) -> Path:
        return self._real / path.relative_to(self._seen)

    def create(self, path: Path, mode: int = 0o644) -> File:
        return self._disk.create(self._at(path), mode)

    def open(self, path: Path) -> File:
        return self._disk.open(self._at(path))

    def read_bytes(self, path: Path) -> bytes:
        return self._disk.read_bytes(self._at(path))

    def list_dir(self, path: Path) -> list[str]:
        return self._disk.list_dir(self._at(path))

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        self._disk.make_dirs(self._at(path), mode)

    def remove(self, path: Path) -> None:
        self._disk.remove(self._at(path))

    def rename(self, path: Path, to: Path) -> None:
        self._disk.rename(self._at(path), self._at(to))

    def sync_dir(self, path: Path) -> None:
        self._disk.sync_dir(self._at(path))


async def test_one_disk_under_two_names_loses_nothing() -> None:
    """A second copy is removed only where there is a first one besides."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    before = slots(disk)
    places = local_places(disk, folders(mode))
    for number, real in enumerate(folders(mode)):
        seen = ROOT / f"seen{number}"
        places.append(DiskPlace(str(seen), seen, SecondName(disk, seen, real)))
    disks = CodedDisks(disk, places, "dc", mode, clock=FixedClock(), side=one_by_one)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    await mend(mender)
    await mend(mender)
    assert slots(disk) == before
    await check_on(disk, mode, stored)


async def drained(disk: MemoryDisk, mode: Mode, number: int, more: int = 1) -> CodedDisks:
    disks = coded(disk, mode, more)
    disks.make_dirs(ROOT)
    disks.disks.draining.add(number)
    mender = mender_on(disks)
    await mend(mender)
    await mend(mender)
    return disks


async def test_a_disk_with_what_a_power_cut_tore_can_be_drained() -> None:
    """What there is of it goes along, byte for byte."""
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode, 1)
    container = min(path.name[:16] for path in slots(disk))
    torn = [path for path in slots(disk) if path.name.startswith(container)]
    for path in torn:
        # Of the last stripe the heads are there, and not all that follows.
        disk.names[path].content[-5:] = b"wrong"
    for path in torn[:2]:
        disk.names[path].content += b"behind"
    before = {path.name: data for path, data in slots(disk).items() if path in torn}
    number = folders(mode, 1).index(torn[0].parent.parent)
    disks = await drained(disk, mode, number)
    assert disks.slots.left_on(number) == 0
    assert not [path for path in slots(disk) if path.parent.parent == folders(mode, 1)[number]]
    after = {path.name: data for path, data in slots(disk).items() if path.name in before}
    assert after == before


async def test_a_slot_that_is_put_in_place_keeps_nobody_waiting() -> None:
    """The disk may be on a machine that does not answer."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    real, locked = disk.rename, []

    def rename(path: Path, to: Path) -> None:
        locked.append(disks._lock.locked())
        real(path, to)

    disk.rename = rename  # type: ignore[method-assign]
    await mend(mender_on(disks))
    assert locked and not any(locked)
    await check_on(disk, mode, stored)


async def test_a_container_that_is_removed_while_a_slot_is_put_in_place_leaves_none() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    real, gone = disk.rename, disks.slots.sealed()[0]

    def rename(path: Path, to: Path) -> None:
        disks.remove(FOLDER / file_name(gone))
        real(path, to)

    disk.rename = rename  # type: ignore[method-assign]
    for _ in mender_on(disks)._mend(gone):
        pass
    assert not [path for path in disk.names if f"{gone:016x}" in path.name]


async def test_a_slot_that_is_mended_onto_a_disk_that_was_removed_meanwhile_is_missing() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    renew(disk, folders(mode)[0])
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    container = disks.slots.sealed()[0]
    missing = disks.slots.missing(container)
    file = disks.begin_slot(container, min(missing), 0)
    disks.remove_place(0)
    with pytest.raises(ContainerRemoved):
        disks.end_slot(container, min(missing), 0, file)
    assert disks.slots.missing(container) == missing
    assert not [path for path in slots(disk) if folders(mode)[0] in path.parents]


def test_a_disk_that_comes_back_while_it_is_removed_is_not_taken() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    first = coded(disk, mode)
    first.make_dirs(ROOT)
    first.create(FOLDER / file_name(1 << 16)).close()
    disks = coded(disk, mode)
    real = disk.list_dir

    def list_dir(path: Path) -> list[str]:
        names = real(path)
        if folders(mode)[0] in path.parents:
            disks.remove_place(0)
        return names

    disk.list_dir = list_dir  # type: ignore[method-assign]
    disks.make_dirs(ROOT)
    assert disks.disks.numbers() == [1, 2]
    assert len(disks.slots.missing(1 << 16)) == 1 and not disks.disks.absent


def test_a_container_that_was_begun_on_a_disk_that_is_removed_misses_a_slot() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    real = disk.sync_dir

    def sync_dir(path: Path) -> None:
        real(path)
        if 0 in disks.disks.numbers():
            disks.remove_place(0)

    disk.sync_dir = sync_dir  # type: ignore[method-assign]
    disks.create(FOLDER / file_name(1 << 16)).close()
    assert len(disks.slots.missing(1 << 16)) == 1


async def test_all_that_is_written_to_is_sealed_when_a_disk_is_drained() -> None:
    """Also a container that is just being begun, on disks that were chosen before."""
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode, 1)
    await store.put(b"k", noise(100))
    assert store.unsealed()
    await store.seal_all()
    assert not store.unsealed()
    await store.put(b"k", noise(100))
    await store.close()


def test_at_the_start_all_disks_are_looked_for_at_once() -> None:
    """Each machine that does not answer takes seconds."""
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    most = []

    def side(work: Sequence[partial[None]]) -> list[OSError | None]:
        most.append(len(work))
        return one_by_one(work)

    places = local_places(disk, folders(mode))
    disks = CodedDisks(disk, places, "dc", mode, clock=FixedClock(), side=side)  # type: ignore[arg-type]
    disks.make_dirs(ROOT)
    assert most == [3] and not disks.disks.absent


def test_a_disk_that_was_removed_is_not_failing() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    for folder in folders(mode):
        renew(disk, folder)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    disks.failed(1, OSError(errno.EIO, "broken"))
    disks.remove_place(1)
    assert disks.state().disks_failing == []


# -- which disks ----------------------------------------------------------------------------------


def test_slots_go_to_different_hosts_first() -> None:
    disk = MemoryDisk()
    places = [
        DiskPlace(f"{host}:{number}", ROOT / f"{host}{number}", disk, host)
        for host in ("a", "b", "c")
        for number in range(2)
    ]
    disks = DiskSet([*places, *local_places(disk, [ROOT / "x", ROOT / "y"])], FixedClock())
    # A disk of no host is one of its own.
    assert disks.spread(range(8)) == [0, 2, 4, 6, 7, 1, 3, 5]
    assert disks.spread(range(6), [0, 2])[0] == 4


async def test_disks_that_are_all_slow_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    monkeypatch.setattr(Pace, "read", lambda *_: None)
    await check_on(disk, mode, stored)


async def test_a_disk_that_was_always_slow_is_read_around(monkeypatch: pytest.MonkeyPatch) -> None:
    mode, clock = parse_mode("2+1"), MovedClock()
    disk, _ = await some_bodies(mode)
    disks = CodedDisks(
        disk, local_places(disk, folders(mode)), "dc", mode, clock=clock, side=one_by_one
    )
    disks.make_dirs(ROOT)
    container = disks.slots.containers()[0]
    slow = disks.slots.places[container][0]
    real, asked = MemoryDisk.open, 0

    def opened(self: MemoryDisk, path: Path) -> File:
        file = real(self, path)
        read = file.read

        def slowly(length: int, offset: int) -> bytes:
            nonlocal asked
            if disks.disks.places[slow].folder in path.parents:
                asked += 1
                clock.now += 0.5
            return read(length, offset)

        file.read = slowly  # type: ignore[method-assign]
        return file

    monkeypatch.setattr(MemoryDisk, "open", opened)
    file = disks.coded(container)
    whole = file.read(file.size(), 0)
    for _ in range(20):
        assert file.read(len(whole), 0) == whole
    assert disks.disks.paces.slow() == {slow}
    before, began = asked, clock.now
    assert file.read(len(whole), 0) == whole
    assert asked == before and clock.now == began
    file.close()
    disks.remove_place(slow)
    assert disks.disks.paces.slow() == set()


@pytest.mark.parametrize(
    ("more", "hosts", "is_left"), [(1, "abcd", True), (0, "abc", False), (1, "abbc", False)]
)
async def test_a_container_with_a_slow_slot_is_left_where_others_are_as_safe(
    monkeypatch: pytest.MonkeyPatch, more: int, hosts: str, is_left: bool
) -> None:
    """Its bytes are durable in all slots; what comes next goes to other disks, if there are so many
    of them, and on so many hosts, as before."""
    mode, clock, disk = parse_mode("2+1"), MovedClock(), MemoryDisk()
    disks_on(disk, mode, more)
    places = [
        DiskPlace(str(folder), folder, disk, host)
        for folder, host in zip(folders(mode, more), hosts, strict=True)
    ]
    disks = CodedDisks(disk, places, "dc", mode, clock=clock, side=one_by_one)
    disks.make_dirs(ROOT)
    slow, real = places[0].folder, MemoryDisk.create

    def created(self: MemoryDisk, path: Path, mode: int = 0o644) -> File:
        file = real(self, path, mode)
        sync = file.sync

        def slowly() -> None:
            clock.now += 0.5 * (slow in path.parents)
            sync()

        file.sync = slowly  # type: ignore[method-assign]
        return file

    monkeypatch.setattr(MemoryDisk, "create", created)
    file = disks.begin(Path(file_name(1 << 16)), disks.tiers.standard)
    for turn in range(LATE_MAX):
        assert not file.worn  # type: ignore[attr-defined]
        file.writev([b"x" * 100], turn * 100)
        file.sync()
    assert file.worn == is_left  # type: ignore[attr-defined]
    assert disks.disks.avoided() == disks.disks.slow() == ({0} if is_left else set())
    assert not disks.disks.failing()
    assert not disks.slots.unfinished
    file.close()
    disks.begin(Path(file_name(2 << 16)), disks.tiers.standard).close()
    assert len(disks.slots.places[2 << 16]) == 3
    assert (0 in disks.slots.places[2 << 16].values()) != is_left


def test_a_disk_that_is_slow_again_soon_is_left_for_longer() -> None:
    mode, clock = parse_mode("2+1"), MovedClock()
    disk = MemoryDisk()
    places = [DiskPlace(str(folder), folder, disk, "a") for folder in folders(mode, 1)]
    disks = DiskSet(places, clock)
    tier, took = Tier("standard", mode), []
    for _ in range(7):
        assert disks.leave_slow(0, tier) and not disks.failing()
        began = clock.now
        while disks.slow():
            clock.now += 10
        assert disks.candidates(tier) == [0, 1, 2, 3]
        took.append(clock.now - began)
    assert took == [60, 120, 240, 480, 960, 1920, 1920]
    clock.now += 1920
    assert disks.leave_slow(0, tier)
    clock.now += BAD_SECONDS
    assert not disks.slow()


def test_a_slow_disk_is_written_where_there_are_too_few_others() -> None:
    """And so is what another disk had; a tier that has no other disk does not lack it either."""
    mode, disk = parse_mode("2+1"), MemoryDisk()
    disks = disks_on(disk, mode, 1)
    disks.make_dirs(ROOT)
    standard = disks.tiers.standard
    labels = tuple(place.label for place in disks.disks.places[1:])
    disks.begin(Path(file_name(1 << 16)), standard).close()
    assert disks.disks.leave_slow(3, standard)
    assert disks.disks.candidates(Tier("few", mode, labels))[-1] == 3
    assert 3 not in disks.disks.candidates(standard)
    disks.remove_place(0)
    assert disks.place_for(1 << 16, 0) == 3
    disks.begin(Path(file_name(2 << 16)), standard).close()
    assert set(disks.slots.places[2 << 16].values()) == {1, 2, 3}
    assert not disks.disks.leave_slow(1, standard)


async def test_what_cannot_be_decoded_is_moved_as_it_is() -> None:
    """The beginning of a container that a crash has cut off: too few slots, and a disk that is to
    become empty has one of them."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    cut_off = MemoryDisk(disk.image())
    name = "00000000000a0001-00.fss"
    begun = folders(mode, 1)[0] / "containers" / name
    cut_off.create(begun).writev([noise(100)], 0)
    disks = await drained(cut_off, mode, 0)
    assert disks.slots.left_on(0) == 0
    (moved,) = [path for path in slots(cut_off) if path.name == name]
    assert moved != begun and slots(cut_off)[moved] == noise(100)
    await check_on(cut_off, mode, stored)
