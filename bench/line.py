"""A long line: a TCP proxy with a delay and a rate, which can be cut now and then.

    python -m bench.line LISTEN_PORT TARGET_PORT [--rtt-ms N] [--rate BYTES] [--cut-every SECONDS]

Both ports are of loopback. Bytes come out half of the RTT after they went in; all connections
together carry `--rate` bytes a second in each direction; a connection takes an RTT to be made. As a
router, it holds a tenth of a second of bytes that wait for their turn, and takes no more. A cut
aborts all connections, with what is on the line.

Runs until SIGTERM, and then prints a line of JSON: `forth` and `back`, the bytes that came out at
the target's end and at the other, and `cuts`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Callable

import uvloop

CHUNK_BYTES = 32 << 10
QUEUE_SECONDS = 0.1


class Direction:
    """What all connections share in one direction."""

    def __init__(self, delay: float, rate: float) -> None:
        self.delay = delay
        self._rate = rate
        self._free_at = 0.0
        self.carried = 0

    def departure(self, length: int, now: float) -> float:
        """When so many bytes that come in now leave the queue."""
        if not self._rate:
            return now
        self._free_at = max(now, self._free_at) + length / self._rate
        return self._free_at


class Line:
    """All connections."""

    def __init__(self, target: int, rtt: float, rate: float) -> None:
        self._target = target
        self._rtt = rtt
        self.forth, self.back = Direction(rtt / 2, rate), Direction(rtt / 2, rate)
        self._writers: set[asyncio.StreamWriter] = set()
        self.cuts = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._rtt)
        try:
            there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_there}
        self._writers |= ends
        await asyncio.gather(
            self._carry(reader, to_there, self.forth), self._carry(there, writer, self.back)
        )
        self._writers -= ends

    def cut(self) -> None:
        self.cuts += 1
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction
    ) -> None:
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        out = asyncio.ensure_future(self._deliver(on_the_way, writer, way))
        now = asyncio.get_running_loop().time
        try:
            while data := await reader.read(CHUNK_BYTES):
                if writer.transport.is_closing():
                    # What was still to be read when the line was cut takes no room on it.
                    break
                leaves = way.departure(len(data), now())
                on_the_way.put_nowait((leaves + way.delay, data))
                if (wait := leaves - now() - QUEUE_SECONDS) > 0:
                    await asyncio.sleep(wait)
        except OSError:
            pass
        on_the_way.put_nowait((now() + way.delay, b""))
        await out

    async def _deliver(
        self,
        on_the_way: "asyncio.Queue[tuple[float, bytes]]",
        writer: asyncio.StreamWriter,
        way: Direction,
    ) -> None:
        now: Callable[[], float] = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while True:
                at, data = await on_the_way.get()
                if (wait := at - now()) > 0:
                    await asyncio.sleep(wait)
                if not data or writer.transport.is_closing():
                    break
                writer.write(data)
                way.carried += len(data)
                await writer.drain()
        writer.transport.abort()


async def run(listen: int, line: Line, cut_every: float) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await asyncio.start_server(line.accept, "127.0.0.1", listen, limit=4 * CHUNK_BYTES)
    while not ended.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(cut_every or None):
                await ended.wait()
        if not ended.is_set():
            line.cut()
    said = {"forth": line.forth.carried, "back": line.back.carried, "cuts": line.cuts}
    print(json.dumps(said), flush=True)
    # What is still open need not be ended in order.
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.line", description=__doc__)
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("--rtt-ms", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=0.0, help="bytes a second; 0 for no bound")
    parser.add_argument("--cut-every", type=float, default=0.0, help="seconds; 0 for never")
    options = parser.parse_args()
    line = Line(options.target, options.rtt_ms / 1000, options.rate)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(options.listen, line, options.cut_every))


if __name__ == "__main__":
    main()
