"""Whether a peer holds the same as this DC: their roots, compared when both are caught up.

A root (`dc/names/trees.py`) is of a moment. It says something of both DCs only when each has taken
in all that the other had at that moment. So the peer is asked when its feed is taken to the end and
ours is acknowledged to the end; and the answer counts only if its feed still ended where we have
it, and nothing has changed here until the answer came. It is forgotten as soon as either feed
moves.

Of a peer whose feed is drawn it is looked after a draw, and then says what was so at that draw.

The peer also says how much of its feed we lack, which we cannot know ourselves; it is asked for
that while we are behind.
"""

import aiohttp

from dc.names.model import Backlog
from replicator import messages, status
from replicator.client import PeerClient
from replicator.errors import ReplicatorError
from replicator.home import Home
from replicator.limits import ASK_SECONDS, BEHIND_SECONDS, DRAW_AFTER_SECONDS, ROOTS_SECONDS
from replicator.measures import waiting
from replicator.outbound import Outbound
from replicator.status import Inbound

_Moment = tuple[str, int, int]


class Agreement:
    """With one peer. `look` is the work of a worker."""

    def __init__(
        self, home: Home, client: PeerClient, outbound: Outbound, inbound: Inbound
    ) -> None:
        self._home = home
        self._client = client
        self._outbound = outbound
        self._inbound = inbound
        self._lacks: messages.Lacks | None = None
        self._compared: _Moment | None = None
        self._root = ""
        self._equal = False

    @property
    def root(self) -> str:
        """The root of both DCs; "" unless it is known that they are equal."""
        return self._root if self._equal and self._moment() == self._compared else ""

    @property
    def differs(self) -> bool:
        """Whether it is known that they are not equal."""
        return self._compared is not None and not self._equal and self._moment() == self._compared

    def to_take(self) -> status.Waiting | None:
        """What we lack of the peer's changes, as it said last."""
        inbound, lacks = self._inbound, self._lacks
        if not inbound.connected or inbound.idle:
            return None
        if not inbound.behind:
            return status.NOTHING
        if lacks is None:
            return None
        said = Backlog(
            changes=lacks.changes,
            bytes=lacks.bytes,
            oldest_ms=lacks.oldest_ms,
            complete=not lacks.at_least,
        )
        return waiting(said, self._home.clock.wall_ms())

    async def look(self) -> float:
        """Ask the peer, if there is something to ask; returns the seconds until the next time."""
        inbound = self._inbound
        if not inbound.connected or not inbound.behind:
            self._lacks = None
        if inbound.idle_seconds > DRAW_AFTER_SECONDS:
            # The connection of the draw is closed, and a link that is idle is to cost nothing.
            return ASK_SECONDS
        moment = self._moment()
        try:
            if moment is not None and moment != self._compared:
                return await self._compare(moment)
            waited = self._home.clock.monotonic() - inbound.caught_up_at
            if inbound.connected and inbound.behind and waited > BEHIND_SECONDS:
                self._lacks = (await self._client.state()).lacks
                return ROOTS_SECONDS
        except (ReplicatorError, aiohttp.ClientError, OSError, TimeoutError):
            # The stream will notice what is wrong.
            return ROOTS_SECONDS
        return ASK_SECONDS

    def _moment(self) -> _Moment | None:
        """Where both feeds stand, if both DCs have all of each other."""
        inbound, cursor, end = self._inbound, self._inbound.cursor, self._home.names.feed_end
        settled = self._outbound.settled
        if cursor is None or not inbound.connected or inbound.behind:
            return None
        if settled is None or settled < end or not self._outbound.in_touch(self._home.clock):
            return None
        return cursor.epoch, cursor.seq, end

    async def _compare(self, moment: _Moment) -> float:
        state = await self._client.state()
        cursor = self._inbound.cursor
        if cursor is None or self._moment() != moment:
            return ASK_SECONDS
        if (state.epoch, state.end) != (cursor.epoch, cursor.seq):
            return ASK_SECONDS
        root = self._home.root()
        here, there = self._home.to_come(""), (state.to_come, state.looked)
        if root == state.root and (here, there) != ((0, moment[2]), (0, state.end)):
            # The names are the same; bytes are still to come, or that is not known yet.
            return ROOTS_SECONDS
        self._compared, self._root, self._equal = moment, root, root == state.root
        return ROOTS_SECONDS
