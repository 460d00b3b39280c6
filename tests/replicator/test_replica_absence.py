"""A DC that was away for too long, and links that compare by themselves."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from replica_kit import Dc, datacenters, eventually, link, pair, settled
from verify_kit import Act, change, damage, forget, named, verify

import replicator.checks
from dc.names.model import Bucket
from dc.stamps import Stamp, stamp_origin
from replicator.checks import Checks
from replicator.errors import NotCompared
from replicator.link import Link
from replicator.verify import VerifyReport


def collected(dc: Dc, *covered: Stamp) -> list[Act]:
    """As if all tombstones had been collected: they were seen by every DC that counts."""
    acts: list[Act] = [
        forget("tombstones", "1"),
        change("INSERT INTO facts SELECT 'horizon', max(seq) FROM feed"),
    ]
    for stamp in covered:
        row = (stamp_origin(stamp), "", stamp)
        acts.append(change("INSERT OR REPLACE INTO coverage VALUES(?, ?, ?)", *row))
    return acts


async def absence(paris: Dc, tokyo: Dc) -> Bucket:
    """Tokyo is away while paris deletes something and forgets that it did."""
    await pair(paris, tokyo)
    bucket = await paris.bucket()
    await settled(paris, tokyo)
    for number in range(5):
        await paris.put(bucket, f"p{number}", b"of paris")
        await tokyo.put(bucket, f"t{number}", b"of tokyo")
    versioned = await tokyo.put(bucket, "v", b"versioned", versioned=True)
    await settled(paris, tokyo)
    # What paris made itself is only told of, a moment later; else it would be given back to it.
    await eventually(lambda: link(paris, tokyo).inbound.position == tokyo.names.feed_end)
    known = tokyo.names.clock.now()
    await tokyo.replicator.stop()
    for key in ("p1", "t1"):
        await paris.delete(bucket, key)
    await paris.delete(bucket, "v", versioned.vid)
    await paris.put(bucket, "new", b"made meanwhile")
    await tokyo.put(bucket, "mine", b"made apart")
    await damage(paris, *collected(paris, paris.names.clock.now(), known))
    return bucket


async def test_what_was_deleted_meanwhile_is_deleted_and_kept(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await absence(paris, tokyo)
        await tokyo.start()
        await eventually(lambda: link(tokyo, paris).last_verify is not None)
        report = link(tokyo, paris).last_verify
        assert report is not None and report.deleted == 3 and report.error == ""
        await settled(paris, tokyo)
        assert not link(tokyo, paris).inbound.missed_deletions
        for dc in (paris, tokyo):
            assert await dc.get(bucket, "p1") is None and await dc.get(bucket, "t1") is None
            assert await dc.names.current(bucket.id, "v") is None
            assert await dc.get(bucket, "new") == b"made meanwhile"
            assert await dc.get(bucket, "mine") == b"made apart"
            assert await dc.get(bucket, "p2") == b"of paris"
        kept = await tokyo.names.conflicts()
        assert sorted(one.loser.key for one in kept) == ["p1", "t1", "v"]
        assert (await verify(paris, tokyo)).identical


async def test_until_then_nobody_restores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the DC that was away is restarted before it has compared."""

    async def never(_: Checks) -> float:
        return 1.0

    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await absence(paris, tokyo)
        with monkeypatch.context() as patched:
            patched.setattr(Checks, "look", never)
            await tokyo.start()
            await settled(paris, tokyo)
            assert await paris.get(bucket, "mine") == b"made apart"
            cursor = await tokyo.names.cursor(paris.dc_id)
            assert cursor is not None and cursor.missed
            await tokyo.down()
            await tokyo.up()
            await settled(paris, tokyo)
            assert link(tokyo, paris).inbound.missed_deletions
            assert await tokyo.get(bucket, "p1") == b"of paris"
            assert named(await verify(paris, tokyo))[0] == ("only_there", "p1")
            with pytest.raises(NotCompared, match="finds out what it missed"):
                await verify(paris, tokyo, repair=True)
            assert await paris.get(bucket, "p1") is None
        await tokyo.down()
        await tokyo.up()
        await eventually(lambda: link(tokyo, paris).last_verify is not None)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "p1") is None
        assert (await verify(paris, tokyo, repair=True)).identical


