"""A transaction of the writer, and what it changes besides the tables.

Everything here is used in the writer's thread, and told to the rest of the name server, in the
event loop, after the commit.
"""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from dc.names.model import Change, Peer
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


class _Mark(NamedTuple):
    seq: int
    changed: int
    numbers: int
    deltas: int


class Transaction:
    """What an action may use."""

    def __init__(self, db: sqlite3.Connection, dc_id: str, seq: int, covers: Covers) -> None:
        self.db = db
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
        """All peers, when one was added or removed."""
        self.told = False
        """Whether events went into the outbox."""
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
