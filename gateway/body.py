"""Bodies as they arrive: decoded, verified, gathered or passed on.

The length is known before the first byte is read, by Content-Length or, in an aws-chunked body, by
x-amz-decoded-content-length; a body without one is refused. A small body is gathered and verified
at once. A large one goes through three stages that overlap: while block n is written by the object
servers, block n+1 is decoded and hashed in a thread, and block n+2 is received. At most these are
in memory.

Nothing counts before the end was verified: the caller commits what `receive` or `receive_large`
returned, and forgets everything when they raise. That is also what happens when the client goes
away in the middle.
"""

import asyncio
from collections.abc import Mapping

from dc.objects.api import BodyWriter
from dc.ports import Buffer
from dc.worker import spawn
from gateway.checksums import BodyDigests, BodyVerifier
from gateway.chunked import STREAMING_MODES, ChunkedDecoder, decoded_length, decoder_for
from gateway.cipher import Encrypter
from gateway.context import Offload
from gateway.errors import S3Error
from gateway.limits import BLOCK_BYTES
from gateway.request import Request

_INLINE_BYTES_MAX = 64 << 10
"""Decoding and hashing this much takes less time than handing it to a thread would."""


def announced_length(request: Request, most: int, too_large: str = "EntityTooLarge") -> int:
    """The size in bytes of the decoded body; S3Error `too_large` when that is over `most`."""
    headers = request.headers
    plain = headers.get("Content-Length")
    if request.auth.payload in STREAMING_MODES:
        if plain is None and "Transfer-Encoding" not in headers:
            raise S3Error("MissingContentLength")
        length = decoded_length(headers)
    elif plain is None:
        raise S3Error("MissingContentLength")
    else:
        length = int(plain)
    if length > most:
        extra = {"ProposedSize": str(length), "MaxSizeAllowed": str(most)}
        raise S3Error(too_large, extra=extra)
    return length


def _decoder(request: Request) -> ChunkedDecoder | None:
    auth = request.auth
    if auth.payload not in STREAMING_MODES:
        return None
    return decoder_for(request.headers, auth.payload, auth.seed)


async def receive(
    request: Request, length: int, verifier: BodyVerifier, offload: Offload
) -> tuple[bytes, BodyDigests]:
    """The whole of a small body, verified."""
    decoder = _decoder(request)
    pieces: list[bytes | memoryview] = []
    while raw := await request.read():
        if decoder is None:
            pieces.append(raw)
        elif len(raw) <= _INLINE_BYTES_MAX:
            pieces += _joined(decoder.feed(raw), 1)
        else:
            pieces.append(await offload.run(lambda raw=raw: b"".join(decoder.feed(raw))))  # type: ignore[misc]
    trailers = {} if decoder is None else decoder.finish()
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if not isinstance(data, bytes):
        data = bytes(data)
    if len(data) != length:
        raise S3Error("IncompleteBody")
    if length <= _INLINE_BYTES_MAX:
        return data, verifier.verify(data, trailers)
    return data, await offload.run(lambda: verifier.verify(data, trailers))


def _joined(pieces: list[bytes | memoryview], blocks: int) -> list[bytes | memoryview]:
    """One piece instead of many: a view takes more memory than the bytes of a tiny chunk."""
    return pieces if len(pieces) <= blocks + 16 else [b"".join(pieces)]


async def receive_large(
    request: Request,
    length: int,
    verifier: BodyVerifier,
    writer: BodyWriter,
    offload: Offload,
    encrypter: Encrypter | None = None,
) -> tuple[int, BodyDigests]:
    """Pass a large body to `writer`, encrypted if there is an `encrypter`; verify it, give its
    size. The caller finishes or aborts the writer."""
    decoder = _decoder(request)
    size = 0
    hashing: asyncio.Task[list[Buffer]] | None = None
    try:
        while True:
            block = await _next_block(request)
            if hashing is not None:
                for piece in await hashing:
                    size += len(piece)
                    await writer.write(piece)
                hashing = None
            if not block:
                break
            hashing = spawn(_hash(block, decoder, verifier, encrypter, offload), "body hash")
    finally:
        if hashing is not None:
            await asyncio.gather(hashing, return_exceptions=True)
    trailers: Mapping[str, str] = {} if decoder is None else decoder.finish()
    if size != length and not (request.length_is_bound and size < length):
        raise S3Error("IncompleteBody")
    return size, verifier.finish(trailers)


async def _next_block(request: Request) -> list[bytes]:
    """About BLOCK_BYTES of the body as sent; nothing at its end."""
    block: list[bytes] = []
    size = 0
    while size < BLOCK_BYTES and (raw := await request.read()):
        block.append(raw)
        size += len(raw)
    return block


async def _hash(
    block: list[bytes],
    decoder: ChunkedDecoder | None,
    verifier: BodyVerifier,
    encrypter: Encrypter | None,
    offload: Offload,
) -> list[Buffer]:
    """The decoded bytes of a block, hashed, and encrypted if they are to be."""

    def work() -> list[Buffer]:
        pieces: list[bytes | memoryview] = []
        for raw in block:
            pieces += [raw] if decoder is None else decoder.feed(raw)
        pieces = _joined(pieces, len(block))
        for piece in pieces:
            verifier.update(piece)
        if encrypter is not None:
            return [encrypter.update(piece) for piece in pieces]
        return list(pieces)

    return await offload.run(work)
