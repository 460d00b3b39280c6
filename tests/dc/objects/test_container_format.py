"""The bytes of version 1, kept: they must be read, and written alike, for ever."""

import pytest
from awscrt.checksums import crc32c
from hypothesis import given
from hypothesis import strategies as st
from object_checks import FOLDER
from object_disks import MemoryDisk

from dc.names.model import Extent
from dc.objects.api import CorruptData
from dc.objects.format import (
    BLOCK_BYTES,
    FLAG_LAST,
    HEADER_BYTES,
    Header,
    container_of,
    container_seed,
    decode_header,
    decode_record,
    encode_header,
    encode_record,
    file_name,
    table_bytes,
)
from dc.objects.scan import Record, scan

CONTAINER = 0x018BCFE56800A1B2
CREATED_MS = 1_700_000_000_000
HEADER_V1 = (
    "465348434e544e520100010000000000b2a10068e5cf8b010068e5cf8b010000"
    "00000100000000000000000000000000000000000000000000000000cb27a561"
)
RECORD_V1 = (
    "4653485201010a00080000000000100000000000d616cef16275636b65742f6b6579ec3f067466617273686f7265"
)
"""A record of b"farshore" with the ident b"bucket/key", which is the last of its body and begins
at byte 1048576 of it."""
TABLE_V1 = "b13401b4e6c43027"
"""The CRC table of the second record: 65537 bytes of 0xAB."""


def record(offset: int, ident: bytes, data: bytes, position: int, flags: int) -> bytes:
    head, extent = encode_record(
        CONTAINER,
        container_seed(CONTAINER),
        offset,
        ident,
        [data],
        len(data),
        position,
        flags,
    )
    assert extent == Extent(CONTAINER, offset + len(head), len(data))
    return head + data


def test_bytes_of_version_1_are_written_alike() -> None:
    assert encode_header(Header(CONTAINER, CREATED_MS)).hex() == HEADER_V1
    first = record(64, b"bucket/key", b"farshore", 1 << 20, FLAG_LAST)
    assert first.hex() == RECORD_V1
    second = record(64 + len(first), b"", b"\xab" * (BLOCK_BYTES + 1), 0, 0)
    assert second[24:32].hex() == TABLE_V1


def test_bytes_of_version_1_are_read() -> None:
    first = bytes.fromhex(RECORD_V1)
    second = record(64 + len(first), b"", b"\xab" * (BLOCK_BYTES + 1), 0, 0)
    content = bytes.fromhex(HEADER_V1) + first + second
    path = FOLDER / file_name(CONTAINER)
    scanned = scan(MemoryDisk({path: content}).open(path))
    assert scanned.header == Header(CONTAINER, CREATED_MS, k=1, m=0, slot=0)
    assert list(scanned) == [
        Record(64, b"bucket/key", 1 << 20, True, Extent(CONTAINER, 64 + 38, 8), True),
        Record(110, b"", 0, False, Extent(CONTAINER, 110 + 32, BLOCK_BYTES + 1), True),
    ]
    assert (scanned.good_end, scanned.torn) == (len(content), False)


def test_an_unknown_version_is_refused_by_name() -> None:
    raw = bytearray(encode_header(Header(CONTAINER, CREATED_MS)))
    raw[8] = 2
    with pytest.raises(CorruptData, match="CRC"):
        decode_header(bytes(raw))
    raw[60:] = container_crc(bytes(raw[:60]))
    with pytest.raises(CorruptData, match="version 2"):
        decode_header(bytes(raw))


def container_crc(body: bytes) -> bytes:
    return int(crc32c(body)).to_bytes(4, "little")


@given(
    container=st.integers(0, 2**63 - 1),
    created=st.integers(0, 2**47),
    k=st.integers(1, 255),
    m=st.integers(0, 255),
    slot=st.integers(0, 0xFFFF),
)
def test_headers_round_trip(container: int, created: int, k: int, m: int, slot: int) -> None:
    header = Header(container, created, k, m, slot)
    raw = encode_header(header)
    assert len(raw) == HEADER_BYTES
    assert decode_header(raw) == header
    assert container_of(file_name(container)) == container


@given(st.binary(max_size=200))
def test_any_bytes_are_a_header_or_corrupt_data(raw: bytes) -> None:
    with pytest.raises(CorruptData):
        decode_header(raw)
    with pytest.raises(CorruptData):
        decode_header(b"FSHCNTNR" + raw)
    decode_record(raw)
    decode_record(b"FSHR\x01" + raw)


@given(st.lists(st.binary(max_size=BLOCK_BYTES * 2), min_size=1, max_size=5), st.data())
def test_the_table_does_not_depend_on_how_the_data_are_cut(
    buffers: list[bytes], data: st.DataObject
) -> None:
    body = b"".join(buffers) * data.draw(st.sampled_from([1, 1000])) or b"x"
    body = body[: 1 << 20]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    parts = [
        memoryview(body)[low:high] for low, high in zip([0, *cuts], [*cuts, len(body)], strict=True)
    ]
    seed = container_seed(CONTAINER)
    whole, extent = encode_record(CONTAINER, seed, 1000, b"i", [body], len(body), 0, 0)
    cut, same = encode_record(CONTAINER, seed, 1000, b"i", parts, len(body), 0, 0)
    assert (whole, extent) == (cut, same)
    assert len(whole) == 24 + 1 + table_bytes(len(body))


@pytest.mark.parametrize(
    "name", ["", "x", "0.fsc", f"{1:016X}.fsd", "00000000000000zz.fsc", "0" * 16, "lost+found"]
)
def test_other_names_are_no_containers(name: str) -> None:
    assert container_of(name) is None
