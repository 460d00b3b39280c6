"""One connection of a gateway on another machine: frames in, frames out.

What is sent in one turn of the event loop goes out together; what has come in is handed on frame by
frame, without a task for each.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import msgspec

from dc.ports import Buffer
from dc.remote import wire
from dc.remote.wire import Frame, WireError

F = TypeVar("F")
_READ_BYTES = 256 << 10
_JOINED_BYTES_MAX = 64 << 10
"""Of a payload: larger ones are not copied together with others."""


class Link(Generic[F]):
    """`decode` makes frames of headers: WireError for what is none."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        decode: Callable[[bytes], F],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._decode = decode
        self._waiting: list[Buffer] = []
        self._room = asyncio.Event()
        self._room.set()

    def send(self, frame: Frame, payload: Buffer = b"") -> None:
        """Soon. What is sent after the end is dropped."""
        header = wire.encode(frame)
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(wire.LENGTHS.pack(len(header), len(payload)) + header)
        if payload:
            self._waiting.append(payload)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if self._writer.transport.is_closing():
            return
        small: list[Buffer] = []
        for one in waiting:
            if len(one) <= _JOINED_BYTES_MAX:
                small.append(one)
                continue
            self._writer.write(b"".join([*small]))
            self._writer.write(one)
            small.clear()
        if small:
            self._writer.write(b"".join(small))

    async def drain(self) -> None:
        """Wait until the other side has taken most of what was sent, or the connection has ended,
        which `run` tells."""
        self._flush()
        with suppress(OSError):
            await self._writer.drain()

    def pause(self) -> None:
        """Take nothing in until `resume`."""
        self._room.clear()

    def resume(self) -> None:
        self._room.set()

    async def run(self, receive: Callable[[F, bytes], None]) -> None:
        """Hand on what comes in until the connection ends, which is an OSError; so is what is no
        frame a WireError, and what `receive` raises."""
        try:
            await self._run(receive)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WireError(f"no frame: {error}") from None
        except asyncio.IncompleteReadError:
            raise ConnectionResetError("the connection has ended") from None
        finally:
            self.close()

    async def _run(self, receive: Callable[[F, bytes], None]) -> None:
        head = wire.LENGTHS.size
        buffer = b""
        while True:
            data = await self._reader.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("the other side has closed the connection")
            buffer = buffer + data if buffer else data
            at = 0
            while len(buffer) - at >= head:
                header, payload = wire.lengths(buffer[at : at + head])
                begin = at + head + header
                end = begin + payload
                if end <= len(buffer):
                    body = buffer[begin:end]
                elif begin <= len(buffer) and end - len(buffer) >= _JOINED_BYTES_MAX:
                    # Not by way of `buffer`: that would copy it once more.
                    rest = await self._reader.readexactly(end - len(buffer))
                    body = b"".join((memoryview(buffer)[begin:], rest))
                else:
                    break
                receive(self._decode(buffer[at + head : begin]), body)
                at = end
                if not self._room.is_set():
                    await self._room.wait()
            buffer = buffer[at:]

    def close(self) -> None:
        self._writer.transport.abort()
