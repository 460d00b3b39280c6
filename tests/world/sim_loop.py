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
        self._idle_steps = 0
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
        timer = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._serials), timer))
        return timer

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
            self.call_later(rng.uniform(0.00002, 0.001), answer, result, error)

        def answer(result: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.call_later(rng.uniform(0.00002, 0.001), work)
        return future

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Deadlock("nothing can ever run again")
            if timers[0][0] > self._now:
                self._now = timers[0][0]
                self._idle_steps = 0
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        if not ready:
            return
        handle = self._choose()
        if handle._cancelled:
            return
        node = handle._context.get(NODE)
        if node is not None:
            if not node.alive:
                if _is_step(handle):
                    # Its task can only end, when it is buried, by this step.
                    node.held.append(handle)
                return
            if node.frozen:
                node.held.append(handle)
                return
        self.steps += 1
        self._idle_steps += 1
        if self._idle_steps > STEPS_AT_ONCE_MAX or self.steps > STEPS_MAX:
            raise Restless(f"{self._idle_steps} steps at {self._now:.3f} s: something never rests")
        self._hash.update(struct.pack("<dI", self._now, len(ready)))
        handle._run()

    def _choose(self) -> events.Handle:
        ready = self._ready
        if self._shuffle and len(ready) > 1 and self._rng.random() < self._shuffle:
            index = self._rng.randrange(len(ready))
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
