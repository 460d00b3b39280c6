"""PutObject: a body in, durable, and then its name.

The bytes are durable when `objects` returns, and the version is committed when `names` does; only
then the client gets its 200. What was written before something failed is garbage in a container,
and no name ever leads to it.
"""

from typing import NamedTuple

from dc.names.model import NULL_VERSION, Extent, Kind, Meta, Version
from gateway.body import announced_length, receive, receive_large
from gateway.checksums import BodyDigests, BodyVerifier
from gateway.conditions import refuse_on_write
from gateway.context import Context
from gateway.errors import invalid_argument
from gateway.ident import ident
from gateway.limits import PUT_BYTES_MAX, SMALL_BYTES_MAX
from gateway.metadata import read_meta
from gateway.reply import Reply
from gateway.request import Request

FULL_OBJECT = "FULL_OBJECT"


class Stored(NamedTuple):
    """A body that is durable, verified and has no name yet."""

    size: int
    digests: BodyDigests
    extents: list[Extent]

    @property
    def checksums(self) -> dict[str, str]:
        """By lower-case algorithm."""
        return {name.lower(): text for name, text in self.digests.checksums.items()}


async def store_body(
    context: Context,
    request: Request,
    verifier: BodyVerifier,
    upload: str = "",
    part: int = 0,
) -> Stored:
    """Receive, verify and store the body of a request."""
    length = announced_length(request, PUT_BYTES_MAX)
    names, objects = context.names, context.objects
    bucket, key = request.bucket.id, request.target.key
    if length <= SMALL_BYTES_MAX:
        data, digests = await receive(request, length, verifier, context.offload)
        about = ident(bucket, key, NULL_VERSION, names.clock.now(), upload, part)
        return Stored(length, digests, await objects.put(about, data))
    writer = objects.writer(ident(bucket, key, NULL_VERSION, names.clock.now(), upload, part))
    try:
        digests = await receive_large(request, length, verifier, writer, context.offload)
        extents = await writer.finish()
    except BaseException:
        writer.abort()
        raise
    return Stored(length, digests, extents)


async def put_object(context: Context, request: Request) -> Reply:
    """Store an object."""
    headers = request.headers
    query = request.target.query
    for name in ("partNumber", "versionId") if query else ():
        if name in query:
            message = f"This operation does not accept the parameter {name} here."
            raise invalid_argument(message, name, query[name])
    if not request.plain:
        refuse_on_write(headers)
    meta = read_meta(headers, request.plain)
    stored = await store_body(context, request, BodyVerifier(headers, request.auth))
    digests = stored.digests
    checksums = stored.checksums if digests.checksums else {}
    version = Version(
        request.bucket.id,
        request.target.key,
        NULL_VERSION,
        context.names.clock.now(),
        Kind.OBJECT,
        stored.size,
        digests.md5_hex,
        Meta(
            content_type=meta.content_type,
            headers=meta.headers,
            user=meta.user,
            checksums=checksums,
            checksum_type=FULL_OBJECT if checksums else "",
            crc64=digests.crc64nvme,
        ),
        stored.extents,
    )
    await context.names.put(version)
    head = f'ETag: "{digests.md5_hex}"\r\n'
    if checksums:
        head += checksum_head(checksums, FULL_OBJECT)
    return Reply(200, head)


def checksum_head(checksums: dict[str, str], kind: str) -> str:
    """The header lines that tell checksums, and their type if there is one."""
    head = "".join([f"x-amz-checksum-{name}: {text}\r\n" for name, text in checksums.items()])
    return f"{head}x-amz-checksum-type: {kind}\r\n" if head and kind else head
