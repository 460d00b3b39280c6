"""Scrub and repair: what was lost or has rotted is there again, and survives the next loss."""

import asyncio
import errno
import random
from pathlib import Path

import pytest
from object_checks import Stored, noise
from object_disks import ROOT, FixedClock, MemoryDisk, MemoryFile, SeededRandomness
from test_coded_store import check, coded, fill, folders, lose, store_on

from dc.objects.coded_disks import CodedDisks
from dc.objects.marks import MARK, mark_of
from dc.objects.mending import Mender
from dc.objects.redundancy import Mode, parse_mode
from dc.objects.settings import UNBOUNDED
from dc.objects.store import ContainerStore
from dc.objects.stripes import HEAD_BYTES, Stripe, encode_head, slot_name, slot_seed

MODES = ["1+1", "2+1", "4+2"]


async def some_bodies(mode: Mode, more: int = 0) -> tuple[MemoryDisk, list[Stored]]:
    disk = MemoryDisk()
    store = await store_on(disk, mode, more)
    stored = await fill(store)
    stored += await fill(store, 1)
    await store.close()
    return disk, stored


def renew(disk: MemoryDisk, folder: Path) -> None:
    """An empty disk in the place of a lost one."""
    lose(disk, folder)
    file = disk.create(folder / MARK)
    file.writev([mark_of("dc")], 0)
    file.close()


async def mended(disk: MemoryDisk, mode: Mode, more: int = 0) -> tuple[Mender, CodedDisks]:
    """One round."""
    disks = coded(disk, mode, more)
    disks.make_dirs(ROOT)
    mender = Mender(disks, FixedClock(), lambda _: None, UNBOUNDED)
    while not await mender.step():
        pass
    return mender, disks


async def check_on(disk: MemoryDisk, mode: Mode, stored: list[Stored], more: int = 0) -> None:
    store = ContainerStore(
        ROOT, disk=coded(disk, mode, more), clock=FixedClock(), randomness=SeededRandomness(9)
    )
    await store.open()
    await check(store, stored)
    await store.close()


def slots(disk: MemoryDisk) -> dict[Path, bytes]:
    return {path: data for path, data in disk.image().items() if path.suffix == ".fss"}


@pytest.mark.parametrize("text", MODES)
async def test_lost_disks_are_filled_again_byte_for_byte(text: str) -> None:
    mode = parse_mode(text)
    disk, stored = await some_bodies(mode)
    before = slots(disk)
    for folder in folders(mode)[: mode.m]:
        renew(disk, folder)
    mender, disks = await mended(disk, mode)
    after = slots(disk)
    assert sorted(path.name for path in after) == sorted(path.name for path in before)
    contents = {path.name: data for path, data in before.items()}
    assert {path.name: data for path, data in after.items()} == contents
    assert mender.status() == {
        "containers": len(disks.slots.containers()),
        "containers_whole": len(disks.slots.containers()),
        "containers_checked": mender.checked,
        "slots_mended": mode.m * len(disks.slots.containers()),
        "stripes_lost": 0,
        "stripes_torn": 0,
    }
    for folder in folders(mode)[mode.m : 2 * mode.m]:
        lose(disk, folder)
    await check_on(disk, mode, stored)


async def test_a_spare_disk_takes_what_a_lost_one_had() -> None:
    mode = parse_mode("4+2")
    disk, stored = await some_bodies(mode, 2)
    lose(disk, folders(mode, 2)[0])
    lose(disk, folders(mode, 2)[3])
    mender, disks = await mended(disk, mode, 2)
    assert mender.status()["containers_whole"] == len(disks.slots.containers())
    for path in slots(disk):
        assert path.parent.parent not in (folders(mode, 2)[0], folders(mode, 2)[3])
    for container in disks.slots.containers():
        assert len({*disks.slots.places[container].values()}) == mode.slots
    lose(disk, folders(mode, 2)[1])
    lose(disk, folders(mode, 2)[2])
    await check_on(disk, mode, stored, 2)


@pytest.mark.parametrize("seed", range(10))
async def test_rot_is_found_and_written_anew(seed: int) -> None:
    mode, chance = parse_mode("4+2"), random.Random(seed)
    disk, stored = await some_bodies(mode)
    before = slots(disk)
    for folder in chance.sample(folders(mode), mode.m):
        for path in slots(disk):
            if path.parent.parent == folder:
                content = disk.names[path].content
                for _ in range(5):
                    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
                if chance.random() < 0.3:
                    del content[chance.randrange(len(content)) :]
    assert slots(disk) != before
    mender, _ = await mended(disk, mode)
    assert slots(disk) == before
    assert mender.mended > 0 and mender.lost == 0
    mender, _ = await mended(disk, mode)
    assert mender.mended == 0
    await check_on(disk, mode, stored)


