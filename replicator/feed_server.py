"""The peer listener: what paired DCs may ask of this one.

    GET  /v2/feed    the stream of changes from a cursor on, kept open (`replicator/feed_stream.py`)
    GET  /v2/body    a range of the bytes of one version, followed by the range's CRC-64/NVME
    GET  /v2/entry   one record of the feed again
    POST /v2/ack     how far the caller has taken our feed
    GET  /v2/state   epoch and end of our feed, our root, and what the caller lacks
    POST /v2/...     what a comparison asks (`replicator/compare_wire.py`)
    POST /v2/pair    become a peer, by a pairing token (`replicator/pairing.py`)
    POST /v2/preview be allowed to compare, by the same (`replicator/preview.py`)

Every request but the last two must carry an access token of a DC that is a peer *now*; this is
decided before anything else is looked at, and who is not let in gets the same 403 whatever he
asked. A DC that has shown a pairing token may be a guest for some minutes, and ask what only reads
trees. What a machine asks that becomes a node of this DC (`admin/fleet.py`) comes in here, too, by
a token. When a peer is removed its open streams end at once. There is no other door: nothing here
takes an address to connect to, or a change; `pull` fetches from the caller where it is known to be.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from awscrt.checksums import crc64nvme

from dc.names.api import NamesClosed
from dc.names.model import Kind, Peer
from dc.objects.api import ObjectsError
from dc.placement import is_elsewhere
from dc.worker import spawn
from replicator import messages, wire
from replicator.compare_server import GUEST_ROUTES, CompareServer
from replicator.errors import WireError, printable
from replicator.feed_stream import FeedStream
from replicator.guests import Guests
from replicator.home import Home
from replicator.limits import (
    COMPARE_REQUEST_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_SECONDS_MAX,
    STREAMS_PER_PEER_MAX,
)
from replicator.marks import Marks
from replicator.outbound import Outbound
from replicator.placing import goes_to, withheld
from replicator.records import outgoing
from tokens.access import AccessVerifier
from tokens.errors import AccessDenied

log = structlog.get_logger("peer listener")
T = TypeVar("T")

CRC_BYTES = 8
_PREFIX = f"/{wire.PROTOCOL}/"
_BEARER = "Bearer "

Pair = Callable[[bytes], Awaitable[messages.PairReply | None]]
Heard = Callable[[str], None]
Handler = Callable[[web.BaseRequest, Peer], Awaitable[web.StreamResponse]]


class PeerServer:
    """Answers the peer listener's requests. `pair` and `preview` take the body of such a call and
    give None for who is not let in; `heard` is told of each DC that opens a stream."""

    def __init__(self, home: Home, pair: Pair, preview: Pair, heard: Heard) -> None:
        self._home = home
        self._doors = {_PREFIX + "pair": pair, _PREFIX + "preview": preview}
        self.guests = Guests(home.clock)
        self._heard = heard
        self._verifier = AccessVerifier(home.dc_id)
        self._closing = False
        self._streams: dict[str, list[asyncio.Task[None]]] = {}
        self._outbound: dict[str, Outbound] = {}
        self.marks = Marks(home.names, home.dc_id, self.outbound)
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "feed"): self._feed,
            ("GET", "body"): self._body,
            ("GET", "entry"): self._entry,
            ("POST", "ack"): self._ack,
            ("GET", "state"): self._state,
        }

    def serve(self, comparisons: CompareServer) -> None:
        """Answer what comparisons ask, too."""
        for name, answer in comparisons.routes.items():
            self._routes["POST", name] = _reading(answer)

    def open_door(self, name: str, answer: Pair) -> None:
        """Answer POST /v2/`name` of anybody: what it takes is in the body."""
        self._doors[_PREFIX + name] = answer

    def outbound(self, dc_id: str) -> Outbound:
        """What is known of a peer's progress."""
        if dc_id not in self._outbound:
            self._outbound[dc_id] = Outbound(self._home.names.knowledge, dc_id)
        return self._outbound[dc_id]

    async def drop(self, dc_id: str) -> None:
        """End the streams of a DC that is no peer any more."""
        self._outbound.pop(dc_id, None)
        self.guests.drop(dc_id)
        await self._end(self._streams.pop(dc_id, []))

    async def close(self) -> None:
        """End all streams and begin nothing new: calls still come on connections that are open."""
        self._closing = True
        streams, self._streams = self._streams, {}
        for tasks in streams.values():
            await self._end(tasks)

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- requests -------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._closing:
            stopping = web.Response(status=503)
            stopping.force_close()
            return stopping
        try:
            if request.method == "POST" and request.path in self._doors:
                return await self._pair_call(request, self._doors[request.path])
            peer = self._caller(request)
            name = request.path.removeprefix(_PREFIX)
            if peer is None or not self._may(peer, request.method, name):
                return web.Response(status=403)
            handler = self._routes.get((request.method, name))
            if handler is None or not request.path.startswith(_PREFIX):
                return web.Response(status=404)
            return await handler(request, peer)
        except (WireError, TimeoutError) as error:
            log.warning("bad request of a peer", path=printable(request.path), error=str(error))
            return web.Response(status=400)
        except ConnectionError:
            # The peer is gone, or an answer that was begun cannot be finished: end it visibly.
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        except (NamesClosed, ObjectsError) as error:
            log.warning("a peer's request failed", path=request.path, error=str(error))
            return web.Response(status=503)

    def _caller(self, request: web.BaseRequest) -> Peer | None:
        """The peer whose access token came with the request."""
        headers = request.headers.getall("Authorization", [])
        if len(headers) != 1 or not headers[0].startswith(_BEARER):
            return None
        try:
            dc_id = self._verifier.verify(
                headers[0].removeprefix(_BEARER), self._key_of, self._home.now_seconds()
            )
        except AccessDenied as error:
            log.info("a caller was refused", reason=error.reason, remote=request.remote)
            return None
        return self._known(dc_id)

    def _known(self, dc_id: str) -> Peer | None:
        return self._home.peer(dc_id) or self.guests.peer(dc_id)

    def _key_of(self, dc_id: str) -> bytes | None:
        peer = self._known(dc_id)
        return peer.signing_key if peer else None

    def _may(self, caller: Peer, method: str, name: str) -> bool:
        """Peers may ask anything; guests what reads trees."""
        if self._home.peer(caller.dc_id) is not None:
            return True
        return method == "POST" and name in GUEST_ROUTES

    async def _pair_call(self, request: web.BaseRequest, pair: Pair) -> web.StreamResponse:
        try:
            reply = await pair(await _read(request))
        except (WireError, TimeoutError):
            reply = None
        if reply is None:
            return web.Response(status=403)
        return web.Response(status=200 if reply.answer else 409, body=messages.encode_body(reply))

    # -- the feed -------------------------------------------------------------------------------

    async def _feed(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        ask = _ask(request, messages.FeedAsk)
        names = self._home.names
        knowledge = names.knowledge
        known = knowledge.recognises(ask.epoch, ask.after, names.feed_end)
        outbound = self.outbound(peer.dc_id)
        after = ask.after if known else 0
        stream = FeedStream(
            self._home,
            peer,
            after,
            frozenset(ask.direct),
            outbound,
            their_epoch=request.headers.get(messages.EPOCH, ""),
            give_back_until=0 if known and not ask.own else names.feed_end,
        )
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        response.force_close()
        await response.prepare(request)
        if self._closing or self._home.peer(peer.dc_id) is None:
            # It was removed while the answer began: nobody would end this stream.
            return response
        open_streams = self._streams.setdefault(peer.dc_id, [])
        if len(open_streams) >= STREAMS_PER_PEER_MAX:
            open_streams[0].cancel()
        task = spawn(self._run(stream, response), f"feed to {peer.name}")
        open_streams.append(task)
        outbound.opened(stream, after, known)
        self.marks.changed()
        self._heard(peer.dc_id)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
            outbound.streams -= 1
            if task in open_streams:
                open_streams.remove(task)
        return response

    async def _run(self, stream: FeedStream, response: web.StreamResponse) -> None:
        """One stream until it breaks; the consumer comes again by itself."""
        try:
            await stream.run(response.write)
        except (ConnectionError, TimeoutError) as error:
            log.info("a feed stream ended", error=f"{type(error).__name__}: {error}")
        except NamesClosed:
            log.info("a feed stream ended: this DC is stopping")

    async def _entry(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        """The record at one position; 404 when its item has changed since."""
        ask = _ask(request, messages.EntryAsk)
        names = self._home.names
        end = names.feed_end
        if not names.knowledge.recognises(ask.epoch, ask.seq, end) or ask.seq < 1:
            return _superseded(names.epoch, end)
        entries, _, _ = await names.feed(ask.seq - 1, 1)
        if not entries or entries[0].seq != ask.seq:
            return _superseded(names.epoch, names.feed_end)
        change = entries[0].change
        body = withheld(self._home, peer.name, change)
        record = outgoing(ask.seq, change, body, self._home.sealer, peer.sealing_key)
        return web.Response(body=wire.encode_record(record))

    async def _ack(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        ack = messages.decode_body(await _read(request), messages.Ack)
        names = self._home.names
        if self._home.peer(peer.dc_id) is None:
            # It was removed while the request came in: nothing is remembered of it any more.
            return web.Response(status=403)
        furthest = max(ack.position, ack.taken)
        if names.knowledge.recognises(ack.epoch, furthest, names.feed_end):
            self.outbound(peer.dc_id).acknowledged(ack)
            self.marks.changed()
        return web.Response(status=204)

    async def _state(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        names = self._home.names
        outbound = self.outbound(peer.dc_id)
        lacking, (to_come, looked) = outbound.lacking, self._home.to_come()
        state = messages.State(
            dc_id=self._home.dc_id,
            epoch=names.epoch,
            end=names.feed_end,
            streaming=outbound.streams > 0,
            root=self._home.root(),
            to_come=to_come,
            looked=looked,
            lacks=None
            if lacking is None
            else messages.Lacks(
                changes=lacking.changes,
                bytes=lacking.bytes,
                oldest_ms=lacking.oldest_ms,
                at_least=not lacking.complete,
            ),
        )
        return web.Response(body=messages.encode_body(state))

    # -- bodies ---------------------------------------------------------------------------------

    async def _body(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        """The range and its CRC; 404 when there is no such version (any more), 409 when this DC
        has an older one only, or not its bytes, or may not give them to the peer."""
        ask = _ask(request, messages.BodyAsk)
        names = self._home.names
        version = await names.version(ask.bucket, ask.key, ask.vid)
        if version is None or version.stamp != ask.stamp:
            conflict = await names.conflict(ask.bucket, ask.key, ask.stamp)
            if conflict is not None and not conflict.gone:
                version = conflict.loser
        if version is None or version.stamp > ask.stamp or version.kind != Kind.OBJECT:
            return _superseded(names.epoch, names.feed_end)
        if version.stamp < ask.stamp or is_elsewhere(version.extents):
            return web.Response(status=409)
        if not goes_to(self._home, peer.name, version):
            return web.Response(status=409)
        if not ask.start < ask.stop <= version.size:
            raise WireError(f"the range {ask.start}-{ask.stop} of {version.size} bytes")
        pieces = self._home.objects.read(version.extents, ask.start, ask.stop)
        first = await anext(pieces)
        length = ask.stop - ask.start
        response = web.StreamResponse(headers={"Content-Length": str(length + CRC_BYTES)})
        await response.prepare(request)
        crc = crc64nvme(first)
        outbound = self.outbound(peer.dc_id)
        try:
            await response.write(first)
            async for piece in pieces:
                crc = crc64nvme(piece, crc)
                await response.write(piece)
        except ObjectsError as error:
            # The status is sent already; a body that ends early says it as well.
            log.warning("a body could not be read to its end", error=str(error))
            response.force_close()
            raise ConnectionResetError("body cut short") from error
        await response.write(crc.to_bytes(CRC_BYTES, "big"))
        outbound.bytes += length
        return response


def _superseded(epoch: str, end: int) -> web.Response:
    """There is a later state, by a position up to `end` of this epoch's feed."""
    return web.Response(status=404, headers={messages.EPOCH: epoch, messages.FEED_END: str(end)})


def _ask(request: web.BaseRequest, shape: type[T]) -> T:
    texts = request.query.getall("ask", [])
    if len(texts) != 1:
        raise WireError("one `ask` is needed")
    return messages.decode_ask(texts[0], shape)


def _reading(answer: Callable[[bytes, Peer], Awaitable[web.StreamResponse]]) -> Handler:
    """A handler that reads the request's body first."""

    async def handle(request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        return await answer(await _read(request, COMPARE_REQUEST_BYTES_MAX), peer)

    return handle


async def _read(request: web.BaseRequest, limit: int = REQUEST_BODY_BYTES_MAX) -> bytes:
    """The body of a request, of bounded length and in bounded time."""
    data = bytearray()
    try:
        async with asyncio.timeout(REQUEST_SECONDS_MAX):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > limit:
                    raise WireError("a request's body is too long")
    except RequestPayloadError:
        raise WireError("a request's body is not well-formed") from None
    return bytes(data)
