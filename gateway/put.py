"""PutObject: a body in, durable, and then its name.

The bytes are durable when `objects` returns, and the version is committed when `names` does; only
then the client gets its 200. What was written before something failed is garbage in a container,
and no name ever leads to it.
"""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from dc.names.api import NamesClosed, NamesError
from dc.names.model import (
    NULL_VERSION,
    Bucket,
    Condition,
    Encryption,
    Event,
    Extent,
    Kind,
    Meta,
    Sealed,
    Version,
)
from dc.notary import notarizes
from dc.objects.ident import body_ident, refusal_ident, version_ident
from dc.objects.tiers import tier_of
from dc.stamps import Stamp
from gateway.attributes import has_attributes, read_attributes, registers_at
from gateway.body import announced_length, receive, receive_large
from gateway.checksums import BodyDigests, BodyVerifier
from gateway.cipher import Encrypter
from gateway.conditions import write_condition
from gateway.context import Context
from gateway.encryption import encrypted, sse_head, wanted
from gateway.errors import invalid_argument
from gateway.lifecycle.expiry import expiration_head
from gateway.limits import PUT_BYTES_MAX, SMALL_BYTES_MAX
from gateway.metadata import read_meta
from gateway.notifications.records import of, told
from gateway.positions import position_line
from gateway.reply import Reply
from gateway.request import Request
from gateway.versioning import as_now, vid_at, written_line

FULL_OBJECT = "FULL_OBJECT"
_REFUSED = b"-"


class Stored(NamedTuple):
    """A body that is durable, verified and has no name yet."""

    size: int
    digests: BodyDigests
    crc64: int
    """Of the bytes as they are stored."""
    extents: list[Extent]

    @property
    def checksums(self) -> dict[str, str]:
        """By lower-case algorithm."""
        return {name.lower(): text for name, text in self.digests.checksums.items()}


async def store_body(
    context: Context,
    request: Request,
    verifier: BodyVerifier,
    ident: Callable[[], Awaitable[bytes]],
    described: Callable[[Stored, bool], Awaitable[bytes]] | None = None,
    encrypter: Encrypter | None = None,
) -> Stored:
    """Receive, verify, encrypt and store the body of a request. What `ident` gives is stored beside
    its bytes; but beside the last of them what `described` says, told whether these are all."""
    length = announced_length(request, PUT_BYTES_MAX)
    objects, tier = context.objects, tier_of(request.bucket)
    if length <= SMALL_BYTES_MAX:
        data, digests = await receive(request, length, verifier, context.offload)
        crc64 = digests.crc64nvme
        if encrypter is not None:
            data = await encrypted(context, encrypter, data)
            crc64 = encrypter.crc64
        if described is not None:
            about = await described(Stored(length, digests, crc64, []), True)
        else:
            about = await ident()
        extents = await objects.put(about, data, tier=tier)
        return Stored(length, digests, crc64, extents)
    writer = objects.writer(await ident(), tier=tier)
    try:
        length, digests = await receive_large(
            request, length, verifier, writer, context.offload, encrypter
        )
        crc64 = digests.crc64nvme if encrypter is None else encrypter.crc64
        last = None
        if described is not None:
            last = await described(Stored(length, digests, crc64, []), False)
        extents = await writer.finish(last)
    except BaseException:
        writer.abort()
        raise
    return Stored(length, digests, crc64, extents)


async def give_name(
    context: Context, version: Version, only_if: Condition | None, events: Sequence[Event]
) -> None:
    """Commit a version whose bytes are stored, with an ident that tells all of it. If it is refused
    that is written down before the client hears of it: names that are made again from the bytes
    (`dc/objects/finding.py`) must not have it."""
    try:
        await context.names.put(version, only_if=only_if, events=events)
    except NamesClosed:
        raise  # It may have taken effect.
    except NamesError:
        if version.extents:
            await context.objects.put(refusal_ident(version), _REFUSED)
        raise


async def put_object(context: Context, request: Request) -> Reply:
    """Store an object."""
    headers = request.headers
    query = request.target.query
    for name in ("partNumber", "versionId") if query else ():
        if name in query:
            message = f"This operation does not accept the parameter {name} here."
            raise invalid_argument(message, name, query[name])
    only_if = None if request.plain else write_condition(headers)
    meta = read_meta(headers, request.plain)
    sealing = None
    if not request.plain or "encryption" in request.bucket.registers:
        sealing = await wanted(context, request)
    encrypter = None if sealing is None else sealing.encrypter(context)
    bucket, key, names = request.bucket, request.target.key, context.names
    attributes = {}
    if has_attributes(request):
        attributes = read_attributes(context, request, await names.stamp())
    version: Version | None = None
    began = ""

    async def begun() -> bytes:
        nonlocal began
        began = await names.stamp()
        return body_ident(bucket.id, key, NULL_VERSION, began)

    async def described(stored: Stored, is_all: bool) -> bytes:
        nonlocal version
        sse = None
        if sealing is not None and encrypter is not None:
            sse = sealing.sealed(Sealed(encrypter.nonce, stored.digests.crc64nvme))
        stamp = await names.stamp()
        into = as_now(names.directory, bucket)
        version = _version(into, key, stamp, stored, meta, sse, attributes)
        return version_ident(version, "" if is_all else began)

    stored = await store_body(
        context,
        request,
        BodyVerifier(headers, request.auth, plain=request.plain, sha256=notarizes(bucket)),
        begun,
        described,
        encrypter,
    )
    digests = stored.digests
    assert version is not None
    events: Sequence[Event] = ()
    if bucket.registers:
        events = told(context, request, request.put_event, of(version))
    version = replace(version, extents=stored.extents)
    await give_name(context, version, only_if, events)
    head = f'ETag: "{digests.md5_hex}"\r\n{written_line(version.vid)}'
    head += position_line(version.stamp, bucket.id, key, version.vid)
    if sealing is not None:
        head += sse_head(version.meta.sse, request)
    if digests.checksums:
        head += checksum_head(stored.checksums, FULL_OBJECT)
    if bucket.registers:
        head += expiration_head(bucket, key, stored.size, version.stamp, version.registers)
    return Reply(200, head)


def _version(
    bucket: Bucket,
    key: str,
    stamp: Stamp,
    stored: Stored,
    meta: Meta,
    sse: Encryption | None,
    attributes: dict[str, str],
) -> Version:
    """The version that a body becomes, without its extents."""
    checksums = stored.checksums if stored.digests.checksums else {}
    kind = FULL_OBJECT if checksums else ""
    about = replace(meta, checksums=checksums, checksum_type=kind, crc64=stored.crc64, sse=sse)
    return Version(
        bucket.id,
        key,
        vid_at(bucket, stamp),
        stamp,
        Kind.OBJECT,
        stored.size,
        stored.digests.md5_hex,
        about,
        [],
        registers=registers_at(bucket, stamp, attributes, stored.digests.sha256_hex)
        if attributes or bucket.registers
        else {},
    )


def crc64_text(value: int) -> str:
    """A CRC-64/NVME as S3 writes it."""
    return b64encode(value.to_bytes(8, "big")).decode()


def checksum_head(checksums: dict[str, str], kind: str) -> str:
    """The header lines that tell checksums, and their type if there is one."""
    head = "".join([f"x-amz-checksum-{name}: {text}\r\n" for name, text in checksums.items()])
    return f"{head}x-amz-checksum-type: {kind}\r\n" if head and kind else head
