"""Writers, readers, scrub and repair at the same time, in threads on real files, while a disk after
another goes and comes back, is emptied or rots."""

import asyncio
import random
import shutil
from pathlib import Path

import pytest
from object_checks import Stored, noise, upload, whole

from dc.objects.api import ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import local_places
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import parse_mode
from dc.objects.store import ContainerStore
from dc.system import SideBySide, SystemClock, SystemDisk, SystemRandomness

MODE = parse_mode("4+2")
DISKS = 7
TURNS = 40


def store_on(root: Path) -> ContainerStore:
    disk = SystemDisk()
    disks = CodedDisks(
        disk,
        local_places(disk, [root / f"disk{number}" for number in range(DISKS)]),
        "dc",
        MODE,
        clock=SystemClock(),
        side=SideBySide(),
    )
    return ContainerStore(
        root,
        disk=disks,
        clock=SystemClock(),
        randomness=SystemRandomness(),
        container_max_bytes=1 << 18,
        files_max=12,
    )


class Life:
    def __init__(self, root: Path, seed: int) -> None:
        self.root = root
        self.chance = random.Random(seed)
        self.store = store_on(root)
        self.stored: list[Stored] = []
        self.refused = 0
        self.ended = self.quiet = False

    async def write(self, name: int) -> None:
        for turn in range(TURNS):
            size = self.chance.choice([1, 500, 70_000, 300_000])
            ident, data = b"%d" % name, noise(size, name * TURNS + turn)
            try:
                if size < 100_000:
                    self.stored.append((ident, await self.store.put(ident, data), data))
                else:
                    self.stored.append(await upload(self.store, ident, data))
            except ObjectsError:
                self.refused += 1

    async def read(self) -> None:
        while not self.ended:
            await asyncio.sleep(0)
            if self.stored:
                _, extents, data = self.chance.choice(self.stored)
                low = self.chance.randrange(len(data))
                assert self.store.read_cached(extents) in (None, data)
                assert await whole(self.store, extents, low, len(data)) == data[low:]

    async def mend(self) -> None:
        mender = self.store._mender
        assert mender is not None
        while not self.quiet:
            mender._next_look = mender._next_round = 0
            try:
                await mender.step()
            except OSError:
                pass
            await asyncio.sleep(0.001)

    async def upset(self) -> None:
        """One disk at a time; and all is mended before it is another's turn."""
        while not self.ended:
            folder = self.root / f"disk{self.chance.randrange(DISKS)}"
            away = self.root / "away"
            kind = self.chance.choice(["away", "away", "emptied"])
            folder.rename(away)
            await asyncio.sleep(self.chance.choice([0, 0.02, 0.05]))
            if kind == "emptied":
                shutil.rmtree(away)
                folder.mkdir()
                (folder / MARK).write_bytes(mark_of("dc"))
            else:
                away.rename(folder)
            await self.whole()

    async def whole(self) -> None:
        disks = self.store._disk
        assert isinstance(disks, CodedDisks)
        while True:
            await asyncio.sleep(0.01)
            disks.disks._bad_until.clear()
            here = not disks.disks.absent
            if here and not any(disks.slots.missing(one) for one in disks.slots.sealed()):
                return

    async def run(self) -> None:
        await self.store.open()
        upset, mend = asyncio.ensure_future(self.upset()), asyncio.ensure_future(self.mend())
        readers = [asyncio.ensure_future(self.read()) for _ in range(2)]
        await asyncio.gather(*(self.write(name) for name in range(4)))
        self.ended = True
        await asyncio.wait_for(asyncio.gather(upset, *readers), 30)
        self.quiet = True
        await mend
        await self.store.close()


@pytest.mark.parametrize("seed", range(3))
async def test_everything_at_once(tmp_path: Path, seed: int) -> None:
    for number in range(DISKS):
        (tmp_path / f"disk{number}").mkdir()
        (tmp_path / f"disk{number}" / MARK).write_bytes(mark_of("dc"))
    life = Life(tmp_path, seed)
    await life.run()
    assert life.refused == 0
    assert len(life.stored) == 4 * TURNS
    again = store_on(tmp_path)
    await again.open()
    assert again._mender is not None
    while not await again._mender.step():
        pass
    state = again.status()
    assert (state["stripes_lost"], state["containers_whole"]) == (0, state["containers"])
    for number in random.Random(seed).sample(range(DISKS), MODE.m):
        shutil.rmtree(tmp_path / f"disk{number}")
    for _, extents, data in life.stored:
        assert await whole(again, extents, 0, len(data)) == data
    await again.close()
