"""How fast bytes may go between this datacenter and a peer, as operators say it.

A `Limit` is of one direction: a rate for the whole day, and rates for windows of it. A window has
the minutes of a day from its start up to its end, without that one, and may go over midnight. While
one holds, its rate counts and not that of the day; where several overlap, the lowest. In all rates
0 is "no limit".

Which minute it is, is looked up anew each time: so a clock that jumps, and one that is put forward
in spring, change at once what holds, and nothing has to be remembered.
"""

import datetime
from collections.abc import Iterable

import msgspec

from dc.rate_text import InvalidRate, shown_between

WINDOWS_MAX = 16


class Window(msgspec.Struct, frozen=True):
    """A rate for the minutes of a day from `start` up to `stop`, which may be on the next day."""

    start: int
    stop: int
    rate: int

    def holds(self, minute: int) -> bool:
        if self.start < self.stop:
            return self.start <= minute < self.stop
        return minute >= self.start or minute < self.stop

    @property
    def between(self) -> str:
        return shown_between(self.start, self.stop)


class Limit(msgspec.Struct, frozen=True):
    """Of one direction: bytes a second."""

    rate: int = 0
    windows: tuple[Window, ...] = ()

    def at(self, minute: int) -> int:
        """What holds in a minute of the day."""
        rates = [window.rate for window in self.windows if window.holds(minute)]
        return min(filter(None, rates), default=0) if rates else self.rate

    def changed(self, rate: int, spans: Iterable[tuple[int, int]]) -> "Limit":
        """With this rate in these windows (start and stop); without any, for the rest of the day,
        and no limit for the rest of the day ends all windows, too. InvalidRate when they are too
        many."""
        spans = list(spans)
        if not spans:
            return msgspec.structs.replace(self, rate=rate) if rate else Limit()
        kept = [one for one in self.windows if (one.start, one.stop) not in spans]
        windows = sorted(
            [*kept, *(Window(*span, rate) for span in dict.fromkeys(spans))],
            key=lambda one: (one.start, one.stop),
        )
        if len(windows) > WINDOWS_MAX:
            raise InvalidRate(
                f"these would be {len(windows)} windows, and there may be {WINDOWS_MAX} for a"
                " direction; `farshore dc limit NAME none` takes all of them away"
            )
        return Limit(self.rate, tuple(windows))


class Terms(msgspec.Struct, frozen=True):
    """What was set for one peer: the limit of what comes from it, and of what goes to it; and
    since when (milliseconds since 1970) it is paused, 0 if it is not."""

    into: Limit = Limit()
    out: Limit = Limit()
    paused_ms: int = 0


def minute_of_day(wall_ms: int, zone: datetime.tzinfo | None) -> int:
    """In a time zone; None is that of the machine."""
    moment = datetime.datetime.fromtimestamp(wall_ms / 1000, datetime.UTC).astimezone(zone)
    return moment.hour * 60 + moment.minute
