"""Bodies in `aws-chunked` encoding, decoded as they arrive.

Such a body is a row of chunks, each `<size in hex>[;chunk-signature=<hex>] CRLF <data> CRLF`, ended
by a chunk of size 0 and, in the two trailer modes, by header-like lines with the checksum. In the
signed modes each chunk's signature covers the one before it, and the first goes on from the
signature of the request; in STREAMING-UNSIGNED-PAYLOAD-TRAILER nothing in the body is signed.
Source: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple
Chunks" and "... including trailing headers", Amazon S3 API Reference.

`ChunkedDecoder.feed` gives the payload as views into what it was fed, without a copy and before the
chunk is complete, so memory does not grow with the size that a client gives its chunks; the hash
runs along, and the signature is compared when the last byte of the chunk is there. Therefore what
`feed` gave is not to be trusted, and nothing committed, before `finish` has returned: it raises
unless the last chunk came, every byte announced in x-amz-decoded-content-length did, and the
trailers are those that x-amz-trailer announced, each once.

Every step is bounded: a line, the trailer section, and the sum of the sizes. Work is linear in the
bytes fed however they are cut. A decoder that has raised stays failed. Hashing costs about 1 ms per
MiB, so large blocks are better fed in a worker thread; one decoder is for one thread at a time.

The smallest chunk that S3 accepts (8 KiB) is not enforced, and chunk extensions other than the
signature are refused, as S3 has none.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple

from multidict import MultiMapping

from gateway.errors import S3Error, invalid_argument

CHUNK_LINE_BYTES_MAX = 1024  # a size and a signature need 98
TRAILER_BYTES_MAX = 8192  # one checksum and one signature need less than 200
DECODED_BYTES_MAX = 1 << 53  # far above any object; keeps sizes in 64 bits everywhere

_EMPTY_SHA256 = sha256().hexdigest()
_HEX_DIGITS = b"0123456789abcdefABCDEF"
_SIGNATURE_FIELD = b"chunk-signature="
_TRAILER_SIGNATURE = "x-amz-trailer-signature"
_TRAILERS_KNOWN = "x-amz-checksum-"


class PayloadMode(enum.Enum):
    """What a signature says of the body; the values are those of x-amz-content-sha256 but one."""

    SIGNED_SHA256 = "SHA256"
    UNSIGNED = "UNSIGNED-PAYLOAD"
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


SIGNED_MODES = (PayloadMode.STREAMING_SIGNED, PayloadMode.STREAMING_SIGNED_TRAILER)
STREAMING_MODES = (*SIGNED_MODES, PayloadMode.STREAMING_UNSIGNED_TRAILER)


_NAMED_MODES = {m.value: m for m in PayloadMode if m is not PayloadMode.SIGNED_SHA256}
UNSIGNED_PAYLOAD = PayloadMode.UNSIGNED.value
SHA256_HEADER = "x-amz-content-sha256"


def payload_mode(
    headers: MultiMapping[str], hoisted: str | None, *, in_header: bool
) -> tuple[PayloadMode, str]:
    """The mode, and the text that stands for the payload in the canonical request.

    `in_header`: the signature is in the Authorization header, which makes the value mandatory and
    the signed streams possible. `hoisted` is the value in the query of a presigned URL.
    """
    given = [*headers.getall(SHA256_HEADER, ())]
    if len(given) > 1 or (given and hoisted not in (None, given[0])):
        raise S3Error("InvalidArgument", f"{SHA256_HEADER} was given more than once.")
    if hoisted is not None:
        given = [hoisted]
    if not given:
        if in_header:
            message = f"Missing required header for this request: {SHA256_HEADER}"
            raise S3Error("InvalidRequest", message)
        return PayloadMode.UNSIGNED, UNSIGNED_PAYLOAD
    text = given[0]
    mode = _NAMED_MODES.get(text)
    if mode is not None:
        if mode in SIGNED_MODES and not in_header:
            message = f"{SHA256_HEADER} {text} needs a signature in the Authorization header."
            raise S3Error("InvalidRequest", message)
        return mode, text
    if text == _EMPTY_SHA256 or (len(text) == 64 and not text.strip("0123456789abcdef")):
        return PayloadMode.SIGNED_SHA256, text
    if text.startswith("STREAMING-AWS4-ECDSA-"):
        raise S3Error("NotImplemented", f"{SHA256_HEADER} {text} is not implemented.")
    raise invalid_argument(
        f"{SHA256_HEADER} must be UNSIGNED-PAYLOAD, one of the STREAMING- values, or a valid "
        "sha256 value.",
        SHA256_HEADER,
        text,
    )


class StreamSeed(NamedTuple):
    """What the signatures of the chunks go on from; `repr` keeps the key out of logs."""

    signature: str
    signing_key: bytes
    scope: str
    timestamp: str

    def __repr__(self) -> str:
        return f"StreamSeed(scope={self.scope!r}, timestamp={self.timestamp!r})"


class _State(enum.Enum):
    LINE = "the line before a chunk"
    DATA = "the data of a chunk"
    DATA_END = "the line end after a chunk's data"
    TRAILER = "the lines after the last chunk"
    FAILED = "an error"


def strip_aws_chunked(content_encoding: str | None) -> str | None:
    """Content-Encoding as it is to be stored: without `aws-chunked`, None when nothing is left."""
    if content_encoding is None:
        return None
    codings = [coding.strip() for coding in content_encoding.split(",")]
    kept = [coding for coding in codings if coding and coding.lower() != "aws-chunked"]
    return ", ".join(kept) or None


def announced_trailers(headers: MultiMapping[str]) -> tuple[str, ...]:
    """The names in x-amz-trailer, lower-case. Only checksums may be announced, each once."""
    names = [n.strip().lower() for v in headers.getall("x-amz-trailer", ()) for n in v.split(",")]
    for name in names:
        if not name.startswith(_TRAILERS_KNOWN) or not name.isascii():
            message = "The value specified in the x-amz-trailer header is not supported"
            raise S3Error("InvalidRequest", message)
    if len(set(names)) != len(names):
        raise S3Error("InvalidRequest", "x-amz-trailer announces a trailer twice.")
    return tuple(names)


def decoded_length(headers: MultiMapping[str]) -> int:
    """x-amz-decoded-content-length in bytes: the size of the object in a chunked body."""
    values = headers.getall("x-amz-decoded-content-length", ())
    if not values:
        message = "You must provide the x-amz-decoded-content-length HTTP header."
        raise S3Error("MissingContentLength", message)
    text = values[0]
    if len(values) > 1 or not (text.isascii() and text.isdigit()) or len(text) > 20:
        raise S3Error("InvalidArgument", "x-amz-decoded-content-length is not a length.")
    if int(text) > DECODED_BYTES_MAX:
        raise S3Error("EntityTooLarge")
    return int(text)


def decoder_for(
    headers: MultiMapping[str], mode: PayloadMode, seed: StreamSeed | None
) -> ChunkedDecoder:
    """The decoder of a request's body, from its headers and what its signature said."""
    return ChunkedDecoder(mode, decoded_length(headers), seed, announced_trailers(headers))


