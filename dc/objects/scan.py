"""Reading a container from its beginning: what a rebuild of the name server, a scrub and the tests
do with it.

A scan goes from record to record by the lengths in their headers, each of which is covered by a
CRC. It ends at the first place where no whole record stands: the end of the file, or a torn tail,
which is what a crash in the middle of an append leaves. Nothing from there on was acknowledged,
because a group is synced as a whole and groups are written in order. (When the header of a record
rots later, what comes after it is not found by a scan, while the name server's extents still find
it: a scrub that sees a scan end before the last extent it knows of has found such damage.)

A record whose data are damaged does not end the scan: it comes with `intact` false.

All of it blocks: call it inside `Disk.run`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dc.names.model import Extent
from dc.objects.api import CorruptData
from dc.objects.format import (
    FLAG_LAST,
    HEADER_BYTES,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    RecordHeader,
    container_seed,
    decode_header,
    decode_record,
    record_holds,
    verify_blocks,
)
from dc.ports import File

WINDOW_BYTES = 4 << 20
"""Read at a time: more than the largest record."""

SKIP_BYTES = 1 << 20
"""Looked through at a time for the next whole record."""


class Record(NamedTuple):
    """A record as a scan finds it. `position` is where its data begins in the body, and `last`
    says that the body ends with it."""

    offset: int
    ident: bytes
    position: int
    last: bool
    extent: Extent
    intact: bool


class Scan:
    """Iterate over it for the records; then `good_end` is where the last whole one ends, and
    `torn` whether there are other bytes after it. Raises CorruptData when the container's own
    header is damaged, OSError when the disk fails."""

    def __init__(self, file: File) -> None:
        self.header = decode_header(file.read(HEADER_BYTES, 0))
        self.good_end = HEADER_BYTES
        self.torn = False
        self._file = file
        self._seed = container_seed(self.header.container)
        self._window = b""
        self._window_at = 0

    def __iter__(self) -> Iterator[Record]:
        while (record := self._next(self.good_end)) is not None:
            self.good_end = record.extent.offset + record.extent.length
            yield record
        self.torn = self._file.size() > self.good_end

    def skip(self) -> bool:
        """After the end: go to the next whole record behind bytes that are none, if there is one,
        and go on there. What it is found by cannot be in the data of another."""
        at = self.good_end + 1
        while len(window := self._bytes(at, SKIP_BYTES)) >= RECORD_HEADER_BYTES:
            place = window.find(RECORD_MAGIC)
            while place >= 0:
                if self._next(at + place) is not None:
                    self.good_end = at + place
                    return True
                place = window.find(RECORD_MAGIC, place + 1)
            at += len(window) - len(RECORD_MAGIC) + 1
        return False

    def _next(self, offset: int) -> Record | None:
        """The record at `offset`, or None when there is no whole one."""
        header = decode_record(self._bytes(offset, RECORD_HEADER_BYTES))
        if header is None:
            return None
        raw = self._bytes(offset, header.length)
        if len(raw) < header.length or not record_holds(raw, header, self._seed, offset):
            return None
        return Record(
            offset,
            raw[RECORD_HEADER_BYTES : RECORD_HEADER_BYTES + header.ident_length],
            header.position,
            bool(header.flags & FLAG_LAST),
            Extent(self.header.container, offset + header.data_offset, header.data_length),
            self._intact(raw, header, offset),
        )

    def _intact(self, raw: bytes, header: RecordHeader, offset: int) -> bool:
        view = memoryview(raw)
        table = view[RECORD_HEADER_BYTES + header.ident_length : header.data_offset]
        data = view[header.data_offset :]
        at = offset + header.data_offset
        try:
            verify_blocks(table, data, self.header.container, self._seed, at)
        except CorruptData:
            return False
        return True

    def _bytes(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end of the file."""
        start = offset - self._window_at
        if start < 0 or start + length > len(self._window):
            self._window = self._file.read(max(length, WINDOW_BYTES), offset)
            self._window_at, start = offset, 0
        return self._window[start : start + length]


def scan(file: File) -> Scan:
    """The records of the container in `file`."""
    return Scan(file)
