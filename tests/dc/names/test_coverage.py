"""What a DC knows of what it has, and what it concludes from it."""

import asyncio
import shutil
from pathlib import Path

import pytest
from dcs_kit import BYTES, Site, bare, bucket_of, exchange, pair, sites, written
from names_kit import PARIS, TOKYO, stamp_at

from dc.names.api import StampTooOld
from dc.names.coverage import INTERVALS_MAX, ORIGINS_MAX, Coverage
from dc.names.model import Interval, Known
from dc.names.seen import INFERRED
from dc.stamps import version_id


def test_intervals_join_where_they_touch() -> None:
    coverage = Coverage([Interval(PARIS, stamp_at(1), stamp_at(3))])
    assert stamp_at(2) in coverage
    assert stamp_at(2, origin=TOKYO) not in coverage
    assert coverage.join([Interval(PARIS, stamp_at(5), stamp_at(7))])
    assert stamp_at(4) not in coverage
    assert not coverage.join([Interval(PARIS, stamp_at(5), stamp_at(6))]), "no news"
    assert coverage.join([Interval(PARIS, stamp_at(3), stamp_at(5))])
    assert coverage.intervals() == [Interval(PARIS, stamp_at(1), stamp_at(7))]


def test_of_very_many_intervals_the_first_and_the_last_are_kept() -> None:
    many = [Interval(PARIS, stamp_at(n), stamp_at(n + 1)) for n in range(0, 400, 4)]
    coverage = Coverage([Interval(PARIS, "", stamp_at(0)), *many])
    assert len(coverage.of(PARIS)) == INTERVALS_MAX
    assert coverage.of(PARIS)[0].low == "" and stamp_at(397) in coverage


def test_what_is_stable() -> None:
    coverage = Coverage([Interval(PARIS, "", stamp_at(5000))])
    assert coverage.stable([PARIS], 0) == stamp_at(5000)
    assert coverage.stable([PARIS, TOKYO], 0) == "", "of a peer nothing is known"
    coverage.join([Interval(TOKYO, "", stamp_at(3000, origin=TOKYO))])
    assert coverage.stable([PARIS], 0) == stamp_at(3000, origin=TOKYO), "also who is no peer"
    assert coverage.stable([PARIS], 4000) == stamp_at(5000), "unless it was silent for long"
    coverage = Coverage([Interval(PARIS, stamp_at(1), stamp_at(5000))])
    assert coverage.stable([PARIS], 0) == "", "what was before is not known"