async def test_what_is_lost_is_told_and_left_as_it_is() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    chance = random.Random(3)
    path = max(slots(disk), key=lambda path: len(disk.names[path].content))
    others = [other for other in slots(disk) if other.name[:16] == path.name[:16]]
    for other in others[:2]:
        content = disk.names[other].content
        for _ in range(50):
            content[chance.randrange(64, len(content))] ^= 0xFF
    before = slots(disk)
    mender, _ = await mended(disk, mode)
    assert mender.lost + mender.torn > 0
    assert {path: slots(disk)[path] for path in others} == {path: before[path] for path in others}


@pytest.mark.parametrize("at", range(1, 40))
async def test_a_repair_that_fails_anywhere_loses_nothing_and_is_done_again(at: int) -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    before = {path.name: data for path, data in slots(disk).items()}
    renew(disk, folders(mode)[1])
    disk.fail(at, errno.EIO, ("write", "sync", "create", "sync_dir"))
    try:
        await mended(disk, mode)
    except OSError:
        await check_on(disk, mode, stored)
    disk.fail(0, errno.EIO)
    await mended(disk, mode)
    assert {path.name: data for path, data in slots(disk).items()} == before
    assert not [path for path in disk.names if path.name.endswith(".new")]
    await check_on(disk, mode, stored)


async def test_power_cuts_in_a_repair() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    for path in disk.names:
        disk.names[path].durable[:] = disk.names[path].content
        disk.names[path].loose.clear()
    disk.durable_names = dict(disk.names)
    renew(disk, folders(mode)[0])
    images, chance = [], random.Random(2)

    def watch() -> None:
        if chance.random() < 0.4:
            images.extend(disk.power_cuts(states_max=6, seed=len(images)))

    disk.watch = watch
    await mended(disk, mode)
    disk.watch = None
    images.extend(disk.power_cuts(states_max=6))
    assert len(images) > 20
    for image in images:
        left = MemoryDisk(image)
        left.names[folders(mode)[0] / MARK] = disk.names[folders(mode)[0] / MARK]
        await check_on(left, mode, stored)


async def test_a_slot_whose_disk_failed_in_writing_is_mended_first() -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    stored = await fill(store)
    disk.fail(3, errno.EIO, ("write",))
    stored += await fill(store, 1)
    assert store._mender is not None
    state = store.status()
    assert state["containers_whole"] < state["containers"]
    assert len(state["disks_failing"]) == 1
    await store.close()
    store._disk.disks._bad_until.clear()  # type: ignore[union-attr]
    while not await store._mender.step():
        pass
    state = store.status()
    assert (state["containers_whole"], state["disks_failing"]) == (state["containers"], [])
    for folder in folders(mode)[:2]:
        left = MemoryDisk(disk.image())
        lose(left, folder)
        await check_on(left, mode, stored)


async def test_disks_that_go_and_come_back_are_noticed() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode, 1)
    store = await store_on(disk, mode, 1)
    assert store._mender is not None
    kept = {
        path: inode for path, inode in disk.names.items() if folders(mode, 1)[0] in path.parents
    }
    lose(disk, folders(mode, 1)[0])
    while not await store._mender.step():
        pass
    state = store.status()
    assert state["disks_missing"] == [str(folders(mode, 1)[0])]
    assert state["containers_whole"] == state["containers"]
    lose(disk, folders(mode, 1)[1])
    disk.names.update(kept)
    store._mender._next_look = 0
    while not await store._mender.step():
        pass
    state = store.status()
    assert state["disks_missing"] == [str(folders(mode, 1)[1])]
    assert state["containers_whole"] == state["containers"]
    await check(store, stored)
    await store.close()


async def test_what_is_being_written_is_left_alone_and_cancelling_harms_nothing() -> None:
    mode = parse_mode("2+1")
    disk = MemoryDisk()
    store = await store_on(disk, mode)
    mender = store._mender
    assert mender is not None
    stored = [(b"a", await store.put(b"a", noise(5000)), noise(5000))]
    assert await mender.step() > 0
    assert (mender.checked, store.status()["containers"]) == (0, 1)
    await store.close()
    renew(disk, folders(mode)[2])
    again = await store_on(disk, mode)
    assert again._mender is not None
    task = asyncio.ensure_future(again._mender.step())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    while not await again._mender.step():
        pass
    assert again.status()["containers_whole"] == 1
    await check(again, stored)
    await again.close()


