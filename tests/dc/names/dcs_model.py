"""What must be true of DCs that write, exchange, collect and start again in any order.

The ledger holds who wrote what, and what each write had truly seen: what its DC had of the item at
that moment, and what that had seen. The product keeps two stamps of it; this keeps all.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from dcs_kit import Site, assert_trees, exchange, pair, sites, state, written
from names_kit import OWNER

from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    NoSuchBucket,
    NoSuchConflict,
    NoSuchVersion,
)
from dc.names.model import Bucket, Kind, Tombstone, Version, bucket_id
from dc.names.seen import INFERRED, saw
from dc.stamps import stamp_origin, version_id

BUCKET = bucket_id(OWNER, "photos")
KEYS = ["a", "b"]


class Ledger:
    """Every write of an item by its stamp."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}
        """Stamp -> key, of null versions that are objects."""
        self.seen: dict[str, set[str]] = {}
        self.versions: dict[str, str] = {}
        """Version id -> key."""
        self.deleted: set[str] = set()
        self.settled: set[str] = set()
        """Losers whose conflicts were dropped or restored."""
        self.last: dict[tuple[str, str], str] = {}

    async def write(self, site: Site, key: str, stamp: str, before: set[str]) -> None:
        """A null write was made there, over what was there `before`."""
        past = set(before)
        for one in before:
            past |= self.seen.get(one, set())
        mine = self.last.get((site.dc_id, key))
        if mine:
            past |= {mine} | self.seen[mine]
        self.seen[stamp] = past - {stamp}
        self.last[site.dc_id, key] = stamp


