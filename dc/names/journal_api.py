"""What the journal (`dc/objects/journal.py`) asks of a name server (`dc/names/journal.py`)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol

import msgspec

from dc.names.model import Extent, Peer, Version
from dc.stamps import Stamp


class Segment(msgspec.Struct, frozen=True):
    """A part of the journal that is in the containers."""

    serial: int
    """Segments written later have greater ones: 31 bits of starts and 32 of segments."""
    first: int
    last: int
    rows: int
    floor: Stamp
    """Every change made here up to it is in the journal, or was never made; "" when
    the journal was never whole."""
    begun: bool
    """A datacenter that serves wrote it, not a rebuild, which may have come to nothing."""
    extents: list[Extent]


class Page(NamedTuple):
    """A page of the feed: `data` is to be stored, `last` the position up to which it goes, and
    `complete` whether the feed, or what was asked for of it, ended there."""

    data: bytes
    last: int
    rows: int
    complete: bool


class Token(msgspec.Struct, frozen=True, array_like=True):
    """A pairing token that was used."""

    id: str
    peer: str
    expires: int


class JournalNames(Protocol):
    """The tables of the journal."""

    settled: Callable[[], Awaitable[None]]
    """Returns when all that was committed is in the journal: where there is one."""

    async def load(self) -> tuple[str, int, list[Segment]]:
        """The generation, the number of this start, and the segments by position."""
        ...

    async def page(self, after: int, limit: int, stop: int | None = None) -> Page:
        """The next `limit` rows of the feed after a position, or those up to `stop`."""
        ...

    async def count(self, first: int, last: int) -> int:
        """How many rows the feed has after one position, up to another."""
        ...

    async def replace(self, gone: Sequence[int], new: Sequence[Segment]) -> None:
        """Put segments in the place of others, given by their serials."""
        ...

    async def begin(self, name: str, paired: Sequence[Peer], tokens: Sequence[Token]) -> None:
        """In an empty database: the generation, and what is in no feed."""
        ...

    async def admit(self, versions: Sequence[Version]) -> int:
        """Store versions that were made here, in the order of their stamps, as if that was now; but
        not in buckets that are not there. How many were stored, or lost to others."""
        ...
