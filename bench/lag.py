"""A light client that measures the replication lag of single objects.

It puts objects at one datacenter at a steady rate; from the moment of a PUT's 200 it asks the other
one, every millisecond or so and over a connection that stays open, until it has the object.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench.datacenter import Datacenter
from bench.errors import BenchError

POLL_SECONDS = 0.001
ARRIVAL_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 30


class _Connection:
    """HTTP over one keep-alive connection, no more than is needed here."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def open(self) -> None:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))

    async def ask(self, method: str, target: str, body: bytes = b"") -> int:
        """The status of the answer."""
        length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: {self._address}\r\n{length}\r\n"
        self._writer.write(head.encode() + body)
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            answer = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            if method != "HEAD" and "content-length: " in answer:
                length = answer.partition("content-length: ")[2].partition("\r\n")[0]
                await self._reader.readexactly(int(length))
        return int(answer.split()[1])

    def close(self) -> None:
        self._writer.close()


class _Lags:
    """The connections to the second datacenter, and what was measured there."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._free: list[_Connection] = []
        self.seconds: list[float] = []

    async def watch(self, target: str, put_at: float) -> None:
        connection = self._free.pop() if self._free else _Connection(self._address)
        if not hasattr(connection, "_writer"):
            await connection.open()
        while (status := await connection.ask("HEAD", target)) != 200:
            if status != 404:
                raise BenchError(f"HEAD at the other datacenter was answered {status}")
            if time.perf_counter() > put_at + ARRIVAL_SECONDS_MAX:
                raise BenchError(f"an object has not arrived after {ARRIVAL_SECONDS_MAX} s")
            await asyncio.sleep(POLL_SECONDS)
        self.seconds.append(time.perf_counter() - put_at)
        self._free.append(connection)

    def close(self) -> None:
        for connection in self._free:
            connection.close()


async def _measure(
    puts: Sequence[str], heads: Sequence[str], source: str, target: str, body: bytes, rate: float
) -> list[float]:
    putter, lags = _Connection(source), _Lags(target)
    await putter.open()
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, (put, head) in enumerate(zip(puts, heads, strict=True)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            status = await putter.ask("PUT", put, body)
            if status != 200:
                raise BenchError(f"PUT was answered {status}")
            group.create_task(lags.watch(head, time.perf_counter()))
    putter.close()
    lags.close()
    return lags.seconds


def lags(
    source: Datacenter, target: Datacenter, bucket: str, keys: list[str], body: Path, rate: float
) -> list[float]:
    """The lag of each key in seconds, sorted by arrival."""
    puts = source.s3.presigner.paths("PUT", bucket, keys)
    heads = target.s3.presigner.paths("HEAD", bucket, keys)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(
                _measure(puts, heads, source.address, target.address, body.read_bytes(), rate)
            )
        except ExceptionGroup as group:
            raise group.exceptions[0] from None
