"""The network between datacenters in memory: aiohttp's own client and server talk over it.

A connection is two pipes. What is written into a pipe arrives later and in order; a lost packet is
a stall, as TCP makes it. A blocked direction holds everything back until it is open again. A host
that lost its power answers nothing, and once it is back it resets what it does not know. There is
no TLS: who a peer is, is told by the address here, and by the tokens in its requests.
"""

import asyncio
import errno
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import ClientRequest, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import ceil_timeout
from sim_loop import NODE, Node, SimLoop

from dc.ports import Listener

PORT = 8444
_HIGH_BYTES = 256 << 10
_LOW_BYTES = 64 << 10
_RETRY_S = (0.2, 1.0)


class Fabric:
    """All hosts and connections, and what is wrong between them. Hosts are named by their DC."""

    def __init__(self, loop: SimLoop, seed: str, latency_s: float, stalls: float) -> None:
        self.loop = loop
        self.rng = random.Random(f"{seed}/network")
        self.latency_s = latency_s
        self.stalls = stalls
        self.blocked: dict[tuple[str, str], int] = {}
        self.slow: dict[tuple[str, str], float] = {}
        self.listeners: dict[str, SimListener] = {}
        self.up: set[str] = set()
        self.connections: list[Connection] = []
        self.connectors: list[SimConnector] = []
        self.requests: deque[Request] = deque(maxlen=60)
        """The last ones, for a proxy that sends one again."""
        self.cuts = 0
        """Connections that are yet to be reset halfway."""

    def is_blocked(self, source: str, target: str) -> bool:
        return self.blocked.get((source, target), 0) > 0

    def block(self, source: str, target: str, by: int) -> None:
        """Block a direction once more, or once less (`by` = -1)."""
        self.blocked[source, target] = max(0, self.blocked.get((source, target), 0) + by)

    def delay(self, source: str, target: str, size: int) -> float:
        delay = self.latency_s * self.rng.uniform(0.5, 1.5) + size / 50e6
        if self.stalls and self.rng.random() < self.stalls:
            delay += self.rng.expovariate(2.0)
        return delay * self.slow.get((source, target), 1.0)

    def heal(self) -> None:
        self.blocked.clear()
        self.slow.clear()
        self.stalls = 0.0
        self.cuts = 0

    async def replay(self, choice: int, seconds: float, feeds: bool) -> None:
        """Send a request of a while ago once more, and read what comes for some time. Not one to a
        witness: an old checkpoint is an alarm there when its log shows it, and on TLS nobody else
        can."""
        known = [
            one
            for one in self.requests
            if (b"/feed?" in one.data[:20]) == feeds and b"notary-witness" not in one.data[:40]
        ]
        if not known:
            return
        request = known[choice % len(known)]
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(5.0):
                protocol = await self.connect(request.source, request.target, _Replayer)
            assert isinstance(protocol, _Replayer) and protocol.transport is not None
            protocol.transport.write(bytes(request.data))
            await asyncio.sleep(seconds)
            protocol.transport.abort()

    def reset(self, choice: int) -> bool:
        """Reset one of the open connections."""
        self._sweep()
        if not self.connections:
            return False
        self.connections[choice % len(self.connections)].reset()
        return True

    def host_down(self, host: str, silent: bool) -> None:
        """A process died: its kernel resets its connections, or is gone as well (`silent`)."""
        self.up.discard(host)
        self.listeners.pop(host, None)
        self._sweep()
        for connection in self.connections:
            connection.host_down(host, silent)

    def _sweep(self) -> None:
        self.connections = [one for one in self.connections if not one.over]

    async def connect(
        self, source: str, target: str, factory: Callable[[], asyncio.Protocol]
    ) -> asyncio.Protocol:
        """A connection, or what a socket says: refused, or nothing for ever."""
        await asyncio.sleep(self.delay(source, target, 0))
        while self.is_blocked(source, target) or self.is_blocked(target, source):  # noqa: ASYNC110
            await asyncio.sleep(self.rng.uniform(*_RETRY_S))
        while target not in self.up:
            if self.rng.random() < 0.5:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            await asyncio.sleep(1.0)
        listener = self.listeners.get(target)
        if listener is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        client = factory()
        connection = Connection(self, source, target, copy_context(), listener.context)
        self.connections.append(connection)
        if self.cuts:
            self.cuts -= 1
            connection.left = self.rng.choice(
                [0, self.rng.randrange(600), self.rng.randrange(9000)]
            )
        connection.ends[1].serve(listener.server)
        connection.ends[0].begin(client)
        await asyncio.sleep(self.delay(target, source, 0))
        return client


