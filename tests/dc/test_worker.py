"""Workers go on whatever their work does, until they are stopped; tasks that belong together."""

import asyncio

import pytest

from dc.system import SystemClock
from dc.worker import TaskGroup, Worker


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


async def test_a_worker_whose_group_fails_can_wait_and_goes_on() -> None:
    waited = 0
    again = asyncio.Event()

    async def work() -> float:
        nonlocal waited
        with pytest.raises(ValueError, match="bad"):
            async with TaskGroup() as group:
                group.create_task(_fail())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.sleep(60)
        waited += 1
        if waited == 2:
            again.set()
        return 0.001

    worker = Worker("test", SystemClock(), work)
    worker.start()
    async with asyncio.timeout(5):
        await again.wait()
        await worker.stop()


async def test_a_group_that_fails_leaves_no_cancellation_behind() -> None:
    task = asyncio.current_task()
    assert task is not None
    with pytest.raises(ValueError):
        async with TaskGroup() as group:
            group.create_task(_fail())
    assert task.cancelling() == 0


async def test_a_group_ends_all_its_tasks_when_one_fails() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.001)
            ended.append("stubborn")
            raise OSError("of the cleaning up")

    ended: list[str] = []
    with pytest.raises(ValueError, match="bad"):
        async with TaskGroup() as group:
            tasks = [group.create_task(stubborn()), group.create_task(_fail())]
    assert ended == ["stubborn"]
    assert all(task.done() for task in tasks)


async def test_a_group_waits_for_all_its_tasks_and_passes_over_those_cancelled() -> None:
    async with TaskGroup() as group:
        watch = group.create_task(asyncio.sleep(60))
        work = group.create_task(asyncio.sleep(0.001, "done"))
        work.add_done_callback(lambda _: watch.cancel())
    assert work.result() == "done"
    assert watch.cancelled()


async def test_a_group_whose_body_fails_ends_its_tasks() -> None:
    with pytest.raises(ValueError, match="body"):
        async with TaskGroup() as group:
            task = group.create_task(asyncio.sleep(60))
            raise ValueError("body")
    assert task.cancelled()


async def test_a_worker_stops_in_a_group_that_fails_when_it_is_cancelled() -> None:
    began = asyncio.Event()

    async def fails_to_end() -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            await _fail()

    async def work() -> float:
        async with TaskGroup() as group:
            group.create_task(fails_to_end())
        return 0

    worker = Worker("test", SystemClock(), work)
    worker.start()
    async with asyncio.timeout(5):
        await began.wait()
        await worker.stop()
    assert worker.failures_in_a_row == 0


async def _fail() -> None:
    await asyncio.sleep(0.001)
    raise ValueError("bad")
