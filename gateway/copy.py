"""CopyObject, and the source of copies in general.

A copy is stored anew: its bytes are read (and so checked), hashed, and written, and it has extents
of its own. So a container can be dropped without asking who else points into it. The CRC of what
was read must be that of the source's record, or the copy fails instead of keeping a damage.

The source is authorised by itself, by the same rule as any read.
"""

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from dc.names.model import NULL_VERSION, Bucket, Extent, Kind, Meta, Sealed, Version
from dc.notary import notarizes
from dc.objects.api import BytesElsewhere, CorruptData
from dc.objects.ident import body_ident, version_ident
from dc.objects.tiers import tier_of
from dc.ports import Buffer
from dc.read_through import READ_THROUGH
from dc.stamps import Stamp
from gateway.access.acl import READ
from gateway.access.facts import facts_of_tags
from gateway.access.gate import Access
from gateway.attributes import read_attributes, registers_at
from gateway.checksums import ALGORITHMS, Hasher, Sha, hasher
from gateway.cipher import Encrypter
from gateway.conditions import check_copy, write_condition
from gateway.context import Context
from gateway.dates import iso_date
from gateway.encryption import (
    CUSTOMER_ALGORITHM,
    SSE,
    Opening,
    Sealing,
    opened,
    read_body,
    sse_head,
    wanted,
)
from gateway.errors import S3Error, invalid_argument
from gateway.limits import PUT_BYTES_MAX, SMALL_BYTES_MAX
from gateway.metadata import REDIRECT_LOCATION, STORAGE_CLASS, copied_meta, read_meta
from gateway.model.matching import COPY_SOURCE
from gateway.notifications.records import of, told
from gateway.positions import position_line
from gateway.put import FULL_OBJECT, give_name
from gateway.read import look_up, permitted, seek
from gateway.replication_rules import not_here
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.tags import TAGGING_DIRECTIVE, TAGS, register_text, tags_in
from gateway.target import check_key
from gateway.uri import decode_path
from gateway.versioning import as_now, read_line, vid_at, written_line
from gateway.xmltext import escape

_CHANGES = frozenset(
    (REDIRECT_LOCATION, STORAGE_CLASS, SSE, CUSTOMER_ALGORITHM, "x-amz-checksum-algorithm")
)
"""Headers with which a copy is another object than its source."""


class Copied(NamedTuple):
    """Bytes that are durable under a new ident. `checksum` is base64, "" when none was asked."""

    md5_hex: str
    crc64: int
    checksum: str
    extents: list[Extent]
    sealed: Sealed | None
    stored_crc64: int
    sha256_hex: str = ""
    """"" when it is not to be told."""


class _Passage:
    """What the bytes of a copy go through: MD5, CRC-64, one more checksum, encryption. `sha256`:
    that is to be told, too."""

    def __init__(self, algorithm: str, encrypter: Encrypter | None, sha256: bool) -> None:
        self.encrypter = encrypter
        self.md5: Hasher = Sha("md5")
        self.crc: Hasher = hasher("CRC64NVME")
        self.other: Hasher | None = hasher(algorithm) if algorithm else None
        self.sha256: Hasher | None = Sha("sha256") if sha256 else None

    def update(self, data: Buffer) -> Buffer:
        """The bytes to store."""
        piece = data if isinstance(data, bytes) else memoryview(data)
        self.md5.update(piece)
        self.crc.update(piece)
        if self.other is not None:
            self.other.update(piece)
        if self.sha256 is not None:
            self.sha256.update(piece)
        return data if self.encrypter is None else self.encrypter.update(data)

    @property
    def crc64(self) -> int:
        return int.from_bytes(self.crc.digest(), "big")

    def result(self) -> Copied:
        """Without extents."""
        other = self.other.digest_b64() if self.other is not None else ""
        crc = stored = self.crc64
        sealed = None
        if self.encrypter is not None:
            sealed, stored = Sealed(self.encrypter.nonce, crc), self.encrypter.crc64
        sha256 = self.sha256.digest().hex() if self.sha256 is not None else ""
        return Copied(self.md5.digest().hex(), crc, other, [], sealed, stored, sha256)


class Source(NamedTuple):
    """What is copied, what its bytes are read with, what its reader may do there, and the action
    of reading its tags."""

    version: Version
    opening: Opening | None
    access: Access
    tagging: str


