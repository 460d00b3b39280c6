"""A TCP proxy that makes a line long: each byte comes a while after it was sent.

It listens beside a datacenter, in its namespace, and is what its peers are told as its address.
What it holds of one direction is bounded by a window, as a kernel's buffers are.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable

WINDOW_BYTES = 512 * 1024
_READ_BYTES = 64 * 1024


class DelayProxy:
    """From `host:port` to 127.0.0.1:`target`, with `delay_s` each way. Runs in a thread of its own,
    which `enter` prepares: `Namespace.enter`."""

    def __init__(
        self, enter: Callable[[], None], host: str, port: int, target: int, delay_s: float
    ) -> None:
        self._enter = enter
        self._listen = (host, port)
        self._target = target
        self._delay_s = delay_s
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"delay proxy {host}:{port}")
        self._thread.start()
        assert self._ready.wait(10), "the proxy does not listen"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._enter()
        host, port = self._listen
        server = self._loop.run_until_complete(
            asyncio.start_server(self._accept, host, port, limit=_READ_BYTES)
        )
        self._ready.set()
        self._loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # The handshake, which the kernel did without the delay.
        await asyncio.sleep(2 * self._delay_s)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(self._pump(reader, up_writer), self._pump(up_reader, writer))
        except (OSError, asyncio.CancelledError):
            # Cancelled: by `stop`, and nobody waits for the end of this.
            pass
        finally:
            writer.transport.abort()
            up_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Two halves with what is on its way between them."""
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WINDOW_BYTES // _READ_BYTES)
        clock = self._loop.time
        out = asyncio.ensure_future(self._put_out(under_way, writer))
        try:
            data = b"-"
            while data:
                data = await reader.read(_READ_BYTES)
                await under_way.put((clock() + self._delay_s, data))
            await out
        finally:
            out.cancel()

    async def _put_out(
        self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - self._loop.time())
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
