"""Claims in which a DC describes itself, and the key inside that they must be signed with.

Such a token is self-describing: it carries the public key that verifies it. The signature then
proves that whoever holds that key said all of this, and that nothing was changed on the way. It
does not prove that the key belongs to the DC one has in mind: that comes from the hands which
passed the token on and from comparing the ids and the short code. The id is derived from the
key, never believed.
"""

from typing import TypedDict, TypeVar

from tokens import base64url
from tokens.claims import Claims, TokenKind, open_claims, peek
from tokens.errors import IdentityError, PlaceInvalid, TokenAltered, TokenMalformed
from tokens.identity import Identity, PublicIdentity
from tokens.place import Place


class DescribedClaims(Claims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A DC's own description; keys are base64url, the fingerprint is hex."""

    dc_id: str
    name: str
    region: str
    endpoints: tuple[str, ...]
    fingerprint: str
    signing_key: str
    sealing_key: str


class Description(TypedDict):
    """The claims of DescribedClaims, to be passed on as keyword arguments."""

    dc_id: str
    name: str
    region: str
    endpoints: tuple[str, ...]
    fingerprint: str
    signing_key: str
    sealing_key: str


D = TypeVar("D", bound=DescribedClaims)


def describe(identity: Identity, place: Place) -> Description:
    """What a DC says of itself."""
    return Description(
        dc_id=identity.dc_id,
        name=place.name,
        region=place.region,
        endpoints=place.endpoints,
        fingerprint=place.fingerprint,
        signing_key=base64url.encode(identity.public.signing_key),
        sealing_key=base64url.encode(identity.public.sealing_key),
    )


def open_described(kind: TokenKind[D], token: str, now: int) -> tuple[D, PublicIdentity, Place]:
    """Verify a self-describing token with its own key; any TokenError."""
    signing_key = _key(kind, peek(kind, token).signing_key)
    claims = open_claims(kind, token, signing_key, now)
    try:
        peer = PublicIdentity(signing_key, _key(kind, claims.sealing_key))
        place = Place(claims.name, claims.region, claims.endpoints, claims.fingerprint)
    except (IdentityError, PlaceInvalid) as error:
        raise TokenMalformed(
            f"the {kind.noun} describes its DC wrongly: {error}; {kind.remedy}"
        ) from None
    if claims.dc_id != peer.dc_id:
        raise TokenAltered(
            f"the {kind.noun} claims to come from DC {claims.dc_id[:40]!r}, but its key is that"
            f" of DC {peer.dc_id}: do not trust who gave it to you; {kind.remedy}"
        )
    return claims, peer, place


def _key(kind: TokenKind[D], text: str) -> bytes:
    try:
        key = base64url.decode(text)
        if len(key) != 32:
            raise ValueError("another length than 32 bytes")
    except ValueError as error:
        raise TokenMalformed(f"a key in the {kind.noun} has {error}; {kind.remedy}") from None
    return key
