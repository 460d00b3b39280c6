"""ListObjects, versions 1 and 2.

A page costs the page: the name servers seek to where it starts. What is built here for each key is
one f-string; keys are escaped only when one of the page needs it.

The continuation token is the last key or common prefix of the page before, with a checksum, so
that one that was cut or made up is refused instead of being taken for a place to start.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from zlib import crc32

from dc.names.pages import Listed, Page
from dc.read_through import READ_THROUGH, reads_through
from dc.stamps import stamp_ms
from gateway.context import Context
from gateway.dates import MILLISECONDS, iso_second
from gateway.errors import S3Error
from gateway.limits import LIST_KEYS_MAX
from gateway.merged_listing import Span, merged_page
from gateway.owners import owner_xml
from gateway.reply import XMLNS, Reply, xml_reply
from gateway.request import Request
from gateway.xmltext import escape, key_writer, url_encode

_TOKEN_CHARS_MAX = 2048
_NUMBER_CHARS_MAX = 9


def number(query: dict[str, str], name: str, default: int, most: int) -> int:
    """A count in the query, at most `most`. InvalidArgument."""
    text = query.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_CHARS_MAX:
        raise S3Error(
            "InvalidArgument",
            f"Argument {name} must be an integer between 0 and 2147483647",
            extra={"ArgumentName": name, "ArgumentValue": text},
        )
    return min(int(text), most)


def wants_url_encoding(query: dict[str, str]) -> bool:
    text = query.get("encoding-type")
    if text is None or text == "":
        return False
    if text != "url":
        raise S3Error(
            "InvalidArgument",
            "Invalid Encoding Method specified in Request",
            extra={"ArgumentName": "encoding-type", "ArgumentValue": text},
        )
    return True


def make_token(last: str) -> str:
    raw = last.encode()
    return urlsafe_b64encode(crc32(raw).to_bytes(4, "big") + raw).decode()


def read_token(token: str) -> str:
    """The key or prefix in a continuation token. InvalidArgument."""
    try:
        if len(token) > _TOKEN_CHARS_MAX:
            raise ValueError
        raw = urlsafe_b64decode(token.encode("ascii"))
        if len(raw) < 5 or crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
            raise ValueError
        return raw[4:].decode()
    except ValueError:
        raise S3Error(
            "InvalidArgument",
            "The continuation token provided is incorrect",
            extra={"ArgumentName": "continuation-token"},
        ) from None


async def list_objects(context: Context, request: Request) -> Reply:
    """A page of the current objects of a bucket."""
    version = request.query.get("list-type")
    if version is None:
        return await _list_v1(context, request)
    if version != "2":
        raise S3Error("InvalidArgument", extra={"ArgumentName": "list-type"})
    return await _list_v2(context, request)


async def _page(
    context: Context, request: Request, prefix: str, delimiter: str, after: str, limit: int
) -> Page:
    if limit == 0:
        return Page([], [], False, "")
    if READ_THROUGH in request.bucket.registers and reads_through(request.bucket):
        span = Span(request.bucket.id, prefix, delimiter, limit)
        return await merged_page(context, request, span, after)
    return await context.names.list_objects(
        request.bucket.id, prefix=prefix, delimiter=delimiter, after=after, limit=limit
    )


async def _list_v1(context: Context, request: Request) -> Reply:
    query = request.query
    url = wants_url_encoding(query)
    limit = number(query, "max-keys", LIST_KEYS_MAX, LIST_KEYS_MAX)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    marker = query.get("marker", "")
    page = await _page(context, request, prefix, delimiter, marker, limit)
    encode = url_encode if url else escape
    extra = f"<Marker>{encode(marker)}</Marker>"
    if page.truncated and (delimiter or reads_through(request.bucket)):
        # A merged page may be empty, or end after its last key.
        extra += f"<NextMarker>{encode(page.last)}</NextMarker>"
    owner = _owner(context, request)
    return _result(request, page, extra, owner, prefix, delimiter, limit, url)


async def _list_v2(context: Context, request: Request) -> Reply:
    query = request.query
    url = wants_url_encoding(query)
    limit = number(query, "max-keys", LIST_KEYS_MAX, LIST_KEYS_MAX)
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    start_after, token = query.get("start-after", ""), query.get("continuation-token")
    after = read_token(token) if token else start_after
    page = await _page(context, request, prefix, delimiter, after, limit)
    encode = url_encode if url else escape
    extra = f"<KeyCount>{len(page.objects) + len(page.prefixes)}</KeyCount>"
    if token is not None:
        extra += f"<ContinuationToken>{escape(token)}</ContinuationToken>"
    if start_after:
        extra += f"<StartAfter>{encode(start_after)}</StartAfter>"
    if page.truncated:
        extra += f"<NextContinuationToken>{make_token(page.last)}</NextContinuationToken>"
    owner = ""
    if query.get("fetch-owner") == "true":
        owner = _owner(context, request)
    return _result(request, page, extra, owner, prefix, delimiter, limit, url)


def _owner(context: Context, request: Request) -> str:
    return f"<Owner>{owner_xml(context.names.directory, request.bucket.owner)}</Owner>"


def _result(
    request: Request,
    page: Page,
    extra: str,
    owner: str,
    prefix: str,
    delimiter: str,
    limit: int,
    url: bool,
) -> Reply:
    encode = url_encode if url else escape
    write = key_writer([*[listed.key for listed in page.objects], *page.prefixes], url)
    head = f"<ListBucketResult {XMLNS}><Name>{request.bucket.name}</Name>"
    head += f"<Prefix>{encode(prefix)}</Prefix>"
    if delimiter:
        head += f"<Delimiter>{encode(delimiter)}</Delimiter>"
    if url:
        head += "<EncodingType>url</EncodingType>"
    head += f"<MaxKeys>{limit}</MaxKeys>{extra}"
    head += f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>"
    rows = _contents(page.objects, owner, write)
    rows.extend(common_prefixes(page.prefixes, write))
    return xml_reply(f"{head}{''.join(rows)}</ListBucketResult>")


def _contents(objects: list[Listed], owner: str, write: Callable[[str], str] | None) -> list[str]:
    """A row for each object. What is the same for a run of them is made once."""
    rows: list[str] = []
    last_second, second_text = -1, ""
    tail = f"{owner}<StorageClass>STANDARD</StorageClass></Contents>"
    for listed in objects:
        ms = stamp_ms(listed.stamp)
        second = ms // 1000
        if second != last_second:
            last_second, second_text = second, iso_second(second)
        key = listed.key if write is None else write(listed.key)
        checksum, end = "", tail
        if listed.checksums:
            checksum = checksum_elements(listed.checksums, listed.checksum_type)
        if listed.storage_class:
            end = f"{owner}<StorageClass>{listed.storage_class}</StorageClass></Contents>"
        rows.append(
            f"<Contents><Key>{key}</Key><LastModified>{second_text}{MILLISECONDS[ms % 1000]}"
            f"</LastModified><ETag>&quot;{listed.etag}&quot;</ETag><Size>{listed.size}</Size>"
            f"{checksum}{end}"
        )
    return rows


def common_prefixes(prefixes: list[str], write: Callable[[str], str] | None) -> list[str]:
    return [
        "<CommonPrefixes><Prefix>"
        f"{prefix if write is None else write(prefix)}</Prefix></CommonPrefixes>"
        for prefix in prefixes
    ]


def checksum_elements(checksums: dict[str, str], kind: str) -> str:
    """Which checksums an object has."""
    names = "".join(f"<ChecksumAlgorithm>{name.upper()}</ChecksumAlgorithm>" for name in checksums)
    return f"{names}<ChecksumType>{kind}</ChecksumType>"
