"""What the simulated clients did and were told: against this the datacenters are checked.

Each write is an attempt with its stamp. Its fate: `acked` (the client was told so), `refused` (it
was told no, and nothing may remain), `open` (it was told nothing, or an error: it may have happened
or not).
"""

from dataclasses import dataclass, field

from dc.names.model import Version
from dc.stamps import Stamp

OPEN = "open"
ACKED = "acked"
REFUSED = "refused"
Item = tuple[str, str, str]
"""(bucket id, key, vid)"""


@dataclass
class Attempt:
    """One write of an item; without `version` a deletion."""

    operation: int
    dc: str
    stamp: Stamp
    version: Version | None
    fate: str = OPEN
    knows: set[str] = field(default_factory=set)
    """Of a deletion, the DCs that are connected with its own then, directly or not. It need not be
    remembered for others, which come later with what they have."""
    pairings: int = 0
    """Of a deletion, how many pairings there were by then."""
    seen: str | None = None
    """What it had seen; None when that was not found out."""

    settled: bool = False
    """Of an object that lost: somebody wanted its conflict ended."""
    begun: float = -1.0
    told: float = -1.0
    """When it was asked for, and when it was acknowledged."""
    replaces: Stamp = ""
    """What stood in its DC when it was asked for."""
    sha256: str = ""
    """Of its bytes, in hex, where there is a notary."""

    def __str__(self) -> str:
        what = f"version of {self.version.size} bytes" if self.version else "deletion"
        return f"{what} by #{self.operation} in {self.dc} at {self.stamp}, {self.fate}"


@dataclass
class Switch:
    """The notary of a bucket was to be switched, in a DC. `changes`: it was shown as the other
    before. `stamp`: what the register has after that, "" while there was no answer."""

    dc: str
    bucket: str
    value: str
    begun: float
    changes: bool
    stamp: Stamp = ""
    told: float = -1.0


@dataclass
class BucketLife:
    """Attempts at one bucket: (stamp or "", fate)."""

    creates: list[tuple[Stamp, str]] = field(default_factory=list)
    deletes: list[tuple[Stamp, str]] = field(default_factory=list)
    attribute: Stamp = ""
    """When its attribute was last set, as far as a client was told."""


@dataclass
class UserLife:
    """`gone`: the fate of its deletions, the surest one."""

    email: str
    fate: str
    gone: str = ""


@dataclass
class KeyLife:
    user: str
    secret: str
    gone: str = ""


class Model:
    """All attempts."""

    def __init__(self) -> None:
        self.items: dict[Item, list[Attempt]] = {}
        self.buckets: dict[str, BucketLife] = {}
        self.users: dict[str, UserLife] = {}
        self.keys: dict[str, KeyLife] = {}
        self.acked: dict[str, Stamp] = {}
        """By DC the latest stamp of an acknowledged write."""
        self.pairs: list[tuple[str, str]] = []
        """Names of DCs that were paired."""
        self.attributes: dict[tuple[Item, Stamp], Stamp] = {}
        """When the attribute of a version was last set, as far as a client was told."""
        self.put_back: set[str] = set()
        """Names of DCs whose database was put back to an old copy."""
        self.unclear: set[Item] = set()
        """Items that may have a version with a stamp that no client was told."""
        self.placed = False
        """Rules were made that keep bytes away from some DCs."""
        self.switches: list[Switch] = []
        self.told = 0
        """Acknowledged operations."""

    def attempt(self, item: Item, attempt: Attempt) -> Attempt:
        self.items.setdefault(item, []).append(attempt)
        return attempt

    def was_set(self, item: Item, version: Stamp, stamp: Stamp) -> None:
        self.attributes[item, version] = max(self.attributes.get((item, version), ""), stamp)

    def bucket(self, bucket_id: str) -> BucketLife:
        return self.buckets.setdefault(bucket_id, BucketLife())

    def was_acked(self, attempt: Attempt) -> None:
        attempt.fate = ACKED
        self.told += 1
        self.acked[attempt.dc] = max(self.acked.get(attempt.dc, ""), attempt.stamp)

    def connected(self, dc: str) -> set[str]:
        """The DCs that one can be reached from, itself among them."""
        found: set[str] = set()
        new = {dc}
        while new:
            found |= new
            new = {two for pair in self.pairs for two in pair if found & set(pair)} - found
        return found

    def left(self, dc: str) -> None:
        """A DC has left: what was connected through it is not any more."""
        self.pairs = [pair for pair in self.pairs if dc not in pair]
        for attempts in self.items.values():
            for gone in attempts:
                gone.knows &= self.connected(gone.dc)

    def forget_answers(self, dcs: list[str]) -> None:
        """What these DCs were told may be anywhere or nowhere now."""
        for attempts in self.items.values():
            for attempt in attempts:
                if attempt.dc in dcs and attempt.fate == ACKED:
                    attempt.fate = OPEN
        for life in self.buckets.values():
            life.attribute = "" if dcs else life.attribute
        if dcs:
            self.attributes.clear()

    def vids(self, bucket_id: str, key: str) -> list[str]:
        """Version ids of a key that a client may know, oldest attempt first."""
        return [
            vid
            for (bucket, name, vid), attempts in self.items.items()
            if vid and bucket == bucket_id and name == key and attempts[0].fate == ACKED
        ]

    def find(self, item: Item, stamp: Stamp) -> Attempt | None:
        for attempt in self.items.get(item, ()):
            if attempt.stamp == stamp:
                return attempt
        return None
