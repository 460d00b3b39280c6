"""Tombstones go when nothing can come any more that they would have to beat, and not before."""

import shutil
from pathlib import Path

import pytest
from dcs_kit import BYTES, Site, bucket_of, exchange, pair, sites

from dc.names.model import Bucket, Conflict, Interval
from dc.names.service import SqliteNames

DAY_MS = 24 * 3600 * 1000


async def deleted(*all_sites: Site) -> Bucket:
    """An object that all had, deleted in the first."""
    bucket = await bucket_of(all_sites[0])
    await pair(*all_sites)
    await all_sites[0].put(bucket, "k")
    await exchange(*all_sites, acknowledge=True)
    await all_sites[0].delete(bucket, "k")
    return bucket


async def settled(*all_sites: Site) -> None:
    for _ in range(3):
        for one in all_sites:
            one.clock.ms += 31_000
        for one in all_sites:
            await one.names.upkeep()
        await exchange(*all_sites, acknowledge=True)


async def test_it_waits_for_every_peer(tmp_path: Path) -> None:
    async with sites(tmp_path, 3) as (one, other, third):
        bucket = await deleted(one, other, third)
        before = one.names.knowledge.progress(third.dc_id)
        await exchange(one, other, third, acknowledge=True)
        acked = one.names.knowledge.progress(third.dc_id)
        await settled(one, other, third)
        assert before and acked and before.acked < acked.acked
        assert await one.tombstones() == []
        assert one.names.knowledge.horizon > before.acked

        await one.put(bucket, "k")
        await exchange(one, other, third, acknowledge=True)
        late = one.names.knowledge.progress(third.dc_id)
        await one.delete(bucket, "k")
        await exchange(one, other, acknowledge=True)
        await settled(one, other)
        assert late is not None
        one.names.knowledge.note_progress(third.dc_id, late.acked)
        one.names.cover([Interval(third.dc_id, "", f"{'f' * 16}{third.dc_id}")])
        await one.settle()
        assert len(await one.tombstones()) == 1, "the third one has not taken it"
        await one.names.remove_peer(third.dc_id)
        await one.settle()
        assert await one.tombstones() == []


async def test_it_waits_for_whoever_may_have_an_older_write(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await deleted(one, other)
        await settled(one, other)
        one.names.cover([Interval("9" * 16, "", f"{one.clock.ms - 200_000:012x}0000" + "9" * 16)])
        bucket = one.names.directory.bucket("photos")
        assert bucket is not None
        await one.put(bucket, "k")
        await one.delete(bucket, "k")
        await settled(one, other)
        assert len(await one.tombstones()) == 1, "a DC behind others is not covered up to there"
        one.clock.ms += 31 * DAY_MS
        other.clock.ms += 31 * DAY_MS
        await settled(one, other)
        assert await one.tombstones() == [], "it was not heard of for too long"


async def test_a_peer_that_was_away_too_long_holds_up_nothing(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await deleted(one, other)
        await one.settle()
        assert len(await one.tombstones()) == 1
        one.clock.ms += 31 * DAY_MS
        await one.settle()
        assert await one.tombstones() == []
        assert one.names.knowledge.horizon > other.cursors[one.dc_id], "it will be told so"


async def test_what_it_beat_does_not_come_back(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await pair(one, other)
        old = await one.put(bucket, "k")
        await exchange(one, other, acknowledge=True)
        await one.delete(bucket, "k")
        await settled(one, other)
        assert await one.tombstones() == []
        await one.apply([old], along=True)
        assert await one.version(bucket, "k") is None
        await exchange(one, other)
        assert await other.version(bucket, "k") is None


async def test_alone_it_waits_for_nobody(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        await one.start_again()
        await one.put(bucket, "k")
        await one.delete(bucket, "k")
        await one.names.upkeep()
        assert len(await one.tombstones()) == 1
        await one.settle()
        assert await one.tombstones() == []


async def test_conflicts_end_by_age_and_are_forgotten(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await pair(one, other)
        await exchange(one, other, acknowledge=True)
        lost = await one.put(bucket, "k")
        other.clock.ms += 1000
        await other.put(bucket, "k")
        await settled(one, other)
        [kept] = await one.names.conflicts()
        assert kept.loser.extents == BYTES
        for site in (one, other):
            site.names.knowledge.conflict_retention_ms = DAY_MS
            site.clock.ms += DAY_MS - 200_000
        await settled(one, other)
        assert await one.names.conflict_count() == 1
        for site in (one, other):
            site.clock.ms += 200_000
        await one.names.upkeep()
        gone = await one.names.conflict(bucket.id, "k", lost.stamp)
        assert gone is not None and gone.gone and gone.loser.extents == []
        await settled(one, other)
        await settled(one, other)
        for site in (one, other):
            assert await site.names.conflicts() == []
            assert await site.names.conflict(bucket.id, "k", lost.stamp) is None
            entries, _, _ = await site.names.feed(0, 100)
            assert not [e for e in entries if isinstance(e.change, Conflict)]


async def test_what_is_known_outlives_a_start(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await deleted(one, other)
        await settled(one, other)
        before = one.names.knowledge
        await one.start_again()
        after = one.names.knowledge
        assert after is not before
        assert after.progress(other.dc_id) is not None
        assert after.horizon == before.horizon > 0
        # What was taken over since the last round is learned again.
        assert after.coverage.of(other.dc_id)
        assert after.coverage.of(one.dc_id)[0].low == ""
        await one.names.remove_peer(other.dc_id)
        await one.names.upkeep()
        await one.start_again()
        assert one.names.knowledge.progress(other.dc_id) is None


async def copy_of(names: SqliteNames, path: Path, to: Path) -> None:
    for suffix in ("", "-wal"):
        if (source := Path(f"{path}{suffix}")).exists():
            shutil.copy(source, f"{to}{suffix}")


@pytest.mark.parametrize("rounds", range(1, 7))
async def test_a_crash_after_any_round_brings_nothing_back(tmp_path: Path, rounds: int) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await pair(one, other)
        old = await one.put(bucket, "k")
        await exchange(one, other, acknowledge=True)
        await one.delete(bucket, "k")
        for _ in range(rounds):
            for site in (one, other):
                site.clock.ms += 31_000
                await site.names.upkeep()
            await exchange(one, other, acknowledge=True)
        copy = tmp_path / "copy.db"
        await copy_of(one.names, one.path, copy)
        one.path = copy
        await one.start_again()
        await one.apply([old], along=True)
        assert await one.version(bucket, "k") is None
