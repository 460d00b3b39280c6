"""What holds for every kind of token, checked below the kinds."""

import pytest
from token_samples import ALPHA, NOW, forge

from tokens.claims import Claims, TokenKind, issue_claims, open_claims, peek
from tokens.errors import TokenMalformed, TokenMisused
from tokens.limits import EPOCH_SECONDS_MAX

KIND = TokenKind("farshore-test-1", Claims, 100, "test token", "try again")
KEY = ALPHA.public.signing_key
GOOD = {"purpose": KIND.purpose, "iat": NOW, "exp": NOW + 100}


def opened(now=NOW, **changes):
    return open_claims(KIND, forge(ALPHA, GOOD | changes, KIND.purpose), KEY, now)


def test_gives_the_claims():
    assert opened() == Claims(**GOOD)
    token = issue_claims(KIND, ALPHA, Claims(**GOOD))
    assert open_claims(KIND, token, KEY, NOW) == Claims(**GOOD)
    assert peek(KIND, token).purpose == KIND.purpose


def test_the_verified_purpose_counts_and_not_only_the_peeked_one():
    with pytest.raises(TokenMisused, match="farshore-test-2"):
        opened(purpose="farshore-test-2")


def test_unknown_claims_are_named():
    with pytest.raises(TokenMalformed, match="unknown field `admin`"):
        opened(admin=True)


def test_hostile_names_of_claims_are_printed_harmlessly():
    with pytest.raises(TokenMalformed) as caught:
        opened(**{"\r\n\x1b[1m" + "x" * 3000: 1})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("now", [0, NOW, EPOCH_SECONDS_MAX])
def test_any_clock_is_printed(now):
    if now == NOW:
        assert opened(now=now)
    else:
        with pytest.raises(Exception, match="here it is"):
            opened(now=now)
