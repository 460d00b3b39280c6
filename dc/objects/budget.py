"""A budget of bytes that callers wait for, first come first served: what bounds a queue."""

import asyncio
from collections import deque


class ByteBudget:
    """`limit` bytes in all. A single demand above the limit is let through when nothing else is
    under way, so that it cannot wait for ever."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def used(self) -> int:
        return self._used

    def try_take(self, count: int) -> bool:
        """Take bytes if there are enough and nobody waits."""
        if self._waiting or not self._fits(count):
            return False
        self._used += count
        return True

    async def take(self, count: int) -> None:
        """Wait for bytes and take them."""
        if self.try_take(count):
            return
        granted = asyncio.get_running_loop().create_future()
        self._waiting.append((granted, count))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self.give(count)
            else:
                self.give(0)
            raise

    def give(self, count: int) -> None:
        """Give bytes back and let in who waits."""
        self._used -= count
        while self._waiting:
            granted, wanted = self._waiting[0]
            if not granted.done():
                if not self._fits(wanted):
                    return
                self._used += wanted
                granted.set_result(None)
            self._waiting.popleft()

    def _fits(self, count: int) -> bool:
        return self._used + count <= self._limit or not self._used
