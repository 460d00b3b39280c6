"""How far a peer has taken our feed: what its acknowledgements say, and what our streams sent.

An acknowledgement says up to where everything has taken effect, and that is remembered over
restarts (`dc/names/knowledge.py`). It also says what is not finished after that, of what the peer
has taken; so one change that cannot be finished does not hide that all others were.
"""

from collections import Counter, deque

from dc.names.knowledge import Knowledge
from dc.names.model import Backlog
from dc.ports import Clock
from replicator import messages
from replicator.batching import Batches
from replicator.limits import DRAW_LATE_SECONDS, ENDED_EPOCHS_MAX
from replicator.told import Told


class Outbound:
    """Of one peer; outlives single streams."""

    def __init__(self, knowledge: Knowledge, peer: str) -> None:
        self._knowledge = knowledge
        self._peer = peer
        self.told = Told(peer)
        self.batches = Batches()
        """Of the stream that was opened last."""
        self._stream: object = None
        self._epoch = ""
        """Of the peer's process that opened our feed last."""
        self._ended: deque[str] = deque(maxlen=ENDED_EPOCHS_MAX)
        """Those of the processes before it."""
        self._open: Counter[str] = Counter()
        """The streams of each."""
        self.streams = 0
        self.draw_seconds: int | None = None
        """How often it draws the feed at least; 0: it keeps a stream open. None: it has not asked
        for the feed since this DC was started."""
        self.drawn_ms = 0
        """When it drew last, by the wall clock."""
        self._expected_until = 0.0
        self.nothing_until = 0
        """Up to here nothing lacks there, as it was measured (`replicator/measures.py`)."""
        self.taken = 0
        """Everything up to here has taken effect there, but what is `unfinished`."""
        self.unfinished: frozenset[int] = frozenset()
        self.failing: dict[int, str] = {}
        """Positions whose changes the peer has tried in vain, and why."""
        self.forgotten = 0
        """How often it was to tell anew."""
        self.looked = 0
        self.sent_last = 0
        """The last position that the peer had to be told of: nothing after it is its business."""
        self.bodies = 0
        """That are on their way to it."""
        self.records = 0
        self.bytes = 0
        self.lacking: Backlog | None = None
        """What the peer has not acknowledged, when it was last measured; None if unknown."""

    @property
    def acked(self) -> int | None:
        """The position up to which all has taken effect there; None if unknown."""
        progress = self._knowledge.progress(self._peer)
        return progress.acked if progress else None

    @property
    def settled(self) -> int | None:
        """The position up to which the peer has all that is its business; None if unknown."""
        acked = self.acked
        if acked is None or acked < self.sent_last:
            return acked
        if self.streams:
            return max(acked, self.looked)
        return max(acked, self.nothing_until) if self.draw_seconds else acked

    def has(self, position: int) -> bool:
        """Whether the change at a position has taken effect there."""
        acked = self.acked
        if acked is None or position in self.unfinished:
            # What is fetched anew was acknowledged once, without its bytes.
            return False
        return position <= max(acked, self.taken)

    @property
    def has_all(self) -> int:
        """The position up to which it has all changes."""
        return min([self.acked or 0, *(position - 1 for position in self.unfinished)])

    # -- streams ------------------------------------------------------------------------------

    def opened(self, stream: object, after: int, known: bool, epoch: str = "") -> None:
        """A stream begins at a position; not `known`: the peer's cursor was none of ours. `epoch`
        tells the peer's process from those before."""
        if epoch and epoch != self._epoch:
            if epoch in self._ended:
                self._ended.remove(epoch)
            self._ended.append(self._epoch)
            self._epoch = epoch
        self._open[epoch] += 1
        self.streams += 1
        self._stream = stream
        self.looked = after
        # What the peer has taken may still wait in its inbox, also if another process told it.
        self.sent_last = max(self.sent_last, after) if known else 0
        if not known or after < (self.acked or 0) or after < self.taken:
            # It goes on from further back than it was, as after an old backup: it tells anew.
            self.forget()

    def closed(self, epoch: str) -> None:
        """A stream has ended that was opened by that process."""
        self._open[epoch] -= 1
        if not self._open[epoch]:
            del self._open[epoch]
        self.streams -= 1

    def forget(self) -> None:
        """The peer has less than it had said: it tells anew."""
        self._knowledge.note_progress(self._peer, None)
        self.taken, self.unfinished, self.failing = 0, frozenset(), {}
        self.lacking, self.nothing_until = None, 0
        self.forgotten += 1

    def draws(self, every_seconds: int, clock: Clock) -> None:
        """The stream that was opened last is a draw, to be followed by another; or, with 0, not."""
        self.draw_seconds = every_seconds
        if every_seconds:
            self.drawn_ms = clock.wall_ms()
            self._expected_until = clock.monotonic() + 2 * every_seconds + DRAW_LATE_SECONDS

    def in_touch(self, clock: Clock) -> bool:
        """Whether it has our feed open, or is expected to draw it."""
        return self.streams > 0 or (
            bool(self.draw_seconds) and clock.monotonic() < self._expected_until
        )

    def sends(self, stream: object, position: int) -> None:
        """A stream is about to send a change. One that a newer has replaced counts no more."""
        if stream is self._stream:
            self.sent_last = position

    def looked_until(self, stream: object, position: int) -> None:
        """A stream has sent what the peer must be told of up to a position."""
        if stream is self._stream:
            self.looked = position

    # -- acknowledgements ---------------------------------------------------------------------

    def is_over(self, epoch: str) -> bool:
        """Whether an acknowledgement is of a process of the peer that has ended since: it was long
        on its way, and the peer may have been put back to a backup meanwhile. One that has a stream
        when who seemed to follow it has none lives: the other's request for the feed was late."""
        if not epoch or epoch not in self._ended:
            return False
        return epoch not in self._open or self._epoch in self._open

    def acknowledged(self, ack: messages.Ack) -> None:
        """One that was long on its way may come after a later one."""
        self._knowledge.note_progress(self._peer, max(self.acked or 0, ack.position))
        self.batches.taken(ack.taken)
        if ack.taken >= self.taken:
            self.taken, self.unfinished = ack.taken, frozenset(ack.unfinished)
            self.failing = dict(ack.failing)
