"""Calls to one peer: pinned TLS, a fresh access token, one of its endpoints.

The peer's certificate is recognised by its SHA-256 fingerprint and by nothing else; the connection
ends before the first byte of a request when it is another. Endpoints are tried in their order, and
the one that answered is kept until it fails. Redirects are not followed, nothing is decompressed,
no proxy or cookie is used, and every answer is read up to a limit.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import aiohttp
from yarl import URL

from dc.names.model import Peer
from replicator import messages, wire
from replicator.errors import BodyUnavailable, Refused, Unreachable, WireError, printable
from replicator.home import Home
from replicator.limits import (
    ANSWER_BYTES_MAX,
    COMPARE_ANSWER_BYTES_MAX,
    CONNECT_SECONDS_MAX,
    READ_BUFFER_BYTES,
    REQUEST_SECONDS_MAX,
    SILENCE_SECONDS_MAX,
)
from tokens.access import AccessTokens

T = TypeVar("T")
Ask = messages.FeedAsk | messages.BodyAsk | messages.EntryAsk


class PeerClient:
    """A client session to one peer; make it and close it in the event loop."""

    def __init__(self, home: Home, peer: Peer) -> None:
        self._home = home
        self._peer = peer
        self._endpoint = 0
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
            connector=home.network.connector(),
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
        """The endpoint that answered last."""
        return self._peer.endpoints[self._endpoint]

    @asynccontextmanager
    async def feed(self, ask: messages.FeedAsk) -> AsyncIterator[aiohttp.StreamReader]:
        """The feed stream. Tries all endpoints from the first on."""
        self._endpoint = 0
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX
        )
        headers = {messages.EPOCH: self._home.names.epoch}
        response = await self._open("GET", "feed", timeout, ask=ask, headers=headers)
        try:
            _expect(response, 200)
            yield response.content
        finally:
            _drop(response)

    @asynccontextmanager
    async def body(self, ask: messages.BodyAsk) -> AsyncIterator[aiohttp.StreamReader | None]:
        """The bytes of a range and the range's CRC, 8 bytes; None when it was superseded."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS_MAX, sock_read=SILENCE_SECONDS_MAX
        )
        response = await self._open("GET", "body", timeout, ask=ask)
        try:
            if response.status == 404:
                self._superseded(response)
                yield None
                return
            if response.status in (409, 503):
                raise BodyUnavailable(f"the peer cannot read its bytes now ({response.status})")
            _expect(response, 200)
            expected = ask.stop - ask.start + 8
            if response.content_length != expected:
                raise WireError(f"a range of {response.content_length} bytes, not {expected}")
            yield response.content
        finally:
            _drop(response)

    async def entry(self, ask: messages.EntryAsk) -> wire.Record | None:
        """A record of the peer's feed; None when it changed since."""
        status, data = await self._exchange("GET", "entry", ask=ask)
        return None if status == 404 else wire.decode_record(data)

    async def ack(self, ack: messages.Ack) -> None:
        await self._exchange("POST", "ack", body=messages.encode_body(ack))

    async def state(self) -> messages.State:
        _, data = await self._exchange("GET", "state")
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
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX, sock_connect=CONNECT_SECONDS_MAX)
        response = await self._open("POST", name, timeout, body=body)
        try:
            _expect(response, 200)
            return await _read(response, COMPARE_ANSWER_BYTES_MAX)
        finally:
            _drop(response)

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
    ) -> tuple[int, bytes]:
        """Status and body of a short answer."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX, sock_connect=CONNECT_SECONDS_MAX)
        response = await self._open(method, name, timeout, ask, body, authorized)
        try:
            if not authorized:
                _expect(response, 200, 403, 409)
            else:
                _expect(response, 200, 204, 404)
                if response.status == 404:
                    self._superseded(response)
            return response.status, await _read(response)
        finally:
            _drop(response)

    async def _open(
        self,
        method: str,
        name: str,
        timeout: aiohttp.ClientTimeout,
        ask: Ask | None = None,
        body: bytes | None = None,
        authorized: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """The response's head from the first endpoint that answers, beginning with the last one
        that did."""
        failures = []
        headers = dict(headers or {})
        if authorized:
            headers["Authorization"] = f"Bearer {self._tokens.current()}"
        query = f"?ask={messages.encode_ask(ask)}" if ask is not None else ""
        for _ in self._peer.endpoints:
            url = URL(f"https://{self.endpoint}/{wire.PROTOCOL}/{name}{query}", encoded=True)
            try:
                async with asyncio.timeout(REQUEST_SECONDS_MAX):
                    return await self._session.request(
                        method,
                        url,
                        data=body,
                        headers=headers,
                        ssl=self._pin,
                        timeout=timeout,
                        allow_redirects=False,
                    )
            except aiohttp.ServerFingerprintMismatch:
                failures.append(f"{self.endpoint}: its certificate is not the one of the pairing")
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                failures.append(f"{self.endpoint}: {printable(error) or type(error).__name__}")
            self._endpoint = (self._endpoint + 1) % len(self._peer.endpoints)
        raise Unreachable("; ".join(failures))


def _expect(response: aiohttp.ClientResponse, *statuses: int) -> None:
    if response.status in statuses:
        return
    if response.status == 403:
        raise Refused("it answers 403: it has removed this DC, or the clocks differ by a minute")
    if response.status == 503:
        raise BodyUnavailable("the peer cannot answer now (503)")
    raise WireError(f"the peer answers with status {response.status}")


def _drop(response: aiohttp.ClientResponse) -> None:
    """Let go of an answer. One that was read to its end leaves a connection that can be used
    again. Any other is cut: TLS would wait for the peer's goodbye, for ever if reading it was
    paused when the peer went away."""
    if response.content.at_eof():
        response.release()
        return
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    response.close()


async def _read(response: aiohttp.ClientResponse, limit: int = ANSWER_BYTES_MAX) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise WireError("an answer of the peer is too long")
    return bytes(data)
