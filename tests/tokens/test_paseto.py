"""PASETO v4.public against the published vectors and against broken tokens.

Vectors: github.com/paseto-standard/test-vectors, v4.json.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from token_samples import bit_flips, flips

from tokens import base64url, paseto
from tokens.errors import TokenAltered, TokenError, TokenMalformed
from tokens.limits import TOKEN_CHARACTERS_MAX

SECRET = bytes.fromhex(
    "b4cbfb43df4ce210727d953e4a713307fa19bb7d9f85041438d9e11b942a3774"
    "1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2"
)
PUBLIC = SECRET[32:]
PAYLOAD = b'{"data":"this is a signed message","exp":"2022-01-01T00:00:00+00:00"}'
FOOTER = b'{"kid":"zVhMiPBP9fRf2snEcT7gFTioeA9COcNy9DfgL1W60haN"}'
BODY = (
    "v4.public.eyJkYXRhIjoidGhpcyBpcyBhIHNpZ25lZCBtZXNzYWdlIiwiZXhwIjoiMjAyMi0wMS0wMVQwMDowMDow"
    "MCswMDowMCJ9"
)
FOOTER_TEXT = "eyJraWQiOiJ6VmhNaVBCUDlmUmYyc25FY1Q3Z0ZUaW9lQTlDT2NOeTlEZmdMMVc2MGhhTiJ9"

VECTORS = {
    "4-S-1": (
        BODY
        + "bg_XBBzds8lTZShVlwwKSgeKpLT3yukTw6JUz3W4h_ExsQV-P0V54zemZDcAxFaSeef1QlXEFtkqxT1ciiQEDA",
        b"",
        b"",
    ),
    "4-S-2": (
        BODY
        + "v3Jt8mx_TdM2ceTGoqwrh4yDFn0XsHvvV_D0DtwQxVrJEBMl0F2caAdgnpKlt4p7xBnx1HcO-SPo8FPp214HDw."
        + FOOTER_TEXT,
        FOOTER,
        b"",
    ),
    "4-S-3": (
        BODY
        + "NPWciuD3d0o5eXJXG5pJy-DiVEoyPYWs1YSTwWHNJq6DZD3je5gf-0M4JR9ipdUSJbIovzmBECeaWmaqcaP0DQ."
        + FOOTER_TEXT,
        FOOTER,
        b'{"test-vector":"4-S-3"}',
    ),
}

FAILURES = {
    "4-F-1": (
        "v4.local.vngXfCISbnKgiP6VWGuOSlYrFYU300fy9ijW33rznDYgxHNPwWluAY2Bgb0z54CUs6aYYkIJ-bOOOm"
        "JHPuX_34Agt_IPlNdGDpRdGNnBz2MpWJvB3cttheEc1uyCEYltj7wBQQYX.YXJiaXRyYXJ5LXN0cmluZy10aGF0"
        "LWlzbid0LWpzb24",
        b"arbitrary-string-that-isn't-json",
        b'{"test-vector":"4-F-1"}',
    ),
    "4-F-2": (
        "v4.public.eyJpbnZhbGlkIjoidGhpcyBzaG91bGQgbmV2ZXIgZGVjb2RlIn22Sp4gjCaUw0c7EH84ZSm_jN_Qr"
        "41MrgLNu5LIBCzUr1pn3Z-Wukg9h3ceplWigpoHaTLcwxj0NsI1vjTh67YB." + FOOTER_TEXT,
        FOOTER,
        b'{"test-vector":"4-F-2"}',
    ),
    "4-F-3": (
        "v3.local.23e_2PiqpQBPvRFKzB0zHhjmxK3sKo2grFZRRLM-U7L0a8uHxuF9RlVz3Ic6WmdUUWTxCaYycwWV1y"
        "M8gKbZB2JhygDMKvHQ7eBf8GtF0r3K0Q_gF1PXOxcOgztak1eD1dPe9rLVMSgR0nHJXeIGYVuVrVoLWQ.YXJiaX"
        "RyYXJ5LXN0cmluZy10aGF0LWlzbid0LWpzb24",
        b"arbitrary-string-that-isn't-json",
        b'{"test-vector":"4-F-3"}',
    ),
    "4-F-4": (
        "v4.local.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQAr68PS4AXe7If_ZgesdkUMvSwscFlAl1pk"
        "5HC0e8kApeaqMfGo_7OpBnwJOAbY9V7WU6abu74MmcUE8YWAiaArVI8XJ5hOb_4v9RmDkneN0S92dx0OW4pgy7o"
        "mxgf3S8c3LlQh",
        b"",
        b"",
    ),
    "4-F-5": (
        "v4.local.32VIErrEkmY4JVILovbmfPXKW9wT1OdQepjMTC_MOtjA4kiqw7_tcaOM5GNEcnTxl60WkwMsYXw6FS"
        "Nb_UdJPXjpzm0KW9ojM5f4O2mRvE2IcweP-PRdoHjd5-RHCiExR1IK6t4x-RMNXtQNbz7FvFZ_G-lFpk5RG3EOr"
        "wDL6CgDqcerSQ==." + FOOTER_TEXT,
        FOOTER,
        b"",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors_sign_and_verify(name):
    token, footer, implicit = VECTORS[name]
    assert paseto.sign(SECRET, PAYLOAD, footer, implicit) == token
    assert paseto.sign(SigningKey(SECRET[:32]), PAYLOAD, footer, implicit) == token
    assert paseto.verify(PUBLIC, token, footer, implicit) == PAYLOAD


@pytest.mark.parametrize("name", FAILURES)
def test_published_failures_are_refused(name):
    token, footer, implicit = FAILURES[name]
    with pytest.raises(TokenError):
        paseto.verify(PUBLIC, token, footer, implicit)


@pytest.mark.parametrize("name", VECTORS)
def test_every_flipped_character_is_refused(name):
    token, footer, implicit = VECTORS[name]
    for flipped in flips(token):
        with pytest.raises(TokenError):
            paseto.verify(PUBLIC, flipped, footer, implicit)


def test_every_flipped_bit_is_an_alteration():
    token, footer, implicit = VECTORS["4-S-1"]
    for flipped in bit_flips(token):
        with pytest.raises(TokenAltered):
            paseto.verify(PUBLIC, flipped, footer, implicit)


def test_truncated_anywhere_is_refused():
    token, footer, implicit = VECTORS["4-S-3"]
    for length in range(len(token)):
        with pytest.raises(TokenError):
            paseto.verify(PUBLIC, token[:length], footer, implicit)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: "",
        lambda t: t + ".",
        lambda t: t + ".." + FOOTER_TEXT,
        lambda t: t + "." + FOOTER_TEXT + "." + FOOTER_TEXT,
        lambda t: t + "=",
        lambda t: t + "==",
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t + "\x00",
        lambda t: t + "é",
        lambda t: t + "\ud800",
        lambda t: t[:20] + "\r\n" + t[20:],
        lambda t: t.replace("-", "+").replace("_", "/"),
        lambda t: t.replace("v4.public.", "V4.PUBLIC."),
        lambda t: t.replace("v4.public.", "v4.public"),
        lambda t: t.replace("v4.public.", "v2.public."),
        lambda t: t.replace("v4.public.", "v4.local."),
        lambda t: "v4.public.",
        lambda t: "v4.public." + base64url.encode(b"x" * 63),
        lambda t: t + "A" * TOKEN_CHARACTERS_MAX,
    ],
)
def test_badly_formed_tokens_are_malformed(change):
    with pytest.raises(TokenMalformed):
        paseto.verify(PUBLIC, change(VECTORS["4-S-1"][0]))


def test_spare_bits_in_the_last_character_are_refused():
    token = paseto.sign(SECRET, b"ab")  # 66 bytes: no spare bits
    assert paseto.verify(PUBLIC, token) == b"ab"
    token = paseto.sign(SECRET, b"a")  # 65 bytes: four spare bits
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    value = alphabet.index(token[-1])
    with pytest.raises(TokenMalformed, match="spare bits"):
        paseto.verify(PUBLIC, token[:-1] + alphabet[value + 1])


@pytest.mark.parametrize(
    ("footer", "implicit"), [(b"", b""), (FOOTER, b""), (b"", b"x"), (FOOTER + b" ", b"x")]
)
def test_another_footer_or_assertion_is_an_alteration(footer, implicit):
    token = paseto.sign(SECRET, PAYLOAD, FOOTER, b"x")
    with pytest.raises(TokenAltered):
        paseto.verify(PUBLIC, token, footer, implicit)


def test_pieces_cannot_be_shifted_into_each_other():
    token = paseto.sign(SECRET, b"payload", b"foot", b"er")
    with pytest.raises(TokenAltered):
        paseto.verify(
            PUBLIC, token.rpartition(".")[0] + "." + base64url.encode(b"footer"), b"footer", b""
        )


def test_another_key_is_an_alteration():
    other = bytes(SigningKey(b"\x07" * 32).verify_key)
    for key in (other, bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(TokenAltered):
            paseto.verify(key, VECTORS["4-S-1"][0])


def test_keys_of_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="32 bytes"):
        paseto.verify(PUBLIC[:31], VECTORS["4-S-1"][0])
    with pytest.raises(ValueError, match="64 bytes"):
        paseto.sign(SECRET[:32], b"")
    with pytest.raises(ValueError, match="another key"):
        paseto.sign(SECRET[:32] + bytes(32), b"")


def test_too_large_a_payload_is_not_signed():
    with pytest.raises(TokenMalformed, match="limit"):
        paseto.sign(SECRET, b"x" * TOKEN_CHARACTERS_MAX)


@given(st.binary(max_size=300), st.binary(max_size=100), st.binary(max_size=100))
def test_what_is_signed_is_what_is_verified(payload, footer, implicit):
    token = paseto.sign(SECRET, payload, footer, implicit)
    assert paseto.verify(PUBLIC, token, footer, implicit) == payload
    assert paseto.unverified_payload(token) == payload


@given(st.text(max_size=200))
def test_any_text_is_refused_with_a_token_error(text):
    for token in (text, paseto.HEADER + text):
        with pytest.raises(TokenError):
            paseto.verify(PUBLIC, token)