@dataclass
class Request:
    """The bytes of an HTTP request."""

    source: str
    target: str
    data: bytearray


class _Replayer(asyncio.Protocol):
    """Who sends a request again; answers are of no interest."""

    transport: "SimTransport | None" = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, SimTransport)
        self.transport = transport


class Connection:
    """Two ends; `broken` when one side does not know of it any more."""

    def __init__(
        self, fabric: Fabric, source: str, target: str, client: Context, server: Context
    ) -> None:
        self.fabric = fabric
        self.broken = False
        self.left: int | None = None
        """How many bytes go through before it is reset; None for all."""
        self.ends = (
            SimTransport(self, source, target, client),
            SimTransport(self, target, source, server),
        )

    def passes(self, size: int) -> bool:
        """Whether bytes get through; what was too much is lost, and with it the connection."""
        if self.left is None:
            return True
        self.left -= size
        if self.left >= 0:
            return True
        self.left = 1 << 60
        self.reset()
        return False

    @property
    def over(self) -> bool:
        return all(end.lost for end in self.ends)

    def other(self, end: "SimTransport") -> "SimTransport":
        return self.ends[1] if end is self.ends[0] else self.ends[0]

    def reset(self) -> None:
        for end in self.ends:
            self.break_end(end)

    def break_end(self, end: "SimTransport") -> None:
        """Tell one end of a reset, after the way that takes."""
        delay = self.fabric.delay(end.there, end.here, 0)
        self.fabric.loop.call_later(delay, self._reset_arrives, end, context=end.context)

    def _reset_arrives(self, end: "SimTransport") -> None:
        if not self.fabric.is_blocked(end.there, end.here):
            end.lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def host_down(self, host: str, silent: bool) -> None:
        for end in self.ends:
            if end.here == host and not end.lost:
                end.lost = True
                self.broken = True
                other = self.other(end)
                if not silent and not other.lost:
                    self.break_end(other)


