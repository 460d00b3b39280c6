"""Rates and windows as operators write them: 2MB/s, 08:00-18:00. In all rates 0 is "no limit".

The command line needs this, too, so it takes nothing that is slow to import.
"""

import re

RATE_MIN = 1_000
"""Bytes a second. Below, a request and its token take longer than anybody waits."""
RATE_MAX = 1_000_000_000_000
NONE = "none"
DAY_MINUTES = 24 * 60
_UNITS = {
    "B": 1,
    "kB": 1_000,
    "KB": 1_000,
    "MB": 1_000_000,
    "GB": 1_000_000_000,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "kbit": 125,
    "Kbit": 125,
    "Mbit": 125_000,
    "Gbit": 125_000_000,
}
_SHOWN = ("GB", "GiB", "MB", "MiB", "KiB", "KB")
"""The units that a rate is shown in, if it is a whole number of them, in this order."""
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]{1,4})(?:/s)?", re.ASCII)
_BETWEEN = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})", re.ASCII)


class InvalidRate(ValueError):
    """What was given is no rate or no window; the text says what would be."""


def parse_rate(text: str) -> int:
    """Bytes a second, 0 for `none`. InvalidRate."""
    if text == NONE:
        return 0
    found = _RATE.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise InvalidRate(
            f"{text[:40]!r} is no rate: a number and B, KB, MB, GB (thousands), KiB, MiB, GiB"
            " (1,024s), kbit, Mbit or Gbit, as 2MB/s or 300KiB/s; or none"
        )
    rate = round(float(found[1]) * _UNITS[found[2]])
    if not RATE_MIN <= rate <= RATE_MAX:
        raise InvalidRate(
            f"{text[:40]} is not from 1 KB/s to 1000 GB/s; to let nothing through:"
            " `farshore dc pause NAME`"
        )
    return rate


def shown_rate(rate: float) -> str:
    """As `parse_rate` takes it, if it is whole."""
    if not rate:
        return NONE
    for unit in _SHOWN:
        if not rate % _UNITS[unit]:
            return f"{rate / _UNITS[unit]:.0f} {unit}/s"
    return measured_rate(rate)


def measured_rate(rate: float) -> str:
    """With one decimal, in KiB or MiB."""
    unit = "MiB" if rate >= _UNITS["MiB"] else "KiB"
    return f"{rate / _UNITS[unit]:.1f} {unit}/s"


def parse_between(text: str) -> tuple[int, int]:
    """The start and the stop of a window, in minutes of the day. InvalidRate."""
    found = _BETWEEN.fullmatch(text)
    if found is None:
        raise InvalidRate(f"{text[:40]!r} is no window: HH:MM-HH:MM, as 08:00-18:00 or 22:00-06:00")
    hours, minutes = (int(found[1]), int(found[3])), (int(found[2]), int(found[4]))
    start, stop = (hour * 60 + minute for hour, minute in zip(hours, minutes, strict=True))
    if max(minutes) > 59 or start >= DAY_MINUTES or stop > DAY_MINUTES:
        raise InvalidRate(f"{text}: a day goes from 00:00 to 24:00")
    if start == stop % DAY_MINUTES:
        raise InvalidRate(f"{text}: that is no time, or all day; for all day leave --between out")
    return start, stop


def shown_between(start: int, stop: int) -> str:
    return "-".join(f"{one // 60:02}:{one % 60:02}" for one in (start, stop))
