"""Fetching one body that did not come with the feed.

A body of up to 256 KiB is one request. A larger one is fetched in ranges of 8 MiB (larger for
huge bodies), a few at a time, each written to the object servers as it streams in and made durable
by itself. A finished range is recorded in the inbox entry at once, so that after a crash only what
lacks is fetched; what is found recorded is read back and checked first.

What was seen to be whole is not read again by further attempts of this process.

A range whose connection is cut goes on at the byte where it was cut: what had come of it is made
durable and recorded like a range, unless it is next to nothing. It is asked for again at once, for
as long as each attempt brings something. When one range gives up, the others are let come to their
end first: a line that is cut often brings little at a time, and none of it may be thrown away. Such
a part has no CRC of its sender; if one is wrong, the CRC of the whole tells, and all is fetched
anew. On a line that breaks before it has carried what is worth keeping less is fetched at once, and
less is worth keeping; then small bodies, too, are fetched by ranges (`replicator/appetite.py`).

Each range comes with the CRC-64/NVME that its sender computed while reading. When all are here the
CRCs are combined, and must give the one the object got when it was written in its origin. Only
then may the version be applied. A body that fails this is forgotten as a whole.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple

import aiohttp
from awscrt.checksums import combine_crc64nvme, crc64nvme

from dc.names.model import Extent
from dc.objects.api import BodyWriter, ObjectsError
from dc.worker import TaskGroup
from replicator import messages, wire
from replicator.appetite import Appetite
from replicator.client import PeerClient
from replicator.errors import BodyCorrupt, BodyUnavailable, ReplicatorError
from replicator.home import Home
from replicator.limits import (
    CUT_BYTES_MIN,
    CUT_PIECES_MAX,
    CUT_SAVE_SECONDS,
    INLINE_BYTES_MAX,
    MIB,
    OTHERS_SECONDS_MAX,
    RANGE_BYTES,
    RANGES_AT_ONCE,
    RANGES_PER_BODY_MAX,
)
from replicator.records import check_body, ident_of, incoming_version, range_ident

_CRC_BYTES = 8
_CUT = (aiohttp.ClientError, OSError, TimeoutError)
"""What breaks a connection raises, when the head of the answer has come."""
Extents = list[tuple[int, Extent]]
Save = Callable[[Extents], Awaitable[None]]


class Piece(NamedTuple):
    """A range of the body that is durable here."""

    start: int
    length: int
    crc: int
    extents: list[Extent]

    @property
    def stop(self) -> int:
        return self.start + self.length


class _Got:
    """What has come of a range, and is written."""

    crc = length = 0


class Transfer:
    """One body from one peer. `appetite` bounds the ranges of all transfers together; `save` makes
    progress durable; `took` is told of bytes that arrived."""

    def __init__(
        self,
        home: Home,
        client: PeerClient,
        record: wire.VersionRecord,
        *,
        appetite: Appetite,
        save: Save,
        took: Callable[[int], None],
        known: dict[int, "Piece"] | None = None,
    ) -> None:
        """`known`: pieces by where they start that earlier attempts have seen to be whole; filled
        here."""
        self._home = home
        self._client = client
        self._record = record
        self._appetite = appetite
        self._large = record.size > INLINE_BYTES_MAX
        self._save = save
        self._took = took
        self._known = {} if known is None else known
        self._pieces: list[Piece] = []
        self._superseded = False
        self._problem: Exception | None = None
        """Why the first range gave up."""
        self._problem_at = self._saved_at = home.clock.monotonic()
        self._saving = asyncio.Lock()
        self._saved = 0

    async def run(self, there: Extents) -> list[Extent] | None:
        """The extents of the whole body, durable and checked; None when the peer has a newer
        state. `there` are the ranges recorded by an earlier attempt."""
        if not self._large and not (self._appetite.is_small or there):
            return await self._small()
        self._pieces = await self._verified(there)
        self._saved = len(self._pieces)
        missing = iter(missing_ranges(self._pieces, self._record.size))
        async with TaskGroup() as group:
            for _ in range(RANGES_AT_ONCE):
                group.create_task(self._fetch_some(missing))
        if self._problem is not None:
            if self._saved < len(self._pieces):
                await self._record_progress(whole=True)
            raise self._problem
        if self._superseded:
            return None
        return await self._whole()

    async def _small(self) -> list[Extent] | None:
        size = self._record.size
        async with self._appetite.slot(large=False) as began:
            try:
                async with self._client.body(self._ask(0, size)) as content:
                    if content is None:
                        return None
                    body = await _exactly(content, size)
                    self._took(size)
            except _CUT:
                self._appetite.cut(began)
                raise
        check_body(self._record, body)
        ident = ident_of(incoming_version(self._record, []))
        return await self._home.objects.put(ident, body, tier=self._tier())

    def _tier(self) -> str:
        return self._home.tier(self._record.bucket)

    def _ask(self, start: int, stop: int) -> messages.BodyAsk:
        record = self._record
        return messages.BodyAsk(record.bucket, record.key, record.vid, record.stamp, start, stop)

    async def _fetch_some(self, missing: Iterator[tuple[int, int]]) -> None:
        """Fetch ranges, one after the other, until none is left or one gives up."""
        for start, stop in missing:
            reached = start
            while reached < stop and not self._superseded and self._problem is None:
                async with self._appetite.slot(large=self._large) as began:
                    if self._superseded or self._problem is not None:
                        return
                    upto = min(stop, reached + self._range_bytes())
                    try:
                        piece = await self._range(reached, upto)
                    except (ReplicatorError, *_CUT) as error:
                        if isinstance(error, _CUT):
                            self._appetite.cut(began)
                        self._gave_up(error)
                        return
                if piece is None:
                    self._superseded = True
                    return
                self._pieces.append(piece)
                reached = piece.stop
                await self._record_progress(reached == upto)

    def _gave_up(self, error: Exception) -> None:
        if self._problem is None:
            self._problem, self._problem_at = error, self._home.clock.monotonic()

    def _range_bytes(self) -> int:
        return max(self._appetite.range_bytes, self._record.size // RANGES_PER_BODY_MAX)

    def _is_worth_keeping(self, length: int) -> bool:
        least = max(self._appetite.kept_bytes, self._record.size // CUT_PIECES_MAX)
        return length >= min(least, CUT_BYTES_MIN)

    async def _range(self, start: int, stop: int) -> Piece | None:
        """The range, or its beginning when the connection was cut; None when it is superseded.
        Raises what cut it when next to nothing had come."""
        ident, got = range_ident(self._record, start), _Got()
        writer = self._home.objects.writer(ident, tier=self._tier())
        try:
            try:
                async with self._client.body(self._ask(start, stop)) as content:
                    if content is None:
                        return None
                    await self._stream(content, stop - start, writer, got)
            except (BodyUnavailable, *_CUT):
                if not self._is_worth_keeping(got.length):
                    raise
            self._appetite.brought(got.length)
            extents = await writer.finish()
        finally:
            writer.abort()
        return Piece(start, got.length, got.crc, extents)

    async def _stream(
        self, content: aiohttp.StreamReader, length: int, writer: BodyWriter, got: "_Got"
    ) -> None:
        """Write `length` bytes, whose CRC must be the one that follows them."""
        while got.length < length:
            data = await content.read(min(length - got.length, MIB))
            if not data:
                raise BodyUnavailable(f"the body ended {length - got.length} bytes early")
            got.crc = crc64nvme(data, got.crc)
            got.length += len(data)
            self._took(len(data))
            await writer.write(data)
            self._check_others()
        sent = int.from_bytes(await _exactly(content, 0), "big")
        if sent != got.crc:
            raise BodyCorrupt("a range arrived with other bytes than were sent")

    def _check_others(self) -> None:
        """Who still goes on when another range has given up may not do so for ever."""
        waited = self._home.clock.monotonic() - self._problem_at
        if self._problem is not None and waited > OTHERS_SECONDS_MAX:
            raise BodyUnavailable("another range of the body has given up") from self._problem

    async def _record_progress(self, whole: bool) -> None:
        """Make finished ranges durable; those that finish meanwhile share the next commit. Parts
        of ranges wait for each other."""
        if not whole and self._home.clock.monotonic() - self._saved_at < CUT_SAVE_SECONDS:
            return
        async with self._saving:
            if self._saved < len(self._pieces):
                count = len(self._pieces)
                self._saved_at = self._home.clock.monotonic()
                await self._save(placed(self._pieces))
                self._known.update((one.start, one) for one in self._pieces[self._saved : count])
                self._saved = count

    async def _verified(self, there: Extents) -> list[Piece]:
        """The recorded ranges whose bytes are still here and whole."""
        kept = set(there)
        pieces = [one for one in self._known.values() if kept.issuperset(placed([one]))]
        seen = {one for piece in pieces for one in placed([piece])}
        reached = 0
        for start, extent in sorted(kept - seen, key=lambda one: one[0]):
            if start < reached or start + extent.length > self._record.size:
                continue
            crc = 0
            try:
                async for data in self._home.objects.read([extent], 0, extent.length):
                    crc = crc64nvme(data, crc)
            except ObjectsError:
                continue
            pieces.append(Piece(start, extent.length, crc, [extent]))
            reached = start + extent.length
        return pieces

    async def _whole(self) -> list[Extent]:
        crc, reached = 0, 0
        extents: list[Extent] = []
        for piece in sorted(self._pieces, key=lambda one: one.start):
            assert piece.start == reached
            crc = combine_crc64nvme(crc, piece.crc, piece.length)
            reached = piece.stop
            extents += piece.extents
        if reached != self._record.size or crc != self._record.meta.crc64:
            self._known.clear()
            await self._save([])
            raise BodyCorrupt("the whole body does not have the object's CRC-64/NVME")
        return extents


def placed(pieces: list[Piece]) -> Extents:
    """The extents of pieces with their places in the body."""
    result: Extents = []
    for piece in sorted(pieces, key=lambda one: one.start):
        at = piece.start
        for extent in piece.extents:
            result.append((at, extent))
            at += extent.length
    return result


def missing_ranges(pieces: list[Piece], size: int) -> list[tuple[int, int]]:
    """What of a body lacks, in ranges of bounded length."""
    step = RANGE_BYTES
    if size > step * RANGES_PER_BODY_MAX:
        step = (size // RANGES_PER_BODY_MAX // MIB + 1) * MIB
    ranges = []
    reached = 0
    ends = [(piece.start, piece.stop) for piece in sorted(pieces, key=lambda one: one.start)]
    for start, stop in [*ends, (size, size)]:
        while reached < start:
            upto = min(reached + step, start)
            ranges.append((reached, upto))
            reached = upto
        reached = max(reached, stop)
    return ranges


async def _exactly(content: aiohttp.StreamReader, length: int) -> bytes:
    """The next `length` bytes and the CRC that ends the answer; returns the bytes, or the CRC
    when none are asked for."""
    try:
        data = await content.readexactly(length + _CRC_BYTES)
    except asyncio.IncompleteReadError:
        raise BodyUnavailable("the body ended early") from None
    return data[:length] if length else data
