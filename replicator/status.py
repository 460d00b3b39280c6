"""What the replicator tells of itself: shapes for the admin API and the command line."""

from typing import NamedTuple

import msgspec

from dc.names.exchanges import Exchanged
from dc.names.model import Cursor
from dc.ports import Clock
from replicator import wire
from replicator.limits import BEHIND_SECONDS

CONNECTING = "CONNECTING"
SEEDING = "SEEDING"
STREAMING = "STREAMING"
BEHIND = "BEHIND"
IDENTICAL = "IDENTICAL"
IDLE = "IDLE"
UNREACHABLE = "UNREACHABLE"
OFFLINE = "OFFLINE"
REFUSED = "REFUSED"
PAUSED = "PAUSED"
FAILED = "FAILED"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the peer that is not finished."""

    position: int
    what: str
    attempts: int
    next_try_seconds: float
    reason: str
    """Empty while its body is on the way."""


class TheirProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A change of ours that the peer says it has tried in vain."""

    position: int
    what: str
    reason: str


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What one of two DCs lacks of the other's changes."""

    changes: int
    bytes: int
    """Of the objects among them."""
    oldest_seconds: float
    """How long ago the oldest was made; 0 when there is none."""
    at_least: bool
    """There are more: not all were counted."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What the last comparison of everything found (`replicator/verify.py`)."""

    at_ms: int
    """When it ended, by this DC's wall clock."""
    identical: bool
    only_here: int
    only_there: int
    different: int
    in_flight: int
    repaired: int
    error: str


class PaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How fast bytes go between here and a peer."""

    limit_in: int
    """What holds now of the limits of both DCs, in bytes a second; 0: there is none."""
    limit_out: int
    rate_in: float
    """Bytes a second on the wire, in the last five seconds."""
    rate_out: float
    paused_ms: int
    """Since when this DC has paused it, by its wall clock; 0 if it has not."""
    paused_there_ms: int
    """Since when the peer has paused this DC, by the peer's."""


NOTHING = Waiting(changes=0, bytes=0, oldest_seconds=0.0, at_least=False)


class Files(msgspec.Struct, frozen=True, kw_only=True):
    """What went and came in files; times are milliseconds since 1970, 0: never."""

    exported_ms: int
    exported_position: int
    exported_changes: int
    exported_bytes: int
    exported_unreadable: int
    """Bodies that are not in that file, for they could not be read."""
    imported_ms: int
    imported_position: int
    imported_changes: int
    acked_ms: int
    """When the peer acknowledged something in a file."""
    beyond_gap: int
    """Pieces of the peer's feed that were taken, while one in front of them is missing."""


def files_of(record: Exchanged) -> Files | None:
    """As the status shows it; None when there never was a file."""
    if not record.exported_ms and not record.imported_ms:
        return None
    return Files(
        exported_ms=record.exported_ms,
        exported_position=record.exported_position,
        exported_changes=record.exported_changes,
        exported_bytes=record.exported_bytes,
        exported_unreadable=record.exported_unreadable,
        imported_ms=record.imported_ms,
        imported_position=record.imported_position,
        imported_changes=record.imported_changes,
        acked_ms=record.acked_ms,
        beyond_gap=len(record.spans),
    )


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
    root: str
    """Of the hash trees of both DCs, while the state is IDENTICAL."""
    differs: bool
    """Both had everything of each other, and the roots were not equal; nothing changed since."""
    verified: Verified | None
    """None before the first comparison since this DC was started."""
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
    to_give: Waiting | None
    """What they have not acknowledged of ours; None when that is not known."""
    to_take: Waiting | None
    """What we have not acknowledged of theirs, as they said last; None when that is not known."""
    streaming_to: bool
    """They have our feed open."""
    poll_seconds: int
    """0: we keep their feed open. Else we draw it when the doorbell rings, and so often at least.
    """
    doorbell: str
    """Of a feed that is drawn: live, silent, away or none (`replicator/drawing.py`); else empty."""
    doorbell_error: str
    """Why the broker is away."""
    drawn_ms: int
    """When we drew their feed last, by this DC's wall clock; 0: not since it was started."""
    next_draw_seconds: float
    """Until the next draw at the latest."""
    their_poll_seconds: int | None
    """The same as `poll_seconds` of our feed there; None until they asked for it."""
    their_drawn_ms: int
    """When they drew ours last."""
    heard_ms: int
    """When anything of their feed came last, if only that there is nothing new, by this DC's wall
    clock; 0: not since this DC was started."""
    changes_in: int
    bytes_in: int
    changes_out: int
    bytes_out: int
    inbox: int
    failing: int
    """Entries of the inbox that were tried in vain."""
    problems: list[Problem]
    """The first of the inbox, those that were tried in vain before the others."""
    their_problems: list[TheirProblem]
    files: Files | None
    """None when there never was a file."""
    last_error: str
    """Why the stream ended last; empty when all that was there was taken since."""
    retry_seconds: float
    """Until the next attempt to connect; 0 while connected."""
    pace: PaceStatus


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """What other DCs hold and this one not, by the rules of its bucket (`dc/placement.py`)."""

    objects: int
    bytes: int
    to_come: int | None
    """How many of them belong here now, and are being fetched; None while that is not known."""
    to_come_bytes: int | None


class ReplicationStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    dc_id: str
    name: str
    epoch: str
    end: int
    conflicts: int | None
    """Losers of concurrent writes that are kept; None when they were not counted yet."""
    absent: Absent
    peers: list[PeerStatus]


class Unfinished(NamedTuple):
    """What of a peer's changes is in the inbox: how many, the lowest position or 0, the lowest
    ones; the first that were tried in vain, with the reasons, and how many of these there are."""

    entries: int
    lowest: int
    positions: list[int]
    failing: list[tuple[int, str]]
    failing_count: int

    def and_of(self, earlier: "Unfinished | None", limit: int) -> "Unfinished":
        """With what was not finished earlier, the first so many of both."""
        if earlier is None or not earlier.entries:
            return self
        positions = sorted({*self.positions, *earlier.positions})[:limit]
        entries = max(self.entries, earlier.entries)
        return self._replace(entries=entries, lowest=positions[0], positions=positions)


class Inbound:
    """What is known of our progress in a peer's feed, in memory."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.connected = False
        """A stream is open; or none is to be, and the last draw worked: then it is `idle`."""
        self.idle = False
        self.drawn_ms = 0
        self._idle_at = 0.0
        self.cursor: Cursor | None = None
        self.end = 0
        self.heard_ms = 0
        """By the wall clock, when anything came by a stream last."""
        self.heard_at = 0.0
        """The same by the monotonic clock."""
        self.seeded = False
        self.inbox = 0
        self.failing = 0
        self.changes = 0
        self.bytes = 0
        self._seed_end = 0
        self.caught_up_at = 0.0
        """When all that was announced was here last, by the monotonic clock."""
        self._news_at = 0.0
        self.given_back = False
        """Since this process began, all that the peer had when first met was taken in: whatever
        this DC may have forgotten, and the peer knew, is here again."""
        self.missed_deletions = False
        """The peer collected tombstones that this DC had not seen: the trees are to be compared."""
        self.unfinished: Unfinished | None = None
        """What was not finished when the stream opened: the first acknowledgement says it, for the
        peer lists what this DC lacked (`replicator/absences.py`)."""
        self.coverage: list[wire.Covered] = []
        """What the peer said it covers, and this DC has not yet taken over."""

    def started(self, cursor: Cursor, end: int) -> None:
        """A stream is open; everything up to `end` was there before it."""
        self.connected = True
        self.idle = False
        self.cursor = cursor
        self._seed_end = end
        self.seeded = False
        self.news()
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
        self.connected = self.idle = False

    def rests(self) -> None:
        """A draw has taken all there was."""
        self.idle = True
        self._idle_at = self._clock.monotonic()
        self.drawn_ms = self._clock.wall_ms()

    @property
    def idle_seconds(self) -> float:
        """For how long no stream is open since the last draw; 0 while one is."""
        return self._clock.monotonic() - self._idle_at if self.idle else 0.0

    def heard(self, end: int) -> None:
        self.announced(end)
        self.heard_ms = self._clock.wall_ms()
        self.heard_at = self._clock.monotonic()

    def announced(self, end: int) -> None:
        """The peer's feed goes up to a position, as a stream says or a file."""
        if self.position >= self.end:
            # Only from here on is there something to wait for.
            self.news()
        self.end = end

    def news(self) -> None:
        """Something of the feed comes."""
        self._news_at = self._clock.monotonic()

    @property
    def stuck_seconds(self) -> float:
        """For how long nothing of the feed has come, though there is more."""
        if not self.connected or self.position >= self.end:
            return 0.0
        return self._clock.monotonic() - self._news_at

    @property
    def sign_of_life(self) -> tuple[float, int, float]:
        """What is another one as soon as anything comes."""
        return self.heard_at, self.bytes, self._news_at

    def took(self, changes: int, size: int) -> None:
        self.changes += changes
        self.bytes += size

    def took_bytes(self, size: int) -> None:
        self.bytes += size

    def applied(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.news()
        self._notice()

    def inbox_is(self, count: int) -> None:
        self.inbox = count
        if not count:
            self.failing = 0
        self._notice()

    def _notice(self) -> None:
        if self.position >= self._seed_end:
            self.seeded = True
        if self.position >= self.end and not self.inbox:
            self.caught_up_at = self._clock.monotonic()

    @property
    def position(self) -> int:
        return self.cursor.seq if self.cursor else 0

    @property
    def behind(self) -> int:
        return max(0, self.end - self.position) + self.inbox

    def word(self) -> str:
        """SEEDING, STREAMING or BEHIND; IDLE when no stream is open and all of the last draw is
        here."""
        if not self.seeded:
            return SEEDING
        if not self.behind:
            return IDLE if self.idle else STREAMING
        late = self._clock.monotonic() - self.caught_up_at
        if late > BEHIND_SECONDS:
            return BEHIND
        return IDLE if self.idle else STREAMING
