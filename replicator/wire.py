"""What travels between datacenters: records, frames, and the checks of both.

A feed stream is a sequence of frames, each a length (4 bytes, big-endian) and that many bytes of
msgpack: one `Hello`, then `Batch` and `KeepAlive` in any order. All structs are tagged arrays and
have exactly the fields named here. The protocol's version is in the URL (`/v2/...`): a change of
these shapes is a new version, and both are served for a time.

A batch says from which position (`after`, not included) to which (`last`, included) it covers the
feed. The consumer accepts a batch only when its `after` is the `last` of the one before, so a lost,
repeated or invented frame ends the connection instead of leaving a gap. Positions inside are
strictly ascending.

Everything read here was written by somebody else. Types and shapes are checked while decoding,
lengths, ranges and alphabets by `_check_*` right after; whatever is off is a `WireError`, and
nothing of its frame is used.
"""

import re
import struct
from typing import Annotated

import msgspec

from dc.names.model import DATA_KEYS
from dc.names.seen import INFERRED, is_seen
from replicator.errors import WireError, printable
from replicator.limits import (
    EMAIL_CHARACTERS_MAX,
    FRAME_BYTES_MAX,
    HEADER_CHARACTERS_MAX,
    HEADERS_MAX,
    INLINE_BYTES_MAX,
    INTERVALS_MAX,
    KEY_BYTES_MAX,
    NAME_CHARACTERS_MAX,
    OBJECT_BYTES_MAX,
    PARTS_MAX,
    RECORDS_MAX,
    REGISTER_CHARACTERS_MAX,
    REGISTERS_MAX,
    SECRET_BYTES_MAX,
)
from replicator.packing import Packer, unpack

PROTOCOL = "v2"
LENGTH_BYTES = 4
_LENGTH = struct.Struct(">I")
_HEX16 = re.compile(r"[0-9a-f]{16}", re.ASCII).fullmatch
_STORAGE_CLASS = re.compile(r"[A-Z_]{0,40}", re.ASCII).fullmatch
_HEX32 = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch
_HEX64 = re.compile(r"[0-9a-f]{64}", re.ASCII).fullmatch
_ETAG = re.compile(r"[0-9A-Za-z_-]{0,128}", re.ASCII).fullmatch
_BUCKET_NAME = re.compile(r"[0-9A-Za-z._-]{1,255}", re.ASCII).fullmatch
_REGISTER_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII).fullmatch
_KEY_CHECK = re.compile(r"[0-9a-f]{96}", re.ASCII).fullmatch
_LINE_ENDING = re.compile(r"[\0\r\n]").search

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Size = Annotated[int, msgspec.Meta(ge=0, le=OBJECT_BYTES_MAX)]
Pairs = Annotated[dict[str, str], msgspec.Meta(max_length=HEADERS_MAX)]
Short = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]


