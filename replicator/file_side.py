"""What a link does with what comes in a file of its peer (`replicator/importing.py`): the same that
it does with the like from a stream, for which there is no connection to ask."""

from collections.abc import Callable

from dc.names.errors import NoSuchPeer
from dc.names.exchanges import Exchanged
from dc.names.model import Cursor, Peer
from replicator import messages
from replicator.client import PeerClient
from replicator.home import Home
from replicator.inbox import Inbox
from replicator.limits import FILE_ACK_MS
from replicator.marks import Marks
from replicator.outbound import Outbound
from replicator.status import Inbound
from tokens.limits import CLOCK_SKEW_SECONDS


class FileSide:
    """Of one peer. `settled` is told up to where all of the peer's feed has taken effect."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        client: PeerClient,
        inbox: Inbox,
        inbound: Inbound,
        outbound: Outbound,
        marks: Marks,
        settled: Callable[[int], None],
    ) -> None:
        self._home = home
        self._peer = peer
        self.client = client
        self._inbox = inbox
        self._inbound = inbound
        self._outbound = outbound
        self._marks = marks
        self._settled = settled
        self._began_ms = home.clock.wall_ms()
        self.exchanged = Exchanged()
        """What went and came in files."""

    async def start_over(self, cursor: Cursor, exchanged: Exchanged) -> None:
        """The peer has another feed: forget what belonged to the one before. `exchanged` is what is
        remembered of files from then on."""
        self.client.superseded_until = 0
        await self._inbox.forget(cursor, exchanged)

    def superseded(self, until: int) -> None:
        """Something was left out, whose later state comes by a position up to this one."""
        self.client.superseded_until = max(self.client.superseded_until, until)

    def acknowledged(self, ack: messages.Ack | None, made_ms: int) -> bool:
        """A file, newer than those before, says how far the peer has taken our feed; None: it has
        nothing of it. Whether that was listened to."""
        if self._home.peer(self._peer.dc_id) is None:
            # Nothing of a peer outlives its removal.
            raise NoSuchPeer(f"DC {self._peer.dc_id} was removed meanwhile")
        knowledge, end, out = self._home.names.knowledge, self._home.names.feed_end, self._outbound
        if ack and not knowledge.recognises(ack.epoch, max(ack.position, ack.taken), end):
            return False
        known = knowledge.progress(self._peer.dc_id)
        if known is not None and (ack is None or ack.position < known.acked):
            # By a stream that was later than the file; or the peer was put back to a backup.
            by_file = abs(known.heard_ms - self.exchanged.acked_ms) < FILE_ACK_MS
            if not by_file and made_ms <= known.heard_ms:
                return False
            out.forget()
        if ack is not None:
            out.acknowledged(ack)
        self._marks.changed()
        return True

    def imported(self, position: int, end: int, made_ms: int) -> None:
        """All up to a position has taken effect, of a file that ended at `end`. If that was all of
        it: when it was made, else 0."""
        skew_ms = CLOCK_SKEW_SECONDS * 1000
        if self._began_ms + skew_ms < made_ms <= self._home.clock.wall_ms() + skew_ms:
            # It was made in this life: what this one had forgotten, and the peer knew, is here.
            self._inbound.given_back = True
        self._inbound.announced(max(end, self._inbound.end))
        self._settled(position)
        self._inbox.changed(True)
