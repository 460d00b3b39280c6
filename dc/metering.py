"""Limits of how fast bytes go over all connections with one peer.

A `Meter` has a `Lane` for each direction, and all connections with the peer (`dc/metered.py`) share
it. A lane has a token bucket. What finds enough in it, and nobody waiting, goes at once; all else
waits in the `Flow` of its connection, and the lane lets slices of the flows through, as the bucket
fills:

- In any stretch of time there go no more bytes than the rate allows, plus the burst: what the
  bucket holds at most. That is 50 ms worth of what is sent.
- Slices are 10 ms worth, at most 64 KiB, and flows take turns. A flow is *bulk* while it carries a
  large body. The others go first, until they have had three times as much as bulk that waits: so
  small objects go on under a limit that is full of large ones, and neither starves the other.
- Without a limit nothing waits but for whoever takes it, and all that a lane does is to count.

Counted are the bytes of TLS records, which is what a TCP connection carries: a write becomes
records of up to 16,384 bytes, each with 22 more (header 5, type 1, tag 16). Connections begin with
a handshake, for which a fixed number is taken. The headers of TCP and IP are not counted.

What is sent is held to the rate to the byte, for here it is decided when each byte goes. What comes
is decided by who sends it. So a peer is told at what rate it may send (`replicator/pace.py`), and
its lane does the rest. The lane of what comes here is there for peers that do not listen: it holds
back what was received, the connection is not read meanwhile, and TCP makes the peer wait, the
sooner the less may be on the way; so that is bounded as well. That its bucket does not quarrel with
one that is filled at the same rate over there, it has a larger burst, of half a second. The size of
a record is not seen here; all are taken to be full ones, so it lets through what a peer that
listens sends.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from dc.ports import Buffer, Clock
from dc.worker import spawn

Narrow = Callable[[asyncio.BaseTransport, int], None]
log = structlog.get_logger("metering")

RECORD_BYTES: Final = 16_384
RECORD_EXTRA_BYTES: Final = 22
SLICE_SECONDS: Final = 0.01
SLICE_BYTES_MIN: Final = 512
"""Smaller ones would be mostly headers; at the lowest rate it is half a second's worth."""
SLICE_BYTES_MAX: Final = 64 << 10
OUT_BURST_SECONDS: Final = 0.05
IN_BURST_SECONDS: Final = 0.5
SLEEP_SECONDS_MAX: Final = 0.05
"""So long it takes at most until a changed rate counts."""
AHEAD_SECONDS: Final = 0.5
"""So much of what comes may be on its way: as long as the other end is not further away than this,
and back, one connection can have all of the rate."""
AHEAD_BYTES_MIN: Final = 64 << 10
OTHERS_TO_BULK: Final = 3
"""How many bytes others get for one of bulk, while both wait."""


