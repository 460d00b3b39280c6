"""Conditional reads: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since.

They are evaluated in the order of RFC 9110, section 13.2.2: If-Match hides If-Unmodified-Since,
If-None-Match hides If-Modified-Since. A date that is none makes its header as if it were not
there. The same rules, under other names, guard the source of a copy; there, what would be "not
modified" is a failed precondition.
"""

from multidict import MultiMapping

from dc.names.model import Version
from dc.stamps import stamp_ms
from gateway.dates import parse_http_date
from gateway.errors import S3Error

_READ = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_COPY = tuple(
    f"x-amz-copy-source-{name}"
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
)
_WRITE = (
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
)


def check_read(headers: MultiMapping[str], version: Version) -> bool:
    """True when the client's copy is still good (304); PreconditionFailed; else False."""
    return _check(headers, version, _READ)


def check_copy(headers: MultiMapping[str], source: Version) -> None:
    """Raise PreconditionFailed when the source of a copy is not what the client meant."""
    if _check(headers, source, _COPY):
        raise S3Error("PreconditionFailed")


def refuse_on_write(headers: MultiMapping[str]) -> None:
    """Conditional writes are not done yet; to ignore a condition would lose data."""
    for name in _WRITE:
        if name in headers:
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                extra={"Header": name},
            )


def _check(headers: MultiMapping[str], version: Version, names: tuple[str, ...]) -> bool:
    match, none_match, modified, unmodified = names
    seconds = stamp_ms(version.stamp) // 1000
    if match in headers:
        if not _has_etag(headers.getall(match), version.etag):
            raise S3Error("PreconditionFailed", extra={"Condition": match})
    elif (since := _date(headers, unmodified)) is not None and seconds > since:
        raise S3Error("PreconditionFailed", extra={"Condition": unmodified})
    if none_match in headers:
        return _has_etag(headers.getall(none_match), version.etag)
    since = _date(headers, modified)
    return since is not None and seconds <= since


def _date(headers: MultiMapping[str], name: str) -> int | None:
    text = headers.get(name)
    return None if text is None else parse_http_date(text)


def _has_etag(values: list[str], etag: str) -> bool:
    for value in values:
        for item in value.split(","):
            text = item.strip()
            if text == "*" or text.removeprefix("W/").strip('"') == etag:
                return True
    return False
