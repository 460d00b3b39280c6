"""A ring: what a DC publishes at the broker when it has something for a peer that keeps no stream.

    farshore-doorbell/{to}/ring/{from}   the ring, retained; `to` and `from` are ids of DCs
    farshore-doorbell/{from}/here        "1" while that DC is at the broker, "0" (its will) when not

A ring is signed (PASETO v4.public; who signs for whom is in the implicit assertion), so that only
the peer can ring, and says up to where its feed goes: who has that already does not come. It is
dated, so that an old one is not taken again. It holds nothing secret, but who may read it learns
when, and how many changes, a DC has.

`here` is not signed: a forged one makes a peer poll more often, or less often by the poll that is
configured, and no more than that.
"""

from typing import Annotated

import msgspec

from replicator.errors import WireError
from replicator.wire import Count
from tokens import paseto
from tokens.errors import TokenError
from tokens.identity import Identity

ROOT = "farshore-doorbell"
HERE = b"1"
GONE = b"0"
RING_BYTES_MAX = 512
_PURPOSE = "farshore-ring-1"

_encode = msgspec.json.Encoder().encode


class Ring(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The feed of that epoch goes up to `position`."""

    epoch: Annotated[str, msgspec.Meta(max_length=64)]
    position: Count
    at_ms: Count
    """When it was rung, by the clock of who rings."""


def ring_topic(to: str, sender: str) -> str:
    return f"{ROOT}/{to}/ring/{sender}"


def here_topic(dc_id: str) -> str:
    return f"{ROOT}/{dc_id}/here"


def sign_ring(identity: Identity, to: str, ring: Ring) -> bytes:
    implicit = _implicit(to, identity.dc_id)
    return paseto.sign(identity.signing_secret, _encode(ring), implicit=implicit).encode()


def read_ring(payload: bytes, to: str, sender: str, signing_key: bytes) -> Ring:
    """WireError for what the sender did not sign for this DC."""
    if len(payload) > RING_BYTES_MAX:
        raise WireError(f"a ring of {len(payload)} bytes")
    try:
        token = payload.decode("ascii")
        told = paseto.verify(signing_key, token, implicit=_implicit(to, sender))
        return msgspec.json.decode(told, type=Ring)
    except (TokenError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a ring: {type(error).__name__}") from None


def _implicit(to: str, sender: str) -> bytes:
    return f"{_PURPOSE} {sender} {to}".encode()
