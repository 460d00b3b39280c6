"""Taking a file that a peer has written (`docs/air-gap.md`).

The file is read in one pass: a chunk is checked and opened while the one before takes effect. What
it holds goes through the same hands as what comes by the stream (`replicator/intake.py`), so it is
checked and merged by the same rules. The inbox is what makes large bodies resumable: a record whose
body follows in pieces is an entry there first, and its finished ranges are noted in the entry.

The cursor moves with each batch when the file continues where the feed was taken to. If there is a
gap in front of it, all of it takes effect and the cursor stays; the piece is remembered, and the
cursor goes over it when the gap is closed.
"""

import asyncio
from collections.abc import Callable, Mapping

import msgspec
import structlog

from dc.names.api import NamesClosed, NamesError, NamesFull, NoSuchPeer
from dc.names.exchanges import SPANS_MAX, Exchanged, Span
from dc.names.model import Cursor, Inboxed
from dc.stamps import StampAhead
from dc.worker import TaskGroup
from replicator import messages, wire
from replicator.errors import BodyCorrupt, FileRefused, WireError, printable
from replicator.filed import (
    Acknowledges,
    BodyPiece,
    Content,
    End,
    FileReader,
    Header,
    Superseded,
)
from replicator.home import Home
from replicator.importing_body import FiledBody
from replicator.intake import Intake
from replicator.limits import (
    ERROR_CHARACTERS_MAX,
    INBOX_PAGE,
    RETRY_FIRST_SECONDS,
)
from replicator.link import Link
from replicator.measures import taken_effect
from replicator.records import incoming_write, stamps
from replicator.told import Told
from tokens.limits import CLOCK_SKEW_SECONDS

log = structlog.get_logger("import")


class ImportReport(msgspec.Struct, kw_only=True):
    """What came of a file, so far or in the end."""

    peer: str
    name: str
    file: str
    made_ms: int
    after: int
    """The piece of the peer's feed begins after this position ..."""
    last: int = 0
    """... and was read up to this one."""
    changes: int = 0
    """Records in the file."""
    known: int = 0
    """Those that had been taken before, or had nothing new."""
    bodies: int = 0
    """Stored, of those that are in pieces."""
    bytes: int = 0
    """Of the file."""
    unfinished: int = 0
    """What the inbox holds of the peer in the end: see the status."""
    failing: int = 0
    """Those of them that were tried in vain."""
    position: int = 0
    """Up to where the peer's feed is taken now."""
    gap: bool = False
    """There is a gap between that and the file: an earlier file is missing."""
    acked: int | None = None
    """Up to where the peer has our feed."""
    ack_ignored: bool = False
    """What the file says of that was not listened to: something newer has come, or it is of a feed
    that this DC does not have."""
    identical: bool = False
    """The peer held the same, when the file was made, as this DC does now."""
    missed_deletions: bool = False
    """The peer collected tombstones that this DC did not see: compare over a link."""
    complete: bool = False
    """All of the file was taken."""
    seconds: float = 0.0


Said = Callable[[ImportReport], None]


