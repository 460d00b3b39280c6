"""Whether two DCs hold the same, and exactly what differs: `farshore replication verify`.

Roots are compared, then leaves, then items (`replicator/differences.py`). What is found there may
only be on its way. So of each such item both sides are asked what it is now; then this waits until
each side has taken in all that the other had at that moment; and both are asked again. What differs
and has not changed on either side is a difference. What has changed is looked at again, a few
times; what still moves then is counted as in flight.

A tombstone is nothing to miss: an item deleted on one side that the other never had, or has
forgotten, is alike on both.

With `repair`, what differs is brought together as it is found (`replicator/repair.py`), and all is
compared once more.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from dc.names.coverage import Coverage
from dc.names.kinds import CONFLICT, FEED_BUCKET, FEED_KEY, FEED_SITE, FEED_USER, TOMBSTONE
from dc.names.model import ItemState, Kind, Peer
from replicator import compare_wire as shapes
from replicator.compare_client import CompareClient
from replicator.compare_server import states_of
from replicator.differences import candidates
from replicator.errors import NotCompared
from replicator.home import Home
from replicator.limits import (
    COMPARE_CHUNK,
    COMPARE_ITEMS_ASKED_MAX,
    COMPARE_POLL_SECONDS,
    COMPARE_ROUNDS,
    COMPARE_SHOWN_MAX,
)

KINDS = {
    Kind.OBJECT: "object",
    Kind.DELETE_MARKER: "delete marker",
    TOMBSTONE: "deleted",
    CONFLICT: "conflict",
    FEED_BUCKET: "bucket",
    FEED_USER: "user",
    FEED_KEY: "access key",
    FEED_SITE: "datacenter",
}
ONLY_HERE = "only_here"
ONLY_THERE = "only_there"
DIFFERENT = "different"
IN_FLIGHT = "in_flight"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one DC has of an item."""

    kind: str
    """One of `KINDS`."""
    stamp: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """An item that the two DCs do not have alike."""

    what: str
    """only_here, only_there, different, in_flight"""
    bucket: str
    """Its name, or its id where the name is not known; "" for buckets, users and keys."""
    key: str
    """Of a bucket, user, access key or datacenter: its id."""
    version: str
    """The version id, "" of the null version; of a conflict the loser's stamp."""
    here: Side | None
    there: Side | None


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison with one peer found. All counts are exact."""

    peer: str
    name: str
    at_ms: int
    """When it ended, by this DC's wall clock."""
    bucket: str = ""
    """The name of the one that was compared; "": everything was."""
    seconds: float = 0.0
    bytes_moved: int = 0
    root: str = ""
    """Of both DCs, when they were equal in the end; "" also while they are written to."""
    only_here: int = 0
    only_there: int = 0
    different: int = 0
    in_flight: int = 0
    """Items that were still changing when last looked at, or could not be waited for."""
    repaired: int = 0
    """Items that differed and were brought together."""
    deleted: int = 0
    """Of these: what had been deleted at the peer while this DC was away for too long."""
    to_come_here: int = 0
    """Bodies that belong here, by the rules of their buckets, and are not here yet."""
    to_come_there: int = 0
    """The same of the peer."""
    differences: list[Difference] = []
    """The first 1,000."""
    error: str = ""
    """Why nothing could be compared."""

    @property
    def differs(self) -> bool:
        return bool(self.only_here or self.only_there or self.different)

    @property
    def identical(self) -> bool:
        to_come = self.to_come_here or self.to_come_there
        return not (self.differs or self.in_flight or self.error or to_come)


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a comparison is."""

    peer: str
    phase: str
    """comparing, waiting, repairing, comparing again"""
    looked: int
    """Possible differences that were looked into."""
    found: int
    repaired: int
    bytes_moved: int
    seconds: float


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a comparison."""

    bucket: str | None = None
    """The id of the one to compare, "" for the directory; None: everything."""
    repair: bool = False
    wait_seconds: float = 30.0
    """How long to wait for what is on its way, at most, each time."""


class Streams(Protocol):
    """The two feeds between this DC and the peer."""

    @property
    def connected(self) -> bool:
        """Whether both are open, or drawn."""
        ...

    @property
    def missed_deletions(self) -> bool: ...

    def reconciled(self) -> None:
        """What the peer deleted while this DC was away is deleted here."""
        ...

    @property
    def epoch(self) -> str:
        """The peer's feed that is open: a peer that was started again has another."""
        ...

    async def taken(self) -> int:
        """Up to where all of the peer's feed has taken effect here."""
        ...

    def given(self) -> int:
        """Up to where all of our feed has taken effect there, of what is its business."""
        ...

    def moved(self) -> int:
        """Grows while bodies and changes come and go."""
        ...

    async def restore(self, items: list[shapes.Item], client: CompareClient) -> int:
        """Fetch the records of items from the peer into the inbox; how many came."""
        ...


