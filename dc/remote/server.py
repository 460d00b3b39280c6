"""The datacenter's side of a gateway on another machine: it answers with its names and bytes.

Each call is a task of its own. What streams has a task that takes its pieces in order. When one
connection ends, all do, and all that was under way with them: bodies that were not complete are
forgotten, reads are ended.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import structlog

from dc.names.directory import MemoryDirectory
from dc.names.errors import NamesClosed
from dc.names.gateway_api import GatewayNames
from dc.names.model import Change, Extent, Peer, Version
from dc.notary import Proofs
from dc.objects.api import ObjectStore
from dc.ports import Buffer
from dc.read_through import NotGiven, Others
from dc.remote import calls, errors, wire
from dc.remote.calls import METHODS, OF_OTHERS, OF_PROOFS, encode
from dc.remote.copies import Copies, Copy, parts_of
from dc.remote.link import Link
from dc.remote.wire import (
    PIECE_BYTES_MAX,
    WINDOW,
    Asked,
    Begin,
    Bye,
    Call,
    Changed,
    Finish,
    Have,
    Loaded,
    Piece,
    Ping,
    Pong,
    Put,
    Read,
    ReadOther,
    Result,
    Stop,
    Taken,
    Welcome,
    WireError,
)
from dc.worker import TaskGroup, spawn

log = structlog.get_logger("gateways")

Work = Callable[[], Coroutine[Any, Any, None]]


class Serving:
    """One session with one gateway. `run` until it ends."""

    def __init__(
        self,
        links: Sequence[Link[Asked]],
        names: GatewayNames,
        objects: ObjectStore,
        mark: Callable[[Version], str],
        copies: Copies,
        others: Others | None = None,
        proofs: Proofs | None = None,
    ) -> None:
        self._links = links
        self._names = names
        self._objects = objects
        self._mark = mark
        self._copies = copies
        self._others = others
        self._proofs = proofs
        self._copy = Copy(self._tell, self._close)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bodies: dict[int, _Incoming | _Outgoing] = {}
        self._left = False

    async def run(self, welcome: Welcome, directory: MemoryDirectory) -> None:
        """Until a connection ends, which is an OSError."""
        first = self._links[0]
        try:
            first.send(welcome)
            # From here on the copy is told of changes: those come after what is sent here.
            self._copies.add(self._copy)
            self._tell(0, directory.everything(), self._names.peers())
            first.send(Loaded())
            async with TaskGroup() as group:
                for link in self._links:
                    group.create_task(link.run(self._receiver(link)))
                group.create_task(self._hear())
        finally:
            self._close()
            self._copies.lost(self._copy, unused=self._left)
            for body in self._bodies.values():
                body.stop()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hear(self) -> None:
        await self._copies.silent(self._copy)
        raise WireError("the gateway does not answer")

    def _close(self) -> None:
        for link in self._links:
            link.close()

    def _tell(self, serial: int, changes: Sequence[Change], peers: list[Peer] | None) -> None:
        """Tell of changes. They are known when the last part is."""
        *parts, last = parts_of(changes, peers)
        for part in parts:
            self._links[0].send(Changed(max(0, serial - 1)), encode(part))
        self._links[0].send(Changed(serial), encode(last))

    # -- what comes in ----------------------------------------------------------------------------

    def _receiver(self, link: Link[Asked]) -> Callable[[Asked, bytes], None]:
        return lambda asked, payload: self._receive(link, asked, payload)

    def _receive(self, link: Link[Asked], asked: Asked, payload: bytes) -> None:
        if not self._copy.is_connected:
            return  # It was given up: what is still to be read of it counts no more.
        match asked:
            case Call():
                self._start_call(link, asked.id, lambda: self._call(link, asked, payload))
            case Put():
                self._start_call(link, asked.id, lambda: self._put(link, asked, payload))
            case Read():
                extents = wire.decode_extents(payload)
                self._begin(link, asked.id, _Stored(link, self._objects, asked, extents))
            case ReadOther():
                version = wire.decode_version(payload)
                self._begin(link, asked.id, _Passing(link, self._others, asked, version))
            case Begin():
                self._begin(link, asked.id, _Incoming(link, self._objects, asked))
            case Piece():
                if isinstance(body := self._bodies.get(asked.id), _Incoming):
                    body.piece(payload)
            case Finish():
                if isinstance(body := self._bodies.get(asked.id), _Incoming):
                    body.finish(asked.ident)
            case Taken():
                if isinstance(body := self._bodies.get(asked.id), _Outgoing):
                    body.taken()
            case Stop():
                if (stopped := self._bodies.get(asked.id)) is not None:
                    stopped.stop()
            case Have():
                self._copies.arrived(self._copy, asked.serial)
            case Ping():
                self._copies.extend(self._copy)
                link.send(Pong(asked.number))
            case Bye():
                self._left = True
                self._close()

    def _begin(self, link: Link[Asked], number: int, body: "_Incoming | _Outgoing") -> None:
        if len(self._bodies) >= wire.BODIES_MAX:
            raise WireError("more bodies than can be")
        self._bodies[number] = body
        body.task = task = self._start(link, number, body.run)
        task.add_done_callback(lambda _: self._bodies.pop(number, None))

    def _start(self, link: Link[Asked], number: int, work: Work) -> asyncio.Task[None]:
        task = spawn(self._guarded(link, number, work), "for a gateway")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _start_call(self, link: Link[Asked], number: int, work: Work) -> None:
        """Not too many at once."""
        if len(self._tasks) - len(self._bodies) >= wire.CALLS_MAX:
            work = _busy
        self._start(link, number, work)

    async def _guarded(self, link: Link[Asked], number: int, work: Work) -> None:
        """Do it, and tell of the error."""
        try:
            await work()
        except Exception as error:
            told = errors.failed(number, error)
            if told is None:
                log.exception("something asked by a gateway has failed")
                told = errors.unknown(number, error)
            link.send(told, errors.about(error))

    # -- what is done -----------------------------------------------------------------------------

    async def _call(self, link: Link[Asked], asked: Call, payload: bytes) -> None:
        method = METHODS.get(asked.what)
        if method is None:
            raise WireError(f"nothing like {asked.what} can be asked")
        places, named = calls.call_of(method, payload)
        result: Any
        if asked.what == "remove":
            removals = calls.hear_removals(places[0])
            result = calls.say_outcomes(await self._names.remove(removals))
        else:
            result = await getattr(self._there(asked.what), asked.what)(*places, **named)
            if asked.what in ("current", "version"):
                result = (result, "" if result is None else self._mark(result))
        link.send(Result(asked.id), encode(result))
        # Until it is taken it counts as under way.
        await link.drain()

    def _there(self, what: str) -> Any:
        """What is asked."""
        if what in OF_PROOFS:
            if self._proofs is None:
                raise NamesClosed("there is no notary")
            return self._proofs
        if what not in OF_OTHERS:
            return self._names
        if self._others is None:
            raise NotGiven("no other datacenter can be asked")
        return self._others

    async def _put(self, link: Link[Asked], asked: Put, payload: bytes) -> None:
        extents = await self._objects.put(asked.ident, payload, tier=asked.tier)
        link.send(Result(asked.id), encode(extents))


async def _busy() -> None:
    raise errors.Busy(f"{wire.CALLS_MAX} calls of this gateway are under way")


class _Incoming:
    """A body that a gateway stores."""

    task: asyncio.Task[None]

    def __init__(self, link: Link[Asked], objects: ObjectStore, asked: Begin) -> None:
        self._link = link
        self._id = asked.id
        self._ident, self._tier = asked.ident, asked.tier
        self._objects = objects
        self._pieces: asyncio.Queue[bytes | Finish] = asyncio.Queue()

    def piece(self, data: bytes) -> None:
        if self._pieces.qsize() > WINDOW or len(data) > PIECE_BYTES_MAX:
            raise WireError("more pieces than were asked for")
        self._pieces.put_nowait(data)

    def finish(self, ident: bytes | None) -> None:
        self._pieces.put_nowait(Finish(self._id, ident))

    def stop(self) -> None:
        self.task.cancel()

    async def run(self) -> None:
        writer = self._objects.writer(self._ident, tier=self._tier)
        try:
            while not isinstance(piece := await self._pieces.get(), Finish):
                await writer.write(piece)
                self._link.send(Taken(self._id))
            extents = await writer.finish(piece.ident)
        finally:
            writer.abort()
        self._link.send(Result(self._id), encode(extents))


class _Outgoing(ABC):
    """A body that a gateway reads."""

    task: asyncio.Task[None]

    def __init__(self, link: Link[Asked], asked: Read | ReadOther) -> None:
        self._link = link
        self._id = asked.id
        self._left = asked.stop - asked.start
        self._room = WINDOW
        self._moved = asyncio.Event()
        self._asked = asked

    def taken(self) -> None:
        self._room += 1
        self._moved.set()

    def stop(self) -> None:
        self.task.cancel()

    @abstractmethod
    async def run(self) -> None: ...

    async def _send_all(self, reading: AsyncIterator[Buffer]) -> None:
        try:
            async for piece in reading:
                view = memoryview(piece)
                for at in range(0, len(view), PIECE_BYTES_MAX):
                    await self._send(view[at : at + PIECE_BYTES_MAX])
        finally:
            await reading.aclose()  # type: ignore[attr-defined]

    async def _send(self, piece: memoryview) -> None:
        while not self._room:
            self._moved.clear()
            await self._moved.wait()
        self._room -= 1
        self._left -= len(piece)
        self._link.send(Piece(self._id, last=self._left <= 0), piece)
        await self._link.drain()


class _Stored(_Outgoing):
    """One that is here."""

    def __init__(
        self, link: Link[Asked], objects: ObjectStore, asked: Read, extents: list[Extent]
    ) -> None:
        super().__init__(link, asked)
        self._objects = objects
        self._extents = extents

    async def run(self) -> None:
        start, stop = self._asked.start, self._asked.stop
        cached = self._objects.read_cached(self._extents)
        if cached is not None:
            self._link.send(Piece(self._id, last=True), cached[start:stop])
            return
        await self._send_all(self._objects.read(self._extents, start, stop))


class _Passing(_Outgoing):
    """One that another datacenter has."""

    def __init__(
        self, link: Link[Asked], others: Others | None, asked: ReadOther, version: Version
    ) -> None:
        super().__init__(link, asked)
        self._others = others
        self._version = version

    async def run(self) -> None:
        if self._others is None:
            raise NotGiven("no other datacenter can be asked")
        start, stop = self._asked.start, self._asked.stop
        passing = await self._others.open(self._version, start, stop)
        self._link.send(Result(self._id), encode(passing.datacenter))
        await self._send_all(passing.pieces)
