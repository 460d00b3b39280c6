"""Parts of a multipart upload: put one, copy one, list them.

A part is stored like a small object of its own and only then noted in the upload, so a part that
was acknowledged is durable, and one that was cut off is not there.
"""

from dc.names.model import NULL_VERSION, Sealed, Upload, UploadPart
from dc.objects.ident import body_ident
from dc.objects.tiers import tier_of
from gateway.access.acl import owner_in
from gateway.checksums import BodyVerifier
from gateway.context import Context
from gateway.copy import (
    Copied,
    checksum_elements,
    copy_bytes,
    find_source,
    source_line,
)
from gateway.dates import iso_date
from gateway.encryption import of_upload, sse_head
from gateway.errors import S3Error, invalid_argument
from gateway.limits import PART_NUMBER_MAX, PUT_BYTES_MAX
from gateway.listing import number, wants_url_encoding
from gateway.metadata import STANDARD
from gateway.model.matching import COPY_SOURCE
from gateway.owners import owner_xml
from gateway.put import checksum_head, crc64_text, store_body
from gateway.ranges import parse_copy_range
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.xmltext import escape, url_encode

_COPY_RANGE = "x-amz-copy-source-range"
_UPLOAD_ID_CHARS_MAX = 256


async def find_upload(context: Context, request: Request, *, by_initiator: bool) -> Upload:
    """The upload that a request names, of its very bucket and key, if its sender may do with it
    what is asked; `by_initiator`: if it is the sender's own. NoSuchUpload, AccessDenied."""
    upload_id = request.query["uploadId"]
    upload = None
    if 0 < len(upload_id) <= _UPLOAD_ID_CHARS_MAX:
        upload = await context.names.upload(upload_id)
    if upload is not None and (upload.bucket, upload.key) != (request.bucket.id, request.key):
        upload = None
    request.access.check_upload(upload, by_initiator=by_initiator)
    if upload is None:
        raise S3Error("NoSuchUpload", extra={"UploadId": upload_id})
    return upload


def parse_part_number(text: str) -> int:
    """1 to 10,000. InvalidArgument."""
    found = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= found <= PART_NUMBER_MAX:
        message = "Part number must be an integer between 1 and 10000, inclusive"
        raise invalid_argument(message, "partNumber", text)
    return found


async def put_part(context: Context, request: Request) -> Reply:
    """UploadPart, and UploadPartCopy when the request names a source."""
    part_number = parse_part_number(request.query.get("partNumber", ""))
    upload = await find_upload(context, request, by_initiator=True)
    if COPY_SOURCE in request.headers:
        return await _copy_part(context, request, upload, part_number)
    verifier = BodyVerifier(request.headers, request.auth)
    _check_algorithm(upload, verifier.algorithm)
    sealing = of_upload(context, request, upload.meta.sse)
    encrypter = None if sealing is None else sealing.encrypter(context)

    async def about() -> bytes:
        stamp = await context.names.stamp()
        return body_ident(
            request.bucket.id, request.key, NULL_VERSION, stamp, upload.id, part_number
        )

    stored = await store_body(context, request, verifier, about, encrypter=encrypter)
    digests, checksums = stored.digests, stored.checksums
    if upload.checksum_algorithm == "CRC64NVME":
        checksums = {"crc64nvme": crc64_text(digests.crc64nvme)}
    part = UploadPart(
        part_number,
        stored.size,
        digests.md5_hex,
        await context.names.stamp(),
        stored.crc64,
        checksums,
        stored.extents,
        None if encrypter is None else Sealed(encrypter.nonce, digests.crc64nvme),
    )
    await context.names.put_part(upload.id, part)
    head = f'ETag: "{part.etag}"\r\n{sse_head(upload.meta.sse, request)}'
    return Reply(200, head + checksum_head(part.checksums, ""))


def _check_algorithm(upload: Upload, given: str | None) -> None:
    wanted = upload.checksum_algorithm
    if wanted in ("", given) or (wanted == "CRC64NVME" and given is None):
        return
    raise S3Error(
        "InvalidRequest",
        f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()}, "
        f"actual checksum Type: {given.lower() if given else 'null'}",
    )