def _malformed(what: str) -> S3Error:
    return S3Error("InvalidRequest", f"The aws-chunked body is malformed: {what}.")


class ChunkedDecoder:
    """Decodes one body: `feed` what arrives, then `finish`. Sans-I/O; raises `S3Error` only."""

    def __init__(
        self,
        mode: PayloadMode,
        length: int,
        seed: StreamSeed | None,
        announced: tuple[str, ...] = (),
    ) -> None:
        if mode not in STREAMING_MODES:
            raise ValueError(f"a body in mode {mode.name} is not chunked")
        if (mode in SIGNED_MODES) != (seed is not None):
            raise ValueError(f"mode {mode.name} and the seed signature do not go together")
        if mode is PayloadMode.STREAMING_SIGNED and announced:
            message = f"x-amz-trailer needs x-amz-content-sha256 {mode.value}-TRAILER."
            raise S3Error("InvalidRequest", message)
        self._has_trailers = mode is not PayloadMode.STREAMING_SIGNED
        self._announced = announced
        self._seed = seed
        self._previous = seed.signature if seed else ""
        self._claimed = b""
        self._state = _State.LINE
        self._line = bytearray()
        self._undecoded = length
        self._chunk_left = 0
        self._sha = sha256()

    def feed(self, data: bytes) -> list[bytes | memoryview]:
        """The payload in `data`, in order, as views into it; `data` must not change afterwards."""
        if self._state is _State.FAILED:
            raise S3Error("IncompleteBody", "The body has failed before.")
        try:
            return self._feed(data)
        except S3Error:
            self._state = _State.FAILED
            raise

    def _feed(self, data: bytes) -> list[bytes | memoryview]:
        out: list[bytes | memoryview] = []
        at, end = 0, len(data)
        view = memoryview(data)
        while at < end:
            if self._state is _State.DATA:
                piece = view[at : at + self._chunk_left]
                at += len(piece)
                self._chunk_left -= len(piece)
                if self._seed is not None:
                    self._sha.update(piece)
                if not self._chunk_left:
                    self._end_chunk()
                out.append(piece)
            elif self._state is _State.TRAILER:
                if len(self._line) + end - at > TRAILER_BYTES_MAX:
                    raise S3Error("MalformedTrailerError", "The trailers are too long.")
                self._line += view[at:]
                at = end
            else:
                at = self._take_line(data, at)
        return out

    def _take_line(self, data: bytes, at: int) -> int:
        """Takes bytes up to the end of a line, and acts on the line if its end is there."""
        limit = at + CHUNK_LINE_BYTES_MAX - len(self._line)
        found = data.find(b"\n", at, limit)
        stop = found + 1 if found >= 0 else len(data)
        if found < 0 and stop >= limit:
            raise _malformed("the line before a chunk is too long")
        if found >= 0 and not self._line:
            line = data[at:stop]
        else:
            self._line += data[at:stop]
            if found < 0:
                return stop
            line = bytes(self._line)
            self._line.clear()
        if line[-2:] != b"\r\n":
            raise _malformed("a line does not end in CR LF")
        if self._state is _State.LINE:
            self._begin_chunk(line[:-2])
        elif len(line) != 2:
            raise _malformed("the data of a chunk is not followed by CR LF")
        else:
            self._state = _State.LINE
        return stop

    def _begin_chunk(self, line: bytes) -> None:
        if self._seed is None:
            digits = line
        else:
            digits, _, field = line.partition(b";")
            self._claimed = field[len(_SIGNATURE_FIELD) :]
            if not field.startswith(_SIGNATURE_FIELD) or len(self._claimed) != 64:
                raise _malformed("a chunk is without its chunk-signature")
        if not 1 <= len(digits) <= 16 or digits.strip(_HEX_DIGITS):
            raise _malformed("the size of a chunk is not 1 to 16 hex digits")
        size = int(digits, 16)
        if size > self._undecoded:
            message = "The chunks hold more than x-amz-decoded-content-length announced."
            raise S3Error("IncompleteBody", message)
        self._undecoded -= size
        self._chunk_left = size
        if size:
            self._state = _State.DATA
            if self._seed is not None:
                self._sha = sha256()
            return
        self._state = _State.TRAILER
        if self._seed is not None:
            self._check("PAYLOAD", f"{_EMPTY_SHA256}\n{_EMPTY_SHA256}", self._claimed)

    def _end_chunk(self) -> None:
        self._state = _State.DATA_END
        if self._seed is not None:
            hashes = f"{_EMPTY_SHA256}\n{self._sha.hexdigest()}"
            self._check("PAYLOAD", hashes, self._claimed)

    def _check(self, what: str, hashes: str, claimed: bytes) -> None:
        assert self._seed is not None
        _, key, scope, timestamp = self._seed
        to_sign = (
            f"AWS4-HMAC-SHA256-{what}\n{timestamp}\n{scope}\n{self._previous}\n{hashes}".encode()
        )
        expected = hmac.digest(key, to_sign, "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claimed):
            raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.")
        self._previous = expected

    def finish(self) -> Mapping[str, str]:
        """The trailers, by lower-case name, once everything is there and right; raises if not."""
        if self._state is not _State.TRAILER:
            message = f"The body ended within {self._state.value}."
            self._state = _State.FAILED
            raise S3Error("IncompleteBody", message)
        self._state = _State.FAILED  # a decoder is finished once
        if self._undecoded:
            message = "The chunks hold less than x-amz-decoded-content-length announced."
            raise S3Error("IncompleteBody", message)
        section = bytes(self._line)
        if not self._has_trailers:
            if b"\r\n".startswith(section) and section != b"\r\n":
                raise S3Error("IncompleteBody", "The body ended before its last line end.")
            if section != b"\r\n":
                raise _malformed("there is data after the last chunk")
            return {}
        return self._finish_trailers(section)

    def _finish_trailers(self, section: bytes) -> Mapping[str, str]:
        lines = _trailer_lines(section)
        found: dict[str, str] = {}
        for name, value in lines:
            if name in found:
                raise S3Error("MalformedTrailerError", f"The trailer {name} was sent twice.")
            found[name] = value
        if self._seed is not None:
            claimed = found.pop(_TRAILER_SIGNATURE, None)
            if claimed is None:
                raise S3Error("IncompleteBody", "The signature of the trailers is missing.")
            if lines[-1][0] != _TRAILER_SIGNATURE:
                raise S3Error("MalformedTrailerError", "There are trailers after the signature.")
            signed = "".join([f"{name}:{value}\n" for name, value in found.items()])
            self._check("TRAILER", sha256(signed.encode()).hexdigest(), claimed.encode())
        for name in found:
            if name not in self._announced:
                raise S3Error("MalformedTrailerError", f"The trailer {name!r} was not announced.")
        for name in self._announced:
            if name not in found:
                raise S3Error("MalformedTrailerError", f"The trailer {name!r} was not sent.")
        return found


def _trailer_lines(section: bytes) -> list[tuple[str, str]]:
    """Names and values. Some clients end a line with LF, and put an empty one between them."""
    if section != b"\r\n" and not section.endswith((b"\r\n\r\n", b"\n\r\n")):
        raise S3Error("IncompleteBody", "The body ended before the end of its trailers.")
    lines: list[tuple[str, str]] = []
    for line in section.split(b"\n"):
        line = line.removesuffix(b"\r")
        if not line:
            continue
        name, colon, value = line.partition(b":")
        text = value.strip(b" \t")
        if not colon or not line.isascii() or not line.decode("ascii").isprintable():
            raise S3Error("MalformedTrailerError")
        lines.append((name.decode().lower(), text.decode()))
    return lines
