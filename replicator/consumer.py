"""Taking a peer's feed: one open stream, from the stored cursor on, until it breaks.

Three tasks hand batches to each other, so that the next one is received while this one's bodies
are stored and the one before is applied:

    receive   read a frame, decode and check it, see that it continues where the last one ended
    store     move the clock past the stamps, check and store the small bodies, all at once
    apply     one transaction: the changes, the cursor past them, the inbox entries

A change takes effect when, and only when, its bytes are durable here and its transaction commits;
the cursor moves in that same transaction. What cannot be applied at once (its body is large or did
not come along, its stamp is too far ahead, its body is not what it should be) goes into the inbox
in that transaction too (`replicator/inbox.py` finishes it), so nothing is stepped over and nothing
waits behind it.

If the peer's feed is another one than the cursor is of (its epoch differs), everything is read
from the beginning, and the inbox of the old feed is dropped: what of it still is comes again.
"""

import asyncio
from typing import NamedTuple

import aiohttp
import msgspec

from dc.names.api import NamesError, NamesFull, NoSuchPeer
from dc.names.model import Change, Cursor, Extent, Inboxed, Known, Peer
from dc.stamps import StampAhead, stamp_origin
from dc.worker import TaskGroup
from replicator import messages, wire
from replicator.client import PeerClient
from replicator.errors import ReplicatorError, Stuck, WireError, printable
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.limits import (
    ERROR_CHARACTERS_MAX,
    NEWS_BYTES_MIN,
    RELAY_DELAY_MS,
    RETRY_FIRST_SECONDS,
    STUCK_SECONDS_MAX,
)
from replicator.placing import Placing
from replicator.records import (
    body_asked,
    check_body,
    ident_of,
    incoming,
    incoming_absent,
    incoming_version,
    incoming_write,
    stamps,
)
from replicator.status import Inbound
from replicator.told import Told
from tokens.errors import SecretError