async def test_both_missed_something_of_each_other(tmp_path: Path) -> None:
    """Two that were paired before, each of which has deleted and forgotten something since."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        for number in range(4):
            await paris.put(bucket, f"k{number}", b"x")
        await settled(paris, tokyo)
        now = [dc.names.clock.now() for dc in (paris, tokyo)]
        await tokyo.replicator.remove_peer(paris.dc_id)
        await paris.replicator.remove_peer(tokyo.dc_id)
        await paris.delete(bucket, "k1")
        await tokyo.delete(bucket, "k2")
        await tokyo.put(bucket, "t", b"new in tokyo")
        for dc in (paris, tokyo):
            await damage(dc, *collected(dc, *now))
        await pair(paris, tokyo)
        for one, other in ((paris, tokyo), (tokyo, paris)):
            await eventually(lambda one=one, other=other: _reconciled(link(one, other)))
        await settled(paris, tokyo)
        for dc in (paris, tokyo):
            assert await dc.get(bucket, "k1") is None and await dc.get(bucket, "k2") is None
            assert await dc.get(bucket, "k0") == b"x" and await dc.get(bucket, "t") is not None
            kept = await dc.names.conflicts()
            assert sorted(one.loser.key for one in kept) == ["k1", "k2"]
        assert (await verify(paris, tokyo, repair=True)).identical


def _reconciled(found: Link) -> bool:
    return found.last_verify is not None and not found.inbound.missed_deletions


async def test_looking_alone_deletes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await absence(paris, tokyo)
        monkeypatch.setattr(Checks, "_is_time", lambda _: False)
        await tokyo.start()
        await settled(paris, tokyo)
        report = await verify(tokyo, paris)
        assert report.only_here == 3 and report.deleted == 0
        assert await tokyo.get(bucket, "p1") == b"of paris"
        assert link(tokyo, paris).inbound.missed_deletions


# -- by itself ----------------------------------------------------------------------------------


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links compare by themselves without waiting."""
    monkeypatch.setattr(replicator.checks, "VERIFY_DELAY_SECONDS", 0.2)
    monkeypatch.setattr(replicator.checks, "VERIFY_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(replicator.checks, "VERIFY_TICK_SECONDS", 0.05)


async def test_after_a_reconnect_a_difference_is_found_and_repaired(
    tmp_path: Path, eager: None, capsys: Any
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(10):
            await paris.put(bucket, f"k{number}", b"x")
        await settled(paris, tokyo)
        await eventually(lambda: _compared(link(tokyo, paris).last_verify))
        await damage(tokyo, forget("versions", "key = 'k3'"))

        async def back() -> bool:
            return await tokyo.get(bucket, "k3") == b"x"

        await eventually(back)
        for one, other in ((paris, tokyo), (tokyo, paris)):
            await eventually(lambda one=one, other=other: one.peer(other).state == "IDENTICAL")
        assert "this datacenter and a peer differed" in capsys.readouterr().out


def _compared(report: VerifyReport | None) -> bool:
    """Without a root, when something was still on its way."""
    return report is not None and not (report.error or report.differs)


async def test_what_is_found_without_a_reconnect(tmp_path: Path, eager: None) -> None:
    """The roots are compared all the time; when they differ, so is the rest."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "k", b"x")
        await settled(paris, tokyo)
        await eventually(lambda: _compared(link(paris, tokyo).last_verify))
        await tokyo.names._writer.action(
            lambda transaction: transaction.db.execute("DELETE FROM versions WHERE key = 'k'")
        )
        tokyo.names._trees._trees.clear()
        tokyo.names._reader._rows.clear()
        await paris.put(bucket, "other", b"y")

        async def back() -> bool:
            return await tokyo.get(bucket, "k") == b"x"

        await eventually(back)
        assert await tokyo.get(bucket, "other") == b"y"


async def test_a_peer_that_is_away_is_not_waited_for(tmp_path: Path, eager: None) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        await eventually(lambda: _compared(link(paris, tokyo).last_verify))
        before = link(paris, tokyo).last_verify
        await tokyo.replicator.stop()
        await eventually(lambda: paris.peer(tokyo).state == "UNREACHABLE")
        await asyncio.sleep(1)
        assert link(paris, tokyo).last_verify is before
        await tokyo.start()
        await eventually(lambda: link(paris, tokyo).last_verify is not before)
