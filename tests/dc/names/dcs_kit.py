"""Some DCs, each with a real name server, that take each other's feeds the way consumers do."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
from names_kit import OWNER, FixedClock, version

from dc.names import rebuild
from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Extent,
    Known,
    Peer,
    Tombstone,
    Version,
)
from dc.names.service import SqliteNames, open_names
from dc.system import SystemDatabases, SystemRandomness

DCS = ["1" * 16, "2" * 16, "3" * 16]
BYTES = [Extent(1 << 60, 64, 1)]
START_MS = 1_800_000_000_000


class TickingClock(FixedClock):
    """Wall and monotonic time as the test sets them."""

    def monotonic(self) -> float:
        return self.ms / 1000


class Site:
    """One DC: its name server, and how far it has taken the others' feeds."""

    names: SqliteNames

    def __init__(self, folder: Path, dc_id: str, start_ms: int = START_MS) -> None:
        self.dc_id = dc_id
        self.clock = TickingClock(start_ms)
        self.path = folder / f"{dc_id}.db"
        self.cursors: dict[str, int] = {}

    async def open(self) -> None:
        self.names = await open_names(
            self.path,
            databases=SystemDatabases(),
            clock=self.clock,
            randomness=SystemRandomness(),
            dc_id=self.dc_id,
        )

    async def close(self) -> None:
        await self.names.close()

    async def start_again(self) -> None:
        await self.close()
        await self.open()

    async def take(self, other: "Site", limit: int = 10_000, along: bool = True) -> bool:
        """Take a page of another's feed; `along`: bodies come with it, needed or not. Returns
        whether that was all."""
        after = self.cursors.get(other.dc_id, 0)
        entries, end, complete = await other.names.feed(after, limit)
        await self.apply([entry.change for entry in entries], along)
        self.cursors[other.dc_id] = end
        return complete

    async def apply(self, changes: Sequence[Change], along: bool = False) -> None:
        """Merge changes made elsewhere, with their bytes as far as they are needed here."""
        wanted = [one for one in changes if isinstance(one, Version | Conflict)]
        known = await self.names.known([bare(one) for one in wanted])
        states = {id(one): state for one, state in zip(wanted, known, strict=True)}
        merged: list[Change] = []
        for one in changes:
            state = states.get(id(one), Known.NEW)
            if isinstance(one, Version | Conflict) and not along:
                if state == Known.PAST:
                    continue
                one = bare(one) if state == Known.HELD else one
            self.names.clock.observe(one.stamp)
            merged.append(one)
        await self.names.apply(merged)

    async def settle(self) -> None:
        """Enough rounds of upkeep to cover what is here."""
        for _ in range(3):
            self.clock.ms += 31_000
            await self.names.upkeep()

    async def put(self, bucket: Bucket, key: str, vid: str = "") -> Version:
        stamp = self.names.clock.now()
        made = written(bucket.id, key, stamp, vid)
        await self.names.put(made)
        return made

    async def delete(self, bucket: Bucket, key: str, vid: str = "") -> Tombstone:
        stamp = self.names.clock.now()
        gone = Tombstone(bucket=bucket.id, key=key, vid=vid, stamp=stamp)
        await self.names.delete([gone])
        return gone

    async def version(self, bucket: Bucket, key: str, vid: str = "") -> Version | None:
        return await self.names.version(bucket.id, key, vid)

    async def tombstones(self) -> list[Tombstone]:
        entries, _, _ = await self.names.feed(0, 10_000)
        return [one.change for one in entries if isinstance(one.change, Tombstone)]


def written(bucket: str, key: str, stamp: str, vid: str = "") -> Version:
    return msgspec.structs.replace(version(bucket, key, stamp, vid), extents=BYTES, size=1)


def bare(change: Change) -> Change:
    """The change without bytes, as it is known before they are fetched."""
    if isinstance(change, Conflict):
        return msgspec.structs.replace(change, loser=bare(change.loser))
    return msgspec.structs.replace(change, extents=[])


@contextlib.asynccontextmanager
async def sites(folder: Path, count: int = 2) -> AsyncIterator[list[Site]]:
    """DCs with clocks of their own, that know nothing of each other."""
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for number, dc_id in enumerate(DCS[:count]):
            found.append(Site(folder, dc_id, START_MS + 7 * number))
            await found[-1].open()
            stack.push_async_callback(found[-1].close)
        yield found


async def pair(*all_sites: Site) -> None:
    """Make all peers of all."""
    for one in all_sites:
        for other in all_sites:
            if one is not other:
                await one.names.add_peer(peer_of(other))


def peer_of(site: Site) -> Peer:
    return Peer(
        dc_id=site.dc_id,
        name=f"dc{site.dc_id[0]}",
        region="",
        endpoints=[],
        fingerprint="",
        signing_key=b"",
        sealing_key=b"",
        paired=site.dc_id * 2,
    )


async def exchange(*all_sites: Site, acknowledge: bool = False) -> None:
    """Everybody takes from everybody until nothing changes; `acknowledge`: and says so, and what
    it covers is taken over."""
    while True:
        ends = [one.names.feed_end for one in all_sites]
        for one in all_sites:
            for other in all_sites:
                if one is not other:
                    covered = other.names.coverage()
                    while not await one.take(other):
                        pass
                    if acknowledge:
                        one.names.cover(covered)
                        one.names.knowledge.close_gap()
                        other.names.knowledge.note_progress(one.dc_id, one.cursors[other.dc_id])
        if ends == [one.names.feed_end for one in all_sites]:
            return


async def state(names: SqliteNames) -> dict[tuple[str, ...], object]:
    """All that is the same in DCs that have everything of each other, by item."""
    found: dict[tuple[str, ...], object] = {}
    entries, _, _ = await names.feed(0, 100_000)
    seqs = [entry.seq for entry in entries]
    assert seqs == sorted(set(seqs)), "one row per item"
    for entry in entries:
        item, value = _item(entry.change)
        assert item not in found
        found[item] = value
    return found


def _item(change: Change) -> tuple[tuple[str, ...], object]:
    replace = msgspec.structs.replace
    match change:
        case Version():
            item = ("item", change.bucket, change.key, change.vid)
            return item, replace(change, extents=[], seq=0)
        case Tombstone():
            # That it is to be told again is each DC's own affair.
            return ("item", change.bucket, change.key, change.vid), replace(change, again=False)
        case Conflict():
            loser = replace(change.loser, extents=[], seq=0)
            item = ("conflict", loser.bucket, loser.key, loser.stamp)
            if change.gone:
                return item, "gone"
            assert change.loser.extents or not loser.size, "the bytes of a conflict"
            return item, replace(change, loser=loser)
        case AccessKey():
            return ("key", change.id), replace(change, secret=b"")
        case _:
            return (type(change).__name__, getattr(change, "id", "") or change.dc_id), change


async def assert_trees(names: SqliteNames) -> None:
    """The trees in memory, and those of a start now, are what the tables say."""
    counted = await names._scan.run(rebuild.count)
    assert names._trees.roots() == counted.roots()
    for number in counted.roots():
        assert names._trees.leaves(number) == counted.leaves(number)


async def bucket_of(site: Site, name: str = "photos") -> Bucket:
    return await site.names.create_bucket(name, OWNER, "eu")
