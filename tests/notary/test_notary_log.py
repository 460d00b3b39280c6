"""`notary/log.py` on real name servers: what becomes an entry, in which order, what does not."""

import asyncio
import itertools

import msgspec
import pytest
from live_kit import Dc, World, played, sha256, verified

from dc.names.api import PreconditionFailed
from dc.names.model import (
    CUSTOMER,
    Condition,
    Conflict,
    Encryption,
    Extent,
    Meta,
    Register,
    Removal,
    SweptVersion,
    Tombstone,
    Version,
)
from dc.names.sweep import LetGo
from dc.notary import NOTARY, notarizes
from dc.objects.api import ObjectsError
from dc.stamps import stamp_after
from notary import log as notary_log


def changed(version: Version, **facts) -> Version:
    return msgspec.structs.replace(version, **facts)


async def held(dc: Dc, *keys: str) -> asyncio.Event:
    """Objects of these keys cannot be read until that is set."""
    let_go = asyncio.Event()

    async def digest(version: Version) -> tuple[str, bool]:
        if version.key in keys:
            await let_go.wait()
        return await dc.read_body(version)

    dc.digest = digest
    return let_go


@played
async def test_each_write_has_an_entry_and_a_certificate(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    one = await dc.put(bucket, "käse/1.jpg")
    two = await dc.put(bucket, "two", vid=True)
    await dc.published()
    on, first, second = dc.entries()
    assert (on["type"], on["bucket"], on["bucket_id"]) == ("enabled", "photos", bucket.id)
    assert on.keys() == {"v", "type", "dc", "dc_id", "bucket", "bucket_id", "stamp", "time"}
    assert first == {
        "v": 1,
        "type": "version",
        "dc": "paris",
        "dc_id": dc.dc_id,
        "bucket": "photos",
        "bucket_id": bucket.id,
        "key": "käse/1.jpg",
        "version_id": "null",
        "stamp": one.stamp,
        "size": one.size,
        "sha256": sha256(dc.bodies["käse/1.jpg"]),
        "of": "object",
        "time": "2027-01-15T08:00:00." + first["time"][-4:],
    }
    assert (second["version_id"], second["stamp"]) == (two.vid, two.stamp)
    assert dc.verify().entries == dc.lines()
    assert verified(await dc.certificate(one)) == first
    assert await dc.do(dc.notary.is_proven(one.stamp))
    assert not await dc.do(dc.notary.is_proven(stamp_after(two.stamp, dc.dc_id)))


@played
async def test_what_is_not_published_is_not_proven(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    await dc.published()
    version = await dc.put(bucket, "k")
    assert not await dc.do(dc.notary.is_proven(version.stamp))
    await world.until(lambda: len(dc.lines()) == 2)
    assert dc.log().sealed == 1
    assert not await dc.do(dc.notary.is_proven(version.stamp))
    assert await dc.do(dc.notary.certificate(version.stamp)) is None
    await dc.published()
    for _ in range(2):
        assert await dc.do(dc.notary.is_proven(version.stamp))


@played
async def test_a_bucket_that_was_never_switched_on_costs_nothing(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket(on=False)
    gone = await dc.put(bucket, "k")
    await dc.put(bucket, "k")
    await dc.delete(await dc.put(bucket, "v", vid=True))
    await dc.do(dc.names.set_bucket_registers(bucket.id, {NOTARY: "off"}))
    await asyncio.sleep(100)
    assert (dc.lines(), dc.log().sealed, dc.waiting(), world.calls) == ([], 0, 0, [])
    row = dc.names_file.execute("SELECT seq FROM sqlite_sequence WHERE name = 'notary_outbox'")
    assert row.fetchone() is None, "nothing was ever noted"
    assert await dc.do(dc.notary.certificate(gone.stamp)) is None


@played
async def test_on_and_off_are_entries_and_count_from_then_on(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket(on=False)
    await dc.put(bucket, "before")
    on = await dc.switch(bucket, True)
    await dc.switch(bucket, True)
    during = await dc.put(bucket, "during", vid=True)
    off = await dc.switch(bucket, False)
    await dc.switch(bucket, False)
    await dc.put(bucket, "after")
    await dc.delete(during)
    await dc.published()
    assert dc.told() == [
        ("enabled", "", on),
        ("version", "during", during.stamp),
        ("disabled", "", off),
        ("removed", "during", during.stamp),
    ]


@played
async def test_a_bucket_that_is_made_anew_begins_with_the_notary_off(world: World):
    """And the log says so, before anything is written to it."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    gone = await dc.put(bucket, "k")
    await dc.delete(gone)
    await dc.do(dc.names.delete_bucket(bucket.id))
    again = await dc.bucket(on=False)
    await dc.put(again, "k")
    await dc.published()
    assert again.id == bucket.id and not notarizes(again)
    kinds = [one["type"] for one in dc.entries()]
    assert kinds == ["enabled", "version", "removed", "disabled"]
    assert dc.entries()[-1]["bucket_id"] == bucket.id
    await dc.do(dc.names.delete_bucket((await dc.bucket("other", on=False)).id))
    await dc.bucket("other", on=False)
    await asyncio.sleep(5)
    assert len(dc.entries()) == 4, "it was off"


@played
async def test_a_null_version_that_is_overwritten_is_removed(world: World):
    """And has its own entry, however soon it is overwritten: also in one commit."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    await dc.published()
    some = [dc.version(bucket, "k") for _ in range(4)]
    await dc.do(both(*(dc.names.put(one) for one in some)))
    await dc.delete(some[-1])
    await dc.published()
    expected = [("version", "k", some[0].stamp)]
    for before, after in itertools.pairwise(some):
        expected += [("removed", "k", before.stamp), ("version", "k", after.stamp)]
    assert dc.told()[1:] == [*expected, ("removed", "k", some[-1].stamp)]
    removed = [one for one in dc.entries() if one["type"] == "removed"]
    assert {one["version_id"] for one in removed} == {"null"}
    assert all(one.keys() & {"size", "sha256", "of"} == set() for one in removed)


async def both(*work):
    await asyncio.gather(*work)


@played
async def test_a_delete_marker_removes_a_null_version_only(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    numbered = await dc.put(bucket, "numbered", vid=True)
    null = await dc.put(bucket, "null")
    for one in (numbered, null):
        mark = dc.version(bucket, one.key, vid=bool(one.vid))
        mark = changed(mark, kind=1, size=0, extents=[], registers={})
        await dc.do(dc.names.remove([Removal(change=mark)]))
    await dc.published()
    assert dc.told()[3:] == [("removed", "null", null.stamp)]


@played
async def test_a_version_that_is_removed_for_good(world: World):
    """By a client, under a condition, and by lifecycle; what was not removed has no entry."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    some = [await dc.put(bucket, f"k{number}", vid=True) for number in range(3)]

    def gone(one: Version) -> Tombstone:
        stamp = dc.names.clock.now()
        return Tombstone(bucket=one.bucket, key=one.key, vid=one.vid, stamp=stamp)

    no = Removal(change=gone(some[0]), only_if=Condition(match=("other",)))
    yes = Removal(change=gone(some[1]), only_if=Condition(match=(some[1].etag,)))
    assert isinstance((await dc.do(dc.names.remove([no, yes])))[0], PreconditionFailed)
    swept = (await dc.do(dc.names.sweeper.page(bucket.id, ("", ""))))[-1]
    assert isinstance(swept, SweptVersion) and swept.key == "k2"
    late = LetGo(version=changed(swept, stamp="0" * 32), current=True, change=gone(some[2]))
    assert await dc.do(dc.names.sweeper.let_go(bucket.id, [late])) == [False]
    now = LetGo(version=swept, current=True, change=gone(some[2]))
    assert await dc.do(dc.names.sweeper.let_go(bucket.id, [now])) == [True]
    await dc.published()
    assert dc.told()[4:] == [("removed", "k1", some[1].stamp), ("removed", "k2", some[2].stamp)]


@played
async def test_a_conditional_put_has_an_entry_if_it_is_made(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    none = Condition(none_match=("*",))
    made, refused = dc.version(bucket, "k"), dc.version(bucket, "k")
    await dc.do(dc.names.put(made, only_if=none))
    with pytest.raises(PreconditionFailed):
        await dc.do(dc.names.put(refused, only_if=none))
    await dc.published()
    assert dc.told()[1:] == [("version", "k", made.stamp)]


@played
async def test_a_multipart_upload_has_an_entry_when_it_is_completed(world: World):
    """Its SHA-256 is read; a Complete that is refused has none."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    upload = await dc.upload(bucket, "k")
    version = dc.version(bucket, "k", read=True)
    with pytest.raises(PreconditionFailed):
        await dc.do(dc.names.complete_upload(upload, version, only_if=Condition(match=("other",))))
    await dc.do(dc.names.complete_upload(upload, version))
    await dc.published()
    assert dc.told()[1:] == [("version", "k", version.stamp)] and dc.reads == ["k"]
    assert dc.entries()[1]["sha256"] == sha256(dc.bodies["k"])


# -- conflicts ------------------------------------------------------------------------------------


async def collided(dc: Dc, other: Dc, **facts) -> tuple[Version, Version]:
    """A write here lost to one there that had not seen it."""
    bucket = await dc.bucket()
    mine = changed(dc.version(bucket, "k"), **facts)
    await dc.do(dc.names.put(mine))
    stamp = stamp_after(mine.stamp, other.dc_id)
    theirs = changed(mine, stamp=stamp, registers={NOTARY: Register(stamp, "f" * 64)})
    await dc.do(dc.names.apply([theirs]))
    return mine, theirs


@played
async def test_what_others_write_has_no_entry_here(world: World):
    """Nor is what they replace removed here: the loser of a conflict stays."""
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    mine, theirs = await collided(dc, other)
    await dc.published()
    assert dc.told()[1:] == [("version", "k", mine.stamp)]
    ids = "SELECT seq FROM sqlite_sequence WHERE name = 'notary_outbox'"
    before = dc.names_file.execute(ids).fetchone()
    await dc.do(dc.names.apply([changed(theirs, key="another", stamp=theirs.stamp)]))
    assert dc.names_file.execute(ids).fetchone() == before, "nothing is noted of it"
    [conflict] = await dc.do(dc.names.conflicts())
    await dc.do(dc.names.drop_conflict(conflict.loser.bucket, "k", conflict.loser.stamp))
    await asyncio.sleep(60)
    assert dc.told()[1:] == [("version", "k", mine.stamp)]


@played
async def test_a_write_that_loses_removes_nothing(world: World):
    """It was overtaken by a replica, on its way: it has an entry, what beats it is still there."""
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    bucket = await dc.bucket()
    late = [dc.version(bucket, key) for key in ("a", "b")]
    stamp = stamp_after(late[1].stamp, other.dc_id)
    theirs = [
        changed(one, stamp=stamp, registers={NOTARY: Register(stamp, "f" * 64)}) for one in late
    ]
    await dc.do(dc.names.apply(theirs))
    await dc.do(dc.names.put(late[0]))
    gone = Tombstone(bucket=bucket.id, key="b", vid="", stamp=late[1].stamp)
    await dc.do(dc.names.delete([gone]))
    await dc.published()
    assert dc.told()[1:] == [("version", "a", late[0].stamp)]


@played
async def test_what_is_removed_here_may_be_of_another_datacenter(world: World):
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    _, theirs = await collided(dc, other)
    await dc.delete(theirs)
    await dc.published()
    assert dc.told()[2:] == [("removed", "k", theirs.stamp)]
    assert dc.entries()[2]["dc_id"] == dc.dc_id


@played
async def test_a_restored_loser_is_read_whatever_is_said_of_it(world: World):
    """Its SHA-256 travelled, and anybody who had it may have made up another."""
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    mine, theirs = await collided(dc, other)
    lie = Register(stamp_after(theirs.stamp, other.dc_id), "e" * 64)
    loser = changed(mine, registers={NOTARY: lie})
    await dc.do(dc.names.apply([Conflict(loser=loser, winner=theirs.stamp)]))
    again = await dc.do(dc.names.restore_conflict(mine.bucket, "k", mine.stamp))
    assert again.registers == {NOTARY: Register(again.stamp, "-")}
    await dc.published()
    assert dc.told()[2:] == [("removed", "k", theirs.stamp), ("version", "k", again.stamp)]
    assert dc.reads == ["k"]
    assert dc.entries()[-1]["sha256"] == sha256(f"k {again.stamp}".encode())


@played
async def test_a_restored_loser_that_nobody_can_read_keeps_what_was_found(world: World):
    """Of the datacenter's own write, with a key that only the client has."""
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    secret = Meta(sse=Encryption(kind=CUSTOMER))
    mine, _ = await collided(dc, other, meta=secret)
    again = await dc.do(dc.names.restore_conflict(mine.bucket, "k", mine.stamp))
    assert again.registers == {NOTARY: Register(again.stamp, sha256(dc.bodies["k"]))}
    await dc.switch(dc.names.directory.bucket_by_id(mine.bucket), False)
    stamp = stamp_after(again.stamp, other.dc_id)
    theirs = changed(mine, stamp=stamp, registers={NOTARY: Register(stamp, "f" * 64)})
    await dc.do(dc.names.apply([theirs]))
    third = await dc.do(dc.names.restore_conflict(mine.bucket, "k", again.stamp))
    assert third.registers == {}, "the bucket is off"
    await dc.switch(dc.names.directory.bucket_by_id(mine.bucket), True)
    stamp = stamp_after(third.stamp, other.dc_id)
    theirs = changed(theirs, stamp=stamp)
    lost = Conflict(loser=theirs, winner=stamp_after(stamp, other.dc_id))
    await dc.do(dc.names.apply([lost]))
    fourth = await dc.do(dc.names.restore_conflict(mine.bucket, "k", stamp))
    assert fourth.registers[NOTARY].value == "-", "what others found is not known here"
    await dc.published()
    assert dc.reads == ["k"]


@played
async def test_what_is_no_sha256_is_not_taken_for_one(world: World):
    """However long it is, it holds up nothing."""
    dc = await world.dc("paris")
    made = dc.version(await dc.bucket(), "k")
    await dc.do(dc.names.put(changed(made, registers={NOTARY: Register(made.stamp, "x" * 70_000)})))
    await dc.published()
    assert dc.entries()[1]["sha256"] == sha256(dc.bodies["k"]) and dc.reads == ["k"]


# -- what is to be read ---------------------------------------------------------------------------


@played
async def test_what_is_to_be_read_holds_up_later_writes_of_its_key_only(world: World):
    dc = await world.dc("paris")
    let_go = await held(dc, "large")
    bucket = await dc.bucket()
    large = await dc.put(bucket, "large", read=True)
    after = await dc.put(bucket, "large")
    other = await dc.put(bucket, "other")
    second = await dc.put(bucket, "second", read=True)
    await world.until(lambda: len(dc.entries()) == 3)
    expected = {("version", "other", other.stamp), ("version", "second", second.stamp)}
    assert set(dc.told()[1:]) == expected
    assert (await dc.do(dc.notary.status()))["to_read"] == 1
    let_go.set()
    await dc.published()
    told = dc.told()
    assert [one for one in told if one[1] == "large"] == [
        ("version", "large", large.stamp),
        ("removed", "large", large.stamp),
        ("version", "large", after.stamp),
    ]
    assert len(told) == 6 and dc.notary.log.aside == 0


@played
async def test_a_key_that_is_written_all_the_time_holds_up_no_other(world: World):
    """While an earlier write of it is read: more than go together in one step."""
    dc = await world.dc("paris")
    let_go = await held(dc, "hot")
    bucket = await dc.bucket()
    await dc.put(bucket, "hot", read=True)
    for _ in range(3):
        some = [dc.version(bucket, "hot") for _ in range(notary_log.BATCH // 2)]
        await dc.do(both(*(dc.names.put(one) for one in some)))
    other = await dc.put(bucket, "other")
    await world.until(lambda: ("version", "other", other.stamp) in dc.told(), 10)
    let_go.set()
    await dc.published()
    assert len(dc.entries()) == 2 * (3 * notary_log.BATCH // 2 + 1) + 1


@played
async def test_one_that_fails_to_be_read_is_tried_again_and_others_before(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    failures = iter([ObjectsError("a disk is away"), RuntimeError("no key for it")])

    async def digest(version: Version) -> tuple[str, bool]:
        if version.key == "bad" and (error := next(failures, None)):
            raise error
        return await dc.read_body(version)

    dc.digest = digest
    bad = await dc.put(bucket, "bad", read=True)
    good = await dc.put(bucket, "good", read=True)
    await world.until(lambda: ("version", "good", good.stamp) in dc.told())
    await dc.published()
    assert dc.told()[1:] == [("version", "good", good.stamp), ("version", "bad", bad.stamp)]
    assert dc.notary.log.lost == 0


@played
async def test_what_only_a_client_can_read_is_said_to_be_of_the_stored_bytes(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()

    async def digest(_: Version) -> tuple[str, bool]:
        return "a" * 64, False

    dc.digest = digest
    await dc.put(bucket, "k", read=True)
    await dc.published()
    assert (dc.entries()[1]["sha256"], dc.entries()[1]["of"]) == ("a" * 64, "stored")


@pytest.mark.parametrize("error", [ObjectsError("it is not there"), KeyError("no such key")])
@played
async def test_bytes_that_had_gone_are_said_to_be_lost(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
):
    """And hold up nothing for long, whatever the reading of what is no more fails with."""
    monkeypatch.setattr(notary_log, "GONE_TRIES", 10)
    dc = await world.dc("paris")
    bucket = await dc.bucket()

    async def digest(version: Version) -> tuple[str, bool]:
        raise error

    dc.digest = digest
    lost = await dc.put(bucket, "k", read=True)
    await dc.delete(lost)
    after = await dc.put(bucket, "k")
    await dc.published()
    assert dc.told()[1:] == [("removed", "k", lost.stamp), ("version", "k", after.stamp)]
    status = await dc.do(dc.notary.status())
    assert (status["lost"], status["to_read"], status["waiting"]) == (1, 0, 0)


@played
async def test_what_was_deleted_is_tried_again(world: World):
    """Its bytes are there still: that they cannot be read now does not mean never."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    failures = iter([ObjectsError("a disk is away")] * 10)

    async def digest(version: Version) -> tuple[str, bool]:
        if error := next(failures, None):
            raise error
        return await dc.read_body(version)

    dc.digest = digest
    gone = await dc.put(bucket, "k", read=True)
    await dc.delete(gone)
    await dc.published()
    assert dc.told()[1:] == [("version", "k", gone.stamp), ("removed", "k", gone.stamp)]
    assert dc.notary.log.lost == 0


@played
async def test_bytes_that_compaction_moved_are_read_where_they_are(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    moved = [Extent(2 << 60, 64, 3)]

    async def digest(version: Version) -> tuple[str, bool]:
        if version.extents != moved:
            raise ObjectsError("the container is gone")
        return await dc.read_body(version)

    dc.digest = digest
    version = await dc.put(bucket, "k", read=True)
    await world.until(lambda: dc.notary.log.aside == 1)
    dc.names_file.execute("UPDATE versions SET extents = '[[2305843009213693952,64,3]]'")
    await dc.published()
    assert dc.told()[1:] == [("version", "k", version.stamp)] and dc.notary.log.lost == 0


@played
async def test_more_to_be_read_than_may_wait(world: World, monkeypatch):
    monkeypatch.setattr(notary_log, "WAITING_MAX", 3)
    monkeypatch.setattr(notary_log, "BATCH", 2)
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    versions = [dc.version(bucket, f"k{number}", read=True) for number in range(10)]
    await dc.do(both(*(dc.names.put(one) for one in versions)))
    most = 0
    while not dc.is_published():
        most = max(most, dc.notary.log.aside)
        await asyncio.sleep(0.005)
    assert sorted(dc.told()[1:]) == sorted(("version", one.key, one.stamp) for one in versions)
    assert most in (2, 3) and sorted(dc.reads) == sorted(one.key for one in versions)


@played
async def test_many_that_cannot_be_read_hold_up_no_other(world: World):
    """Though they are there; each is tried again by itself, and they are counted."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    is_away = True

    async def digest(version: Version) -> tuple[str, bool]:
        if version.key.startswith("bad") and is_away:
            raise ObjectsError("a disk is away")
        return await dc.read_body(version)

    dc.digest = digest
    bad = [await dc.put(bucket, f"bad{number}", read=True) for number in range(9)]
    good = await dc.put(bucket, "good", read=True)
    await world.until(lambda: ("version", "good", good.stamp) in dc.told())
    await asyncio.sleep(300)
    for number in range(5):
        await dc.put(bucket, f"fresh{number}", read=True)
        await world.until(lambda: dc.told()[-1][1] == f"fresh{number}", 0.5)  # noqa: B023
    status = await dc.do(dc.notary.status())
    assert (status["unreadable"], status["to_read"], status["lost"]) == (9, 9, 0)
    assert status["errors"] == {"notary reading": "ObjectsError: a disk is away"}
    is_away = False
    await dc.published(400)
    assert {one[2] for one in dc.told()} >= {one.stamp for one in bad}
    status = await dc.do(dc.notary.status())
    assert (status["unreadable"], status["to_read"], status["errors"]) == (0, 0, {})


@played
async def test_any_number_that_cannot_be_read_holds_up_no_other_key(world: World, monkeypatch):
    """More than are looked at together, with later writes of the same keys; each key keeps its
    order, also over a restart."""
    monkeypatch.setattr(notary_log, "BATCH", 4)
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    is_away = True

    async def digest(version: Version) -> tuple[str, bool]:
        if version.key.startswith("bad") and is_away:
            raise ObjectsError("a disk is away")
        return await dc.read_body(version)

    dc.digest = digest
    bad = [dc.version(bucket, f"bad{number}", read=True) for number in range(100)]
    await dc.do(both(*(dc.names.put(one) for one in bad)))
    after = [dc.version(bucket, one.key) for one in bad[:9]]
    await dc.do(both(*(dc.names.put(one) for one in after)))
    for number in range(2):
        known = await dc.put(bucket, f"known{number}")
        read = await dc.put(bucket, f"read{number}", read=True)
        both_told = {("version", one.key, one.stamp) for one in (known, read)}
        await world.until(lambda: both_told <= set(dc.told()), 30)  # noqa: B023
        status = await dc.do(dc.notary.status())
        assert (status["to_read"], status["waiting"]) == (100, 118)
        assert status["unreadable"] == 100
        if number == 0:
            await dc.start_again()
            # The readers come to all of them once more.
            await asyncio.sleep(5)
    is_away = False
    await dc.published(400)
    told = dc.told()
    for old, new in zip(bad, after, strict=False):
        assert [one for one in told if one[1] == old.key] == [
            ("version", old.key, old.stamp),
            ("removed", old.key, old.stamp),
            ("version", new.key, new.stamp),
        ]
    assert len(told) == 1 + 100 + 18 + 4 and dc.verify().size == len(told)


# -- backups, names that were made again ----------------------------------------------------------


@played
async def test_names_that_were_put_back_make_no_entry_twice(world: World):
    """Nor is anything read again for an entry that is there."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    let_go = await held(dc, "to read")
    some = [await dc.put(bucket, "to read", read=True), await dc.put(bucket, "k")]
    some.append(await dc.put(bucket, "k"))
    backup = dc.backup(dc.names_file)
    assert dc.waiting(), "what is noted is in the backup"
    let_go.set()
    await dc.published()
    before, reads = dc.lines(), list(dc.reads)
    await dc.stop()
    dc.put_back(dc.names_file, backup)
    await dc.start()
    await world.until(lambda: not dc.waiting())
    assert dc.lines() == before and dc.reads == reads
    after = await dc.put(bucket, "k")
    await dc.published()
    assert dc.told()[-2:] == [("removed", "k", some[-1].stamp), ("version", "k", after.stamp)]


@played
async def test_names_that_were_made_again(world: World):
    """Nothing twice, nothing that another datacenter has written or replaced."""
    dc, other = await world.dc("paris"), Dc(world, "tokyo")
    fresh = dc.backup(dc.names_file)
    bucket = await dc.bucket()
    mine = [
        await dc.put(bucket, "k"),
        await dc.put(bucket, "k"),
        await dc.put(bucket, "r", read=True),
    ]
    theirs = []
    for _ in range(2):
        stamp = stamp_after(dc.names.clock.now(), other.dc_id)
        made = changed(mine[0], key="theirs", stamp=stamp)
        theirs.append(changed(made, registers={NOTARY: Register(stamp, "f" * 64)}))
    await dc.do(dc.names.apply(theirs))
    await dc.published()
    before = dc.lines()
    await dc.stop()
    dc.put_back(dc.names_file, fresh)
    await dc.start()
    again = await dc.bucket(on=False)
    assert again.id == bucket.id and dc.lines() == before
    dc.reads.clear()
    await dc.do(dc.names.journal.admit([*mine, *theirs]))
    assert dc.waiting()
    await world.until(lambda: not dc.waiting())
    assert dc.lines() == before and dc.reads == []


@played
async def test_of_what_is_found_again_the_bytes_are_read(world: World):
    """Whatever is said of them."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    made = dc.version(bucket, "k")
    lie = changed(made, registers={NOTARY: Register(made.stamp, "e" * 64)})
    await dc.do(dc.names.journal.admit([lie]))
    await dc.published()
    assert dc.reads == ["k"] and dc.entries()[1]["sha256"] == sha256(dc.bodies["k"])


@played
async def test_a_log_that_was_put_back_goes_on(world: World):
    """What is there and has lost its entry has one again; who has seen the other one says so
    (`test_notary_publishing.py`)."""
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    await dc.put(bucket, "a")
    gone = await dc.put(bucket, "gone")
    await dc.published()
    backup = dc.backup(dc.log_file)
    lost = await dc.put(bucket, "b")
    await dc.delete(gone)
    await dc.published()
    await dc.stop()
    dc.put_back(dc.log_file, backup)
    await dc.start()
    await dc.put(bucket, "c")
    await world.until(lambda: len(dc.told()) == 5)
    await dc.published()
    assert sorted(one[1] for one in dc.told()) == ["", "a", "b", "c", "gone"]
    assert dc.verify() and dc.reads == ["b"]
    assert await dc.do(dc.notary.is_proven(lost.stamp))
    await dc.start_again()
    await asyncio.sleep(60)
    assert len(dc.told()) == 5 and dc.reads == ["b"]


@played
async def test_the_log_of_another_datacenter_is_refused(world: World):
    from notary.errors import NotaryError

    dc = await world.dc("paris")
    await dc.stop()
    dc.log_file.execute("UPDATE logs SET key = ?", (bytes(32),))
    with pytest.raises(NotaryError, match="signed with another key"):
        await dc.start()
