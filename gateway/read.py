"""GetObject and HeadObject.

A small body comes from memory or the page cache in one step and leaves in one write together with
its headers. A large one is read in pieces, each checked before it is sent, and never faster than
the client takes them. When a piece turns out to be corrupt in the middle of an answer, the
connection is cut: the client sees an answer that is too short, not one that is wrong.
"""

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import aclosing
from typing import Any, cast

import structlog

from dc.names.api import GatewayNames
from dc.names.model import Bucket, Kind, Version
from dc.notary import NOTARY
from dc.objects.api import BytesElsewhere, ObjectsError
from dc.ports import Buffer
from dc.read_through import READ_THROUGH, reads_through
from gateway.conditions import check_read
from gateway.context import Context
from gateway.encryption import decrypted, opened, read_body, sse_head
from gateway.errors import S3Error, invalid_argument
from gateway.lifecycle.expiry import expiration_head
from gateway.limits import PART_NUMBER_MAX, SMALL_BYTES_MAX
from gateway.locks import lock_lines
from gateway.metadata import check_value, object_head
from gateway.notary import QUERY, certificate, say_notary
from gateway.positions import PositionNotHere, is_reached
from gateway.put import FULL_OBJECT, checksum_head, crc64_text
from gateway.ranges import parse_range
from gateway.read_through import say_through, sought
from gateway.replication_rules import not_here
from gateway.reply import Reply
from gateway.request import Access, Request
from gateway.versioning import no_object, read_line, vid_of

log = structlog.get_logger("gateway")

_OVERRIDES = {
    "response-content-type": "Content-Type",
    "response-content-language": "Content-Language",
    "response-expires": "Expires",
    "response-cache-control": "Cache-Control",
    "response-content-disposition": "Content-Disposition",
    "response-content-encoding": "Content-Encoding",
}


async def find_version(
    context: Context,
    request: Request,
    version_id: str | None,
    facts: Mapping[str, list[str] | None] | None = None,
) -> Version:
    """The version of an object that a request means, if its sender may do to it what is asked.
    `facts`: what its body says, to policies. NoSuchKey, NoSuchVersion, MethodNotAllowed,
    AccessDenied."""
    key = request.key
    version = await look_up(context.names, request.bucket.id, key, version_id)
    return permitted(request.access, key, version, version_id, facts)


def look_up(
    names: GatewayNames, bucket_id: str, key: str, version_id: str | None
) -> Awaitable[Version | None]:
    """What there is of the version that a client means. InvalidArgument."""
    if version_id is None:
        return names.current(bucket_id, key)
    return names.version(bucket_id, key, vid_of(version_id))


def permitted(
    access: Access,
    key: str,
    version: Version | None,
    version_id: str | None,
    facts: Mapping[str, list[str] | None] | None = None,
) -> Version:
    """The version that `look_up` found, if it is an object and may be used; see `find_version`."""
    access.check(version, facts)
    if version is None or version.kind is not Kind.OBJECT:
        raise no_object(key, version, version_id)
    return version


async def seek(
    context: Context,
    request: Request,
    access: Access,
    bucket: Bucket,
    key: str,
    version_id: str | None,
) -> Version:
    """The same as `permitted`, of a version that is not known here: it may be elsewhere."""
    found, datacenter = await sought(context, request, access, bucket, key, version_id)
    if found is None:
        # What has come here while others were asked is no news any more.
        here = await look_up(context.names, bucket.id, key, version_id)
        return permitted(access, key, here, version_id)
    version = permitted(access, key, found, version_id)
    say_through(request, datacenter)
    return version


