"""What is told of lost stripes."""

import contextlib
import errno

import pytest
from object_disks import ROOT, FixedClock, MemoryDisk
from test_coded_store import coded, disks_on, folders, lose
from test_mending import check_on, largest, mended, renew, slots, some_bodies, spoilt

from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.settings import UNBOUNDED
from dc.objects.stripes import HEAD_BYTES, slot_name


@pytest.mark.parametrize("which", [1, -1])
async def test_losses_are_told_also_where_a_slot_with_its_own_fragment_is_mended(
    which: int,
) -> None:
    mode = parse_mode("4+2")
    disk, _ = await spoilt(mode, which, mode.m + 1)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    sizes = disks.sizes()
    container = max(sizes, key=sizes.__getitem__)
    file = disks.coded(container)
    first = next(file.stripes())
    file.close()
    slot = mode.slots - 1
    path = folders(mode)[disks.slots.places[container][slot]] / "containers"
    disk.names[path / slot_name(container, slot)].content[first.offset + HEAD_BYTES + 81] ^= 1
    mender, _ = await mended(disk, mode)
    assert mender.mended == 1
    assert (mender.lost, mender.torn) == ((1, 0) if which > 0 else (0, 1))


@pytest.mark.parametrize("text", ["1+1", "2+1"])
async def test_a_read_that_fails_once_in_a_repair_loses_nothing(text: str) -> None:
    """There are just as many others as it takes."""
    mode = parse_mode(text)
    disk, _ = await some_bodies(mode)
    before = slots(disk)
    renew(disk, folders(mode)[0])
    for at in range(1, 60):
        left = MemoryDisk(disk.image())
        left.fail(at, errno.EIO, ("read",))
        disks = coded(left, mode)
        disks.make_dirs(ROOT)
        mender = Mender(disks, FixedClock(), lambda _: None, UNBOUNDED._replace(scrub_rate=0))
        with contextlib.suppress(OSError):
            while not await mender.step():
                pass
        assert mender.lost == mender.torn == 0
        for path, data in slots(left).items():
            assert data == before[path]


async def test_what_was_lost_is_told_until_it_is_there_again() -> None:
    """Also where nothing is scrubbed."""
    mode = parse_mode("4+2")
    disk, _ = await some_bodies(mode)
    lost = folders(mode)[0]
    gone = {path: disk.names[path] for path in disk.names if lost in path.parents}
    for path in slots(disk):
        if path.parent.parent in folders(mode)[1:3]:
            disk.names[path].content[64 + HEAD_BYTES + 81] ^= 1
    disks = disks_on(disk, mode, 1)
    disks.make_dirs(ROOT)
    disks.disks.draining.add(mode.slots)
    count = len(disks.slots.containers())
    settings = UNBOUNDED._replace(scrub_rate=0)
    mender = Mender(disks, FixedClock(), lambda _: None, settings)

    async def steps() -> int:
        mender._next_look = 0
        while not await mender.step():
            pass
        return mender.lost + mender.torn

    renew(disk, lost)
    assert await steps() == count
    lose(disk, lost)
    assert await steps() == count
    disk.names.update(gone)
    assert await steps() == count
    disks.disks.draining.clear()
    disks.disks.draining.add(4)
    assert await steps() == 0


@pytest.mark.parametrize("at", [5, 64 + HEAD_BYTES + 81])
async def test_what_lacks_a_slot_for_which_there_is_no_disk_is_scrubbed(at: int) -> None:
    mode = parse_mode("4+2")
    disk, stored = await some_bodies(mode)
    lose(disk, folders(mode)[0])
    before = slots(disk)
    for path in before:
        if folders(mode)[1] in path.parents:
            disk.names[path].content[at] ^= 1
    mender, _ = await mended(disk, mode)
    assert slots(disk) == before and mender.mended
    await check_on(disk, mode, stored)


@pytest.mark.parametrize("text", ["2+1", "4+2"])
async def test_what_is_behind_a_stripe_whose_heads_are_wrong_is_mended(text: str) -> None:
    """It is lost, as a disk is lost besides, and no end of the container."""
    mode = parse_mode(text)
    disk, _ = await some_bodies(mode)
    disks, container, stripes = largest(disk, mode)
    for slot in range(mode.m):
        path = folders(mode)[disks.slots.places[container][slot]] / "containers"
        for stripe in stripes[1:3]:
            disk.names[path / slot_name(container, slot)].content[stripe.offset] ^= 1
    gone = folders(mode)[disks.slots.places[container][mode.m]]
    size = len(disk.names[gone / "containers" / slot_name(container, mode.m)].content)
    renew(disk, gone)
    mender, _ = await mended(disk, mode)
    assert (mender.lost, mender.torn) == (2, 0)
    assert len(disk.names[gone / "containers" / slot_name(container, mode.m)].content) == size
    mender, _ = await mended(disk, mode)
    assert (mender.lost, mender.torn, mender.mended) == (2, 0, 0)
