"""Taking a peer's feed: one open stream, from the stored cursor on, until it breaks; or one draw
(`replicator/drawing.py`), which is a stream that the peer ends when all was sent.

Three tasks hand batches to each other, so that the next one is received while this one's bodies
are stored and the one before is applied:

    receive   read a frame, decode and check it, see that it continues where the last one ended
    store     move the clock past the stamps, check and store the small bodies, all at once
    apply     one transaction: the changes, the cursor past them, the inbox entries

The last two are the work of `replicator/intake.py`, which says what may take effect. What goes into
the inbox is finished by `replicator/inbox.py`.

If the peer's feed is another one than the cursor is of (its epoch differs), everything is read
from the beginning, and the inbox of the old feed is dropped: what of it still is comes again.
"""

import asyncio

import aiohttp

from dc.names.model import Cursor, Peer
from dc.worker import TaskGroup
from replicator import messages, wire
from replicator.client import PeerClient
from replicator.errors import Stuck, WireError
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.intake import Intake, Prepared
from replicator.limits import NEWS_BYTES_MIN, STUCK_SECONDS_MAX
from replicator.status import Inbound
from replicator.told import Told


class Consumer:
    """Takes one peer's feed. `inbound` is what it tells of itself."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        client: PeerClient,
        inbox: Inbox,
        inbound: Inbound,
        told: Told,
    ) -> None:
        self._home = home
        self._peer = peer
        self._client = client
        self._inbox = inbox
        self._inbound = inbound
        self._seed_end = 0
        self._broke: Exception | None = None
        """What ended the stream that is taken in to its end."""
        self._intake = Intake(home, peer, inbound, told)

    async def run(self) -> None:
        """One stream; returns when the peer ends it, raises whatever breaks it. Of a peer whose
        feed is drawn it ends when all there is was taken."""
        names = self._home.names
        was_idle = self._inbound.idle
        self._intake.begin()
        cursor = await names.cursor(self._peer.dc_id)
        direct = [peer.dc_id for peer in names.peers() if peer.dc_id != self._peer.dc_id]
        ask = messages.FeedAsk(
            cursor.epoch if cursor else "none",
            cursor.seq if cursor else 0,
            direct,
            not self._inbound.given_back,
        )
        async with self._client.feed(ask, self._peer.poll_seconds) as content:
            hello = await _frame(content)
            if type(hello) is not wire.Hello:
                raise WireError("the stream does not begin with a hello")
            epoch_before = cursor.epoch if cursor else ""
            cursor = await self._meet(hello, cursor)
            await self._home.meet()
            self._inbound.unfinished = await self._inbox.unfinished()
            self._inbound.started(cursor, hello.end)
            self._seed_end = hello.end
            self._inbox.link_is_up(again=was_idle and cursor.epoch == epoch_before)
            worked = False
            try:
                await self._pipeline(content, cursor)
                worked = True
            finally:
                if not (worked and self._peer.poll_seconds):
                    self._inbox.link_is_down()

    async def _meet(self, hello: wire.Hello, cursor: Cursor | None) -> Cursor:
        """Where the stream starts; forget what belonged to another feed of the peer."""
        if hello.dc_id != self._peer.dc_id:
            raise WireError(f"DC {hello.dc_id} answers in place of {self._peer.dc_id}")
        self._inbound.met(cursor.seq if cursor else 0, hello)
        self._inbound.missed_deletions |= cursor is not None and cursor.missed
        if cursor is not None and cursor.seq == hello.after:
            self._client.feed_epoch = hello.epoch
            return Cursor(hello.epoch, cursor.seq, self._inbound.missed_deletions)
        if hello.after != 0:
            raise WireError(f"the stream starts at {hello.after}, which was not asked for")
        fresh = Cursor(hello.epoch, 0, self._inbound.missed_deletions)
        self._client.superseded_until = 0
        if cursor is not None:
            await self._inbox.forget(fresh)
        self._client.feed_epoch = hello.epoch
        return fresh

    async def _pipeline(self, content: aiohttp.StreamReader, cursor: Cursor) -> None:
        self._broke = None
        received: asyncio.Queue[wire.Batch | None] = asyncio.Queue(1)
        prepared: asyncio.Queue[Prepared | None] = asyncio.Queue(1)
        async with TaskGroup() as group:
            group.create_task(self._receive(content, cursor.seq, received))
            group.create_task(self._store(cursor.epoch, received, prepared))
            apply = group.create_task(self._apply(prepared))
            watch = group.create_task(self._watch())
            apply.add_done_callback(lambda _: watch.cancel())
        if self._broke is not None:
            raise self._broke

    async def _watch(self) -> None:
        """Nothing but a new stream helps when one of the three waits for ever, here or there."""
        while self._inbound.stuck_seconds < STUCK_SECONDS_MAX:
            await self._home.clock.sleep(STUCK_SECONDS_MAX / 4)
        raise Stuck(
            f"nothing of the peer's feed came for {self._inbound.stuck_seconds:.0f} seconds, at"
            f" position {self._inbound.position} of {self._inbound.end}; the stream is opened anew"
        )

    # -- receive --------------------------------------------------------------------------------

    async def _receive(
        self,
        content: aiohttp.StreamReader,
        position: int,
        received: "asyncio.Queue[wire.Batch | None]",
    ) -> None:
        while True:
            try:
                frame = await _frame(content, self._inbound)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                # What has come is taken in all the same: on a line that breaks all the time little
                # comes, and none of it may be thrown away.
                self._broke = error
                await received.put(None)
                return
            except asyncio.IncompleteReadError as error:
                if error.partial:
                    raise WireError("the stream ended inside a frame") from None
                await received.put(None)
                return
            self._inbound.heard(frame.end)
            if type(frame) is wire.Hello:
                raise WireError("a second hello")
            if type(frame) is wire.Batch:
                if frame.after != position:
                    raise WireError(f"a batch continues at {frame.after}, not at {position}")
                position = frame.last
                await received.put(frame)
            if type(frame) is wire.Covered:
                self._inbound.covered(frame)

    # -- store ----------------------------------------------------------------------------------

    async def _store(
        self,
        epoch: str,
        received: "asyncio.Queue[wire.Batch | None]",
        prepared: "asyncio.Queue[Prepared | None]",
    ) -> None:
        while (batch := await received.get()) is not None:
            seeding = batch.after < self._seed_end
            await prepared.put(await self._intake.prepare(epoch, batch, seeding=seeding))
        await prepared.put(None)

    # -- apply ----------------------------------------------------------------------------------

    async def _apply(self, prepared: "asyncio.Queue[Prepared | None]") -> None:
        while (batch := await prepared.get()) is not None:
            unfinished = await self._intake.commit(batch)
            self._inbound.applied(batch.cursor)
            self._inbox.changed(bool(unfinished))


async def _frame(content: aiohttp.StreamReader, inbound: Inbound | None = None) -> wire.Frame:
    length = wire.frame_length(await content.readexactly(wire.LENGTH_BYTES))
    body = bytearray()
    while len(body) < length:
        block = await content.read(length - len(body))
        if not block:
            raise WireError("the stream ended inside a frame")
        body += block
        if inbound is not None and length >= NEWS_BYTES_MIN:
            # A large batch on a slow line takes its time.
            inbound.news()
    return wire.decode_frame(bytes(body))
