"""A load client for HEAD, which wrk cannot send: it would wait for the body that Content-Length
announces. One uvloop thread, keep-alive connections, no HTTP library.

    python -m bench.heads HOST:PORT TARGETS_FILE CONNECTIONS SECONDS

Prints one line of JSON: requests, seconds, p50_ms, p99_ms, max_ms, cpu_seconds, and `bad`: the
first status line that was not 200, if any.
"""

import asyncio
import json
import sys
import time
from itertools import cycle
from pathlib import Path
from typing import cast

import uvloop

from bench.stats import percentile

END = b"\r\n\r\n"
ANSWER_SECONDS_MAX = 30


class _Run:
    """What the connections share."""

    def __init__(self, requests: list[bytes], seconds: float) -> None:
        self.requests = cycle(requests)
        self.started = time.perf_counter()
        self.deadline = self.started + seconds
        self.latencies: list[float] = []
        self.bad = ""


class _Connection(asyncio.Protocol):
    """Sends a request, waits for the head of the answer, sends the next."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._received = b""
        self._sent = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._received.endswith(END):
            return
        run, now = self._run, time.perf_counter()
        run.latencies.append(now - self._sent)
        if not self._received.startswith(b"HTTP/1.1 200 "):
            run.bad = run.bad or self._received.partition(b"\r\n")[0].decode("latin-1")
        self._received = b""
        if now < run.deadline and not run.bad:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if time.perf_counter() < self._run.deadline:
            self._run.bad = self._run.bad or f"connection lost: {exc or 'closed by the server'}"
        if not self.done.done():
            self.done.set_result(None)


async def load(address: str, targets: list[str], connections: int, seconds: float) -> _Run:
    """Keep `connections` busy; each answers its last request before it ends."""
    host, _, port = address.rpartition(":")
    tail = f" HTTP/1.1\r\nHost: {address}\r\n\r\n"
    run = _Run([f"HEAD {target}{tail}".encode() for target in targets], seconds)
    loop = asyncio.get_running_loop()
    protocols = []
    for _ in range(connections):
        _, protocol = await loop.create_connection(lambda: _Connection(run), host, int(port))
        protocols.append(protocol)
    async with asyncio.timeout(seconds + ANSWER_SECONDS_MAX):
        await asyncio.gather(*(protocol.done for protocol in protocols))
    return run


def main() -> None:
    address, listed, connections, seconds = sys.argv[1:]
    targets = Path(listed).read_text().splitlines()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        run = runner.run(load(address, targets, int(connections), float(seconds)))
    result = {
        "requests": len(run.latencies),
        "seconds": time.perf_counter() - run.started,
        "p50_ms": percentile(run.latencies, 50) * 1000 if run.latencies else 0,
        "p99_ms": percentile(run.latencies, 99) * 1000 if run.latencies else 0,
        "max_ms": max(run.latencies, default=0) * 1000,
        "cpu_seconds": time.process_time(),
        "bad": run.bad,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
