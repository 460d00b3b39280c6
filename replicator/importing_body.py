"""A body that comes in pieces of a file: stored in ranges, each noted in the inbox when durable.

It is a `Transfer` whose bytes are handed to it: ranges, what is read back after a restart, and the
check of the whole are the same. Pieces come in their order; what is here already passes by.
"""

from collections import deque

import msgspec
from awscrt.checksums import crc64nvme

from dc.names.model import Extent, Inboxed
from dc.objects.api import BodyWriter
from replicator import wire
from replicator.appetite import Appetite
from replicator.client import PeerClient
from replicator.errors import FileRefused
from replicator.home import Home
from replicator.limits import INLINE_BYTES_MAX
from replicator.records import body_asked, check_body, ident_of, incoming_version, range_ident
from replicator.transfer import Extents, Piece, Transfer, missing_ranges


class FiledBody(Transfer):
    """Of one entry of the inbox."""

    def __init__(self, home: Home, client: PeerClient, entry: Inboxed) -> None:
        self.entry = entry
        self.record = record = wire.decode_record(entry.change)
        wanted = body_asked(record)
        if wanted is None or not isinstance(record, wire.VersionRecord | wire.ConflictRecord):
            raise FileRefused("not_readable", f"a body for position {entry.seq}, which has none")
        self.written = record
        super().__init__(
            home,
            client,
            wanted,
            appetite=Appetite(),
            save=self._keep,
            took=lambda _: None,
        )
        self._missing: deque[tuple[int, int]] = deque()
        self._at = 0
        self._crc = 0
        self._writer: BodyWriter | None = None

    async def _keep(self, extents: Extents) -> None:
        self.entry = msgspec.structs.replace(self.entry, extents=extents)
        await self._home.names.inbox_update([self.entry])

    async def begin(self) -> None:
        """Find what lacks."""
        if self._record.size > INLINE_BYTES_MAX:
            self._pieces = await self._verified(self.entry.extents)
            self._saved = len(self._pieces)
            self._missing.extend(missing_ranges(self._pieces, self._record.size))

    async def take(self, start: int, data: bytes | memoryview) -> list[Extent] | None:
        """The next bytes, which begin at `start`. When the body is whole: where it is, durable and
        checked. BodyCorrupt when it is not the object's."""
        if self._record.size <= INLINE_BYTES_MAX:
            check_body(self._record, bytes(data))
            ident = ident_of(incoming_version(self._record, []))
            return await self._home.objects.put(ident, bytes(data), tier=self._tier())
        while self._missing:
            first, stop = self._missing[0]
            begin = first if self._writer is None else self._at
            if start > begin:
                raise FileRefused("not_readable", f"a body goes on at {start}, not at {begin}")
            some = data[begin - start : stop - start]
            if not some:
                return None
            await self._store(first, stop, some)
            if self._at < stop:
                return None
        if start + len(data) < self._record.size:
            return None
        return await self._whole()

    async def _store(self, first: int, stop: int, data: bytes | memoryview) -> None:
        if self._writer is None:
            ident = range_ident(self._record, first)
            self._writer = self._home.objects.writer(ident, tier=self._tier())
            self._at, self._crc = first, 0
        self._crc = crc64nvme(bytes(data), self._crc)
        await self._writer.write(data)
        self._at += len(data)
        if self._at == stop:
            writer, self._writer = self._writer, None
            extents = await writer.finish()
            self._pieces.append(Piece(first, stop - first, self._crc, extents))
            self._missing.popleft()
            await self._record_progress(whole=True)

    def abort(self) -> None:
        """No more of it comes. What is durable of it stays."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.abort()
