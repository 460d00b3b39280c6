"""Signed bytes: for one purpose, by one key, and not a bit of them may differ."""

import pytest

from tokens.errors import TokenAltered
from tokens.identity import Identity
from tokens.signed import SIGNATURE_BYTES, check, sign

ANN = Identity(b"a" * 32, b"b" * 32)
BOB = Identity(b"c" * 32, b"d" * 32)


def test_a_signature_is_of_these_bytes_for_this_purpose_by_this_key() -> None:
    key = ANN.public.signing_key
    signature = sign(ANN, b"purpose-1", b"message")
    assert len(signature) == SIGNATURE_BYTES
    check(key, b"purpose-1", b"message", signature)
    for wrong in (
        (BOB.public.signing_key, b"purpose-1", b"message", signature),
        (key, b"purpose-2", b"message", signature),
        (key, b"purpose", b"-1message", signature),
        (key, b"purpose-1", b"messagE", signature),
        (key, b"purpose-1", b"message", signature[:-1]),
        (key, b"purpose-1", b"message", b""),
        (key, b"purpose-1", b"message", bytes(SIGNATURE_BYTES)),
        (key, b"purpose-1", b"message", sign(BOB, b"purpose-1", b"message")),
    ):
        with pytest.raises(TokenAltered):
            check(*wrong)


def test_no_bit_of_a_signature_may_differ() -> None:
    signature = sign(ANN, b"purpose-1", b"message")
    for bit in range(SIGNATURE_BYTES * 8):
        altered = bytearray(signature)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenAltered):
            check(ANN.public.signing_key, b"purpose-1", b"message", bytes(altered))
