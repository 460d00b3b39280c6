"""Workers: every background loop of a datacenter is one.

A worker has a name, does one bounded unit of work at a time, waits, and can be told to stop. A
unit that raises is logged, shown in the status, and tried again after a back-off that doubles up
to a limit: no background task ever dies unseen.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from dc.ports import Clock

log = structlog.get_logger("worker")

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 30.0


class Worker:
    """Runs `work()` again and again until stopped.

    `work` returns the seconds to wait before the next call (0 for none); it should itself wait for
    something to do when it can be told of it.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        work: Callable[[], Awaitable[float]],
        backoff_max_s: float = BACKOFF_MAX_S,
    ) -> None:
        self.name = name
        self.last_error: str = ""
        self.failures_in_a_row = 0
        self._clock = clock
        self._work = work
        self._backoff_max_s = backoff_max_s
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Nothing when it runs already."""
        if self._task is None or self._task.done():
            self._task = spawn(self._loop(), self.name)

    async def stop(self) -> None:
        """Cancel the loop and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _loop(self) -> None:
        while True:
            try:
                wait_s = await self._work()
                self.last_error = ""
                self.failures_in_a_row = 0
            except (Exception, asyncio.CancelledError) as error:
                # Something that the unit waited for may have been cancelled, and not this task.
                task = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and (not task or task.cancelling()):
                    raise
                wait_s = min(BACKOFF_FIRST_S * 2**self.failures_in_a_row, self._backoff_max_s)
                self.failures_in_a_row = min(self.failures_in_a_row + 1, 30)
                self.last_error = f"{type(error).__name__}: {error}"
                log.warning(
                    "worker failed, will retry",
                    worker=self.name,
                    error=self.last_error,
                    retry_in_s=wait_s,
                )
            if wait_s > 0:
                await self._clock.sleep(wait_s)


class TaskGroup:
    """Tasks that belong together: `async with` waits for all of them. When one fails the others are
    cancelled, and its error is raised when they have ended.

    asyncio.TaskGroup will not do: before Python 3.13 it leaves who waited for tasks that failed
    with a request to be cancelled that is never taken back. asyncio.timeout of Python 3.11.2 (of
    Debian 12) then raises CancelledError and no TimeoutError, and a worker would take that for
    its own end.
    """

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []
        self._error: BaseException | None = None

    async def __aenter__(self) -> "TaskGroup":
        return self

    def create_task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None and self._tasks:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if error is None and self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None


async def first_of(*work: Awaitable[Any]) -> None:
    """Return when one of these is over; the others are cancelled."""
    waits = [spawn(_awaited(one), "one of several") for one in work]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waits:
            one.cancel()


async def _awaited(work: Awaitable[Any]) -> None:
    await work


_running: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """A task that is kept alive by reference and whose failure is logged, never lost."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task died", task=task.get_name(), error=f"{type(error).__name__}: {error}")