class SimTransport(asyncio.Transport):
    """One end. Its protocol is called in the context of its process."""

    def __init__(self, connection: Connection, here: str, there: str, context: Context) -> None:
        super().__init__({"peername": (there, PORT), "sockname": (here, PORT)})
        self.here = here
        self.there = there
        self.context = context
        self.lost = False
        self.request: Request | None = None
        """At a client's end, what it sends."""
        self._connection = connection
        self._fabric = connection.fabric
        self._protocol: Any = None
        self._closing = False
        self._reading = True
        self._writing_paused = False
        self._coming: deque[tuple[float, bytes | None]] = deque()
        """What is on its way to this end; None is the end of the stream."""
        self._pumping = False
        self._on_way = 0
        self._last_at = 0.0

    def serve(self, factory: Callable[[], asyncio.Protocol]) -> None:
        self._fabric.loop.call_soon(self._accept, factory, context=self.context)

    def _accept(self, factory: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = factory()
        self._protocol.connection_made(self)
        self._pump_later()

    def begin(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol
        if isinstance(protocol, ResponseHandler):
            self.request = Request(self.here, self.there, bytearray())
        protocol.connection_made(self)

    # -- what the protocol calls ------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing or self.lost

    def is_reading(self) -> bool:
        return self._reading

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._pump_later()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self._on_way

    def can_write_eof(self) -> bool:
        return False

    def write(self, data: Any) -> None:
        if self.is_closing() or not data:
            return
        data = bytes(data)
        if self.request is not None:
            self._remember(data)
        if not self._connection.passes(len(data)):
            return
        self._send(data)
        if self._on_way > _HIGH_BYTES and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _remember(self, data: bytes) -> None:
        if data.startswith((b"GET ", b"POST ")):
            self.request = Request(self.here, self.there, bytearray())
            self._fabric.requests.append(self.request)
        assert self.request is not None
        self.request.data += data

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        if not self.is_closing():
            self._closing = True
            self._send(None)
            self._fabric.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        if not self.lost:
            self._closing = True
            self._connection.break_end(self._connection.other(self))
            self._fabric.loop.call_soon(self.lose, None, context=self.context)

    # -- on the way -----------------------------------------------------------------------------

    def _send(self, data: bytes | None) -> None:
        fabric, other = self._fabric, self._connection.other(self)
        size = len(data or b"")
        self._on_way += size
        self._last_at = max(self._last_at, fabric.loop.time() + fabric.delay(*self._way, size))
        if other.lost:
            # Nobody is there; a host that is up says so.
            if self.there in fabric.up:
                self._connection.break_end(self)
            return
        other._coming.append((self._last_at, data))
        other._pump_later()

    @property
    def _way(self) -> tuple[str, str]:
        return self.here, self.there

    def _pump_later(self) -> None:
        if self._coming and not self._pumping and self._reading and self._protocol is not None:
            self._pumping = True
            loop = self._fabric.loop
            at = max(self._coming[0][0], loop.time())
            loop.call_at(at, self._pump, context=self.context)

    def _pump(self) -> None:
        """Hand on what has arrived."""
        self._pumping = False
        fabric, loop = self._fabric, self._fabric.loop
        while self._coming and self._reading and not self.lost:
            at, data = self._coming[0]
            if at > loop.time():
                break
            if fabric.is_blocked(self.there, self.here):
                wait = fabric.rng.uniform(*_RETRY_S)
                self._coming[0] = (loop.time() + wait, data)
                break
            self._coming.popleft()
            if data is None:
                self._protocol.eof_received()
                self.close()
                return
            self._connection.other(self).arrived(len(data))
            self._protocol.data_received(data)
        if not self.lost:
            self._pump_later()

    def arrived(self, size: int) -> None:
        self._on_way -= size
        if self._writing_paused and self._on_way < _LOW_BYTES and not self.lost:
            self._fabric.loop.call_soon(self._resume_writing, context=self.context)

    def _resume_writing(self) -> None:
        if self._writing_paused and not self.lost:
            self._writing_paused = False
            self._protocol.resume_writing()

    def lose(self, error: Exception | None) -> None:
        """The connection is over for this end."""
        if self.lost:
            return
        self.lost = True
        self._coming.clear()
        if self._protocol is not None:
            self._protocol.connection_lost(error)


class SimListener:
    """`dc.ports.Listener`."""

    def __init__(self, fabric: Fabric, host: str, server: Callable[[], asyncio.Protocol]) -> None:
        self._fabric = fabric
        self._host = host
        self.server = server
        self.context = copy_context()

    @property
    def port(self) -> int:
        return PORT

    async def close(self) -> None:
        if self._fabric.listeners.get(self._host) is self:
            del self._fabric.listeners[self._host]


class Ordered(dict[Any, None]):
    """As much of a set as aiohttp's connector needs, in the order of arrival."""

    add = dict.setdefault
    remove = dict.__delitem__

    def discard(self, item: Any) -> None:
        self.pop(item, None)


class SimConnector(aiohttp.BaseConnector):
    """aiohttp's pool of connections over the fabric."""

    def __init__(
        self, fabric: Fabric, host: str, opened: Callable[[ResponseHandler], None]
    ) -> None:
        super().__init__(limit=0)
        self._fabric = fabric
        self._opened = opened
        self._host = host
        fabric.connectors.append(self)
        self._acquired = Ordered()  # type: ignore[assignment]

    async def _create_connection(
        self, req: ClientRequest, traces: list[Any], timeout: ClientTimeout
    ) -> ResponseHandler:
        target = str(req.url.host).removesuffix(".test")
        try:
            async with ceil_timeout(timeout.sock_connect, ceil_threshold=timeout.ceil_threshold):
                protocol = await self._fabric.connect(self._host, target, self._factory)
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise
            raise aiohttp.ClientConnectorError(req.connection_key, error) from error
        assert isinstance(protocol, ResponseHandler)
        self._opened(protocol)
        return protocol


class SimNetwork:
    """`dc.ports.Network` for one process."""

    def __init__(self, fabric: Fabric, host: str) -> None:
        self._fabric = fabric
        self._host = host

    async def listen(
        self, server: Callable[[], asyncio.Protocol], host: str, port: int, tls: object
    ) -> Listener:
        node = NODE.get()
        assert isinstance(node, Node)
        listener = SimListener(self._fabric, self._host, server)
        self._fabric.listeners[self._host] = listener
        return listener

    def connector(self, opened: Callable[[ResponseHandler], None]) -> aiohttp.BaseConnector:
        return SimConnector(self._fabric, self._host, opened)

    def narrow(self, transport: asyncio.BaseTransport, size: int) -> None:
        """Its pipes hold little."""
