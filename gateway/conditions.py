"""Conditions of requests: If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since.

They are evaluated in the order of RFC 9110, section 13.2.2: If-Match hides If-Unmodified-Since,
If-None-Match hides If-Modified-Since. A date that is none makes its header as if it were not
there. The same rules, under other names, guard the source of a copy; there, what would be "not
modified" is a failed precondition.

The conditions of a write are only read here: the name server looks at them, in the transaction that
makes the write (`dc/names/guards.py`).
"""

from msgspec.structs import replace
from multidict import MultiMapping

from dc.names.model import Condition, Version
from dc.stamps import stamp_ms
from gateway.dates import parse_http_date, parse_iso_date
from gateway.errors import S3Error, invalid_argument

_READ = ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since")
_COPY = tuple(
    f"x-amz-copy-source-{name}"
    for name in ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
)
_IGNORED_ON_WRITE = ("If-Modified-Since", "If-Unmodified-Since")
_MODIFIED = "x-amz-if-match-last-modified-time"
_SIZE = "x-amz-if-match-size"
_SIZE_DIGITS_MAX = 19


def check_read(headers: MultiMapping[str], version: Version) -> bool:
    """True when the client's copy is still good (304); PreconditionFailed; else False."""
    return _check(headers, version, _READ)


def check_copy(headers: MultiMapping[str], source: Version) -> None:
    """Raise PreconditionFailed when the source of a copy is not what the client meant."""
    if _check(headers, source, _COPY):
        raise S3Error("PreconditionFailed")


def write_condition(headers: MultiMapping[str]) -> Condition | None:
    """What the current version must be for a write to be made, None for anything. NotImplemented
    for what S3 does not do, for to ignore a condition would lose data."""
    for name in _IGNORED_ON_WRITE:
        if name in headers:
            raise S3Error(
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
                extra={"Header": name},
            )
    match, none_match = _etags(headers, "If-Match"), _etags(headers, "If-None-Match")
    return Condition(match=match, none_match=none_match) if match or none_match else None


def delete_condition(headers: MultiMapping[str]) -> Condition | None:
    """What must be there for a deletion to be made, None for anything. InvalidArgument."""
    condition = write_condition(headers)
    modified, size = headers.get(_MODIFIED), headers.get(_SIZE)
    if modified is None and size is None:
        return condition
    return replace(
        condition or Condition(),
        modified_s=None if modified is None else modified_second(modified, _MODIFIED),
        size=None if size is None else whole_number(size, _SIZE),
    )


def modified_second(text: str, name: str) -> int:
    """The second that a date of a condition names. InvalidArgument."""
    seconds = parse_http_date(text)
    if seconds is None:
        seconds = parse_iso_date(text)
    if seconds is None:
        raise invalid_argument(f"The value of {name} is no date.", name, text)
    return seconds


def whole_number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _SIZE_DIGITS_MAX:
        raise invalid_argument(f"The value of {name} is no size.", name, text)
    return int(text)


def etags_in(values: list[str]) -> tuple[str, ...]:
    """The ETags in the values of a header, without quotes."""
    items = (item.strip() for value in values for item in value.split(","))
    return tuple(item.removeprefix("W/").strip('"') for item in items)


def _etags(headers: MultiMapping[str], name: str) -> tuple[str, ...]:
    return etags_in(headers.getall(name)) if name in headers else ()


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
    etags = etags_in(values)
    return "*" in etags or etag in etags