class Pair(NamedTuple):
    """What both sides have of an item."""

    here: ItemState | None
    there: ItemState | None

    @property
    def differs(self) -> bool:
        here, there = _hash(self.here), _hash(self.there)
        return here != there

    @property
    def what(self) -> str:
        if _hash(self.here) and _hash(self.there):
            return DIFFERENT
        return ONLY_HERE if _hash(self.here) else ONLY_THERE


Pairs = dict[shapes.Item, Pair]


def _hash(state: ItemState | None) -> str:
    return state.hash if state else ""


class Verification:
    """One comparison with one peer; `said` is told of progress."""

    def __init__(
        self,
        home: Home,
        peer: Peer,
        client: CompareClient,
        streams: Streams,
        options: Options,
        said: Callable[[Progress], None],
    ) -> None:
        self.home = home
        self.peer = peer
        self.client = client
        self.streams = streams
        self.options = options
        self.coverage = Coverage()
        """Of the peer, before anything was compared."""
        self._said = said
        self._began = home.clock.monotonic()
        self.counts = dict.fromkeys((ONLY_HERE, ONLY_THERE, DIFFERENT, IN_FLIGHT), 0)
        self._shown: list[Difference] = []
        self._looked = 0
        self.repaired = 0
        self.deleted = 0
        self._names: dict[str, str] = {}

    async def run(self, repair: "Repairer | None" = None) -> VerifyReport:
        """Compare; NotCompared when the peer is not connected, ReplicatorError when it goes away
        meanwhile."""
        self.check()
        head = await self.client.head(self._own_root(), coverage=repair is not None)
        self.coverage = shapes.coverage_in(head)
        if repair is not None and head.reconciling and not self.streams.missed_deletions:
            raise NotCompared(
                f"{self.peer.name} was away for long and finds out what it missed: try again later"
            )
        if head.root != self._own_root():
            await self._compare(repair)
        if repair is not None and self.options.bucket is None and not self.counts[IN_FLIGHT]:
            self.streams.reconciled()
        if repair is not None and (self.repaired or self.deleted):
            self.say("comparing again")
            self._forget()
            await self._compare(None)
        return await self._report()

    def check(self) -> None:
        """NotCompared unless both feeds are open: without them nobody knows what is on its way."""
        if not self.streams.connected:
            raise NotCompared(
                f"{self.peer.name} is not connected: see `farshore replication status`"
            )

    async def _compare(self, repair: "Repairer | None") -> None:
        chunk: list[shapes.Item] = []
        async for found in candidates(self.home.names, self.client, self.options.bucket):
            chunk += found
            self.say("comparing")
            while len(chunk) >= COMPARE_CHUNK:
                await self._look_into(chunk[:COMPARE_CHUNK], repair)
                chunk = chunk[COMPARE_CHUNK:]
        if chunk:
            await self._look_into(chunk, repair)

    async def _look_into(self, items: list[shapes.Item], repair: "Repairer | None") -> None:
        differing, moving = await self.settle(items)
        self._looked += len(items)
        if repair is not None and differing:
            differing = await repair.bring_together(self, differing)
        for pairs, in_flight in ((differing, False), (moving, True)):
            for item, pair in pairs.items():
                await self._count(item, pair, in_flight)
        self.say("comparing")

    # -- telling what differs from what is on its way ------------------------------------------

    async def settle(self, items: list[shapes.Item]) -> tuple[Pairs, Pairs]:
        """Of items that may differ: those that do, and those that still move."""
        pairs, there = await self.look(items)
        differing: Pairs = {}
        for _ in range(COMPARE_ROUNDS):
            if not pairs:
                break
            caught_up = await self.caught_up(there)
            again, there = await self.look(list(pairs))
            if not caught_up:
                pairs = again
                break
            same = {item: pair for item, pair in again.items() if pair == pairs[item]}
            differing |= same
            pairs = {item: pair for item, pair in again.items() if item not in same}
        return differing, pairs

    async def look(self, items: list[shapes.Item]) -> tuple[Pairs, shapes.States]:
        """What both sides have now of items, of those that differ; and where the peer's feed
        stood after that."""
        found: Pairs = {}
        answer: shapes.States | None = None
        for begin in range(0, len(items), COMPARE_ITEMS_ASKED_MAX):
            some = items[begin : begin + COMPARE_ITEMS_ASKED_MAX]
            theirs, answer = await self.client.states(some)
            ours = await states_of(self.home.names, some)
            for item, here, there in zip(some, ours, theirs, strict=True):
                if Pair(here, there).differs:
                    found[item] = Pair(here, there)
        assert answer is not None
        return found, answer

    async def caught_up(self, there: shapes.States) -> bool:
        """Wait until each side has taken in what the other had: the peer's feed as it stood
        `there`, ours as it is now. False when that takes too long."""
        our_end = self.home.names.feed_end
        clock = self.home.clock
        until = clock.monotonic() + self.options.wait_seconds
        said = clock.monotonic()
        while not await self._have_taken(there, our_end):
            self.check()
            now = clock.monotonic()
            if now >= until:
                return False
            if now - said > 1.0:
                said = now
                self.say("waiting")
            await clock.sleep(COMPARE_POLL_SECONDS)
        return True

    async def _have_taken(self, there: shapes.States, our_end: int) -> bool:
        """Whether each side has all of the other up to there. What an old stream says counts for
        nothing: a peer may have been started again meanwhile, from an old backup even, so it is
        asked itself, and its feed must be the one that is open."""
        streams, names = self.streams, self.home.names
        if streams.epoch != there.epoch or await streams.taken() < there.end:
            return False
        if streams.given() < our_end:
            return False
        _, now = await self.client.states([])
        if now.epoch != there.epoch or now.taken < our_end:
            return False
        return names.knowledge.recognises(now.taken_epoch, now.taken, names.feed_end)

    # -- telling --------------------------------------------------------------------------------

    async def _count(self, item: shapes.Item, pair: Pair, in_flight: bool) -> None:
        what = IN_FLIGHT if in_flight else pair.what
        self.counts[what] += 1
        if len(self._shown) >= COMPARE_SHOWN_MAX:
            return
        bucket, _, key, vid = item
        name = await self._name(bucket)
        self._shown.append(
            Difference(
                what=what,
                bucket=name,
                key=key,
                version=vid,
                here=_side(pair.here),
                there=_side(pair.there),
            )
        )

    async def _name(self, bucket: str) -> str:
        known = self.home.names.directory.bucket_by_id(bucket)
        if known is not None or not bucket:
            return known.name if known else ""
        if not self._names:
            here = len(self.home.names.directory.all_buckets())
            self._names = {one: name for one, name, _, _ in await self.client.buckets(here)}
        return self._names.get(bucket, bucket)

    def _forget(self) -> None:
        """Begin counting anew."""
        self.counts = dict.fromkeys(self.counts, 0)
        self._shown = []

    def say(self, phase: str) -> None:
        """Tell how far it is."""
        found = sum(self.counts.values()) - self.counts[IN_FLIGHT]
        self._said(
            Progress(
                peer=self.peer.name,
                phase=phase,
                looked=self._looked,
                found=found,
                repaired=self.repaired + self.deleted,
                bytes_moved=self.client.moved,
                seconds=self.home.clock.monotonic() - self._began,
            )
        )

    def _own_root(self) -> str:
        """Of what is compared. Of a single bucket no root is asked for."""
        return self.home.root() if self.options.bucket is None else "0" * 32

    async def _report(self) -> VerifyReport:
        root = ""
        if not any(self.counts.values()) and self.options.bucket is None:
            head = await self.client.head(self._own_root())
            root = head.root if head.root == self._own_root() else ""
        return VerifyReport(
            peer=self.peer.dc_id,
            name=self.peer.name,
            at_ms=self.home.clock.wall_ms(),
            bucket=await self._name(self.options.bucket or ""),
            seconds=self.home.clock.monotonic() - self._began,
            bytes_moved=self.client.moved,
            root=root,
            only_here=self.counts[ONLY_HERE],
            only_there=self.counts[ONLY_THERE],
            different=self.counts[DIFFERENT],
            in_flight=self.counts[IN_FLIGHT],
            repaired=self.repaired,
            deleted=self.deleted,
            differences=self._shown,
        )


class Repairer(Protocol):
    """`replicator/repair.py`"""

    async def bring_together(self, work: Verification, differing: Pairs) -> Pairs:
        """Repair; what still differs."""
        ...


def _side(state: ItemState | None) -> Side | None:
    return Side(kind=KINDS[state.kind], stamp=state.stamp) if state else None
