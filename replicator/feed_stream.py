"""One open feed stream, at the side that sends: this DC's changes, as they commit, to one peer.

It reads the feed from the consumer's position, sends what it finds in batches, and when it has
reached the end waits for the name server's doorbell (`feed_wait`); or ends, if the peer draws
(`replicator/drawing.py`). The feed is the queue: nothing is remembered here that a crash could
lose, and a change that was superseded before it was sent costs nothing. Sending waits when the
consumer is slow, and reading the feed waits with it.

Left out are changes that the peer made and told of itself since it was started
(`replicator/told.py`). A peer that reads from the beginning, or for the first time since its start,
may have lost what it made, and gets back all there was when it came. Changes of third DCs are
relayed; if the peer has a link of its own to the DC that made the change, then without the body,
which it will have got already or can fetch. Bytes that are not to go to the peer, by the rules of
their bucket, are withheld, and that is said. Positions with nothing to send are told a few times a
second at most.
"""

import asyncio
from collections.abc import Awaitable, Callable

from dc.names.model import Change, FeedEntry, Interval, Peer, Version
from dc.objects.api import ObjectsError
from dc.placement import is_elsewhere
from dc.stamps import stamp_origin
from replicator import wire
from replicator.home import Home
from replicator.limits import (
    BATCH_GAP_SECONDS,
    COLD_READS_MAX,
    FEED_ITEMS,
    FRAME_BYTES_MAX,
    INLINE_BYTES_MAX,
    INTERVALS_MAX,
    KEEPALIVE_SECONDS,
    PROGRESS_SECONDS,
    RECORD_BYTES_MAX,
    STALLED_SECONDS_MAX,
)
from replicator.outbound import Outbound
from replicator.packing import Packer
from replicator.placing import goes_to, withheld
from replicator.records import body_in, outgoing

_RECORD_BYTES = 512
_PART_BYTES = 160

Send = Callable[[bytes], Awaitable[None]]