async def reach(
    context: Context, request: Request, here: Version | None, version_id: str | None
) -> Version:
    """The version that a request means whose positions have not come in time: of another
    datacenter, if they are reached by it. `here`: what is here. PositionNotHere."""
    late, access, key = request.late, request.access, request.key
    assert isinstance(late, PositionNotHere)
    found, datacenter = await sought(
        context, request, access, request.bucket, key, version_id, newer=True
    )
    if found is None or not all(is_reached(one, found) for one in late.missing):
        if await context.names.missing(late.missing, 0.0):
            raise late
        # It has come here while others were asked.
        here = await look_up(context.names, request.bucket.id, key, version_id)
        return permitted(access, key, here, version_id)
    if here is not None and here.stamp > found.stamp:
        return permitted(access, key, here, version_id)
    version = permitted(access, key, found, version_id)
    say_through(request, datacenter)
    return version


async def get_object(context: Context, request: Request) -> Reply | None:
    """None when the answer was streamed."""
    target = request.target
    key, version_id = target.key, target.query.get("versionId")
    version = await look_up(context.names, request.bucket.id, key, version_id)
    if request.late is not None:
        version = await reach(context, request, version, version_id)
    elif version is None and READ_THROUGH in request.bucket.registers:
        version = await seek(context, request, request.access, request.bucket, key, version_id)
    else:
        version = permitted(request.access, key, version, version_id)
    if NOTARY in version.registers:
        if QUERY in target.query:
            return await certificate(context, version)
        await say_notary(context, request, version)
    elif QUERY in target.query:
        raise S3Error("NoSuchCertificate")
    opening = None
    if version.meta.sse is not None or not request.plain:
        opening = opened(context, request, version)
    if request.plain and not target.query:
        status, head, start, stop = 200, _head(context, request, version), 0, version.size
    elif check_read(request.headers, version):
        return Reply(304, object_head(version))
    else:
        status, head, start, stop = _selection(context, request, version)
    size = stop - start
    if size <= SMALL_BYTES_MAX and size == version.size:
        body = _cached(context, version)
        if body is not None:
            if opening is not None:
                body = await decrypted(context, opening.decrypter(0), body)
            return Reply(status, head, body)
    pieces = read_body(context, version, opening, start, stop, request)
    try:
        return await _stream(request, version, Reply(status, head, length=size), pieces)
    except BytesElsewhere:
        raise not_here(context, version) from None


async def head_object(context: Context, request: Request) -> Reply:
    key, version_id = request.target.key, request.target.query.get("versionId")
    version = await look_up(context.names, request.bucket.id, key, version_id)
    if request.late is not None:
        version = await reach(context, request, version, version_id)
    elif version is None and READ_THROUGH in request.bucket.registers:
        version = await seek(context, request, request.access, request.bucket, key, version_id)
    else:
        version = permitted(request.access, key, version, version_id)
    if NOTARY in version.registers:
        if QUERY in request.target.query:
            return await certificate(context, version)
        await say_notary(context, request, version)
    elif QUERY in request.target.query:
        raise S3Error("NoSuchCertificate")
    if version.meta.sse is not None or not request.plain:
        opened(context, request, version)
    if request.plain and not request.target.query:
        return Reply(200, _head(context, request, version), length=version.size)
    if check_read(request.headers, version):
        return Reply(304, object_head(version))
    status, head, start, stop = _selection(context, request, version)
    return Reply(status, head, length=stop - start)


def _head(context: Context, request: Request, version: Version) -> str:
    """The header lines of an object, with when it will expire and how far its replication is."""
    said = context.replication(version)
    head = object_head(version)
    if version.meta.sse is not None:
        head += sse_head(version.meta.sse, request)
    bucket = request.bucket
    if bucket.registers:
        head += read_line(bucket, version.vid)
        if version.registers:
            head += lock_lines(version.registers)
        if "versionId" not in request.target.query:
            key, registers = version.key, version.registers
            head += expiration_head(bucket, key, version.size, version.stamp, registers)
    return f"{head}x-amz-replication-status: {said}\r\n" if said else head


