"""A clock that a test moves on."""

import asyncio
import heapq


class MovedClock:
    """Time goes on when `run` is awaited."""

    def __init__(self) -> None:
        self.now = 100.0
        self.late = 0.0
        """So much later than they wanted do sleepers wake up."""
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self.now + seconds + self.late, self._count, woken))
        await woken

    async def run(self, seconds: float) -> None:
        until = self.now + seconds
        await _turns()
        while self._sleepers and self._sleepers[0][0] <= until:
            at, _, woken = heapq.heappop(self._sleepers)
            self.now = max(self.now, at)
            if not woken.done():
                woken.set_result(None)
            await _turns()
        self.now = until


async def _turns() -> None:
    for _ in range(3):
        await asyncio.sleep(0)
