"""Datacenters that do things apart and then hear of them: real name servers, and a way to carry the
feed of one to another, any number of times.

A `Stage` has three: the one that acts first, the one that acts second, and one that only listens. A
cell of the table acts at the first, calls `between`, and acts at the second. Whether `between`
carries anything decides if the second had seen what the first did.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from names_kit import OWNER, FixedClock, opened

from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Condition,
    Extent,
    Kind,
    Meta,
    Register,
    Removal,
    Tombstone,
    User,
    Version,
)
from dc.names.service import SqliteNames
from dc.stamps import version_id

OTHER_OWNER = "b" * 64
IDS = {"paris": "1" * 16, "tokyo": "2" * 16, "austin": "3" * 16}
ALL = 100_000


class Place:
    """One datacenter, and the short words for what a client does there."""

    def __init__(self, name: str, names: SqliteNames, clock: FixedClock) -> None:
        self.name = name
        self.names = names
        self.clock = clock
        self.taken: dict[str, int] = {}
        """How far the feeds of others were taken."""
        self.batches: list[list[Change]] = []
        """All that ever came, to come again."""

    def stamp(self) -> str:
        """Later than all that happened before at any place."""
        self.clock.ms += 1
        return self.names.clock.now()

    async def put(
        self,
        key: str,
        *,
        bucket: str,
        versioned: bool = False,
        text: str = "",
        marker: bool = False,
        only_if: Condition | None = None,
        **registers: str,
    ) -> Version:
        stamp = self.stamp()
        text = text or f"{self.name} {stamp}"
        made = Version(
            bucket,
            key,
            version_id(stamp) if versioned else "",
            stamp,
            Kind.DELETE_MARKER if marker else Kind.OBJECT,
            0 if marker else len(text),
            "" if marker else hashlib.md5(text.encode()).hexdigest(),
            Meta(content_type="text/plain"),
            [] if marker else [Extent(1 << 60, 64, len(text))],
            registers={name: Register(stamp, value) for name, value in registers.items()},
        )
        await self.names.put(made, only_if=only_if)
        return made

    async def delete(self, key: str, *, bucket: str, vid: str = "") -> None:
        gone = Tombstone(bucket=bucket, key=key, vid=vid, stamp=self.stamp())
        await self.names.delete([gone])

    async def remove(self, key: str, *, bucket: str, vid: str) -> object:
        """As clients delete a version: what became of it."""
        gone = Tombstone(bucket=bucket, key=key, vid=vid, stamp=self.stamp())
        (outcome,) = await self.names.remove([Removal(change=gone, lockable=True)])
        return outcome

    async def tag(self, key: str, *, bucket: str, vid: str = "", **values: str) -> None:
        self.stamp()
        await self.names.set_registers(bucket, key, vid, values)

    async def attribute(self, bucket: str, **values: str) -> None:
        self.stamp()
        await self.names.set_bucket_registers(bucket, values)

    async def create(self, name: str, owner: str = OWNER) -> Bucket:
        self.stamp()
        return await self.names.create_bucket(name, owner, self.name)

    async def delete_bucket(self, bucket: str) -> None:
        self.stamp()
        await self.names.delete_bucket(bucket)

    async def add_user(self, number: str, email: str = "ann@example.com") -> User:
        user = User(id=number * 64, email=email, stamp=self.stamp())
        await self.names.add_user(user, self.key(user.id, f"K{number}"))
        return user

    def key(self, user: str, key: str) -> AccessKey:
        return AccessKey(id=key, user=user, secret=b"sealed", stamp=self.stamp())

    async def settle(self, loser: Version, *, restore: bool) -> Version | None:
        """Restore or drop a conflict."""
        item = (loser.bucket, loser.key, loser.stamp)
        self.stamp()
        if restore:
            return await self.names.restore_conflict(*item)
        await self.names.drop_conflict(*item)
        return None

    async def take(self, other: "Place") -> bool:
        """Take what is new in another's feed; whether there was anything."""
        entries, end, _ = await other.names.feed(self.taken.get(other.name, 0), ALL)
        self.taken[other.name] = end
        if entries:
            await self.apply([entry.change for entry in entries])
        return bool(entries)

    async def apply(self, changes: list[Change]) -> None:
        self.batches.append(changes)
        for change in changes:
            self.names.clock.observe(change.stamp)
        await self.names.apply(changes)

    async def facts(self) -> dict[str, object]:
        """All that users and operators see."""
        directory = self.names.directory
        entries, _, _ = await self.names.feed(0, ALL)
        versions = [e.change for e in entries if isinstance(e.change, Version)]
        kept = await self.names.conflicts()
        return {
            "versions": {(one.bucket, one.key, one.vid): plain(one) for one in versions},
            "kept": [(plain(one.loser), one.winner) for one in kept],
            "count": await self.names.conflict_count(),
            "buckets": {
                one.name: one
                for owner in (OWNER, OTHER_OWNER)
                for one in directory.buckets_of(owner)
            },
            "users": directory.users(),
            "keys": {
                one.id: (one.user, directory.key(one.id) is not None)
                for one in directory.everything()
                if isinstance(one, AccessKey)
            },
            "roots": self.names.roots(),
        }


@dataclass
class Outcome:
    """What a cell says must be so everywhere; what it does not name is not there."""

    current: dict[str, Version | None] = field(default_factory=dict)
    """By key; None: nobody finds an object there."""
    versions: dict[str, list[Version]] = field(default_factory=dict)
    """By key: all that there are."""
    kept: list[Version] = field(default_factory=list)
    """The conflicts."""
    also: Callable[[Place], Awaitable[bool]] | None = None
    """What else must be so."""


@dataclass
class Stage:
    """Where a cell plays."""

    first: Place
    second: Place
    third: Place
    seen: bool
    bucket: str = ""
    """Of a bucket that all know."""

    async def share(self) -> None:
        """Everything everywhere."""
        for _ in range(9):
            news = False
            for one in (self.first, self.second, self.third):
                for other in (self.first, self.second, self.third):
                    if one is not other:
                        news |= await one.take(other)
            if not news:
                return
        raise AssertionError("they go on telling each other news")

    async def between(self) -> None:
        if self.seen:
            await self.second.take(self.first)


@contextlib.asynccontextmanager
async def stage(folder: Path, *, first: str, second: str, seen: bool) -> AsyncIterator[Stage]:
    clock = FixedClock()
    async with contextlib.AsyncExitStack() as stack:
        places = {}
        for name, dc_id in IDS.items():
            names = await stack.enter_async_context(opened(folder / f"{name}.db", dc_id, clock))
            places[name] = Place(name, names, clock)
        (third,) = places.keys() - {first, second}
        made = Stage(places[first], places[second], places[third], seen)
        for place in places.values():
            await place.names.put_site(place.name, place.name)
        made.bucket = (await made.first.create("photos")).id
        await made.share()
        yield made


def plain(version: Version) -> Version:
    """Without what only one datacenter knows."""
    return msgspec.structs.replace(version, seq=0, seen="", registers={})