def _selection(context: Context, request: Request, version: Version) -> tuple[int, str, int, int]:
    """Status, header lines, and which bytes: all, a range, or a part."""
    headers, query = request.headers, request.query
    size = version.size
    head = _head(context, request, version)
    checked = headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    span = parse_range(headers.get("Range"), size) if "Range" in headers else None
    if query:
        if "partNumber" in query:
            if span is not None:
                message = "Cannot specify both Range header and partNumber query parameter"
                raise S3Error("InvalidRequest", message)
            span = _part(query["partNumber"], version)
            head += f"x-amz-mp-parts-count: {len(version.meta.parts) or 1}\r\n"
            if checked:
                head += _part_checksum(query["partNumber"], version)
        head = _override(query, head)
    if span is not None:
        start, stop = span
        last = max(stop - 1, 0)
        return 206, f"{head}Content-Range: bytes {start}-{last}/{size}\r\n", start, stop
    if checked:
        head += _checksums(version)
    return 200, head, 0, size


def _checksums(version: Version) -> str:
    meta = version.meta
    if meta.checksums:
        return checksum_head(meta.checksums, meta.checksum_type)
    return checksum_head({"crc64nvme": crc64_text(meta.plain_crc64)}, FULL_OBJECT)


def _part_checksum(text: str, version: Version) -> str:
    """The checksum of one part, or of all that there is when there are no parts."""
    meta = version.meta
    if not meta.parts:
        return _checksums(version)
    value = meta.parts[int(text) - 1].checksum
    return checksum_head(dict.fromkeys(meta.checksums, value), meta.checksum_type) if value else ""


def _part(text: str, version: Version) -> tuple[int, int]:
    """[start, stop) of a part. InvalidArgument, InvalidPartNumber."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= number <= PART_NUMBER_MAX:
        message = "Part number must be an integer between 1 and 10000, inclusive"
        raise invalid_argument(message, "partNumber", text)
    parts = version.meta.parts
    if number > (len(parts) or 1):
        extra = {"PartNumberRequested": text, "ActualPartCount": str(len(parts) or 1)}
        raise S3Error("InvalidPartNumber", extra=extra)
    if not parts:
        return 0, version.size
    start = sum(part.size for part in parts[: number - 1])
    return start, start + parts[number - 1].size


def _override(query: dict[str, str], head: str) -> str:
    """Header lines with what response-* parameters ask for instead; signed requests only come
    this far."""
    for parameter, name in _OVERRIDES.items():
        value = query.get(parameter)
        if value is not None:
            check_value(parameter, value)
            lines = [line for line in head.split("\r\n") if not line.startswith(f"{name}: ")]
            head = "\r\n".join(lines) + f"{name}: {value}\r\n"
    return head


async def _stream(
    request: Request, version: Version, reply: Reply, pieces: AsyncIterator[Buffer]
) -> Reply | None:
    """Send the `reply.length` bytes that `pieces` gives. A body that fits one piece is answered
    whole, so that an error before its end is an answer and not a cut connection."""
    assert reply.length is not None
    size = reply.length
    if not size:
        return reply
    # The interface promises an iterator; what it gives is a generator, to be closed at once when
    # the client goes away.
    async with aclosing(cast(Any, pieces)):
        first = await anext(pieces)
        if len(first) == size:
            return Reply(reply.status, reply.head, bytes(first))
        connection = request.connection
        connection.send(request, reply)
        sent = len(first)
        try:
            await connection.write(first)
            async for piece in pieces:
                sent += len(piece)
                await connection.write(piece)
        except ObjectsError as error:
            log.error(
                "object cannot be read, answer was cut",
                bucket=request.bucket.name,
                key=version.key,
                error=f"{type(error).__name__}: {error}",
            )
            sent = -1
        if sent != size:
            request.close = True
            connection.abort()
    return None


def _cached(context: Context, version: Version) -> bytes | None:
    """The whole of a small body from memory; None when that is not possible, or when it is damaged
    and may be read through."""
    try:
        return context.objects.read_cached(version.extents)
    except ObjectsError:
        if reads_through(context.names.directory.bucket_by_id(version.bucket)):
            return None
        raise
