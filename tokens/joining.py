"""How a machine becomes a node of a DC: a token from the DC, a request by the node.

    DC                                         node
      | -- joining token, by hand --------------> |   read
      | <------ request: who I am, your jti ----- |   issue_request

As with a pairing (`tokens.pairing`), the token is one line, holds no secret, is signed by the DC,
says where it is and what its certificate is, what the node may become, and works once, while it
lives. The request describes the node: its keys, where it listens, the fingerprint of its own
certificate, what it is to be, and its disks. It is signed by the node and meant for one DC. The
node believes the answer because it comes from who has the certificate in the token; from then on it
serves who can sign with the key in the token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from tokens.claims import TokenKind, is_jti, issue_claims
from tokens.described import DescribedClaims, describe, open_described
from tokens.errors import TokenMalformed, TokenMisused
from tokens.identity import Identity, PublicIdentity
from tokens.limits import (
    EXCHANGE_LIFETIME_SECONDS,
    PAIRING_LIFETIME_SECONDS_DEFAULT,
    PAIRING_LIFETIME_SECONDS_MAX,
)
from tokens.place import Place

DISKS_MAX = 24
LABEL_CHARACTERS_MAX = 128
OS, GATEWAY = "os", "gateway"
ROLES = (OS, GATEWAY)
"""What a node can be: one that gives disks, one that serves S3 clients."""
Roles = Annotated[list[Literal["os", "gateway"]], msgspec.Meta(min_length=1, max_length=2)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=LABEL_CHARACTERS_MAX)]


class _OfferClaims(DescribedClaims, frozen=True, forbid_unknown_fields=True, kw_only=True):
    scope: Literal["node"]
    jti: str
    roles: Roles


class _RequestClaims(
    DescribedClaims, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    aud: str
    offer_jti: str
    host: Label
    disks: Annotated[list[Label], msgspec.Meta(max_length=DISKS_MAX)]
    roles: Roles
    again: Annotated[list[Label], msgspec.Meta(max_length=DISKS_MAX)] = msgspec.field(
        default_factory=list
    )


_OFFER = TokenKind(
    purpose="farshore-node-1",
    claims=_OfferClaims,
    lifetime_seconds_max=PAIRING_LIFETIME_SECONDS_MAX,
    noun="joining token",
    remedy="make a new one at the datacenter with `farshore node add`",
)
_REQUEST = TokenKind(
    purpose="farshore-node-request-1",
    claims=_RequestClaims,
    lifetime_seconds_max=EXCHANGE_LIFETIME_SECONDS,
    noun="joining request",
    remedy="start over with `farshore node join` on the node",
)


@dataclass(frozen=True, slots=True)
class JoinOffer:
    """A verified joining token. Times are epoch seconds."""

    dc: PublicIdentity
    place: Place
    jti: str
    expires_at: int
    roles: list[str]
    """What the node may become."""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A verified request. `host` is the node's failure domain, `disks` are the paths of its disks,
    for people."""

    node: PublicIdentity
    place: Place
    host: str
    disks: list[str]
    offer_jti: str
    roles: list[str]
    again: list[str]
    """Those of the disks that were known before, and are empty now: they begin anew."""


def issue(
    identity: Identity,
    place: Place,
    *,
    now: int,
    jti: str,
    roles: Sequence[str] = (OS,),
    lifetime_seconds: int = PAIRING_LIFETIME_SECONDS_DEFAULT,
) -> str:
    """A joining token, one line. ValueError for a jti or a lifetime that nobody would accept."""
    if not is_jti(jti):
        raise ValueError("a jti is 32 lowercase hex characters")
    claims = _OfferClaims(
        purpose=_OFFER.purpose,
        scope="node",
        jti=jti,
        roles=_roles(roles),
        iat=now,
        exp=now + lifetime_seconds,
        **describe(identity, place),
    )
    return issue_claims(_OFFER, identity, claims)


def read(token: str, now: int) -> JoinOffer:
    """The offer in a token; a TokenError says what is wrong and what to do. White space around it
    is ignored: it was pasted by a person."""
    claims, dc, place = open_described(_OFFER, token.strip(), now)
    if not is_jti(claims.jti):
        raise TokenMalformed(f"the joining token's id is not 32 hex characters; {_OFFER.remedy}")
    return JoinOffer(dc, place, claims.jti, claims.exp, list(claims.roles))


def issue_request(
    identity: Identity,
    place: Place,
    offer: JoinOffer,
    *,
    host: str,
    disks: list[str],
    roles: Sequence[str] = (OS,),
    again: Sequence[str] = (),
    now: int,
) -> str:
    """The node's request to the DC that made the offer. TokenMisused for what that would refuse."""
    _check(host, disks, roles)
    if missing := [role for role in roles if role not in offer.roles]:
        raise TokenMisused(
            f"the token makes a node {' and '.join(offer.roles)}, not {' and '.join(missing)}: make"
            f" one there with `farshore node add --role {missing[0]}`"
        )
    claims = _RequestClaims(
        purpose=_REQUEST.purpose,
        aud=offer.dc.dc_id,
        offer_jti=offer.jti,
        host=host,
        disks=disks,
        roles=_roles(roles),
        again=list(again),
        iat=now,
        exp=now + EXCHANGE_LIFETIME_SECONDS,
        **describe(identity, place),
    )
    return issue_claims(_REQUEST, identity, claims)


def read_request(request: str, own_dc_id: str, now: int) -> JoinRequest:
    """Who asks to be a node; the caller has to check the offer's jti, and to use it up."""
    claims, node, place = open_described(_REQUEST, request, now)
    if not is_jti(claims.offer_jti):
        raise TokenMalformed(f"the joining request names no offer; {_REQUEST.remedy}")
    if claims.aud != own_dc_id:
        raise TokenMisused(
            f"the joining request is for DC {claims.aud[:40]!r} and this is DC {own_dc_id};"
            " check the endpoints in the token"
        )
    if node.dc_id == own_dc_id:
        raise TokenMisused("a datacenter cannot be its own node")
    _check(claims.host, claims.disks, claims.roles)
    if not set(claims.again) <= set(claims.disks):
        raise TokenMisused("a disk that begins anew is none of the node's")
    return JoinRequest(
        node,
        place,
        claims.host,
        list(claims.disks),
        claims.offer_jti,
        list(claims.roles),
        list(claims.again),
    )


def _roles(roles: Sequence[str]) -> Roles:
    """ValueError for what is no role."""
    if not roles or not set(roles) <= set(ROLES):
        raise ValueError(f"a node is {' or '.join(ROLES)}, not {roles}")
    return [one for one in ROLES if one in roles]  # type: ignore[misc]


def _check(host: str, disks: list[str], roles: Sequence[str]) -> None:
    """These are shown to people, and disks are told apart by them."""
    if OS in roles and not 1 <= len(disks) <= DISKS_MAX:
        raise TokenMisused(f"a node gives 1 to {DISKS_MAX} disks, not {len(disks)}")
    if OS not in roles and disks:
        raise TokenMisused("only a node with the role os has disks")
    if len(set(disks)) != len(disks):
        raise TokenMisused("a disk is named twice: each needs a folder of its own")
    for label in (host, *disks):
        if not 0 < len(label) <= LABEL_CHARACTERS_MAX or not label.isprintable():
            raise TokenMisused(
                f"{label[:80]!r} cannot be used: 1 to {LABEL_CHARACTERS_MAX} characters that can"
                " be printed"
            )
