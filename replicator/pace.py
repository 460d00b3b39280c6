"""How fast bytes may go between this DC and one peer, now.

The limits of the peer's terms (`dc/rates.py`) are looked up once a second, since windows begin and
end, and whenever they are set. What goes to the peer is held to our limit, and what comes from it
should be held to it where it is sent: there it can be done to the byte, and nothing piles up on the
way. So every request says in a header at what rate its sender wants to be sent to, and at what rate
it sends itself; when that changes, an acknowledgement is made to say so at once. Who is told sends
at the lower of this rate and its own limit. A peer of an earlier version says nothing, and is not
asked to: what it sends is held back here (`dc/metering.py`).

Rates of both sides also tell how long a request may take. Nothing is given up for being slow where
a limit makes it slow: to each time limit comes what its bytes take, several times.
"""

from collections import deque
from typing import Final

import msgspec

from dc.metering import Meter
from dc.names.model import Peer
from dc.rate_text import RATE_MAX, RATE_MIN
from dc.rates import Terms, minute_of_day
from replicator.errors import WireError
from replicator.home import Home
from replicator.limits import PACE_SAMPLES, PACE_SECONDS, PACE_SHARE
from replicator.status import PaceStatus

_NUMBER_CHARACTERS_MAX: Final = len(str(RATE_MAX))


class Pace:
    """Of one peer; outlives its links."""

    def __init__(self, home: Home, dc_id: str) -> None:
        self._home = home
        self._dc_id = dc_id
        self.meter = Meter(home.clock, home.network.narrow)
        self.limit_in = 0
        """Ours, as they hold now: bytes a second, 0 for none."""
        self.limit_out = 0
        self.their_in = 0
        """Those of the peer, as it said last: of what comes to it, and of what it sends."""
        self.their_out = 0
        self._samples: deque[tuple[float, int, int]] = deque(maxlen=PACE_SAMPLES)
        self.look()

    def look(self) -> bool:
        """Apply what holds now; whether our limits have changed. To be called every second."""
        peer = self._home.peer(self._dc_id)
        terms = peer.terms if peer is not None else Terms()
        before = self.limit_in, self.limit_out
        minute = 0
        if terms.into.windows or terms.out.windows:
            minute = minute_of_day(self._home.clock.wall_ms(), self._home.zone)
        self.limit_in, self.limit_out = terms.into.at(minute), terms.out.at(minute)
        self._apply()
        return (self.limit_in, self.limit_out) != before

    def sample(self) -> None:
        """Note how much has gone, for `measured`."""
        now = self._home.clock.monotonic()
        if not self._samples or now - self._samples[-1][0] >= PACE_SECONDS / 2:
            self._samples.append((now, self.meter.into.passed, self.meter.out.passed))

    def _apply(self) -> None:
        self.meter.limit(self.limit_in, self.sends_at)

    @property
    def sends_at(self) -> int:
        """At what rate is sent to the peer: the lower limit, 0 if there is none."""
        return min(filter(None, (self.limit_out, self.their_in)), default=0)

    @property
    def takes_at(self) -> int:
        """At what rate the peer should send, if it listens."""
        return min(filter(None, (self.limit_in, self.their_out)), default=0)

    def measured(self) -> tuple[float, float]:
        """Bytes a second that came and that went, in the last seconds."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        (began, came, went), (ended, came_then, went_then) = self._samples[0], self._samples[-1]
        seconds = ended - began
        return (came_then - came) / seconds, (went_then - went) / seconds

    def status(self, paused_there_ms: int) -> PaceStatus:
        """For the status; `paused_there_ms`: since when the peer has paused this DC, if it has."""
        peer = self._home.peer(self._dc_id)
        paused_ms = peer.terms.paused_ms if peer is not None else 0
        came, went = self.measured()
        return PaceStatus(
            limit_in=self.takes_at,
            limit_out=self.sends_at,
            rate_in=came,
            rate_out=went,
            paused_ms=paused_ms,
            paused_there_ms=0 if paused_ms else paused_there_ms,
        )

    def patience(self, size: int) -> float:
        """For how many seconds more so many bytes are waited for, either way, under a limit."""
        rates = [one for one in (self.sends_at, self.takes_at) if one]
        return PACE_SHARE * size / min(rates) if rates else 0.0

    # -- what the two tell each other -----------------------------------------------------------

    def header(self) -> str:
        """What a request says of our limits: of what comes, and of what goes."""
        return f"{self.limit_in} {self.limit_out}"

    def told(self, text: str | None) -> None:
        """What a request of the peer said; None for nothing. WireError."""
        into, out = (0, 0) if text is None else _rates(text)
        if (into, out) != (self.their_in, self.their_out):
            self.their_in, self.their_out = into, out
            self._apply()


def _rates(text: str) -> tuple[int, int]:
    parts = text.split(" ")
    if len(parts) != 2 or not all(
        part.isascii() and part.isdigit() and len(part) <= _NUMBER_CHARACTERS_MAX for part in parts
    ):
        raise WireError("rates that are none")
    into, out = (int(part) for part in parts)
    # Less than is allowed would hold up nobody but who asks for it, and this DC's memory.
    return (into and max(into, RATE_MIN), out and max(out, RATE_MIN))


def is_same_link(one: Peer, other: Peer | None) -> bool:
    """Whether two records of a peer differ in nothing but its terms."""
    return other is not None and one == msgspec.structs.replace(other, terms=one.terms)
