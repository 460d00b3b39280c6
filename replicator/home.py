"""What every part of the replicator needs of its own DC, in one hand."""

import datetime
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from dc.names.api import Names
from dc.names.model import Peer
from dc.names.trees import root_of
from dc.objects.api import ObjectStore
from dc.objects.tiers import tier_of
from dc.ports import Clock, Network, Randomness
from replicator.records import Sealer
from tokens.identity import Identity
from tokens.place import Place

Own = Callable[[int], Place]


async def _nothing() -> None:
    pass


@dataclass(slots=True)
class Home:
    """This DC. `own` tells how it describes itself to others, given the port its peer listener
    is bound to; `port` is set once, when that is known."""

    names: Names
    objects: ObjectStore
    identity: Identity
    own: Own
    sealer: Sealer
    clock: Clock
    randomness: Randomness
    network: Network
    port: int = 0
    zone: datetime.tzinfo | None = None
    """Of the times of day that windows of limits are in; None is the machine's."""
    to_come: Callable[[str], tuple[int, int]] = lambda _: (0, 0)
    """How many bodies of a bucket (by id), or "" of all, belong here and are not here
    (`replicator/filling.py`), and up to which position of the feed that is known."""

    meet: Callable[[], Awaitable[None]] = _nothing
    """To be called before anything is taken from a stream that opens (`replicator/absences.py`)."""

    @property
    def dc_id(self) -> str:
        return self.identity.dc_id

    @property
    def place(self) -> Place:
        return self.own(self.port)

    def peer(self, dc_id: str) -> Peer | None:
        """The paired DC with that id."""
        for peer in self.names.peers():
            if peer.dc_id == dc_id:
                return peer
        return None

    def tier(self, bucket: str) -> str:
        """The tier that the bytes of a bucket (by id) are kept in."""
        return tier_of(self.names.directory.bucket_by_id(bucket))

    def root(self) -> str:
        """The root of this DC: the same text in every DC that holds the same."""
        return root_of(self.names.roots().items())

    def now_seconds(self) -> int:
        """Epoch seconds, for tokens."""
        return self.clock.wall_ms() // 1000

    def backoff_seconds(self, failures: int, first: float, most: float) -> float:
        """A wait that doubles with each failure in a row, with jitter."""
        wait = min(first * 2.0 ** min(failures, 30), most)
        return wait * self.randomness.uniform(0.75, 1.25)
