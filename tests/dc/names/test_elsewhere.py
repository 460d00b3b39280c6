"""Bodies that other DCs hold, in the tables: found by an index, filled in, and no loser twice."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from dcs_kit import BYTES, Site, bucket_of, exchange, sites

from dc.names.elsewhere import AbsentBody
from dc.names.kinds import CONFLICT
from dc.names.model import Bucket, Conflict, Version
from dc.placement import elsewhere, is_elsewhere


def absent(version: Version) -> Version:
    return msgspec.structs.replace(version, extents=elsewhere(version.size))


async def known(one: Site, other: Site, bucket: Bucket, *keys: str) -> list[Version]:
    """Objects of one DC that the other knows, without their bytes."""
    made = [await one.put(bucket, key) for key in keys]
    await other.apply([absent(version) for version in made])
    return made


async def test_absent_bodies_are_found_by_prefix_page_by_page(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        keys = ["a", "b", "b/1", "b/2", "b/\U0010ffff", "ba", "c"]
        made = await known(one, other, bucket, *keys)
        await other.put(bucket, "b/here")
        look = other.names.elsewhere

        async def found(prefix: str, limit: int = 2) -> list[str]:
            result: list[AbsentBody] = []
            while page := await look.page(
                bucket.id, 0, prefix, result[-1] if result else None, limit
            ):
                assert len(page) <= limit
                result += page
            return [one.key for one in result]

        assert await found("") == keys
        assert await found("b") == keys[1:6]
        assert await found("b/") == await found("b/", 1) == ["b/1", "b/2", "b/\U0010ffff"]
        assert await found("x") == []
        assert await look.count() == (7, sum(version.size for version in made))
        assert await look.by_bucket() == {bucket.id: await look.count()}
        for prefix, keys_of in (("", 7), ("b", 5), ("b/", 3), ("ba", 1), ("x", 0)):
            assert (await look.count_of(bucket.id, prefix))[0] == keys_of
        [first] = await look.page(bucket.id, 0, "a", None, 9)
        assert first == (0, "a", "", made[0].stamp, made[0].size)


async def test_bytes_that_come_are_noted_and_nothing_else_changes(tmp_path: Path) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        [made] = await known(one, other, bucket, "k")
        assert is_elsewhere((await other.version(bucket, "k")).extents)
        end, roots = other.names.feed_end, other.names.roots()
        # Remembered by the reader of current versions.
        await other.names.current(bucket.id, "k")
        await other.apply([made], along=True)
        there = await other.names.current(bucket.id, "k")
        assert there is not None and there.extents == made.extents == BYTES
        assert (other.names.feed_end, other.names.roots()) == (end, roots)
        # Whoever has no bytes to give takes none away.
        await other.apply([absent(made)], along=True)
        await other.apply([msgspec.structs.replace(made, extents=[])])
        assert (await other.version(bucket, "k")).extents == BYTES


@pytest.mark.parametrize("restoring", [False, True], ids=["joined", "restored"])
async def test_other_bytes_are_not_filled_in(tmp_path: Path, restoring: bool) -> None:
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        [made] = await known(one, other, bucket, "k")
        wrong = msgspec.structs.replace(
            made, meta=msgspec.structs.replace(made.meta, crc64=made.meta.crc64 ^ 1)
        )
        await other.names.apply([wrong], restoring=restoring)
        there = await other.version(bucket, "k")
        if restoring:
            # It is the other's word against ours, and taken as a whole.
            assert there.meta == wrong.meta and there.extents == BYTES
        else:
            assert there.meta == made.meta and is_elsewhere(there.extents)
        await other.names.apply([made], restoring=True)
        there = await other.version(bucket, "k")
        assert there.meta == made.meta and there.extents == BYTES


async def test_a_loser_is_kept_by_who_has_its_bytes(tmp_path: Path) -> None:
    async with sites(tmp_path, 3) as (one, other, third):
        bucket = await bucket_of(one)
        await exchange(one, other)
        await exchange(one, third)
        [lost] = await known(one, third, bucket, "k")
        other.clock.ms += 1000
        won = await other.put(bucket, "k")
        await third.apply([won])
        assert await third.names.conflicts() == []
        # The other way round: what wins is there when the loser comes.
        late = await other.put(bucket, "late")
        early = await one.put(bucket, "late")
        assert early.stamp < late.stamp
        await third.apply([late])
        await third.apply([absent(early)])
        assert await third.names.conflicts() == []
        await one.apply([won, late])
        kept = await one.names.conflicts()
        assert {conflict.loser.stamp for conflict in kept} == {lost.stamp, early.stamp}
        assert all(conflict.loser.extents == BYTES for conflict in kept)

        # It is known where its bytes do not belong, and filled in when they do.
        for conflict in kept:
            loser = absent(conflict.loser)
            await third.apply([Conflict(loser=loser, winner=conflict.winner)])
        page = await third.names.elsewhere.page(bucket.id, CONFLICT, "", None, 9)
        assert [(one.kind, one.key, one.id) for one in page] == [
            (CONFLICT, "k", lost.stamp),
            (CONFLICT, "late", early.stamp),
        ]
        end = third.names.feed_end
        await third.apply(kept, along=True)
        assert third.names.feed_end == end
        assert await third.names.elsewhere.count() == (0, 0)
        assert all(one.loser.extents == BYTES for one in await third.names.conflicts())


def test_writing_what_is_here_does_not_touch_the_index() -> None:
    """The partial indexes have rows of absent bodies only."""
    from dc.names.schema import migrate

    db = sqlite3.connect(":memory:")
    migrate(db)
    row = (1, "k", "", "s", 1, 0, 5, "e", "{}", "[[7,64,5]]", "", "{}", "")
    db.execute(f"INSERT INTO versions VALUES({','.join('?' * len(row))})", row)
    db.execute("ANALYZE")
    stats = db.execute("SELECT idx FROM sqlite_stat1 WHERE tbl = 'versions'").fetchall()
    assert ("versions_elsewhere",) not in stats
    count = "SELECT count(*) FROM versions INDEXED BY versions_elsewhere WHERE {}"
    where = "substr(extents, 1, 4) = '[[0,'"
    assert db.execute(count.format(where)).fetchone() == (0,)
    db.execute("UPDATE versions SET extents = '[[0,0,5]]'")
    assert db.execute(count.format(where)).fetchone() == (1,)
    db.close()


async def test_bytes_that_are_here_are_not_given_up_for_what_others_hold(tmp_path: Path) -> None:
    """A record without bytes may come late: after a repair asked, and another peer filled in."""
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        made = await one.put(bucket, "k")
        await other.apply([made], along=True)
        await one.names.set_registers(bucket.id, "k", "", {"tags": "new"})
        tagged = await one.version(bucket, "k")
        wrong = msgspec.structs.replace(made, etag="wrong")
        for came in (tagged, wrong):
            await other.names.apply([absent(came)], restoring=True)
            there = await other.version(bucket, "k")
            assert there.extents == BYTES and there.etag == made.etag
            assert there.registers["tags"].value == "new"


async def test_a_conflict_of_what_is_here_keeps_its_bytes(tmp_path: Path) -> None:
    """Rules got narrower since: that the loser's bytes are not to come here takes none away."""
    async with sites(tmp_path) as (one, other):
        bucket = await bucket_of(one)
        await exchange(one, other)
        lost = await one.put(bucket, "k")
        await other.apply([lost], along=True)
        other.clock.ms += 1000
        winner = msgspec.structs.replace(lost, stamp=other.names.clock.now())
        await other.apply([Conflict(loser=absent(lost), winner=winner.stamp)], along=True)
        seen = msgspec.structs.replace(winner, seen=lost.stamp)
        await other.apply([seen], along=True)
        [kept] = await other.names.conflicts()
        assert kept.loser.extents == BYTES
