"""A clock that goes back: no container takes another's name, and nothing is lost."""

import pytest
from object_disks import ROOT, FixedClock, MemoryDisk, SeededRandomness

from dc.objects.container import ContainerIds
from dc.objects.store import ContainerStore

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000


class Clock(FixedClock):
    """Wall time as the test sets it."""

    ms = NOW_MS

    def wall_ms(self) -> int:
        return self.ms


def test_ids_rise_whatever_the_clock_does() -> None:
    clock = Clock()
    ids = ContainerIds(clock, SeededRandomness(1))
    found = []
    for step in (0, 5, -DAY_MS, -DAY_MS, 0, DAY_MS):
        clock.ms = NOW_MS + step
        found.append(ids.next()[0])
    assert found == sorted(set(found))


@pytest.mark.parametrize("back_ms", [1, DAY_MS], ids=["a millisecond", "a day"])
async def test_a_start_with_an_earlier_clock(back_ms: int) -> None:
    disk, clock = MemoryDisk(), Clock()
    stored = []
    for turn in range(4):
        # The same chance each time: only the clock could tell the names apart.
        store = ContainerStore(ROOT, disk=disk, clock=clock, randomness=SeededRandomness(7))
        await store.open()
        for number in range(3):
            body = f"{turn} {number}".encode() * 1000
            stored.append((await store.put(b"ident", body), body))
        await store.close()
        clock.ms -= back_ms if turn != 1 else 0
    store = ContainerStore(ROOT, disk=disk, clock=clock, randomness=SeededRandomness(7))
    await store.open()
    for extents, body in stored:
        pieces = [bytes(piece) async for piece in store.read(extents, 0, len(body))]
        assert b"".join(pieces) == body
    await store.close()