class FeedStream:
    """Sends frames by `send` until cancelled or the connection breaks."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        after: int,
        direct: frozenset[str],
        outbound: Outbound,
        *,
        their_epoch: str,
        packed: bool = False,
        patience: Callable[[int], float] = lambda _: 0.0,
        give_back_until: int = 0,
        ends: bool = False,
    ) -> None:
        """`patience`: for how many seconds more sending so many bytes is waited for. `ends`: it is
        over when all was sent that there is."""
        self._home = home
        self._peer = peer
        self._direct = direct
        self._outbound = outbound
        now = home.clock.monotonic()
        self._batches = outbound.batches = outbound.batches.next(after, now)
        self._their_epoch = their_epoch
        self._packer = Packer() if packed else None
        self._patience = patience
        self._give_back_until = give_back_until
        self._ends = ends
        self._after = after
        self._told = after
        self._told_at = 0.0
        self._covered: list[Interval] = []
        self._complete = False

    async def run(self, send: Send) -> None:
        names, clock = self._home.names, self._home.clock
        hello = wire.Hello(
            end=names.feed_end,
            dc_id=self._home.dc_id,
            epoch=names.epoch,
            after=self._after,
            horizon=names.knowledge.horizon,
        )
        await self._send(send, wire.encode_frame(hello))
        while True:
            # What commits right after a batch goes into the next one with what comes meanwhile:
            # each batch costs both sides a hop, and the peer a commit.
            gap = self._told_at + BATCH_GAP_SECONDS - clock.monotonic()
            if gap > 0 and self._complete:
                await clock.sleep(gap)
            covered = names.coverage()
            if names.feed_end > self._after or not self._complete:
                entries, looked, self._complete = await names.feed(self._after, FEED_ITEMS)
                await self._send_entries(send, entries, looked)
                self._after = looked
                self._outbound.looked_until(self, looked)
            if self._complete and covered != self._covered:
                await self._send_covered(send, covered)
            behind = self._told < self._after
            ends = self._ends and self._complete
            if behind and (ends or clock.monotonic() - self._told_at >= PROGRESS_SECONDS):
                await self._tell(send, self._after, [])
                behind = False
            if names.feed_end > self._after or (self._ends and not ends):
                continue
            if ends:
                return
            try:
                async with asyncio.timeout(PROGRESS_SECONDS if behind else KEEPALIVE_SECONDS):
                    await names.feed_wait(self._after)
            except TimeoutError:
                if not behind:
                    await self._send(send, wire.encode_frame(wire.KeepAlive(end=names.feed_end)))

    async def _send_covered(self, send: Send, covered: list[Interval]) -> None:
        """Say what is covered. It was known before the feed was read to its end: so whoever has
        all that was read has all that it says."""
        if self._told < self._after:
            await self._tell(send, self._after, [])
        frame = wire.Covered(
            end=max(self._home.names.feed_end, self._after),
            position=self._after,
            intervals=[(one.origin, one.low, one.high) for one in covered[-INTERVALS_MAX:]],
        )
        await self._send(send, wire.encode_frame(frame))
        self._covered = covered

    async def _send_entries(self, send: Send, entries: list[FeedEntry], looked: int) -> None:
        """Send what is the peer's business, in batches of bounded size."""
        group: list[FeedEntry] = []
        size = 0
        for entry in entries:
            if entry.seq > self._give_back_until and self._told_us(entry.change):
                continue
            weight = self._weight(entry)
            if group and size + weight > self._limit():
                await self._tell(send, group[-1].seq, group)
                group, size = [], 0
            group.append(entry)
            size += weight
        if group:
            await self._tell(send, looked, group)

    def _told_us(self, change: Change) -> bool:
        return self._outbound.told.knows(self._their_epoch, change)

    def _weight(self, entry: FeedEntry) -> int:
        """About how many bytes the entry takes in a frame."""
        version = body_in(entry.change)
        if version is None:
            return _RECORD_BYTES
        weight = _RECORD_BYTES + _PART_BYTES * len(version.meta.parts)
        is_sent = self._is_inline(version) and self._goes_there(version)
        return weight + version.size if is_sent else weight

    def _limit(self) -> int:
        return self._batches.limit(self._home.clock.monotonic())

    def _goes_there(self, version: Version) -> bool:
        return goes_to(self._home, self._peer.name, version)

    def _is_inline(self, version: Version) -> bool:
        most = min(INLINE_BYTES_MAX, self._limit())
        if version.size > most or is_elsewhere(version.extents):
            return False
        origin = stamp_origin(version.stamp)
        if origin == self._peer.dc_id and self._after >= self._give_back_until:
            # Most probably it has them.
            return False
        return origin == self._home.dc_id or origin not in self._direct

    async def _tell(self, send: Send, last: int, group: list[FeedEntry]) -> None:
        """Send one batch that ends at `last`."""
        bodies = await self._bodies(group)
        sealer, sealing_key = self._home.sealer, self._peer.sealing_key
        records = [
            wire.encode_record(outgoing(entry.seq, entry.change, body, sealer, sealing_key))
            for entry, body in zip(group, bodies, strict=True)
        ]
        if len(group) > 1 and sum(map(len, records)) > FRAME_BYTES_MAX // 2:
            # Metadata that another DC let in may weigh more than `_weight` takes it to.
            half = len(group) // 2
            await self._tell(send, group[half - 1].seq, group[:half])
            await self._tell(send, last, group[half:])
            return
        if group and len(records[0]) > RECORD_BYTES_MAX:
            records = [self._reduced(group[0])]
        if group:
            self._outbound.sends(self, group[-1].seq)
        end = max(self._home.names.feed_end, last)
        frame = wire.encode_batch(self._told, last, end, records, self._packer)
        self._batches.sent(last, len(frame))
        await self._send(send, frame)
        self._outbound.records += len(records)
        self._told = last
        self._told_at = self._home.clock.monotonic()

    def _reduced(self, entry: FeedEntry) -> bytes:
        """The record of an entry that no frame holds: without its body, if that is enough. Else it
        is shown at the peer, and the others go on."""
        home = self._home
        body = withheld(home, self._peer.name, entry.change)
        bare = outgoing(entry.seq, entry.change, body, home.sealer, self._peer.sealing_key)
        record = wire.encode_record(bare)
        if len(record) <= RECORD_BYTES_MAX:
            return record
        what, reason = "a change", f"its record has {len(record)} bytes"
        return wire.encode_record(wire.UnreadableRecord(seq=entry.seq, what=what, reason=reason))

    async def _bodies(self, group: list[FeedEntry]) -> list[bytes | None]:
        """The bodies that travel with the entries. One that cannot be read now stays out: the
        consumer asks for it, and shows why it does not get it."""
        bodies: list[bytes | None] = []
        cold: list[tuple[int, Version]] = []
        for index, entry in enumerate(group):
            version = body_in(entry.change)
            body = None
            if version is not None and not self._goes_there(version):
                body = wire.WITHHELD
            elif version is not None and self._is_inline(version):
                try:
                    body = self._home.objects.read_cached(version.extents)
                    if body is None:
                        cold.append((index, version))
                except ObjectsError:
                    body = None
            bodies.append(body)
        for begin in range(0, len(cold), COLD_READS_MAX):
            some = cold[begin : begin + COLD_READS_MAX]
            read = await asyncio.gather(*(self._read(version) for _, version in some))
            for (index, _), body in zip(some, read, strict=True):
                bodies[index] = body
        return bodies

    async def _read(self, version: Version) -> bytes | None:
        pieces = []
        try:
            async for piece in self._home.objects.read(version.extents, 0, version.size):
                pieces.append(piece)
        except ObjectsError:
            return None
        return b"".join(pieces)

    async def _send(self, send: Send, frame: bytes) -> None:
        async with asyncio.timeout(STALLED_SECONDS_MAX + self._patience(len(frame))):
            await send(frame)
        self._outbound.bytes += len(frame)
