"""What clients say about objects in headers, and what is stored of it.

Values are stored only if they can be sent again: no control characters, valid UTF-8.
"""

from msgspec.structs import replace
from multidict import MultiMapping

from dc.names.model import Meta, Version
from dc.stamps import stamp_ms
from gateway.chunked import strip_aws_chunked
from gateway.dates import http_date
from gateway.errors import S3Error, invalid_argument
from gateway.limits import STORAGE_CLASSES, SYSTEM_METADATA_BYTES_MAX, USER_METADATA_BYTES_MAX
from gateway.reply import header_line
from gateway.tags import tags_in

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
_DEFAULT_TYPE_LINE = header_line("Content-Type", DEFAULT_CONTENT_TYPE)
_META_PREFIX = "x-amz-meta-"
STORAGE_CLASS = "x-amz-storage-class"
STANDARD = "STANDARD"
REDIRECT_LOCATION = "x-amz-website-redirect-location"
_REDIRECT_STARTS = ("/", "http://", "https://")
_STORED = (
    *("Cache-Control", "Content-Disposition", "Content-Language", "Expires"),
    REDIRECT_LOCATION,
)


def check_value(name: str, value: str) -> None:
    """Refuse a value that cannot be stored and sent again."""
    if value.isascii() and value.isprintable():
        return
    for char in value:
        if (char < " " and char != "\t") or char == "\x7f" or "\ud800" <= char <= "\udfff":
            raise S3Error(
                "InvalidArgument",
                "A header value holds characters that cannot be stored",
                extra={"ArgumentName": name},
            )


def read_meta(headers: MultiMapping[str], plain: bool = False) -> Meta:
    """What to store of a request's headers, without checksums. `plain`: see `gateway.headers`."""
    content_type = headers.get("Content-Type", "")
    if plain and not content_type:
        return Meta()
    stored: dict[str, str] = {}
    for name in _STORED:
        value = headers.get(name)
        if value:
            stored[name] = value
    if REDIRECT_LOCATION in stored and not stored[REDIRECT_LOCATION].startswith(_REDIRECT_STARTS):
        raise S3Error("InvalidRedirectLocation")
    if "Content-Encoding" in headers:
        encoding = strip_aws_chunked(", ".join(headers.getall("Content-Encoding")))
        if encoding:
            stored["Content-Encoding"] = encoding
    if stored or content_type:
        check_value("Content-Type", content_type)
        for name, value in stored.items():
            check_value(name, value)
        size = sum(map(len, stored.values())) + len(content_type)
        if size > SYSTEM_METADATA_BYTES_MAX:
            raise _too_large(size, SYSTEM_METADATA_BYTES_MAX)
    return Meta(
        storage_class=_read_class(headers),
        content_type=content_type,
        headers=stored,
        user=_read_user(headers),
    )


def _read_class(headers: MultiMapping[str]) -> str:
    """The storage class, "" for STANDARD. InvalidStorageClass."""
    text = headers.get(STORAGE_CLASS, STANDARD)
    if text not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass")
    return "" if text == STANDARD else text


def copied_meta(meta: Meta, headers: MultiMapping[str]) -> Meta:
    """What a copy keeps of its source's: all but the storage class and where a website's visitors
    are sent, which each copy says anew."""
    if (storage_class := _read_class(headers)) != meta.storage_class:
        meta = replace(meta, storage_class=storage_class)
    if REDIRECT_LOCATION not in meta.headers and REDIRECT_LOCATION not in headers:
        return meta
    kept = {name: text for name, text in meta.headers.items() if name != REDIRECT_LOCATION}
    said = read_meta(headers).headers
    if REDIRECT_LOCATION in said:
        kept[REDIRECT_LOCATION] = said[REDIRECT_LOCATION]
    return replace(meta, headers=kept)


def _read_user(headers: MultiMapping[str]) -> dict[str, str]:
    user: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(_META_PREFIX):
            check_value(name, value)
            short = lower[len(_META_PREFIX) :]
            if not short:
                raise invalid_argument("A metadata header has no name", name, value)
            user[short] = f"{user[short]},{value}" if short in user else value
    if user:
        size = sum(len(name) + len(value.encode()) for name, value in user.items())
        if size > USER_METADATA_BYTES_MAX:
            raise _too_large(size, USER_METADATA_BYTES_MAX)
    return user


def _too_large(size: int, most: int) -> S3Error:
    return S3Error("MetadataTooLarge", extra={"Size": str(size), "MaxSizeAllowed": str(most)})


def object_head(version: Version) -> str:
    """The header lines that tell of an object, in answers to GET and HEAD."""
    meta = version.meta
    head = (
        f'ETag: "{version.etag}"\r\nLast-Modified: {http_date(stamp_ms(version.stamp) // 1000)}\r\n'
        "Accept-Ranges: bytes\r\n"
    )
    kind = meta.content_type
    head += header_line("Content-Type", kind) if kind else _DEFAULT_TYPE_LINE
    for name, value in meta.headers.items():
        head += header_line(name, value)
    for name, value in meta.user.items():
        head += header_line(_META_PREFIX + name, value)
    if meta.storage_class:
        head += header_line(STORAGE_CLASS, meta.storage_class)
    if version.registers and (count := len(tags_in(version.registers))):
        head += f"x-amz-tagging-count: {count}\r\n"
    return head