class World:
    """The DCs and the ledger; each method is something that may happen."""

    def __init__(self, sites: list[Site]) -> None:
        self.sites = sites
        self.ledger = Ledger()
        self.given: dict[str, set[str]] = {one.dc_id: set() for one in sites}

    async def there(self, site: Site, key: str) -> set[str]:
        """The stamps of what a DC has of a null item, conflicts and all."""
        entries, _, _ = await site.names.feed(0, 100_000)
        found = set()
        for entry in entries:
            change = entry.change
            if isinstance(change, Version | Tombstone) and (change.key, change.vid) == (key, ""):
                found.add(change.stamp)
            elif hasattr(change, "loser") and change.loser.key == key:
                found.add(change.loser.stamp)
        return found

    async def put(self, site: Site, key: str, marker: bool = False) -> None:
        before = await self.there(site, key)
        stamp = site.names.clock.now()
        made = written(BUCKET, key, stamp)
        if marker:
            made = Version(BUCKET, key, "", stamp, Kind.DELETE_MARKER, 0, "", made.meta, [])
        try:
            await site.names.put(made)
        except NoSuchBucket:
            return
        if not marker:
            self.ledger.objects[stamp] = key
        await self.ledger.write(site, key, stamp, before)

    async def delete(self, site: Site, key: str) -> None:
        before = await self.there(site, key)
        stamp = site.names.clock.now()
        with contextlib.suppress(NoSuchBucket):
            await site.names.delete([Tombstone(bucket=BUCKET, key=key, vid="", stamp=stamp)])
            await self.ledger.write(site, key, stamp, before)

    async def put_version(self, site: Site, key: str) -> None:
        stamp = site.names.clock.now()
        with contextlib.suppress(NoSuchBucket):
            await site.names.put(written(BUCKET, key, stamp, version_id(stamp)))
            self.ledger.versions[version_id(stamp)] = key

    async def delete_version(self, site: Site, key: str) -> None:
        for vid, of in self.ledger.versions.items():
            if of == key and await site.names.version(BUCKET, key, vid):
                stamp = site.names.clock.now()
                await site.names.delete([Tombstone(bucket=BUCKET, key=key, vid=vid, stamp=stamp)])
                self.ledger.deleted.add(vid)
                return

    async def tag(self, site: Site, key: str) -> None:
        value = site.names.clock.now()
        with contextlib.suppress(NoSuchBucket, NoSuchVersion):
            await site.names.set_registers(BUCKET, key, "", {"tags": value, "acl": key})
        with contextlib.suppress(NoSuchBucket):
            await site.names.set_bucket_registers(BUCKET, {"versioning": value})

    async def drop(self, site: Site, key: str) -> None:
        for one in await site.names.conflicts(bucket_id=BUCKET):
            if one.loser.key == key:
                await site.names.drop_conflict(BUCKET, key, one.loser.stamp)
                self.ledger.settled.add(one.loser.stamp)
                return

    async def restore(self, site: Site, key: str) -> None:
        for one in await site.names.conflicts(bucket_id=BUCKET):
            if one.loser.key == key and not one.loser.vid:
                before = await self.there(site, key)
                with contextlib.suppress(NoSuchBucket, NoSuchConflict):
                    lost = one.loser.stamp
                    again = await site.names.restore_conflict(BUCKET, key, lost)
                    assert again.extents == one.loser.extents
                    self.ledger.settled.add(lost)
                    self.ledger.objects[again.stamp] = key
                    await self.ledger.write(site, key, again.stamp, before)
                return

    async def bucket(self, site: Site, key: str) -> None:
        """Delete the bucket or make it, whichever can be done."""
        with contextlib.suppress(BucketNotEmpty):
            try:
                await site.names.delete_bucket(BUCKET)
                assert site.names.directory.bucket("photos") is None
            except NoSuchBucket:
                with contextlib.suppress(BucketExists):
                    made = await site.names.create_bucket("photos", OWNER, key)
                    assert site.names.directory.bucket("photos") == made

    async def take(self, site: Site, other: Site, limit: int, along: bool) -> None:
        """Take a page; at the end of the feed acknowledge it and take over what it covers."""
        if site is other:
            return
        covered = other.names.coverage()
        if await site.take(other, limit, along):
            site.names.cover(covered)
            other.names.knowledge.note_progress(site.dc_id, site.cursors[other.dc_id])
            self.given[site.dc_id].add(other.dc_id)
            if len(self.given[site.dc_id]) == len(self.sites) - 1:
                site.names.knowledge.close_gap()

    async def keep_up(self, site: Site) -> None:
        """Time goes by, and one DC does its chores."""
        for one in self.sites:
            one.clock.ms += 31_000
        await site.names.upkeep()

    async def start_again(self, site: Site) -> None:
        await site.start_again()
        self.given[site.dc_id].clear()

    # -- what must be true ----------------------------------------------------------------------

    async def converge(self) -> int:
        """Everybody takes everything; how many items there are then."""
        await exchange(*self.sites)
        states = [await state(one.names) for one in self.sites]
        kept = [{item: v for item, v in one.items() if _is_kept(v)} for one in states]
        assert all(one == kept[0] for one in kept)
        roots = [one.names.roots() for one in self.sites]
        assert all(one == roots[0] for one in roots)
        for one in self.sites:
            await assert_trees(one.names)
        for one in states:
            for value in one.values():
                assert getattr(value, "seen", "") != INFERRED, "nobody forgot anything"
        await self._check_writes(kept[0])
        return len(kept[0])

    async def _check_writes(self, kept: dict[tuple[str, ...], object]) -> None:
        conflicts = await self.sites[0].names.conflicts()
        losers = {one.loser.stamp: one.winner for one in conflicts}
        for loser, winner in losers.items():
            assert loser not in self.ledger.settled
            assert loser not in self.ledger.seen[winner], "it was overwritten knowingly"
            assert winner not in self.ledger.seen[loser]
        for stamp, key in self.ledger.objects.items():
            current = kept.get(("item", BUCKET, key, ""))
            is_current = isinstance(current, Version) and current.stamp == stamp
            overwritten = any(stamp in seen for seen in self.ledger.seen.values())
            assert not (is_current and overwritten), "it came back"
            assert is_current or overwritten or stamp in losers or stamp in self.ledger.settled
        for vid, key in self.ledger.versions.items():
            assert (("item", BUCKET, key, vid) in kept) == (vid not in self.ledger.deleted)
        for current in kept.values():
            if isinstance(current, Version) and not current.vid:
                self._check_seen(current)
        assert any(isinstance(one, Version) for one in kept.values()) <= _is_live(kept)

    def _check_seen(self, current: Version) -> None:
        """What it says that it had seen, it had."""
        for stamp, key in self.ledger.objects.items():
            other = key == current.key and stamp != current.stamp
            if other and saw(current.stamp, current.seen, stamp):
                past, origin = self.ledger.seen[current.stamp], stamp_origin(stamp)
                assert any(one >= stamp and stamp_origin(one) == origin for one in past)


def _is_kept(value: object) -> bool:
    return value != "gone" and not isinstance(value, Tombstone)


def _is_live(kept: dict[tuple[str, ...], object]) -> bool:
    return any(isinstance(one, Bucket) and one.live for one in kept.values())


@contextlib.asynccontextmanager
async def world(folder: Path, count: int) -> AsyncIterator[World]:
    """DCs that are paired, each with each, and have made the bucket apart from each other."""
    async with sites(folder, count) as found:
        for one in found:
            await one.names.create_bucket("photos", OWNER, "eu")
        await pair(*found)
        yield World(found)
