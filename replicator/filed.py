"""The format of a file that carries a piece of a feed: signed, sealed, read in bounded memory.

`docs/air-gap.md` has the layout. A header says from whom, to whom and of which piece; then come
chunks. Each is encrypted with the file's own key, which the header has sealed to the receiver, and
signed for its place: the signature covers the file's random id, the chunk's number and the hash of
the ciphertext. So it is known of each chunk by itself, before a byte of it is looked at, that the
sender put it there, and the last one says that it is the last.

What is in a chunk begins with a letter:

    f   a frame of the feed stream without its length (`replicator/wire.py`)
    b   a piece of a body: position of its record, where it starts (8 bytes each), the bytes
    m   a message of this file (`Message`)

Nothing here knows the network, a disk or a clock.
"""

import hashlib
import struct
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import msgspec

from replicator import messages, wire
from replicator.errors import FileRefused, printable
from replicator.limits import (
    CHUNK_BYTES_MAX,
    FILE_EPOCHS_MAX,
    FILE_HEADER_BYTES_MAX,
)
from replicator.wire import Count
from tokens.errors import SecretError, TokenAltered
from tokens.identity import Identity
from tokens.sealed import seal, unseal
from tokens.signed import SIGNATURE_BYTES, check, sign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"farshore-export\n"
VERSION = 1
KEY_BYTES = 32
_HEADER_PURPOSE = b"farshore-export-header-1"
_CHUNK_PURPOSE = b"farshore-export-chunk-1"
_LENGTH = struct.Struct(">I")
_NUMBER = struct.Struct(">Q")
_PLACE = struct.Struct(">QQ")
_TAG_BYTES = 16

Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$")]
Epoch = Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z]{1,64}$")]
Read = Callable[[int], Awaitable[bytes]]
"""Exactly so many bytes; fewer at the end only."""


class _Version(msgspec.Struct):
    version: int


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file is. `after`: where the piece begins, of the feed of `epoch`, whose earlier
    epochs ended at the positions in `epochs`; `horizon`: as in `wire.Hello`."""

    version: int = VERSION
    file: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    sender: Id
    receiver: Id
    made_ms: Count
    epoch: Epoch
    epochs: Annotated[dict[Epoch, Count], msgspec.Meta(max_length=FILE_EPOCHS_MAX)]
    after: Count
    horizon: Count
    key: Annotated[bytes, msgspec.Meta(max_length=256)]
    """Of all chunks, sealed to the receiver."""
    packing: str = ""
    """How chunks are compressed; "": they are not."""


class Acknowledges(msgspec.Struct, frozen=True, tag="ack", forbid_unknown_fields=True):
    """How far the sender has taken the receiver's feed."""

    ack: messages.Ack


class Superseded(msgspec.Struct, frozen=True, tag="gone", forbid_unknown_fields=True):
    """The item at a position changed before its body could be read; its later state has a
    position up to `until`."""

    seq: Count
    until: Count


class End(msgspec.Struct, frozen=True, tag="end", forbid_unknown_fields=True):
    """The last chunk: where the piece ends, and the sender's root if that was the feed's end."""

    last: Count
    root: Annotated[str, msgspec.Meta(max_length=64)]


class BodyPiece(msgspec.Struct, frozen=True):
    """Bytes of the body of the record at a position; in the file without msgpack."""

    seq: int
    start: int
    data: bytes | memoryview


Message = Acknowledges | Superseded | End
Content = wire.Batch | wire.Covered | BodyPiece | Message
_messages: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)
_headers: msgspec.msgpack.Decoder[Header] = msgspec.msgpack.Decoder(Header)


def frame_content(frame: bytes) -> bytes:
    """A frame of the feed stream, as `wire` encodes it."""
    return b"f" + frame[wire.LENGTH_BYTES :]


def piece_content(seq: int, start: int, data: bytes) -> bytes:
    return b"b" + _PLACE.pack(seq, start) + data


def message_content(message: Message) -> bytes:
    return b"m" + msgspec.msgpack.encode(message)


def _context(file: str, sender: str) -> bytes:
    return f"export {file} of {sender}".encode()


class FileWriter:
    """Makes the bytes of one file; `header.key` is sealed here."""

    def __init__(
        self, identity: Identity, header: Header, sealing_key: bytes, file_key: bytes
    ) -> None:
        assert len(file_key) == KEY_BYTES
        sealed = seal(sealing_key, file_key, _context(header.file, header.sender))
        self._header = msgspec.structs.replace(header, key=sealed)
        self._identity = identity
        self._cipher = _cipher(file_key)
        self._number = 0

    def head(self) -> bytes:
        """Magic and header."""
        header = msgspec.msgpack.encode(self._header)
        assert len(header) <= FILE_HEADER_BYTES_MAX
        signature = sign(self._identity, _HEADER_PURPOSE, header)
        return MAGIC + _LENGTH.pack(len(header)) + signature + header

    def chunk(self, content: bytes) -> bytes:
        """The next chunk."""
        assert len(content) + _TAG_BYTES <= CHUNK_BYTES_MAX
        number, self._number = self._number, self._number + 1
        ciphertext = self._cipher.encrypt(_nonce(number), content, None)
        signature = sign(
            self._identity, _CHUNK_PURPOSE, _signed(self._header.file, number, ciphertext)
        )
        return b"".join((_LENGTH.pack(len(ciphertext)), signature, ciphertext))


