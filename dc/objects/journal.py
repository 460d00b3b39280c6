"""The journal: the feed of the name server, copied into containers of its own while it grows.

If the name server is lost, everything that was committed is found in the journal, and what was
committed after the last segment by the idents of the bodies (`docs/object-servers.md` has the
whole, with what can be missing). `dc/names/journal.py` tells what a segment is.

A hundredth of a second after a change, or a fifth when one comes after the other, the worker reads
what the feed has got since, and stores it: one append and one sync in containers of their own, and
nobody waits for it. Changes of which there are few (of buckets, users, keys, peers, attributes, and
Complete) are waited for (`settled`).

The rows of the segments are written into the tables now and then only, not to double the commits. A
crash before that makes the next start journal the same positions anew, under a later serial.

Many small segments become one (`_merge`), and segments whose items have moved on are written anew
(`_sweep`). What has left a span of the feed since it was journaled stands further back now, maybe
behind the end of the journal. So before a span is written anew everything else is: the order of
the writes in the one lane is what keeps an item from being in neither.

Segments in containers of another mode than new ones have (`ContainerStore.is_past`) are written
anew in the same way (`_renew`), so that these containers become empty.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from dc.names.errors import BytesMissing
from dc.names.journal_api import JournalNames, Page, Segment
from dc.names.knowledge import Knowledge
from dc.names.model import Peer
from dc.objects.api import ObjectsError
from dc.objects.ident import SegmentIdent, segment_ident
from dc.objects.store import ContainerStore
from dc.ports import Clock
from dc.stamps import HybridClock, Stamp
from dc.worker import first_of

log = structlog.get_logger("objects")

GATHER_SECONDS = 0.2
"""What changes within it is written together, while one change comes after the other."""
GATHER_SECONDS_MIN = 0.01
"""The same of a change after a while without any."""
SHARE = 0.2
"""The part of the time that the worker may work in."""
TICK_SECONDS = 5.0
"""After which it is looked at what gives no position: peers, and the floor."""
PAGE_ROWS = 1000
"""Of the feed, read in one visit to the database: about ten milliseconds; the most in a segment."""
STEP_PAGES = 4
"""Written at once by the worker. A database from before there was a journal takes many steps."""
BEHIND_MAX = 20 * PAGE_ROWS
"""Positions of the feed: farther behind, nobody waits for the journal."""
RUN = 8
"""So many small segments become one; each is merged as often as the logarithm says."""
TAIL_SEGMENTS = 64
"""Where small ones are looked for."""
SAVE_SECONDS = 10.0
SAVE_SEGMENTS = 64
WHOLE: Stamp = "0" * 32
"""A floor that says no more than that the journal was whole."""
RENEW_ROWS = 8 * PAGE_ROWS
"""Written anew at once for the sake of where they are."""
RENEW_SECONDS = 60.0
"""After which it is looked again whether there is such."""
SWEEP_ROWS_MIN = 20_000
"""Rows written, after which it is looked at how many of all are still what they were."""


class Names(Protocol):
    """What the journal needs of a name server."""

    journal: JournalNames
    knowledge: Knowledge
    clock: HybridClock

    @property
    def feed_end(self) -> int: ...
    async def feed_wait(self, after: int) -> None: ...
    def peers(self) -> list[Peer]: ...


class Journal:
    """`step` is the work of a `dc.worker.Worker`. Call `open` before."""

    def __init__(
        self,
        names: Names,
        store: ContainerStore,
        clock: Clock,
        *,
        begins: bool = True,
        floor: Stamp = "",
    ) -> None:
        """`begins`: what is written counts, whatever becomes of this database. `floor`: every
        change made here up to it is in the database, or was never made."""
        self._names = names
        self._tables = names.journal
        self._store = store
        self._clock = clock
        self._begun = begins
        self._lock = asyncio.Lock()
        self._generation = ""
        self._serial = 0
        self._segments: list[Segment] = []
        """By position."""
        self._unsaved: list[Segment] = []
        self._saved_at = 0.0
        self._flushed_at = float("-inf")
        self._end = 0
        """Everything in the feed up to here is in the journal."""
        self._floor = floor
        """Every change made here up to it is in the journal, or was never made; ""
        when the journal was never whole."""
        self._told: Stamp = ""
        """The same as the last segment says it."""
        self._wanted: Stamp = ""
        """The floor is to be told until it is past this."""
        self._appends = -1
        self._peers: list[Peer] = []
        self._unswept = 0
        self._renew_at = 0.0
        self._renewing = False

    async def open(self) -> None:
        """Read how far it is. Raises NamesError."""
        await self._load()
        self._tables.settled = self.settled
        self._wanted = self._names.clock.last
        if self._begun and not any(one.begun for one in self._segments):
            # From now on what is in this database counts, and what an earlier one had does not.
            try:
                await self._flush(news=True, pages=1)
                await self._save()
            except ObjectsError as error:
                # A full disk must not keep anybody from reading; the worker goes on trying.
                log.warning("the journal cannot be begun yet", error=str(error))

    async def _load(self) -> None:
        self._generation, start, self._segments = await self._tables.load()
        self._serial = max(self._serial, start << 32)
        self._end = max((one.last for one in self._segments), default=0)
        self._floor = max([self._floor, *(one.floor for one in self._segments)])
        self._unsaved.clear()
        self._saved_at = self._clock.monotonic()

    def status(self) -> dict[str, Any]:
        """For the status page. `journal_behind` positions of the feed are not in it."""
        return {
            "journal_behind": max(0, self._names.feed_end - self._end),
            "journal_segments": len(self._segments),
        }

    # -- the work --------------------------------------------------------------------------------

    async def step(self) -> float:
        """Wait for changes, and write them; the wait until the next call."""
        if not self._renewing:
            await self._wait()
        again_at = self._flushed_at + GATHER_SECONDS
        await self._clock.sleep(max(GATHER_SECONDS_MIN, again_at - self._clock.monotonic()))
        began = self._flushed_at = self._clock.monotonic()
        try:
            async with self._lock:
                complete = await self._flush(news=self._has_news(), pages=STEP_PAGES)
                if complete:
                    await self._merge()
                if self._unsaved and self._is_save_due():
                    await self._save()
            if complete:
                await self._sweep()
                self._renewing = await self._renew()
        except BytesMissing:
            # Segments were not saved for so long that their container is gone.
            async with self._lock:
                await self._load()
            raise
        return (self._clock.monotonic() - began) * (1 / SHARE - 1)

    async def settled(self) -> None:
        """Return when everything that was committed before the call is in the journal, or cannot be
        for now (as the journal is being made, or the disk is full): the worker goes on trying, and
        it is committed all the same."""
        end = self._names.feed_end
        if end - self._end > BEHIND_MAX:
            return
        async with self._lock:
            others = self._names.peers() != self._peers
            if self._end < end or others:
                try:
                    await self._flush(news=others)
                except ObjectsError as error:
                    log.warning("a change is not in the journal yet", error=str(error))

    async def finish(self) -> None:
        """Write what is left. Raises ObjectsError, NamesError."""
        async with self._lock:
            await self._flush(news=self._has_news())
            await self._save()

    async def _wait(self) -> None:
        """Until the feed has something new, or for a while."""
        await first_of(self._names.feed_wait(self._end), self._clock.sleep(TICK_SECONDS))

    def _has_news(self) -> bool:
        """Whether there is something to write that has no position: other peers, or a floor that
        has come closer to what was last stored."""
        appends = self._store.stats().appends
        if appends != self._appends:
            self._wanted = self._names.clock.last
        self._appends = appends
        risen = self._told < min(self._wanted, self._names.knowledge.committed)
        return risen or self._names.peers() != self._peers

    async def _flush(self, *, news: bool = False, pages: int | None = None) -> bool:
        """Write what the feed has got since, but no more than so many pages; `news`: even if that
        is nothing. Whether that was all."""
        complete = False
        while not complete:
            if pages is not None:
                if not pages:
                    return False
                pages -= 1
            # In this order: what was made up to the floor is in the page, or in one before it.
            floor = self._names.knowledge.committed
            peers = list(self._names.peers())
            page = await self._tables.page(self._end, PAGE_ROWS)
            complete = page.complete
            if page.rows or news:
                told = max(self._floor, floor, WHOLE) if complete else self._floor
                await self._write(page, self._end, told)
                self._peers = peers
            self._end = page.last
        self._floor = max(self._floor, floor, WHOLE)
        return True

    async def _write(self, page: Page, first: int, floor: Stamp) -> Segment:
        """Store a segment. Raises ObjectsError."""
        self._serial += 1
        ident = SegmentIdent(
            self._generation, self._serial, first, page.last, page.rows, floor, self._begun
        )
        async with self._store.journal_writer(segment_ident(ident)) as writer:
            await writer.write(page.data)
            extents = await writer.finish()
        self._appends += len(extents)
        self._told = floor
        made = Segment(*ident[1:], extents)
        last = self._segments[-1].extents if self._segments else []
        if last and last[-1].container != extents[-1].container:
            # Nobody but the tables says that the sealed one is needed.
            self._saved_at = float("-inf")
        self._segments.append(made)
        self._unsaved.append(made)
        self._unswept += page.rows
        return made

    def _is_save_due(self) -> bool:
        waited = self._clock.monotonic() - self._saved_at
        return waited >= SAVE_SECONDS or len(self._unsaved) >= SAVE_SEGMENTS

    async def _save(self, gone: Sequence[Segment] = ()) -> None:
        """Write into the tables which segments there are."""
        out = {one.serial for one in gone}
        new = [one for one in self._unsaved if one.serial not in out]
        await self._tables.replace([*out], new)
        self._unsaved.clear()
        self._segments = sorted(
            (one for one in self._segments if one.serial not in out),
            key=lambda one: (one.last, one.serial),
        )
        self._saved_at = self._clock.monotonic()

    # -- writing anew ----------------------------------------------------------------------------

    async def _merge(self) -> None:
        """Make one of many small segments at the end."""
        if run := small_run(self._segments[-TAIL_SEGMENTS:]):
            await self._rewrite(run)

    async def _sweep(self) -> None:
        """Write anew what has mostly moved on, when much has been written since the last time."""
        total = sum(one.rows for one in self._segments)
        if self._unswept < max(SWEEP_ROWS_MIN, total // 2):
            return
        self._unswept = 0
        group: list[Segment] = []
        live = 0
        for one in [*self._segments, None]:
            rows = 0 if one is None else await self._tables.count(one.first, one.last)
            if one is None or live + rows > PAGE_ROWS:
                if sum(each.rows for each in group) > 2 * live:
                    async with self._lock:
                        await self._rewrite(group)
                group, live = [], 0
            if one is not None:
                group.append(one)
                live += rows
            await self._clock.sleep(0)

    async def _renew(self) -> bool:
        """Write some of what is to be moved elsewhere. Returns whether there was any."""
        now = self._clock.monotonic()
        if now < self._renew_at:
            return False
        run: list[Segment] = []
        for one in self._segments:
            if any(self._store.is_past(extent.container) for extent in one.extents):
                run.append(one)
                if sum(each.rows for each in run) >= RENEW_ROWS:
                    break
            elif run:
                break
        if run:
            try:
                async with self._lock:
                    await self._rewrite(run)
                return True
            except ObjectsError as error:
                # What is new is to be written all the same.
                log.warning("the journal is not written anew yet", error=str(error))
        self._renew_at = now + RENEW_SECONDS
        return False

    async def _rewrite(self, run: Sequence[Segment]) -> None:
        """Write the span of some adjacent segments as the feed has it now. Raises ObjectsError."""
        gone = list(run)
        after, stop = min(one.first for one in run), max(one.last for one in run)
        written = len(self._unsaved)
        complete = False
        while not complete:
            page = await self._tables.page(after, PAGE_ROWS, stop)
            # What has left the span before the page was read is further back: durable first.
            await self._flush()
            await self._write(page, after, self._floor)
            after, complete = page.last, page.complete
        self._unswept -= sum(one.rows for one in self._unsaved[written:])
        await self._save(gone)


def small_run(segments: Sequence[Segment]) -> list[Segment]:
    """Adjacent segments of about the same size that are to become one, none if there are too few.
    The last ones are looked at first, as they were made."""
    for level in reversed(range(_level(PAGE_ROWS // 2))):
        run: list[Segment] = []
        for one in reversed(segments):
            if _level(one.rows) > level:
                break
            run.append(one)
        if len(run) >= RUN:
            return run[::-1]
    return []


def _level(rows: int) -> int:
    """0 below 8 rows, 1 below 64, and so on."""
    return max(0, rows.bit_length() - 1) // 3
