"""Stamps: the order of all changes in all datacenters, by a hybrid logical clock (HLC).

A stamp is `(physical milliseconds, counter, origin DC)` written as 32 lowercase hex digits: 12 of
milliseconds, 4 of counter, 16 of the DC's id. Written so, stamps sort as text in the order of
time, ties of time are broken by the DC's id, and every DC sorts them alike. No two changes ever
have the same stamp.

The clock never goes back: a new stamp is `max(physical, last + 1)`. It moves past every stamp that
it has seen from elsewhere, so a change always has a later stamp than what its DC knew before it.
But a stamp too far in the future is refused (`StampAhead`) instead of dragging this clock along.

A version id is the stamp with every hex digit complemented, so that newest sorts first.

Source: Kulkarni et al., "Logical Physical Clocks" (2014).
"""

from datetime import UTC, datetime

from dc.ports import Clock

Stamp = str

NO_STAMP: Stamp = ""
NO_DC = "0" * 16
"""The origin of stamps that no DC made."""
MAX_SKEW_MS = 60_000
STAMP_LENGTH = 32
_COMPLEMENT = str.maketrans("0123456789abcdef", "fedcba9876543210")
_HEX = frozenset("0123456789abcdef")


class StampAhead(Exception):
    """A stamp from elsewhere is further ahead of the local clock than is allowed."""

    def __init__(self, stamp: Stamp, ahead_ms: int) -> None:
        super().__init__(
            f"stamp {stamp} is {ahead_ms / 1000:.1f} s ahead of this clock "
            f"(at most {MAX_SKEW_MS // 1000} s): set the clocks of both datacenters"
        )
        self.ahead_ms = ahead_ms


def is_stamp(text: str) -> bool:
    return len(text) == STAMP_LENGTH and _HEX.issuperset(text)


def stamp_ms(stamp: Stamp) -> int:
    """Milliseconds since 1970 of a stamp."""
    return int(stamp[:12], 16)


def utc_text(milliseconds: int) -> str:
    """Milliseconds since 1970 as 2026-11-30T10:15:30.123Z. ValueError, OverflowError, OSError for
    what is no time."""
    seconds, rest = divmod(milliseconds, 1000)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{rest:03}Z"


def stamp_origin(stamp: Stamp) -> str:
    """The id of the DC that made the change."""
    return stamp[16:]


def stamp_after(stamp: Stamp, dc_id: str = "") -> Stamp:
    """The first moment after a stamp, in the name of a DC, or of the same one."""
    return f"{int(stamp[:16], 16) + 1:016x}{dc_id or stamp_origin(stamp)}"


def version_id(stamp: Stamp) -> str:
    """The S3 version id of a version with this stamp: 32 hex digits, newest first in text order."""
    return stamp.translate(_COMPLEMENT)


def version_stamp(vid: str) -> Stamp:
    """The stamp of a version id."""
    return vid.translate(_COMPLEMENT)


class HybridClock:
    """The source of this DC's stamps. Not thread-safe: it belongs to the event loop's thread.

    `last` must be set, at start, to the largest stamp this DC has stored: that is what makes the
    clock survive restarts and wall clocks that went back.
    """

    def __init__(self, clock: Clock, dc_id: str, last: Stamp = NO_STAMP) -> None:
        self._clock = clock
        self._dc_id = dc_id
        self._last = int(last[:16], 16) if last else 0

    @property
    def last(self) -> Stamp:
        """The last moment made or observed here, as a stamp: what to store."""
        return f"{self._last:016x}{self._dc_id}"

    def now(self) -> Stamp:
        """A new stamp, later than every stamp made or observed here before."""
        physical = self._clock.wall_ms() << 16
        self._last = physical if physical > self._last else self._last + 1
        return f"{self._last:016x}{self._dc_id}"

    def skip(self, count: int) -> None:
        """Leave out so many stamps. A DC that starts may have been put back to an old state, and
        other DCs may have drawn its stamps ahead of its wall clock before: those that it made then
        come next. By chance it makes none of them twice."""
        self._last += count

    def resume(self, stamp: Stamp) -> None:
        """Move past a stamp that was stored here before, however far ahead it is."""
        self._last = max(self._last, int(stamp[:16], 16))

    def check(self, stamp: Stamp) -> None:
        """Raise StampAhead when `stamp` is too far in the future to be let in. What this clock has
        passed already it lets in, also when the wall clock was set back since."""
        ahead = stamp_ms(stamp) - self._clock.wall_ms()
        if ahead > MAX_SKEW_MS and int(stamp[:16], 16) > self._last:
            raise StampAhead(stamp, ahead)

    def observe(self, stamp: Stamp) -> None:
        """Move past a stamp that came from elsewhere; StampAhead when it is too far ahead."""
        self.check(stamp)
        self._last = max(self._last, int(stamp[:16], 16))
