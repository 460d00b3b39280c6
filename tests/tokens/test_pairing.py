"""The pairing token: what it says, and every way of tampering with it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from token_samples import (
    ALPHA,
    ALPHA_PLACE,
    BETA,
    JTI,
    NOW,
    CountedBytes,
    bit_flips,
    claims_of,
    flips,
    forge,
)

from tokens import base64url, paseto
from tokens.access import issue_access
from tokens.claims import new_jti
from tokens.errors import (
    TokenAltered,
    TokenError,
    TokenExpired,
    TokenMalformed,
    TokenMisused,
    TokenNotYetValid,
)
from tokens.exchange import issue_request
from tokens.identity import Identity
from tokens.pairing import issue, read, short_code
from tokens.place import Place

TOKEN = issue(ALPHA, ALPHA_PLACE, now=NOW, jti=JTI)
CLAIMS = claims_of(TOKEN)

# Printed by version 1; it must stay readable for as long as version 1 is read.
KEPT_V1 = (
    "v4.public.eyJwdXJwb3NlIjoiZmFyc2hvcmUtcGFpcmluZy0xIiwiaWF0IjoxODAwMDAwMDAwLCJleHAiOjE4MD"
    "AwMDM2MDAsImRjX2lkIjoiNWY5YWY3NDZlNTgwMzQ1MyIsIm5hbWUiOiJhbHBoYSIsInJlZ2lvbiI6ImV1LXdlc3"
    "QiLCJlbmRwb2ludHMiOlsiYWxwaGEuZXhhbXBsZTo3NDQzIiwiWzIwMDE6ZGI4OjoxXTo3NDQzIl0sImZpbmdlcn"
    "ByaW50IjoiYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMWExYTFhMW"
    "ExYTFhMSIsInNpZ25pbmdfa2V5IjoiOTd0TXVVYUtMNjF3N0RnZDB0amw4UXZMSlVOeFQ1RkFNU21mSm84a3Rjay"
    "IsInNlYWxpbmdfa2V5IjoieUZFcmxlX2ZEVl9rQkJaUngtRzRzSHBZNWRPOUdsd2hLcF9sV1JfY09oRSIsInNjb3"
    "BlIjoicGFpciIsImp0aSI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmIn3JuTMlpE1uwbpoIf_x3i"
    "bDxxQ0GiDz7odFB39mmaTozmqYiWQOSCPnRb-CNwIBAAJe9DLzgE4AjnaIOvanylkD"
)


def forged(**changes):
    """ALPHA's genuine signature over other claims; a value of ... leaves a claim out."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not ...}
    return forge(ALPHA, claims, "farshore-pairing-1")


def test_says_who_where_and_how_long():
    offer = read(TOKEN, NOW)
    assert offer.peer == ALPHA.public
    assert offer.place == ALPHA_PLACE
    assert (offer.jti, offer.issued_at, offer.expires_at) == (JTI, NOW, NOW + 3600)


def test_is_one_line_without_secrets():
    assert re.fullmatch(r"v4\.public\.[A-Za-z0-9_-]+", TOKEN)
    payload = paseto.unverified_payload(TOKEN)
    for secret in (ALPHA.signing_secret[:32], ALPHA.sealing_secret):
        for form in (secret, secret.hex().encode(), base64url.encode(secret).encode()):
            assert form not in payload


def test_pasted_white_space_does_not_matter():
    assert read(f"  {TOKEN}\r\n", NOW) == read(TOKEN, NOW)


def test_reads_the_token_of_version_1():
    assert read(KEPT_V1, NOW) == read(TOKEN, NOW)


def test_the_largest_place_fits():
    hosts = tuple(f"{'.'.join(['h' * 62] * 4)}:{60000 + i}" for i in range(8))
    place = Place("n" * 63, "r" * 63, hosts, "f" * 64)
    assert read(issue(ALPHA, place, now=NOW, jti=JTI), NOW).place == place


