"""What clients say about objects in headers: which headers are known, what is stored of them.

Deny by default: an `x-amz-*` header that is not known here is refused with NotImplemented, since it
may ask for something that matters (encryption, a lock, a grant) and would be ignored otherwise.
Values are stored only if they can be sent again: no control characters, valid UTF-8.
"""

from multidict import MultiMapping

from dc.names.model import Meta, Version
from dc.stamps import stamp_ms
from gateway.chunked import strip_aws_chunked
from gateway.dates import http_date
from gateway.errors import S3Error, invalid_argument
from gateway.limits import SYSTEM_METADATA_BYTES_MAX, USER_METADATA_BYTES_MAX
from gateway.reply import header_line

DEFAULT_CONTENT_TYPE = "binary/octet-stream"
_META_PREFIX = "x-amz-meta-"
_STORED = ("Cache-Control", "Content-Disposition", "Content-Language", "Expires")

_PLAIN = frozenset(
    (
        *("host", "content-length", "content-type", "user-agent", "accept", "accept-encoding"),
        *("authorization", "x-amz-date", "x-amz-content-sha256", "connection", "date"),
        *("amz-sdk-invocation-id", "amz-sdk-request", "expect"),
    )
)
_KNOWN = frozenset(
    f"x-amz-{name}"
    for name in (
        "decoded-content-length",
        "trailer",
        "sdk-checksum-algorithm",
        "user-agent",
        "security-token",
        "request-payer",
        "copy-source",
        "copy-source-range",
        "copy-source-if-match",
        "copy-source-if-none-match",
        "copy-source-if-modified-since",
        "copy-source-if-unmodified-since",
        "metadata-directive",
        "if-match-last-modified-time",
        "if-match-size",
        "expected-bucket-owner",
        "source-expected-bucket-owner",
        "mp-object-size",
        "optional-object-attributes",
        "object-attributes",
        "max-parts",
        "part-number-marker",
    )
)
_KNOWN_PREFIXES = (_META_PREFIX, "x-amz-checksum-")
# What may be said, because it is so anyway.
_ALLOWED: dict[str, tuple[str, ...]] = {
    "x-amz-acl": ("private", "bucket-owner-full-control"),
    "x-amz-object-ownership": ("BucketOwnerEnforced",),
    "x-amz-bucket-object-lock-enabled": ("false",),
    "x-amz-bypass-governance-retention": ("false",),
    "x-amz-tagging-directive": ("COPY",),
    "x-amz-storage-class": ("STANDARD",),
    "x-amz-server-side-encryption-bucket-key-enabled": ("false",),
}


def check_headers(headers: MultiMapping[str]) -> bool:
    """Refuse the x-amz-* headers that this gateway does not know or cannot follow.

    True when all headers are of those that nearly every request has and that say nothing about an
    object: then operations need not look for what else might be there.
    """
    plain = True
    for name in headers:
        lower = name.lower()
        if lower in _PLAIN:
            continue
        plain = False
        if not lower.startswith("x-amz-"):
            continue
        if lower in _KNOWN or lower.startswith(_KNOWN_PREFIXES):
            continue
        allowed = _ALLOWED.get(lower)
        if allowed is None or any(value not in allowed for value in headers.getall(name)):
            if lower == "x-amz-storage-class":
                raise S3Error("InvalidStorageClass")
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                extra={"Header": name},
            )
    return plain


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
    """What to store of a request's headers, without checksums. `plain`: see `check_headers`."""
    content_type = headers.get("Content-Type", "")
    if plain and not content_type:
        return Meta()
    stored: dict[str, str] = {}
    for name in _STORED:
        value = headers.get(name)
        if value:
            stored[name] = value
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
    return Meta(content_type=content_type, headers=stored, user=_read_user(headers))


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
    head += header_line("Content-Type", meta.content_type or DEFAULT_CONTENT_TYPE)
    for name, value in meta.headers.items():
        head += header_line(name, value)
    for name, value in meta.user.items():
        head += header_line(_META_PREFIX + name, value)
    return head
