"""What is to be read for its SHA-256, one after the other, by several readers at once.

One that fails comes again after a time that grows from failure to failure, for itself: it holds up
neither the reader nor what comes after it.
"""

import asyncio
import heapq

import structlog

from dc.ports import Clock
from dc.worker import first_of

log = structlog.get_logger("notary")

RETRY_SECONDS = 0.2
RETRY_GROWS = 1.5
RETRY_SECONDS_MAX = 300.0
RETRIES_A_SECOND = 10
"""Of all that fail: new ones come in between, however many these are."""


class ReadingQueue:
    """Numbers of writes, in the order in which they are to be read."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: list[tuple[float, int]] = []
        """A heap: from when on, and what."""
        self._something = asyncio.Event()
        self._failures: dict[int, int] = {}
        self.last_error = ""

    @property
    def failing(self) -> int:
        """How many have failed at their last try."""
        return len(self._failures)

    def add(self, number: int, seconds: float = 0.0) -> None:
        heapq.heappush(self._due, (self._clock.monotonic() + seconds, number))
        self._something.set()

    async def next(self) -> int:
        """The next one; whoever takes it says what has become of it."""
        while not self._due or self._due[0][0] > self._clock.monotonic():
            self._something.clear()
            told = self._something.wait()
            if self._due:
                left = self._due[0][0] - self._clock.monotonic()
                await first_of(told, self._clock.sleep(left))
            else:
                await told
        return heapq.heappop(self._due)[1]

    def failed(self, number: int, error: Exception) -> None:
        """It is to be tried again, later."""
        tries = self._failures.get(number, 0)
        self._failures[number] = tries + 1
        longest = max(RETRY_SECONDS_MAX, len(self._failures) / RETRIES_A_SECOND)
        # More than enough to have come to the longest time: powers of it have an end.
        seconds = min(RETRY_SECONDS * RETRY_GROWS ** min(tries, 100), longest)
        self.last_error = f"{type(error).__name__}: {error}"
        if tries == 0:
            log.warning("the notary cannot read an object", error=self.last_error)
        self.add(number, seconds)

    def tries(self, number: int) -> int:
        """How often it has failed."""
        return self._failures.get(number, 0)

    def done(self, number: int) -> None:
        """It needs no reading any more."""
        self._failures.pop(number, None)
