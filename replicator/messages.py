"""The short messages between datacenters: what is asked for, acknowledged, and paired.

Asks travel in the `ask` parameter of a URL, as base64url of msgpack, so that a key of any
characters survives it; the rest are bodies of msgpack. As everywhere, what is read was written by
somebody else: anything but exactly these shapes is a `WireError`.
"""

from typing import Annotated, TypeVar

import msgspec

from replicator.errors import WireError, printable
from replicator.limits import (
    ERROR_CHARACTERS_MAX,
    FAILING_TOLD_MAX,
    PEERS_MAX,
    UNFINISHED_TOLD_MAX,
)
from replicator.wire import Count, Size
from tokens import base64url

FEED_END = "Farshore-Feed-End"
"""Header of a 404 to what the feed told of: the feed's end, by which it tells the later state."""
PACKING = "Farshore-Packing"
"""Header of a request for a feed: `ZSTD` from who takes batches as bundles, too."""
ZSTD = "zstd"
EPOCH = "Farshore-Epoch"
"""Header of a request for a feed: the asker's own epoch. What it has told in that, it knows. Of an
acknowledgement: who sends it; one of a process that another has followed is not heard. And of
such a 404: that feed's epoch. A process of another one may have forgotten what is asked for."""
RATES = "Farshore-Rates"
"""Header of a peer's request: how many bytes a second it wants to be sent at most, a space, and how
many it sends at most. 0 is no limit."""
PAUSED = "Farshore-Paused"
"""Header of a 503: the answering DC has paused all dealings with the asking one, since then
(milliseconds since 1970)."""
DRAW = "Farshore-Draw"
"""Header of a request for a feed: that is to end when all was sent that there is. After so many
seconds, at the latest, it is asked for again."""
T = TypeVar("T")
_encode = msgspec.msgpack.Encoder().encode


class FeedAsk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """GET /v2/feed: the stored cursor; the DCs whose changes come to the asker straight; and
    whether it wants its own changes, too, having perhaps forgotten some."""

    epoch: str
    after: Count
    direct: Annotated[list[str], msgspec.Meta(max_length=PEERS_MAX)]
    own: bool


class BodyAsk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """GET /v2/body: the bytes [start, stop) of exactly this version."""

    bucket: str
    key: str
    vid: str
    stamp: str
    start: Size
    stop: Size


class EntryAsk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """GET /v2/entry: the record at a feed position, if it is still that item's last."""

    epoch: str
    seq: Count


class StateAsk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """GET /v2/state, if need be: the bucket (its id) whose bodies that are to come count. An
    earlier version does not know this, and counts all."""

    bucket: str


class Ack(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything up to `position` has taken effect at the consumer, and everything up to `taken`
    but what is `unfinished`. `failing`: positions whose changes it has tried in vain, with the
    reasons; the first of them."""

    epoch: str
    position: Count
    taken: Count = 0
    unfinished: Annotated[list[Count], msgspec.Meta(max_length=UNFINISHED_TOLD_MAX)] = []
    failing: Annotated[
        list[tuple[Count, Annotated[str, msgspec.Meta(max_length=ERROR_CHARACTERS_MAX)]]],
        msgspec.Meta(max_length=FAILING_TOLD_MAX),
    ] = []


class Lacks(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the asking DC has not acknowledged of the answering one's changes: how many, of how
    many bytes, when the oldest was made. `at_least`: not all of them were counted."""

    changes: Count
    bytes: Count
    oldest_ms: Count
    at_least: bool


class State(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True
):
    """What GET /v2/state says: about the answering DC, its stream to the asking one, and the root
    of all that it holds at the feed's end; and how many bodies (of all buckets, or of one:
    `StateAsk`) belong there and are not there, as it was at the position `looked`."""

    dc_id: str
    epoch: str
    end: Count
    streaming: bool
    root: Annotated[str, msgspec.Meta(max_length=64)] = ""
    lacks: Lacks | None = None
    to_come: Count = 0
    looked: Count = 0


class PairCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /v2/pair: the pairing token and a request bound to it."""

    offer: str
    request: str


class PairReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its answer: a signed yes, or, to who holds a valid token, a reason. With a yes, the change
    by which the joiner sees that changes come: the stamp of the issuer's site, put anew, and the
    position in its feed at which it is there."""

    answer: str = ""
    problem: str = ""
    site: Annotated[str, msgspec.Meta(max_length=32)] = ""
    position: Count = 0


def encode_ask(ask: FeedAsk | BodyAsk | EntryAsk | StateAsk) -> str:
    """For the `ask` parameter of a URL: a key of any characters survives it."""
    return base64url.encode(_encode(ask))


def decode_ask(text: str, shape: type[T]) -> T:
    try:
        return decode_body(base64url.decode(text), shape)
    except ValueError as error:
        raise WireError(f"not an `ask`: {printable(error)}") from None


def encode_body(message: Ack | State | PairCall | PairReply) -> bytes:
    """The body of a request or an answer."""
    return _encode(message)


def decode_body(data: bytes, shape: type[T]) -> T:
    try:
        return msgspec.msgpack.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a {shape.__name__}: {printable(error)}") from None
