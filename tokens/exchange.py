"""The two messages of a pairing, after the token: the joiner's request, the issuer's answer.

    issuer                                     joiner
      | -- pairing token, by hand ---------------> |   tokens.pairing.read
      | <------- request: who I am, your jti ----- |   issue_request
      | -- answer: yes, to exactly this request -> |   issue_answer

The request describes the joining DC the way the offer describes the issuing one, is signed by
the joiner, names the offer by its jti, and is meant for one DC (`aud`). The answer is signed by
the issuer with the key that stands in the offer, is meant for the joiner, and holds the SHA-256
of the request's exact text. So the joiner knows that the issuer saw what it sent, unchanged.

What the issuer does with a request, in one transaction: the jti is one that it issued and that
is not used up; then the jti is recorded with the request's `digest`, and the peer with its whole
keys. A repeated request with the same jti *and* the same digest is the same joiner asking again,
because the answer was lost, and may be answered again; with another digest it is refused. An
id that is already paired under another key is refused.

A preview request is the same with a purpose of its own: to see what a pairing would bring. It can
never be taken for a pair request, and uses nothing up.

An answer says yes. A refusal is no token: it is an error of the channel.
"""

import hashlib
import hmac
from dataclasses import dataclass

from tokens.claims import Claims, TokenKind, is_dc_id, is_jti, issue_claims, open_claims, peek
from tokens.described import DescribedClaims, describe, open_described
from tokens.errors import TokenAltered, TokenMalformed, TokenMisused
from tokens.identity import Identity, PublicIdentity
from tokens.limits import EXCHANGE_LIFETIME_SECONDS
from tokens.pairing import PairingOffer
from tokens.place import Place


class _RequestClaims(DescribedClaims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    aud: str
    offer_jti: str


class _AnswerClaims(Claims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    iss: str
    aud: str
    offer_jti: str
    request_sha256: str


_REQUEST = TokenKind(
    purpose="farshore-pair-request-1",
    claims=_RequestClaims,
    lifetime_seconds_max=EXCHANGE_LIFETIME_SECONDS,
    noun="pair request",
    remedy="start over with `farshore dc add` on the joining DC",
)
_PREVIEW = TokenKind(
    purpose="farshore-preview-request-1",
    claims=_RequestClaims,
    lifetime_seconds_max=EXCHANGE_LIFETIME_SECONDS,
    noun="preview request",
    remedy="start over with `farshore dc add --dry-run` on the joining DC",
)
_ANSWER = TokenKind(
    purpose="farshore-pair-answer-1",
    claims=_AnswerClaims,
    lifetime_seconds_max=EXCHANGE_LIFETIME_SECONDS,
    noun="pair answer",
    remedy="start over with `farshore dc add` on the joining DC",
)


@dataclass(frozen=True, slots=True)
class PairRequest:
    """A verified pair request. `digest` is the hex SHA-256 of its exact text."""

    peer: PublicIdentity
    place: Place
    offer_jti: str
    digest: str
    issued_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class PairAnswer:
    """A verified pair answer: the issuer of the offer agreed to this very request."""

    issuer_dc_id: str
    joiner_dc_id: str
    offer_jti: str
    request_digest: str
    issued_at: int


def request_digest(request: str) -> str:
    """The hex SHA-256 of a request's exact text."""
    return hashlib.sha256(request.encode()).hexdigest()


def issue_request(
    identity: Identity, place: Place, offer: PairingOffer, *, now: int, preview: bool = False
) -> str:
    """The joining DC's request. TokenMisused when the offer is its own."""
    _check_not_self(offer.peer.dc_id, identity.dc_id)
    kind = _PREVIEW if preview else _REQUEST
    claims = _RequestClaims(
        purpose=kind.purpose,
        aud=offer.peer.dc_id,
        offer_jti=offer.jti,
        iat=now,
        exp=now + EXCHANGE_LIFETIME_SECONDS,
        **describe(identity, place),
    )
    return issue_claims(kind, identity, claims)


def read_request(request: str, own_dc_id: str, now: int, *, preview: bool = False) -> PairRequest:
    """Who asks to be paired. The caller still has to check and use up the offer's jti; of a
    preview request, to check it."""
    kind = _PREVIEW if preview else _REQUEST
    claims, peer, place = open_described(kind, request, now)
    if not is_jti(claims.offer_jti):
        raise TokenMalformed(f"the {kind.noun} names no offer; {kind.remedy}")
    if claims.aud != own_dc_id:
        raise TokenMisused(
            f"the {kind.noun} is for DC {claims.aud[:40]!r} and this is DC {own_dc_id};"
            " check the endpoints in the pairing token"
        )
    _check_not_self(own_dc_id, peer.dc_id)
    digest = request_digest(request)
    return PairRequest(peer, place, claims.offer_jti, digest, claims.iat, claims.exp)


def issue_answer(identity: Identity, request: PairRequest, *, now: int) -> str:
    """The issuer's yes to one request, after the offer's jti was used up for it."""
    claims = _AnswerClaims(
        purpose=_ANSWER.purpose,
        iss=identity.dc_id,
        aud=request.peer.dc_id,
        offer_jti=request.offer_jti,
        request_sha256=request.digest,
        iat=now,
        exp=now + EXCHANGE_LIFETIME_SECONDS,
    )
    return issue_claims(_ANSWER, identity, claims)


def read_answer(
    answer: str, offer: PairingOffer, own_dc_id: str, request: str, now: int
) -> PairAnswer:
    """Check an answer against the offer and against the exact text of one's own request."""
    peek(_ANSWER, answer)
    claims = open_claims(_ANSWER, answer, offer.peer.signing_key, now)
    if not (is_dc_id(claims.iss) and is_dc_id(claims.aud) and is_jti(claims.offer_jti)):
        raise TokenMalformed(f"the pair answer names no DC or no offer; {_ANSWER.remedy}")
    if claims.iss != offer.peer.dc_id:
        raise TokenAltered(
            f"the pair answer says it is from DC {claims.iss}, but DC {offer.peer.dc_id}"
            f" signed it; {_ANSWER.remedy}"
        )
    if claims.aud != own_dc_id:
        raise TokenMisused(
            f"the pair answer is for DC {claims.aud}, not for {own_dc_id}; {_ANSWER.remedy}"
        )
    digest = request_digest(request)
    same_request = hmac.compare_digest(claims.request_sha256.encode(), digest.encode())
    if claims.offer_jti != offer.jti or not same_request:
        raise TokenMisused(f"the pair answer is to another request; {_ANSWER.remedy}")
    return PairAnswer(claims.iss, claims.aud, claims.offer_jti, digest, claims.iat)


def _check_not_self(issuer_dc_id: str, joiner_dc_id: str) -> None:
    if issuer_dc_id == joiner_dc_id:
        raise TokenMisused(
            f"DC {joiner_dc_id} cannot be paired with itself; run `farshore dc add` on the other DC"
        )