def test_every_flipped_bit_is_refused():
    for flipped in bit_flips(TOKEN):
        with pytest.raises(TokenError):
            read(flipped, NOW)


def test_every_flipped_character_is_refused():
    for flipped in flips(TOKEN):
        with pytest.raises(TokenError):
            read(flipped, NOW)


def test_truncated_anywhere_is_refused():
    for length in range(len(TOKEN)):
        with pytest.raises(TokenError):
            read(TOKEN[:length], NOW)


@pytest.mark.parametrize(
    ("now", "error"),
    [
        (NOW - 61, TokenNotYetValid),
        (NOW - 60, None),
        (NOW + 3600, None),
        (NOW + 3659, None),
        (NOW + 3660, TokenExpired),
        (NOW + 10**9, TokenExpired),
    ],
)
def test_life_with_a_minute_for_the_clocks(now, error):
    if error is None:
        assert read(TOKEN, now).jti == JTI
    else:
        with pytest.raises(error):
            read(TOKEN, now)


def test_expired_says_when_and_what_to_do():
    with pytest.raises(TokenExpired, match=r"2027-01-15 09:00:00 UTC.*farshore token issue"):
        read(TOKEN, NOW + 10_000)


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_every_claim_is_needed(claim):
    with pytest.raises(TokenError):
        read(forged(**{claim: ...}), NOW)


@pytest.mark.parametrize("claim", sorted(CLAIMS))
@pytest.mark.parametrize("value", [None, 1.5, True, {}, ["x", 1], -1, "", "x" * 500, "\r\n", "\0"])
def test_claims_of_a_wrong_type_or_value_are_refused(claim, value):
    with pytest.raises(TokenError) as caught:
        read(forged(**{claim: value}), NOW)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "changes",
    [
        {"admin": True},
        {"nbf": NOW},
        {"\r\nnew": 1},
        {"scope": "admin"},
        {"scope": ["pair"]},
        {"endpoints": []},
        {"endpoints": ["alpha"]},
        {"endpoints": ["alpha:0"]},
        {"endpoints": ["alpha:1"] * 2},
        {"endpoints": [f"alpha:{port}" for port in range(1, 10)]},
        {"endpoints": "alpha:1"},
        {"endpoints": ["alpha:1\n"]},
        {"fingerprint": "A1" * 32},
        {"fingerprint": "a1" * 31},
        {"name": "a b"},
        {"region": ".."},
        {"jti": JTI.upper()},
        {"jti": JTI[:-1]},
        {"iat": float(NOW)},
        {"iat": str(NOW)},
        {"exp": NOW},
        {"exp": NOW - 1},
        {"exp": NOW + 7 * 86_400 + 1},
        {"exp": 10**15},
        {"exp": 10**30},
        {"iat": 0},
        {"sealing_key": "AAAA"},
        {"sealing_key": CLAIMS["sealing_key"] + "="},
    ],
)
def test_signed_nonsense_is_malformed(changes):
    with pytest.raises(TokenMalformed):
        read(forged(**changes), NOW)


def test_a_key_that_did_not_sign_is_an_alteration():
    other = base64url.encode(BETA.public.signing_key)
    with pytest.raises(TokenAltered):
        read(forged(signing_key=other), NOW)


def test_an_id_that_is_not_derived_from_the_key_is_an_alteration():
    with pytest.raises(TokenAltered, match=f"{BETA.dc_id}.*{ALPHA.dc_id}"):
        read(forged(dc_id=BETA.dc_id), NOW)


@pytest.mark.parametrize(
    "respell",
    [
        lambda text: text.replace(":", ": ", 1),
        lambda text: text + " ",
        lambda text: text.replace('"scope"', '"scope":"pair","scope"'),
        lambda text: text.replace('"alpha"', '"\\u0061lpha"'),
        lambda text: text.replace(str(NOW), f"{NOW}.0"),
        lambda text: text.replace(str(NOW), "18e8"),
        lambda text: json.dumps(dict(reversed(json.loads(text).items()))),
    ],
)
def test_another_spelling_of_the_same_claims_is_malformed(respell):
    payload = paseto.unverified_payload(TOKEN).decode()
    assert respell(payload) != payload
    with pytest.raises(TokenMalformed):
        read(forge(ALPHA, respell(payload).encode(), "farshore-pairing-1"), NOW)


