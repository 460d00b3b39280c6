"""What is told of lost stripes."""

import pytest
from object_disks import ROOT
from test_coded_store import coded, folders
from test_mending import mended, spoilt

from dc.objects.redundancy import parse_mode
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
