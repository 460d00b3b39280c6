"""Read-through: what is not here is read from another datacenter that has it.

It is a setting of a bucket, a register that travels as all do, and off where nothing is said. The
gateway asks by `Others`; the replicator answers (`replicator/reading.py`). Nothing that is read so
is stored. `docs/read-through.md`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from dc.names.gateway_api import Few
from dc.names.model import Bucket, Version
from dc.names.pages import Page, VersionPage
from dc.objects.api import ObjectsError
from dc.ports import Buffer

READ_THROUGH = "read-through"
"""The name of the register."""
ON = "on"


def reads_through(bucket: Bucket | None) -> bool:
    """Whether a bucket's objects may be read through; not of a bucket that is not known."""
    if bucket is None or READ_THROUGH not in bucket.registers:
        return False
    return bucket.registers[READ_THROUGH].value == ON


class NotGiven(ObjectsError):
    """No other datacenter gives the bytes now."""


class TooManyAsked(ObjectsError):
    """So much is being asked of other datacenters that no more is."""


class Found(NamedTuple):
    """What others have of a key that is not known here. `datacenter`: who told of the version;
    `unasked`: the names of those that could not be asked, or did not answer in time."""

    version: Version | None
    datacenter: str
    unasked: list[str]


class Passing(NamedTuple):
    """Bytes on their way from a datacenter, to be closed (`aclose`) by who does not take all."""

    datacenter: str
    pieces: AsyncIterator[Buffer]


class Told(NamedTuple):
    """Pages of a listing by the names of the datacenters that gave them: of objects only those that
    are news here; that there is any below a common prefix is not looked into. `unasked` as of
    `Found`."""

    pages: dict[str, Page]
    unasked: list[str]


class ToldVersions(NamedTuple):
    """The same of a listing of versions. `latest` are all but those of the key that the page begins
    in the middle of: the newest of a key is, unless there is one here."""

    pages: dict[str, VersionPage]
    unasked: list[str]


class Others(Protocol):
    """The other datacenters, as a gateway asks them. All waits are bounded. TooManyAsked when too
    much is under way. `dc/remote/` gives it to gateways on other machines."""

    async def find(
        self, bucket_id: str, key: str, vid: str | None, *, newer: bool = False
    ) -> Found:
        """The current version of a key of which nothing is known here, or (`vid`) just that
        version: the one with the latest stamp of all that connected peers tell of, which may be a
        delete marker. None when nobody has it, or when what they have was deleted here. Its bytes
        are elsewhere. `newer`: also of a key that is known here."""
        ...

    async def open(self, version: Version, start: int, stop: int) -> Passing:
        """The bytes [start, stop) of a version as stored; some of them have come when this returns.
        NotGiven. The iterator raises CorruptData before it has given all when they are not the
        object's, MissingData when they end early; it goes no faster than it is read."""
        ...

    async def pages(
        self, bucket_id: str, *, prefix: str, delimiter: str, after: str, limit: Few
    ) -> Told:
        """What others would list; arguments as of `GatewayNames.list_objects`."""
        ...

    async def version_pages(
        self,
        bucket_id: str,
        *,
        prefix: str,
        delimiter: str,
        after: tuple[str, str | None],
        limit: Few,
    ) -> ToldVersions:
        """The versions that others would list; arguments as of `GatewayNames.list_versions`, but a
        null version is named by the id that its stamp would make."""
        ...

    async def with_news(
        self, bucket_id: str, prefixes: Mapping[str, Sequence[str]], *, versions: bool = False
    ) -> set[str]:
        """Of prefixes, each with the names of the datacenters that have keys below it, those below
        which one of them has an object that is news here, or (`versions`) any version or delete
        marker; also those of which that cannot be found out within bounds."""
        ...
