"""Single values between text and Python: numbers, booleans, dates in three forms, enums.

A value that is none makes ValueError; who reads knows which error of S3 that is.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

from gateway.model.shapes import Shape

_INT_CHARS_MAX = 20
_DATE_CHARS_MAX = 40
_LIMITS = {"integer": 1 << 31, "long": 1 << 63}
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_OPEN_ENUMS = frozenset(
    (
        *("BucketCannedACL", "BucketLocationConstraint", "ChecksumAlgorithm", "ChecksumType"),
        "ObjectCannedACL",
    )
)
"""Those where more is understood than the model names: other regions, other case."""

Reader = Callable[[str], Any]


def reader_of(name: str, shape: Shape, default_format: str) -> Reader:
    """What reads a value of a shape. `default_format` is of timestamps without one of their own."""
    kind = shape.type
    if kind == "string":
        if not shape.enum or name in _OPEN_ENUMS:
            return str
        return _enum_reader(frozenset(shape.enum))
    if kind in _LIMITS:
        return _integer_reader(_LIMITS[kind])
    if kind == "boolean":
        return _boolean
    if kind == "timestamp":
        rfc822 = (shape.timestamp_format or default_format) == "rfc822"
        return _http_date if rfc822 else _iso_date
    return str


def _enum_reader(known: frozenset[str]) -> Reader:
    def read(text: str) -> str:
        text = text.strip()
        if text not in known:
            raise ValueError
        return text

    return read


def _integer_reader(limit: int) -> Reader:
    def read(text: str) -> int:
        text = text.strip()
        if len(text) > _INT_CHARS_MAX or not text.removeprefix("-").isdecimal():
            raise ValueError
        number = int(text) if text.isascii() else limit
        if not -limit <= number < limit:
            raise ValueError
        return number

    return read


def _boolean(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError from None


def _iso_date(text: str) -> datetime:
    text = text.strip()
    if len(text) > _DATE_CHARS_MAX:
        raise ValueError
    return _utc(datetime.fromisoformat(text))


def _http_date(text: str) -> datetime:
    if len(text) > _DATE_CHARS_MAX:
        raise ValueError
    try:
        return _utc(parsedate_to_datetime(text))
    except TypeError:
        raise ValueError from None


def _utc(when: datetime) -> datetime:
    try:
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def iso_text(when: datetime) -> str:
    """2024-01-31T12:00:00.000Z"""
    when = when.astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z".rjust(24, "0")


def text_of(value: Any, date_format: str) -> str:
    """A value as it stands in a header or an element."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        if date_format == "rfc822":
            return format_datetime(value.astimezone(UTC), usegmt=True)
        return iso_text(value)
    return str(value)
