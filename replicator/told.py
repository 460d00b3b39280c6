"""What a peer has told of its own changes: it need not be told of those again.

A peer that was put back to an old backup has forgotten some of what it made. What other DCs have of
that must go back to it, by whatever way and however late it came here: relayed by a third DC, or on
a connection that the dead process had written to. So the rule is not who made a change, but who
told of it: in the peer's present epoch, that is since it was started last, the peer itself.

Only so much is remembered, and in memory. What is forgotten here is told again, without its bytes,
which costs a record; what is remembered wrongly could never be mended by the feed.
"""

from dc.names.model import Change
from dc.stamps import Stamp, stamp_origin
from replicator import wire
from replicator.limits import TOLD_MAX
from replicator.records import is_from, stamps, stamps_of


class Told:
    """Of one peer."""

    def __init__(self, dc_id: str) -> None:
        self._dc_id = dc_id
        self._epoch = ""
        self._changes: dict[tuple[Stamp, ...], None] = {}
        """By all the stamps of each: a version and its attributes are told of together."""

    def note(self, epoch: str, record: wire.Record) -> None:
        """A record has come in the peer's feed of that epoch."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._changes.clear()
        change = stamps(record)
        if any(stamp_origin(stamp) != self._dc_id for stamp in change):
            return
        self._changes[_ordered(change)] = None
        if len(self._changes) > TOLD_MAX:
            del self._changes[next(iter(self._changes))]

    def knows(self, epoch: str, change: Change) -> bool:
        """Whether the peer, in that epoch, has made the change and told of it."""
        return (
            is_from(change, self._dc_id)
            and epoch == self._epoch
            and _ordered(stamps_of(change)) in self._changes
        )


def _ordered(some: tuple[Stamp, ...]) -> tuple[Stamp, ...]:
    return some if len(some) == 1 else tuple(sorted(some))
