"""Finishing what a peer's feed left unfinished.

The inbox is a table of the name servers: changes that the cursor has passed and that have not
taken effect, because their bytes are still to come or because something failed. An entry leaves it
in the transaction that applies its change, or when its item has a later state: here already, or at
the peer, from where it then comes by the feed.

Small bodies and large ones have slots of their own, so neither waits for the other; how many ranges
of large bodies come at once is bounded for all together, and so is all of it by what the line
carries (`replicator/appetite.py`). An entry that fails is tried again after a
back-off that doubles up to five minutes, with jitter, and is shown with its reason. When a stream
to the peer opens, everything is tried at once.

Behind large ones that wait for a slot there may be small ones, so it is looked far; but where there
were none within some pages, not again for half a second: the large ones that were seen come next.

The table is what counts: what runs is only remembered here to not start it twice.
"""

import asyncio
from collections import deque

import msgspec
import structlog

from dc.names.api import NamesClosed, NamesFull, NoSuchPeer
from dc.names.applying import version_in
from dc.names.exchanges import Exchanged
from dc.names.model import Change, Conflict, Cursor, Extent, Inboxed, Known, Peer, Version
from dc.placement import elsewhere, is_elsewhere
from dc.stamps import stamp_origin
from dc.worker import Worker, spawn
from replicator import messages, wire
from replicator.appetite import Appetite
from replicator.client import PeerClient
from replicator.errors import ReplicatorError, WireError, printable
from replicator.home import Home
from replicator.limits import (
    CHANGE_RETRY_MAX_SECONDS,
    ERROR_CHARACTERS_MAX,
    FAILING_TOLD_MAX,
    INBOX_IDLE_SECONDS,
    INBOX_LOOKED_MAX,
    INBOX_PAGE,
    INBOX_POLL_SECONDS,
    INLINE_BYTES_MAX,
    LARGE_AT_ONCE,
    RETRY_FIRST_SECONDS,
    SMALL_AT_ONCE,
    UNFINISHED_TOLD_MAX,
)
from replicator.placing import Placing
from replicator.records import body_asked, incoming, incoming_absent, incoming_write, stamps
from replicator.status import Inbound, Unfinished
from replicator.transfer import Extents, Piece, Transfer

log = structlog.get_logger("inbox")


