"""`notary/hook_threads.py`: what a plug-in does to its event loop it does to itself alone."""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from dc.system import SystemClock
from notary import running
from notary.errors import HookFailed
from notary.hook_threads import HookThread
from notary.hooks import Hook
from notary.running import HookRunner
from tokens.identity import Identity

IDENTITY = Identity.generate(lambda size: bytes(range(size)))


class Own(Hook):
    """Does what it is given."""

    name = "own"
    seconds = 0.2

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        self.work = work
        self.closed_in: list[threading.Thread] = []

    async def close(self) -> None:
        self.closed_in.append(threading.current_thread())


def runner_of(hook: Hook) -> HookRunner:
    return HookRunner(hook, HookThread(hook.name), cast("Any", None), IDENTITY, SystemClock())


async def called(runner: HookRunner) -> Any:
    return await runner._call(cast("Own", runner.hook).work)


async def gone(name: str = "notary hook own") -> None:
    for _ in range(500):
        if all(one.name != name for one in threading.enumerate()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("its thread is still there")


async def test_one_that_blocks_holds_up_nobody_and_is_told_nothing_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(running, "CUT_SECONDS", 0.05)
    free = threading.Event()

    async def blocks() -> int:
        free.wait(30)
        return 1

    runner = runner_of(Own(blocks))
    longest, last, over = 0.0, time.monotonic(), False

    async def beats() -> None:
        nonlocal longest, last
        while not over:
            await asyncio.sleep(0.001)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    heart = asyncio.create_task(beats())
    with pytest.raises(HookFailed, match="cut off after"):
        await called(runner)
    over = True
    await heart
    assert longest < 5, "the event loop of the datacenter stood still"
    with pytest.raises(HookFailed, match="still not over"):
        await called(runner)
    free.set()
    for _ in range(500):
        if runner._call_made is not None and runner._call_made.over.done():
            break
        await asyncio.sleep(0.01)
    assert await called(runner) == 1
    await runner.stop()
    await gone()


async def test_one_that_blocks_is_left_behind_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CUT_SECONDS", 0.05)
    free = threading.Event()

    async def blocks() -> None:
        free.wait(30)

    hook = Own(blocks)
    runner = runner_of(hook)
    with pytest.raises(HookFailed):
        await called(runner)
    began = time.monotonic()
    await runner.stop()
    assert time.monotonic() - began < 2 and not hook.closed_in
    free.set()
    await gone()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_one_that_wants_to_exit_has_failed_and_nothing_else(error: BaseException) -> None:
    async def exits() -> None:
        raise error

    async def works() -> threading.Thread:
        await asyncio.sleep(0)
        return threading.current_thread()

    hook = Own(exits)
    runner = runner_of(hook)
    with pytest.raises(HookFailed, match="wants to exit"):
        await called(runner)
    hook.work = works
    assert (await called(runner)).name == "notary hook own"
    await runner.stop()
    assert [one.name for one in hook.closed_in] == ["notary hook own"]
    await gone()


async def test_a_task_of_its_own_that_wants_to_exit(capfd: pytest.CaptureFixture[str]) -> None:
    async def leaves() -> int:
        task = asyncio.create_task(asyncio.to_thread(sys.exit, 1))
        await asyncio.wait({task})
        assert isinstance(task.exception(), SystemExit)
        return 7

    runner = runner_of(Own(leaves))
    assert await called(runner) == 7
    await runner.stop()
    await gone()


async def test_one_that_is_not_async_runs_in_its_thread_too_and_has_failed() -> None:
    """By mistake: it has nothing to wait for. What it does is done to itself alone."""
    ran_in: list[str] = []

    def plain() -> Any:
        ran_in.append(threading.current_thread().name)

    hook = Own(plain)
    runner = runner_of(hook)
    for _ in range(2):
        with pytest.raises(TypeError, match="await"):
            await called(runner)
    assert ran_in == ["notary hook own"] * 2
    await runner.stop()
    assert hook.closed_in
    await gone()


async def test_one_that_is_late_is_cancelled_in_its_loop_and_goes_on_with_the_next() -> None:
    ends: list[str] = []

    async def hangs() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ends.append(threading.current_thread().name)

    hook = Own(hangs)
    runner = runner_of(hook)
    with pytest.raises(HookFailed, match="cut off"):
        await called(runner)
    assert ends == ["notary hook own"]

    async def fails() -> None:
        raise ValueError("as it is")

    hook.work = fails
    with pytest.raises(ValueError, match="as it is"):
        await called(runner)
    await runner.stop()
    await gone()


async def test_what_it_has_left_running_ends_with_it() -> None:
    ends: list[str] = []

    async def leaves() -> None:
        async def runs() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                ends.append("ended")

        hook.left = asyncio.create_task(runs())
        await asyncio.sleep(0)

    hook: Any = Own(leaves)
    runner = runner_of(hook)
    await called(runner)
    await runner.stop()
    await gone()
    assert ends == ["ended"]
