"""Idents: what was written can be read, also by later programs; nothing else is taken for one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dc.names.model import Kind, Meta, Register, Version
from dc.objects.format import IDENT_MAX_BYTES
from dc.objects.ident import (
    Piece,
    Refusal,
    SegmentIdent,
    Whole,
    body_ident,
    decode_ident,
    refusal_ident,
    segment_ident,
    version_ident,
)

STAMP = "0123456789abcdef" * 2
VERSION = Version(
    "b" * 16,
    "kéy",
    "f" * 32,
    STAMP,
    Kind.OBJECT,
    5,
    "e" * 32,
    Meta(content_type="text/plain", user={"a": "b"}, crc64=7),
    [],
    registers={"acl": Register(STAMP, "x")},
)
SEGMENT = SegmentIdent("00000001ab", 5 << 32, 3, 9, 4, STAMP, True)

# As they are on the disks of datacenters that were there before.
LAST_OF_LARGE = bytes.fromhex(
    "9b03b062626262626262626262626262626262a46bc3a979d920666666666666666666666666666666666666"
    "6666666666666666666666666666d92030313233343536373839616263646566303132333435363738396162"
    "636465660005d920656565656565656565656565656565656565656565656565656565656565656583ac636f"
    "6e74656e745f74797065aa746578742f706c61696ea47573657281a161a162a563726336340781a361636c92"
    "d9203031323334353637383961626364656630313233343536373839616263646566a178d920303132333435"
    "3637383961626364656630313233343536373839616263646566"
)
SMALL = bytes.fromhex(
    "9b03b062626262626262626262626262626262a46bc3a979d920666666666666666666666666666666666666"
    "6666666666666666666666666666d92030313233343536373839616263646566303132333435363738396162"
    "636465660005d920656565656565656565656565656565656565656565656565656565656565656583ac636f"
    "6e74656e745f74797065aa746578742f706c61696ea47573657281a161a162a563726336340781a361636c92"
    "d9203031323334353637383961626364656630313233343536373839616263646566a178a0"
)
WITHOUT_REGISTERS = bytes.fromhex(
    "9901b062626262626262626262626262626262a46bc3a979d920666666666666666666666666666666666666"
    "6666666666666666666666666666d92030313233343536373839616263646566303132333435363738396162"
    "636465660005d920656565656565656565656565656565656565656565656565656565656565656583ac636f"
    "6e74656e745f74797065aa746578742f706c61696ea47573657281a161a162a5637263363407"
)
PART = bytes.fromhex(
    "9702b062626262626262626262626262626262a46bc3a979a0d9203031323334353637383961626364656630"
    "313233343536373839616263646566a2757003"
)
SEGMENT_BYTES = bytes.fromhex(
    "9804aa30303030303030316162cf0000000500000000030904d9203031323334353637383961626364656630"
    "313233343536373839616263646566c3"
)
REFUSAL = bytes.fromhex(
    "9505b062626262626262626262626262626262a46bc3a979d920666666666666666666666666666666666666"
    "6666666666666666666666666666d92030313233343536373839616263646566303132333435363738396162"
    "63646566"
)


def test_what_is_on_disks_can_be_read() -> None:
    assert decode_ident(LAST_OF_LARGE) == Whole(VERSION, STAMP)
    assert decode_ident(SMALL) == Whole(VERSION, "")
    old = msgspec.structs.replace(VERSION, registers={})
    assert decode_ident(WITHOUT_REGISTERS) == Whole(old, "")
    assert decode_ident(PART) == Piece("b" * 16, "kéy", "", STAMP, "up", 3)
    assert decode_ident(SEGMENT_BYTES) == SEGMENT
    assert decode_ident(REFUSAL) == Refusal("b" * 16, "kéy", "f" * 32, STAMP)


def test_it_is_written_so() -> None:
    assert version_ident(VERSION, STAMP) == LAST_OF_LARGE
    assert version_ident(VERSION) == SMALL
    assert body_ident("b" * 16, "kéy", "", STAMP, "up", 3) == PART
    assert segment_ident(SEGMENT) == SEGMENT_BYTES
    assert refusal_ident(VERSION) == REFUSAL


@pytest.mark.parametrize("body", ["", "a" * 32])
def test_what_is_too_large_says_only_where_it_belongs(body: str) -> None:
    """Names take a version that no record could tell."""
    large = {"acl": Register(STAMP, "x" * IDENT_MAX_BYTES)}
    version = msgspec.structs.replace(VERSION, registers=large)
    found = decode_ident(version_ident(version, body))
    assert found == Piece("b" * 16, "kéy", "f" * 32, body or STAMP, "", 0)


@given(st.binary(max_size=64) | st.binary(max_size=8).map(lambda tail: SMALL[:-4] + tail))
def test_anything_else_is_nothing(raw: bytes) -> None:
    assert raw == SMALL or not isinstance(decode_ident(raw), Whole) or raw.startswith(SMALL[:-4])


@pytest.mark.parametrize("raw", [b"", b"x", b"-", b"\x90", b"\x91\x63", b"\x92\x03\xff", b"\xc1"])
def test_idents_of_others_are_nothing(raw: bytes) -> None:
    assert decode_ident(raw) is None
