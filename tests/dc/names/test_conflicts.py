"""Losers that nobody had seen are kept, with their bytes, until they are settled everywhere."""

from pathlib import Path

import pytest
from dcs_kit import BYTES, Site, bare, bucket_of, exchange, sites, state, written

from dc.names.api import BytesMissing, NoSuchBucket, NoSuchConflict
from dc.names.model import Bucket, Conflict, Kind, Known


async def collide(one: Site, other: Site, key: str = "k") -> tuple[Bucket, str, str]:
    """Two writes that have not seen each other; the bucket, the loser's and the winner's stamp."""
    bucket = await bucket_of(one)
    await exchange(one, other)
    lost = await one.put(bucket, key)
    other.clock.ms += 1000
    won = await other.put(bucket, key)
    return bucket, lost.stamp, won.stamp


async def test_where_the_winner_comes_and_where_the_loser_comes(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket, lost, won = await collide(one, other)
        from_one, _, _ = await one.names.feed(0, 100)
        from_other, _, _ = await other.names.feed(0, 100)
        for site, entries in ((one, from_other), (other, from_one)):
            await site.apply([entry.change for entry in entries], along=True)
            [conflict] = await site.names.conflicts()
            assert (conflict.loser.stamp, conflict.winner) == (lost, won)
            assert conflict.loser.extents == BYTES
            assert (await site.version(bucket, "k")).stamp == won
            assert await site.names.conflict_count() == 1


async def test_who_has_seen_it_overwrites_it(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await one.put(bucket, "k")
        await exchange(one, other)
        await other.put(bucket, "k")
        await exchange(one, other)
        await one.delete(bucket, "k")
        await exchange(one, other)
        for site in (one, other):
            assert await site.names.conflicts() == []
            assert await site.version(bucket, "k") is None


async def test_a_write_after_the_conflict_has_seen_both(tmp_path: Path) -> None:
    async with sites(tmp_path, 3) as (one, other, third):
        bucket, lost, _ = await collide(one, other)
        await third.take(one)
        await exchange(one, other)
        last = await other.put(bucket, "k")
        # The loser is still current there; who wrote last had it among the conflicts.
        feed, _, _ = await other.names.feed(0, 100)
        await third.apply(
            [entry.change for entry in feed if not isinstance(entry.change, Conflict)]
        )
        assert (await third.version(bucket, "k")).stamp == last.stamp
        assert await third.names.conflicts() == []
        assert lost in [one.loser.stamp for one in await other.names.conflicts()]


@pytest.mark.parametrize("how", ["drop", "restore"])
async def test_settled_in_one_is_settled_in_all(tmp_path: Path, how: str) -> None:
    async with sites(tmp_path) as (one, other):
        bucket, lost, _ = await collide(one, other)
        await exchange(one, other)
        if how == "drop":
            await one.names.drop_conflict(bucket.id, "k", lost)
        else:
            again = await one.names.restore_conflict(bucket.id, "k", lost)
            assert again.extents == BYTES
        with pytest.raises(NoSuchConflict):
            await one.names.drop_conflict(bucket.id, "k", lost)
        await exchange(one, other)
        for site in (one, other):
            assert await site.names.conflicts() == []
            current = await site.version(bucket, "k")
            assert current is not None
            assert (current.stamp == again.stamp) if how == "restore" else True
        assert await state(one.names) == await state(other.names)
        # Told again by who had not heard of that, it stays settled.
        entries, _, _ = await one.names.feed(0, 100)
        [gone] = [e.change for e in entries if isinstance(e.change, Conflict)]
        loser = written(bucket.id, "k", lost)
        await one.names.apply([Conflict(loser=loser, winner=gone.winner)])
        assert await one.names.conflicts() == []


async def test_pages_by_bucket_key_and_stamp(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        for key in ("b", "a", "c"):
            await one.put(bucket, key)
        other.clock.ms += 1000
        for key in ("a", "b", "c"):
            await other.put(bucket, key)
        await exchange(one, other)
        found, after = [], ("", "", "")
        while page := await one.names.conflicts(bucket_id=bucket.id, after=after, limit=1):
            [conflict] = page
            found.append(conflict.loser.key)
            after = (bucket.id, conflict.loser.key, conflict.loser.stamp)
        assert found == ["a", "b", "c"]
        assert await one.names.conflicts(bucket_id="f" * 16) == []


async def test_a_deleted_bucket_takes_nothing_back(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket, lost, _ = await collide(one, other)
        await exchange(one, other)
        await one.delete(bucket, "k")
        await one.names.delete_bucket(bucket.id)
        with pytest.raises(NoSuchBucket):
            await one.names.restore_conflict(bucket.id, "k", lost)
        [conflict] = await one.names.conflicts()
        assert conflict.loser.extents == BYTES


async def test_what_is_known_of_a_write(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket, lost, won = await collide(one, other)
        await exchange(one, other)
        loser, winner = written(bucket.id, "k", lost), written(bucket.id, "k", won)
        early, late = "0" * 31 + "9", f"{int(won[:16], 16) + 9:016x}" + "9" * 16
        marker = await one.names.known([written(bucket.id, "none", early)])
        assert marker == [Known.NEW]
        cases = [
            (winner, Known.HELD),
            (loser, Known.HELD),
            (Conflict(loser=loser, winner=won), Known.HELD),
            (written(bucket.id, "k", late), Known.NEW),
            (written(bucket.id, "k", early), Known.NEW),
            (Conflict(loser=written(bucket.id, "k", early), winner=won), Known.NEW),
            (Conflict(loser=written(bucket.id, "k", early), winner=won, gone=True), Known.PAST),
        ]
        known = await one.names.known([bare(write) for write, _ in cases])
        assert known == [state for _, state in cases]
        # What it had seen is no news.
        seen_by = await one.put(bucket, "k")
        assert seen_by.stamp > won
        older = written(bucket.id, "k", f"{int(won[:16], 16) - 1:016x}{other.dc_id}")
        assert await one.names.known([bare(older)]) == [Known.PAST]


async def test_bytes_must_be_here(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        stamp = one.names.clock.now()
        nothing = bare(written(bucket.id, "k", stamp))
        end = one.names.feed_end
        with pytest.raises(BytesMissing):
            await one.names.apply([nothing])
        with pytest.raises(BytesMissing):
            await one.names.apply([Conflict(loser=nothing, winner=one.names.clock.now())])
        assert one.names.feed_end == end
        assert await one.version(bucket, "k") is None
        await one.names.put(written(bucket.id, "k", stamp))
        await one.names.apply([nothing])
        assert (await one.version(bucket, "k")).extents == BYTES


async def test_a_loser_whose_winner_is_forgotten_is_fetched(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        lost = written(bucket.id, "k", "0" * 12 + "0001" + "9" * 16)
        conflict = Conflict(loser=lost, winner=f"{2:016x}" + "8" * 16)
        await one.names.apply([conflict])
        assert await one.names.known([bare(lost)]) == [Known.NEW]
        await one.apply([lost])
        assert (await one.version(bucket, "k")).stamp == lost.stamp


async def test_markers_and_tombstones_are_never_kept(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        await one.put(bucket, "a")
        await one.delete(bucket, "a")
        stamp = one.names.clock.now()
        marker = written(bucket.id, "b", stamp)
        marker = type(marker)(bucket.id, "b", "", stamp, Kind.DELETE_MARKER, 0, "", marker.meta, [])
        await one.names.put(marker)
        other.clock.ms += 1000
        await other.put(bucket, "a")
        await other.put(bucket, "b")
        await exchange(one, other)
        for site in (one, other):
            assert await site.names.conflicts() == []
            assert (await site.version(bucket, "a")) and (await site.version(bucket, "b"))
