"""Secrets at rest: bound to their owner, refused when damaged."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_samples import CountedBytes

from tokens.errors import SecretError
from tokens.secret_store import SecretStore

STORE = SecretStore(b"k" * 32, CountedBytes("nonces"))
BLOB = STORE.encrypt(b"s3cret", b"user/AKIA1")

# Written by version 1 with the key b"k" * 32 for the context b"user/AKIA1".
KEPT_V1 = bytes.fromhex(
    "01e3e8bd265ec282156294d8a3861823cb510a326d77f8f886830e773be6319490bcdf5161e9b4e4faa089eec335a8"
)


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=50))
def test_opens_with_the_same_context(plaintext, context):
    blob = STORE.encrypt(plaintext, context)
    assert len(blob) == len(plaintext) + 41
    assert STORE.decrypt(blob, context) == plaintext


def test_reads_the_format_of_version_1():
    assert STORE.decrypt(KEPT_V1, b"user/AKIA1") == b"s3cret"


def test_the_secret_does_not_show_and_never_looks_the_same():
    blobs = {STORE.encrypt(b"s3cret", b"user/AKIA1") for _ in range(50)}
    assert len(blobs) == 50
    assert not any(b"s3cret" in blob for blob in blobs)


@pytest.mark.parametrize("context", [b"user/AKIA2", b"user/AKIA1 ", b"user", b"\0user/AKIA1"])
def test_does_not_open_as_another_owners(context):
    with pytest.raises(SecretError, match="another owner"):
        STORE.decrypt(BLOB, context)


def test_does_not_open_with_another_key():
    with pytest.raises(SecretError, match="another key"):
        SecretStore(b"K" * 32, bytes).decrypt(BLOB, b"user/AKIA1")


def test_every_flipped_bit_and_every_truncation_is_refused():
    for i in range(len(BLOB)):
        for damaged in (BLOB[:i], BLOB[:i] + bytes([BLOB[i] ^ 1]) + BLOB[i + 1 :]):
            with pytest.raises(SecretError) as caught:
                STORE.decrypt(damaged, b"user/AKIA1")
            assert "s3cret" not in str(caught.value)


def test_a_newer_format_is_named():
    with pytest.raises(SecretError, match="format 2"):
        STORE.decrypt(b"\x02" + BLOB[1:], b"user/AKIA1")


@pytest.mark.parametrize("context", [b"", b"x" * 4097])
def test_a_context_is_needed(context):
    with pytest.raises(SecretError, match="context"):
        STORE.encrypt(b"x", context)
    with pytest.raises(SecretError, match="context"):
        STORE.decrypt(BLOB, context)


def test_sizes_are_bounded():
    largest = STORE.encrypt(b"x" * 65_536, b"c")
    assert len(STORE.decrypt(largest, b"c")) == 65_536
    with pytest.raises(SecretError, match="at most"):
        STORE.encrypt(b"x" * 65_537, b"c")
    with pytest.raises(SecretError, match="at most"):
        STORE.decrypt(largest + b"x", b"c")
    with pytest.raises(SecretError, match="32 bytes"):
        SecretStore(b"k" * 31, bytes)
