"""The bytes of a container: the one place that writes and reads them.

A container is a header of 64 bytes and then records, back to back, appended and never changed. A
record is

    header | ident | CRC table | data

The table has one CRC32C for each block of 64 KiB of the data, and stands immediately before the
data, so a small body is read and checked with one read of table and data, and a range of a large
one with the blocks that overlap it. An `Extent` points at the data; its length tells the size of
the table.

Every CRC is seeded with the container's id and the offset of what it covers. So bytes that are
whole but in the wrong place (swapped blocks, a file under another's name, an old write that came
late) are as wrong as flipped ones. The record's own CRC covers header, ident and table: what a
scan relies on, and what a plain read does not need.

All numbers are little-endian. `docs/containers.md` has the layout byte by byte.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from awscrt.checksums import crc32c

from dc.names.model import Extent
from dc.objects.api import SMALL_MAX_BYTES, STANDARD, CorruptData
from dc.ports import Buffer

VERSION = 1

BLOCK_BYTES = 1 << 16
"""What one CRC covers: the least that is read to serve one byte of a range."""

RECORD_MAX_BYTES = SMALL_MAX_BYTES
"""The most data in a record: what a reader holds in memory for one piece."""

IDENT_MAX_BYTES = 0xFFFF
"""The ident's length is a field of 16 bits."""

CONTAINER_LIMIT_BYTES = 1 << 32
"""Offsets stay below this, so that every block of a container has another seed."""

HEADER_BYTES = 64
_HEADER = struct.Struct("<8sHBBHHQQI28s")
_HEADER_MAGIC = b"FSHCNTNR"
_HEADER_CRC_AT = HEADER_BYTES - 4
_TIER_AT = 36

RECORD_HEADER_BYTES = 24
_RECORD = struct.Struct("<4sBBHIQ")
RECORD_MAGIC = b"FSHR"
_KIND_DATA = 1

FLAG_LAST = 1
"""The record holds the last byte of its body."""

_CRC = struct.Struct("<I")
_MASK = 0xFFFFFFFF


class Header(NamedTuple):
    """What a container says of itself. `k`, `m` and `slot` are its redundancy mode and its place
    in it; 1, 0 and 0 for a container that is a single file. `tier` is what it was begun for."""

    container: int
    created_ms: int
    k: int = 1
    m: int = 0
    slot: int = 0
    tier: str = STANDARD


class RecordHeader(NamedTuple):
    """The fixed part of a record. `position` is where its data begins in the body."""

    flags: int
    ident_length: int
    data_length: int
    position: int
    crc: int

    @property
    def data_offset(self) -> int:
        """Where the data begins, counted from the start of the record."""
        return RECORD_HEADER_BYTES + self.ident_length + table_bytes(self.data_length)

    @property
    def length(self) -> int:
        return self.data_offset + self.data_length


class Encoded(NamedTuple):
    """A record ready to be appended: `head` is everything before the data."""

    head: bytes
    extent: Extent


def file_name(container: int) -> str:
    return f"{container:016x}.fsc"


def container_of(name: str) -> int | None:
    """The id in a file's name, or None when it is not a container's."""
    stem, dot, suffix = name.partition(".")
    if dot and suffix == "fsc" and len(stem) == 16 and not stem.strip("0123456789abcdef"):
        return int(stem, 16)
    return None


def container_seed(container: int) -> int:
    checked: int = crc32c(container.to_bytes(8, "little"))
    return checked


def table_bytes(length: int) -> int:
    """The size of the CRC table of `length` bytes of data."""
    return (length + BLOCK_BYTES - 1) // BLOCK_BYTES * 4


def encode_header(header: Header) -> bytes:
    body = _HEADER.pack(
        _HEADER_MAGIC,
        VERSION,
        header.k,
        header.m,
        header.slot,
        0,
        header.container,
        header.created_ms,
        BLOCK_BYTES,
        b"" if header.tier == STANDARD else header.tier.encode("ascii"),
    )[:_HEADER_CRC_AT]
    return body + _CRC.pack(crc32c(body))


def decode_header(raw: bytes) -> Header:
    """Raises CorruptData, also for a version that this code does not know."""
    if len(raw) < HEADER_BYTES or raw[:8] != _HEADER_MAGIC:
        raise CorruptData("not a container: the file does not begin with a container header")
    if _CRC.unpack_from(raw, _HEADER_CRC_AT)[0] != crc32c(raw[:_HEADER_CRC_AT]):
        raise CorruptData("the container header is damaged: its CRC does not match")
    _, version, k, m, slot, _, container, created_ms, block, _ = _HEADER.unpack_from(raw)
    if version != VERSION or block != BLOCK_BYTES:
        raise CorruptData(
            f"container format version {version} with blocks of {block} bytes is not known here; "
            f"this is version {VERSION} with {BLOCK_BYTES}: use a newer Farshore"
        )
    tier = raw[_TIER_AT:_HEADER_CRC_AT].rstrip(b"\0").decode("ascii", "replace")
    return Header(container, created_ms, k, m, slot, tier or STANDARD)


