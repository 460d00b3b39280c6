"""Calls to one peer: pinned TLS, a fresh access token, one of its endpoints.

The peer's certificate is recognised by its SHA-256 fingerprint and by nothing else; the connection
ends before the first byte of a request when it is another. Of several endpoints the one that works
is kept (`replicator/endpoints.py`); a stream that stalls, or breaks at once, is a failure, too, for
some proxies answer well and forward nothing. Redirects are not followed, nothing is decompressed,
no proxy or cookie is used, and every answer is read up to a limit.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

import aiohttp
import structlog
from yarl import URL

from dc.metered import metered
from dc.names.model import Peer
from replicator import messages, wire
from replicator.endpoints import Endpoints
from replicator.errors import (
    BodyUnavailable,
    Paused,
    Refused,
    Stuck,
    Unreachable,
    WireError,
    printable,
)
from replicator.home import Home
from replicator.limits import (
    ANSWER_BYTES_MAX,
    ANSWER_SECONDS_MAX,
    COMPARE_ANSWER_BYTES_MAX,
    COMPARE_ITEMS_ASKED_MAX,
    CONNECT_SECONDS_MAX,
    CONNECT_SECONDS_OF_SEVERAL,
    READ_BUFFER_BYTES,
    REQUEST_HEAD_BYTES,
    REQUEST_SECONDS_MAX,
    SHORT_BODY_BYTES_MAX,
    SILENCE_SECONDS_MAX,
    WORKED_SECONDS,
)
from replicator.pace import Pace
from tokens.access import AccessTokens

log = structlog.get_logger("replicator")
T = TypeVar("T")
Ask = messages.FeedAsk | messages.BodyAsk | messages.EntryAsk | messages.StateAsk


class _Call(NamedTuple):
    """A request, whichever endpoint gets it."""

    method: str
    name: str
    timeout: aiohttp.ClientTimeout
    ask: Ask | None = None
    body: bytes | None = None
    authorized: bool = True
    headers: Mapping[str, str] = {}


class PeerClient:
    """A client session to one peer; make it and close it in the event loop."""

    def __init__(self, home: Home, peer: Peer, pace: Pace | None = None) -> None:
        """`pace`: of a peer. Who is none yet has no limits."""
        self._home = home
        self._peer = peer
        self._endpoints = Endpoints(peer.endpoints)
        self.several = self._endpoints.several
        """Whether there is more than one endpoint."""
        self.feed_endpoint = ""
        """At which the feed is open; empty when it is not."""
        self._under_way: dict[aiohttp.ClientResponse, str] = {}
        """Answers that are being read, and from which endpoint."""
        self.records_at_once = COMPARE_ITEMS_ASKED_MAX
        """Items whose records are asked for at once (`replicator/compare_client.py`)."""
        self._asked: dict[asyncio.Timeout, str] = {}
        """Requests whose answer has not begun, and at which endpoint."""
        self._pace = pace or Pace(home, peer.dc_id)
        self._tokens = AccessTokens(
            home.identity,
            peer.dc_id,
            home.clock.monotonic,
            home.now_seconds,
            home.randomness.token,
        )
        self.feed_epoch = ""
        """Of the feed that is taken."""
        self.superseded_until = 0
        """A state later than one that was asked for comes by a position up to this one."""
        self._pin = aiohttp.Fingerprint(bytes.fromhex(peer.fingerprint))
        self._session = aiohttp.ClientSession(
            connector=home.network.connector(metered(self._pace.meter)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=READ_BUFFER_BYTES,
            headers={"User-Agent": "farshore", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()

    @property
    def endpoint(self) -> str:
        """The one that the stream is open at, else the one that answered last."""
        return self.feed_endpoint or self._endpoints.current

    @asynccontextmanager
    async def feed(
        self, ask: messages.FeedAsk, every_seconds: int = 0
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The feed stream. With `every_seconds` it ends when all was sent, and is to be asked for
        again after them."""
        timeout = self._timeout(None, SILENCE_SECONDS_MAX)
        headers = {messages.EPOCH: self._home.names.epoch, messages.PACKING: messages.ZSTD}
        if every_seconds:
            headers[messages.DRAW] = str(every_seconds)
        response = await self._open(_Call("GET", "feed", timeout, ask=ask, headers=headers))
        endpoint, began = self._endpoints.current, self._home.clock.monotonic()
        self.feed_endpoint = endpoint
        try:
            _expect(response, 200)
            yield response.content
        except (Stuck, TimeoutError):
            self._endpoints.failed(endpoint)
            raise
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError):
            if self._home.clock.monotonic() - began < WORKED_SECONDS:
                self._endpoints.failed(endpoint)
            raise
        finally:
            self.feed_endpoint = ""
            self._drop(response)

    async def first_is_back(self) -> bool:
        """Whether another endpoint than the preferred one is in use, of an idle link too, and that
        one answers; it is the next to be used then."""
        first, began = self._endpoints.first, self._endpoints.failures
        if self.endpoint == first or not await self.answers(first, REQUEST_SECONDS_MAX):
            return False
        self._endpoints.worked(first, began)
        return self._endpoints.current == first

    async def answers(self, endpoint: str, seconds: float) -> bool:
        """Whether this endpoint answers in time, which a limit makes longer."""
        seconds += self._pace.patience(REQUEST_HEAD_BYTES)
        try:
            async with asyncio.timeout(seconds):
                response = await self._request(
                    endpoint, _Call("GET", "state", self._timeout(seconds))
                )
                try:
                    if response.status == 200:
                        await _read(response)
                    return response.status == 200
                finally:
                    self._drop(response)
        except aiohttp.ServerFingerprintMismatch:
            log.warning("an endpoint is another one's", peer=self._peer.name, endpoint=endpoint)
            return False
        except (aiohttp.ClientError, OSError, TimeoutError, WireError):
            return False

    def give_up(self, endpoint: str) -> None:
        """It is dead: end all that is under way over it, and what has no answer yet."""
        self._endpoints.failed(endpoint)
        for response in [one for one, by in self._under_way.items() if by == endpoint]:
            connection = response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
        for bound in [one for one, by in self._asked.items() if by == endpoint]:
            if not bound.expired():
                bound.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def body(self, ask: messages.BodyAsk) -> AsyncIterator[aiohttp.StreamReader | None]:
        """The bytes of a range and the range's CRC, 8 bytes; None when it was superseded."""
        timeout = self._timeout(None, SILENCE_SECONDS_MAX)
        response = await self._open(_Call("GET", "body", timeout, ask))
        endpoint = self._endpoints.current
        try:
            if response.status == 404:
                self._superseded(response)
                yield None
                return
            if response.status in (409, 503):
                raise BodyUnavailable(f"the peer cannot read its bytes now ({response.status})")
            _expect_range(response, ask)
            yield response.content
        except TimeoutError:
            self._endpoints.failed(endpoint)
            raise
        finally:
            self._drop(response)

    @asynccontextmanager
    async def read(self, ask: messages.BodyAsk) -> AsyncIterator[aiohttp.StreamReader]:
        """The same to be passed on, not stored. BodyUnavailable when the peer has not just this
        version, or does not give it."""
        timeout = self._timeout(None, SILENCE_SECONDS_MAX)
        response = await self._open(_Call("GET", "read", timeout, ask))
        try:
            if response.status in (404, 409):
                raise BodyUnavailable(f"the peer does not give the bytes ({response.status})")
            _expect_range(response, ask)
            yield response.content
        finally:
            self._drop(response)

    async def entry(self, ask: messages.EntryAsk) -> wire.Record | None:
        """A record of the peer's feed; None when it changed since."""
        status, data = await self._exchange("GET", "entry", ask=ask)
        return None if status == 404 else wire.decode_record(data)

    async def ack(self, ack: messages.Ack) -> None:
        headers = {messages.EPOCH: self._home.names.epoch}
        await self._exchange("POST", "ack", body=messages.encode_body(ack), headers=headers)

    async def state(self, bucket: str = "") -> messages.State:
        """`bucket`: by id, of which bodies that are to come count."""
        ask = messages.StateAsk(bucket) if bucket else None
        _, data = await self._exchange("GET", "state", ask)
        return messages.decode_body(data, messages.State)

    async def pair(self, call: messages.PairCall) -> messages.PairReply | None:
        """None when the peer refuses without a reason."""
        status, data = await self._exchange(
            "POST", "pair", body=messages.encode_body(call), authorized=False
        )
        return None if status == 403 else messages.decode_body(data, messages.PairReply)

    async def preview(self, call: messages.PairCall) -> messages.PairReply | None:
        """The same, to compare before the pairing."""
        status, data = await self._exchange(
            "POST", "preview", body=messages.encode_body(call), authorized=False
        )
        return None if status == 403 else messages.decode_body(data, messages.PairReply)

    async def call(self, name: str, body: bytes) -> bytes:
        """The answer to a request of a comparison (`replicator/compare_wire.py`)."""
        timeout = self._timeout_of(len(body) + COMPARE_ANSWER_BYTES_MAX)
        response = await self._open(_Call("POST", name, timeout, body=body))
        try:
            _expect(response, 200)
            return await _read(response, COMPARE_ANSWER_BYTES_MAX)
        finally:
            self._drop(response)

    def _superseded(self, response: aiohttp.ClientResponse) -> None:
        """The peer has not what its feed told of: it has a later state, and its feed tells of that.
        BodyUnavailable when it is a process with another feed that answers, while the stream of a
        dead one seems open: it may have forgotten, and tells what it has by its feed."""
        if response.headers.get(messages.EPOCH) != self.feed_epoch:
            raise BodyUnavailable("the peer was started anew, and its feed is not open yet")
        text = response.headers.get(messages.FEED_END, "0")
        if text.isascii() and text.isdigit() and len(text) < 20:
            self.superseded_until = max(self.superseded_until, int(text))

    # -- inside ---------------------------------------------------------------------------------

    async def _exchange(
        self,
        method: str,
        name: str,
        ask: Ask | None = None,
        body: bytes | None = None,
        authorized: bool = True,
        headers: Mapping[str, str] = {},
    ) -> tuple[int, bytes]:
        """Status and body of a short answer."""
        timeout = self._timeout_of(len(body or b"") + ANSWER_BYTES_MAX)
        response = await self._open(_Call(method, name, timeout, ask, body, authorized, headers))
        try:
            if not authorized:
                _expect(response, 200, 403, 409)
            else:
                _expect(response, 200, 204, 404)
                if response.status == 404:
                    self._superseded(response)
            return response.status, await _read(response)
        finally:
            self._drop(response)

    async def _open(self, call: _Call) -> aiohttp.ClientResponse:
        """The response's head from the first endpoint that answers."""
        failures = []
        peer = self._home.peer(self._peer.dc_id)
        if call.authorized and peer is not None and peer.terms.paused_ms:
            raise Unreachable("all dealings with it are paused here")
        if self._session.closed:
            raise Unreachable("it has just been removed here")
        began = self._endpoints.failures
        for endpoint in self._endpoints.in_order():
            try:
                response = await self._request(endpoint, call)
            except aiohttp.ServerFingerprintMismatch:
                failures.append(f"{endpoint}: its certificate is not the one of the pairing")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failures.append(f"{endpoint}: {printable(error) or type(error).__name__}")
            else:
                self._endpoints.worked(endpoint, began)
                self._unless_paused(response)
                self._under_way[response] = endpoint
                return response
            self._endpoints.failed(endpoint)
        raise Unreachable("; ".join(failures))

    async def _request(self, endpoint: str, call: _Call) -> aiohttp.ClientResponse:
        """The response's head from one endpoint."""
        headers = dict(call.headers)
        if call.authorized:
            headers["Authorization"] = f"Bearer {self._tokens.current()}"
            headers[messages.RATES] = self._pace.header()
        size = len(call.body or b"")
        query = f"?ask={messages.encode_ask(call.ask)}" if call.ask is not None else ""
        url = URL(f"https://{endpoint}/{wire.PROTOCOL}/{call.name}{query}", encoded=True)
        is_short = size <= SHORT_BODY_BYTES_MAX and self._endpoints.several
        seconds = ANSWER_SECONDS_MAX if is_short else REQUEST_SECONDS_MAX
        seconds += self._pace.patience(size + REQUEST_HEAD_BYTES)
        async with asyncio.timeout(seconds) as bound:
            self._asked[bound] = endpoint
            try:
                return await self._session.request(
                    call.method,
                    url,
                    data=call.body,
                    headers=headers,
                    ssl=self._pin,
                    timeout=call.timeout,
                    allow_redirects=False,
                )
            finally:
                del self._asked[bound]

    def _timeout(self, total: float | None, silence: float | None = None) -> aiohttp.ClientTimeout:
        """Of seconds; where another endpoint may be tried, one that does not connect is not waited
        for as long."""
        connect = CONNECT_SECONDS_OF_SEVERAL if self._endpoints.several else CONNECT_SECONDS_MAX
        return aiohttp.ClientTimeout(total=total, sock_connect=connect, sock_read=silence)

    def _timeout_of(self, size: int) -> aiohttp.ClientTimeout:
        """Of a request that has so many bytes at most, with its answer."""
        return self._timeout(REQUEST_SECONDS_MAX + self._pace.patience(size))

    def _unless_paused(self, response: aiohttp.ClientResponse) -> None:
        text = response.headers.get(messages.PAUSED)
        if response.status == 503 and text is not None:
            self._drop(response)
            since = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
            raise Paused(since)

    def _drop(self, response: aiohttp.ClientResponse) -> None:
        """Let go of an answer. One that was read to its end leaves a connection that can be used
        again. Any other is cut: TLS would wait for the peer's goodbye, for ever if reading it was
        paused when the peer went away."""
        self._under_way.pop(response, None)
        if response.content.at_eof():
            response.release()
            return
        connection = response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()
        response.close()


def _expect(response: aiohttp.ClientResponse, *statuses: int) -> None:
    if response.status in statuses:
        return
    if response.status == 403:
        raise Refused("it answers 403: it has removed this DC, or the clocks differ by a minute")
    if response.status == 503:
        raise BodyUnavailable("the peer cannot answer now (503)")
    raise WireError(f"the peer answers with status {response.status}")


def _expect_range(response: aiohttp.ClientResponse, ask: messages.BodyAsk) -> None:
    """The bytes that were asked for, and their CRC."""
    _expect(response, 200)
    expected = ask.stop - ask.start + 8
    if response.content_length != expected:
        raise WireError(f"a range of {response.content_length} bytes, not {expected}")


async def _read(response: aiohttp.ClientResponse, limit: int = ANSWER_BYTES_MAX) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise WireError("an answer of the peer is too long")
    return bytes(data)