class Prepared(NamedTuple):
    """A batch whose bodies are stored: what its transaction will hold."""

    cursor: Cursor
    records: list[wire.Record]
    changes: list[Change]
    """Of `records`, one by one."""
    inbox: list[Inboxed]


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
        self._told = told
        self._seed_end = 0
        self._placing = Placing(home)

    async def run(self) -> None:
        """One stream; returns when the peer ends it, raises whatever breaks it."""
        names = self._home.names
        self._placing = Placing(self._home)
        cursor = await names.cursor(self._peer.dc_id)
        direct = [peer.dc_id for peer in names.peers() if peer.dc_id != self._peer.dc_id]
        ask = messages.FeedAsk(
            cursor.epoch if cursor else "none",
            cursor.seq if cursor else 0,
            direct,
            not self._inbound.given_back,
        )
        async with self._client.feed(ask) as content:
            hello = await _frame(content)
            if type(hello) is not wire.Hello:
                raise WireError("the stream does not begin with a hello")
            cursor = await self._meet(hello, cursor)
            self._inbound.started(cursor, hello.end)
            self._seed_end = hello.end
            self._inbox.link_is_up()
            try:
                await self._pipeline(content, cursor)
            finally:
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
        received: asyncio.Queue[wire.Batch | None] = asyncio.Queue(1)
        prepared: asyncio.Queue[Prepared | None] = asyncio.Queue(1)
        async with TaskGroup() as group:
            group.create_task(self._receive(content, cursor.seq, received))
            group.create_task(self._store(cursor.epoch, received, prepared))
            apply = group.create_task(self._apply(prepared))
            watch = group.create_task(self._watch())
            apply.add_done_callback(lambda _: watch.cancel())

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
            await prepared.put(await self._prepare(epoch, batch))
        await prepared.put(None)

    async def _prepare(self, epoch: str, batch: wire.Batch) -> Prepared:
        """Store the batch's small bodies, and sort its records into changes and inbox entries."""
        held, past = await self._known(batch)
        whole: list[wire.Record] = []
        changes: list[Change] = []
        inbox: list[Inboxed] = []
        with_body: list[tuple[wire.Record, bytes]] = []
        for record in batch.records:
            self._told.note(epoch, record)
            self._placing.hear(record)
            if record.seq in past:
                continue
            try:
                for stamp in stamps(record):
                    self._home.names.clock.observe(stamp)
                wanted = body_asked(record)
                if wanted is None or record.seq in held:
                    changes.append(incoming(record, self._home.sealer))
                    whole.append(record)
                elif not self._placing.is_here(wanted):
                    changes.append(incoming_absent(record, wanted.size))
                    whole.append(record)
                elif wanted.body:
                    check_body(wanted, wanted.body)
                    with_body.append((record, wanted.body))
                else:
                    inbox.append(self._waiting(record, wanted))
            except (StampAhead, ReplicatorError, SecretError) as error:
                inbox.append(self._failed(record, error))
        changes += await self._store_bodies(with_body)
        whole += [record for record, _ in with_body]
        self._inbound.took(len(batch.records), sum(len(body) for _, body in with_body))
        return Prepared(Cursor(epoch, batch.last), whole, changes, inbox)

    async def _store_bodies(self, bodies: list[tuple[wire.Record, bytes]]) -> list[Change]:
        """Store all bodies at once: they share appends and syncs."""
        home = self._home
        wanted = [(body_asked(record), body) for record, body in bodies]
        stored: list[list[Extent]] = await asyncio.gather(
            *(
                home.objects.put(
                    ident_of(incoming_version(one, [])), body, tier=home.tier(one.bucket)
                )
                for one, body in wanted
                if one
            )
        )
        return [
            incoming_write(record, extents)
            for (record, _), extents in zip(bodies, stored, strict=True)
            if isinstance(record, wire.VersionRecord | wire.ConflictRecord)
        ]

    async def _known(self, batch: wire.Batch) -> tuple[set[int], set[int]]:
        """The positions of writes whose bytes are here already, and of those that are no news.

        Asked for every version whose body would have to be fetched. Bodies that came along are
        cheap to store again; only of what was there before the stream began may many be known."""
        seeding = batch.after < self._seed_end
        asked = [
            record
            for record in batch.records
            if isinstance(record, wire.VersionRecord | wire.ConflictRecord)
            and (wanted := body_asked(record)) is not None
            and (seeding or not wanted.body)
        ]
        if not asked:
            return set(), set()
        known = await self._home.names.known([incoming_write(record, []) for record in asked])
        states = [(record.seq, state) for record, state in zip(asked, known, strict=True)]
        return (
            {seq for seq, state in states if state == Known.HELD},
            {seq for seq, state in states if state == Known.PAST},
        )

    def _waiting(self, record: wire.Record, wanted: wire.VersionRecord) -> Inboxed:
        """A change whose body is to be fetched; a relayed one usually comes straight, too."""
        now = self._home.clock.wall_ms()
        straight = stamp_origin(wanted.stamp) == self._peer.dc_id
        return Inboxed(
            peer=self._peer.dc_id,
            seq=record.seq,
            change=wire.encode_record(record),
            next_try_ms=now if straight else now + RELAY_DELAY_MS,
        )

    def _failed(self, record: wire.Record, error: Exception) -> Inboxed:
        record = wire.without_body(record)
        return Inboxed(
            peer=self._peer.dc_id,
            seq=record.seq,
            change=wire.encode_record(record),
            attempts=1,
            next_try_ms=self._home.clock.wall_ms() + int(RETRY_FIRST_SECONDS * 1000),
            error=f"{type(error).__name__}: {printable(error)}"[:ERROR_CHARACTERS_MAX],
        )

    # -- apply ----------------------------------------------------------------------------------

    async def _apply(self, prepared: "asyncio.Queue[Prepared | None]") -> None:
        while (batch := await prepared.get()) is not None:
            added = await self._commit(batch)
            self._inbound.applied(batch.cursor)
            self._inbox.changed(added > 0)

    async def _commit(self, batch: Prepared) -> int:
        """Apply a batch; how many of its changes went to the inbox."""
        peer, apply = self._peer.dc_id, self._home.names.apply
        cursor = msgspec.structs.replace(batch.cursor, missed=self._inbound.missed_deletions)
        try:
            await apply(batch.changes, peer=peer, cursor=cursor, inbox=batch.inbox)
            return len(batch.inbox)
        except (NamesFull, NoSuchPeer):
            raise
        except NamesError:
            inbox = batch.inbox + await self._one_by_one(batch)
            await apply([], peer=peer, cursor=cursor, inbox=inbox)
            return len(inbox)

    async def _one_by_one(self, batch: Prepared) -> list[Inboxed]:
        """Apply what can be applied of a batch that failed as a whole, so that one bad change
        does not hold up the others; the bad ones go to the inbox. When it was not a change's
        fault, the commit after this fails as well, and nothing has moved."""
        failed = []
        for record, change in zip(batch.records, batch.changes, strict=True):
            try:
                await self._home.names.apply([change])
            except NamesError as error:
                failed.append(self._failed(record, error))
        return failed


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
