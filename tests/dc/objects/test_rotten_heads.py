"""One stripe whose heads are wrong in all slots that are there does not hide what is behind it."""

import pytest
from object_checks import Stored, noise
from object_disks import ROOT, MemoryDisk
from test_coded_store import check, coded, folders, lose, store_on, store_on_what_is_left
from test_mending import largest, mended, renew, some_bodies

from dc.objects.api import ObjectsError
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.stripes import HEAD_BYTES, Stripe, slot_name


async def rotten(mode: Mode, at: int, wrong: int) -> tuple[MemoryDisk, list[Stored], int, Stripe]:
    """Of the largest container: `wrong` is the byte of the heads of a stripe that is another one in
    all slots; the container and the stripe."""
    disk, stored = await some_bodies(mode)
    disks, container, stripes = largest(disk, mode)
    stripe = stripes[at]
    for slot, number in disks.slots.places[container].items():
        path = folders(mode)[number] / "containers" / slot_name(container, slot)
        disk.names[path].content[stripe.offset + wrong] ^= 1
    return disk, stored, container, stripe


async def unread(disk: MemoryDisk, mode: Mode, stored: list[Stored]) -> list[Stored]:
    """Those that cannot be read; the others are what was stored."""
    store = await store_on_what_is_left(disk, mode)
    left = []
    for one in stored:
        try:
            await check(store, [one])
        except ObjectsError:
            left.append(one)
    await store.close()
    return left


@pytest.mark.parametrize("text", ["1+0", "1+1", "2+1", "4+2"])
@pytest.mark.parametrize("wrong", [0, 9, 20, HEAD_BYTES - 1])
async def test_all_is_read(text: str, wrong: int) -> None:
    """Also what is in the stripe: its fragments are as they were."""
    disk, stored, _, _ = await rotten(parse_mode(text), 1, wrong)
    assert await unread(disk, parse_mode(text), stored) == []


@pytest.mark.parametrize("text", ["1+1", "2+1", "4+2"])
async def test_a_lost_disk_costs_no_more_than_that_stripe(text: str) -> None:
    mode = parse_mode(text)
    disk, stored, container, stripe = await rotten(mode, 1, 0)
    for folder in folders(mode)[: mode.m]:
        renew(disk, folder)
    mender, _ = await mended(disk, mode)
    assert (mender.lost, mender.torn) == (1, 0)
    # The next loss does not cost more: the new slots have all that is behind.
    for folder in folders(mode)[mode.m : 2 * mode.m]:
        lose(disk, folder)
    for _, extents, *_ in await unread(disk, mode, stored):
        assert any(
            one.container == container
            and one.offset - 4096 < stripe.start + stripe.length
            and stripe.start < one.offset + one.length
            for one in extents
        )


@pytest.mark.parametrize("text", ["1+0", "2+1"])
async def test_of_two_in_a_row_nothing_is_made_up(text: str) -> None:
    """Where the second begins is not to be told."""
    mode = parse_mode(text)
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    for number in range(6):
        await store.put(f"{number}".encode(), noise(3_000 + number))
    await store.close()
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    (container,) = disks.slots.containers()
    file = disks.coded(container)
    stripes = list(file.stripes())
    assert len(stripes) == 7, "the header of the container, and six"
    file.close()
    for slot, number in disks.slots.places[container].items():
        path = folders(mode)[number] / "containers" / slot_name(container, slot)
        for stripe in stripes[2:4]:
            disk.names[path].content[stripe.offset] ^= 1
    file = disks.coded(container)
    assert list(file.stripes()) == stripes[:2]
    file.close()
