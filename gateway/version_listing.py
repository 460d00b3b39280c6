"""ListObjectVersions: versions and delete markers, newest first within a key.

What a page starts after is the key and the version id of the last one before it. A null version is
told there by the id that its stamp would make: so its place is known also when it is gone.
"""

from dc.names.model import Kind
from dc.names.pages import ListedVersion, VersionPage
from dc.read_through import reads_through
from gateway.context import Context
from gateway.dates import iso_date
from gateway.errors import invalid_argument
from gateway.limits import LIST_KEYS_MAX
from gateway.listing import checksum_elements, common_prefixes, number, wants_url_encoding
from gateway.merged_listing import Span
from gateway.merged_versions import After, merged_versions
from gateway.metadata import STANDARD
from gateway.owners import owner_xml
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.versioning import shown_id, vid_of
from gateway.xmltext import escape, key_writer, url_encode


async def list_versions(context: Context, request: Request) -> Reply:
    """A page of the versions of a bucket."""
    query = request.query
    url = wants_url_encoding(query)
    limit = number(query, "max-keys", LIST_KEYS_MAX, LIST_KEYS_MAX)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    key_marker, id_marker = query.get("key-marker", ""), query.get("version-id-marker")
    if id_marker is not None and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise invalid_argument(message, "version-id-marker", id_marker)
    after = (key_marker, None if not id_marker else vid_of(id_marker, "version-id-marker"))
    page = await _page(context, request, Span(request.bucket.id, prefix, delimiter, limit), after)
    encode = url_encode if url else escape
    owner = f"<Owner>{owner_xml(context.names.directory, request.bucket.owner)}</Owner>"
    head = f"<ListVersionsResult {XMLNS}><Name>{request.bucket.name}</Name>"
    head += f"<Prefix>{encode(prefix)}</Prefix><KeyMarker>{encode(key_marker)}</KeyMarker>"
    head += f"<VersionIdMarker>{escape(id_marker or '')}</VersionIdMarker>"
    if page.truncated:
        head += f"<NextKeyMarker>{encode(page.last_key)}</NextKeyMarker>"
        if page.last_vid is not None:
            head += f"<NextVersionIdMarker>{page.last_vid}</NextVersionIdMarker>"
    head += f"<MaxKeys>{limit}</MaxKeys>"
    if delimiter:
        head += f"<Delimiter>{encode(delimiter)}</Delimiter>"
    if url:
        head += "<EncodingType>url</EncodingType>"
    head += f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
    return xml_reply(f"{head}{''.join(_rows(owner, page, url))}</ListVersionsResult>")


async def _page(context: Context, request: Request, span: Span, after: After) -> VersionPage:
    if span.limit and reads_through(request.bucket):
        return await merged_versions(context, request, span, after)
    bucket_id, prefix, delimiter, limit = span
    return await context.names.list_versions(
        bucket_id, prefix=prefix, delimiter=delimiter, after=after, limit=limit
    )


def _rows(owner: str, page: VersionPage, url: bool) -> list[str]:
    write = key_writer([*[one.key for one in page.versions], *page.prefixes], url)
    rows = []
    for one in page.versions:
        key = one.key if write is None else write(one.key)
        rows.append(
            _version(one, key, owner) if one.kind is Kind.OBJECT else _marker(one, key, owner)
        )
    return rows + common_prefixes(page.prefixes, write)


def _version(one: ListedVersion, key: str, owner: str) -> str:
    checksum = checksum_elements(one.checksums, one.checksum_type) if one.checksums else ""
    return (
        f"<Version>{_common(one, key)}<ETag>&quot;{one.etag}&quot;</ETag>{checksum}"
        f"<Size>{one.size}</Size>"
        f"<StorageClass>{one.storage_class or STANDARD}</StorageClass>{owner}</Version>"
    )


def _marker(one: ListedVersion, key: str, owner: str) -> str:
    return f"<DeleteMarker>{_common(one, key)}{owner}</DeleteMarker>"


def _common(one: ListedVersion, key: str) -> str:
    return (
        f"<Key>{key}</Key><VersionId>{shown_id(one.vid)}</VersionId>"
        f"<IsLatest>{'true' if one.latest else 'false'}</IsLatest>"
        f"<LastModified>{iso_date(one.stamp)}</LastModified>"
    )
