"""A connection that is metered: it stands between a transport and its protocol, and is each to the
other.

What the protocol writes goes to the transport as the limit lets it (`dc/metering.py`), and so does
what the transport received to the protocol. Both are told to wait as they would be without it: the
protocol when more than 64 KiB of what it wrote wait, the transport as long as anything waits that
came. A connection that was accepted is nobody's until it is known who calls; what went over it
until then is counted to that peer when it joins.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from dc.metering import Flow, Meter
from dc.ports import Buffer

HIGH_BYTES: Final = 64 << 10
LOW_BYTES: Final = 16 << 10
CALLER_HANDSHAKE_BYTES: Final = 600
"""What who calls sends until TLS stands; and what the other one does. Measured with certificates as
`tokens/certificate.py` makes them."""
CALLED_HANDSHAKE_BYTES: Final = 1_300


class Metered(asyncio.Transport, asyncio.Protocol):
    """`protocol` is who uses the connection."""

    def __init__(self, protocol: asyncio.Protocol, *, called: bool) -> None:
        """`called`: the other end has opened it."""
        super().__init__()
        self._protocol = protocol
        self._called = called
        self.transport: asyncio.Transport
        self._meter: Meter | None = None
        self._out = Flow(self._send, self.abort)
        self._into = Flow(self._hand_on, self.abort)
        self._raw_is_full = False
        self._writing_paused = False
        self._held = False
        """The protocol does not want to be given anything."""
        self._raw_held = False
        self._closing = False

    def join(self, meter: Meter) -> None:
        """From now on it is one of the connections with a peer."""
        if self._meter is meter:
            return
        first = self._meter is None
        self.leave()
        self._meter = meter
        meter.add(self)
        sent, received = CALLER_HANDSHAKE_BYTES, CALLED_HANDSHAKE_BYTES
        if self._called:
            sent, received = received, sent
        for flow, lane, handshake in (
            (self._out, meter.out, sent),
            (self._into, meter.into, received),
        ):
            flow.lane = lane
            if first:
                lane.charge(flow.passed + handshake)

    def leave(self) -> None:
        if self._meter is not None:
            self._meter.connections.pop(self, None)

    def carries(self, bulk: bool) -> None:
        """What is sent from now on is a large body, or it is not."""
        self._out.bulk = bulk

    # -- to the protocol it is a transport ------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing or self.transport.is_closing()

    def close(self) -> None:
        """When all that was written has gone."""
        self._closing = True
        if not self._out.size:
            self._close()
        elif not self._called:
            # A request that was given up: under a limit it would go on for long.
            self.abort()

    def _close(self) -> None:
        """TLS reads the other end's goodbye, or it would wait for it for ever."""
        if self._raw_held and not self.transport.is_closing():
            self._raw_held = False
            self.transport.resume_reading()
        self.transport.close()

    def abort(self) -> None:
        self._closing = True
        self._out.clear()
        self._into.clear()
        self.transport.abort()

    def write(self, data: Buffer) -> None:
        if data:
            self._out.offer(data)
            if self._out.size:
                self._tell_writer()

    def writelines(self, list_of_data: Iterable[Buffer]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._out.size + self.transport.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.transport.set_write_buffer_limits(high, low)

    def is_reading(self) -> bool:
        return not self._held

    def pause_reading(self) -> None:
        self._held = True
        self._into.block(True)
        self._hold_raw()

    def resume_reading(self) -> None:
        self._held = False
        self._into.block(False)
        self._hold_raw()

    # -- to the transport it is a protocol ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._protocol.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self._into.offer(data)
        if self._into.size:
            self._hold_raw()

    def eof_received(self) -> bool | None:
        self._into.flush()
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._out.clear()
        self._into.flush()
        self.leave()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._raw_is_full = True
        self._out.block(True)
        self._tell_writer()

    def resume_writing(self) -> None:
        self._raw_is_full = False
        self._out.block(False)
        self._tell_writer()

    # -- inside ---------------------------------------------------------------------------------

    def take_over(self, transport: asyncio.Transport) -> None:
        """Stand between a transport and its protocol that are connected already."""
        self.transport = transport
        transport.set_protocol(self)

    def _send(self, data: Buffer) -> None:
        self.transport.write(data)
        if self._out.size or self._writing_paused:
            self._tell_writer()
        if self._closing and not self._out.size:
            self._close()

    def _tell_writer(self) -> None:
        waiting = self._out.size
        if self._raw_is_full or waiting > HIGH_BYTES:
            if not self._writing_paused:
                self._writing_paused = True
                self._protocol.pause_writing()
        elif self._writing_paused and waiting <= LOW_BYTES:
            self._writing_paused = False
            self._protocol.resume_writing()

    def _hand_on(self, data: Buffer) -> None:
        self._protocol.data_received(data if isinstance(data, bytes) else bytes(data))
        if self._raw_held:
            self._hold_raw()

    def _hold_raw(self) -> None:
        # Not as soon as the protocol wants nothing: asyncio's TLS tells of no end while it is not
        # read, and takes what is written to whoever has gone.
        hold = self._into.size > 0 and not self._closing
        if hold == self._raw_held:
            return
        self._raw_held = hold
        if hold:
            self.transport.pause_reading()
        elif not self.transport.is_closing():
            self.transport.resume_reading()


def metered(meter: Meter) -> Callable[[ResponseHandler], None]:
    """For `Network.connector`: its connections are of that meter."""

    def opened(protocol: ResponseHandler) -> None:
        if protocol.transport is None:
            raise aiohttp.ClientConnectionError("the connection was closed at once")
        connection = Metered(protocol, called=False)
        connection.take_over(protocol.transport)
        connection.join(meter)
        protocol.transport = connection

    return opened


def accepting(server: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
    """A server's factory of protocols, over connections that can join a meter."""
    return lambda: Metered(server(), called=True)


def join(transport: asyncio.BaseTransport | None, meter: Meter) -> None:
    """An accepted connection is one with this peer; what is sent next is no large body."""
    if isinstance(transport, Metered):
        transport.join(meter)
        transport.carries(False)


def carries_bulk(transport: asyncio.BaseTransport | None) -> None:
    """What is sent next over an accepted connection is a large body."""
    if isinstance(transport, Metered):
        transport.carries(True)
