"""What the replicator tells of itself: shapes for the admin API and the command line."""

import msgspec

from dc.names.model import Cursor
from dc.ports import Clock
from replicator import wire
from replicator.limits import BEHIND_SECONDS

CONNECTING = "CONNECTING"
SEEDING = "SEEDING"
STREAMING = "STREAMING"
BEHIND = "BEHIND"
UNREACHABLE = "UNREACHABLE"
REFUSED = "REFUSED"
FAILED = "FAILED"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the peer that is not finished."""

    position: int
    what: str
    attempts: int
    next_try_seconds: float
    reason: str
    """Empty while its body is on the way."""


class PeerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One peer. `their_*`: its feed, which we take; `our_*`: our feed, which it takes."""

    dc_id: str
    name: str
    region: str
    endpoints: list[str]
    endpoint: str
    """The one that answered last."""
    state: str
    """One of the words above; `docs/replication.md` defines them."""
    their_position: int
    """Everything up to here is applied or in the inbox."""
    their_end: int
    behind: int
    """Changes of theirs still to be finished here, at most: positions and inbox."""
    our_acked: int | None
    """Everything up to here has taken effect there; None when they have not said yet."""
    our_end: int
    our_behind: int | None
    """Positions of our feed that they have not acknowledged."""
    lag_seconds: float | None
    """The age of our oldest change that they have not acknowledged; 0 when there is none."""
    streaming_to: bool
    """They have our feed open."""
    changes_in: int
    bytes_in: int
    changes_out: int
    bytes_out: int
    inbox: int
    problems: list[Problem]
    last_error: str
    retry_seconds: float
    """Until the next attempt to connect; 0 while connected."""


class ReplicationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    dc_id: str
    name: str
    epoch: str
    end: int
    peers: list[PeerStatus]


class Inbound:
    """What is known of our progress in a peer's feed, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.connected = False
        self.cursor: Cursor | None = None
        self.end = 0
        self.seeded = False
        self.inbox = 0
        self.changes = 0
        self.bytes = 0
        self._seed_end = 0
        self._caught_up_at = 0.0
        self.given_back = False
        """Since this process began, all that the peer had when first met was taken in: whatever
        this DC may have forgotten, and the peer knew, is here again."""
        self.missed_deletions = False
        """The peer collected tombstones that this DC had not seen: the trees are to be compared."""
        self.coverage: list[wire.Covered] = []
        """What the peer said it covers, and this DC has not yet taken over."""

    def started(self, cursor: Cursor, end: int) -> None:
        """A stream is open; everything up to `end` was there before it."""
        self.connected = True
        self.cursor = cursor
        self._seed_end = end
        self.seeded = False
        self.heard(end)
        self._notice()

    def met(self, cursor: int, hello: wire.Hello) -> None:
        """A stream begins; the cursor stood at `cursor`."""
        self.missed_deletions |= cursor < hello.horizon
        self.coverage.clear()

    def covered(self, frame: wire.Covered) -> None:
        """The first one counts, and the last: in between nothing is gained."""
        self.coverage[1:] = [frame]

    def settled(self, position: int) -> list[wire.Covered]:
        """All up to a position has taken effect: what is covered by that."""
        if position >= self._seed_end and self.connected:
            self.given_back = True
        ready = [one for one in self.coverage if one.position <= position]
        self.coverage = [one for one in self.coverage if one.position > position]
        return ready

    def ended(self) -> None:
        self.connected = False

    def heard(self, end: int) -> None:
        self.end = end

    def took(self, changes: int, size: int) -> None:
        self.changes += changes
        self.bytes += size

    def took_bytes(self, size: int) -> None:
        self.bytes += size

    def applied(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._notice()

    def inbox_is(self, count: int) -> None:
        self.inbox = count
        self._notice()

    def _notice(self) -> None:
        position = self.cursor.seq if self.cursor else 0
        if position >= self._seed_end:
            self.seeded = True
        if position >= self.end and not self.inbox:
            self._caught_up_at = self._clock.monotonic()

    @property
    def behind(self) -> int:
        position = self.cursor.seq if self.cursor else 0
        return max(0, self.end - position) + self.inbox

    def word(self) -> str:
        """SEEDING, STREAMING or BEHIND, of an open stream."""
        if not self.seeded:
            return SEEDING
        if not self.behind:
            return STREAMING
        late = self._clock.monotonic() - self._caught_up_at
        return BEHIND if late > BEHIND_SECONDS else STREAMING