class Part(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A part of a completed multipart upload."""

    number: Annotated[int, msgspec.Meta(ge=1, le=PARTS_MAX)]
    size: Size
    etag: Short
    checksum: Short


class Encryption(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True
):
    """`dc.names.model.Encryption`, field by field."""

    kind: Short
    key: Short = ""
    check: Short = ""
    nonces: Annotated[list[str], msgspec.Meta(max_length=PARTS_MAX)] = []
    crc64: Annotated[int, msgspec.Meta(ge=0)] = 0


class Meta(
    msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True, kw_only=True
):
    """`dc.names.model.Meta`, field by field."""

    content_type: str = ""
    headers: Pairs = {}
    user: Pairs = {}
    checksums: Pairs = {}
    checksum_type: str = ""
    crc64: Annotated[int, msgspec.Meta(ge=0)] = 0
    parts: Annotated[list[Part], msgspec.Meta(max_length=PARTS_MAX)] = []
    sse: Encryption | None = None
    storage_class: Short = ""


Registers = Annotated[
    dict[str, tuple[str, Annotated[str, msgspec.Meta(max_length=REGISTER_CHARACTERS_MAX)]]],
    msgspec.Meta(max_length=REGISTERS_MAX),
]
"""By name: (stamp, value)."""


WITHHELD = b""
"""In the place of a body: the rules of the bucket do not let its bytes go to the receiver."""


class _Record(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True
):
    seq: Count
    """The position in the sender's feed."""


class VersionRecord(_Record, frozen=True, tag="v", kw_only=True):
    """A version. `body` is there for small ones, else None: it is fetched. Where there are bytes,
    an empty one is `WITHHELD`."""

    bucket: str
    key: str
    vid: str
    stamp: str
    kind: Annotated[int, msgspec.Meta(ge=0, le=1)]
    size: Size
    etag: Short
    meta: Meta
    seen: str
    registers: Registers
    body: Annotated[bytes, msgspec.Meta(max_length=INLINE_BYTES_MAX)] | None


class TombstoneRecord(_Record, frozen=True, tag="t", kw_only=True):
    """A version deleted for good."""

    bucket: str
    key: str
    vid: str
    stamp: str
    seen: str


class ConflictRecord(_Record, frozen=True, tag="c", kw_only=True):
    """A version that lost to a concurrent one; its body comes like that of any version."""

    loser: VersionRecord
    winner: str
    gone: bool


class SiteRecord(_Record, frozen=True, tag="s", kw_only=True):
    """What a DC says of itself."""

    dc_id: str
    name: Short
    region: Short
    stamp: str


class BucketRecord(_Record, frozen=True, tag="b", kw_only=True):
    """A bucket, live or deleted."""

    id: str
    name: Short
    owner: str
    region: Short
    created: str
    deleted: str
    revived: str
    registers: Registers


class UserRecord(_Record, frozen=True, tag="u", kw_only=True):
    """A user."""

    id: str
    email: Annotated[str, msgspec.Meta(max_length=EMAIL_CHARACTERS_MAX)]
    stamp: str
    deleted: bool


class AccessKeyRecord(_Record, frozen=True, tag="k", kw_only=True):
    """A key pair; `secret` is sealed to the receiver, empty when the key was deleted."""

    id: Short
    user: str
    secret: Annotated[bytes, msgspec.Meta(max_length=SECRET_BYTES_MAX)]
    stamp: str
    deleted: bool


class UnreadableRecord(_Record, frozen=True, tag="x", kw_only=True):
    """A change that its sender cannot read now. The consumer keeps it and asks for it again."""

    what: Short
    reason: Short


Record = (
    VersionRecord
    | TombstoneRecord
    | ConflictRecord
    | BucketRecord
    | UserRecord
    | AccessKeyRecord
    | SiteRecord
    | UnreadableRecord
)


class _Frame(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, kw_only=True
):
    end: Count
    """The last position of the sender's feed now."""


class Hello(_Frame, frozen=True, tag="hello", kw_only=True):
    """The first frame. `after` is where the stream starts: what was asked for, or 0. `horizon`:
    who comes from before this position may have missed deletions."""

    dc_id: str
    epoch: str
    after: Count
    horizon: Count


class Batch(_Frame, frozen=True, tag="batch", kw_only=True):
    """The feed in (after, last]: what changed there and is the consumer's business."""

    after: Count
    last: Count
    records: Annotated[list[Record], msgspec.Meta(max_length=RECORDS_MAX)]


class KeepAlive(_Frame, frozen=True, tag="alive", kw_only=True):
    """The link is alive and there is nothing to say."""


class Covered(_Frame, frozen=True, tag="covered", kw_only=True):
    """Who has taken in everything up to `position` has, of the DC `origin`, all changes with
    stamps from `low` to `high`: (origin, low, high)."""

    position: Count
    intervals: Annotated[list[tuple[str, str, str]], msgspec.Meta(max_length=INTERVALS_MAX)]


class Packed(
    msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="packed"
):
    """Another frame, as a bundle (`replicator/packing.py`)."""

    data: bytes


Frame = Hello | Batch | KeepAlive | Covered


_encoder = msgspec.msgpack.Encoder()
_frames: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)
_sent: msgspec.msgpack.Decoder[Frame | Packed] = msgspec.msgpack.Decoder(Frame | Packed)
_records: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


class _RawBatch(_Frame, frozen=True, tag="batch", kw_only=True):
    """A batch whose records are encoded already."""

    after: Count
    last: Count
    records: list[msgspec.Raw]


def encode_record(record: Record) -> bytes:
    return _encoder.encode(record)


