"""A large body on its way to a lane.

The body is cut into frames of `RECORD_MAX_BYTES`, each of which becomes a record. The buffers that
come in are kept as they are and handed to one gathering write; only short ones are copied
together. At most `FRAMES_MAX` frames are under way, beside the one that is being gathered: that,
not the size of the body, is the memory an upload takes.

A full frame is sent when more bytes come, not before, so that the last one is known as the last:
it carries the flag, and the wish to be durable. Its sync covers the ones before it.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Self

from dc.names.model import Extent
from dc.objects.api import ObjectsError
from dc.objects.format import FLAG_LAST, RECORD_MAX_BYTES
from dc.objects.lane import Appended, Lane
from dc.objects.usage import Usage
from dc.ports import Buffer

FRAMES_MAX = 2
"""One is written while the next is checked and queued: enough to keep a lane busy."""

SHORT_BYTES = 16 << 10
"""Buffers below this are copied: a list of a million tiny ones would cost more than the bytes."""


class StreamWriter:
    """One body. Not to be used by two tasks at a time."""

    def __init__(self, ident: bytes, lanes: Sequence[Lane], usage: Usage) -> None:
        self._ident = ident
        self._lanes = lanes
        self._usage = usage
        usage.bodies.add(self)
        self._lane: Lane | None = None
        self._frame: list[Buffer] = []
        self._frame_bytes = 0
        self._position = 0
        self._under_way: deque[asyncio.Future[Appended]] = deque()
        self._written: list[Appended] = []
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    async def write(self, data: Buffer) -> None:
        self._check_open()
        try:
            length = len(data)
            if self._frame_bytes + length <= RECORD_MAX_BYTES:
                self._gather(data, length)
                return
            view = memoryview(data)
            start = 0
            while start < length:
                if self._frame_bytes == RECORD_MAX_BYTES:
                    await self._send(last=False)
                stop = min(length, start + RECORD_MAX_BYTES - self._frame_bytes)
                self._gather(view[start:stop], stop - start)
                start = stop
        except BaseException:
            self.abort()
            raise

    async def finish(self, ident: bytes | None = None) -> list[Extent]:
        self._check_open()
        if ident is not None:
            self._ident = ident
        try:
            if self._frame_bytes:
                await self._send(last=True)
            while self._under_way:
                self._written.append(await self._under_way.popleft())
            for appended in self._written:
                appended.check_durable()
            self._usage.handed_out(self.containers())
            return [appended.extent for appended in self._written]
        finally:
            self.abort()

    def containers(self) -> set[int]:
        """Those that have bytes of it."""
        done = (one for one in self._under_way if one.done() and not one.cancelled())
        written = [one.result() for one in done if one.exception() is None]
        return {one.extent.container for one in (*self._written, *written)}

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._usage.bodies.discard(self)
        for future in self._under_way:
            future.cancel()
            if not future.cancelled():
                future.exception()
        self._under_way.clear()
        self._frame.clear()
        if self._lane is not None:
            self._lane.leave()

    def _check_open(self) -> None:
        if self._ended:
            raise ObjectsError("this body is finished or was aborted: begin a new one")

    def _gather(self, data: Buffer, length: int) -> None:
        if not length:
            return
        self._frame_bytes += length
        if length >= SHORT_BYTES:
            self._frame.append(data)
        elif self._frame and isinstance(self._frame[-1], _Short):
            self._frame[-1] += data
        else:
            self._frame.append(_Short(data))

    async def _send(self, *, last: bool) -> None:
        """Queue the gathered frame, once one of those under way is written."""
        if self._lane is None:
            self._lane = min(self._lanes, key=lambda lane: lane.writers)
            self._lane.writers += 1
        while len(self._under_way) >= FRAMES_MAX:
            self._written.append(await self._under_way.popleft())
        frame, length, position = self._frame, self._frame_bytes, self._position
        self._frame, self._frame_bytes = [], 0
        self._position += length
        self._under_way.append(
            await self._lane.append(
                self._ident, frame, length, position, FLAG_LAST if last else 0, durable=last
            )
        )


class _Short(bytearray):
    """Short buffers copied together; a type of its own, so that no caller's is appended to."""
