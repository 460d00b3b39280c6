"""Writing a piece of the feed into a file for one peer (`docs/air-gap.md`).

It is the feed stream with another end: the same records in the same batches, up to where the feed
ended when this began (or a little further), with nothing left out that the peer may have
forgotten. What the stream leaves to be fetched follows its page of the feed: large bodies, in
pieces, and small ones that could not be read in time. A body that was overwritten before it was
read is left out, for its later state has a later position; the file says so. One that cannot be
read, nor where it is after that, as compaction may have moved it, is left out as well and counted:
the peer keeps the obligation in its inbox and does not acknowledge it, so the next file tries
again.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import structlog

from dc.names.api import NoSuchPeer
from dc.names.model import FeedEntry, Peer, Version
from dc.objects.api import ObjectsError
from dc.placement import is_elsewhere
from dc.stamps import stamp_origin
from replicator import messages
from replicator.feed_stream import FeedStream, Send
from replicator.filed import (
    KEY_BYTES,
    Acknowledges,
    End,
    FileWriter,
    Header,
    Superseded,
    frame_content,
    message_content,
    piece_content,
)
from replicator.home import Home
from replicator.limits import (
    FAILING_TOLD_MAX,
    FEED_ITEMS,
    FILE_EPOCHS_MAX,
    PIECE_BYTES,
    UNFINISHED_TOLD_MAX,
)
from replicator.measures import open_positions, taken_effect
from replicator.outbound import Outbound
from replicator.records import body_in

log = structlog.get_logger("export")
READS = 2
"""How often a body is tried, each time where it is then."""
_EVERYTHING = 2**62


class ExportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a file holds."""

    peer: str
    name: str
    after: int
    last: int
    """The piece of our feed: positions after `after`, up to `last`."""
    changes: int
    bodies: int
    """Of those that are in pieces; small ones are in their changes."""
    bytes: int
    """Of the file."""
    unreadable: int
    """Bodies that could not be read, and are not in it."""
    seconds: float


class Export(FeedStream):
    """One file. `everything`: also the bodies of what the peer made."""

    def __init__(self, home: Home, peer: Peer, after: int, *, everything: bool) -> None:
        self._counts = Outbound(home.names.knowledge, peer.dc_id)
        super().__init__(
            home,
            peer,
            after,
            frozenset(),
            self._counts,
            their_epoch="",
            give_back_until=_EVERYTHING if everything else 0,
        )
        self._start = after
        self._owed: dict[int, Version] = {}
        self._everything = everything
        self._written = 0
        self._bodies_sent = 0
        self._unreadable = 0

    async def write(self, put: Send) -> ExportReport:
        """Hand all of the file to `put`, piece by piece, which may take its time."""
        home, names = self._home, self._home.names
        began = home.clock.monotonic()
        writer = FileWriter(
            home.identity, self._header(), self._peer.sealing_key, home.randomness.token(KEY_BYTES)
        )

        async def send(content: bytes) -> None:
            chunk = await asyncio.to_thread(writer.chunk, content)
            self._written += len(chunk)
            await put(chunk)

        head = writer.head()
        self._written += len(head)
        await put(head)
        ack = await acknowledgement(home, self._peer)
        if ack is not None:
            await send(message_content(Acknowledges(ack)))
        await self._write_feed(send)
        root = home.root() if names.feed_end == self._after else ""
        await send(message_content(End(self._after, root)))
        return ExportReport(
            peer=self._peer.dc_id,
            name=self._peer.name,
            after=self._start,
            last=self._after,
            changes=self._counts.records,
            bodies=self._bodies_sent,
            bytes=self._written,
            unreadable=self._unreadable,
            seconds=round(home.clock.monotonic() - began, 3),
        )

    def _header(self) -> Header:
        home, knowledge = self._home, self._home.names.knowledge
        return Header(
            file=home.randomness.token(16).hex(),
            sender=home.dc_id,
            receiver=self._peer.dc_id,
            made_ms=home.clock.wall_ms(),
            epoch=knowledge.epoch,
            epochs=knowledge.earlier(FILE_EPOCHS_MAX),
            after=self._start,
            horizon=knowledge.horizon,
            key=b"",
        )

    async def _write_feed(self, put: Send) -> None:
        names = self._home.names
        end = names.feed_end

        async def send(frame: bytes) -> None:
            await put(frame_content(frame))

        while True:
            if self._home.peer(self._peer.dc_id) is None:
                raise NoSuchPeer(f"DC {self._peer.dc_id} was removed meanwhile")
            covered = names.coverage()
            entries, looked, complete = await names.feed(self._after, FEED_ITEMS)
            await self._send_entries(send, entries, looked)
            self._after = looked
            for seq, version in sorted(self._owed.items()):
                await self._send_body(put, seq, version)
            self._owed.clear()
            if looked >= end:
                break
        if self._told < self._after:
            await self._tell(send, self._after, [])
        if complete:
            await self._send_covered(send, covered)

    async def _send(self, send: Send, frame: bytes) -> None:
        # A disk, or who reads a pipe, may take longer than a peer that still lives.
        await send(frame)

    # -- bodies that do not travel in a batch -----------------------------------------------------

    async def _bodies(self, group: list[FeedEntry]) -> list[bytes | None]:
        bodies = await super()._bodies(group)
        for entry, body in zip(group, bodies, strict=True):
            version = body_in(entry.change)
            if body is None and version is not None and self._is_given(version):
                self._owed[entry.seq] = version
        return bodies

    def _reduced(self, entry: FeedEntry) -> bytes:
        version = body_in(entry.change)
        if version is not None and self._is_given(version) and self._goes_there(version):
            self._owed[entry.seq] = version
        return super()._reduced(entry)

    def _is_given(self, version: Version) -> bool:
        if is_elsewhere(version.extents):
            return False
        return self._everything or stamp_origin(version.stamp) != self._peer.dc_id

    async def _send_body(self, put: Send, seq: int, version: Version) -> None:
        names, start = self._home.names, 0
        for _ in range(READS):
            try:
                async for piece in self._pieces(version, start):
                    await put(piece_content(seq, start, piece))
                    start += len(piece)
            except ObjectsError as error:
                entries, _, _ = await names.feed(seq - 1, 1)
                if not entries or entries[0].seq != seq:
                    await put(message_content(Superseded(seq, names.feed_end)))
                    return
                log.warning("a body cannot be read for an export", seq=seq, error=str(error))
                version = body_in(entries[0].change) or version
            else:
                self._bodies_sent += 1
                return
        self._unreadable += 1

    async def _pieces(self, version: Version, start: int) -> AsyncIterator[bytes]:
        piece = bytearray()
        async for data in self._home.objects.read(version.extents, start, version.size):
            piece += data
            if len(piece) >= PIECE_BYTES:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)


async def acknowledgement(home: Home, peer: Peer) -> messages.Ack | None:
    """How far the peer's feed has taken effect here; None when nothing of it was taken."""
    names, dc_id = home.names, peer.dc_id
    cursor = await names.cursor(dc_id)
    if cursor is None:
        return None
    count, lowest = await names.inbox_state(dc_id)
    positions, failing, _ = await names.inbox_open(dc_id, UNFINISHED_TOLD_MAX, FAILING_TOLD_MAX)
    taken, unfinished = open_positions(cursor.seq, positions, UNFINISHED_TOLD_MAX)
    return messages.Ack(
        epoch=cursor.epoch,
        position=taken_effect(cursor.seq, count, lowest),
        taken=taken,
        unfinished=unfinished,
        failing=failing,
    )