@pytest.mark.parametrize(
    "payload", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 5000, b'{"x":' * 1000, b'"\\ud800"']
)
def test_payloads_that_are_no_claims(payload):
    with pytest.raises((TokenMalformed, TokenMisused)):
        read(forge(ALPHA, payload, "farshore-pairing-1"), NOW)


@pytest.mark.parametrize(
    "other",
    [
        issue_access(ALPHA, BETA.dc_id, NOW, CountedBytes("jti")),
        issue_request(BETA, ALPHA_PLACE, read(TOKEN, NOW), now=NOW),
        forge(ALPHA, CLAIMS | {"purpose": "farshore-pairing-2"}),
        forge(ALPHA, CLAIMS | {"purpose": "farshore-pairing-2"}, "farshore-pairing-1"),
        forge(ALPHA, CLAIMS | {"purpose": "x" * 3000}),
    ],
)
def test_tokens_of_another_purpose_are_misused(other):
    with pytest.raises(TokenMisused, match="purpose"):
        read(other, NOW)


def test_a_signature_made_for_another_purpose_is_an_alteration():
    for implicit in ("farshore-access-1", ""):
        with pytest.raises(TokenAltered):
            read(forge(ALPHA, CLAIMS, implicit), NOW)


@given(st.dictionaries(st.sampled_from(sorted(CLAIMS)), st.none() | st.integers() | st.text()))
def test_any_claims_are_read_or_refused(changes):
    try:
        offer = read(forged(**changes), NOW)
    except TokenError:
        return
    assert offer.peer == ALPHA.public


@pytest.mark.parametrize("lifetime", [0, -1, 7 * 86_400 + 1])
def test_unreadable_lifetimes_are_not_issued(lifetime):
    with pytest.raises(ValueError, match="lives"):
        issue(ALPHA, ALPHA_PLACE, now=NOW, jti=JTI, lifetime_seconds=lifetime)


@pytest.mark.parametrize("jti", ["", "x" * 32, JTI + "0", JTI.upper()])
def test_unreadable_ids_are_not_issued(jti):
    with pytest.raises(ValueError, match="jti"):
        issue(ALPHA, ALPHA_PLACE, now=NOW, jti=jti)


def test_a_new_jti_is_128_bits_from_the_given_source():
    assert new_jti(bytes) == "0" * 32
    source = CountedBytes("jti")
    assert len({new_jti(source) for _ in range(100)}) == 100


def test_both_sides_see_the_same_short_code():
    a, b = ALPHA.public.signing_key, BETA.public.signing_key
    code = short_code(a, b, JTI)
    assert code == short_code(b, a, JTI) == "980-034"
    assert re.fullmatch(r"[0-9]{3}-[0-9]{3}", code)


def test_the_short_code_depends_on_both_keys_and_the_offer():
    source = CountedBytes("codes")
    a = ALPHA.public.signing_key
    codes = {short_code(a, Identity.generate(source).public.signing_key, JTI) for _ in range(50)}
    codes |= {short_code(a, BETA.public.signing_key, new_jti(source)) for _ in range(50)}
    assert len(codes) > 95


def test_a_short_code_needs_two_keys_and_a_jti():
    a, b = ALPHA.public.signing_key, BETA.public.signing_key
    for bad in ((a, a, JTI), (a[:31], b, JTI), (a, b + b"x", JTI), (a, b, "x")):
        with pytest.raises(ValueError, match="short code"):
            short_code(*bad)


def test_unknown_claims_are_named():
    with pytest.raises(TokenMalformed, match="unknown field `admin`"):
        read(forged(admin=True), NOW)
