"""How much is fetched from a peer at once, by what its line carries between two breaks.

What comes of a body before a break is kept, if it is worth an extent of its own: 256 KiB. On a line
that breaks before each of what is under way has brought that much, all of it would be fetched again
and again, for ever. So each time that something was thrown away fewer bodies and ranges are fetched
at once, and less of one is worth keeping, in two steps: down to one at a time, small bodies and
large ones each, and 16 KiB. Then small bodies are fetched like large ones, so that they go on at
the byte where they were cut; and ranges are small, so that bodies take turns. Each step is taken
back when so much has come without such a break that what another one could throw away is a quarter
of it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from replicator.limits import (
    CUT_BYTES_MIN,
    KIB,
    LARGE_RANGES_AT_ONCE,
    MIB,
    RANGE_BYTES,
    SMALL_AT_ONCE,
)


class _Step(NamedTuple):
    small: int
    """Small bodies at once."""
    ranges: int
    """Ranges of large ones at once."""
    kept: int
    """Of a range that was cut, less is thrown away."""
    range_bytes: int


_STEPS = (
    _Step(SMALL_AT_ONCE, LARGE_RANGES_AT_ONCE, CUT_BYTES_MIN, RANGE_BYTES),
    _Step(4, 2, 64 * KIB, MIB),
    _Step(1, 1, 16 * KIB, 256 * KIB),
)


class Appetite:
    """Of one peer."""

    def __init__(self) -> None:
        self._step = 0
        self._changes = 0
        self._brought = 0
        """Bytes since the last change."""
        self._slots = {True: _Slots(), False: _Slots()}
        self._apply()

    @property
    def is_small(self) -> bool:
        """Whether bodies of any size are fetched by ranges, one after the other."""
        return self._step > 0

    @property
    def kept_bytes(self) -> int:
        """What is kept of a range that was cut: so much, or more."""
        return _STEPS[self._step].kept

    @property
    def range_bytes(self) -> int:
        """What is asked for at once."""
        return _STEPS[self._step].range_bytes

    @asynccontextmanager
    async def slot(self, *, large: bool) -> AsyncIterator[int]:
        """The right to fetch a range, of a large body or a small one, or a small body as a whole;
        what `cut` is to be told."""
        slots = self._slots[large]
        await slots.acquire()
        try:
            yield self._changes
        finally:
            slots.release()

    def brought(self, size: int) -> None:
        """So many bytes came that will be kept."""
        if not self._step:
            return
        self._brought += size
        easier = _STEPS[self._step - 1]
        if self._brought >= 4 * (easier.ranges + easier.small) * easier.kept:
            self._change(self._step - 1)

    def cut(self, began: int) -> None:
        """What came was thrown away, of a fetch that has its slot since `began`. Of what was under
        way together the first one counts."""
        if began == self._changes:
            self._change(min(self._step + 1, len(_STEPS) - 1))

    def _change(self, step: int) -> None:
        self._step = step
        self._changes += 1
        self._brought = 0
        self._apply()

    def _apply(self) -> None:
        self._slots[True].resize(_STEPS[self._step].ranges)
        self._slots[False].resize(_STEPS[self._step].small)


class _Slots:
    """A semaphore whose number changes: who has a slot keeps it."""

    def __init__(self) -> None:
        self._most = self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    def resize(self, most: int) -> None:
        self._most = most
        self._wake()

    async def acquire(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        self._taken -= 1
        self._wake()

    def _wake(self) -> None:
        while self._waiting and self._taken < self._most:
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