async def test_rot_in_other_stripes_of_more_slots_than_may_be_lost() -> None:
    """Each stripe has enough; no slot but one is whole."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    before = slots(disk)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    for container in disks.slots.containers():
        file = disks.coded(container)
        for number, stripe in enumerate(file.stripes()):
            place = stripe.offset + HEAD_BYTES + 81
            slot = number % 3
            path = folders(mode)[disks.slots.places[container][slot]] / "containers"
            disk.names[path / slot_name(container, slot)].content[place] ^= 1
        file.close()
    mender, _ = await mended(disk, mode)
    assert slots(disk) == before
    assert mender.lost == mender.torn == 0
    await check_on(disk, mode, stored)


def largest(disk: MemoryDisk, mode: Mode) -> tuple[CodedDisks, int, list[Stripe]]:
    """The disks, and the largest container on them with its stripes."""
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    sizes = disks.sizes()
    container = max(sizes, key=sizes.__getitem__)
    file = disks.coded(container)
    stripes = list(file.stripes())
    file.close()
    return disks, container, stripes


async def spoilt(mode: Mode, which: int, count: int) -> tuple[MemoryDisk, list[Stored]]:
    """One stripe of the largest container is lost, by damage to some of its fragments."""
    disk, stored = await some_bodies(mode)
    disks, container, stripes = largest(disk, mode)
    stripe = stripes[which]
    for slot in range(count):
        path = folders(mode)[disks.slots.places[container][slot]] / "containers"
        place = stripe.offset + HEAD_BYTES + 81
        disk.names[path / slot_name(container, slot)].content[place] ^= 1
    left = [
        one
        for one in stored
        if not any(
            extent.container == container
            and extent.offset - 4096 < stripe.start + stripe.length
            and stripe.start < extent.offset + extent.length
            for extent in one[1]
        )
    ]
    assert len(left) < len(stored)
    return disk, left


@pytest.mark.parametrize(("text", "which"), [("2+1", 1), ("4+2", 1), ("4+2", -1), ("1+1", 2)])
async def test_a_lost_stripe_does_not_keep_the_others_from_being_mended(
    text: str, which: int
) -> None:
    mode = parse_mode(text)
    disk, left = await spoilt(mode, which, mode.m + 1)
    for folder in folders(mode)[mode.m + 1 :][: mode.m]:
        renew(disk, folder)
    before = slots(disk)
    mender, disks = await mended(disk, mode)
    assert (mender.lost, mender.torn) == ((1, 0) if which > 0 else (0, 1))
    assert mender.status()["containers_whole"] == len(disks.slots.containers())
    assert {path: slots(disk)[path] for path in before} == before
    mended_slots = mender.mended
    again, _ = await mended(disk, mode)
    assert again.mended == 0 < mended_slots + 1
    # The place of the lost stripe is known in the new slots as well.
    for folder in folders(mode)[: mode.m]:
        renew(disk, folder)
    await mended(disk, mode)
    for folder in folders(mode)[mode.m :][: mode.m]:
        lose(disk, folder)
    await check_on(disk, mode, left)


async def test_a_lost_stripe_that_comes_back_is_there() -> None:
    """What is left of it is kept when other fragments of its slots are written anew."""
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    lost = folders(mode)[0]
    kept = {path: inode for path, inode in disk.names.items() if lost in path.parents}
    chance = random.Random(1)
    for path in [path for path in slots(disk) if folders(mode)[1] in path.parents]:
        content = disk.names[path].content
        for _ in range(3):
            content[chance.randrange(64, len(content))] ^= 1
    renew(disk, lost)
    await mended(disk, mode)
    for path, inode in kept.items():
        disk.names[path] = inode
    await mended(disk, mode)
    await check_on(disk, mode, stored)


@pytest.mark.parametrize("text", ["1+1", "2+1", "4+2"])
async def test_errors_while_it_is_read_cut_nothing_off(text: str) -> None:
    """Where many disks cannot be read for a moment, a container seems to end early."""
    mode = parse_mode(text)
    disk, stored = await some_bodies(mode)
    before = slots(disk)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    for path in [path for path in slots(disk) if path.parent.parent == folders(mode)[0]]:
        disk.names[path].content[64 + HEAD_BYTES + 81] ^= 1
    calls, spoilt = 0, slots(disk)
    for at in range(1, 120, 4):
        for width in (mode.m + 1, mode.slots):
            left = MemoryDisk(disk.image())
            left.fail(at, errno.EIO, ("read",))
            left._fail_at = dict.fromkeys(range(at, at + width), errno.EIO)
            try:
                await mended(left, mode)
            except OSError:
                pass
            calls = max(calls, left.calls)
            for path, data in slots(left).items():
                assert data in (before[path], spoilt[path])
            left.fail(0, 0)
            await mended(left, mode)
            assert slots(left) == before
    assert calls > 100
    await check_on(disk, mode, stored)


async def test_what_a_power_cut_tore_is_kept_and_hinders_nothing() -> None:
    mode = parse_mode("2+1")
    disk, stored = await some_bodies(mode)
    whole = slots(disk)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    for number, (path, inode) in enumerate(sorted(disk.names.items())):
        if path.suffix == ".fss" and number % 3:
            inode.content += noise(1000 * number)
    before = slots(disk)
    renew(disk, folders(mode)[0])
    mender, _ = await mended(disk, mode)
    assert mender.mended > 0
    for path in [path for path in slots(disk) if path.parent.parent == folders(mode)[1]]:
        disk.names[path].content[64 + HEAD_BYTES + 81] ^= 1
    await mended(disk, mode)
    for path, data in slots(disk).items():
        assert data == (whole if folders(mode)[0] in path.parents else before)[path]
    lose(disk, folders(mode)[2])
    await check_on(disk, mode, stored)


async def test_a_stripe_that_too_few_slots_have_is_none() -> None:
    """A power cut left it in one, whole: nobody was told of it, and it does not make a repair."""
    mode = parse_mode("4+2")
    disk, stored = await some_bodies(mode)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    for container in disks.slots.containers():
        file = disks.coded(container)
        last = list(file.stripes())[-1]
        file.close()
        stripe = Stripe(last.start + last.length, 400, last.end, 180)
        for slot in range(mode.k - 1):
            path = folders(mode)[disks.slots.places[container][slot]] / "containers"
            fragment = noise(180, slot)
            head = encode_head(stripe, slot, slot_seed(container, slot), fragment)
            disk.names[path / slot_name(container, slot)].content += head + fragment
    before = slots(disk)
    mender, _ = await mended(disk, mode)
    assert slots(disk) == before
    assert (mender.mended, mender.lost, mender.torn) == (0, 0, 0)
    await check_on(disk, mode, stored)


@pytest.mark.parametrize("text", ["1+1", "2+1", "4+2"])
async def test_a_container_whose_end_cannot_be_read_is_left_alone(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot that is written anew must not end where the others cannot be read for a while."""
    mode = parse_mode(text)
    disk, _ = await some_bodies(mode)
    before = {path.name: data for path, data in slots(disk).items()}
    renew(disk, folders(mode)[-1])
    failing = [
        disk.names[path] for path in slots(disk) if path.parent.parent in folders(mode)[: mode.m]
    ]
    real = MemoryFile.read

    def read(self: MemoryFile, length: int, offset: int) -> bytes:
        if self._inode in failing and offset + length > 2000:
            raise OSError(errno.EIO, "for a while")
        return real(self, length, offset)

    monkeypatch.setattr(MemoryFile, "read", read)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    mender = Mender(disks, FixedClock(), lambda _: None, UNBOUNDED)
    for _ in disks.slots.containers():
        with pytest.raises(OSError, match="where it ends"):
            await mender.step()
    assert len(slots(disk)) == len(before) - len(disks.slots.containers())
    failing.clear()
    await mended(disk, mode)
    assert {path.name: data for path, data in slots(disk).items()} == before


@pytest.mark.parametrize("spare", [1, 0], ids=["a disk to spare", "none"])
async def test_what_is_written_to_is_sealed_to_be_mended(spare: int) -> None:
    mode = parse_mode("4+2")
    disk = MemoryDisk()
    store = await store_on(disk, mode, spare)
    stored = await fill(store)
    mender = store._mender
    assert mender is not None
    [one, *_] = store.unsealed()
    number = mender._disks.slots.place_of(one, 0)
    assert number is not None
    mark = folders(mode, spare)[number] / MARK
    del disk.names[mark]
    await mender.step()
    assert 0 in mender._disks.slots.missing(one)
    # Where no disk is left the next container would lack the slot as well.
    assert (one in store.unsealed()) == (not spare)
    while spare and not await mender.step():
        pass
    assert (0 in mender._disks.slots.missing(one)) == (not spare)
    await store.close()
    await check_on(disk, mode, stored, spare)
