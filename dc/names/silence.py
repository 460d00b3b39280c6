"""For how long somebody has not been heard of, with clocks that may be set meanwhile.

What was heard since the start is measured by the clock that only goes forward: a wall clock that is
set ahead for a moment makes nobody absent. Of what was stored before the start there is only the
wall clock's word. A time that has not come is of a clock that was ahead, or this one is behind now:
then the silence began with the start at the latest, so it ends. And since a machine may start with
a wrong clock, nobody is absent in the first minutes.
"""

from dc.ports import Clock

START_SECONDS = 600.0
"""By then clocks are set, and whoever is there has been heard of."""


class Silence:
    """By the names of those who are heard of."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began, self._began_ms = clock.monotonic(), clock.wall_ms()
        self._heard: dict[str, float] = {}

    def heard(self, who: str) -> None:
        """They have said something."""
        self._heard[who] = self._clock.monotonic()

    def before(self, most_ms: int) -> int:
        """The wall clock's time so long ago, however far ahead it was set since the start."""
        life_ms = int((self._clock.monotonic() - self._began) * 1000)
        return max(0, min(self._clock.wall_ms(), self._began_ms + life_ms) - most_ms)

    def is_longer(self, who: str, stored_ms: int, most_ms: int) -> bool:
        """Whether they were silent for longer than that; when they were heard of last, `stored_ms`
        says, by the wall clock."""
        now = self._clock.monotonic()
        if who in self._heard:
            return (now - self._heard[who]) * 1000 > most_ms
        life_ms = (now - self._began) * 1000
        silent_ms = self._clock.wall_ms() - stored_ms
        if silent_ms < 0:
            return life_ms > most_ms
        return silent_ms > most_ms and life_ms >= min(START_SECONDS * 1000, most_ms)
