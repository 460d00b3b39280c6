"""Where calls of hooks run: in an event loop and a thread of their own.

A plug-in is others' code. One that blocks its event loop, or ends it with SystemExit, does so to
itself alone. A thread cannot be ended from outside: one that blocks for ever is left behind.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, NamedTuple, Protocol

import structlog

from notary.errors import HookFailed

log = structlog.get_logger("notary")


class Call(NamedTuple):
    """One that is under way."""

    over: asyncio.Future[Any]
    """Done when nothing of the call runs any more, with what it gave."""
    cancel: Callable[[], Any]
    """Asks it to end, and returns at once."""


class Calls(Protocol):
    """Runs the calls of one hook."""

    def begin(self, work: Coroutine[Any, Any, Any]) -> Call: ...

    def end(self) -> None:
        """There are no more calls; what still runs is cancelled, and not waited for."""


class Inline:
    """In the event loop of who calls: for simulations, which have one of their own."""

    def begin(self, work: Coroutine[Any, Any, Any]) -> Call:
        task = asyncio.get_running_loop().create_task(work)
        return Call(task, task.cancel)

    def end(self) -> None:
        """Nothing is left."""


class HookThread:
    """In a thread of the hook's, which begins with the first call. One event loop's alone may
    `begin` calls."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = False

    def begin(self, work: Coroutine[Any, Any, Any]) -> Call:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            named = f"notary hook {self._name}"
            Thread(target=self._run, args=[self._loop], name=named, daemon=True).start()
        there, here = self._loop, asyncio.get_running_loop()
        over = here.create_future()
        tasks: list[asyncio.Task[Any]] = []

        def start() -> None:
            task = there.create_task(work)
            task.add_done_callback(ended)
            tasks.append(task)

        def ended(task: asyncio.Task[Any]) -> None:
            error = None if task.cancelled() else task.exception()
            with suppress(RuntimeError):  # It was given up, and its caller's loop is closed.
                here.call_soon_threadsafe(_settle, over, task, error)

        def cancel() -> None:
            with suppress(RuntimeError):
                there.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])

        there.call_soon_threadsafe(start)
        return Call(over, cancel)

    def end(self) -> None:
        self._ending = True
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._ending:
            try:
                loop.run_forever()
            except BaseException as error:
                # The call it came from, if it was one, has it as its failure.
                log.error("a hook wants to exit", hook=self._name, error=repr(error))
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException as error:
            log.warning("a hook did not end cleanly", hook=self._name, error=repr(error))
        finally:
            loop.close()


def _settle(
    over: asyncio.Future[Any], task: asyncio.Task[Any], error: BaseException | None
) -> None:
    if over.done():
        return
    if task.cancelled():
        over.cancel()
    elif error is None:
        over.set_result(task.result())
    elif isinstance(error, Exception):
        over.set_exception(error)
    else:
        over.set_exception(HookFailed(f"it wants to exit: {error!r}"))
