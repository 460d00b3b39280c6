"""Durations as operators write them: 30d, 12h, 90m, 45s."""

import re

_DURATION = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_duration(text: str) -> int:
    """Milliseconds; ValueError for what is no duration."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:80]!r} is no duration, for instance 30d, 12h, 90m or 45s")
    return int(found[1]) * _UNITS_MS[found[2]]
