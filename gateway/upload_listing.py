"""ListMultipartUploads: by key, then by upload id, with common prefixes as in other listings."""

from dc.names.api import Directory
from dc.names.model import Upload
from gateway.access.acl import owner_in
from gateway.context import Context
from gateway.dates import iso_date
from gateway.limits import LIST_KEYS_MAX
from gateway.listing import common_prefixes, number, wants_url_encoding
from gateway.metadata import STANDARD
from gateway.owners import owner_xml
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.xmltext import escape, url_encode

_LAST_CHAR = "\U0010ffff"
_READ_LIMIT = LIST_KEYS_MAX + 1


async def list_uploads(context: Context, request: Request) -> Reply:
    """A page of the uploads in progress of a bucket."""
    query = request.query
    url = wants_url_encoding(query)
    limit = number(query, "max-uploads", LIST_KEYS_MAX, LIST_KEYS_MAX)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker = query.get("key-marker", "")
    id_marker = query.get("upload-id-marker", "") if key_marker else ""
    after = (key_marker, id_marker)
    if key_marker and not id_marker:
        after = (key_marker, _LAST_CHAR)
    if delimiter and key_marker.startswith(prefix) and key_marker.endswith(delimiter):
        after = (key_marker + _LAST_CHAR, "")
    found, prefixes, last, truncated = await _page(
        context, request.bucket.id, prefix, delimiter, after, limit
    )
    encode = url_encode if url else escape
    directory, owner = context.names.directory, request.bucket.owner
    rows = "".join(_row(directory, owner, upload, encode(upload.key)) for upload in found)
    rows += "".join(common_prefixes(prefixes, encode))
    markers = f"<KeyMarker>{encode(key_marker)}</KeyMarker>"
    markers += f"<UploadIdMarker>{escape(id_marker)}</UploadIdMarker>"
    if truncated:
        markers += f"<NextKeyMarker>{encode(last[0])}</NextKeyMarker>"
        markers += f"<NextUploadIdMarker>{last[1]}</NextUploadIdMarker>"
    return xml_reply(
        f"<ListMultipartUploadsResult {XMLNS}><Bucket>{request.bucket.name}</Bucket>{markers}"
        f"<Prefix>{encode(prefix)}</Prefix>"
        f"{f'<Delimiter>{encode(delimiter)}</Delimiter>' if delimiter else ''}"
        f"{'<EncodingType>url</EncodingType>' if url else ''}<MaxUploads>{limit}</MaxUploads>"
        f"<IsTruncated>{'true' if truncated else 'false'}</IsTruncated>"
        f"{rows}</ListMultipartUploadsResult>"
    )


def _row(directory: Directory, bucket_owner: str, upload: Upload, key: str) -> str:
    checksum = ""
    if upload.checksum_algorithm:
        checksum = f"<ChecksumAlgorithm>{upload.checksum_algorithm}</ChecksumAlgorithm>"
        checksum += f"<ChecksumType>{upload.checksum_type}</ChecksumType>"
    initiator = owner_xml(directory, upload.owner)
    owner = owner_xml(directory, owner_in(upload.attributes, bucket_owner))
    return (
        f"<Upload><Key>{key}</Key><UploadId>{upload.id}</UploadId>"
        f"<Initiator>{initiator}</Initiator><Owner>{owner}</Owner>"
        f"<StorageClass>{upload.meta.storage_class or STANDARD}</StorageClass>"
        f"<Initiated>{iso_date(upload.started)}</Initiated>"
        f"{checksum}</Upload>"
    )


async def _page(
    context: Context,
    bucket: str,
    prefix: str,
    delimiter: str,
    after: tuple[str, str],
    limit: int,
) -> tuple[list[Upload], list[str], tuple[str, str], bool]:
    """Uploads, common prefixes, where the next page starts, and whether there is one. A common
    prefix is stepped over, not read through."""
    found: list[Upload] = []
    prefixes: list[str] = []
    last = after
    while limit:
        batch = await context.names.uploads(bucket, prefix=prefix, after=after, limit=_READ_LIMIT)
        stepped = False
        for upload in batch:
            if len(found) + len(prefixes) == limit:
                return found, prefixes, last, True
            end = upload.key.find(delimiter, len(prefix)) if delimiter else -1
            if end >= 0:
                common = upload.key[: end + len(delimiter)]
                prefixes.append(common)
                last, after, stepped = (common, ""), (common + _LAST_CHAR, ""), True
                break
            found.append(upload)
            last = after = (upload.key, upload.id)
        if not stepped and len(batch) < _READ_LIMIT:
            break
    return found, prefixes, last, False
