"""Who asks for the status is told what is there, and not what was an hour ago."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from compaction_kit import Place, opened

from dc.objects import compaction
from dc.objects.compaction import Compactor
from dc.objects.settings import CompactionSettings
from dc.system import SystemClock
from dc.worker import Worker


@asynccontextmanager
async def running(tmp_path: Path, rate: int) -> AsyncIterator[tuple[Place, Compactor]]:
    """A compactor at work, on the system's clock."""
    async with opened(tmp_path) as place:
        clock = SystemClock()
        settings = CompactionSettings(0.3, rate, 60.0, 3600.0)
        compactor = Compactor(place.names, place.store, clock, settings)
        worker = Worker("compaction", clock, compactor.step)
        worker.start()
        await asyncio.sleep(0.1)
        yield place, compactor
        await worker.stop()


@pytest.mark.parametrize("rate", [1 << 20, 0])
async def test_it_is_counted_when_somebody_asks(
    tmp_path: Path, rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(compaction, "FRESH_SHARE", 0)
    async with running(tmp_path, rate) as (place, compactor):
        for count in (1, 2):
            await place.put(f"key {count}")
            await asyncio.wait_for(compactor.refresh(30.0), 5)
            space = compactor.space()
            assert space is not None
            assert space["objects"] == space["objects_whole"] == count
        assert compactor.progress()["doing"] == "idle"


async def test_a_count_that_is_young_is_told_again(tmp_path: Path) -> None:
    async with running(tmp_path, 1 << 20) as (place, compactor):
        await place.put("key")
        await asyncio.wait_for(compactor.refresh(30.0), 5)
        assert (compactor.space() or {})["objects"] == 0


async def test_one_that_took_long_is_made_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "FRESH_SECONDS", 0.0)
    async with running(tmp_path, 1 << 20) as (place, compactor):
        compactor._count_took = 60.0
        await place.put("key")
        await asyncio.wait_for(compactor.refresh(30.0), 5)
        assert (compactor.space() or {})["objects"] == 0


async def test_nobody_waits_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, 1 << 20) as (place, compactor):
        free = asyncio.Event()

        async def stands() -> dict[int, int]:
            await free.wait()
            return {}

        monkeypatch.setattr(compaction, "FRESH_SECONDS", 0.0)
        monkeypatch.setattr(compaction, "FRESH_SHARE", 0)
        monkeypatch.setattr(place.store, "sizes", stands)
        await asyncio.wait_for(compactor.refresh(0.05), 5)
        assert (compactor.space() or {})["objects"] == 0
        free.set()