async def _copy_part(context: Context, request: Request, upload: Upload, part_number: int) -> Reply:
    sealing = of_upload(context, request, upload.meta.sse)
    source, opening, *_ = await find_source(context, request)
    start, stop = 0, source.size
    if _COPY_RANGE in request.headers:
        start, stop = parse_copy_range(request.headers[_COPY_RANGE], source.size)
    if stop - start > PUT_BYTES_MAX:
        raise S3Error("EntityTooLarge")
    names, algorithm = context.names, upload.checksum_algorithm
    about = body_ident(
        request.bucket.id, request.key, NULL_VERSION, await names.stamp(), upload.id, part_number
    )
    encrypter = None if sealing is None else sealing.encrypter(context)
    copied = await copy_bytes(
        context,
        source,
        opening,
        (start, stop),
        about,
        algorithm,
        encrypter,
        tier=tier_of(request.bucket),
    )
    part = _copied_part(copied, part_number, stop - start, await names.stamp(), algorithm)
    await names.put_part(upload.id, part)
    return xml_reply(
        f"<CopyPartResult {XMLNS}><LastModified>{iso_date(part.stamp)}</LastModified>"
        f"<ETag>&quot;{part.etag}&quot;</ETag>{checksum_elements(part.checksums, '')}"
        "</CopyPartResult>",
        head=sse_head(upload.meta.sse, request) + source_line(context, source),
    )


def _copied_part(
    copied: Copied, part_number: int, size: int, stamp: str, algorithm: str
) -> UploadPart:
    checksums = {algorithm.lower(): copied.checksum} if algorithm else {}
    return UploadPart(
        part_number,
        size,
        copied.md5_hex,
        stamp,
        copied.stored_crc64,
        checksums,
        copied.extents,
        copied.sealed,
    )


async def list_parts(context: Context, request: Request) -> Reply:
    """A page of the parts of an upload."""
    query = request.query
    url = wants_url_encoding(query)
    upload = await find_upload(context, request, by_initiator=False)
    limit = number(query, "max-parts", 1000, 1000)
    after = number(query, "part-number-marker", 0, PART_NUMBER_MAX)
    found = await context.names.parts(upload.id, after=after, limit=limit + 1)
    page = found[:limit]
    rows = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber>"
        f"<LastModified>{iso_date(part.stamp)}</LastModified><ETag>&quot;{part.etag}&quot;</ETag>"
        f"<Size>{part.size}</Size>{checksum_elements(part.checksums, '')}</Part>"
        for part in page
    )
    encode = url_encode if url else escape
    last = page[-1].number if page else after
    checksum = ""
    if upload.checksum_algorithm:
        checksum = f"<ChecksumAlgorithm>{upload.checksum_algorithm}</ChecksumAlgorithm>"
        checksum += f"<ChecksumType>{upload.checksum_type}</ChecksumType>"
    directory = context.names.directory
    owner = owner_xml(directory, owner_in(upload.attributes, request.bucket.owner))
    return xml_reply(
        f"<ListPartsResult {XMLNS}><Bucket>{request.bucket.name}</Bucket>"
        f"<Key>{encode(request.key)}</Key><UploadId>{upload.id}</UploadId>"
        f"{'<EncodingType>url</EncodingType>' if url else ''}"
        f"<Initiator>{owner_xml(directory, upload.owner)}</Initiator><Owner>{owner}</Owner>"
        f"<StorageClass>{upload.meta.storage_class or STANDARD}</StorageClass>{checksum}"
        f"<PartNumberMarker>{after}</PartNumberMarker>"
        f"<NextPartNumberMarker>{last}</NextPartNumberMarker><MaxParts>{limit}</MaxParts>"
        f"<IsTruncated>{'true' if limit and len(found) > limit else 'false'}</IsTruncated>"
        f"{rows}</ListPartsResult>"
    )
