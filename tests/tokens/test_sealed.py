"""Secrets in travel: for one DC, for one owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_samples import ALPHA, BETA

from tokens.errors import SecretError
from tokens.identity import Identity
from tokens.sealed import seal, unseal

BLOB = seal(ALPHA.public.sealing_key, b"s3cret", b"user/AKIA1")

# Sealed by version 1 to the identity of the seeds bytes(range(32)), bytes(range(32, 64)).
KEPT_V1 = bytes.fromhex(
    "01259062eba868bc55b601b1eb515713e832f7c7fcc65240ef23d83ecf0091793e0ee233ee5c46346943aae6"
    "e5373829453ce3264f2e64704aafbec621dedc09934f8b28402604e14d2cf5f314781b0c33f4da9c0810ee"
)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=50))
def test_opens_for_the_receiver_with_the_same_context(plaintext, context):
    blob = seal(ALPHA.public.sealing_key, plaintext, context)
    assert len(blob) == len(plaintext) + 81
    assert unseal(ALPHA, blob, context) == plaintext


def test_reads_the_format_of_version_1():
    receiver = Identity(bytes(range(32)), bytes(range(32, 64)))
    assert unseal(receiver, KEPT_V1, b"user/AKIA1") == b"s3cret"


def test_does_not_open_for_another_dc():
    with pytest.raises(SecretError, match="another DC"):
        unseal(BETA, BLOB, b"user/AKIA1")


@pytest.mark.parametrize("context", [b"user/AKIA2", b"user/AKIA1 ", b"user"])
def test_does_not_open_as_another_owners(context):
    with pytest.raises(SecretError, match="another user"):
        unseal(ALPHA, BLOB, context)


def test_every_flipped_bit_and_every_truncation_is_refused():
    for i in range(len(BLOB)):
        for damaged in (BLOB[:i], BLOB[:i] + bytes([BLOB[i] ^ 1]) + BLOB[i + 1 :]):
            with pytest.raises(SecretError):
                unseal(ALPHA, damaged, b"user/AKIA1")


def test_the_secret_and_the_owner_do_not_show():
    assert b"s3cret" not in BLOB
    assert b"AKIA1" not in BLOB
    assert seal(ALPHA.public.sealing_key, b"s3cret", b"user/AKIA1") != BLOB


def test_a_newer_format_is_named():
    with pytest.raises(SecretError, match="format 2"):
        unseal(ALPHA, b"\x02" + BLOB[1:], b"user/AKIA1")


@pytest.mark.parametrize("key", [b"", b"x" * 31, bytes(32), b"\x01" + bytes(31)])
def test_unusable_keys_are_refused(key):
    with pytest.raises(SecretError, match="sealing key"):
        seal(key, b"x", b"c")


def test_sizes_are_bounded():
    largest = seal(ALPHA.public.sealing_key, b"x" * 65_536, b"c")
    with pytest.raises(SecretError, match="at most"):
        seal(ALPHA.public.sealing_key, b"x" * 65_537, b"c")
    with pytest.raises(SecretError, match="at most"):
        unseal(ALPHA, largest + b"x", b"c")
    with pytest.raises(SecretError, match="context"):
        seal(ALPHA.public.sealing_key, b"x", b"")
