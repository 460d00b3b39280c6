"""The proof that a pairing works: a live change goes to the new peer, and one comes from it.

The joiner says anew what it is called (`Names.put_site`), a change like any other, as soon as the
peer has its feed open, and waits until the peer has acknowledged it: it went there and took
effect. The issuer has done the same when it agreed, and told the stamp and the position; the
joiner waits until its feed was taken up to there, and that very record is here.

Nothing is undone when that takes too long: the pairing stands, and what is missing is tried again
and again.
"""

import msgspec

from dc.names.kinds import FEED_SITE
from dc.names.model import Peer
from dc.ports import Clock
from dc.stamps import Stamp
from replicator import messages
from replicator.home import Home
from replicator.limits import PAIRING_POLL_SECONDS
from replicator.link import Link
from replicator.peers import Peers


class Step(msgspec.Struct, frozen=True):
    """Something that was done or seen, and how long after the beginning."""

    text: str
    seconds: float


class Steps:
    """What happened, in its order."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self.done: list[Step] = []

    def note(self, text: str) -> None:
        self.done.append(Step(text, round(self._clock.monotonic() - self._began, 3)))


async def put_site(home: Home) -> tuple[Stamp, int]:
    """Say anew what this DC is called; the stamp of that change, and its position."""
    place = home.place
    stamp = await home.names.put_site(place.name, place.region)
    entries = await home.names.records("", [(FEED_SITE, home.dc_id, "")])
    return stamp, entries[0].seq


class Proof:
    """With one new peer, whose answer to the pair call was `reply`."""

    def __init__(
        self, home: Home, peers: Peers, peer: Peer, reply: messages.PairReply, steps: Steps
    ) -> None:
        self._home = home
        self._peers = peers
        self._peer = peer
        self._reply = reply
        self._steps = steps
        self._position: int | None = None
        self._connected = False
        self.went = False
        """A change made here took effect there."""
        self.came = False
        """A change made there took effect here."""
        self.missing: list[str] = []

    async def wait(self, seconds: float) -> None:
        """Look until both have been seen, or the time is over."""
        clock = self._home.clock
        until = clock.monotonic() + seconds
        while (link := self._peers.link(self._peer.dc_id)) is not None:
            await self._look(link)
            if (self.went and self.came) or clock.monotonic() >= until:
                break
            await clock.sleep(PAIRING_POLL_SECONDS)
        if not self.went:
            self.missing.append(self._why_not_there(link))
        if not self.came:
            self.missing.append(self._why_not_here(link))

    async def _look(self, link: Link) -> None:
        name = self._peer.name
        if not self._connected and link.inbound.connected:
            self._connected = True
            self._steps.note(f"this DC has the feed of {name} open")
        if self._position is None and link.outbound.in_touch(self._home.clock):
            self._steps.note(f"{name} has the feed of this DC open")
            _, self._position = await put_site(self._home)
        if not self.went and self._position is not None and link.outbound.has(self._position):
            self.went = True
            self._steps.note(f"a change made here took effect in {name}")
        if not self.came and self._is_here(link):
            self.came = True
            self._steps.note(f"a change made in {name} took effect here")

    def _is_here(self, link: Link) -> bool:
        site = self._home.names.directory.site(self._peer.dc_id)
        cursor = link.inbound.cursor
        if site is None or cursor is None:
            return False
        return site.stamp >= self._reply.site and cursor.seq >= self._reply.position

    def _why_not_there(self, link: Link | None) -> str:
        name = self._peer.name
        if link is None:
            return f"{name} was removed meanwhile"
        if self._position is None:
            return (
                f"{name} does not take our changes yet: it must reach this DC at"
                f" {', '.join(self._home.place.endpoints)}"
            )
        return (
            f"{name} has not acknowledged a change made here: {_many(link.status().our_behind)}"
            f" of our feed are before it or not acknowledged"
        )

    def _why_not_here(self, link: Link | None) -> str:
        name = self._peer.name
        if link is None:
            return f"{name} was removed meanwhile"
        shown = link.status()
        if not link.inbound.connected:
            return f"changes of {name} do not come yet: {shown.last_error or shown.state}"
        return f"a change made in {name} has not come here: {_many(shown.behind)} are still to take"


def _many(positions: int | None) -> str:
    return "an unknown number of positions" if positions is None else f"{positions} positions"
