"""PutObject: a body in, durable, and then its name.

The bytes are durable when `objects` returns, and the version is committed when `names` does; only
then the client gets its 200. What was written before something failed is garbage in a container,
and no name ever leads to it.
"""

from collections.abc import Callable
from typing import NamedTuple

from msgspec.structs import replace

from dc.names.model import NULL_VERSION, Extent, Kind, Meta, Version
from dc.objects.ident import body_ident, version_ident
from dc.stamps import Stamp
from gateway.body import announced_length, receive, receive_large
from gateway.checksums import BodyDigests, BodyVerifier
from gateway.conditions import refuse_on_write
from gateway.context import Context
from gateway.errors import invalid_argument
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
    ident: bytes,
    small_ident: Callable[[int, BodyDigests], bytes] | None = None,
) -> Stored:
    """Receive, verify and store the body of a request. `ident` is stored beside its bytes; or, if
    the body is small, what `small_ident` makes of its size and digests."""
    length = announced_length(request, PUT_BYTES_MAX)
    objects = context.objects
    if length <= SMALL_BYTES_MAX:
        data, digests = await receive(request, length, verifier, context.offload)
        about = ident if small_ident is None else small_ident(length, digests)
        return Stored(length, digests, await objects.put(about, data))
    writer = objects.writer(ident)
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
    bucket, key, clock = request.bucket.id, request.target.key, context.names.clock
    version: Version | None = None

    def described(size: int, digests: BodyDigests) -> bytes:
        nonlocal version
        version = _version(bucket, key, clock.now(), size, digests, meta)
        return version_ident(version)

    stored = await store_body(
        context,
        request,
        BodyVerifier(headers, request.auth),
        body_ident(bucket, key, NULL_VERSION, clock.now()),
        described,
    )
    digests = stored.digests
    if version is None:
        version = _version(bucket, key, clock.now(), stored.size, digests, meta)
    await context.names.put(replace(version, extents=stored.extents))
    head = f'ETag: "{digests.md5_hex}"\r\n'
    if digests.checksums:
        head += checksum_head(stored.checksums, FULL_OBJECT)
    return Reply(200, head)


def _version(
    bucket: str, key: str, stamp: Stamp, size: int, digests: BodyDigests, meta: Meta
) -> Version:
    """The version that a body becomes, without its extents."""
    checksums = {name.lower(): text for name, text in digests.checksums.items()}
    about = Meta(
        content_type=meta.content_type,
        headers=meta.headers,
        user=meta.user,
        checksums=checksums,
        checksum_type=FULL_OBJECT if checksums else "",
        crc64=digests.crc64nvme,
    )
    return Version(bucket, key, NULL_VERSION, stamp, Kind.OBJECT, size, digests.md5_hex, about, [])


def checksum_head(checksums: dict[str, str], kind: str) -> str:
    """The header lines that tell checksums, and their type if there is one."""
    head = "".join([f"x-amz-checksum-{name}: {text}\r\n" for name, text in checksums.items()])
    return f"{head}x-amz-checksum-type: {kind}\r\n" if head and kind else head
