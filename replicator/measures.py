"""What the status shows of a peer and memory does not know: looked up in the tables, now and then.

When nothing waits, nothing is looked up. What the peer has not acknowledged is measured a bounded
stretch at a time. Changes that are not its business (it made them itself) may stand before the
first that is, any number of them: what held nothing for it is not looked at again. So the next
stretch begins with the first that is its business, and says the most that one stretch can.
"""

from collections.abc import Sequence

import msgspec

from dc.names.model import Backlog, Inboxed, Peer
from replicator import status, wire
from replicator.errors import ReplicatorError
from replicator.home import Home
from replicator.limits import (
    BACKLOG_PAGE_SECONDS,
    BACKLOG_POSITIONS_MAX,
    BACKLOG_SECONDS,
    MEASURE_SECONDS,
    PROBLEMS_SHOWN,
)
from replicator.outbound import Outbound
from replicator.records import describe, outgoing
from replicator.status import Inbound, Problem, TheirProblem


class Measures:
    """Of one peer. `look` is the work of a worker."""

    def __init__(self, home: Home, peer: Peer, outbound: Outbound, inbound: Inbound) -> None:
        self._home = home
        self._peer = peer
        self._outbound = outbound
        self._inbound = inbound
        self._basis: tuple[object, ...] = ()
        self._nothing_until = self._forgotten = 0
        self._again_at = 0.0
        self._told: dict[int, str] = {}
        self.problems: list[Problem] = []
        self.their_problems: list[TheirProblem] = []

    async def look(self) -> float:
        """Look up what may have changed; returns the seconds until the next time."""
        await self._measure()
        if self._inbound.inbox or self.problems:
            self.problems = await self._find_problems()
        if self._outbound.failing != self._told:
            self._told = dict(self._outbound.failing)
            self.their_problems = await self._find_theirs(self._told)
        paging = self._outbound.lacking is None and self._outbound.settled is not None
        return BACKLOG_PAGE_SECONDS if paging else MEASURE_SECONDS

    # -- what the peer lacks ------------------------------------------------------------------

    async def _measure(self) -> None:
        out, names, now = self._outbound, self._home.names, self._home.clock.monotonic()
        settled = out.settled
        if settled is None:
            out.lacking, self._basis = None, ()
            return
        if settled >= names.feed_end:
            out.lacking, self._basis = Backlog(looked=settled), ()
            return
        if out.forgotten != self._forgotten:
            # It has less than it had: stretches that held nothing for it may do so now.
            self._nothing_until, self._forgotten = 0, out.forgotten
        after = max(settled, out.taken, self._nothing_until)
        basis = (after, settled, out.unfinished, names.feed_end)
        if out.lacking is not None and (basis == self._basis or now < self._again_at):
            return
        found = await names.backlog(self._peer.dc_id, after, BACKLOG_POSITIONS_MAX)
        nothing_until = found.first - 1 if found.first else found.looked
        late = [position for position in out.unfinished if position > settled]
        if late:
            found = _both(await names.backlog_at(self._peer.dc_id, late), found)
        if out.forgotten != self._forgotten:
            return
        self._basis, self._nothing_until = basis, nothing_until
        self._again_at = now + (0.0 if found.complete else BACKLOG_SECONDS)
        out.lacking = found if found.changes or found.complete else None
        if not found.changes and not out.unfinished:
            out.nothing_until = found.looked

    def to_give(self) -> status.Waiting | None:
        """What the peer lacks of ours."""
        found, settled = self._outbound.lacking, self._outbound.settled
        if settled is not None and settled >= self._home.names.feed_end:
            return status.NOTHING
        if found is None or settled is None:
            return None
        return waiting(found, self._home.clock.wall_ms())

    # -- single changes -----------------------------------------------------------------------

    async def _find_problems(self) -> list[Problem]:
        names, dc_id = self._home.names, self._peer.dc_id
        entries = await names.inbox(dc_id, limit=PROBLEMS_SHOWN, failing=True)
        if len(entries) < PROBLEMS_SHOWN:
            others = await names.inbox(dc_id, limit=PROBLEMS_SHOWN)
            entries += [entry for entry in others if not entry.error]
        now = self._home.clock.wall_ms()
        return [_problem(entry, now) for entry in entries[:PROBLEMS_SHOWN]]

    async def _find_theirs(self, failing: dict[int, str]) -> list[TheirProblem]:
        found = []
        for position, reason in sorted(failing.items())[:PROBLEMS_SHOWN]:
            entries, _, _ = await self._home.names.feed(position - 1, 1)
            what = "a change that has changed again since"
            if entries and entries[0].seq == position:
                change = entries[0].change
                sealing_key = self._peer.sealing_key
                what = describe(outgoing(position, change, None, self._home.sealer, sealing_key))
            found.append(TheirProblem(position=position, what=what, reason=reason))
        return found


def waiting(found: Backlog, now_ms: int) -> status.Waiting:
    """As the status shows it."""
    age = max(0, now_ms - found.oldest_ms) / 1000 if found.oldest_ms else 0.0
    return status.Waiting(
        changes=found.changes,
        bytes=found.bytes,
        oldest_seconds=age,
        at_least=not found.complete,
    )


def _both(one: Backlog, other: Backlog) -> Backlog:
    made = [ms for ms in (one.oldest_ms, other.oldest_ms) if ms]
    return msgspec.structs.replace(
        other,
        changes=one.changes + other.changes,
        bytes=one.bytes + other.bytes,
        oldest_ms=min(made, default=0),
    )


def _problem(entry: Inboxed, now_ms: int) -> Problem:
    return Problem(
        position=entry.seq,
        what=_what(entry.change),
        attempts=entry.attempts,
        next_try_seconds=max(0.0, (entry.next_try_ms - now_ms) / 1000),
        reason=entry.error,
    )


def _what(change: bytes) -> str:
    try:
        return describe(wire.decode_record(change))
    except ReplicatorError:
        return "an unreadable entry"


def taken_effect(position: int, count: int, lowest: int) -> int:
    """The position up to which all of a feed that was taken up to `position` has taken effect,
    while `count` of its changes are in the inbox, the first at `lowest`. That may be further on: of
    a file that came before its turn."""
    return min(position, lowest - 1) if count else position


def open_positions(taken: int, positions: Sequence[int], limit: int) -> tuple[int, list[int]]:
    """What an acknowledgement says of the inbox: the position up to which `positions` are all that
    is not finished, and those of them up to there. `positions` are the lowest, at most `limit`."""
    if len(positions) >= limit:
        taken = min(taken, positions[-1])
    return taken, [position for position in positions if position <= taken]