def encode_record(
    container: int,
    seed: int,
    offset: int,
    ident: bytes,
    buffers: Sequence[Buffer],
    length: int,
    position: int,
    flags: int,
) -> Encoded:
    """The record of `buffers` (`length` bytes in all) to be written at `offset`. `seed` is
    `container_seed(container)`."""
    data_at = offset + RECORD_HEADER_BYTES + len(ident) + table_bytes(length)
    if length <= BLOCK_BYTES and len(buffers) == 1:
        table = _CRC.pack(crc32c(buffers[0], (seed ^ data_at) & _MASK))
    else:
        crcs = _block_crcs(buffers, seed, data_at)
        table = struct.pack(f"<{len(crcs)}I", *crcs)
    fixed = _RECORD.pack(RECORD_MAGIC, _KIND_DATA, flags, len(ident), length, position)
    crc = _record_crc(fixed, ident, table, seed, offset)
    return Encoded(
        b"".join((fixed, _CRC.pack(crc), ident, table)), Extent(container, data_at, length)
    )


def decode_record(raw: Buffer) -> RecordHeader | None:
    """The fixed part of a record; None when `raw` does not begin with one."""
    if len(raw) < RECORD_HEADER_BYTES:
        return None
    magic, kind, flags, ident_length, length, position = _RECORD.unpack_from(raw)
    if magic != RECORD_MAGIC or kind != _KIND_DATA or not 0 < length <= RECORD_MAX_BYTES:
        return None
    crc = _CRC.unpack_from(raw, RECORD_HEADER_BYTES - 4)[0]
    return RecordHeader(flags, ident_length, length, position, crc)


def record_holds(raw: bytes, header: RecordHeader, seed: int, offset: int) -> bool:
    """Whether the record at `offset` has the header, ident and table that were written. `raw`
    begins with all of these."""
    table_at = RECORD_HEADER_BYTES + header.ident_length
    ident = raw[RECORD_HEADER_BYTES:table_at]
    table = raw[table_at : header.data_offset]
    fixed = raw[: RECORD_HEADER_BYTES - 4]
    return _record_crc(fixed, ident, table, seed, offset) == header.crc


def verify_blocks(table: Buffer, data: memoryview, container: int, seed: int, offset: int) -> None:
    """Check `data`, which begins with a block at `offset`, against its part of the CRC table.
    Raises CorruptData."""
    count = len(table) // 4
    assert count == (len(data) + BLOCK_BYTES - 1) // BLOCK_BYTES, "one CRC for each block"
    for index, want in enumerate(struct.unpack(f"<{count}I", table)):
        start = index * BLOCK_BYTES
        block = data[start : start + BLOCK_BYTES]
        if crc32c(block, seed ^ (offset + start)) != want:
            raise corrupt(container, offset + start, len(block))


def verify_small(raw: bytes, container: int, seed: int, offset: int) -> bytes:
    """The data of a body of one block, whose CRC and data are `raw`; `offset` is the data's.
    Raises CorruptData."""
    data = raw[4:]
    if crc32c(data, seed ^ offset) != _CRC.unpack_from(raw)[0]:
        raise corrupt(container, offset, len(data))
    return data


def corrupt(container: int, offset: int, length: int) -> CorruptData:
    return CorruptData(
        f"container {container:016x}: the {length} bytes at offset {offset} are not those that "
        "were written (CRC32C differs)"
    )


def _record_crc(fixed: bytes, ident: bytes, table: bytes, seed: int, offset: int) -> int:
    crc: int = crc32c(b"".join((fixed, ident, table)), seed ^ offset)
    return crc


def _block_crcs(buffers: Sequence[Buffer], seed: int, offset: int) -> list[int]:
    """The CRC of each block of the data that `buffers` hold one after the other."""
    crcs = []
    crc, room = seed ^ offset, BLOCK_BYTES
    for buffer in buffers:
        view = memoryview(buffer)
        start, stop = 0, len(view)
        while stop - start >= room:
            crcs.append(crc32c(view[start : start + room], crc))
            start += room
            offset += BLOCK_BYTES
            crc, room = seed ^ offset, BLOCK_BYTES
        if start < stop:
            crc = crc32c(view[start:], crc)
            room -= stop - start
    if room < BLOCK_BYTES:
        crcs.append(crc)
    return crcs
