"""The pairing token: one line that tells another operator how to reach and recognise a DC.

`issue` prints what `read` understands: who the DC is (its keys, and the id they make), where it
is (endpoints, the fingerprint of its TLS certificate), for how long the offer stands, and a
single-use id, all signed by the DC itself. The token holds no secret, but it is an invitation:
whoever holds it may answer it, once, while it lives. So it travels between operators by a way
they trust, and both sides compare what they see before they agree (`short_code`).

*Single use* cannot be seen from the token. The issuing DC records the `jti` of every offer that
a pair request used up, at least until the offer's `expires_at` plus the clock skew, in the same
transaction that records the new peer (see `tokens.exchange`).

`short_code` gives both sides the same six digits. It catches the honest mistake: the wrong
token, the wrong terminal, the wrong DC. It is no proof against somebody who sits between the two
and can try a million keys: six digits are soon found. Against such a one the operators compare
the DCs' ids, 16 characters each, which the same command shows.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

from tokens.claims import TokenKind, is_jti, issue_claims
from tokens.described import DescribedClaims, describe, open_described
from tokens.errors import TokenMalformed
from tokens.identity import KEY_BYTES, Identity, PublicIdentity
from tokens.limits import PAIRING_LIFETIME_SECONDS_DEFAULT, PAIRING_LIFETIME_SECONDS_MAX
from tokens.place import Place


class _OfferClaims(DescribedClaims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    scope: Literal["pair"]
    jti: str


_OFFER = TokenKind(
    purpose="farshore-pairing-1",
    claims=_OfferClaims,
    lifetime_seconds_max=PAIRING_LIFETIME_SECONDS_MAX,
    noun="pairing token",
    remedy="issue a new one on the other DC with `farshore token issue`",
)


@dataclass(frozen=True, slots=True)
class PairingOffer:
    """A verified pairing token. Times are epoch seconds."""

    peer: PublicIdentity
    place: Place
    jti: str
    issued_at: int
    expires_at: int


def issue(
    identity: Identity,
    place: Place,
    *,
    now: int,
    jti: str,
    lifetime_seconds: int = PAIRING_LIFETIME_SECONDS_DEFAULT,
) -> str:
    """A pairing token, one line. `jti` comes from `tokens.claims.new_jti`.

    Raises ValueError for a jti or a lifetime that no reader would accept.
    """
    if not is_jti(jti):
        raise ValueError("a jti is 32 lowercase hex characters")
    claims = _OfferClaims(
        purpose=_OFFER.purpose,
        scope="pair",
        jti=jti,
        iat=now,
        exp=now + lifetime_seconds,
        **describe(identity, place),
    )
    token = issue_claims(_OFFER, identity, claims)
    assert read(token, now).peer == identity.public
    return token


def read(token: str, now: int) -> PairingOffer:
    """The offer in a pairing token; a TokenError says what is wrong with it and what to do.

    White space around the token is ignored: it was pasted by a person.
    """
    claims, peer, place = open_described(_OFFER, token.strip(), now)
    if not is_jti(claims.jti):
        raise TokenMalformed(f"the pairing token's id is not 32 hex characters; {_OFFER.remedy}")
    return PairingOffer(peer, place, claims.jti, claims.iat, claims.exp)


def short_code(key_a: bytes, key_b: bytes, jti: str) -> str:
    """Six digits like "123-456" from both DCs' signing keys and the offer's id.

    The order of the keys does not matter, so both sides get the same. ValueError for keys that
    do not have 32 bytes, for the same key twice, and for a bad jti.
    """
    if len(key_a) != KEY_BYTES or len(key_b) != KEY_BYTES or key_a == key_b or not is_jti(jti):
        raise ValueError("a short code takes two different keys of 32 bytes and a jti")
    first, second = sorted((key_a, key_b))
    digest = hashlib.sha256(b"farshore-short-code-1\0" + first + second + jti.encode()).digest()
    number = int.from_bytes(digest, "big") % 1_000_000
    return f"{number // 1000:03}-{number % 1000:03}"
