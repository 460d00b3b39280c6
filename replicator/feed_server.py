"""The peer listener: what paired DCs may ask of this one.

    GET  /v2/feed    the stream of changes from a cursor on, kept open (`replicator/feed_stream.py`)
                     or, by the header Farshore-Draw, ended when all was sent
    GET  /v2/body    a range of the bytes of one version, followed by the range's CRC-64/NVME
    GET  /v2/read    the same for a client that waits there (`replicator/reading_wire.py`)
    GET  /v2/entry   one record of the feed again
    POST /v2/ack     how far the caller has taken our feed
    GET  /v2/state   epoch and end of our feed, our root, and what the caller lacks
    POST /v2/...     what a comparison asks (`replicator/compare_wire.py`), and for such clients
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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError
from awscrt.checksums import crc64nvme

from dc.metered import carries_bulk, join
from dc.names.api import NamesClosed
from dc.names.model import Kind, Peer, Version
from dc.objects.api import ObjectsError
from dc.placement import is_elsewhere
from dc.ports import Buffer
from dc.read_through import reads_through
from dc.worker import spawn
from replicator import messages, wire
from replicator.absences import Absences
from replicator.calls import Calls
from replicator.compare_server import GUEST_ROUTES, CompareServer
from replicator.errors import WireError, printable
from replicator.feed_stream import FeedStream
from replicator.guests import Guests
from replicator.home import Home
from replicator.limits import (
    BODIES_PER_PEER_MAX,
    BODY_STALLED_SECONDS_MAX,
    BODY_UNSENT_BYTES,
    BODY_WRITE_BYTES,
    COMPARE_REQUEST_BYTES_MAX,
    DRAW_EVERY_SECONDS_MAX,
    INLINE_BYTES_MAX,
    REQUEST_BODY_BYTES_MAX,
    REQUEST_SECONDS_MAX,
    STREAMS_PER_PEER_MAX,
)
from replicator.marks import Marks
from replicator.outbound import Outbound
from replicator.pace import Pace
from replicator.placing import goes_to, withheld
from replicator.reading_server import ReadingServer
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
        self._paces: dict[str, Pace] = {}
        self.absences = Absences(home.names, home.clock, self.outbound)
        self.marks = Marks(home.names, home.dc_id, self.outbound)
        self._routes: dict[tuple[str, str], Handler] = {
            ("GET", "feed"): self._feed,
            ("GET", "body"): self._body,
            ("GET", "read"): self._body,
            ("GET", "entry"): self._entry,
            ("POST", "ack"): self._ack,
            ("GET", "state"): self._state,
        }

    def serve(self, asked: CompareServer | ReadingServer | Calls) -> None:
        """Answer what comparisons, clients of others, and other parts of other DCs ask, too."""
        for name, answer in asked.routes.items():
            self._routes["POST", name] = self._reading(answer)

    def open_door(self, name: str, answer: Pair) -> None:
        """Answer POST /v2/`name` of anybody: what it takes is in the body."""
        self._doors[_PREFIX + name] = answer

    def outbound(self, dc_id: str) -> Outbound:
        """What is known of a peer's progress."""
        if dc_id not in self._outbound:
            self._outbound[dc_id] = Outbound(self._home.names.knowledge, dc_id)
        return self._outbound[dc_id]

    def pace(self, dc_id: str) -> Pace:
        """How fast bytes may go between here and a peer."""
        if dc_id not in self._paces:
            self._paces[dc_id] = Pace(self._home, dc_id)
        return self._paces[dc_id]

    def lift(self) -> None:
        """No limits any more: what waits may go before the end."""
        for pace in self._paces.values():
            pace.meter.limit(0, 0)

    async def cut(self, dc_id: str) -> None:
        """End all connections with a peer."""
        await self._end(self._streams.pop(dc_id, []))
        self.pace(dc_id).meter.cut()

    async def drop(self, dc_id: str) -> None:
        """End the streams of a DC that is no peer any more."""
        pace = self._paces.pop(dc_id, None)
        self._outbound.pop(dc_id, None)
        self.guests.drop(dc_id)
        await self._end(self._streams.pop(dc_id, []))
        if pace is not None:
            pace.meter.cut()

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
            if peer.terms.paused_ms:
                return web.Response(
                    status=503, headers={messages.PAUSED: str(peer.terms.paused_ms)}
                )
            self._meet(request, peer)
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

    def _meet(self, request: web.BaseRequest, peer: Peer) -> None:
        """The connection is one with this peer, from now on; a guest has no limits."""
        if self._home.peer(peer.dc_id) is not None:
            pace = self.pace(peer.dc_id)
            pace.told(request.headers.get(messages.RATES))
            join(request.transport, pace.meter)

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
        await self.absences.meet()
        after = ask.after if known else 0
        every_seconds = _draws_every(request)
        their_epoch = request.headers.get(messages.EPOCH, "")
        stream = FeedStream(
            self._home,
            peer,
            after,
            frozenset(ask.direct),
            outbound,
            their_epoch=their_epoch,
            packed=request.headers.get(messages.PACKING) == messages.ZSTD,
            patience=self.pace(peer.dc_id).patience,
            give_back_until=0 if known and not ask.own else names.feed_end,
            ends=every_seconds > 0,
        )
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        if not every_seconds:
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
        outbound.opened(stream, after, known, their_epoch)
        try:
            await self.absences.opened(peer.dc_id, after, known)
            outbound.draws(every_seconds, self._home.clock)
            self.marks.changed()
            self._heard(peer.dc_id)
            await asyncio.wait([task])
        finally:
            task.cancel()
            outbound.closed(their_epoch)
            if not outbound.streams and not outbound.draw_seconds:
                self.absences.ended(peer.dc_id)
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
        patience = self.pace(peer.dc_id).patience(REQUEST_BODY_BYTES_MAX)
        ack = messages.decode_body(await _read(request, patience=patience), messages.Ack)
        names = self._home.names
        if self._home.peer(peer.dc_id) is None:
            # It was removed while the request came in: nothing is remembered of it any more.
            return web.Response(status=403)
        furthest, outbound = max(ack.position, ack.taken), self.outbound(peer.dc_id)
        if outbound.is_over(request.headers.get(messages.EPOCH, "")):
            return web.Response(status=204)
        if names.knowledge.recognises(ack.epoch, furthest, names.feed_end):
            is_first = outbound.acked is None
            outbound.acknowledged(ack)
            self.marks.changed()
            await self.absences.acknowledged(peer.dc_id, ack)
            if is_first:
                # From here on it can be said what the peer lacks, should this DC be lost.
                await names.upkeep()
        return web.Response(status=204)

    def _reading(self, answer: Callable[[bytes, Peer], Awaitable[web.StreamResponse]]) -> Handler:
        """A handler that reads the request's body first."""

        async def handle(request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
            limit = COMPARE_REQUEST_BYTES_MAX
            is_peer = self._home.peer(peer.dc_id) is not None
            patience = self.pace(peer.dc_id).patience(limit) if is_peer else 0.0
            return await answer(await _read(request, limit, patience), peer)

        return handle

    async def _state(self, request: web.BaseRequest, peer: Peer) -> web.StreamResponse:
        names = self._home.names
        outbound = self.outbound(peer.dc_id)
        bucket = _ask(request, messages.StateAsk).bucket if "ask" in request.query else ""
        lacking, (to_come, looked) = outbound.lacking, self._home.to_come(bucket)
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
        has an older one only, or not its bytes, or may not give them to the peer; 503 when too many
        are on their way to it."""
        outbound = self.outbound(peer.dc_id)
        if outbound.bodies >= BODIES_PER_PEER_MAX:
            return web.Response(status=503)
        outbound.bodies += 1
        try:
            return await self._give(request, peer, outbound)
        finally:
            outbound.bodies -= 1

    async def _give(
        self, request: web.BaseRequest, peer: Peer, outbound: Outbound
    ) -> web.StreamResponse:
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
        is_read = request.path == f"{_PREFIX}read"
        if not (goes_to(self._home, peer.name, version) or (is_read and self._passes(version))):
            return web.Response(status=409)
        if not ask.start < ask.stop <= version.size:
            raise WireError(f"the range {ask.start}-{ask.stop} of {version.size} bytes")
        length = ask.stop - ask.start
        pieces = self._home.objects.read(version.extents, ask.start, ask.stop)
        # Its end is what lets go of the containers.
        async with aclosing(cast(Any, pieces)):
            first = await anext(pieces)
            response = web.StreamResponse(headers={"Content-Length": str(length + CRC_BYTES)})
            if length > INLINE_BYTES_MAX:
                carries_bulk(request.transport)
            await response.prepare(request)
            await _send(response, first, pieces, self.pace(peer.dc_id))
        outbound.bytes += length
        return response

    def _passes(self, version: Version) -> bool:
        """Whether bytes may go to clients of DCs that are not to hold them."""
        return reads_through(self._home.names.directory.bucket_by_id(version.bucket))


async def _send(
    response: web.StreamResponse, first: Buffer, rest: AsyncIterator[Buffer], pace: Pace
) -> None:
    """The pieces of a body, and its CRC."""
    crc = 0
    try:
        piece: Buffer | None = first
        while piece is not None:
            crc = crc64nvme(piece, crc)
            view = memoryview(piece)
            for start in range(0, len(view), BODY_WRITE_BYTES):
                await _taken(response.write(view[start : start + BODY_WRITE_BYTES]), pace)
            piece = await anext(rest, None)
    except ObjectsError as error:
        # The status is sent already; a body that ends early says it as well.
        log.warning("a body could not be read to its end", error=str(error))
        response.force_close()
        raise ConnectionResetError("body cut short") from error
    await _taken(response.write(crc.to_bytes(CRC_BYTES, "big")), pace)
    await _taken(response.write_eof(), pace)


async def _taken(write: Awaitable[None], pace: Pace) -> None:
    """A part of a body goes to a peer, for as long as it takes any."""
    try:
        async with asyncio.timeout(BODY_STALLED_SECONDS_MAX + pace.patience(BODY_UNSENT_BYTES)):
            await write
    except TimeoutError:
        raise ConnectionResetError("nothing of a body is taken") from None


def _superseded(epoch: str, end: int) -> web.Response:
    """There is a later state, by a position up to `end` of this epoch's feed."""
    return web.Response(status=404, headers={messages.EPOCH: epoch, messages.FEED_END: str(end)})


def _ask(request: web.BaseRequest, shape: type[T]) -> T:
    texts = request.query.getall("ask", [])
    if len(texts) != 1:
        raise WireError("one `ask` is needed")
    return messages.decode_ask(texts[0], shape)


def _draws_every(request: web.BaseRequest) -> int:
    """Seconds; 0 of who keeps the stream open."""
    text = request.headers.get(messages.DRAW, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise WireError(f"no number of seconds: {printable(text)}")
    return min(int(text), DRAW_EVERY_SECONDS_MAX)


async def _read(
    request: web.BaseRequest, limit: int = REQUEST_BODY_BYTES_MAX, patience: float = 0.0
) -> bytes:
    """The body of a request, of bounded length and in bounded time."""
    data = bytearray()
    try:
        async with asyncio.timeout(REQUEST_SECONDS_MAX + patience):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > limit:
                    raise WireError("a request's body is too long")
    except RequestPayloadError:
        raise WireError("a request's body is not well-formed") from None
    return bytes(data)
