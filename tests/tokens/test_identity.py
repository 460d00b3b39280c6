"""Identities: derivation, the file format, and what a damaged file says."""

import copy
import hashlib
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from token_samples import ALPHA, BETA, CountedBytes

from tokens.errors import IdentityError
from tokens.identity import Identity, PublicIdentity, dc_id_of

# Written by version 1 for the seeds bytes(range(32)) and bytes(range(32, 64)).
KEPT_V1 = (
    b'{"version":1,'
    b'"signing_seed":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8",'
    b'"sealing_secret":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8",'
    b'"signing_key":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg",'
    b'"sealing_key":"NYBy1jZYgNGu6jKa35EhODhR7SGijjt16WXQ0s0WYlQ"}\n'
)


def test_keys_are_independent_and_drawn_from_the_given_source():
    one, two = Identity.generate(CountedBytes("x")), Identity.generate(CountedBytes("x"))
    assert one.public == two.public
    assert one.public != Identity.generate(CountedBytes("y")).public
    assert one.signing_secret[:32] != one.sealing_secret


def test_dc_id_comes_from_the_signing_key():
    key = bytes(SigningKey(ALPHA.signing_secret[:32]).verify_key)
    assert ALPHA.public.signing_key == key
    assert (
        ALPHA.dc_id == ALPHA.public.dc_id == dc_id_of(key) == hashlib.sha256(key).hexdigest()[:16]
    )
    assert len(ALPHA.dc_id) == 16


def test_file_round_trip():
    assert Identity.load(ALPHA.dump()).dump() == ALPHA.dump()
    assert Identity.load(ALPHA.dump()).public == ALPHA.public


def test_reads_the_file_of_version_1():
    identity = Identity.load(KEPT_V1)
    assert identity.signing_secret[:32] == bytes(range(32))
    assert identity.sealing_secret == bytes(range(32, 64))
    assert identity.dump() == KEPT_V1


def changed(**fields):
    return json.dumps(json.loads(ALPHA.dump()) | fields).encode()


def without(field):
    stored = json.loads(ALPHA.dump())
    del stored[field]
    return json.dumps(stored).encode()


OTHER = json.loads(BETA.dump())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"\0" * 300, "damaged"),
        (b"[" * 4000, "damaged"),
        (b"\xff\xfe{}", "damaged"),
        (ALPHA.dump() + b" " * 4096, "more than 4096"),
        (b"{}", "damaged"),
        (b"[1]", "damaged"),
        (b"null", "damaged"),
        (changed(version=2), "newer farshore"),
        (changed(version=2, signing_seed=7, more=[1]), "newer farshore"),
        (changed(version=0), "no version 0"),
        (changed(version=-1), "no version -1"),
        (changed(version="1"), "damaged"),
        (changed(version=True), "damaged"),
        (changed(version=1.5), "damaged"),
        (changed(unknown=1), "unknown"),
        (changed(signing_seed=None), "damaged"),
        (changed(signing_seed=""), "32 bytes"),
        (changed(signing_seed="AAAA"), "32 bytes"),
        (changed(signing_seed="A" * 42 + "="), "alphabet"),
        (changed(signing_seed="A" * 42 + "B"), "spare bits"),
        (changed(signing_seed=OTHER["signing_seed"]), "do not belong"),
        (changed(sealing_secret=OTHER["sealing_secret"]), "do not belong"),
        (changed(signing_key=OTHER["signing_key"]), "do not belong"),
        (changed(sealing_key=OTHER["sealing_key"]), "do not belong"),
        *((without(field), "missing") for field in OTHER),
    ],
)
def test_bad_files_are_refused_with_a_sentence(data, words):
    with pytest.raises(IdentityError, match=words):
        Identity.load(data)


def test_truncated_anywhere_is_refused():
    data = ALPHA.dump().rstrip()
    for length in range(len(data)):
        with pytest.raises(IdentityError):
            Identity.load(data[:length])


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_with_an_identity_error(data):
    with pytest.raises(IdentityError):
        Identity.load(data)


def test_secrets_do_not_show():
    secrets_shown = json.loads(ALPHA.dump())
    for text in (repr(ALPHA), str(ALPHA), f"{ALPHA}", repr(ALPHA._file())):
        assert secrets_shown["signing_seed"] not in text
        assert secrets_shown["sealing_secret"] not in text
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="dump"):
            leak(ALPHA)


def test_damage_messages_hold_no_secret():
    data = ALPHA.dump().replace(b'"version":1', b'"version":1,"extra":1')
    with pytest.raises(IdentityError) as caught:
        Identity.load(data)
    assert json.loads(ALPHA.dump())["signing_seed"] not in str(caught.value)


def test_public_keys_of_a_wrong_length_are_refused():
    for signing, sealing in ((b"x" * 31, b"x" * 32), (b"x" * 32, b"x" * 33)):
        with pytest.raises(IdentityError, match="32 bytes"):
            PublicIdentity(signing, sealing)


def test_a_source_that_gives_too_little_is_refused():
    with pytest.raises(IdentityError, match="32 bytes"):
        Identity.generate(lambda n: b"x" * (n - 1))
