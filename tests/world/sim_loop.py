"""A seeded event loop on virtual time: asyncio as it is, but chance and time are the test's.

One callback runs a step. Among those that are ready the seed may prefer a task's step to what came
before it; callbacks that are no task's keep their order, as transports and protocols rely on it.
When nothing is ready, time jumps to the next timer. Work for an executor runs inline after a drawn
delay, and its result comes after another one.

Each callback belongs to the node (one running process) in its context. A node that is killed never
runs again, not even its `finally`; one that is frozen runs later. All that happens goes into
a hash: two runs of one seed must have the same.
"""

import asyncio
import heapq
import random
import struct
from asyncio import base_events, events
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from hashlib import blake2b
from itertools import count
from typing import Any

_MOMENT = struct.Struct("<dII").pack
STEPS_MAX = 20_000_000
STEPS_AT_ONCE_MAX = 400_000
"""Steps without time going on: something that never rests."""


class SimulationError(Exception):
    """The simulation cannot go on; `check` names why, as for a failed check."""

    check = "simulation"


class Deadlock(SimulationError):
    check = "deadlock"


class Restless(SimulationError):
    check = "restless"


class Node:
    """One process: from its start until it stops or is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.held: list[events.Handle] = []
        self.tasks: list[SimTask] = []
        self.context = copy_context()
        self.context.run(NODE.set, self)


NODE: ContextVar[Node | None] = ContextVar("node", default=None)


class SimTask(asyncio.Task):  # type: ignore[type-arg]
    """A task whose place in a set does not depend on its address."""

    def __init__(self, coro: Coroutine[Any, Any, Any], serial: int, **options: Any) -> None:
        self.serial = serial
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.serial


class SimTimer(events.TimerHandle):
    """asyncio's own, with less work to make and to cancel it."""

    __slots__ = ()

    def __init__(
        self, when: float, callback: Callable[..., object], args: Any, context: Context | None
    ) -> None:
        self._when = when
        self._callback = callback
        self._args = args
        self._context = copy_context() if context is None else context
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback = self._args = _NOTHING  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<SimTimer {self._when} {self._callback}>"


_NOTHING = ()


class SimLoop(base_events.BaseEventLoop):
    """See the head of the file. `shuffle` is how often a step is chosen out of its turn."""

    def __init__(self, seed: str, shuffle: float = 0.0) -> None:
        super().__init__()
        self.steps = 0
        self.unhandled: list[str] = []
        """What reached nobody: exceptions of callbacks and of tasks that nobody awaited."""
        self.notes: list[str] | None = None
        """With a list, everything that is noted, as text."""
        self._rng = random.Random(f"{seed}/loop")
        self._shuffle = shuffle
        self._now = 0.0
        self._moment_began = 0
        self._turns = 0
        """A number made of what was ready at each step of this moment."""
        self._hash = blake2b(digest_size=8)
        self._serials = count(1)
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self.set_exception_handler(SimLoop._unhandled)

    # -- what the world uses --------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Put an event into the trace."""
        self._hash.update(text.encode())
        if self.notes is not None:
            self.notes.append(f"{self._now:10.4f} {text}")

    @property
    def trace(self) -> str:
        return self._hash.hexdigest()

    def kill(self, node: Node) -> None:
        node.alive = False

    def freeze(self, node: Node) -> None:
        node.frozen = True

    def thaw(self, node: Node) -> None:
        node.frozen = False
        held, node.held = node.held, []
        self._ready.extend(held)

    async def bury(self, nodes: list[Node]) -> None:
        """Let the tasks of killed nodes end, so that nothing is left when the loop closes. What
        they could still touch must refuse them."""
        tasks = []
        for node in nodes:
            node.alive = True
            self.thaw(node)
            tasks += [task for task in node.tasks if not task.done()]
        for _ in range(5):
            for task in tasks:
                task.cancel()
            if tasks:
                _, pending = await asyncio.wait(tasks, timeout=1)
                tasks = sorted(pending, key=hash)
        for task in tasks:
            task._log_destroy_pending = False

    @staticmethod
    def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(loop, SimLoop)
        error = context.get("exception")
        text = f"{context.get('message')}: {type(error).__name__}: {error}"
        loop.unhandled.append(text)

    # -- the loop -------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> events.TimerHandle:
        timer = SimTimer(when, callback, args, context)
        heapq.heappush(self._timers, (when, next(self._serials), timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> events.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        handle = SimTimer(0.0, callback, args, context)
        self._ready.append(handle)
        return handle

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: object = None, context: Context | None = None
    ) -> SimTask:
        task = SimTask(coro, next(self._serials), loop=self, name=name, context=context)
        node = NODE.get() if context is None else context.get(NODE)
        if node is not None:
            if len(node.tasks) > 200:
                node.tasks = [one for one in node.tasks if not one.done()]
            node.tasks.append(task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future = self.create_future()
        rng = self._rng

        def work() -> None:
            try:
                result, error = func(*args), None
            except Exception as raised:
                result, error = None, raised
            self.call_later(0.00002 + rng.random() * 0.001, answer, result, error)

        def answer(result: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.call_later(0.00002 + rng.random() * 0.001, work)
        return future

    def _run_once(self) -> None:
        """All steps until the loop is stopped."""
        ready, timers, heappop = self._ready, self._timers, heapq.heappop
        while not self._stopping:
            if not ready:
                while timers and timers[0][2]._cancelled:
                    heappop(timers)
                if not timers:
                    raise Deadlock("nothing can ever run again")
                if timers[0][0] > self._now:
                    self._go_on_to(timers[0][0])
            while timers and timers[0][0] <= self._now:
                timer = heappop(timers)[2]
                if not timer._cancelled:
                    ready.append(timer)
            handle = self._choose() if self._shuffle else ready.popleft()
            if handle._cancelled:
                continue
            node = handle._context.get(NODE)
            if node is not None and (node.frozen or not node.alive):
                # Of what is dead, tasks can only end, when they are buried, by their next steps.
                if node.alive or _is_step(handle):
                    node.held.append(handle)
                continue
            self.steps += 1
            self._turns = (self._turns * 31 + len(ready)) & 0xFFFFFFFF
            if self.steps > self._moment_began + STEPS_AT_ONCE_MAX:
                raise Restless(f"at {self._now:.3f} s something never rests")
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.call_exception_handler(
                    {"message": f"exception in {handle._callback}", "exception": error}
                )

    def _go_on_to(self, when: float) -> None:
        """Nothing is left to do in this moment."""
        self._hash.update(_MOMENT(when, self.steps, self._turns))
        self._now = when
        self._moment_began = self.steps
        if self.steps > STEPS_MAX:
            raise Restless(f"{self.steps} steps until {when:.3f} s: it never ends")

    def _choose(self) -> events.Handle:
        """The next, or sometimes a task's step that is not its turn yet."""
        ready = self._ready
        if len(ready) > 1 and self._rng.random() < self._shuffle:
            index = int(self._rng.random() * len(ready))
            if index and _is_step(ready[index]):
                handle = ready[index]
                del ready[index]
                return handle
        return ready.popleft()

    def _process_events(self, event_list: object) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def _is_step(handle: events.Handle) -> bool:
    """Whether the callback is a step of a task, and not one of a future, timer or transport."""
    callback = handle._callback
    return (
        type(callback).__name__ == "TaskStepMethWrapper"
        or getattr(callback, "__name__", "") == "task_wakeup"
    )