class Inbox:
    """One peer's inbox. `acknowledge` is called whenever something was finished."""

    def __init__(self, home: Home, peer: Peer, client: PeerClient, inbound: Inbound) -> None:
        self._home = home
        self._peer = peer
        self._client = client
        self._inbound = inbound
        self._appetite = Appetite()
        self._running: dict[int, tuple[asyncio.Task[None], bool]] = {}
        self._taken = {False: 0, True: 0}
        """How many slots of small and of large ones."""
        self._large: set[int] = set()
        """Of those that wait for a slot, which were seen to be large."""
        self._next_large: deque[int] = deque()
        """The same in order, of the last look."""
        self._look_at = 0.0
        """Until then only these are started."""
        self._pieces: dict[int, dict[int, Piece]] = {}
        """Of unfinished bodies, by position: what is here of them, seen to be whole."""
        self._wake = asyncio.Event()
        self._link = False
        self._everything = True
        self._tried: set[int] = set()
        self._looked_ms = 0
        self.ups = 0
        """How many streams there were."""
        self.moved = asyncio.Event()
        """Set whenever the cursor or the inbox moved: there may be something to acknowledge."""
        self._worker = Worker(f"inbox of {peer.name}", home.clock, self._work)

    def start(self) -> None:
        self._worker.start()

    async def stop(self) -> None:
        await self._worker.stop()
        await self._cancel()

    def link_is_up(self, *, again: bool = False) -> None:
        """A stream to the peer works: try everything now; or, `again`, after a draw that worked,
        what is due."""
        self._link = True
        if again:
            self._wake.set()
            return
        self._everything = True
        self._look_at = 0.0
        self.ups += 1
        self._tried.clear()
        self._wake.set()
        self.moved.set()

    def link_is_down(self) -> None:
        self._link = False
        self._next_large.clear()

    def changed(self, added: bool) -> None:
        """A batch was applied; `added`: it put something into the inbox."""
        self.moved.set()
        if added:
            self._wake.set()

    async def unfinished(self) -> Unfinished:
        """What is not finished now."""
        names, peer = self._home.names, self._peer.dc_id
        count, lowest = await names.inbox_state(peer)
        if not count:
            return Unfinished(0, 0, [], [], 0)
        found = await names.inbox_open(peer, UNFINISHED_TOLD_MAX, FAILING_TOLD_MAX)
        return Unfinished(count, lowest, *found)

    async def forget(self, cursor: Cursor, exchanged: Exchanged | None = None) -> None:
        """Drop everything, and start over at `cursor` of another feed of the peer; `exchanged`: and
        remember that of its files."""
        await self._cancel()
        self._pieces.clear()
        self._large.clear()
        self._next_large.clear()
        names, peer = self._home.names, self._peer.dc_id
        done: list[int] = []
        while entries := await names.inbox(peer, after=done[-1] if done else 0, limit=INBOX_PAGE):
            done += [entry.seq for entry in entries]
        # At once: with the old cursor and a part of the inbox, the rest would be stepped over if
        # the peer came back with its old feed.
        if exchanged is None:
            await names.apply([], peer=peer, cursor=cursor, done=done)
        else:
            await names.exchanges.put(peer, exchanged, cursor, done)

    async def _cancel(self) -> None:
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- choosing -------------------------------------------------------------------------------

    async def _work(self) -> float:
        """Start what is due and has a slot; then wait until something may have changed."""
        self._wake.clear()
        count, _ = await self._home.names.inbox_state(self._peer.dc_id)
        self._inbound.inbox_is(count)
        if count:
            if not self._next_large or self._home.clock.monotonic() >= self._look_at:
                await self._start_due()
            else:
                await self._start_large()
        else:
            self._everything = False
        try:
            async with asyncio.timeout(INBOX_POLL_SECONDS if count else INBOX_IDLE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass
        return 0

    async def _start_due(self) -> None:
        now = self._home.clock.wall_ms()
        # After a clock that went back, dates mean nothing.
        self._everything = self._everything or now < self._looked_ms
        self._looked_ms = now
        due = None if self._everything else now
        after = looked = 0
        left = False
        self._next_large.clear()
        while self._has_slot(False) and looked < INBOX_LOOKED_MAX:
            entries = await self._home.names.inbox(
                self._peer.dc_id, due_ms=due, after=after, limit=INBOX_PAGE
            )
            for entry in entries:
                left |= not self._start(entry, now)
                after = entry.seq
            looked += len(entries)
            if len(entries) < INBOX_PAGE:
                break
        else:
            left = True
        if looked > INBOX_PAGE and self._has_slot(False):
            self._look_at = self._home.clock.monotonic() + INBOX_POLL_SECONDS
        if self._everything and not left:
            self._everything = False
            self._tried.clear()

    async def _start_large(self) -> None:
        """Start the next large ones that were seen, as far as there are slots."""
        now = self._home.clock.wall_ms()
        while self._next_large and self._has_slot(True):
            seq = self._next_large.popleft()
            for entry in await self._home.names.inbox(self._peer.dc_id, after=seq - 1, limit=1):
                if entry.seq == seq:
                    self._start(entry, now)

    def _has_slot(self, large: bool) -> bool:
        return self._taken[large] < (LARGE_AT_ONCE if large else SMALL_AT_ONCE)

    def _start(self, entry: Inboxed, now: int) -> bool:
        """Start one entry; False when it is left for lack of a slot."""
        if entry.seq in self._running:
            return True
        if entry.next_try_ms > now and entry.seq in self._tried:
            return True
        if entry.seq in self._large and self._link and not self._has_slot(True):
            self._next_large.append(entry.seq)
            return False
        try:
            record = wire.decode_record(entry.change)
        except ReplicatorError as error:
            # Only another version of this program can have written this; it stays and is shown.
            log.error("an inbox entry is not readable", seq=entry.seq, error=str(error))
            return True
        if self._is_remote(record) and not self._link:
            return True
        wanted = body_asked(record)
        large = wanted is not None and wanted.size > INLINE_BYTES_MAX
        if not self._has_slot(large):
            if large:
                self._large.add(entry.seq)
                self._next_large.append(entry.seq)
            return False
        if self._everything:
            self._tried.add(entry.seq)
        task = spawn(self._finish(entry, record), f"inbox of {self._peer.name}: {entry.seq}")
        self._running[entry.seq] = (task, large)
        self._taken[large] += 1
        task.add_done_callback(lambda _: self._ended(entry.seq))
        return True

    def _is_remote(self, record: wire.Record) -> bool:
        """Whether the peer must be asked for something."""
        return body_asked(record) is not None or type(record) is wire.UnreadableRecord

    def _ended(self, seq: int) -> None:
        _, large = self._running.pop(seq)
        self._taken[large] -= 1
        self._large.discard(seq)
        self._wake.set()
        self.moved.set()

    # -- finishing ------------------------------------------------------------------------------

    async def _finish(self, entry: Inboxed, record: wire.Record) -> None:
        """Apply one entry's change, or put it back with what went wrong."""
        progress = _Progress(self._home, entry)
        try:
            changes = await self._changes(progress, record)
            restoring = entry.restoring and await self._may_replace(changes)
            await self._home.names.apply(
                changes, peer=self._peer.dc_id, done=[entry.seq], restoring=restoring
            )
            self._inbound.took(1, 0)
            self._pieces.pop(entry.seq, None)
        except Exception as error:
            # Whatever it was, it is shown and tried again: nothing may be lost here.
            await self._put_back(progress.now, error)

    async def _changes(self, progress: "_Progress", record: wire.Record) -> list[Change]:
        """The change to apply; empty when there is a later state, here or at the peer."""
        if type(record) is wire.UnreadableRecord:
            again = await self._ask_again(record)
            if again is None:
                return []
            record = again
        for stamp in stamps(record):
            self._home.names.clock.observe(stamp)
        wanted = body_asked(record)
        if wanted is None:
            return [incoming(record, self._home.sealer)]
        assert type(record) is wire.VersionRecord or type(record) is wire.ConflictRecord
        write = incoming_write(record, [])
        [held] = await self._home.names.known([write])
        if progress.entry.restoring and held != Known.PAST:
            # What is covered need not be here: it was lost.
            extents = await self._bytes_here(write)
            if extents is None and wanted.body == wire.WITHHELD:
                # Others may have them (`replicator/filling.py`).
                extents = elsewhere(wanted.size)
            if extents is not None and not (is_elsewhere(extents) and self._is_to_come(wanted)):
                return [incoming_write(record, extents)]
        elif held != Known.NEW:
            return [write] if held == Known.HELD else []
        elif not Placing(self._home).is_here(wanted):
            return [incoming_absent(record, wanted.size)]
        transfer = Transfer(
            self._home,
            self._client,
            wanted,
            appetite=self._appetite,
            save=progress.save,
            took=self._inbound.took_bytes,
            known=self._pieces.setdefault(progress.entry.seq, {}),
        )
        extents = await transfer.run(progress.entry.extents)
        if extents is None:
            return []
        return [incoming_write(record, extents)]

    def _is_to_come(self, wanted: wire.VersionRecord) -> bool:
        """Whether bytes that are in other DCs belong here, and this peer has them."""
        return wanted.body != wire.WITHHELD and Placing(self._home).is_here(wanted)

    async def _bytes_here(self, write: Version | Conflict) -> list[Extent] | None:
        """Where the bytes of a write are that is here already; None when it is not."""
        names, new = self._home.names, version_in(write)
        here = await names.version(new.bucket, new.key, new.vid)
        if here is None or here.stamp != new.stamp:
            conflict = await names.conflict(new.bucket, new.key, new.stamp)
            here = conflict.loser if conflict and not conflict.gone else None
        if here is None or (here.size, here.meta.crc64) != (new.size, new.meta.crc64):
            return None
        return here.extents

    async def _may_replace(self, changes: list[Change]) -> bool:
        """Whether what the peer has may take the place of what is here of the same write: if the
        peer made it. What is not here may come from anybody."""
        for change in changes:
            if isinstance(change, Version) and stamp_origin(change.stamp) != self._peer.dc_id:
                here = await self._home.names.version(change.bucket, change.key, change.vid)
                if here is not None and here.stamp == change.stamp:
                    return False
        return True

    async def _ask_again(self, record: wire.UnreadableRecord) -> wire.Record | None:
        """What the peer could not read before; None when it has changed since."""
        cursor = self._inbound.cursor
        if cursor is None:
            raise ReplicatorError("the peer's feed is not open")
        again = await self._client.entry(messages.EntryAsk(cursor.epoch, record.seq))
        if again is not None and again.seq != record.seq:
            raise WireError(f"the peer answers with position {again.seq}, not {record.seq}")
        return again

    async def _put_back(self, entry: Inboxed, error: BaseException) -> None:
        if isinstance(error, NoSuchPeer):
            return
        wait = self._home.backoff_seconds(
            entry.attempts, RETRY_FIRST_SECONDS, CHANGE_RETRY_MAX_SECONDS
        )
        reason = f"{type(error).__name__}: {printable(error)}"[:ERROR_CHARACTERS_MAX]
        log.warning(
            "a change of a peer is not finished", peer=self._peer.name, seq=entry.seq, error=reason
        )
        later = msgspec.structs.replace(
            entry,
            attempts=entry.attempts + 1,
            next_try_ms=self._home.clock.wall_ms() + int(wait * 1000),
            error=reason,
        )
        try:
            await self._home.names.inbox_update([later])
        except (NamesClosed, NamesFull) as also:
            # The entry stays as it was; wait here instead, so that it is not tried at once.
            log.warning("the inbox cannot be written", peer=self._peer.name, error=str(also))
            await self._home.clock.sleep(wait)


class _Progress:
    """An entry while it is worked at, with the ranges that are durable."""

    def __init__(self, home: Home, entry: Inboxed) -> None:
        self._home = home
        self._at_first = len(entry.extents)
        self.entry = entry

    @property
    def now(self) -> Inboxed:
        """Where there was progress, what went wrong before it counts no more."""
        if len(self.entry.extents) > self._at_first:
            return msgspec.structs.replace(self.entry, attempts=0)
        return self.entry

    async def save(self, extents: Extents) -> None:
        self.entry = msgspec.structs.replace(self.entry, extents=extents)
        await self._home.names.inbox_update([self.entry])
