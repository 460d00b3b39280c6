"""A TCP proxy between DCs that tests can cut, starve and listen to."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from replica_kit import Dc, datacenters, pair


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`, byte by byte counted.

    `allow` bytes may still come from the target; at zero every connection is cut. A connection on
    which nothing came for `idle_seconds` is cut, too; one that has brought `mute_after` bytes from
    the target brings no more. `seen` is what went through in both
    directions, when `recording`.
    """

    def __init__(self, recording: bool = False) -> None:
        self.port = 0
        self.target = 0
        self.allow: int | None = None
        self.frozen = asyncio.Event()
        self.frozen.set()
        self.from_target = self.to_target = 0
        self.connections = self.open = 0
        self._ended = asyncio.Event()
        self.idle_seconds: float | None = None
        self.idle_cuts = 0
        self.mute_after: int | None = None
        self.recording = recording
        self.seen = bytearray()
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        self.frozen.set()
        self._ended.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers += [writer, up_writer]
        self.open += 1
        heard = [time.monotonic()]
        watch = asyncio.ensure_future(self._watch(writer, heard))
        try:
            await asyncio.gather(
                self._pump(reader, up_writer, False, heard),
                self._pump(up_reader, writer, True, heard),
            )
        finally:
            self.open -= 1
            watch.cancel()

    async def _watch(self, writer: asyncio.StreamWriter, heard: list[float]) -> None:
        while (left := heard[0] + (self.idle_seconds or 1e6) - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        self.idle_cuts += 1
        writer.transport.abort()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        down: bool,
        heard: list[float],
    ) -> None:
        brought = 0
        try:
            while data := await reader.read(65536):
                heard[0] = time.monotonic()
                brought += len(data)
                if down and self.mute_after is not None and brought > self.mute_after:
                    await self._ended.wait()
                await self.frozen.wait()
                if self.recording:
                    self.seen += data
                if not down:
                    self.to_target += len(data)
                else:
                    self.from_target += len(data)
                    if self.allow is not None:
                        self.allow -= len(data)
                        if self.allow < 0:
                            self.cut()
                            return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def through_proxy(tmp_path: Path) -> AsyncIterator[tuple[Dc, Dc, Proxy]]:
    """Paris and Tokyo, paired; Tokyo reaches Paris through the proxy."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        proxy = Proxy()
        await proxy.start()
        proxy.target = paris.port
        paris.advertised = [f"127.0.0.1:{proxy.port}"]
        try:
            await pair(paris, tokyo)
            yield paris, tokyo, proxy
        finally:
            await proxy.stop()
