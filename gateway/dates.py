"""Dates as S3 writes them: ISO 8601 with milliseconds in XML, IMF-fixdate in headers.

Both are made once for each second and kept: a listing shows a thousand of them, and most requests
of one second answer with the same one.
"""

import time
from datetime import UTC
from email.utils import parsedate_to_datetime
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
    seconds, ms = divmod(int(stamp[:12], 16), 1000)
    return iso_second(seconds) + MILLISECONDS[ms]


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