async def find_source(context: Context, request: Request) -> Source:
    """The version that x-amz-copy-source names, after its conditions: authorised by itself."""
    bucket_name, key, version_id = parse_source(request.headers[COPY_SOURCE])
    bucket = _source_bucket(context, request, bucket_name)
    action = "GetObject" if version_id is None else "GetObjectVersion"
    facts = {"s3:versionid": None if version_id is None else [version_id]}
    access = Access(context.names.directory, request, bucket, key, action, READ, facts)
    try:
        found = await look_up(context.names, bucket.id, key, version_id)
        if found is None and READ_THROUGH in bucket.registers:
            source = await seek(context, request, access, bucket, key, version_id)
        else:
            source = permitted(access, key, found, version_id)
    except S3Error as error:
        if error.code != "MethodNotAllowed":
            raise S3Error(error.code, extra=error.extra) from None
        message = "The source of a copy request may not specifically refer to a delete marker by "
        raise S3Error("InvalidRequest", f"{message}version id.") from None
    check_copy(request.headers, source)
    opening = opened(context, request, source, source=True)
    return Source(source, opening, access, f"{action}Tagging")


def parse_source(text: str) -> tuple[str, str, str | None]:
    """Bucket, key, and version id if there is one. InvalidArgument."""
    path, mark, version_id = text.partition("?versionId=")
    bucket, _, key = decode_path(path).removeprefix("/").partition("/")
    if not bucket or not key or "?" in path:
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise invalid_argument(message, COPY_SOURCE, text)
    check_key(key)
    return bucket, key, version_id if mark else None


def _source_bucket(context: Context, request: Request, name: str) -> Bucket:
    bucket = context.names.directory.bucket(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", extra={"BucketName": name})
    expected = request.headers.get("x-amz-source-expected-bucket-owner")
    if expected not in (None, bucket.owner):
        raise S3Error("AccessDenied")
    return bucket


async def copy_bytes(
    context: Context,
    source: Version,
    opening: Opening | None,
    span: tuple[int, int],
    about: bytes,
    algorithm: str,
    encrypter: Encrypter | None,
    described: Callable[[Copied, bool], Awaitable[bytes]] | None = None,
    *,
    tier: str,
    sha256: bool = False,
) -> Copied:
    """Store the bytes [start, stop) of a version anew. `about` is stored beside them; but beside
    the last of them what `described` says, told whether these are all. `sha256`: it is wanted."""
    passage = _Passage(algorithm, encrypter, sha256)
    start, stop = span
    pieces = read_body(context, source, opening, start, stop)
    small = stop - start <= SMALL_BYTES_MAX
    gathered: list[Buffer] = []
    objects = context.objects
    writer = None if small else objects.writer(about, tier=tier)
    try:
        async with aclosing(cast(Any, pieces)):
            async for piece in pieces:
                stored = await context.offload.run(lambda piece=piece: passage.update(piece))  # type: ignore[misc]
                if writer is None:
                    gathered.append(stored)
                else:
                    await writer.write(stored)
        if (start, stop) == (0, source.size) and passage.crc64 != source.meta.plain_crc64:
            raise CorruptData(f"the bytes of {source.key!r} are not those that were stored")
        copied = passage.result()
        if described is not None:
            about = await described(copied, writer is None)
        if writer is None:
            extents = await objects.put(about, b"".join(gathered), tier=tier)
            return copied._replace(extents=extents)
        return copied._replace(extents=await writer.finish(about))
    except BaseException as error:
        if writer is not None:
            writer.abort()
        if isinstance(error, BytesElsewhere):
            raise not_here(context, source) from None
        raise


async def copy_object(context: Context, request: Request) -> Reply:
    """Store an object with the bytes of another."""
    headers = request.headers
    only_if = write_condition(headers)
    directive = headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        message = "Unknown metadata directive."
        raise invalid_argument(message, "x-amz-metadata-directive", directive)
    found = await find_source(context, request)
    source = found.version
    sealing = await wanted(context, request)
    if source.size > PUT_BYTES_MAX:
        message = (
            "The specified copy source is larger than the maximum allowable size for a copy source:"
            f" {PUT_BYTES_MAX}"
        )
        raise S3Error("InvalidRequest", message)
    bucket, key, names = request.bucket, request.key, context.names
    if (source.bucket, source.key) == (bucket.id, key) and directive == "COPY":
        await _check_changes(context, request, source)
    meta = copied_meta(source.meta, headers) if directive == "COPY" else read_meta(headers)
    attributes = await _attributes(context, request, found)
    algorithm = _algorithm(request, source)
    began = await names.stamp()
    encrypter = None if sealing is None else sealing.encrypter(context)
    version: Version | None = None

    async def described(copied: Copied, is_all: bool) -> bytes:
        nonlocal version
        about = _copied_meta(meta, copied, algorithm, sealing)
        stamp = await names.stamp()
        into = as_now(names.directory, bucket)
        version = _version(into, key, stamp, source.size, copied, about, attributes)
        return version_ident(version, "" if is_all else began)

    copied = await copy_bytes(
        context,
        source,
        found.opening,
        (0, source.size),
        body_ident(bucket.id, key, NULL_VERSION, began),
        algorithm,
        encrypter,
        described,
        tier=tier_of(bucket),
        sha256=notarizes(bucket),
    )
    assert version is not None
    version = replace(version, extents=copied.extents)
    events = told(context, request, "ObjectCreated:Copy", of(version))
    await give_name(context, version, only_if, events)
    checksums = checksum_elements(version.meta.checksums, FULL_OBJECT)
    return xml_reply(
        f"<CopyObjectResult {XMLNS}><LastModified>{iso_date(version.stamp)}</LastModified>"
        f"<ETag>&quot;{copied.md5_hex}&quot;</ETag>{checksums}"
        "</CopyObjectResult>",
        head=sse_head(version.meta.sse, request)
        + source_line(context, source)
        + written_line(version.vid)
        + position_line(version.stamp, bucket.id, key, version.vid),
    )


def _copied_meta(meta: Meta, copied: Copied, algorithm: str, sealing: Sealing | None) -> Meta:
    """What is said of a copy, with what was found out about its bytes."""
    sse = None
    if sealing is not None and copied.sealed is not None:
        sse = sealing.sealed(copied.sealed)
    return replace(
        meta,
        checksums={algorithm.lower(): copied.checksum} if algorithm else {},
        checksum_type=FULL_OBJECT if algorithm else "",
        crc64=copied.stored_crc64,
        parts=[],
        sse=sse,
    )


def _version(
    bucket: Bucket,
    key: str,
    stamp: Stamp,
    size: int,
    copied: Copied,
    meta: Meta,
    attributes: dict[str, str],
) -> Version:
    """The version that a copy becomes, without its extents."""
    return Version(
        bucket.id,
        key,
        vid_at(bucket, stamp),
        stamp,
        Kind.OBJECT,
        size,
        copied.md5_hex,
        meta,
        [],
        registers=registers_at(bucket, stamp, attributes, copied.sha256_hex),
    )


async def _check_changes(context: Context, request: Request, source: Version) -> None:
    """Refuse to copy an object to itself just so. An older version may be made the current one."""
    if _CHANGES.intersection(name.lower() for name in request.headers):
        return
    current = await context.names.current(source.bucket, source.key)
    if current is not None and current.vid == source.vid:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )


async def _attributes(context: Context, request: Request, source: Source) -> dict[str, str]:
    """The attributes that a copy is born with: those of its request, and its source's tags unless
    the request gives others. InvalidArgument; AccessDenied to who may not read or write tags."""
    directive = request.headers.get(TAGGING_DIRECTIVE, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise invalid_argument("Unknown tagging directive.", TAGGING_DIRECTIVE, directive)
    attributes = read_attributes(context, request, await context.names.stamp())
    if directive == "COPY":
        attributes.pop(TAGS, None)
        if tags := tags_in(source.version.registers):
            source.access.demand_too(source.tagging, source.version)
            request.access.demand_too("PutObjectTagging", facts=facts_of_tags(tags))
            attributes[TAGS] = register_text(tags)
    return attributes


def source_line(context: Context, source: Version) -> str:
    """The header line that tells which version was copied."""
    bucket = context.names.directory.bucket_by_id(source.bucket)
    line = "" if bucket is None else read_line(bucket, source.vid)
    return line.replace("x-amz-", "x-amz-copy-source-", 1)


def _algorithm(request: Request, source: Version) -> str:
    """The checksum of the copy: the one asked for, or of the kind that the source has."""
    asked = request.headers.get("x-amz-checksum-algorithm")
    if asked is not None:
        return check_algorithm(asked)
    kept = next(iter(source.meta.checksums), "").upper()
    return kept if kept in ALGORITHMS else ""


def check_algorithm(text: str) -> str:
    """A checksum algorithm, upper-case. InvalidRequest."""
    if text.upper() not in ALGORITHMS:
        raise S3Error(
            "InvalidRequest",
            "Checksum algorithm provided is unsupported. Please try again with any of the valid "
            f"types: [{', '.join(ALGORITHMS)}]",
        )
    return text.upper()


def checksum_elements(checksums: dict[str, str], kind: str) -> str:
    """Checksums as XML elements."""
    found = "".join(
        f"<Checksum{name.upper()}>{escape(text)}</Checksum{name.upper()}>"
        for name, text in checksums.items()
    )
    return f"{found}<ChecksumType>{kind}</ChecksumType>" if found and kind else found
