"""Multipart uploads: begin, complete, abort, list.

An upload belongs to the DC where it began. Complete stores the object and ends the upload in one
transaction. It may be repeated, since clients lose answers: for a day it is answered as the first
time, and no second object is made. How the parts become an object is in `gateway.assemble`.
"""

from urllib.parse import quote

from msgspec.structs import replace

from dc.names.api import NoSuchUpload
from dc.names.model import Kind, Meta, Upload, Version
from gateway.assemble import COMPOSITE, Assembled, NamedPart, assemble, etag_of, parse_complete
from gateway.attributes import read_attributes, registers_at
from gateway.body import announced_length, receive
from gateway.checksums import BodyVerifier, checksum_of_object
from gateway.conditions import write_condition
from gateway.context import Context
from gateway.copy import check_algorithm, checksum_elements
from gateway.encryption import of_upload, sse_head, wanted
from gateway.errors import S3Error
from gateway.lifecycle.expiry import abort_head
from gateway.limits import XML_BYTES_MAX
from gateway.metadata import read_meta
from gateway.notifications.records import of, told
from gateway.parts import find_upload
from gateway.put import FULL_OBJECT, crc64_text
from gateway.reply import XMLNS, Reply, header_line, xml_reply
from gateway.request import Request
from gateway.versioning import as_now, vid_at, written_line
from gateway.xmltext import escape

_UPLOAD_ID_BYTES = 16


async def create_upload(context: Context, request: Request) -> Reply:
    """Begin an upload, which must be somebody's."""
    if not request.user:
        raise S3Error("AccessDenied", "Anonymous users cannot initiate multipart uploads.")
    headers, names = request.headers, context.names
    algorithm, kind = _checksum_wish(
        headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-type")
    )
    sealing = await wanted(context, request)
    sse = None if sealing is None else sealing.about
    started = await names.stamp()
    upload = Upload(
        context.randomness.token(_UPLOAD_ID_BYTES).hex(),
        request.bucket.id,
        request.key,
        request.user,
        started,
        replace(read_meta(headers), sse=sse),
        algorithm,
        kind,
        read_attributes(context, request, started),
    )
    await names.create_upload(upload)
    head = abort_head(request.bucket, request.key, upload.started) + sse_head(sse, request)
    if algorithm:
        head += header_line("x-amz-checksum-algorithm", algorithm)
        head += header_line("x-amz-checksum-type", kind)
    return xml_reply(
        f"<InitiateMultipartUploadResult {XMLNS}><Bucket>{request.bucket.name}</Bucket>"
        f"<Key>{escape(request.key)}</Key><UploadId>{upload.id}</UploadId>"
        "</InitiateMultipartUploadResult>",
        head=head,
    )


def _checksum_wish(algorithm: str | None, kind: str | None) -> tuple[str, str]:
    """Algorithm and type of an upload's checksum, "" for none. InvalidRequest."""
    if algorithm is None:
        if kind is not None:
            message = "The x-amz-checksum-type header can only be used with the "
            raise S3Error("InvalidRequest", f"{message}x-amz-checksum-algorithm header.")
        return "", ""
    algorithm = check_algorithm(algorithm)
    if kind is None:
        return algorithm, FULL_OBJECT if algorithm == "CRC64NVME" else COMPOSITE
    kind = kind.upper()
    # Only a CRC of all bytes can be computed from those of the parts.
    both = (COMPOSITE, FULL_OBJECT)
    possible = {"CRC32": both, "CRC32C": both, "CRC64NVME": both[1:]}
    if kind not in possible.get(algorithm, both[:1]):
        message = f"The {kind} checksum type cannot be used with the {algorithm.lower()} checksum."
        raise S3Error("InvalidRequest", message)
    return algorithm, kind