async def test_a_change_below_the_floor_is_refused(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        stamp = one.names.clock.now()
        await one.settle()
        assert one.names.knowledge.floor > stamp
        with pytest.raises(StampTooOld):
            await one.names.put(written(bucket.id, "k", stamp))
        assert await one.version(bucket, "k") is None
        await one.put(bucket, "k")
        assert await one.version(bucket, "k") is not None


async def test_the_floor_needs_time_and_is_covered_after_what_was_accepted(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        one.names.knowledge.close_gap()
        await one.names.upkeep()
        one.clock.ms += 29_000
        await one.names.upkeep()
        assert one.names.knowledge.floor == ""
        stamp = one.names.clock.now()
        one.clock.ms += 2_000
        await one.names.upkeep()
        one.clock.ms += 31_000
        # Accepted, and behind a slow disk: nothing may be said of it before it is there.
        putting = asyncio.ensure_future(one.names.put(written(bucket.id, "k", stamp)))
        await asyncio.sleep(0)
        working = asyncio.ensure_future(one.names.upkeep())
        while not putting.done():
            assert not one.names.knowledge.covers(stamp)
            await asyncio.sleep(0)
        await working
        assert putting.exception() is None
        assert one.names.knowledge.covers(stamp)


async def test_after_a_start_nothing_more_is_said_until_peers_have_given_back(
    tmp_path: Path,
) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        first = await one.put(bucket, "k")
        await one.settle()
        assert one.names.knowledge.coverage.intervals() == [], "another disk may have been"
        one.names.knowledge.close_gap()
        await one.settle()
        known = one.names.knowledge.floor
        assert known > first.stamp
        await one.start_again()
        between = one.names.clock.now()
        await one.settle()
        knowledge = one.names.knowledge
        assert knowledge.floor > between
        assert knowledge.coverage.intervals() == [Interval(one.dc_id, "", known)]
        knowledge.close_gap()
        assert knowledge.coverage.intervals() == [Interval(one.dc_id, "", knowledge.floor)]
        assert knowledge.covers(between)
        await one.settle()
        assert knowledge.coverage.intervals() == [Interval(one.dc_id, "", knowledge.floor)]


def copied(source: Path, target: Path) -> None:
    """A database, without what a log had to say of the one that was there."""
    for end in ("-wal", "-shm"):
        target.with_name(target.name + end).unlink(missing_ok=True)
    shutil.copyfile(source, target)


async def put_back(one: Site, saved: Path) -> None:
    """Start it on a copy of its database that was made before."""
    await one.close()
    copied(saved, one.path)
    await one.open()


async def save(one: Site, saved: Path) -> None:
    await one.close()
    copied(one.path, saved)
    await one.open()


async def test_what_a_dc_forgot_is_not_deleted_by_what_another_says_of_it(tmp_path: Path) -> None:
    """The second one hears of it from the third, says so, and does not send it to who made it."""
    async with sites(tmp_path, 3) as (one, other, third):
        await pair(one, other, third)
        bucket = await bucket_of(one)
        await exchange(one, other, third)
        saved = tmp_path / "saved"
        await save(one, saved)
        forgotten = await one.put(bucket, "k")
        await third.take(one)
        await one.settle()
        third.names.cover([Interval(one.dc_id, "", one.names.knowledge.floor)])
        await put_back(one, saved)
        await one.take(other)
        covered = third.names.coverage()
        await other.take(third)
        other.names.cover(covered)
        assert other.names.knowledge.covers(forgotten.stamp)
        one.names.cover(other.names.coverage())
        assert not one.names.knowledge.covers(forgotten.stamp)
        await one.take(third)
        current = await one.version(bucket, "k")
        assert current is not None and current.stamp == forgotten.stamp
        assert await one.tombstones() == []


async def test_nor_by_a_clock_that_was_put_back_as_well(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await pair(one, other)
        bucket = await bucket_of(one)
        await exchange(one, other)
        saved = tmp_path / "saved"
        await save(one, saved)
        began = one.clock.ms
        one.clock.ms += 600_000
        other.clock.ms += 600_000
        forgotten = await one.put(bucket, "k")
        await other.take(one)
        one.clock.ms = began + 1000
        await put_back(one, saved)
        await one.settle()
        one.clock.ms = began + 700_000
        await one.settle()
        assert one.names.knowledge.floor > forgotten.stamp
        await one.take(other)
        current = await one.version(bucket, "k")
        assert current is not None and current.stamp == forgotten.stamp


async def test_nor_is_what_it_makes_anew_at_moments_that_it_had_passed(tmp_path: Path) -> None:
    """Another DC's clock, which is ahead, had drawn its stamps along; then it was put back."""
    async with sites(tmp_path) as (one, other):
        await pair(one, other)
        bucket = await bucket_of(one)
        await exchange(one, other)
        one.names.knowledge.close_gap()
        saved = tmp_path / "saved"
        await save(one, saved)
        one.names.knowledge.close_gap()
        one.names.clock.observe(f"{one.clock.ms + 50_000:012x}0000{other.dc_id}")
        forgotten = await one.put(bucket, "forgotten")
        await one.names.upkeep()
        one.clock.ms += 31_000
        await one.names.upkeep()
        other.clock.ms = one.clock.ms
        other.names.cover(one.names.coverage())
        assert one.names.knowledge.floor
        await put_back(one, saved)
        made = await one.put(bucket, "k")
        assert made.stamp < forgotten.stamp
        await other.take(one)
        assert not other.names.knowledge.covers(made.stamp)
        current = await other.version(bucket, "k")
        assert current is not None and current.stamp == made.stamp


async def test_after_it_was_put_back_it_makes_no_stamp_twice(tmp_path: Path) -> None:
    """Though its clock, drawn ahead by another DC's, goes on from where it had been."""
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        one.names.clock.observe(f"{one.clock.ms + 50_000:012x}0000{'b' * 16}")
        await one.put(bucket, "before")
        saved = tmp_path / "saved"
        await save(one, saved)
        made = {(await one.put(bucket, "k")).stamp for _ in range(5)}
        await put_back(one, saved)
        assert not made & {(await one.put(bucket, "k")).stamp for _ in range(5)}


async def test_what_is_still_to_be_made_is_not_covered(tmp_path: Path) -> None:
    """Whoever says so; else all that is made later would be deleted on arrival."""
    async with sites(tmp_path) as (one, other):
        await pair(one, other)
        bucket = await bucket_of(one)
        await exchange(one, other)
        before = other.names.clock.now()
        one.clock.ms += 1000
        one.names.cover([Interval(other.dc_id, "", "f" * 16 + other.dc_id)])
        assert one.names.knowledge.covers(before)
        later = "e" * 16 + other.dc_id
        one.names.cover([Interval(other.dc_id, later, "f" * 16 + other.dc_id)])
        one.names.cover([Interval(other.dc_id, "f" * 16 + other.dc_id, later)])
        other.clock.ms += 5000
        made = await other.put(bucket, "k")
        await one.take(other)
        assert not one.names.knowledge.covers(made.stamp)
        current = await one.version(bucket, "k")
        assert current is not None and current.stamp == made.stamp


def test_dcs_that_are_made_up_have_a_bound() -> None:
    coverage = Coverage([Interval(PARIS, "", stamp_at(1))])
    for number in range(ORIGINS_MAX + 10):
        origin = f"{number:016x}"
        coverage.join([Interval(origin, "", stamp_at(1, origin=origin))])
    assert len(coverage.intervals()) == ORIGINS_MAX
    assert coverage.join([Interval(PARIS, "", stamp_at(2))]), "who is known stays known"


async def test_a_dc_that_lost_its_disk_takes_back_what_it_made(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        made = await one.put(bucket, "k")
        await exchange(one, other)
        one.clock.ms += 1000
        one.path = tmp_path / "another.db"
        await one.start_again()
        await one.settle()
        one.cursors.clear()
        await one.take(other)
        current = await one.version(bucket, "k")
        assert current is not None and current.stamp == made.stamp


async def test_what_is_covered_and_not_here_was_deleted(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        vid = version_id(one.names.clock.now())
        gone = [await one.put(bucket, "k"), await one.put(bucket, "v", vid)]
        await exchange(one, other)
        await one.delete(bucket, "k")
        await one.delete(bucket, "v", vid)
        await one.settle()
        one.names.knowledge.close_gap()
        assert await one.tombstones() == [], "nobody is left to tell"
        assert all(map(one.names.knowledge.covers, [version.stamp for version in gone]))
        known = await one.names.known([bare(version) for version in gone])
        assert known == [Known.HELD] * 2, "no bytes are needed"
        # The other missed that, and is read from the beginning.
        other.cursors[one.dc_id] = one.names.feed_end
        one.cursors.clear()
        await one.take(other, along=False)
        concluded = await one.tombstones()
        assert [tombstone.seen for tombstone in concluded] == [INFERRED] * 2
        await exchange(one, other)
        for site in (one, other):
            assert await site.version(bucket, "k") is None
            assert await site.version(bucket, "v", vid) is None
            kept = await site.names.conflicts()
            assert [one.loser.key for one in kept] == ["k", "v"]
            assert all(one.loser.extents == BYTES for one in kept)
        back = await other.names.restore_conflict(bucket.id, "k", gone[0].stamp)
        await exchange(one, other)
        assert (await one.version(bucket, "k")).stamp == back.stamp


async def test_also_when_it_is_kept_as_a_conflict(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        lost = await one.put(bucket, "k")
        other.clock.ms += 1000
        await other.delete(bucket, "k")
        await one.take(other)
        await one.settle()
        one.names.cover([Interval(other.dc_id, "", one.names.knowledge.floor[:16] + other.dc_id)])
        one.names.knowledge.close_gap()
        await one.settle()
        assert await one.tombstones() == []
        assert await one.names.known([bare(lost)]) == [Known.HELD]
        await one.apply([lost])
        assert await one.version(bucket, "k") is None
        assert [kept.loser.stamp for kept in await one.names.conflicts()] == [lost.stamp]


async def test_what_was_lost_is_restored_though_it_is_covered(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        await pair(one, other)
        bucket = await bucket_of(one)
        lost = await one.put(bucket, "k")
        one.names.knowledge.coverage.join([Interval(one.dc_id, "", lost.stamp)])
        await one.names._writer.action(lambda t: t.db.execute("DELETE FROM versions"))
        await one.names._writer.action(lambda t: t.db.execute("DELETE FROM feed WHERE kind = 0"))
        await one.names.apply([lost], restoring=True)
        assert (await one.version(bucket, "k")).stamp == lost.stamp
        assert await one.tombstones() == []
