"""DeleteObject and DeleteObjects. A deletion leaves a tombstone, which travels like a write."""

from dc.names.model import NULL_VERSION, Tombstone
from gateway.body import announced_length, receive
from gateway.checksums import BodyVerifier
from gateway.conditions import refuse_on_write
from gateway.context import Context
from gateway.errors import S3Error
from gateway.limits import DELETE_KEYS_MAX, XML_BYTES_MAX
from gateway.read import vid_of
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.target import check_key
from gateway.xmltext import child_texts, children, escape, parse_document

_CONDITIONS = ("ETag", "LastModifiedTime", "Size")


async def delete_object(context: Context, request: Request) -> Reply:
    """Delete for good; what does not exist is no error."""
    refuse_on_write(request.headers)
    version_id = request.query.get("versionId")
    head = ""
    if version_id is not None:
        vid_of(version_id)
        head = "x-amz-version-id: null\r\n"
    names = context.names
    tombstone = Tombstone(
        bucket=request.bucket.id, key=request.key, vid=NULL_VERSION, stamp=names.clock.now()
    )
    await names.delete((tombstone,))
    return Reply(204, head)


async def delete_objects(context: Context, request: Request) -> Reply:
    """Delete up to a thousand keys in one transaction."""
    length = announced_length(request, XML_BYTES_MAX, "MaxMessageLengthExceeded")
    verifier = BodyVerifier(request.headers, request.auth)
    if verifier.algorithm is None and "Content-MD5" not in request.headers:
        message = "Missing required header for this request: Content-MD5"
        raise S3Error("InvalidRequest", message)
    body, _ = await receive(request, length, verifier, context.offload)
    keys, quiet = await context.offload.run(lambda: _parse(body))
    names, bucket = context.names, request.bucket.id
    tombstones: list[Tombstone] = []
    rows: list[str] = []
    for key, version_id in keys:
        shown = f"<Key>{escape(key)}</Key>"
        if version_id is not None:
            shown += f"<VersionId>{escape(version_id)}</VersionId>"
        try:
            check_key(key)
            if version_id is not None:
                vid_of(version_id)
        except S3Error as error:
            rows.append(
                f"<Error>{shown}<Code>{error.code}</Code>"
                f"<Message>{escape(error.message)}</Message></Error>"
            )
            continue
        stamp = names.clock.now()
        tombstones.append(Tombstone(bucket=bucket, key=key, vid=NULL_VERSION, stamp=stamp))
        if not quiet:
            rows.append(f"<Deleted>{shown}</Deleted>")
    if tombstones:
        await names.delete(tombstones)
    return xml_reply(f"<DeleteResult {XMLNS}>{''.join(rows)}</DeleteResult>")


def _parse(body: bytes) -> tuple[list[tuple[str, str | None]], bool]:
    """(key, version id) of each object, and whether to be quiet."""
    root = parse_document(body, "Delete")
    objects = children(root, "Object")
    if not 1 <= len(objects) <= DELETE_KEYS_MAX:
        raise S3Error("MalformedXML")
    keys: list[tuple[str, str | None]] = []
    for element in objects:
        texts = child_texts(element)
        key = texts.get("Key")
        if not key:
            raise S3Error("MalformedXML")
        for name in _CONDITIONS:
            if name in texts:
                raise S3Error("NotImplemented", f"Conditional deletes ({name}) are not done yet.")
        keys.append((key, texts.get("VersionId")))
    quiet = children(root, "Quiet")
    text = (quiet[0].text or "").strip() if quiet else "false"
    if len(quiet) > 1 or text not in ("true", "false", "1", "0"):
        raise S3Error("MalformedXML")
    return keys, text in ("true", "1")
