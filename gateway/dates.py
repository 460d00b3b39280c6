"""Dates as S3 writes them: ISO 8601 with milliseconds in XML, IMF-fixdate in headers; and as it
reads them, in headers and signatures.

What is written is made once for each second and kept: a listing shows a thousand of them, and most
requests of one second answer with the same one.
"""

import time
from calendar import timegm
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime, parsedate_tz
from functools import lru_cache

from dc.stamps import Stamp

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE_CHARS_MAX = 40
MILLISECONDS = tuple(f"{ms:03d}Z" for ms in range(1000))


@lru_cache(maxsize=4096)
def http_date(seconds: int) -> str:
    """Epoch seconds as IMF-fixdate (RFC 9110, section 5.6.7)."""
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(seconds)
    return (
        f"{_DAYS[weekday]}, {day:02d} {_MONTHS[month - 1]} {year:04d} "
        f"{hour:02d}:{minute:02d}:{second:02d} GMT"
    )


@lru_cache(maxsize=4096)
def iso_second(seconds: int) -> str:
    """The first part of an ISO 8601 instant; one of `MILLISECONDS` is the second."""
    year, month, day, hour, minute, second, _, _, _ = time.gmtime(seconds)
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}."


def iso_date(stamp: Stamp) -> str:
    """The time of a stamp, 2024-01-31T12:00:00.000Z."""
    return iso_ms(int(stamp[:12], 16))


def parse_http_date(text: str) -> int | None:
    """Epoch seconds of any date that HTTP allows, None when it is none."""
    if len(text) > _DATE_CHARS_MAX:
        return None
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    try:
        return int(when.timestamp())
    except (OverflowError, ValueError):
        return None


def parse_timestamp(text: str) -> int | None:
    """Epoch seconds of a basic ISO 8601 instant, 20130524T000000Z; None when it is none."""
    return _instant(text) if len(text) == 16 else None


@lru_cache(maxsize=1024)
def _instant(text: str) -> int | None:
    digits = text[:8] + text[9:15]
    if text[8] != "T" or text[15] != "Z" or not ascii_digits(digits):
        return None
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    try:
        when = datetime(year, month, day, int(text[9:11]), int(text[11:13]), int(text[13:15]))
    except ValueError:
        return None
    return timegm(when.timetuple())


def ascii_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def timestamp_of_date(text: str) -> str | None:
    """A Date header, in any usual format, as a basic ISO 8601 instant; None when it is no date."""
    if len(text) > 40 or parse_timestamp(text) is not None:
        return text
    try:
        parsed = parsedate_tz(text)
        if parsed is None:
            return None
        when = datetime(*parsed[:6], tzinfo=UTC) - timedelta(seconds=parsed[9] or 0)
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
    return f"{when.year:04d}{when:%m%dT%H%M%SZ}"


def iso_time(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_iso_ms(text: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 instant, None when it is none."""
    if len(text) > _DATE_CHARS_MAX:
        return None
    try:
        when = datetime.fromisoformat(text.strip())
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
        return round(when.timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def parse_iso_date(text: str) -> int | None:
    """The same in seconds."""
    ms = parse_iso_ms(text)
    return None if ms is None else ms // 1000


def iso_ms(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601."""
    return iso_second(ms // 1000) + MILLISECONDS[ms % 1000]