class Import:
    """One file of the peer of `link`, whose header was read."""

    def __init__(self, home: Home, link: Link, reader: FileReader, said: Said) -> None:
        self._home = home
        self._link = link
        self._reader = reader
        self._said = said
        self._header: Header = reader.header
        self._peer = link.peer
        self._intake = Intake(home, link.peer, link.inbound, Told(link.peer.dc_id))
        self._position = reader.header.after
        self._cursor = Cursor(reader.header.epoch, 0)
        self._early = False
        self._waits = False
        self._was: Exchanged
        self._body: FiledBody | None = None
        self._body_seq = 0
        self._root = ""
        self._acked = False
        self._began = home.clock.monotonic()
        self.report = ImportReport(
            peer=self._peer.dc_id,
            name=self._peer.name,
            file=reader.header.file,
            made_ms=reader.header.made_ms,
            after=reader.header.after,
        )

    async def run(self) -> ImportReport:
        """Take it: FileRefused from where something is wrong, with what came before taken."""
        await self._start()
        ready: asyncio.Queue[Content | Exception | None] = asyncio.Queue(1)
        try:
            async with TaskGroup() as group:
                group.create_task(self._read(ready))
                while (content := await ready.get()) is not None:
                    if isinstance(content, Exception):
                        raise content
                    await self._take(content)
                    self._count()
                    self._said(self.report)
        finally:
            if self._body is not None:
                self._body.abort()
        await self._finish()
        return self.report

    async def _read(self, ready: "asyncio.Queue[Content | Exception | None]") -> None:
        """Read and open the next chunk while one is taken. What is wrong with it is told when what
        came before has been taken."""
        try:
            while (chunk := await self._reader.next_chunk()) is not None:
                await ready.put(await asyncio.to_thread(self._reader.content, chunk))
            await ready.put(None)
        except WireError as error:
            await ready.put(FileRefused("not_readable", str(error)))
        except Exception as error:
            await ready.put(error)

    # -- where it belongs -------------------------------------------------------------------------

    async def _start(self) -> None:
        """Find where the file stands to what was taken before. FileRefused when it does not."""
        names, header, inbound = self._home.names, self._header, self._link.inbound
        self._was = await names.exchanges.of(self._peer.dc_id)
        cursor = await names.cursor(self._peer.dc_id)
        if cursor is not None and not self._continues(cursor):
            newer = header.made_ms > max(self._was.newest_ms, inbound.heard_ms)
            if header.after or not newer or self._is_older():
                raise FileRefused(
                    "another_history",
                    f"the file does not know the position {cursor.seq} up to which"
                    f" {self._peer.name} was taken: it is old, or that datacenter was put back"
                    " to a backup. In that case export there with --all",
                )
            cursor = Cursor(header.epoch, 0)
            self._was = msgspec.structs.replace(self._remembered(), spans=[])
            await self._link.files.start_over(cursor, self._was)
        else:
            self._was = self._remembered()
            await names.exchanges.put(self._peer.dc_id, self._was)
        if cursor is not None:
            newer_epoch = header.epoch if cursor.epoch in header.epochs else cursor.epoch
            self._cursor = msgspec.structs.replace(cursor, epoch=newer_epoch)
        self._early = header.after > self._cursor.seq
        inbound.missed_deletions |= self._cursor.missed
        inbound.missed_deletions |= max(self._cursor.seq, header.after) < header.horizon
        inbound.coverage.clear()
        count, _ = await names.inbox_state(self._peer.dc_id)
        self._waits = count > 0

    def _continues(self, cursor: Cursor) -> bool:
        """Whether the file is of the feed that the cursor is of."""
        header = self._header
        if header.epoch == cursor.epoch or cursor.seq <= header.epochs.get(cursor.epoch, -1):
            return True
        was = self._was
        known = cursor.epoch == was.epoch or cursor.seq <= was.epochs.get(cursor.epoch, -1)
        return known and self._is_older()

    def _is_older(self) -> bool:
        """Whether it is of an epoch that came before those that were taken."""
        return self._header.epoch in self._was.epochs

    def _remembered(self) -> Exchanged:
        """What is remembered of the file, whether or not it is taken to its end. A clock that is
        far ahead does not make all later files old."""
        header, was = self._header, self._was
        latest = self._home.clock.wall_ms() + CLOCK_SKEW_SECONDS * 1000
        newest = max(was.newest_ms, min(header.made_ms, latest))
        record = msgspec.structs.replace(was, newest_ms=newest)
        if self._is_older():
            return record
        return msgspec.structs.replace(record, epoch=header.epoch, epochs=header.epochs)

    # -- what is in it ----------------------------------------------------------------------------

    async def _take(self, content: Content) -> None:
        match content:
            case wire.Batch():
                await self._take_batch(content)
            case wire.Covered():
                if not self._early:
                    self._link.inbound.covered(content)
            case BodyPiece():
                await self._take_piece(content)
            case Superseded():
                entry = await self._entry(content.seq)
                if entry is not None:
                    await self._home.names.apply([], peer=self._peer.dc_id, done=[content.seq])
                self._link.files.superseded(content.until)
            case Acknowledges():
                self._acknowledge(content.ack)
            case End():
                if content.last != self._position:
                    raise FileRefused("not_readable", "the file ends at another position")
                self._root = content.root

    def _acknowledge(self, ack: messages.Ack | None) -> None:
        """What the file says of our feed; None: the peer has nothing of it."""
        self._acked = True
        made_ms = self._header.made_ms
        newest = made_ms >= self._was.newest_ms
        heard = newest and self._link.files.acknowledged(ack, made_ms)
        self.report.ack_ignored = ack is not None and not heard
        if newest and ack is not None:
            now = self._home.clock.wall_ms()
            self._was = msgspec.structs.replace(self._was, acked_ms=now)

    async def _take_batch(self, batch: wire.Batch) -> None:
        if batch.after != self._position:
            raise FileRefused(
                "not_readable", f"a batch continues at {batch.after}, not at {self._position}"
            )
        epoch_end = self._was.epochs.get(self._header.epoch, batch.last)
        if batch.last > epoch_end:
            raise FileRefused(
                "another_history",
                f"the file is old: {self._peer.name} was put back to a backup since, and the file's"
                f" changes after position {epoch_end} are not in its feed any more",
            )
        self._position = batch.last
        waiting = await self._waiting(batch) if self._waits else {}
        reached = 0 if self._early else self._cursor.seq
        new = [one for one in batch.records if one.seq > reached or one.seq in waiting]
        self.report.changes += len(batch.records)
        self.report.known += len(batch.records) - len(new)
        if not new and not waiting and batch.last <= self._cursor.seq:
            return
        wanted = msgspec.structs.replace(batch, records=new)
        prepared = await self._intake.prepare(self._cursor.epoch, wanted, seeding=True)
        inbox = [_resumed(entry, waiting.pop(entry.seq, None)) for entry in prepared.inbox]
        moves = not self._early and batch.last > self._cursor.seq
        # What still waits in the inbox and is not told again has changed since.
        await self._intake.commit(prepared._replace(inbox=inbox), moves=moves, done=sorted(waiting))
        self.report.known += len(new) - len(prepared.changes) - len(inbox)
        if moves:
            self._cursor = prepared.cursor
            self._link.inbound.applied(self._cursor)

    async def _waiting(self, batch: wire.Batch) -> dict[int, Inboxed]:
        """What the inbox holds of a batch's positions, but what a repair has put there."""
        found: dict[int, Inboxed] = {}
        after = batch.after
        while entries := await self._home.names.inbox(
            self._peer.dc_id, after=after, limit=INBOX_PAGE
        ):
            for entry in entries:
                if entry.seq <= batch.last and not entry.restoring:
                    found[entry.seq] = entry
            after = entries[-1].seq
            if after >= batch.last:
                break
        return found

    # -- bodies -----------------------------------------------------------------------------------

    async def _entry(self, seq: int) -> Inboxed | None:
        """What the inbox holds at a position."""
        entries = await self._home.names.inbox(self._peer.dc_id, after=seq - 1, limit=1)
        return entries[0] if entries and entries[0].seq == seq else None

    async def _take_piece(self, piece: BodyPiece) -> None:
        """A body that is known, or does not belong here, is in no entry of the inbox."""
        if piece.seq != self._body_seq:
            if self._body is not None:
                self._body.abort()
            self._body_seq, self._body = piece.seq, await self._begin_body(piece.seq)
        body = self._body
        if body is None:
            return
        try:
            extents = await body.take(piece.start, piece.data)
            if extents is not None:
                for stamp in stamps(body.record):
                    self._home.names.clock.observe(stamp)
                write = incoming_write(body.written, extents)
                await self._home.names.apply([write], peer=self._peer.dc_id, done=[piece.seq])
                self.report.bodies += 1
                self._body = None
        except (NamesFull, NamesClosed, NoSuchPeer):
            raise
        except (BodyCorrupt, StampAhead, NamesError) as error:
            body.abort()
            await self._put_back(body.entry, error)
            self._body = None

    async def _begin_body(self, seq: int) -> FiledBody | None:
        entry = await self._entry(seq)
        if entry is None or entry.restoring:
            return None
        body = FiledBody(self._home, self._link.files.client, entry)
        await body.begin()
        return body

    async def _put_back(self, entry: Inboxed, error: Exception) -> None:
        reason = f"{type(error).__name__}: {printable(error)}"[:ERROR_CHARACTERS_MAX]
        later = msgspec.structs.replace(
            entry,
            extents=[],
            attempts=entry.attempts + 1,
            next_try_ms=self._home.clock.wall_ms() + int(RETRY_FIRST_SECONDS * 1000),
            error=reason,
        )
        await self._home.names.inbox_update([later])

    # -- the end ----------------------------------------------------------------------------------

    def _count(self) -> None:
        report = self.report
        report.last, report.bytes = self._position, self._reader.bytes
        report.position, report.gap = self._cursor.seq, self._early
        report.seconds = round(self._home.clock.monotonic() - self._began, 3)

    async def _finish(self) -> None:
        """Remember that all of the file was taken, and go over what was taken beyond it."""
        names, header, dc_id = self._home.names, self._header, self._peer.dc_id
        if not self._acked:
            self._acknowledge(None)
        spans = list(self._was.spans)
        if self._early:
            new = Span(header.epoch, header.after, self._position, header.epochs)
            spans = [one for one in spans if not _within(one, new)]
            spans = [*spans, new][:SPANS_MAX]
        record = msgspec.structs.replace(
            self._was,
            imported_ms=self._home.clock.wall_ms(),
            imported_position=self._position,
            imported_changes=self.report.changes,
        )
        cursor, spans = over(self._cursor, spans, record.epochs)
        moved = cursor.seq != self._cursor.seq
        self._cursor = msgspec.structs.replace(cursor, missed=self._link.inbound.missed_deletions)
        record = msgspec.structs.replace(record, spans=spans)
        # Not of a feed of which nothing was taken in its order: that is no position in it.
        known = self._cursor.seq > 0 or not self._early
        await names.exchanges.put(dc_id, record, self._cursor if known else None)
        if known:
            self._link.inbound.applied(self._cursor)
        self._early = self._early and not moved
        await self._conclude()

    async def _conclude(self) -> None:
        names, header, report = self._home.names, self._header, self.report
        self._count()
        count, lowest = await names.inbox_state(self._peer.dc_id)
        _, _, failing = await names.inbox_open(self._peer.dc_id, 1, 1)
        report.unfinished, report.failing = count, failing
        report.missed_deletions = self._link.inbound.missed_deletions
        report.acked = self._link.outbound.acked
        report.identical = bool(self._root) and self._root == self._home.root()
        position = taken_effect(self._cursor.seq, count, lowest)
        all_taken = not self._early and position >= self._position
        report.complete = True
        self._link.files.imported(position, self._position, header.made_ms if all_taken else 0)
        # What a file acknowledges is not said again soon: it must outlive a crash.
        await names.upkeep()
        log.info(
            "a file of a peer was taken",
            peer=self._peer.name,
            changes=report.changes,
            position=report.position,
            unfinished=report.unfinished,
        )


def over(
    cursor: Cursor, spans: list[Span], earlier: Mapping[str, int]
) -> tuple[Cursor, list[Span]]:
    """The cursor moved over all pieces that continue it, and the pieces that lie beyond it.
    `earlier`: the last positions of epochs of the same feed that came before that of the cursor; a
    piece that goes beyond is of no feed any more."""
    spans = [one for one in spans if one.last <= earlier.get(one.epoch, one.last)]
    moved = True
    while moved:
        moved = False
        for one in spans:
            newer = one.epoch == cursor.epoch or cursor.seq <= one.epochs.get(cursor.epoch, -1)
            if one.after <= cursor.seq < one.last and (newer or one.epoch in earlier):
                epoch = one.epoch if newer else cursor.epoch
                cursor, moved = Cursor(epoch, one.last, cursor.missed), True
    return cursor, [one for one in spans if one.last > cursor.seq]


def _within(one: Span, other: Span) -> bool:
    return one.epoch == other.epoch and other.after <= one.after and one.last <= other.last


def _resumed(entry: Inboxed, before: Inboxed | None) -> Inboxed:
    """An entry that is there again, with the ranges that were durable already."""
    if before is None:
        return entry
    return msgspec.structs.replace(entry, extents=before.extents)
