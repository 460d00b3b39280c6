"""What the protocols under power cuts have in common: a run that is recorded, and the looking at
all that it may leave."""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from crash_os import DropSync, InlineDisk, recorded_os
from crash_sqlite import recorded_sqlite
from crash_states import PowerCuts, State, Tally
from crash_trace import Trace

T = TypeVar("T")
TURNS = 3
"""Turns of the event loop before a disk or database does its work: what was wrongly told to a
caller too early is told before."""


class FixedClock:
    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class SeededRandomness:
    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def token(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


def noise(length: int, seed: int) -> bytes:
    return random.Random(seed * 1_000_003 + length).randbytes(length)


class SlowDisk(InlineDisk):
    """Waits some turns of the event loop first."""

    async def run(self, work: Callable[[], T]) -> T:
        for _ in range(TURNS):
            await asyncio.sleep(0)
        return work()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder in memory, if there is such a thing here: what is in it never needs a disk."""
    memory = Path("/dev/shm")
    folder = Path(
        tempfile.mkdtemp(prefix="farshore-crash-", dir=memory if memory.exists() else None)
    )
    try:
        yield folder.resolve()
    finally:
        shutil.rmtree(folder)


@contextmanager
def recorded(trace: Trace, drop: DropSync = lambda path, number: False) -> Iterator[Path]:
    """A folder that is what `trace` begins with, and in which everything goes into it."""
    with scratch() as root, recorded_os(trace, root, drop), recorded_sqlite(trace, root, drop):
        yield root


class Oracle(Protocol):
    """Says what is wrong with a state, given what had been acknowledged."""

    def problems(self, state: State, acked: Sequence[object]) -> list[str]: ...


@dataclass
class Report:
    """`losses` are the first few, each with the state that it was found in."""

    tally: Tally = field(default_factory=Tally)
    bad: int = 0
    losses: list[str] = field(default_factory=list)

    def add(self, other: "Report") -> None:
        self.tally.add(other.tally)
        self.bad += other.bad
        self.losses = (self.losses + other.losses)[:5]


def explore(
    trace: Trace, oracle: Oracle, *, seed: int = 0, bad_max: int = 0, **limits: int
) -> Report:
    """Look at every state that a power cut may leave of a trace; with `bad_max` until so many bad
    ones were found."""
    report = Report()
    cuts = PowerCuts(trace, seed=seed, **limits)
    facts = [ack.fact for ack in trace.acks]
    for state in cuts:
        if problems := oracle.problems(state, facts[: state.acks]):
            report.bad += 1
            if len(report.losses) < 5:
                report.losses.append(f"{'; '.join(problems)}: {state}")
            if report.bad == bad_max:
                break
    report.tally = cuts.tally
    return report
