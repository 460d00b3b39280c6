"""A TCP proxy that counts what goes through it, in a thread that ends with the process."""

import asyncio
import contextlib
import json
import threading
from pathlib import Path

READ_BYTES = 65_536


class CountingProxy:
    """Forwards a port of loopback to the peer listener of the datacenter in `folder`."""

    def __init__(self, port: int) -> None:
        self.folder: Path | None = None
        self.to_target = 0
        self.from_target = 0
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        serving = asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._loop.run_until_complete(serving)
        ready.set()
        self._loop.run_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None and self.folder is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        peer = json.loads((self.folder / "run.json").read_text())["peer"]
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection(peer["host"], peer["port"])
            await asyncio.gather(self._pump(reader, back, True), self._pump(there, writer, False))
        writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to_target: bool
    ) -> None:
        try:
            while data := await reader.read(READ_BYTES):
                if to_target:
                    self.to_target += len(data)
                else:
                    self.from_target += len(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()