def decode_record(data: bytes) -> Record:
    """What `encode_record` wrote, checked."""
    try:
        record = _records.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a record: {printable(error)}") from None
    _check_record(record)
    return record


def without_body(record: Record) -> Record:
    """The record as it is kept until its body is here."""
    if type(record) is ConflictRecord:
        return msgspec.structs.replace(record, loser=_without(record.loser))
    return _without(record) if type(record) is VersionRecord else record


def _without(record: VersionRecord) -> VersionRecord:
    return msgspec.structs.replace(record, body=None) if record.body else record


def encode_frame(frame: Frame) -> bytes:
    """The frame with its length in front."""
    return _with_length(_encoder.encode(frame))


def encode_batch(
    after: int, last: int, end: int, records: list[bytes], packer: Packer | None = None
) -> bytes:
    """A `Batch` of encoded records, as a bundle if that is smaller, with its length in front."""
    raw = [msgspec.Raw(record) for record in records]
    body = _encoder.encode(_RawBatch(after=after, last=last, end=end, records=raw))
    assert len(body) <= FRAME_BYTES_MAX
    packed = packer.pack(body) if packer is not None else None
    return _with_length(body if packed is None else _encoder.encode(Packed(packed)))


def _with_length(body: bytes) -> bytes:
    assert len(body) <= FRAME_BYTES_MAX
    return _LENGTH.pack(len(body)) + body


def frame_length(head: bytes) -> int:
    """The length that a frame begins with."""
    length: int = _LENGTH.unpack(head)[0]
    if not 0 < length <= FRAME_BYTES_MAX:
        raise WireError(f"a frame has 1 to {FRAME_BYTES_MAX} bytes, not {length}")
    return length


def decode_frame(body: bytes) -> Frame:
    """A frame without its length, checked in all that can be seen from it alone."""
    try:
        sent = _sent.decode(body)
        frame = _frames.decode(unpack(sent.data)) if isinstance(sent, Packed) else sent
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"not a frame: {printable(error)}") from None
    if type(frame) is Batch:
        return _checked_batch(frame)
    if type(frame) is Hello:
        _need(_HEX16(frame.dc_id), "dc_id", frame.dc_id)
        _need(is_epoch(frame.epoch), "epoch", frame.epoch)
    if type(frame) is Covered:
        for origin, low, high in frame.intervals:
            _need(_HEX16(origin), "origin", origin)
            _need(not low or (_HEX32(low) and low.endswith(origin)), "interval", low)
            _need(_HEX32(high) and high.endswith(origin), "interval", high)
    return frame


def is_epoch(text: str) -> bool:
    return 1 <= len(text) <= 64 and text.isascii() and text.isalnum()


def _need(right: object, what: str, value: object) -> None:
    if not right:
        raise WireError(f"a record's {what} cannot be {printable(value)}")


def _checked_batch(batch: Batch) -> Batch:
    """The batch; WireError when its positions are wrong. A record with a value that cannot be is
    only itself wrong: it becomes an `UnreadableRecord`, which the consumer sets aside and shows,
    and the feed goes on."""
    before = batch.after
    if not batch.after <= batch.last <= batch.end:
        raise WireError(f"a batch from {batch.after} to {batch.last} of {batch.end}")
    for record in batch.records:
        if record.seq <= before:
            raise WireError(f"position {record.seq} comes after {before} in a batch")
        before = record.seq
    if before > batch.last:
        raise WireError(f"position {before} in a batch that ends at {batch.last}")
    return msgspec.structs.replace(batch, records=[_checked(one) for one in batch.records])


def _checked(record: Record) -> Record:
    try:
        _check_record(record)
    except WireError as error:
        what = type(record).__name__.removesuffix("Record").lower()
        reason = printable(error)[:NAME_CHARACTERS_MAX]
        return UnreadableRecord(seq=record.seq, what=f"a change of a {what}", reason=reason)
    return record


