"""Disks that were added get their share of what is there already."""

import errno
import itertools
import os
from pathlib import Path

import pytest
from object_checks import Stored, noise
from object_disks import ROOT, FixedClock, MemoryDisk, MemoryFile
from test_coded_store import coded, folders, one_by_one, store_on
from test_disks_come_and_go import mend, mender_on
from test_mending import check_on, renew

from dc.objects.balance import MARGIN, Rest, surplus
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import DiskPlace
from dc.objects.ident import body_ident
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.stripes import slot_name
from dc.system import SystemDisk

MODE = parse_mode("2+1")
IDENT = body_ident("b" * 16, "k", "", "0" * 32)


async def many_containers(mode: Mode, count: int) -> tuple[MemoryDisk, list[Stored]]:
    disk = MemoryDisk()
    store = await store_on(disk, mode, 0, container_max_bytes=20_000)
    stored = []
    for seed in range(count):
        body = noise(15_000, seed)
        stored.append((IDENT, await store.put(IDENT, body), body))
    await store.close()
    return disk, stored


def use(disks: CodedDisks) -> list[int]:
    return [disks.disks.used[number] for number in disks.disks.numbers()]


async def balanced(disk: MemoryDisk, more: int) -> CodedDisks:
    disks = coded(disk, MODE, more)
    disks.make_dirs(ROOT)
    await mend(mender_on(disks))
    return disks


async def test_a_disk_that_was_added_gets_its_share() -> None:
    disk, stored = await many_containers(MODE, 20)
    for folder in folders(MODE, 2)[-2:]:
        renew(disk, folder)
    before = coded(disk, MODE, 2)
    before.make_dirs(ROOT)
    full = max(use(before))
    assert full >= 10 and min(use(before)) == 0
    mender = mender_on(before)
    doing, left = mender.left()
    assert doing == "rebalancing" and len(left) == surplus(before.disks, before.tiers.all()) > 5
    await mend(mender)
    assert max(use(before)) - min(use(before)) < MARGIN and sum(use(before)) == 3 * full
    assert mender.left()[0] != "rebalancing"
    for container in before.slots.containers():
        places = before.slots.places[container]
        assert len(set(places.values())) == MODE.slots and not before.slots.missing(container)
        assert not before.slots.others(container)
    await check_on(disk, MODE, stored, 2)
    # That was all, also for who starts anew.
    mended = mender.mended
    await mend(mender)
    assert mender.mended == mended
    again = await balanced(disk, 2)
    assert sorted(use(again)) == sorted(use(before))


async def test_what_is_even_stays() -> None:
    disk, stored = await many_containers(MODE, MARGIN - 1)
    renew(disk, folders(MODE, 1)[-1])
    disks = await balanced(disk, 1)
    assert min(use(disks)) == 0, "a few slots are not worth it"
    await check_on(disk, MODE, stored, 1)


async def test_containers_lose_no_failure_domain_by_it() -> None:
    disk, stored = await many_containers(MODE, 20)
    renew(disk, folders(MODE, 1)[-1])
    hosts = ["a", "b", "c", "a"]
    places = [
        DiskPlace(f"{host}:{number}", folder, disk, host)
        for number, (host, folder) in enumerate(zip(hosts, folders(MODE, 1), strict=True))
    ]
    disks = CodedDisks(disk, places, "dc", MODE, clock=FixedClock(), side=one_by_one)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    await mend(mender)
    # They differ still, and no more can be moved: so nothing says that it is.
    assert surplus(disks.disks, disks.tiers.all()) and mender.left()[0] != "rebalancing"
    assert use(disks)[3] > 0 and use(disks)[1:3] == [20, 20]
    for container in disks.slots.containers():
        numbers = disks.slots.places[container].values()
        assert {hosts[number] for number in numbers} == {"a", "b", "c"}
    await check_on(disk, MODE, stored, 1)


async def test_a_disk_that_takes_nothing_keeps_nothing_from_going_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, stored = await many_containers(MODE, 20)
    new = folders(MODE, 1)[-1]
    renew(disk, new)
    disks = coded(disk, MODE, 1)
    disks.make_dirs(ROOT)
    real = disk.create

    def full(path: Path, mode: int = 0o644) -> MemoryFile:
        if path.is_relative_to(new):
            raise OSError(28, "No space left on device")
        return real(path, mode)

    monkeypatch.setattr(disk, "create", full)
    mender = mender_on(disks)
    with pytest.raises(OSError, match="No space"):
        await mend(mender)
    await mend(mender)
    assert not disks.slots.moves and use(disks)[3] == 0
    await check_on(disk, MODE, stored, 1)


async def test_what_is_to_be_mended_comes_first_and_is_not_put_where_the_moved_slot_goes() -> None:
    """Otherwise two slots of a container could come to be on one disk."""
    disk, stored = await many_containers(MODE, 20)
    renew(disk, folders(MODE, 1)[-1])
    disks = coded(disk, MODE, 1)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    for container, places in disks.slots.places.items():
        for slot, number in places.items():
            if number == 0:
                path = disks.disks.places[0].containers / slot_name(container, slot)
                disk.names[path].content[-50] ^= 1
    # They cannot be mended where they are.
    disks.failed(0, OSError(errno.EIO, "dying"))
    await mend(mender)
    assert all(len(set(one.values())) == MODE.slots for one in disks.slots.places.values())
    await check_on(disk, MODE, stored, 1)


async def test_a_disk_without_room_gets_nothing_and_another_gets_its_share() -> None:
    disk, stored = await many_containers(MODE, 20)
    for folder in folders(MODE, 2)[-2:]:
        renew(disk, folder)
    disks = coded(disk, MODE, 2)
    disks.make_dirs(ROOT)
    small = folders(MODE, 2)[-2]
    disk.room_of[small / "containers"] = 100
    await mend(mender_on(disks))
    found = use(disks)
    assert found[3] == 0 and found[4] > 5
    await check_on(disk, MODE, stored, 2)


async def test_scrubbing_goes_on_meanwhile() -> None:
    disk, _ = await many_containers(MODE, 20)
    renew(disk, folders(MODE, 1)[-1])
    disks = coded(disk, MODE, 1)
    disks.make_dirs(ROOT)
    mender = mender_on(disks)
    for _ in range(8):
        await mender.step()
    assert mender.mended == 4 and mender.checked == 8


async def test_where_nothing_can_be_moved_it_is_looked_seldom() -> None:
    clock = FixedClock()
    disk, _ = await many_containers(MODE, 20)
    renew(disk, folders(MODE, 1)[-1])
    disks = coded(disk, MODE, 1)
    disks.make_dirs(ROOT)
    rest = Rest(clock)
    looked = []
    for _ in range(4_000):
        if not rest.is_on(disks.disks):
            looked.append(clock.monotonic())
            rest.begin(disks.disks)
        clock.now_ms += 1000
    waits = [after - before for before, after in itertools.pairwise(looked)]
    assert waits[:4] == [10, 20, 40, 80] and max(waits) == 600
    assert rest.is_on(disks.disks)
    disks.disks.draining.add(0)
    assert not rest.is_on(disks.disks)
    rest.begin(disks.disks)
    clock.now_ms += 10_000
    assert not rest.is_on(disks.disks)


def test_the_room_of_a_real_disk_leaves_a_twentieth_free(tmp_path: Path) -> None:
    found = os.statvfs(tmp_path)
    room = SystemDisk().room(tmp_path)
    assert 0 <= room <= found.f_bavail * found.f_frsize
    assert room <= found.f_blocks * found.f_frsize * 19 / 20
