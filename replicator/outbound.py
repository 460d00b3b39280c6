"""How far a peer has taken our feed: what its acknowledgements say, and what our streams sent.

An acknowledgement says up to where everything has taken effect, and that is remembered over
restarts (`dc/names/knowledge.py`). It also says what is not finished after that, of what the peer
has taken; so one change that cannot be finished does not hide that all others were.
"""

from dc.names.knowledge import Knowledge
from dc.names.model import Backlog
from replicator import messages
from replicator.told import Told


class Outbound:
    """Of one peer; outlives single streams."""

    def __init__(self, knowledge: Knowledge, peer: str) -> None:
        self._knowledge = knowledge
        self._peer = peer
        self.told = Told(peer)
        self._stream: object = None
        self.streams = 0
        self.taken = 0
        """Everything up to here has taken effect there, but what is `unfinished`."""
        self.unfinished: frozenset[int] = frozenset()
        self.failing: dict[int, str] = {}
        """Positions whose changes the peer has tried in vain, and why."""
        self.looked = 0
        self.sent_last = 0
        """The last position that the peer had to be told of: nothing after it is its business."""
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
        if acked is not None and self.streams and acked >= self.sent_last:
            return max(acked, self.looked)
        return acked

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

    def opened(self, stream: object, after: int, known: bool) -> None:
        """A stream begins at a position; not `known`: the peer's cursor was none of ours."""
        self.streams += 1
        self._stream = stream
        self.looked = after
        # What the peer has taken may still wait in its inbox, also if another process told it.
        self.sent_last = max(self.sent_last, after) if known else 0
        acked = self.acked
        if not known or (acked is not None and after < acked):
            # It goes on from further back than it was, as after an old backup: it tells anew.
            self._knowledge.note_progress(self._peer, None)
            self.taken, self.unfinished, self.failing = 0, frozenset(), {}
            self.lacking = None

    def sends(self, stream: object, position: int) -> None:
        """A stream is about to send a change. One that a newer has replaced counts no more."""
        if stream is self._stream:
            self.sent_last = position

    def looked_until(self, stream: object, position: int) -> None:
        """A stream has sent what the peer must be told of up to a position."""
        if stream is self._stream:
            self.looked = position

    # -- acknowledgements ---------------------------------------------------------------------

    def acknowledged(self, ack: messages.Ack) -> None:
        """One that was long on its way may come after a later one."""
        self._knowledge.note_progress(self._peer, max(self.acked or 0, ack.position))
        if ack.taken >= self.taken:
            self.taken, self.unfinished = ack.taken, frozenset(ack.unfinished)
            self.failing = dict(ack.failing)
