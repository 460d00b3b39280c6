"""Whether the wall clock of this machine has gone back: nobody else tells.

Nothing breaks by it here: stamps go on from the last one, and what waits is measured by a clock
that only goes forward. But what is changed is stamped ahead of the wall clock until that has passed
the last stamp; clients whose clocks are right are refused when it is a quarter of an hour behind
them, and changes of other datacenters when it is a minute behind theirs. So it is said, once in the
log and in the status as long as it matters.

A clock that was wrong before and was set right goes back as well. Which of the two it was, only
people know.
"""

from collections.abc import Callable

import structlog

from dc.ports import Clock
from dc.stamps import MAX_SKEW_MS, Stamp, stamp_ms, utc_text

log = structlog.get_logger("clock")

EACH_SECONDS = 5.0
BACK_MS = 1_000
"""Less is not told: clocks that follow others are put right by this much."""


class ClockWatch:
    """`last`: the last stamp that was made or seen here. `step` is the work of a worker."""

    def __init__(self, clock: Clock, last: Callable[[], Stamp]) -> None:
        self._clock = clock
        self._last = last
        self._ahead_ms = self._ahead()
        self._told = ""
        self._told_at = 0
        ahead = self._stamps_ahead()
        # Others may have drawn the stamps ahead, by so much.
        if ahead > MAX_SKEW_MS:
            self._tell(f"it is {ahead / 1000:.0f} s behind the last change that was made here")

    def _ahead(self) -> int:
        """Of the clock that only goes forward, in ms: what it always is, unless it is set."""
        return self._clock.wall_ms() - int(self._clock.monotonic() * 1000)

    def _stamps_ahead(self) -> int:
        """By how much the last stamp is ahead, in ms."""
        return stamp_ms(self._last()) - self._clock.wall_ms()

    async def step(self) -> float:
        ahead = self._ahead()
        back = self._ahead_ms - ahead
        self._ahead_ms = ahead
        if back > BACK_MS:
            self._tell(f"it went back by {back / 1000:.0f} s")
        elif self._told and self._stamps_ahead() <= 0:
            log.info("the clock has passed the last change that was made before it went back")
            self._told = ""
        return EACH_SECONDS

    def _tell(self, what: str) -> None:
        self._told, self._told_at = what, self._clock.wall_ms()
        log.warning(
            "the clock went back: set it right, if it is wrong now",
            what=what,
            shows=utc_text(self._told_at),
            stamps_ahead_s=max(0, self._stamps_ahead()) / 1000,
        )

    def status(self) -> dict[str, str]:
        """For people."""
        if not self._told:
            return {"clock": "ok"}
        ahead = max(0, self._stamps_ahead()) / 1000
        return {
            "clock": f"{self._told} (seen when it showed {utc_text(self._told_at)}): changes are"
            f" stamped {ahead:.0f} s ahead of it. Set it right, if it is wrong now"
        }