def _check_record(record: Record) -> None:
    match record:
        case VersionRecord():
            _check_item(record)
            _check_version(record)
        case TombstoneRecord():
            _check_item(record)
            _need(is_seen(record.seen), "seen", record.seen)
        case ConflictRecord():
            _need(record.loser.kind == 0, "conflict", "of no object")
            _check_record(record.loser)
            _need(_HEX32(record.winner), "winner", record.winner)
        case SiteRecord():
            _need(_HEX16(record.dc_id), "dc_id", record.dc_id)
            _need(record.name and record.name.isprintable(), "name", record.name)
            _need(record.region.isprintable(), "region", record.region)
            _need(_HEX32(record.stamp), "stamp", record.stamp)
            _need(record.stamp.endswith(record.dc_id), "stamp", record.stamp)
        case BucketRecord():
            _need(_HEX16(record.id), "bucket", record.id)
            _need(_BUCKET_NAME(record.name), "bucket name", record.name)
            _need(_HEX64(record.owner), "owner", record.owner)
            _need(record.region.isprintable(), "region", record.region)
            _need(_HEX32(record.created), "created", record.created)
            _need(not record.deleted or _HEX32(record.deleted), "deleted", record.deleted)
            _need(not record.revived or _HEX32(record.revived), "revived", record.revived)
            _check_registers(record.registers)
        case UserRecord():
            _need(_HEX64(record.id), "user", record.id)
            _need(record.email and record.email.isprintable(), "email", record.email)
            _need(_HEX32(record.stamp), "stamp", record.stamp)
        case AccessKeyRecord():
            name = record.id
            _need(name.isascii() and name.isalnum(), "access key", name)
            _need(record.deleted or record.secret, "secret", "empty")
            _need(_HEX64(record.user) or record.user == DATA_KEYS, "user", record.user)
            _need(not (record.deleted and record.user == DATA_KEYS), "data key", "deleted")
            _need(_HEX32(record.stamp), "stamp", record.stamp)


def _check_item(record: VersionRecord | TombstoneRecord) -> None:
    _need(_HEX16(record.bucket), "bucket", record.bucket)
    key = record.key
    length = len(key) if key.isascii() else len(key.encode())
    _need(1 <= length <= KEY_BYTES_MAX, "key", f"of {length} bytes")
    # SQLite's JSON ends a text there: it would become another object's key.
    _need("\0" not in key, "key", key)
    _need(not record.vid or _HEX32(record.vid), "version id", record.vid)
    _need(_HEX32(record.stamp), "stamp", record.stamp)


def _check_registers(registers: dict[str, tuple[str, str]]) -> None:
    for name, (stamp, value) in registers.items():
        _need(_REGISTER_NAME(name), "register", name)
        _need(_HEX32(stamp), "stamp", stamp)
        _need("\0" not in value, "register", name)


def _check_version(record: VersionRecord) -> None:
    meta = record.meta
    _need(is_seen(record.seen) and record.seen != INFERRED, "seen", record.seen)
    _check_registers(record.registers)
    _need(_ETAG(record.etag), "etag", record.etag)
    if record.kind == 1:
        _need(record.size == 0 and record.body is None, "delete marker", "with a body")
    _need(_is_value(meta.content_type), "content type", meta.content_type)
    _need(_is_value(meta.checksum_type), "checksum type", meta.checksum_type)
    _need(_STORAGE_CLASS(meta.storage_class), "storage class", meta.storage_class)
    for pairs in (meta.headers, meta.user, meta.checksums):
        if pairs:
            _check_pairs(pairs)
    for part in meta.parts:
        _need(not _LINE_ENDING(part.etag) and not _LINE_ENDING(part.checksum), "part", part.number)
    if meta.sse is not None:
        _check_encryption(meta.sse, len(meta.parts))


def _check_encryption(sse: Encryption, parts: int) -> None:
    _need(len(sse.nonces) == (parts or 1), "number of nonces", len(sse.nonces))
    _need(all(map(_HEX32, sse.nonces)), "nonces", "of another form")
    _need(not sse.check or _KEY_CHECK(sse.check), "key check", sse.check)
    for text in (sse.kind, sse.key):
        _need(_is_value(text), "encryption", text)


def _check_pairs(pairs: dict[str, str]) -> None:
    _need(len(pairs) <= HEADERS_MAX, "number of headers", len(pairs))
    for name, value in pairs.items():
        _need(name and _is_value(name) and _is_value(value), "header", name)


def _is_value(text: str) -> bool:
    return len(text) <= HEADER_CHARACTERS_MAX and not _LINE_ENDING(text)
