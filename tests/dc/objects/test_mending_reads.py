"""What a repair reads."""

import pytest
from object_disks import ROOT, FixedClock, MemoryFile
from test_coded_store import coded, folders
from test_mending import renew, slots, some_bodies

from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.settings import UNBOUNDED


@pytest.mark.parametrize("text", ["2+1", "4+2"])
async def test_a_lost_slot_is_made_of_one_read_of_as_many_as_it_takes(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = parse_mode(text)
    disk, _ = await some_bodies(mode)
    before, size = slots(disk), sum(map(len, slots(disk).values()))
    renew(disk, folders(mode)[0])
    read, count = MemoryFile.read, 0

    def counted(file: MemoryFile, length: int, offset: int) -> bytes:
        nonlocal count
        found = read(file, length, offset)
        count += len(found)
        return found

    monkeypatch.setattr(MemoryFile, "read", counted)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    mender = Mender(disks, FixedClock(), lambda _: None, UNBOUNDED._replace(scrub_rate=0))
    while not await mender.step():
        pass
    assert slots(disk) == before and mender.mended
    # And heads, of which a window may be read at once.
    assert count < 1.3 * size * mode.k / mode.slots
