"""What a pairing would bring, before it is made: `farshore dc add TOKEN --dry-run`.

    issuer                                     joiner
      | -- pairing token, by hand ------------------> |  as for a pairing
      | <-- POST /v2/preview: token, request -------- |  a request that can never be a pair request
      |  checks both; the token is not used up        |
      | -- a signed yes ----------------------------> |
      | <-- roots, leaves, items, states, buckets --- |  signed with the key in the request

The joiner is a guest of the issuer for some minutes (`replicator/guests.py`): what it may ask only
reads, and gives out keys and hashes, never contents or secrets. That is less than who holds the
token would get with it by pairing. Nothing is written on either side. A token that was used, or
that pairing would refuse, is refused here.

The comparison is of the moment: what is written meanwhile is counted as it is met. An item that
only one side has may have been deleted on the other; the pairing would then tell the two apart.
"""

from collections.abc import Callable, Iterable

import msgspec
import structlog

from dc.names.model import ItemState, Peer
from dc.names.seen import saw
from replicator import compare_wire as shapes
from replicator import messages
from replicator.client import PeerClient
from replicator.compare_client import CompareClient
from replicator.compare_server import states_of
from replicator.differences import candidates
from replicator.guests import Guests
from replicator.home import Home
from replicator.limits import COMPARE_ITEMS_ASKED_MAX
from replicator.pairing import Asked, Pairing
from tokens import exchange, pairing
from tokens.limits import CLOCK_SKEW_SECONDS

log = structlog.get_logger("preview")


class Counts(msgspec.Struct, kw_only=True):
    """Items of one bucket, or of all."""

    equal: int = 0
    only_here: int = 0
    only_there: int = 0
    newer_here: int = 0
    """Both have it, and the one here was made with the other in view: it stands."""
    newer_there: int = 0
    conflicts: int = 0
    """Written on both sides, neither knowing of the other: the later stands, the other is kept."""

    def add(self, other: "Counts") -> None:
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class BucketPreview(msgspec.Struct, frozen=True, kw_only=True):
    """One bucket, as far as it is not the same on both sides."""

    name: str
    counts: Counts


class Renamed(msgspec.Struct, frozen=True, kw_only=True):
    """A name that buckets of different owners have on the two sides: the one made first keeps it,
    the other is shown under another."""

    name: str
    keeps: str
    """here or there"""


class PreviewReport(msgspec.Struct, frozen=True, kw_only=True):
    """What pairing would bring. `objects` counts versions, delete markers and conflicts;
    `directory` buckets, users, access keys and datacenters."""

    name: str
    dc_id: str
    objects: Counts
    directory: Counts
    buckets: list[BucketPreview]
    """Those that differ, by name."""
    renamed: list[Renamed]
    bytes_moved: int
    seconds: float


class PreviewProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How many items were found that are not the same."""

    looked: int
    seconds: float


class Preview:
    """Both sides of it, for one DC."""

    def __init__(self, home: Home, pairs: Pairing, guests: Guests) -> None:
        self._home = home
        self._pairing = pairs
        self._guests = guests

    # -- the issuer -----------------------------------------------------------------------------

    async def accept(self, body: bytes) -> messages.PairReply | None:
        """The answer to a preview call; None for who has no valid token of this DC."""
        asked = self._pairing.asked(body, preview=True)
        if not isinstance(asked, Asked):
            return asked
        offer, request, guest = asked
        if await self._home.names.token_used(offer.jti):
            return messages.PairReply(problem="the token was used already: issue a new one")
        now = self._home.now_seconds()
        self._guests.admit(guest, offer.expires_at + CLOCK_SKEW_SECONDS - now)
        log.info("a datacenter compares before it is paired", name=guest.name, dc_id=guest.dc_id)
        return messages.PairReply(
            answer=exchange.issue_answer(self._home.identity, request, now=now)
        )

    # -- the joiner -----------------------------------------------------------------------------

    async def compare(self, token: str, said: Callable[[PreviewProgress], None]) -> PreviewReport:
        """Compare with the DC that issued the token. PairingError or a TokenError when it could
        not be paired either, a ReplicatorError when it cannot be compared now."""
        offer = pairing.read(token, self._home.now_seconds())
        peer = self._pairing.checked(offer.peer, offer.place, offer.jti)
        await self._pairing.ask(token, offer, peer, preview=True)
        client = PeerClient(self._home, peer)
        try:
            return await _Comparison(self._home, peer, CompareClient(client), said).run()
        finally:
            await client.close()


class _Comparison:
    def __init__(
        self,
        home: Home,
        peer: Peer,
        client: CompareClient,
        said: Callable[[PreviewProgress], None],
    ) -> None:
        self._home = home
        self._peer = peer
        self._client = client
        self._said = said
        self._began = home.clock.monotonic()
        self._looked = 0
        self._trees: dict[str, Counts] = {}

    async def run(self) -> PreviewReport:
        names = self._home.names
        async for found in candidates(names, self._client):
            for begin in range(0, len(found), COMPARE_ITEMS_ASKED_MAX):
                await self._count(found[begin : begin + COMPARE_ITEMS_ASKED_MAX])
            self._looked += len(found)
            self._said(PreviewProgress(looked=self._looked, seconds=self._seconds()))
        objects = await self._with_equal(await names.item_counts())
        directory = self._trees.pop("", Counts())
        directory.equal += _equal(names.directory.record_count(), directory)
        here = names.directory.all_buckets()
        theirs = await self._client.buckets(len(here))
        known = {one: name for one, name, _, _ in theirs} | {one.id: one.name for one in here}
        shown = [
            BucketPreview(name=known.get(bucket, bucket), counts=counts)
            for bucket, counts in self._trees.items()
        ]
        return PreviewReport(
            name=self._peer.name,
            dc_id=self._peer.dc_id,
            objects=objects,
            directory=directory,
            buckets=sorted(shown, key=lambda one: one.name),
            renamed=_renamed(self._home, theirs),
            bytes_moved=self._client.moved,
            seconds=self._seconds(),
        )

    async def _count(self, items: list[shapes.Item]) -> None:
        theirs, _ = await self._client.states(items)
        ours = await states_of(self._home.names, items)
        for item, here, there in zip(items, ours, theirs, strict=True):
            counts = self._trees.setdefault(item[0], Counts())
            what = _what(here, there)
            if what:
                setattr(counts, what, getattr(counts, what) + 1)

    async def _with_equal(self, here: dict[str, int]) -> Counts:
        """All objects together, with those that are equal."""
        total = Counts()
        for bucket, count in here.items():
            counts = self._trees.get(bucket, Counts())
            counts.equal = _equal(count, counts)
            if bucket not in self._trees:
                total.equal += counts.equal
        for bucket, counts in self._trees.items():
            if bucket:
                total.add(counts)
        return total

    def _seconds(self) -> float:
        return self._home.clock.monotonic() - self._began


def _equal(count: int, counts: Counts) -> int:
    different = counts.only_here + counts.newer_here + counts.newer_there + counts.conflicts
    return max(0, count - different)


def _what(here: ItemState | None, there: ItemState | None) -> str:
    """The field of `Counts` that an item counts in; "" when it is alike after all."""
    ours, theirs = here.hash if here else "", there.hash if there else ""
    if ours == theirs:
        return ""
    if here is None or there is None or not (ours and theirs):
        return "only_here" if ours else "only_there"
    if saw(here.stamp, here.seen, there.stamp):
        return "newer_here"
    return "newer_there" if saw(there.stamp, there.seen, here.stamp) else "conflicts"


def _renamed(home: Home, theirs: Iterable[tuple[str, str, str, bool]]) -> list[Renamed]:
    ours = {one.name: one for one in home.names.directory.all_buckets() if one.live}
    found = []
    for bucket, name, created, live in theirs:
        here = ours.get(name)
        if live and here is not None and here.id != bucket:
            keeps = "here" if (here.created, here.id) < (created, bucket) else "there"
            found.append(Renamed(name=name, keeps=keeps))
    return sorted(found, key=lambda one: one.name)
