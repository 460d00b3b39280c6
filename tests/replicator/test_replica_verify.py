"""Two DCs are compared: what differs is named exactly, and nothing else is."""

import asyncio
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled
from verify_kit import change, damage, forget, named, rows, verify

import replicator.compare_server
from dc.names.model import Bucket
from replicator.errors import NotCompared
from replicator.messages import Ack
from replicator.outbound import Outbound

FILLERS = 40


async def filled(paris: Dc, tokyo: Dc) -> Bucket:
    """Paired, with something in them."""
    await pair(paris, tokyo)
    bucket = await paris.bucket()
    await asyncio.gather(
        *(paris.put(bucket, f"k{number:03}", b"x" * 2000) for number in range(FILLERS))
    )
    await settled(paris, tokyo)
    return bucket


async def test_identical_says_the_root(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await filled(paris, tokyo)
        for one, other in ((paris, tokyo), (tokyo, paris)):
            report = await verify(one, other)
            assert report.identical and not report.differences
            assert len(report.root) == 32
            assert report.bytes_moved < 1000


@pytest.mark.parametrize("asker", [0, 1], ids=["asked where it is", "asked where it lacks"])
async def test_a_lost_row_is_named_and_comes_back(tmp_path: Path, asker: int) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        await damage(tokyo, forget("versions", "key = 'k007'"))
        await settled(paris, tokyo)
        one, other = (paris, tokyo) if asker == 0 else (tokyo, paris)
        what = "only_here" if asker == 0 else "only_there"
        report = await verify(one, other)
        assert named(report) == [(what, "k007")]
        (found,) = report.differences
        assert found.bucket == "photos" and found.version == ""
        side, missing = (found.here, found.there) if asker == 0 else (found.there, found.here)
        assert side is not None and side.kind == "object" and missing is None
        assert await tokyo.get(bucket, "k007") is None, "looking changes nothing"
        report = await verify(one, other, repair=True)
        assert report.repaired == 1 and report.identical and report.root
        assert await tokyo.get(bucket, "k007") == b"x" * 2000


async def test_what_is_covered_comes_back_all_the_same(tmp_path: Path) -> None:
    """A row that was lost is not taken for one that was deleted."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        await damage(tokyo, forget("versions", "key = 'k007'"))
        await settled(paris, tokyo)
        tokyo.names.cover(_everything_of(paris))
        assert (await verify(tokyo, paris, repair=True)).repaired == 1
        assert await tokyo.get(bucket, "k007") == b"x" * 2000
        assert await paris.get(bucket, "k007") == b"x" * 2000


def _everything_of(dc: Dc) -> list:
    from dc.names.model import Interval

    return [Interval(dc.dc_id, "", dc.names.clock.now())]


async def test_large_bodies_come_back(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        body = bytes(range(256)) * 4 * 10_000
        await paris.put(bucket, "large", body)
        await settled(paris, tokyo)
        await damage(tokyo, forget("versions", "key = 'large'"))
        await settled(paris, tokyo)
        report = await verify(paris, tokyo, repair=True)
        assert report.repaired == 1 and report.identical
        assert await tokyo.get(bucket, "large") == body


@pytest.mark.parametrize("asker", [0, 1])
async def test_the_maker_of_a_write_is_believed(tmp_path: Path, asker: int) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        wrong = "UPDATE versions SET etag = ? WHERE key = 'k003'"
        await damage(tokyo, change(wrong, "0" * 32))
        await settled(paris, tokyo)
        one, other = (paris, tokyo) if asker == 0 else (tokyo, paris)
        assert named(await verify(one, other)) == [("different", "k003")]
        report = await verify(one, other, repair=True)
        assert report.repaired == 1 and report.identical
        for dc in (paris, tokyo):
            found = await dc.names.version(bucket.id, "k003", "")
            assert found is not None and found.etag == "d" * 32
            assert await dc.get(bucket, "k003") == b"x" * 2000


async def test_a_missing_tombstone_is_a_difference_only_beside_a_version(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        columns = "bucket, key, vid, stamp, seq, kind, size, etag, meta, extents, seen, registers"
        (row,) = rows(tokyo, f"SELECT {columns} FROM versions WHERE key = 'k001'")
        await paris.delete(bucket, "k001")
        await paris.delete(bucket, "k002")
        await settled(paris, tokyo)
        back = f"INSERT INTO versions({columns}) VALUES({', '.join('?' * 12)})"
        await damage(tokyo, forget("tombstones", "key IN ('k001', 'k002')"), change(back, *row))
        await settled(paris, tokyo)
        report = await verify(tokyo, paris)
        assert named(report) == [("only_here", "k001")]
        (found,) = report.differences
        assert found.there is not None and found.there.kind == "deleted"
        assert (await verify(tokyo, paris, repair=True)).identical
        for dc in (paris, tokyo):
            assert await dc.get(bucket, "k001") is None
            assert await dc.names.conflict_count() == 0, "the delete had seen what it deleted"


async def test_users_keys_and_buckets_are_compared(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await filled(paris, tokyo)
        empty = await paris.bucket("empty")
        made = await paris.accounts.add_user("ann@example.com")
        await settled(paris, tokyo)
        await damage(
            tokyo,
            forget("buckets", "name = 'empty'"),
            forget("users", "email = 'ann@example.com'"),
            forget("keys", f"id = '{made.key_id}'"),
        )
        await settled(paris, tokyo)
        assert tokyo.accounts.lookup(made.key_id) is None
        report = await verify(paris, tokyo)
        assert named(report) == sorted(
            ("only_here", key) for key in (empty.id, made.user.id, made.key_id)
        )
        assert {one.here.kind for one in report.differences if one.here} == {
            "bucket",
            "user",
            "access key",
        }
        report = await verify(tokyo, paris, repair=True)
        assert report.repaired == 3 and report.identical
        found = tokyo.accounts.lookup(made.key_id)
        assert found is not None and found.secret == made.secret
        assert tokyo.names.directory.bucket("empty") == empty


async def test_a_missing_conflict_comes_back_with_its_bytes(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        await tokyo.replicator.stop()
        await paris.put(bucket, "both", b"paris wrote")
        await tokyo.put(bucket, "both", b"tokyo wrote")
        await tokyo.start()
        await settled(paris, tokyo)
        (conflict,) = await tokyo.names.conflicts()
        await damage(tokyo, forget("conflicts", "key = 'both'"))
        await settled(paris, tokyo)
        report = await verify(tokyo, paris)
        assert named(report) == [("only_there", "both")]
        assert report.differences[0].version == conflict.loser.stamp
        assert (await verify(tokyo, paris, repair=True)).identical
        (again,) = await tokyo.names.conflicts()
        assert again.loser.stamp == conflict.loser.stamp
        pieces = [piece async for piece in tokyo.objects.read(again.loser.extents, 0, 11)]
        assert b"".join(pieces) in (b"paris wrote", b"tokyo wrote")


async def test_one_bucket_alone(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        other = await paris.bucket("other")
        await paris.put(other, "in other", b"o")
        await settled(paris, tokyo)
        await damage(tokyo, forget("versions", "key IN ('in other', 'k001')"))
        await settled(paris, tokyo)
        assert named(await verify(paris, tokyo, bucket=other.id)) == [("only_here", "in other")]
        assert (await verify(paris, tokyo, bucket=other.id, repair=True)).identical
        assert named(await verify(paris, tokyo)) == [("only_here", "k001")]
        assert await tokyo.get(bucket, "k001") is None


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_roots_come_in_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Items lack in buckets of several of them."""
    monkeypatch.setattr(replicator.compare_server, "COMPARE_BUCKETS_MAX", size)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        for number in range(5):
            bucket = await paris.bucket(f"bucket{number}")
            await paris.put(bucket, f"k{number}", b"x")
        await settled(paris, tokyo)
        await damage(tokyo, forget("versions", "key IN ('k0', 'k2', 'k3')"))
        await settled(paris, tokyo)
        for one, other, what in ((paris, tokyo, "only_here"), (tokyo, paris, "only_there")):
            found = named(await verify(one, other))
            assert sorted(found) == [(what, "k0"), (what, "k2"), (what, "k3")]


async def test_a_bucket_that_only_one_has_is_named_whole(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await filled(paris, tokyo)
        await damage(tokyo, forget("versions", "1"))
        await settled(paris, tokyo)
        report = await verify(tokyo, paris)
        assert report.only_there == FILLERS and report.only_here == report.different == 0
        report = await verify(tokyo, paris, repair=True)
        assert report.repaired == FILLERS and report.identical


async def test_never_a_false_difference_under_load(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        stop = asyncio.Event()

        async def write(dc: Dc) -> int:
            number = 0
            while not stop.is_set():
                number += 1
                key = f"k{number % 60:03}"
                if number % 7 == 0:
                    await dc.delete(bucket, key)
                else:
                    await dc.put(bucket, key, b"y" * (number % 900))
                await asyncio.sleep(0.003)
            return number

        writers = [asyncio.create_task(write(dc)) for dc in (paris, tokyo)]
        flying = 0
        await asyncio.sleep(0.5)
        for number in range(12):
            one, other = (paris, tokyo) if number % 2 else (tokyo, paris)
            report = await verify(one, other, repair=number % 3 == 0)
            assert not report.differs, report.differences
            assert report.repaired == 0
            flying += report.in_flight
        stop.set()
        assert sum(await asyncio.gather(*writers)) > 100
        await settled(paris, tokyo)
        assert (await verify(paris, tokyo)).root, flying


async def test_a_difference_is_found_under_load(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await filled(paris, tokyo)
        await damage(tokyo, forget("versions", "key = 'k039'"))
        await settled(paris, tokyo)
        stop = asyncio.Event()

        async def write(dc: Dc) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await dc.put(bucket, f"k{number % 30:03}", b"z")
                await asyncio.sleep(0.003)

        writer = asyncio.create_task(write(paris))
        report = await verify(tokyo, paris)
        assert [one for one in named(report) if one[0] != "in_flight"] == [("only_there", "k039")]
        stop.set()
        await writer


async def test_a_peer_that_is_away_cannot_be_compared(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await filled(paris, tokyo)
        await tokyo.replicator.stop()
        await eventually(lambda: paris.peer(tokyo).state == "UNREACHABLE")
        with pytest.raises(NotCompared, match="tokyo is not connected"):
            await verify(paris, tokyo)
        await tokyo.start()
        await settled(paris, tokyo)
        assert (await verify(paris, tokyo)).identical


async def test_what_waits_in_the_inbox_there_is_not_settled_after_a_restart(
    tmp_path: Path,
) -> None:
    """Paris was restarted; tokyo had taken up to 58, and two changes are still unfinished."""
    paris = Dc(tmp_path, "paris")
    await paris.open()
    try:
        paris.names._feed_end = 58
        stream, outbound = object(), Outbound(paris.names.knowledge, "a" * 16)
        outbound.opened(stream, 58, True)
        outbound.looked_until(stream, 58)
        epoch = paris.names.epoch
        outbound.acknowledged(Ack(epoch=epoch, position=49, taken=58, unfinished=[50, 53]))
        assert outbound.settled == 49
        outbound.looked_until(stream, 60)
        outbound.acknowledged(Ack(epoch=epoch, position=58, taken=58))
        assert outbound.settled == 60
    finally:
        await paris.objects.close()
        await paris.names.close()
