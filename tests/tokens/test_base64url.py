"""Exactly one text for each byte string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokens import base64url


@given(st.binary(max_size=100))
def test_decodes_what_it_encodes(data):
    assert base64url.decode(base64url.encode(data)) == data


@given(st.text(alphabet="ABab01-_+/= \n", max_size=12))
def test_no_second_text_for_the_same_bytes(text):
    try:
        data = base64url.decode(text)
    except ValueError:
        return
    assert base64url.encode(data) == text


@pytest.mark.parametrize(
    "text", ["A", "AAAAA", "AB", "AAB", "AA==", "AA=", "+A", "/A", "A A", "AA\n"]
)
def test_other_spellings_are_refused(text):
    with pytest.raises(ValueError, match="base64url"):
        base64url.decode(text)
