"""The comparisons of one link: one at a time, when asked for, and by itself.

By itself a link compares after each reconnect, once all of the peer's feed is here; when both had
everything of each other and their roots were not equal (`replicator/agreement.py`); and every day.
Mostly that is one small request, for the roots are equal. A difference that is found is looked for
a second time; what is found then is repaired, and logged as a warning with counts: two DCs that
differ though the feeds say that they do not is a mistake of ours or damage, never usual.

When this DC was away for so long that it missed deletions, it compares at once, and repairs.
"""

import asyncio
from collections.abc import Callable

import aiohttp
import msgspec
import structlog

from dc.names.model import Inboxed, Peer
from replicator import compare_wire as shapes
from replicator import wire
from replicator.agreement import Agreement
from replicator.client import PeerClient
from replicator.compare_client import CompareClient, item_in
from replicator.errors import NotCompared, ReplicatorError, Unreachable, printable
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.limits import (
    COMPARE_POLL_SECONDS,
    ERROR_CHARACTERS_MAX,
    TO_COME_SECONDS_MAX,
    VERIFY_DELAY_SECONDS,
    VERIFY_EVERY_SECONDS,
    VERIFY_PAUSE_SECONDS,
    VERIFY_TICK_SECONDS,
)
from replicator.measures import taken_effect
from replicator.outbound import Outbound
from replicator.records import body_asked
from replicator.repair import Repair
from replicator.status import Inbound
from replicator.verify import Options, Progress, Verification, VerifyReport

log = structlog.get_logger("verify")
Said = Callable[[Progress], None]


def _silent(_: Progress) -> None:
    pass


