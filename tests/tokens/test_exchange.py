"""Pair request and answer: bound to the offer, to each other, and to both DCs.

What was heard elsewhere or before is no answer here. Published as Ceph CVE-2018-1129 (what signs
binds too little of what is signed).
"""

import pytest
from token_samples import (
    ALPHA,
    ALPHA_PLACE,
    BETA,
    BETA_PLACE,
    GAMMA,
    JTI,
    NOW,
    CountedBytes,
    bit_flips,
    claims_of,
    forge,
)

from tokens.access import issue_access
from tokens.errors import (
    TokenAltered,
    TokenError,
    TokenExpired,
    TokenMalformed,
    TokenMisused,
    TokenNotYetValid,
)
from tokens.exchange import (
    issue_answer,
    issue_request,
    read_answer,
    read_request,
    request_digest,
)
from tokens.pairing import issue, read

OFFER_TOKEN = issue(ALPHA, ALPHA_PLACE, now=NOW, jti=JTI)
OFFER = read(OFFER_TOKEN, NOW)
REQUEST = issue_request(BETA, BETA_PLACE, OFFER, now=NOW)
SEEN = read_request(REQUEST, ALPHA.dc_id, NOW)
ANSWER = issue_answer(ALPHA, SEEN, now=NOW)


def forged_request(**changes):
    claims = {k: v for k, v in (claims_of(REQUEST) | changes).items() if v is not ...}
    return forge(BETA, claims, "farshore-pair-request-1")


def forged_answer(signer=ALPHA, **changes):
    claims = {k: v for k, v in (claims_of(ANSWER) | changes).items() if v is not ...}
    return forge(signer, claims, "farshore-pair-answer-1")


def accept(answer, *, own=BETA.dc_id, request=REQUEST, offer=OFFER, now=NOW):
    return read_answer(answer, offer, own, request, now)


def test_both_sides_know_each_other_afterwards():
    assert (SEEN.peer, SEEN.place, SEEN.offer_jti) == (BETA.public, BETA_PLACE, JTI)
    assert SEEN.digest == request_digest(REQUEST)
    assert (SEEN.issued_at, SEEN.expires_at) == (NOW, NOW + 600)
    done = accept(ANSWER)
    assert (done.issuer_dc_id, done.joiner_dc_id) == (ALPHA.dc_id, BETA.dc_id)
    assert (done.offer_jti, done.request_digest) == (JTI, SEEN.digest)


def test_every_flipped_bit_of_both_is_refused():
    for flipped in bit_flips(REQUEST):
        with pytest.raises(TokenError):
            read_request(flipped, ALPHA.dc_id, NOW)
    for flipped in bit_flips(ANSWER):
        with pytest.raises(TokenError):
            accept(flipped)


@pytest.mark.parametrize(
    ("now", "error"), [(NOW - 61, TokenNotYetValid), (NOW + 660, TokenExpired)]
)
def test_both_live_ten_minutes(now, error):
    assert read_request(REQUEST, ALPHA.dc_id, NOW + 659)
    assert accept(ANSWER, now=NOW + 659)
    with pytest.raises(error):
        read_request(REQUEST, ALPHA.dc_id, now)
    with pytest.raises(error):
        accept(ANSWER, now=now)


def test_a_request_for_another_dc_is_misused():
    with pytest.raises(TokenMisused, match=f"{ALPHA.dc_id}.*{GAMMA.dc_id}"):
        read_request(REQUEST, GAMMA.dc_id, NOW)


def test_a_dc_is_not_paired_with_itself():
    with pytest.raises(TokenMisused, match="itself"):
        issue_request(ALPHA, ALPHA_PLACE, OFFER, now=NOW)
    own = forged_request(aud=BETA.dc_id)
    with pytest.raises(TokenMisused, match="itself"):
        read_request(own, BETA.dc_id, NOW)


def test_a_request_with_an_id_of_another_dc_is_an_alteration():
    with pytest.raises(TokenAltered):
        read_request(forged_request(dc_id=GAMMA.dc_id), ALPHA.dc_id, NOW)


@pytest.mark.parametrize("claim", sorted(claims_of(REQUEST)))
def test_every_claim_of_a_request_is_needed(claim):
    for value in (..., None, 1.5, "", "\r\n"):
        with pytest.raises(TokenError):
            read_request(forged_request(**{claim: value}), ALPHA.dc_id, NOW)


@pytest.mark.parametrize("claim", sorted(claims_of(ANSWER)))
def test_every_claim_of_an_answer_is_needed(claim):
    for value in (..., None, 1.5, "", "\r\n"):
        with pytest.raises(TokenError):
            accept(forged_answer(**{claim: value}))


@pytest.mark.parametrize(
    "changes", [{"extra": 1}, {"exp": NOW + 601}, {"exp": NOW}, {"offer_jti": "x"}]
)
def test_signed_nonsense_is_malformed(changes):
    with pytest.raises(TokenMalformed):
        read_request(forged_request(**changes), ALPHA.dc_id, NOW)
    with pytest.raises(TokenMalformed):
        accept(forged_answer(**changes))


def test_an_answer_of_another_dc_is_an_alteration():
    with pytest.raises(TokenAltered):
        accept(forged_answer(signer=GAMMA))
    with pytest.raises(TokenAltered, match=GAMMA.dc_id):
        accept(forged_answer(iss=GAMMA.dc_id))


def test_an_answer_to_another_request_is_misused():
    later = issue_request(BETA, BETA_PLACE, OFFER, now=NOW + 1)
    with pytest.raises(TokenMisused, match="another request"):
        accept(ANSWER, request=later)
    with pytest.raises(TokenMisused, match="another request"):
        accept(forged_answer(offer_jti="f" * 32))
    with pytest.raises(TokenMisused, match="another request"):
        accept(forged_answer(request_sha256="é"))


def test_an_answer_for_another_dc_is_misused():
    with pytest.raises(TokenMisused, match=GAMMA.dc_id):
        accept(ANSWER, own=GAMMA.dc_id)


def test_tokens_of_another_purpose_are_misused():
    access = issue_access(ALPHA, BETA.dc_id, NOW, CountedBytes("x"))
    for other in (OFFER_TOKEN, ANSWER, access):
        with pytest.raises(TokenMisused, match="purpose"):
            read_request(other, ALPHA.dc_id, NOW)
    for other in (OFFER_TOKEN, REQUEST, access):
        with pytest.raises(TokenMisused, match="purpose"):
            accept(other)


def test_signatures_for_another_purpose_are_alterations():
    with pytest.raises(TokenAltered):
        read_request(forge(BETA, claims_of(REQUEST), "farshore-pairing-1"), ALPHA.dc_id, NOW)
    with pytest.raises(TokenAltered):
        accept(forge(ALPHA, claims_of(ANSWER), "farshore-access-1"))
