"""What is stored beside the bytes of a body, so that names can be found again from the bytes
(`dc/objects/finding.py`). It is a MessagePack array that begins with a number.

A body that is stored in one record (`version_ident`) has the whole version there, but where its
bytes are. Of a body that streams in, the final stamp, size and ETag are not known when its first
record is written: its records say what it is for (`body_ident`), with a stamp that tells this body
from every other one of the same key; the last one has the whole version, and that stamp. A version
whose ident would be too large has none: names know it, and the journal.

Two kinds of records are no bodies: segments of the journal (`dc/objects/journal.py`), and refusals:
that a version which is here whole was not stored after all, and its client was told so.
"""

from typing import NamedTuple

import msgspec

from dc.names.model import Extent, Kind, Meta, Registers, Version
from dc.objects.format import IDENT_MAX_BYTES
from dc.stamps import Stamp

OLD_VERSION, BODY, VERSION, JOURNAL, REFUSAL = range(1, 6)
"""The first number. Those of OLD_VERSION were written before there were registers in them."""
_encode = msgspec.msgpack.Encoder().encode


class Whole(NamedTuple):
    """A version that was about to be stored, without extents. `body` is the stamp of the records
    that its body began with, "" when this record is all of it."""

    version: Version
    body: Stamp


class Piece(NamedTuple):
    """A part of a body, as `body_ident` says."""

    bucket: str
    key: str
    vid: str
    stamp: Stamp
    upload: str
    part: int


class SegmentIdent(NamedTuple):
    """A piece of a segment of the journal, as in `dc.names.journal.Segment`."""

    generation: str
    serial: int
    first: int
    last: int
    rows: int
    floor: Stamp
    begun: bool


class Refusal(NamedTuple):
    """A version that was not stored."""

    bucket: str
    key: str
    vid: str
    stamp: Stamp


Ident = Whole | Piece | SegmentIdent | Refusal


def version_ident(version: Version, body: Stamp = "") -> bytes:
    """The ident of a body that is all of `version`, or of its last record, where `body` is the
    stamp of those before; its extents are left out, and what it had seen."""
    ident = _encode(
        (
            VERSION,
            version.bucket,
            version.key,
            version.vid,
            version.stamp,
            version.kind,
            version.size,
            version.etag,
            version.meta,
            version.registers,
            body,
        )
    )
    if len(ident) > IDENT_MAX_BYTES:
        return body_ident(version.bucket, version.key, version.vid, body or version.stamp)
    return ident


def body_ident(
    bucket_id: str, key: str, vid: str, stamp: Stamp, upload: str = "", part: int = 0
) -> bytes:
    """The ident of a body that streams in, or of part `part` of the multipart upload `upload`."""
    return _encode((BODY, bucket_id, key, vid, stamp, upload, part))


def segment_ident(segment: SegmentIdent) -> bytes:
    return _encode((JOURNAL, *segment))


def refusal_ident(version: Version) -> bytes:
    return _encode((REFUSAL, version.bucket, version.key, version.vid, version.stamp))


# -- and back -----------------------------------------------------------------------------------

_any = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_number = msgspec.msgpack.Decoder(int).decode
_old = msgspec.msgpack.Decoder(tuple[int, str, str, str, Stamp, Kind, int, str, Meta]).decode
_version = msgspec.msgpack.Decoder(
    tuple[int, str, str, str, Stamp, Kind, int, str, Meta, Registers, Stamp]
).decode
_piece = msgspec.msgpack.Decoder(tuple[int, str, str, str, Stamp, str, int]).decode
_segment = msgspec.msgpack.Decoder(tuple[int, str, int, int, int, int, Stamp, bool]).decode
_refusal = msgspec.msgpack.Decoder(tuple[int, str, str, str, Stamp]).decode
_NOWHERE: list[Extent] = []


def decode_ident(ident: bytes) -> Ident | None:
    """What an ident says; None for what this program does not know."""
    try:
        parts = _any(ident)
        kind = _number(parts[0])
        if kind == VERSION:
            fields = _version(ident)
            version = Version(*fields[1:9], _NOWHERE, registers=fields[9])
            return Whole(version, fields[10])
        if kind == OLD_VERSION:
            return Whole(Version(*_old(ident)[1:], _NOWHERE), "")
        if kind == BODY:
            return Piece(*_piece(ident)[1:])
        if kind == JOURNAL:
            return SegmentIdent(*_segment(ident)[1:])
        if kind == REFUSAL:
            return Refusal(*_refusal(ident)[1:])
    except (msgspec.MsgspecError, IndexError, UnicodeDecodeError):
        pass
    return None