class Checks:
    """Of one peer. `look` is the work of a worker."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        client: PeerClient,
        inbox: Inbox,
        inbound: Inbound,
        outbound: Outbound,
        agreement: Agreement,
        draw: Callable[[], None],
    ) -> None:
        """`draw`: asks for a draw of the peer's feed, if it is not kept open."""
        self._home = home
        self._peer = peer
        self._client = client
        self._inbox = inbox
        self._inbound = inbound
        self._outbound = outbound
        self._agreement = agreement
        self._draw = draw
        self._running = asyncio.Lock()
        self._ups = 0
        self._up_at = 0.0
        self._ran_at: float | None = None
        self._ran_ups = 0
        self.last: VerifyReport | None = None
        """What the last comparison of everything found."""

    # -- when asked for -------------------------------------------------------------------------

    async def run(self, options: Options, said: Said = _silent) -> VerifyReport:
        """Compare with the peer now, after a comparison that is under way. NotCompared, and any
        ReplicatorError, when that is not possible."""
        async with self._running:
            work = Verification(
                self._home, self._peer, CompareClient(self._client), self, options, said
            )
            report = await work.run(Repair() if options.repair else None)
            here, there = await self._to_come(options.bucket or "")
            report = msgspec.structs.replace(report, to_come_here=here, to_come_there=there)
            if options.bucket is None:
                self.last = report
            return report

    async def _to_come(self, bucket: str) -> tuple[int, int]:
        """How many bodies of a bucket (by id), or "" of all, are to come, here and there, of what
        is known now. A side that cannot say it soon has one at least."""
        until = self._home.clock.monotonic() + TO_COME_SECONDS_MAX
        end, their_end = self._home.names.feed_end, None
        while True:
            try:
                state = await self._client.state(bucket)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                raise Unreachable(f"the connection broke: {printable(error)}") from None
            here, looked = self._home.to_come(bucket)
            their_end = state.end if their_end is None else their_end
            there = max(state.to_come, int(state.looked < their_end))
            found = (max(here, int(looked < end)), there)
            if found == (0, 0) or self._home.clock.monotonic() >= until:
                return found
            await self._home.clock.sleep(COMPARE_POLL_SECONDS)

    # -- by itself ------------------------------------------------------------------------------

    async def look(self) -> float:
        """Compare if it is time; returns the seconds until the next look."""
        if self.connected and self._inbound.seeded and self._is_time():
            self._ran_at, self._ran_ups = self._home.clock.monotonic(), self._inbox.ups
            await self._check()
        return VERIFY_TICK_SECONDS

    def _is_time(self) -> bool:
        now = self._home.clock.monotonic()
        if self._ups != self._inbox.ups:
            self._ups, self._up_at = self._inbox.ups, now
        ago = None if self._ran_at is None else now - self._ran_at
        if self._inbound.missed_deletions:
            return ago is None or ago >= VERIFY_DELAY_SECONDS
        if now - self._up_at < VERIFY_DELAY_SECONDS:
            return False
        if ago is None or ago >= VERIFY_EVERY_SECONDS:
            return True
        news = self._ran_ups != self._inbox.ups or self._agreement.differs
        return news and ago >= VERIFY_PAUSE_SECONDS

    async def _check(self) -> None:
        missed = self._inbound.missed_deletions
        try:
            report = await self.run(Options(repair=missed))
            if missed:
                log.warning(
                    "compared with a peer after a long absence",
                    peer=self._peer.name,
                    deleted=report.deleted,
                    repaired=report.repaired,
                )
            elif report.differs:
                await self._repair(report)
        except ReplicatorError as error:
            reason = printable(error)[:ERROR_CHARACTERS_MAX]
            log.info("a comparison was not possible", peer=self._peer.name, error=reason)
            self.last = VerifyReport(
                peer=self._peer.dc_id,
                name=self._peer.name,
                at_ms=self._home.clock.wall_ms(),
                error=reason,
            )

    async def _repair(self, first: VerifyReport) -> None:
        """The second look at what differs, which repairs it."""
        again = await self.run(Options(repair=True))
        log.warning(
            "this datacenter and a peer differed",
            peer=self._peer.name,
            only_here=first.only_here,
            only_there=first.only_there,
            different=first.different,
            repaired=again.repaired,
            left=again.only_here + again.only_there + again.different,
        )

    # -- what a comparison needs of the link ----------------------------------------------------

    @property
    def connected(self) -> bool:
        return self._inbound.connected and self._outbound.in_touch(self._home.clock)

    @property
    def missed_deletions(self) -> bool:
        return self._inbound.missed_deletions

    def reconciled(self) -> None:
        self._inbound.missed_deletions = False

    @property
    def epoch(self) -> str:
        cursor = self._inbound.cursor
        return cursor.epoch if cursor else ""

    async def taken(self) -> int:
        """Who asks waits for something: it may not be drawn yet."""
        self._draw()
        count, lowest = await self._home.names.inbox_state(self._peer.dc_id)
        return taken_effect(self._inbound.position, count, lowest)

    def given(self) -> int:
        settled = self._outbound.settled
        return 0 if settled is None else settled

    def moved(self) -> int:
        return self._inbound.bytes + self._outbound.bytes + self._inbound.changes

    async def restore(self, items: list[shapes.Item], client: CompareClient | None = None) -> int:
        return len(await self._fetch(items, client or CompareClient(self._client), bare=True))

    async def fill(self, items: list[shapes.Item]) -> tuple[dict[shapes.Item, int], int]:
        """Fetch the bodies of items of which the peer has the bytes; which these are, and at which
        positions they are in the inbox; and how many of the items it was asked for."""
        client = CompareClient(self._client)
        coming = await self._fetch(items, client, bare=False)
        return coming, len(items) - client.unasked

    async def _fetch(
        self, items: list[shapes.Item], client: CompareClient, *, bare: bool
    ) -> dict[shapes.Item, int]:
        """Put the records of items into the inbox; `bare`: also where the peer gives no bytes."""
        if not self._inbound.connected:
            raise NotCompared(f"{self._peer.name} is not connected")
        records = await client.records(items)
        if not bare:
            records = [one for one in records if _has_bytes(one)]
        now = self._home.clock.wall_ms()
        entries = [
            Inboxed(
                peer=self._peer.dc_id,
                seq=record.seq,
                change=wire.encode_record(wire.without_body(record)),
                next_try_ms=now,
                restoring=True,
            )
            for record in records
            if type(record) is not wire.UnreadableRecord
        ]
        if entries:
            await self._home.names.apply([], peer=self._peer.dc_id, inbox=entries)
            self._inbox.changed(True)
        return {item: one.seq for one in records if (item := item_in(one)) is not None}


def _has_bytes(record: wire.Record) -> bool:
    wanted = body_asked(record)
    return wanted is not None and wanted.body != wire.WITHHELD
