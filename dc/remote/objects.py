"""The object servers as a gateway on another machine has them: an `ObjectStore` over a session."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence

from dc.names.model import Extent
from dc.objects.api import SMALL_MAX_BYTES, STANDARD, ObjectsError
from dc.objects.reader import pieces
from dc.ports import Buffer
from dc.remote.calls import encode
from dc.remote.session import Session
from dc.remote.wire import (
    PIECE_BYTES_MAX,
    WINDOW,
    Begin,
    Finish,
    Frame,
    Piece,
    Put,
    Read,
    Stop,
    Taken,
    decode_extents,
)


class RemoteObjects:
    """See `dc.objects.api.ObjectStore`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put(self, ident: bytes, data: Buffer, *, tier: str = STANDARD) -> list[Extent]:
        length = len(data)
        if length > SMALL_MAX_BYTES:
            raise ValueError(f"a body of {length} bytes is not small: use writer()")
        session = self._session
        if not length:
            return []
        answer = session.ask(
            session.link_for(length), lambda number: Put(number, ident, tier), data
        )
        return decode_extents(await answer)

    def writer(self, ident: bytes, *, tier: str = STANDARD) -> "RemoteWriter":
        return RemoteWriter(self._session, ident, tier)

    def read_cached(self, extents: Sequence[Extent]) -> bytes | None:
        return None if extents else b""

    async def read(self, extents: Sequence[Extent], start: int, stop: int) -> AsyncIterator[Buffer]:
        wanted, offset = _covering(extents, start, stop)
        if start == stop:
            return
        reading = Reading(
            self._session,
            stop - start,
            lambda number: Read(number, start - offset, stop - offset),
            encode(wanted),
        )
        try:
            while (piece := await reading.next()) is not None:
                yield piece
        finally:
            reading.close()

    async def close(self) -> None:
        """The session ends by itself."""


def _covering(extents: Sequence[Extent], start: int, stop: int) -> tuple[list[Extent], int]:
    """The extents that hold the bytes [start, stop), and where the first of them begins."""
    wanted = [extent for extent, _, _ in pieces(extents, start, stop)]
    offset = 0
    for extent in extents:
        if not wanted or extent is wanted[0]:
            break
        offset += extent.length
    return wanted, offset


class Reading:
    """A body that comes in."""

    def __init__(self, session: Session, size: int, ask: Callable[[int], Frame], about: bytes):
        """`ask` makes the frame that asks for it, `about` goes with that."""
        self._session = session
        self._link = session.link_for(size)
        self.id = self._id = session.next_id()
        self._pieces: deque[bytes] = deque()
        self._last = False
        self._error: Exception | None = None
        self._came = asyncio.Event()
        session.follow(self._id, self)
        self._link.send(ask(self._id), about)

    async def next(self) -> bytes | None:
        """The next piece, None at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._last:
                return None
            self._came.clear()
            await self._came.wait()
        if not self._last:
            self._link.send(Taken(self._id))
        return self._pieces.popleft()

    def piece(self, data: bytes, last: bool) -> None:
        self._pieces.append(data)
        self._last = last
        self._came.set()

    def taken(self) -> None:
        pass

    def failed(self, error: Exception) -> None:
        self._error = error
        self._came.set()

    def close(self) -> None:
        self._session.forget(self._id)
        if not self._last and self._error is None:
            self._link.send(Stop(self._id))


class RemoteWriter:
    """See `dc.objects.api.BodyWriter`."""

    def __init__(self, session: Session, ident: bytes, tier: str) -> None:
        self._session = session
        self._link = session.link_for(SMALL_MAX_BYTES)
        self._id = session.next_id()
        self._gathered: list[Buffer] = []
        self._size = 0
        self._room = WINDOW
        self._error: Exception | None = None
        self._moved = asyncio.Event()
        self._ended = False
        session.follow(self._id, self)
        self._link.send(Begin(self._id, ident, tier))

    async def write(self, data: Buffer) -> None:
        self._check()
        self._gathered.append(data)
        self._size += len(data)
        if self._size >= PIECE_BYTES_MAX:
            await self._send()

    async def _send(self) -> None:
        whole = memoryview(b"".join(self._gathered))
        self._gathered, self._size = [], 0
        for at in range(0, len(whole), PIECE_BYTES_MAX):
            while not self._room:
                self._moved.clear()
                await self._moved.wait()
                self._check()
            self._room -= 1
            self._link.send(Piece(self._id), whole[at : at + PIECE_BYTES_MAX])
            await self._link.drain()
            self._check()

    async def finish(self, ident: bytes | None = None) -> list[Extent]:
        self._check()
        await self._send()
        self._ended = True
        answer = self._session.expect(self._id)
        self._link.send(Finish(self._id, ident))
        try:
            return decode_extents(await answer)
        except asyncio.CancelledError:
            self._link.send(Stop(self._id))
            raise
        finally:
            self._session.forget(self._id)

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._session.forget(self._id)
        if self._error is None:
            self._link.send(Stop(self._id))

    def piece(self, data: bytes, last: bool) -> None:
        pass

    def taken(self) -> None:
        self._room += 1
        self._moved.set()

    def failed(self, error: Exception) -> None:
        self._error = error
        self._moved.set()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise ObjectsError("this body is finished or was aborted: begin a new one")
