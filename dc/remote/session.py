"""A gateway's side of its connections with the datacenter.

A session begins when the datacenter has connected, and ends with the first of its connections; what
was asked then fails with `Unreachable`. Everything that the gateway serves belongs to one session:
its directory, names and bytes (`names.py`, `objects.py`) refer to it and to no later one. So what a
request has seen in one session it cannot act upon in another.

`is_leased` says whether the directory may be relied upon: docs/gateways.md tells why.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from dc.names.directory import MemoryDirectory
from dc.names.model import Change, Peer
from dc.ports import Buffer, Clock
from dc.remote import wire
from dc.remote.errors import Unreachable, raised
from dc.remote.link import Link
from dc.remote.wire import (
    Bye,
    Changed,
    Failed,
    Frame,
    Have,
    Loaded,
    Piece,
    Ping,
    Pong,
    Records,
    Result,
    Taken,
    Told,
    Welcome,
    WireError,
)
from dc.worker import TaskGroup, first_of

LEASE_SECONDS = 3.0
PING_SECONDS = 0.5
SILENCE_SECONDS = 9.0
"""Who has heard nothing for so long gives the session up, on both sides: what waits for an answer
is not to wait until the system finds out that the other machine is gone."""
_SMALL_BYTES_MAX = 64 << 10
"""Of a body that goes with what is small."""


class Body(Protocol):
    """A body that goes over a connection in pieces."""

    def piece(self, data: bytes, last: bool) -> None: ...
    def taken(self) -> None: ...
    def failed(self, error: Exception) -> None: ...


class Session:
    """`run` until it ends. `loaded` is called when all is known that it takes to serve."""

    def __init__(
        self, links: Sequence[Link[Told]], clock: Clock, loaded: Callable[["Session"], None]
    ) -> None:
        self._links = links
        self._clock = clock
        self._on_loaded = loaded
        self._ids = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._bodies: dict[int, Body] = {}
        self._ended = asyncio.Event()
        self._pings: dict[int, float] = {}
        self._leased_until = float("-inf")
        self._loading: list[Change] | None = []
        """Of the directory, as long as it is not complete."""
        self.welcome: Welcome
        self.directory = MemoryDirectory()
        self.peers: list[Peer] = []

    def is_leased(self) -> bool:
        """Whether what is known of the directory is what all others know."""
        return not self._ended.is_set() and self._clock.monotonic() < self._leased_until

    async def run(self) -> None:
        """Until a connection ends, which is an OSError."""
        try:
            async with TaskGroup() as group:
                for link in self._links:
                    group.create_task(link.run(self._receive))
                group.create_task(self._keep_lease())
        finally:
            self._end()

    def close(self) -> None:
        """End it: `run` will find out."""
        self._ended.set()
        for link in self._links:
            link.close()

    async def wait_ended(self, seconds: float) -> None:
        """Return when it has ended, or after so many seconds."""
        await first_of(self._clock.sleep(seconds), self._ended.wait())

    def _end(self) -> None:
        self.close()
        waiting, self._waiting = self._waiting, {}
        bodies, self._bodies = self._bodies, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(Unreachable())
        for body in bodies.values():
            body.failed(Unreachable())

    def leave(self) -> None:
        """Say that nobody is served any more, nor will be: the datacenter ends the session."""
        self._leased_until = float("-inf")
        if not self._ended.is_set():
            self._links[0].send(Bye())

    # -- what is asked ----------------------------------------------------------------------------

    def link_for(self, size: int) -> Link[Told]:
        """The connection for something of so many bytes."""
        if self._ended.is_set():
            raise Unreachable()
        if size <= _SMALL_BYTES_MAX or len(self._links) == 1:
            return self._links[0]
        return self._links[1 + self._ids % (len(self._links) - 1)]

    def next_id(self) -> int:
        self._ids += 1
        return self._ids

    def ask(
        self, link: Link[Told], make: Callable[[int], Frame], payload: Buffer = b""
    ) -> asyncio.Future[bytes]:
        """Send a frame with an id of its own; what comes back is the payload of its result."""
        if self._ended.is_set():
            raise Unreachable()
        number = self.next_id()
        link.send(make(number), payload)
        return self.expect(number)

    def expect(self, number: int) -> asyncio.Future[bytes]:
        """The result of what was asked under that number."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        return answer

    def follow(self, number: int, body: Body) -> None:
        """Tell a body what is said of it, until `forget`."""
        if self._ended.is_set():
            raise Unreachable()
        self._bodies[number] = body

    def forget(self, number: int) -> None:
        self._bodies.pop(number, None)
        self._waiting.pop(number, None)

    # -- what is told -----------------------------------------------------------------------------

    def _receive(self, told: Told, payload: bytes) -> None:
        match told:
            case Result():
                answer = self._waiting.pop(told.id, None)
                if answer is not None and not answer.done():
                    answer.set_result(payload)
            case Failed():
                self._failed(told, payload)
            case Piece():
                if (body := self._bodies.get(told.id)) is not None:
                    body.piece(payload, told.last)
            case Taken():
                if (body := self._bodies.get(told.id)) is not None:
                    body.taken()
            case Changed():
                self._changed(wire.decode_records(payload))
                if self._loading is None:
                    self._links[0].send(Have(told.serial))
            case Pong():
                self._leased(told.number)
            case Welcome():
                self.welcome = told
            case Loaded():
                self._loaded()

    def _failed(self, told: Failed, payload: bytes) -> None:
        error = raised(told, payload)
        body = self._bodies.pop(told.id, None)
        answer = self._waiting.pop(told.id, None)
        if answer is not None and not answer.done():
            answer.set_exception(error)
        elif body is not None:
            body.failed(error)

    def _changed(self, records: Records) -> None:
        changes: list[Change] = [*records.buckets, *records.users, *records.keys, *records.sites]
        if self._loading is not None:
            # All at once: what names buckets have is found out with each update.
            self._loading += changes
        else:
            self.directory.update(changes)
        if records.peers is not None:
            self.peers = records.peers

    def _loaded(self) -> None:
        if self._loading is None or not hasattr(self, "welcome"):
            raise WireError("a directory out of turn")
        self.directory.update(self._loading)
        self._loading = None
        self._on_loaded(self)

    # -- the lease --------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        number = 0
        while True:
            number += 1
            now = self._pings[number] = self._clock.monotonic()
            if now - min(self._pings.values()) > SILENCE_SECONDS:
                raise WireError("the datacenter does not answer")
            self._links[0].send(Ping(number))
            await self._clock.sleep(PING_SECONDS)

    def _leased(self, number: int) -> None:
        asked = self._pings.get(number)
        if asked is None:
            raise WireError("an answer to what was not asked")
        self._leased_until = asked + LEASE_SECONDS
        self._pings = {one: at for one, at in self._pings.items() if one > number}