class FileReader:
    """Reads one file; everything that is wrong is a FileRefused, raised before it is used."""

    def __init__(self, identity: Identity, read: Read) -> None:
        self._identity = identity
        self._read = read
        self._number = 0
        self._ended = False
        self._signing_key = b""
        self._cipher: AESGCM
        self.header: Header
        self.bytes = len(MAGIC)

    async def open(self, key_of: Callable[[str], bytes | None]) -> Header:
        """The header, checked; `key_of` gives the signing key of a paired DC by its id."""
        if await self._read(len(MAGIC)) != MAGIC:
            raise FileRefused("not_an_export", "this is not a file of `replication export`")
        start = await self._exactly(_LENGTH.size + SIGNATURE_BYTES)
        length = _LENGTH.unpack_from(start)[0]
        if not 0 < length <= FILE_HEADER_BYTES_MAX:
            raise FileRefused("altered", f"a header cannot have {length} bytes")
        encoded = await self._exactly(length)
        header = _decoded_header(encoded)
        key = key_of(header.sender)
        if header.sender == self._identity.dc_id:
            raise FileRefused(
                "not_paired", "the file was exported here: it is for another datacenter"
            )
        if key is None:
            raise FileRefused(
                "not_paired", f"the file is from DC {header.sender}, which is not paired with this"
            )
        self._check(key, _HEADER_PURPOSE, encoded, start[-SIGNATURE_BYTES:], "the header")
        if header.receiver != self._identity.dc_id:
            raise FileRefused(
                "for_another", f"the file is for DC {header.receiver}, not {self._identity.dc_id}"
            )
        if header.packing:
            raise FileRefused(
                "another_version", f"the file is compressed by {printable(header.packing)}"
            )
        self._signing_key, self.header = key, header
        self._cipher = _cipher(self._file_key(header))
        return header

    def _file_key(self, header: Header) -> bytes:
        try:
            key = unseal(self._identity, header.key, _context(header.file, header.sender))
            if len(key) == KEY_BYTES:
                return key
        except SecretError:
            pass
        raise FileRefused("not_readable", "the key of the file does not open here: export anew")

    async def next_chunk(self) -> tuple[bytes, bytes] | None:
        """The next chunk as it is, signature and ciphertext; None after the last one. Hand each to
        `content`, which may be called in a thread, before asking for the next."""
        if self._ended:
            if await self._read(1):
                raise FileRefused("altered", "there are bytes after the end of the file")
            return None
        start = await self._exactly(_LENGTH.size + SIGNATURE_BYTES)
        length = _LENGTH.unpack_from(start)[0]
        if not _TAG_BYTES <= length <= CHUNK_BYTES_MAX:
            raise FileRefused("altered", f"a chunk cannot have {length} bytes")
        return start[_LENGTH.size :], await self._exactly(length)

    def content(self, chunk: tuple[bytes, bytes]) -> Content:
        """What is in a chunk: checked against its signature for this place, then opened."""
        signature, ciphertext = chunk
        number, self._number = self._number, self._number + 1
        signed = _signed(self.header.file, number, ciphertext)
        self._check(self._signing_key, _CHUNK_PURPOSE, signed, signature, f"chunk {number}")
        plain = _opened(self._cipher, number, ciphertext)
        content = _decoded(plain)
        self._ended = type(content) is End
        return content

    def _check(self, key: bytes, purpose: bytes, message: bytes, given: bytes, what: str) -> None:
        try:
            check(key, purpose, message, given)
        except TokenAltered:
            raise FileRefused("altered", f"{what} is not what its sender signed") from None

    async def _exactly(self, length: int) -> bytes:
        data = await self._read(length)
        self.bytes += len(data)
        if len(data) < length:
            raise FileRefused(
                "cut_short", f"the file ends after {self.bytes} bytes, before its end"
            )
        return data


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _signed(file: str, number: int, ciphertext: bytes) -> bytes:
    digest = hashlib.sha256(ciphertext).digest()
    return bytes.fromhex(file) + _NUMBER.pack(number) + digest


def _decoded_header(encoded: bytes) -> Header:
    try:
        version = msgspec.msgpack.decode(encoded, type=_Version).version
        if version > VERSION:
            raise FileRefused(
                "another_version", f"the file has version {version}, this farshore reads {VERSION}"
            )
        return _headers.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise FileRefused("altered", "the header of the file is damaged") from None


def _decoded(plain: bytes) -> Content:
    """WireError for a frame that the stream would refuse."""
    kind, rest = plain[:1], memoryview(plain)[1:]
    if kind == b"b" and len(rest) >= _PLACE.size:
        seq, start = _PLACE.unpack_from(rest)
        return BodyPiece(seq, start, rest[_PLACE.size :])
    if kind == b"f":
        frame = wire.decode_frame(bytes(rest))
        if isinstance(frame, wire.Batch | wire.Covered):
            return frame
    if kind == b"m":
        try:
            return _messages.decode(rest)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise FileRefused("not_readable", f"a message is strange: {printable(error)}") from None
    raise FileRefused("not_readable", "a chunk of a kind that this version does not know")


def _cipher(key: bytes) -> "AESGCM":
    """The library is loaded with the first file: a server that sees none does without."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)


def _opened(cipher: "AESGCM", number: int, ciphertext: bytes) -> bytes:
    from cryptography.exceptions import InvalidTag

    try:
        return cipher.decrypt(_nonce(number), ciphertext, None)
    except InvalidTag:
        raise FileRefused("altered", f"chunk {number} does not open") from None
