"""The power goes at any moment: what was acknowledged before is there afterwards.

After every change of the disk, every state that a power cut may leave is looked at: all that was
acknowledged until then must be readable by its extents and be found by a scan. To know that this
check can fail, the code is broken on purpose.
"""

import asyncio
import errno

import pytest
from object_checks import Stored, loss, noise, store_on, upload
from object_disks import MemoryDisk

from dc.objects import lane, store, writer
from dc.objects.container import OpenContainer
from dc.objects.lane import Appended
from dc.objects.store import ContainerStore

K = 1 << 10


class Watch:
    """Looks at the power cuts after each change of a disk."""

    def __init__(self, disk: MemoryDisk) -> None:
        self.stored: list[Stored] = []
        self.states = 0
        self.losses: list[str] = []
        self._disk = disk
        disk.watch = self.look

    def look(self) -> None:
        for image in self._disk.power_cuts(states_max=64, seed=self.states):
            self.states += 1
            if lost := loss(image, self.stored):
                self.losses.append(lost)

    async def put(self, objects: ContainerStore, number: int) -> None:
        ident, data = b"put%d" % number, noise(300 + number, number)
        self.stored.append((ident, await objects.put(ident, data), data))
        self.look()

    async def upload(self, objects: ContainerStore, number: int) -> None:
        self.stored.append(await upload(objects, b"up%d" % number, noise(5 * K, number), 700))
        self.look()


async def run(seed: int = 1, fail_sync: int = 0) -> Watch:
    """Puts and uploads, alone and together, over several containers."""
    disk = MemoryDisk()
    watch = Watch(disk)
    objects = store_on(disk, seed, container_max_bytes=8 * K)
    await objects.open()
    if fail_sync:
        disk.fail(fail_sync, errno.EIO, ("sync",))
    for number in range(3):
        await asyncio.gather(
            *(watch.put(objects, number * 10 + one) for one in range(3)),
            watch.upload(objects, number * 2),
            watch.upload(objects, number * 2 + 1),
            return_exceptions=True,
        )
        await asyncio.gather(watch.put(objects, number * 10 + 9), return_exceptions=True)
    await objects.close()
    return watch


@pytest.fixture(autouse=True)
def small_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "SYNC_EACH_BYTES", 2 * K)
    monkeypatch.setattr(writer, "RECORD_MAX_BYTES", K)
    monkeypatch.setattr(store, "BULK_LANES", 1)


async def test_nothing_acknowledged_is_lost() -> None:
    watch = await run()
    assert len(watch.stored) == 18
    assert watch.states > 300
    assert watch.losses == []


@pytest.mark.parametrize("number", range(1, 13))
async def test_nothing_acknowledged_is_lost_when_a_sync_failed(number: int) -> None:
    watch = await run(number, fail_sync=number)
    assert watch.losses == []


async def test_the_check_finds_a_missing_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sync(self: OpenContainer) -> None:
        self.durable_end = self.end

    monkeypatch.setattr(OpenContainer, "sync", no_sync)
    assert (await run()).losses


async def test_the_check_finds_a_missing_sync_of_the_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MemoryDisk, "sync_dir", lambda self, path: None)
    assert (await run()).losses


async def test_the_check_finds_a_container_trusted_after_a_failed_sync(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(OpenContainer, "fail", lambda self, error: None)
    assert any([(await run(number, fail_sync=number)).losses for number in range(1, 13)])


async def test_the_check_finds_an_upload_that_forgets_its_earlier_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Appended, "check_durable", lambda self: None)
    assert any([(await run(number, fail_sync=number)).losses for number in range(1, 13)])
