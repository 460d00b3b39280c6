"""A TCP proxy between DCs that tests can cut, starve and listen to."""

import asyncio


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`, byte by byte counted.

    `allow` bytes may still come from the target; at zero every connection is cut. `seen` is what
    went through in both directions, when `recording`.
    """

    def __init__(self, recording: bool = False) -> None:
        self.port = 0
        self.target = 0
        self.allow: int | None = None
        self.frozen = asyncio.Event()
        self.frozen.set()
        self.from_target = 0
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
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        await asyncio.gather(
            self._pump(reader, up_writer, False), self._pump(up_reader, writer, True)
        )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, down: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                await self.frozen.wait()
                if self.recording:
                    self.seen += data
                if down:
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