def wire_bytes(size: int) -> int:
    """What a write of so many bytes is on the wire."""
    return size + RECORD_EXTRA_BYTES * -(-size // RECORD_BYTES)


class Bucket:
    """Tokens, one for a byte: `rate` come each second, and at most `burst_seconds` worth stay."""

    def __init__(self, burst_seconds: float) -> None:
        self.rate = 0
        self._burst_seconds = burst_seconds
        self._level = 0.0
        self._at = 0.0

    def set(self, rate: int, now: float) -> None:
        """Change the rate; what was there stays, up to the new burst."""
        self._fill(now)
        self.rate = rate

    @property
    def burst(self) -> float:
        return max(self.rate * self._burst_seconds, wire_bytes(SLICE_BYTES_MIN))

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until there are so many: 0 when they are there."""
        self._fill(now)
        lacking = tokens - self._level
        return lacking / self.rate if lacking > 1e-6 else 0.0

    def take(self, tokens: int) -> None:
        """Of tokens that are not there yet the next have to do without."""
        self._level -= tokens

    def _fill(self, now: float) -> None:
        self._level = min(self._level + (now - self._at) * self.rate, self.burst)
        self._at = now


class Flow:
    """What one connection has in one direction that must wait, in order. `deliver` passes it on."""

    def __init__(self, deliver: Callable[[Buffer], None], fail: Callable[[], None]) -> None:
        """`fail` is called when `deliver` has failed."""
        self._deliver = deliver
        self._fail = fail
        self._pieces: deque[memoryview] = deque()
        self.lane: Lane | None = None
        self.size = 0
        self.passed = 0
        """Bytes on the wire, before it had a lane."""
        self.bulk = False
        self.blocked = False
        """Who comes next takes nothing."""
        self.queued = False

    def offer(self, data: Buffer) -> None:
        """Pass on at once, or later."""
        if not (self.size or self.blocked) and self._lets(len(data)):
            self._deliver(data)
            return
        self._pieces.append(memoryview(bytes(data)))
        self.size += len(data)
        if self.lane is not None:
            self.lane.add(self)

    def _lets(self, size: int) -> bool:
        if self.lane is not None:
            return self.lane.lets(size)
        self.passed += wire_bytes(size)
        return True

    def move(self, size: int) -> None:
        """Pass on so much of it, all at once: so it is one write."""
        taken: list[memoryview] = []
        self.size -= size
        while size:
            piece = self._pieces.popleft()
            if len(piece) > size:
                self._pieces.appendleft(piece[size:])
                piece = piece[:size]
            taken.append(piece)
            size -= len(piece)
        try:
            self._deliver(taken[0] if len(taken) == 1 else b"".join(taken))
        except Exception as error:
            log.error("a connection failed", error=f"{type(error).__name__}: {error}")
            self._fail()

    def block(self, blocked: bool) -> None:
        self.blocked = blocked
        if not self.size or blocked:
            return
        if self.lane is not None:
            self.lane.add(self)
        else:
            # Not at once: who says that is in the middle of reading.
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.blocked:
            self.flush()

    def flush(self) -> None:
        """Pass on all that waits."""
        if self.size:
            if self.lane is not None:
                self.lane.charge(wire_bytes(self.size))
            else:
                self.passed += wire_bytes(self.size)
            self.move(self.size)

    def clear(self) -> None:
        self._pieces.clear()
        self.size = 0


class Lane:
    """One direction of all connections with one peer."""

    def __init__(self, clock: Clock, burst_seconds: float) -> None:
        self._clock = clock
        self._bucket = Bucket(burst_seconds)
        self._others: deque[Flow] = deque()
        self._bulk: deque[Flow] = deque()
        self._owed = 0.0
        """What bulk may have before others, who have had more than their share."""
        self._running = False
        self.passed = 0
        """Bytes on the wire so far."""

    @property
    def rate(self) -> int:
        """Bytes a second; 0 is no limit."""
        return self._bucket.rate

    def set_rate(self, rate: int) -> None:
        """Counts at once, also for what waits."""
        if rate != self._bucket.rate:
            self._bucket.set(rate, self._clock.monotonic())

    def lets(self, size: int) -> bool:
        """Whether so many bytes may go now; then they count as gone."""
        wire = wire_bytes(size)
        if self._bucket.rate:
            if self._running or self._bucket.wait(wire, self._clock.monotonic()):
                return False
            self._bucket.take(wire)
        self.passed += wire
        return True

    def charge(self, wire: int) -> None:
        """So many bytes have gone, whether they might or not."""
        self.passed += wire
        if self._bucket.rate:
            self._bucket.take(wire)

    def add(self, flow: Flow) -> None:
        """A flow has something that waits."""
        if flow.queued:
            return
        flow.queued = True
        (self._bulk if flow.bulk else self._others).append(flow)
        if not self._running:
            self._running = True
            spawn(self._run(), "limit")

    async def _run(self) -> None:
        """Let slices through until nothing waits."""
        try:
            while (queue := self._next()) is not None:
                flow = queue[0]
                size = self._slice(flow)
                wait = self._wait(size)
                if wait:
                    await self._clock.sleep(min(wait, SLEEP_SECONDS_MAX))
                    continue
                queue.popleft()
                self.charge(wire_bytes(size))
                self._share(queue is self._bulk, size)
                flow.queued = False
                flow.move(size)
                if flow.size and not flow.blocked:
                    self.add(flow)
        finally:
            self._running = False

    def _slice(self, flow: Flow) -> int:
        """How much of a flow goes at once."""
        rate = self._bucket.rate
        if not rate:
            return flow.size
        most = min(max(int(rate * SLICE_SECONDS), SLICE_BYTES_MIN), SLICE_BYTES_MAX)
        return min(flow.size, most)

    def _wait(self, size: int) -> float:
        if not self._bucket.rate:
            return 0.0
        return self._bucket.wait(wire_bytes(size), self._clock.monotonic())

    def _next(self) -> deque[Flow] | None:
        """The queue whose first flow is next."""
        for queue in (self._others, self._bulk):
            while queue and (queue[0].blocked or not queue[0].size):
                # It comes again when it can go on.
                queue.popleft().queued = False
        if not self._bulk:
            self._owed = 0.0
            return self._others or None
        if not self._others or self._owed >= self._slice(self._bulk[0]):
            return self._bulk
        return self._others

    def _share(self, bulk: bool, size: int) -> None:
        self._owed = max(self._owed - size, 0.0) if bulk else self._owed + size / OTHERS_TO_BULK


class Connection(Protocol):
    """What a meter may do with a connection."""

    transport: asyncio.Transport

    def abort(self) -> None: ...


class Meter:
    """All connections with one peer. `narrow` is that of the network they are of."""

    def __init__(self, clock: Clock, narrow: Narrow) -> None:
        self.out = Lane(clock, OUT_BURST_SECONDS)
        self.into = Lane(clock, IN_BURST_SECONDS)
        self.connections: dict[Connection, None] = {}
        self._narrow = narrow

    def limit(self, into: int, out: int) -> None:
        """Set both rates; 0 is no limit."""
        self.out.set_rate(out)
        if into != self.into.rate:
            self.into.set_rate(into)
            for connection in self.connections:
                self._narrow(connection.transport, self._ahead)

    def add(self, connection: Connection) -> None:
        self.connections[connection] = None
        if self.into.rate:
            self._narrow(connection.transport, self._ahead)

    @property
    def _ahead(self) -> int:
        """How much may be on the way here in each connection; 0 for what is usual."""
        rate = self.into.rate
        return rate and max(int(rate * AHEAD_SECONDS), AHEAD_BYTES_MIN)

    def cut(self) -> None:
        """End them all."""
        for connection in list(self.connections):
            connection.abort()
