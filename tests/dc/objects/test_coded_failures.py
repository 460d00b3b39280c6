"""The n-th call of all disks fails, alone or with those after it: nobody notices as long as enough
slots are left, else they are told, and what was acknowledged outlives another disk and the power.
"""

import errno
import random
import threading
from pathlib import Path

import pytest
from object_checks import FOLDER, Stored, noise
from object_disks import ROOT, FixedClock, Inode, MemoryDisk
from test_coded_store import (
    check,
    coded,
    folders,
    lose,
    one_by_one,
    store_on,
    store_on_what_is_left,
)
from test_container_failures import KINDS, small_frames, work

from dc.objects.api import TooFewDisks
from dc.objects.coded_disks import CodedDisks
from dc.objects.coded_file import CodedFile
from dc.objects.disk_place import local_places
from dc.objects.format import file_name
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import parse_mode
from dc.ports import Buffer
from dc.system import SideBySide, SystemDisk

__all__ = ["small_frames"]
K = 1 << 10
MODE = parse_mode("4+2")


async def outlives(disk: MemoryDisk, stored: list[Stored], lost: int, seed: int) -> None:
    chance = random.Random(seed)
    for image in disk.power_cuts(states_max=4, seed=seed):
        left = MemoryDisk(image)
        for folder in folders(MODE):
            left.names[folder / MARK] = disk.names[folder / MARK]
        for folder in chance.sample(folders(MODE), lost):
            lose(left, folder)
        again = await store_on_what_is_left(left, MODE)
        await check(again, stored)
        await again.close()


@pytest.mark.parametrize("width", [1, 2, 3, 6, 30])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_calls_failing(width: int, code: int) -> None:
    number, told = 1, 0
    while True:
        disk = MemoryDisk()
        disk.short_writes = number % 2 == 0
        store = await store_on(disk, MODE, container_max_bytes=30 * K)
        disk.fail(number, code, KINDS)
        disk._fail_at = dict.fromkeys(range(number, number + width), code)
        stored, errors = await work(store, 2)
        failed, over = disk.calls >= number, disk.calls >= number + width
        more, later = await work(store, 1)
        told += len(errors)
        assert not (width == 1 and errors)
        assert not (over and later)
        await check(store, stored + more)
        await store.close()
        assert disk.open_files <= len(disk.names)
        await outlives(disk, stored + more, 1 if width == 1 else 0, number)
        if not failed:
            break
        number += 13
    assert number > 100
    assert (told > 0) == (width > 1)


# -- in threads -----------------------------------------------------------------------------------


class Slot:
    """A file that fails when told to, and remembers what is durable."""

    def __init__(self, disk: "Disk", path: Path) -> None:
        self.disk, self.path = disk, path
        self.written = self.durable = 0
        self.failed = self.sync_failed = False

    def writev(self, buffers: list[Buffer], offset: int) -> None:
        self.disk.maybe(self, "write")
        self.written = offset + sum(map(len, buffers))

    def sync(self) -> None:
        written = self.written
        self.disk.maybe(self, "sync")
        self.durable = max(self.durable, written)

    def read(self, length: int, offset: int) -> bytes:
        raise AssertionError("nobody reads here")

    def close(self) -> None:
        pass


class Disk(SystemDisk):
    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.slots: list[Slot] = []
        self.chance = chance
        self.failing = 0.0

    def create(self, path: Path, mode: int = 0o644) -> Slot:  # type: ignore[override]
        self.slots.append(Slot(self, path))
        return self.slots[-1]

    def sync_dir(self, path: Path) -> None:
        pass

    def maybe(self, slot: Slot, kind: str) -> None:
        assert not (slot.sync_failed and kind == "sync"), "the second would say that all is well"
        if self.chance.random() < self.failing:
            slot.failed, slot.sync_failed = True, slot.sync_failed or kind == "sync"
            raise OSError(errno.EIO, kind)


@pytest.mark.parametrize("seed", range(30))
def test_syncs_beside_appends(tmp_path: Path, seed: int) -> None:
    """In two threads. What a sync says is durable is so in as many slots as must be."""
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / MARK).write_bytes(mark_of("dc"))
    disk = Disk(random.Random(seed))
    disks = CodedDisks(
        disk,
        local_places(disk, [tmp_path / str(number) for number in range(6)]),
        "dc",
        MODE,
        clock=FixedClock(),
        side=SideBySide() if seed % 2 else one_by_one,
    )
    disks.make_dirs(ROOT)
    file = disks.create(FOLDER / file_name(1 << 16))
    assert isinstance(file, CodedFile)
    disk.failing = 0.02
    appended, ended = [0], threading.Event()

    def append() -> None:
        try:
            for turn in range(60):
                data = noise(100, turn)
                file.writev([data], appended[0])
                appended[0] += len(data)
        except OSError:
            pass
        ended.set()

    thread = threading.Thread(target=append)
    thread.start()
    try:
        while not ended.is_set():
            before = file._next
            file.sync()
            good = [slot for slot in disk.slots if slot.durable >= before]
            assert len(good) >= MODE.slots_min
    except OSError:
        pass
    thread.join()
    failed = sum(slot.failed for slot in disk.slots)
    if failed < 2:
        assert appended[0] == 6000
    assert failed == len(disks.slots.missing(1 << 16))


def test_a_sync_counts_the_slots_that_failed_another_thread() -> None:
    disk = MemoryDisk()
    for folder in folders(MODE):
        disk.names[folder / MARK] = Inode(mark_of("dc"))
    disks = coded(disk, MODE)
    disks.make_dirs(ROOT)
    file = disks.create(FOLDER / file_name(1 << 16))
    disk.fail(1, errno.EIO, ("write",))
    disk._fail_at = dict.fromkeys((1, 2), errno.EIO)
    with pytest.raises(OSError, match="injected"):
        file.writev([b"data"], 0)
    with pytest.raises(OSError, match="injected"):
        file.sync()


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_after_a_failure_the_next_container_is_begun_on_other_disks(kind: str) -> None:
    disk = MemoryDisk()
    store = await store_on(disk, MODE, more=1)
    await store.put(b"a", noise(100))
    disk.fail(1, errno.EIO, (kind,))
    [before] = await store.put(b"b", noise(100))
    [after] = await store.put(b"c", noise(100))
    disks = store._disk
    assert isinstance(disks, CodedDisks)
    assert before.container != after.container
    assert len(disks.slots.missing(before.container)) == 1
    assert not disks.slots.missing(after.container)
    await store.close()


async def test_too_few_disks_are_said_to_be_that() -> None:
    """Before a container is begun, and while one is written to."""
    disk = MemoryDisk()
    store = await store_on(disk, MODE)
    await store.put(b"ident", b"x" * K)
    disk.fail(1, errno.EIO, ("write",))
    disk._fail_at = dict.fromkeys(range(1, 100), errno.EIO)
    for _ in range(2):
        with pytest.raises(TooFewDisks):
            await store.put(b"ident", b"x" * K)
    await store.close()
