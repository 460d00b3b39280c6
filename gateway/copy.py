"""CopyObject, and the source of copies in general.

A copy is stored anew: its bytes are read (and so checked), hashed, and written, and it has extents
of its own. So a container can be dropped without asking who else points into it. The CRC of what
was read must be that of the source's record, or the copy fails instead of keeping a damage.

The source is authorised by itself, by the same rule as any read.
"""

from contextlib import aclosing
from typing import Any, NamedTuple, cast

from msgspec.structs import replace

from dc.names.model import NULL_VERSION, Bucket, Extent, Kind, Version
from dc.objects.api import CorruptData
from dc.objects.ident import body_ident
from dc.ports import Buffer
from gateway.checksums import ALGORITHMS, Hasher, Sha, hasher
from gateway.conditions import check_copy, refuse_on_write
from gateway.context import Context
from gateway.dates import iso_date
from gateway.errors import S3Error, invalid_argument
from gateway.limits import PUT_BYTES_MAX, SMALL_BYTES_MAX
from gateway.metadata import read_meta
from gateway.put import FULL_OBJECT
from gateway.read import find_version
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.target import check_key
from gateway.uri import decode_path
from gateway.xmltext import escape

COPY_SOURCE = "x-amz-copy-source"


class Copied(NamedTuple):
    """Bytes that are durable under a new ident. `checksum` is base64, "" when none was asked."""

    md5_hex: str
    crc64: int
    checksum: str
    extents: list[Extent]


class _Hashes:
    """MD5, CRC-64 and one more checksum of a copy."""

    def __init__(self, algorithm: str) -> None:
        self.md5: Hasher = Sha("md5")
        self.crc: Hasher = hasher("CRC64NVME")
        self.other: Hasher | None = hasher(algorithm) if algorithm else None

    def update(self, data: Buffer) -> None:
        piece = data if isinstance(data, bytes) else memoryview(data)
        self.md5.update(piece)
        self.crc.update(piece)
        if self.other is not None:
            self.other.update(piece)

    def result(self, extents: list[Extent]) -> Copied:
        other = self.other.digest_b64() if self.other is not None else ""
        crc = int.from_bytes(self.crc.digest(), "big")
        return Copied(self.md5.digest().hex(), crc, other, extents)


async def find_source(context: Context, request: Request) -> Version:
    """The version that x-amz-copy-source names, after its conditions: authorised by itself."""
    bucket_name, key, version_id = parse_source(request.headers[COPY_SOURCE])
    bucket = _authorised_source(context, request, bucket_name)
    source = await find_version(context, bucket.id, key, version_id)
    check_copy(request.headers, source)
    return source


def parse_source(text: str) -> tuple[str, str, str | None]:
    """Bucket, key, and version id if there is one. InvalidArgument."""
    path, mark, version_id = text.partition("?versionId=")
    bucket, _, key = decode_path(path).removeprefix("/").partition("/")
    if not bucket or not key or "?" in path:
        message = "Copy Source must mention the source bucket and key: sourcebucket/sourcekey"
        raise invalid_argument(message, COPY_SOURCE, text)
    check_key(key)
    return bucket, key, version_id if mark else None


def _authorised_source(context: Context, request: Request, name: str) -> Bucket:
    bucket = context.names.directory.bucket(name)
    if bucket is None:
        raise S3Error("NoSuchBucket", extra={"BucketName": name})
    expected = request.headers.get("x-amz-source-expected-bucket-owner")
    if bucket.owner != request.user or expected not in (None, bucket.owner):
        raise S3Error("AccessDenied")
    return bucket


async def copy_bytes(
    context: Context, source: Version, start: int, stop: int, about: bytes, algorithm: str
) -> Copied:
    """Store the bytes [start, stop) of a version anew."""
    hashes = _Hashes(algorithm)
    pieces = context.objects.read(source.extents, start, stop)
    small = stop - start <= SMALL_BYTES_MAX
    gathered: list[Buffer] = []
    writer = None if small else context.objects.writer(about)
    try:
        async with aclosing(cast(Any, pieces)):
            async for piece in pieces:
                await context.offload.run(lambda piece=piece: hashes.update(piece))  # type: ignore[misc]
                if writer is None:
                    gathered.append(piece)
                else:
                    await writer.write(piece)
        if (start, stop) == (0, source.size) and hashes.result([]).crc64 != source.meta.crc64:
            raise CorruptData(f"the bytes of {source.key!r} are not those that were stored")
        if writer is None:
            return hashes.result(await context.objects.put(about, b"".join(gathered)))
        return hashes.result(await writer.finish())
    except BaseException:
        if writer is not None:
            writer.abort()
        raise


async def copy_object(context: Context, request: Request) -> Reply:
    """Store an object with the bytes of another."""
    headers = request.headers
    refuse_on_write(headers)
    directive = headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        message = "Unknown metadata directive."
        raise invalid_argument(message, "x-amz-metadata-directive", directive)
    source = await find_source(context, request)
    if source.size > PUT_BYTES_MAX:
        message = (
            "The specified copy source is larger than the maximum allowable size for a copy source:"
            f" {PUT_BYTES_MAX}"
        )
        raise S3Error("InvalidRequest", message)
    bucket, key, names = request.bucket.id, request.key, context.names
    if (source.bucket, source.key) == (bucket, key) and directive == "COPY":
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without "
            "changing the object's metadata, storage class, website redirect location or "
            "encryption attributes.",
        )
    meta = source.meta if directive == "COPY" else read_meta(headers)
    algorithm = _algorithm(request, source)
    about = body_ident(bucket, key, NULL_VERSION, names.clock.now())
    copied = await copy_bytes(context, source, 0, source.size, about, algorithm)
    checksums = {algorithm.lower(): copied.checksum} if algorithm else {}
    meta = replace(
        meta,
        checksums=checksums,
        checksum_type=FULL_OBJECT if algorithm else "",
        crc64=copied.crc64,
        parts=[],
    )
    stamp = names.clock.now()
    version = Version(
        bucket,
        key,
        NULL_VERSION,
        stamp,
        Kind.OBJECT,
        source.size,
        copied.md5_hex,
        meta,
        copied.extents,
    )
    await names.put(version)
    return xml_reply(
        f"<CopyObjectResult {XMLNS}><LastModified>{iso_date(stamp)}</LastModified>"
        f"<ETag>&quot;{copied.md5_hex}&quot;</ETag>{checksum_elements(checksums, FULL_OBJECT)}"
        "</CopyObjectResult>"
    )


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