async def complete_upload(context: Context, request: Request) -> Reply:
    """Make the object. The body names the parts that it is made of."""
    only_if = write_condition(request.headers)
    names = context.names
    upload_id = request.query["uploadId"]
    length = announced_length(request, XML_BYTES_MAX, "MaxMessageLengthExceeded")
    verifier = BodyVerifier(request.headers, request.auth, of_object=True)
    body, _ = await receive(request, length, verifier, context.offload)
    named = await context.offload.run(lambda: parse_complete(body))
    try:
        upload = await find_upload(context, request, by_initiator=True)
    except S3Error:
        again = await _completed_before(context, request, upload_id, named)
        if again is None:
            raise
        return again
    of_upload(context, request, upload.meta.sse)
    present = await names.parts(upload_id)
    made = await context.offload.run(lambda: assemble(upload, named, present))
    _check_wishes(request, upload, made)
    stamp, bucket = await names.stamp(), as_now(names.directory, request.bucket)
    version = Version(
        upload.bucket,
        upload.key,
        vid_at(bucket, stamp),
        stamp,
        Kind.OBJECT,
        made.size,
        made.etag,
        made.meta,
        made.extents,
        registers=registers_at(bucket, stamp, upload.attributes),
    )
    events = told(context, request, "ObjectCreated:CompleteMultipartUpload", of(version))
    try:
        await names.complete_upload(upload_id, version, only_if=only_if, events=events)
    except NoSuchUpload:
        again = await _completed_before(context, request, upload_id, named)
        if again is None:
            raise
        return again
    return _completed(request, made.etag, made.meta, version.vid)


def _check_wishes(request: Request, upload: Upload, made: Assembled) -> None:
    """What the client says of the whole object must be so. BadDigest, InvalidRequest."""
    headers = request.headers
    size = headers.get("x-amz-mp-object-size")
    if size is not None and size != str(made.size):
        message = (
            f"The provided 'x-amz-mp-object-size' header value {size[:20]} does not match what "
            f"was computed: {made.size}"
        )
        raise S3Error("InvalidRequest", message)
    kind = headers.get("x-amz-checksum-type")
    if kind is not None and upload.checksum_type and kind.upper() != upload.checksum_type:
        message = f"The upload was created using the {upload.checksum_type} checksum mode."
        raise S3Error("BadDigest", message)
    asked = checksum_of_object(headers, request.auth.hoisted)
    if asked is None:
        return
    algorithm, expected = asked
    if algorithm == "CRC64NVME":
        found = crc64_text(made.meta.plain_crc64)
    elif algorithm == upload.checksum_algorithm:
        found = made.meta.checksums[algorithm.lower()]
    else:
        message = f"The upload has no checksum of the type {algorithm.lower()}."
        raise S3Error("InvalidRequest", message)
    # Of a composite checksum the number of parts may be left out.
    if expected.strip() not in (found, found.partition("-")[0]):
        message = f"The {algorithm} you specified did not match the calculated checksum."
        raise S3Error("BadDigest", message)


async def _completed_before(
    context: Context, request: Request, upload_id: str, named: list[NamedPart]
) -> Reply | None:
    """The answer to a Complete that has taken effect already, None when there was none."""
    done = await context.names.completed_upload(upload_id)
    if done is None:
        return None
    bucket, key, vid, stamp = done
    if (bucket, key) != (request.bucket.id, request.key):
        return None
    version = await context.names.version(bucket, key, vid)
    if version is not None and version.stamp == stamp:
        return _completed(request, version.etag, version.meta, vid)
    try:
        etag = etag_of([part.etag for part in named])
    except ValueError:
        return None
    return _completed(request, etag, Meta(), vid)


def _completed(request: Request, etag: str, meta: Meta, vid: str) -> Reply:
    bucket, key = request.bucket.name, request.key
    host = escape(request.headers.get("Host", ""))
    return xml_reply(
        f"<CompleteMultipartUploadResult {XMLNS}>"
        f"<Location>http://{host}/{bucket}/{escape(quote(key))}</Location>"
        f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{etag}&quot;</ETag>"
        f"{checksum_elements(meta.checksums, meta.checksum_type)}"
        "</CompleteMultipartUploadResult>",
        head=sse_head(meta.sse, request) + written_line(vid),
    )


async def abort_upload(context: Context, request: Request) -> Reply:
    """Drop an upload and its parts."""
    upload = await find_upload(context, request, by_initiator=False)
    await context.names.abort_upload(upload.id)
    return Reply(204)
