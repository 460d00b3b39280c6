"""What is told of lost stripes."""

import contextlib
import errno

import pytest
from object_disks import ROOT, FixedClock, MemoryDisk
from test_coded_store import coded, folders
from test_mending import mended, renew, slots, some_bodies, spoilt

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
