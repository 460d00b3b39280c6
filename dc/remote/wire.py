"""What a gateway on another machine and its datacenter say to each other.

Frames are as those of disks (`dc/objects/nodes/wire.py`), with other limits. The header is a
msgpack array that begins with what it is. Of a call the payload is its arguments, of a result its
value, both msgpack (`dc/remote/calls.py`); of bodies it is their bytes.

Bodies go in pieces. Whoever sends one may have `WINDOW` pieces under way; each that the other side
has taken allows one more.
"""

import msgspec

from dc.names.model import AccessKey, Bucket, Extent, Peer, Site, User, Version
from dc.objects.nodes import wire as nodes
from dc.objects.nodes.wire import LENGTHS as LENGTHS
from dc.objects.nodes.wire import Count, Name
from dc.objects.nodes.wire import WireError as WireError

HEADER_BYTES_MAX = 128 << 10
PAYLOAD_BYTES_MAX = 256 << 20
"""The extents of an object of 5 TiB take 100 MiB."""
PIECE_BYTES_MAX = 256 << 10
"""TLS takes larger ones with more copying."""
WINDOW = 8
LINKS = 3
"""Connections of a session: the first for what is small, the others for bodies."""
LINKS_MAX = 16
CALLS_MAX = 4096
"""Under way for one gateway; more are refused."""
BODIES_MAX = 4096
RECORDS_BYTES = 4 << 20
"""Of the directory, told at once."""


class _Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


# -- what a gateway says ------------------------------------------------------------------------


class Call(_Frame, frozen=True, tag="call"):
    """Do something with the names; the payload has the arguments."""

    id: Count
    what: Name


class Put(_Frame, frozen=True, tag="put"):
    """Store a small body, the payload, in a tier."""

    id: Count
    ident: bytes
    tier: Name


class Begin(_Frame, frozen=True, tag="begin"):
    """Store a large body, whose pieces follow, in a tier."""

    id: Count
    ident: bytes
    tier: Name


class Finish(_Frame, frozen=True, tag="finish"):
    """The body is complete."""

    id: Count
    ident: bytes | None


class Read(_Frame, frozen=True, tag="read"):
    """Send the bytes [start, stop) of a body, whose extents are in the payload."""

    id: Count
    start: Count
    stop: Count


class ReadOther(_Frame, frozen=True, tag="other"):
    """Send the bytes [start, stop) of a version, which is in the payload, from another datacenter;
    its name comes as a `Result` before them."""

    id: Count
    start: Count
    stop: Count


class Stop(_Frame, frozen=True, tag="stop"):
    """Send no more of a body, or forget what was stored of it."""

    id: Count


class Have(_Frame, frozen=True, tag="have"):
    """All changes of the directory up to this one are known."""

    serial: Count


class Ping(_Frame, frozen=True, tag="ping"):
    """Extend the lease."""

    number: Count


class Bye(_Frame, frozen=True, tag="bye"):
    """Nobody is served any more."""


# -- what the datacenter says --------------------------------------------------------------------


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What gateways of a datacenter have in common: as in farshore.toml."""

    name: str
    region: str
    base_domains: list[str]
    website_domains: list[str]
    signature_v2: bool
    ssec_over_http: bool
    notifications: bool
    access_log_ms: int


class Welcome(_Frame, frozen=True, tag="welcome"):
    """How to be a gateway of this datacenter. The directory follows, then a `Loaded`."""

    dc_id: Name
    settings: Settings
    data_key: bytes
    """Opens the secrets of the directory's keys."""


class Loaded(_Frame, frozen=True, tag="loaded"):
    """The directory is complete."""


class Changed(_Frame, frozen=True, tag="changed"):
    """The payload has `Records` as they are now."""

    serial: Count


class Records(msgspec.Struct, frozen=True, array_like=True):
    """Of the directory. `peers`: all there are, None when they are as before."""

    buckets: list[Bucket] = []
    users: list[User] = []
    keys: list[AccessKey] = []
    sites: list[Site] = []
    peers: list[Peer] | None = None


class Pong(_Frame, frozen=True, tag="pong"):
    number: Count


class Result(_Frame, frozen=True, tag="result"):
    """Something was done; the payload has its value."""

    id: Count


class Failed(_Frame, frozen=True, tag="failed"):
    """Something was not done: the name of an error, and its text. The payload has the bucket that
    it is about, or nothing."""

    id: Count
    error: Name
    text: str


# -- what both say -------------------------------------------------------------------------------


class Piece(_Frame, frozen=True, tag="piece"):
    """The next bytes of a body: the payload. `last`: there are no more."""

    id: Count
    last: bool = False


class Taken(_Frame, frozen=True, tag="taken"):
    """A piece was taken."""

    id: Count


Asked = Call | Put | Begin | Piece | Finish | Read | ReadOther | Stop | Taken | Have | Ping | Bye
Told = Welcome | Loaded | Changed | Pong | Result | Failed | Piece | Taken
Frame = Asked | Told

encode = msgspec.msgpack.Encoder().encode
decode_asked = msgspec.msgpack.Decoder(Asked).decode
decode_records = msgspec.msgpack.Decoder(Records).decode
decode_bucket = msgspec.msgpack.Decoder(Bucket).decode
decode_extents = msgspec.msgpack.Decoder(list[Extent]).decode
decode_version = msgspec.msgpack.Decoder(Version).decode
decode_name = msgspec.msgpack.Decoder(str).decode
decode_told = msgspec.msgpack.Decoder(Told).decode


def lengths(raw: bytes) -> tuple[int, int]:
    """Of the header and of the payload of a frame. WireError when they cannot be."""
    return nodes.lengths(raw, PAYLOAD_BYTES_MAX, HEADER_BYTES_MAX)
