"""One client's connection: requests in, one after the other, answers out.

aiohttp parses (its C parser on llhttp), buffers bodies with backpressure, and tracks connections;
what it does around each request (a task, a request object, a response object with a dictionary of
headers, a writer) costs two thirds of a small GET. So `start`, the loop of a connection, is ours:
it calls the gateway in the connection's own task, with our own request, and answers leave in one
write. `start` relies on names that aiohttp does not document; its version is pinned, and the tests
of this file drive real sockets, keep-alive, pipelining and shutdown.

Clients that stop: headers that do not end, and idle connections, are closed after KEEPALIVE_S; a
body that does not come for BODY_IDLE_S gets RequestTimeout; an answer of which nothing is taken for
WRITE_IDLE_S is cut off.

The end of the server: connections that are idle are closed at once, others after the request that
is under way. (aiohttp would drop the rest of a body that is still coming in.)

A request may be refused before its body was read. What is left of the body must be read, or the
answer may be lost in a reset of the connection; but not more than DRAIN_BYTES_MAX, nor longer than
DRAIN_S. A client that waits for "100 Continue" and gets an answer instead will not send the body,
so nothing can follow on this connection, and it is closed; also when the body was to be empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import ClientConnectionResetError, StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from dc.ports import Buffer
from gateway.counts import Counts
from gateway.errors import S3Error
from gateway.limits import (
    BODY_IDLE_S,
    DRAIN_BYTES_MAX,
    DRAIN_S,
    FIELD_BYTES_MAX,
    HEADERS_MAX,
    KEEPALIVE_S,
    LINE_BYTES_MAX,
    READ_BUFFER_BYTES,
    WRITE_BUFFER_BYTES,
    WRITE_IDLE_S,
)
from gateway.reply import Reply, serialise
from gateway.request import Request

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOIN_BYTES_MAX = 64 << 10
_CUT_S = 0.1

Serve = Callable[[Request], Awaitable[None]]
Refuse = Callable[["Connection", BaseException], None]


class Connection(RequestHandler):
    """`send` and `stream` answer; `read` takes the body. All of it in the connection's task."""

    __slots__ = ("_ending", "_refuse", "_serve", "_write_left", "_write_timer")

    def __init__(
        self, server: Server, serve: Serve, refuse: Refuse, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEPALIVE_S,
            access_log=cast(Any, None),
            auto_decompress=False,
            read_bufsize=READ_BUFFER_BYTES,
            max_line_size=LINE_BYTES_MAX,
            max_field_size=FIELD_BYTES_MAX,
            max_headers=HEADERS_MAX,
        )
        self._serve = serve
        self._refuse = refuse
        self._ending = False
        self._write_timer: asyncio.TimerHandle | None = None
        self._write_left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        cast(asyncio.Transport, transport).set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    # -- the loop of a connection -------------------------------------------------------------

    async def start(self) -> None:
        """Serve requests until the connection ends."""
        try:
            while not self._force_close and not self._close:
                if not self._messages:
                    await self._arrival()
                    self._waiter = None
                message, payload = self._messages.popleft()
                late = not payload.is_eof()
                if self._parser is not None and not late:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                if not isinstance(message, RawRequestMessage):
                    self._refuse(self, message.exc)
                    break
                if not await self._serve_one(message, payload):
                    break
                if late:
                    self._consume_late()
                self._await_next()
        except ConnectionError:
            pass
        finally:
            if self.transport is not None:
                self.transport.close()

    def _consume_late(self) -> None:
        """Tell the parser of a request whose body ended while it was served. The parser counts a
        request when its body ends: told before, it would count it for ever, and stop at requests
        that were sent ahead. What it has held back meanwhile is parsed now."""
        if self._parser is not None:
            self._parser.message_consumed()
            if not self._buffer_paused:
                self.data_received(b"")

    def _arrival(self) -> asyncio.Future[None]:
        """Done when a message has come; cancelled when the connection ends."""
        self._waiter = waiter = self._loop.create_future()
        return waiter

    async def _serve_one(self, message: RawRequestMessage, payload: StreamReader) -> bool:
        """Whether another request may follow."""
        request = Request(message, payload, self)
        current: Any = request  # aiohttp only tells it of a lost connection
        self._request_in_progress = True
        self._current_request = current
        try:
            await self._serve(request)
            if self._paused:
                # Requests that were sent ahead wait until this answer is mostly taken.
                await self.drained()
            if not payload.is_eof():
                await self._drain_body(request)
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        return not request.close and not self._ending and self.transport is not None

    def _await_next(self) -> None:
        self._next_keepalive_close_time = self._loop.time() + KEEPALIVE_S
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )

    # -- the end ------------------------------------------------------------------------------

    def close(self) -> None:
        """End the connection after the request that is under way, whose body may still come."""
        self._ending = True
        if not self._request_in_progress:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Close, and wait until that is done; cut what takes longer than `timeout` seconds."""
        self.close()
        if self._request_in_progress:
            self._handler_waiter = self._loop.create_future()
            await asyncio.wait((self._handler_waiter,), timeout=timeout)
            self._handler_waiter = None
        await super().shutdown(_CUT_S)

    # -- bodies in ----------------------------------------------------------------------------

    def send_continue(self) -> None:
        """Tell a client that waits to send its body."""
        if self.transport is not None:
            self.transport.write(_CONTINUE)

    async def read(self, payload: StreamReader) -> bytes:
        """What there is of a body, at least one byte, or nothing at its end."""
        timer = self._loop.call_later(BODY_IDLE_S, _idle, payload)
        try:
            return await payload.readany()
        finally:
            timer.cancel()

    async def _drain_body(self, request: Request) -> None:
        """Read and forget what is left of a body, or give the connection up."""
        request.close = request.close or request.continue_due
        if request.continue_due:
            return
        left = DRAIN_BYTES_MAX
        timer = self._loop.call_later(DRAIN_S, _idle, request.payload)
        try:
            while left > 0 and not request.payload.at_eof():
                left -= len(await request.payload.readany())
        except Exception:
            left = 0
        finally:
            timer.cancel()
        request.close = request.close or left <= 0

    # -- answers out --------------------------------------------------------------------------

    def send(self, request: Request, reply: Reply) -> None:
        """Send a whole answer."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("The client has gone")
        if request.continue_due:
            request.close = True
        request.reply = reply
        head = serialise(request.common, reply, request.close, request.http10)
        body = reply.body
        if not body or request.method == "HEAD":
            transport.write(head)
            return
        self._count(len(body))
        if len(body) <= _JOIN_BYTES_MAX:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    async def write(self, data: Buffer) -> None:
        """Send a piece of a body that is streamed; waits while the client is behind."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("The client has gone")
        transport.write(data)
        self._count(len(data))
        if self._paused:
            await self.drained()

    def _count(self, size: int) -> None:
        """Bytes of a body were sent: in answer to the request itself, whatever stands for it."""
        request = cast(Request | None, self._current_request)
        if request is not None:
            request.sent += size

    async def drained(self) -> None:
        """Return when the client has taken most of what was sent to it."""
        if not self._paused:
            return
        self._watch_write()
        try:
            await self._drain_helper()
        finally:
            if self._write_timer is not None:
                self._write_timer.cancel()
                self._write_timer = None

    def _watch_write(self) -> None:
        if self.transport is not None:
            self._write_left = self.transport.get_write_buffer_size()
            self._write_timer = self._loop.call_later(WRITE_IDLE_S, self._check_write)

    def _check_write(self) -> None:
        self._write_timer = None
        if self.transport is not None and self.transport.get_write_buffer_size() < self._write_left:
            self._watch_write()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection, so that no answer that is not whole can look as if it were."""
        if self.transport is not None:
            self.transport.abort()


def _idle(payload: StreamReader) -> None:
    payload.set_exception(S3Error("RequestTimeout"))


class Server(web.Server):
    """Makes the connections; what to listen with."""

    def __init__(self, serve: Serve, refuse: Refuse, counts: Counts) -> None:
        super().__init__(_unused)
        self.counts = counts
        self._serve = serve
        self._refuse = refuse

    def __call__(self) -> RequestHandler:
        return Connection(self, self._serve, self._refuse, self._loop)


async def _unused(_request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("connections call the gateway themselves")
