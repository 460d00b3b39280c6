"""A transaction of the writer, and what it changes besides the tables.

Everything here is used in the writer's thread, and told to the rest of the name server, in the
event loop, after the commit.
"""

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dc.names.errors import BytesMissing
from dc.names.model import Change, Extent, Peer
from dc.stamps import Stamp

Item = tuple[int, str, str]
"""(bucket number, key, vid)"""

Covers = Callable[[Stamp], bool]
"""Whether a change with that stamp is reflected here (`dc/names/coverage.py`)."""


class Delta(NamedTuple):
    """A change of one leaf of one hash tree (`dc/names/trees.py`)."""

    bucket: int
    leaf: int
    value: int


class Pointed:
    """Which containers were given a name while somebody counts names (`dc/names/places.py`), and
    which can be given none any more. Used in the writer's thread."""

    __slots__ = ("counting", "gone", "named")

    def __init__(self) -> None:
        self.counting = False
        self.named: set[int] = set()
        """Since the count has begun; by a change that failed, perhaps."""
        self.gone: set[int] = set()
        """Retired since the start: their bytes go, or have gone."""

    def note(self, extents: Sequence[Extent]) -> None:
        """A name is about to point there. BytesMissing when that is gone."""
        if not (self.counting or self.gone):
            return
        for extent in extents:
            if extent.container in self.gone:
                raise BytesMissing(f"container {extent.container:016x} was removed meanwhile")
            if self.counting:
                self.named.add(extent.container)

    def is_gone(self, extents: Sequence[Extent]) -> bool:
        return bool(self.gone) and any(one.container in self.gone for one in extents)


class _Mark(NamedTuple):
    seq: int
    changed: int
    numbers: int
    deltas: int


class Transaction:
    """What an action may use."""

    def __init__(
        self,
        db: sqlite3.Connection,
        dc_id: str,
        seq: int,
        covers: Covers,
        pointed: Pointed | None = None,
    ) -> None:
        self.db = db
        self.pointed = pointed or Pointed()
        self.dc_id = dc_id
        self.covers = covers
        self.seq = seq
        """The last feed position taken."""
        self.changed: list[Change] = []
        """Buckets, users, keys and sites as they now are."""
        self.numbers: list[tuple[str, int]] = []
        """(bucket id, number) of buckets that are new here."""
        self.items: list[Item] = []
        """Versions and tombstones that may have changed."""
        self.deltas: list[Delta] = []
        """Changes of hash trees."""
        self.peers: list[Peer] | None = None
        """All peers, when one was added, changed or removed."""
        self.absent = False
        """Whether bodies were named that other DCs hold (`dc/names/elsewhere.py`)."""
        self.told = False
        """Whether events went into the outbox."""
        self.noted = False
        """Whether there is something for the notary (`dc/names/notary_outbox.py`)."""
        self.arrived: list[Change] = []
        """What was made elsewhere."""
        self.horizon = 0
        """The last position of a tombstone that was collected."""

    def take_seq(self) -> int:
        self.seq += 1
        return self.seq

    def mark(self) -> _Mark:
        """Where things stand, to come back to by `undo`."""
        return _Mark(self.seq, len(self.changed), len(self.numbers), len(self.deltas))

    def undo(self, mark: _Mark) -> None:
        """Forget what was noted since; what may have changed may have anyway."""
        self.seq = mark.seq
        del self.changed[mark.changed :]
        del self.numbers[mark.numbers :]
        del self.deltas[mark.deltas :]
