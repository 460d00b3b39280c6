"""The interface of the object servers: bytes in, extents out; extents in, bytes out.

`dc/objects/store.py` implements it with containers on this machine's disk; a remote form will speak
it over the network.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from dc.names.model import Extent
from dc.ports import Buffer

STANDARD = "standard"
"""The tier of all buckets that say no other (`dc/objects/tiers.py`)."""

SMALL_MAX_BYTES = 1 << 20
"""The largest body that `put` takes: what fits in one record (`dc/objects/format.py`)."""


class ObjectsError(Exception):
    """Bytes cannot be stored or read."""


class CorruptData(ObjectsError):
    """Bytes on disk are not those that were written. They are never served."""


class MissingData(ObjectsError):
    """A container or a part of it is not there."""


class BytesElsewhere(ObjectsError):
    """Other datacenters have the bytes of this body, this one has not (`dc/placement.py`)."""


class OutOfSpace(ObjectsError):
    """The disk is full. Nothing of the failed write counts."""


class TooFewDisks(ObjectsError):
    """So few disks can be written that nothing would be as redundant as it is to be. It passes."""


class BodyWriter(Protocol):
    """A body of any size as it streams in."""

    async def write(self, data: Buffer) -> None:
        """Take the next bytes. `data` may be kept until `finish`; waits when the disk is behind,
        which is what bounds memory."""
        ...

    async def finish(self, ident: bytes | None = None) -> list[Extent]:
        """Return when everything is durable, with the extents in order of the body. `ident` is
        stored beside the last of its bytes instead of that which the body began with."""
        ...

    def abort(self) -> None:
        """Forget the body. What was written is garbage. Harmless after `finish`."""
        ...


class ObjectStore(Protocol):
    """The object servers of one DC."""

    async def put(self, ident: bytes, data: Buffer, *, tier: str = STANDARD) -> list[Extent]:
        """Store a small body (up to SMALL_MAX_BYTES) and return when it is durable. Bodies that
        arrive together share one append and one fdatasync. `ident` is what a rebuild of the name
        server needs; it is stored beside the bytes. `tier` says how it is to be kept; where there
        is none of that name it is `standard`. An empty body has no extents."""
        ...

    def writer(self, ident: bytes, *, tier: str = STANDARD) -> BodyWriter:
        """Store a large body."""
        ...

    def read_cached(self, extents: Sequence[Extent]) -> bytes | None:
        """The whole of a small body without waiting for the disk; None when that is not possible.
        Checked: raises CorruptData. Call it from the event loop."""
        ...

    def read(self, extents: Sequence[Extent], start: int, stop: int) -> AsyncIterator[Buffer]:
        """The bytes [start, stop) of a body in pieces of up to 1 MiB, each checked before it is
        given out."""
        ...

    async def close(self) -> None: ...
