"""What a DC knows of itself and of others besides the data: epochs, coverage, progress.

`docs/convergence.md` tells what it is good for. It lives in memory, in the event loop, and is
stored now and then (`dc/names/upkeep.py`): what a crash takes away of it is learned again.

The *floor* is the stamp up to which no more local changes are accepted. It is raised by `settle`,
which must be called twice, at least `SETTLE_SECONDS` apart, to raise it to the moment of the first
call: time enough for whatever was under way with a stamp from before.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import msgspec

from dc.names.coverage import Coverage
from dc.names.model import Interval, Peer, Progress
from dc.names.silence import Silence
from dc.ports import Clock
from dc.stamps import NO_DC, HybridClock, Stamp, stamp_origin

SETTLE_SECONDS = 30.0
PEER_ABSENCE_MS_MAX = 30 * 24 * 3600 * 1000
CONFLICT_RETENTION_MS = 30 * 24 * 3600 * 1000
_ALL = 2**62


class Chores(msgspec.Struct, frozen=True, kw_only=True):
    """What the event loop knows when a round begins."""

    intervals: Sequence[Interval]
    progress: Sequence[Progress]
    acked: int
    """Every peer that counts, and the broker of events, has acknowledged all up to here."""
    stable: Stamp
    """Everything that may still come is later than this."""
    conflicts_before: Stamp
    """Conflicts whose winner is older are kept no longer."""


class Knowledge:
    """Of one DC, whose feed has these epochs: (id, first position)."""

    def __init__(
        self,
        wall: Clock,
        clock: HybridClock,
        epochs: Sequence[tuple[str, int]],
        coverage: Coverage,
        progress: dict[str, Progress],
        horizon: int,
    ) -> None:
        self._wall = wall
        self._clock = clock
        self._own = stamp_origin(clock.last)
        self.epoch, _ = epochs[-1]
        self._ends = {epoch: later - 1 for (epoch, _), (_, later) in pairwise(epochs)}
        self.coverage = coverage
        self._progress = progress
        self.horizon = horizon
        self.conflict_retention_ms = CONFLICT_RETENTION_MS
        self.peer_absence_ms_max = PEER_ABSENCE_MS_MAX
        # Also when this database is new: its DC may have had another one, whose disk was lost. Nor
        # does the clock say what was made before the start: it may have been set back as well.
        self.silence = Silence(wall)
        self.told_until: Callable[[int], int | None] = lambda _: None
        """What events hold up (`EventCursor.holds`)."""
        self._gap = True
        self._committed: Stamp = ""
        self.floor: Stamp = ""
        self._sample: tuple[float, Stamp] | None = None

    def covers(self, stamp: Stamp) -> bool:
        return stamp in self.coverage

    @property
    def committed(self) -> Stamp:
        """All changes made here up to it are committed, or failed; "" just after a start."""
        return self._committed

    # -- epochs -------------------------------------------------------------------------------

    def recognises(self, epoch: str, position: int, end: int) -> bool:
        """Whether this feed, as it is known here, gave out that position in that epoch."""
        if epoch == self.epoch:
            return position <= end
        return position <= self._ends.get(epoch, -1)

    def earlier(self, count: int) -> dict[str, int]:
        """The last epochs before this one, with the last position that each gave out."""
        return dict(list(self._ends.items())[-count:])

    # -- coverage -----------------------------------------------------------------------------

    def settle(self) -> bool:
        """Raise the floor to what was given out `SETTLE_SECONDS` ago; whether it rose. It is
        covered (`cover_own`) only when all that was accepted before is committed: a slow disk may
        hold up a change for longer than that."""
        now = self._wall.monotonic()
        if self._sample is not None and now - self._sample[0] < SETTLE_SECONDS:
            return False
        risen = self._sample is not None and self._sample[1] > self.floor
        if self._sample is not None:
            self.floor = max(self.floor, self._sample[1])
        # Other DCs may have drawn this one's stamps ahead of its wall clock. If it were put back
        # to an old state it would make such stamps again; nobody may have covered them then.
        wall = f"{self._wall.wall_ms() << 16:016x}{self._own}"
        self._sample = (now, min(self._clock.now(), wall))
        return risen

    def cover_own(self) -> None:
        """All changes made here up to the floor are committed, or have failed."""
        self._committed = self.floor
        if not self._gap:
            self.coverage.join([Interval(self._own, "", self._committed)])

    def close_gap(self) -> None:
        """Whatever this DC may have forgotten before its start has come back."""
        self._gap = False
        if self._committed:
            self.coverage.join([Interval(self._own, "", self._committed)])

    def cover(self, intervals: Iterable[Interval]) -> None:
        """Take over what a peer covers. Of what was made here it is not believed: a peer does not
        send it back, so that this DC would take for deleted what it only forgot. Nor of what is
        still to be made: that cannot be reflected anywhere."""
        latest = max(self._clock.last[:16], f"{self._wall.wall_ms() << 16:016x}")
        self.coverage.join(
            one if one.high[:16] <= latest else Interval(one.origin, one.low, latest + one.origin)
            for one in intervals
            if one.origin != self._own and one.low[:16] <= latest and one.low <= one.high
        )

    # -- progress of peers --------------------------------------------------------------------

    def progress(self, peer: str) -> Progress | None:
        """How far a peer has taken this feed; None when that is not known."""
        return self._progress.get(peer)

    def note_progress(self, peer: str, position: int | None) -> None:
        """A peer has acknowledged all up to a position; None: nothing is known of it any more."""
        if position is None:
            self._progress.pop(peer, None)
        else:
            self.silence.heard(peer)
            self._progress[peer] = Progress(
                peer=peer, epoch=self.epoch, acked=position, heard_ms=self._wall.wall_ms()
            )

    # -- chores -------------------------------------------------------------------------------

    def chores(self, peers: Iterable[Peer]) -> Chores:
        """What a round of upkeep is to do now."""
        now = self._wall.wall_ms()
        most = self.peer_absence_ms_max
        counting = {peer.dc_id: peer.by_files for peer in peers}
        present = [self._own]
        acked: int | None = None
        for dc_id, by_files in counting.items():
            known = self._progress.get(dc_id)
            if known is None:
                acked = 0
            elif by_files or not self.silence.is_longer(dc_id, known.heard_ms, most):
                acked = known.acked if acked is None else min(acked, known.acked)
            else:
                continue
            present.append(dc_id)
        told = self.told_until(most)
        if told is not None:
            acked = told if acked is None else min(acked, told)
        stable = self.coverage.stable(present, self.silence.before(most))
        return Chores(
            intervals=self.coverage.intervals(),
            progress=list(self._progress.values()),
            acked=_ALL if acked is None else acked,
            # Without peers nothing comes but what is made here.
            stable=stable if counting else self.floor,
            conflicts_before=f"{max(0, now - self.conflict_retention_ms):012x}0000{NO_DC}",
        )
