"""What all tokens of Farshore have in common: typed claims under a signature, for one purpose.

A `TokenKind` ties together a purpose with its version ("farshore-access-1"), the exact shape of
its claims, and the longest life that a verifier accepts. Claims are JSON. A reader goes through
the same steps for every kind:

1. *Peek*: from the unverified payload, the purpose and what is needed to find the key.
2. *Verify*: the signature, with the purpose as implicit assertion. A signature made for another
   purpose fails here even if the payload claims this one.
3. *Decode*: every claim present, none unknown, none of another type, and the payload spelled
   exactly as this program spells it. So there is one text for one meaning: no claim twice, no
   `1e3`, no spaces.
4. *Time*: not from the future, not over, and not longer than its kind may live, each with 60
   seconds for clocks that differ.

Only then does the caller see the claims. Whose key it is, and for whom the token is meant, is
for each kind to check (`tokens.pairing`, `tokens.exchange`, `tokens.access`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

import msgspec

from tokens import paseto
from tokens.errors import TokenExpired, TokenMalformed, TokenMisused, TokenNotYetValid
from tokens.identity import Identity
from tokens.limits import CLOCK_SKEW_SECONDS, EPOCH_SECONDS_MAX

_JTI = re.compile(r"[0-9a-f]{32}", re.ASCII)
_DC_ID = re.compile(r"[0-9a-f]{16}", re.ASCII)

EpochSeconds = Annotated[int, msgspec.Meta(ge=0, le=EPOCH_SECONDS_MAX)]


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every token says: its purpose, and its life from iat until before exp."""

    purpose: str
    iat: EpochSeconds
    exp: EpochSeconds


C = TypeVar("C", bound=Claims)


@dataclass(frozen=True, slots=True)
class TokenKind(Generic[C]):
    """One kind of token; `noun` and `remedy` are for messages."""

    purpose: str
    claims: type[C]
    lifetime_seconds_max: int
    noun: str
    remedy: str


class Peeked(msgspec.Struct, frozen=True):
    """Unproven: what a token says of itself, for finding the key to verify it with."""

    purpose: str = ""
    iss: str = ""
    signing_key: str = ""


def new_jti(random_bytes: Callable[[int], bytes]) -> str:
    """A fresh token id: 128 random bits as 32 hex characters."""
    drawn = random_bytes(16)
    assert len(drawn) == 16
    return drawn.hex()


def is_jti(text: str) -> bool:
    """Whether this is a token id: 32 lowercase hex characters."""
    return _JTI.fullmatch(text) is not None


def is_dc_id(text: str) -> bool:
    """Whether this is a DC's id: 16 lowercase hex characters."""
    return _DC_ID.fullmatch(text) is not None


def issue_claims(kind: TokenKind[C], identity: Identity, claims: C) -> str:
    """Sign claims. ValueError for a life that no verifier would accept."""
    assert claims.purpose == kind.purpose
    if not 0 < claims.exp - claims.iat <= kind.lifetime_seconds_max:
        raise ValueError(
            f"a {kind.noun} lives 1 to {kind.lifetime_seconds_max} seconds,"
            f" not {claims.exp - claims.iat}"
        )
    payload = msgspec.json.encode(claims)
    return paseto.sign(identity.signing_secret, payload, implicit=kind.purpose.encode())


def peek(kind: TokenKind[C], token: str) -> Peeked:
    """Step 1. TokenMisused when it names another purpose, TokenMalformed when it is no token."""
    peeked = _decode(kind, paseto.unverified_payload(token), Peeked)
    _check_purpose(kind, peeked.purpose)
    return peeked


def open_claims(kind: TokenKind[C], token: str, public_key: bytes, now: int) -> C:
    """Steps 2 to 4: the claims that this key signed; a TokenError says what is wrong."""
    payload = paseto.verify(public_key, token, implicit=kind.purpose.encode())
    claims = _decode(kind, payload, kind.claims)
    if msgspec.json.encode(claims) != payload:
        raise TokenMalformed(
            f"the {kind.noun} is not spelled the way Farshore spells it; {kind.remedy}"
        )
    _check_purpose(kind, claims.purpose)
    _check_time(kind, claims, now)
    return claims


T = TypeVar("T")


def _decode(kind: TokenKind[C], payload: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise TokenMalformed(
            f"the token does not hold the claims of a {kind.noun} ({_printable(error)});"
            f" {kind.remedy}"
        ) from None


def _check_purpose(kind: TokenKind[C], purpose: str) -> None:
    if purpose != kind.purpose:
        raise TokenMisused(
            f"this token's purpose is {purpose[:40]!r} and a {kind.noun} ({kind.purpose!r}) is"
            f" needed; {kind.remedy}"
        )


def _check_time(kind: TokenKind[C], claims: Claims, now: int) -> None:
    lifetime = claims.exp - claims.iat
    if not 0 < lifetime <= kind.lifetime_seconds_max:
        raise TokenMalformed(
            f"a {kind.noun} lives 1 to {kind.lifetime_seconds_max} seconds, this one"
            f" {lifetime}; {kind.remedy}"
        )
    if claims.iat > now + CLOCK_SKEW_SECONDS:
        raise TokenNotYetValid(
            f"the {kind.noun} was issued at {_utc(claims.iat)} and here it is {_utc(now)};"
            " set the clocks of both DCs right"
        )
    if now >= claims.exp + CLOCK_SKEW_SECONDS:
        raise TokenExpired(
            f"the {kind.noun} expired at {_utc(claims.exp)} and here it is {_utc(now)};"
            f" {kind.remedy}"
        )


def _printable(error: Exception) -> str:
    """At most 200 printable characters: the decoder's words may quote a hostile token."""
    return ascii(str(error))[1:-1][:200]


def _utc(epoch_seconds: int) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
