"""Workers go on whatever their work does, until they are stopped."""

import asyncio

import pytest

from dc.system import SystemClock
from dc.worker import Worker


@pytest.mark.parametrize("error", [ValueError("bad"), asyncio.CancelledError()])
async def test_work_that_fails_is_tried_again(error: BaseException) -> None:
    calls = 0
    again = asyncio.Event()

    async def work() -> float:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise error
        again.set()
        return 60.0

    worker = Worker("test", SystemClock(), work)
    worker.start()
    async with asyncio.timeout(5):
        await again.wait()
        await worker.stop()
    assert calls == 2


async def test_a_worker_that_is_stopped_ends_in_the_middle_of_its_work() -> None:
    began = asyncio.Event()
    ended = asyncio.Event()

    async def work() -> float:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return 0

    worker = Worker("test", SystemClock(), work)
    worker.start()
    async with asyncio.timeout(5):
        await began.wait()
        await worker.stop()
    assert ended.is_set()
