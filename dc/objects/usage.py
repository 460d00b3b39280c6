"""Which containers somebody may be about to need who has no name for it yet, or no longer: bodies
that stream in, bodies that are durable and whose names are on their way, reads under way.

For who wants to move or remove containers. Whether that is safe is decided by the name server
(`dc/names/places.py`); this keeps it from being in anybody's way. Used on the event loop.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Protocol
from weakref import WeakSet

from dc.names.model import Extent
from dc.ports import Clock


class Body(Protocol):
    """A body that streams in."""

    def containers(self) -> set[int]:
        """Those that it has bytes in."""
        ...


class Usage:
    """See the head of the file."""

    def __init__(self, clock: Clock) -> None:
        self.bodies: WeakSet[Body] = WeakSet()
        """Those that stream in, or did and are still kept by somebody."""
        self._clock = clock
        self._last: dict[int, float] = {}
        """Of containers of this process, when bytes in them were last handed to somebody."""
        self._reads: dict[int, Sequence[Extent]] = {}
        self._numbers = count()

    def handed_out(self, containers: Iterable[int]) -> None:
        """Whoever stored bytes there has been given their extents now, at the latest."""
        now = self._clock.monotonic()
        for container in containers:
            self._last[container] = now

    def forget(self, container: int) -> None:
        self._last.pop(container, None)

    def begin_read(self, extents: Sequence[Extent]) -> int:
        """A read begins; a number to end it with."""
        number = next(self._numbers)
        self._reads[number] = extents
        return number

    def end_read(self, number: int) -> None:
        del self._reads[number]

    def read_now(self) -> set[int]:
        """The containers of bodies that are being read."""
        return {one.container for extents in self._reads.values() for one in extents}

    def streaming(self) -> set[int]:
        """The containers that bodies have bytes in which stream in."""
        return {container for body in self.bodies for container in body.containers()}

    def recent(self, seconds: float) -> set[int]:
        """The containers whose bytes were handed to somebody in the last seconds."""
        after = self._clock.monotonic() - seconds
        return {container for container, last in self._last.items() if last > after}
