"""The name server does what `dc/names/api.py` says."""

import asyncio
import contextlib
import sqlite3
import threading
from pathlib import Path

import msgspec
import pytest
from names_kit import OWNER, PARIS, FixedClock, opened, same, stamp_at, tombstone, version

from dc.names.api import (
    BucketExists,
    BucketNotEmpty,
    NamesClosed,
    NamesError,
    NoSuchBucket,
    NoSuchKey,
    NoSuchPeer,
    NoSuchUpload,
    NoSuchUser,
    PeerExists,
    TokenUsed,
    TooManyKeys,
    UserExists,
)
from dc.names.model import (
    AccessKey,
    Bucket,
    Cursor,
    Extent,
    Inboxed,
    Kind,
    Known,
    Meta,
    Part,
    Peer,
    Upload,
    UploadPart,
    User,
)


@pytest.fixture
async def names(tmp_path: Path):
    async with opened(tmp_path / "names.db") as opened_names:
        yield opened_names


async def test_a_version_comes_back_as_it_was_put(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    meta = Meta(
        checksums={"crc32": "AAAAAA=="},
        checksum_type="FULL_OBJECT",
        content_type='text/"weird"; x=é',
        headers={"Cache-Control": "no-store"},
        user={"colour": 'r"e\\d'},
        crc64=2**64 - 1,
        parts=[Part(1, 5, "ab"), Part(2, 6, "cd", "x")],
    )
    put = version(bucket.id, 'dir/é "quoted" \\ \x01', names.clock.now(), meta=meta)
    await names.put(put)
    assert same(await names.current(bucket.id, put.key), put)
    assert same(await names.version(bucket.id, put.key, ""), put)
    assert await names.version(bucket.id, put.key, "ff") is None
    assert await names.current(bucket.id, "other") is None


async def test_the_newest_of_many_versions_is_current(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    base = 1_700_000_000_000
    for ms in (5, 3, 9, 1):
        vid = "" if ms == 3 else f"{100 - ms:032d}"
        await names.put(version(bucket.id, "k", stamp_at(base + ms), vid))
    current = await names.current(bucket.id, "k")
    assert current is not None and current.stamp == stamp_at(base + 9)
    await names.put(version(bucket.id, "k", stamp_at(base + 10), ""))
    current = await names.current(bucket.id, "k")
    assert current is not None and current.vid == ""


async def test_an_older_write_loses_whenever_it_comes(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    old, new = names.clock.now(), names.clock.now()
    await names.put(version(bucket.id, "k", new))
    await names.put(version(bucket.id, "k", old))
    assert (await names.current(bucket.id, "k")).stamp == new
    await names.delete([tombstone(bucket.id, "k", old)])
    assert (await names.current(bucket.id, "k")).stamp == new
    gone = names.clock.now()
    await names.delete([tombstone(bucket.id, "k", gone)])
    await names.put(version(bucket.id, "k", new))
    assert await names.current(bucket.id, "k") is None
    assert await names.known([version(bucket.id, "k", new), version(bucket.id, "x", new)]) == [
        Known.HELD,
        Known.NEW,
    ]
    assert [entry.change.stamp for entry in (await names.feed(0, 9))[0]][1:] == [gone]


async def test_writes_of_one_key_in_one_group_leave_the_latest(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    stamps = [names.clock.now() for _ in range(50)]
    await asyncio.gather(*[names.put(version(bucket.id, "k", stamp)) for stamp in stamps])
    assert (await names.current(bucket.id, "k")).stamp == stamps[-1]
    entries, _, _ = await names.feed(0, 1000)
    assert len(entries) == 2


async def test_bucket_names_are_exclusive_and_reusable(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    for owner in (OWNER, "b" * 64):
        with pytest.raises(BucketExists) as error:
            await names.create_bucket("photos", owner, "eu")
        assert error.value.bucket == bucket
    await names.put(version(bucket.id, "k", names.clock.now()))
    with pytest.raises(BucketNotEmpty):
        await names.delete_bucket(bucket.id)
    await names.delete([tombstone(bucket.id, "k", names.clock.now())])
    await names.delete_bucket(bucket.id)
    assert names.directory.bucket("photos") is None
    with pytest.raises(NoSuchBucket):
        await names.delete_bucket(bucket.id)
    with pytest.raises(NoSuchBucket):
        await names.put(version(bucket.id, "k", names.clock.now()))
    again = await names.create_bucket("photos", "b" * 64, "eu")
    assert names.directory.bucket("photos") == again and again.id != bucket.id


async def test_a_put_that_races_the_deletion_of_its_bucket_is_refused(names):
    """The put was let in while the bucket lived; its commit comes after the deletion's."""
    bucket = await names.create_bucket("photos", OWNER, "eu")
    other = await names.create_bucket("other", OWNER, "eu")
    deletion = asyncio.ensure_future(names.delete_bucket(bucket.id))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(names.put(version(bucket.id, "k", names.clock.now())))
    fine = asyncio.ensure_future(names.put(version(other.id, "k", names.clock.now())))
    await deletion
    with pytest.raises(NoSuchBucket):
        await late
    await fine
    assert await names.current(bucket.id, "k") is None
    assert await names.current(other.id, "k") is not None


async def test_an_action_that_fails_undoes_itself_alone(names):
    user = User(id="c" * 64, email="ann@example.org", stamp=names.clock.now())
    key = AccessKey(id="K1", user=user.id, secret=b"s", stamp=names.clock.now())
    await names.add_user(user, key)
    twin = User(id="d" * 64, email="ann@example.org", stamp=names.clock.now())
    results = await asyncio.gather(
        names.add_key(AccessKey(id="K2", user=user.id, secret=b"", stamp=names.clock.now())),
        names.add_user(twin, AccessKey(id="K9", user=twin.id, secret=b"", stamp="")),
        names.add_key(AccessKey(id="K3", user=user.id, secret=b"", stamp=names.clock.now())),
        names.create_bucket("photos", user.id, "eu"),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), UserExists, TooManyKeys, Bucket]
    assert [found.id for found in names.directory.keys_of(user.id)] == ["K1", "K2"]
    assert names.directory.key("K9") is None
    await names.revoke_key("K1")
    with pytest.raises(NoSuchKey):
        await names.revoke_key("K1")
    await names.delete_user(user.id)
    assert names.directory.key("K2") is None
    with pytest.raises(NoSuchUser):
        await names.delete_user(user.id)
    with pytest.raises(NoSuchUser):
        await names.add_key(AccessKey(id="K4", user=user.id, secret=b"", stamp=""))


async def test_a_cancelled_caller_does_not_hold_up_the_others(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    puts = [
        asyncio.ensure_future(names.put(version(bucket.id, f"k{i}", names.clock.now())))
        for i in range(20)
    ]
    await asyncio.sleep(0)
    for put in puts[::2]:
        put.cancel()
    done = await asyncio.gather(*puts, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [True, False] * 10
    for number in range(1, 20, 2):
        assert await names.current(bucket.id, f"k{number}") is not None


async def test_everything_is_there_after_a_restart(tmp_path: Path):
    clock = FixedClock()
    path = tmp_path / "names.db"
    async with opened(path, clock=clock) as names:
        bucket = await names.create_bucket("photos", OWNER, "eu")
        user = User(id=OWNER, email="ann@example.org", stamp=names.clock.now())
        await names.add_user(user, AccessKey(id="K1", user=OWNER, secret=b"s", stamp=user.stamp))
        put = version(bucket.id, "k", names.clock.now())
        await names.put(put)
        epoch, end, last = names.epoch, names.feed_end, names.clock.last
    clock.ms -= 3_600_000
    async with opened(path, clock=clock) as names:
        assert same(await names.current(bucket.id, "k"), put)
        assert names.directory.bucket("photos") == bucket
        assert names.directory.key("K1").secret == b"s"
        assert names.feed_end == end
        assert names.epoch != epoch, "each start begins an epoch"
        assert names.knowledge.recognises(epoch, end, end)
        assert not names.knowledge.recognises(epoch, end + 1, end + 1)
        assert names.clock.now() > last, "the clock must not go back with the wall clock"


async def test_a_database_from_the_future_is_refused(tmp_path: Path):
    path = tmp_path / "names.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(NamesError, match="schema 99"):
        async with opened(path):
            pass


async def test_uploads_live_until_completed_or_aborted(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    for number in range(3):
        upload = Upload(f"u{number}", bucket.id, "big", OWNER, names.clock.now(), Meta())
        await names.create_upload(upload)
    assert await names.upload("u1") is not None and await names.upload("zz") is None
    listed = await names.uploads(bucket.id, prefix="b", after=("big", "u0"))
    assert [upload.id for upload in listed] == ["u1", "u2"]
    first = UploadPart(1, 5, "e1", names.clock.now(), 2**64 - 1, {}, [Extent(1, 2, 5)])
    later = UploadPart(1, 6, "e2", names.clock.now(), 8, {}, [Extent(1, 9, 6)])
    await names.put_part("u0", later)
    await names.put_part("u0", first)
    await names.put_part("u0", UploadPart(3, 1, "e3", names.clock.now(), 1, {}, []))
    assert [part.etag for part in await names.parts("u0")] == ["e2", "e3"]
    assert [part.etag for part in await names.parts("u0", after=1)] == ["e3"]
    done = version(bucket.id, "big", names.clock.now())
    await names.complete_upload("u0", done)
    assert same(await names.current(bucket.id, "big"), done)
    assert await names.completed_upload("u0") == (bucket.id, "big", "", done.stamp)
    for attempt in (
        names.complete_upload("u0", done),
        names.put_part("u0", first),
        names.abort_upload("u0"),
    ):
        with pytest.raises(NoSuchUpload):
            await attempt
    await names.abort_upload("u1")
    assert await names.parts("u0") == [] and await names.upload("u1") is None
    await names.delete([tombstone(bucket.id, "big", names.clock.now())])
    await names.delete_bucket(bucket.id)
    assert await names.upload("u2") is None


def _peer(dc_id: str, name: str) -> Peer:
    return Peer(
        dc_id=dc_id,
        name=name,
        region="eu",
        endpoints=["127.0.0.1:1"],
        fingerprint="0" * 64,
        signing_key=b"s" * 32,
        sealing_key=b"k" * 32,
        paired="",
    )


async def test_a_pairing_token_works_once(names):
    await names.add_peer(_peer("1" * 16, "tokyo"), "token", 2_000_000_000)
    await names.add_peer(_peer("1" * 16, "tokyo"), "token", 2_000_000_000)
    with pytest.raises(TokenUsed):
        await names.add_peer(_peer("2" * 16, "oslo"), "token", 2_000_000_000)
    with pytest.raises(PeerExists):
        await names.add_peer(_peer("3" * 16, "tokyo"))
    assert [peer.name for peer in names.peers()] == ["tokyo"]


async def test_cursor_and_inbox_move_with_the_changes(names):
    await names.add_peer(_peer("1" * 16, "tokyo"))
    peer = "1" * 16
    inbox = [Inboxed(peer=peer, seq=seq, change=b"c%d" % seq) for seq in (4, 6)]
    await names.apply([], peer=peer, cursor=Cursor("e", 7), inbox=inbox)
    assert await names.cursor(peer) == Cursor("e", 7)
    assert await names.inbox_state(peer) == (2, 4)
    tried = Inboxed(
        peer=peer,
        seq=4,
        change=b"c4",
        extents=[(0, Extent(1, 2, 3))],
        attempts=1,
        next_try_ms=500,
        error="no",
    )
    gone = Inboxed(peer=peer, seq=99, change=b"")
    await names.inbox_update([tried, gone])
    assert await names.inbox(peer) == [tried, inbox[1]]
    assert await names.inbox(peer, due_ms=499) == [inbox[1]]
    assert await names.inbox(peer, after=4) == [inbox[1]]
    await names.apply([], peer=peer, done=[4, 5])
    assert await names.inbox_state(peer) == (1, 6)
    assert await names.cursor(peer) == Cursor("e", 7)
    await names.remove_peer(peer)
    assert await names.cursor(peer) is None and await names.inbox_state(peer) == (0, 0)
    with pytest.raises(NoSuchPeer):
        await names.apply([], peer=peer, cursor=Cursor("e", 8))
    assert await names.cursor(peer) is None


async def test_the_feed_wakes_who_waits_for_it(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    waiting = asyncio.ensure_future(names.feed_wait(names.feed_end))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await names.put(version(bucket.id, "k", names.clock.now()))
    await asyncio.wait_for(waiting, 1)


async def test_an_object_brings_a_bucket_back_that_was_deleted_without_knowing_it(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    await names.delete_bucket(bucket.id)
    unseen = stamp_at(1_000, origin="9" * 16)
    await names.apply([version(bucket.id, "k", unseen)])
    assert names.directory.bucket("photos") is not None
    assert await names.current(bucket.id, "k") is not None


async def test_a_bucket_emptied_and_deleted_elsewhere_stays_deleted(names):
    """Also when the deletions of its objects come in one batch with its own."""
    bucket = await names.create_bucket("photos", OWNER, "eu")
    await names.put(version(bucket.id, "k", names.clock.now()))
    gone, deleted = names.clock.now(), names.clock.now()
    ended = msgspec.structs.replace(bucket, deleted=deleted)
    await names.apply([ended, tombstone(bucket.id, "k", gone)])
    assert names.directory.bucket("photos") is None


async def test_what_was_read_before_a_change_is_not_read_after_it(names):
    """Reads and writes of few keys, crossing: after a write is answered, nobody reads the old."""
    bucket = await names.create_bucket("photos", OWNER, "eu")
    answered: dict[str, str] = {}
    rounds = 300

    async def write(key: str) -> None:
        for turn in range(rounds):
            stamp = names.clock.now()
            if turn % 5 == 4:
                await names.delete([tombstone(bucket.id, key, stamp)])
            elif turn % 5 == 3:
                await names.apply([version(bucket.id, key, stamp)])
            else:
                await names.put(version(bucket.id, key, stamp))
            answered[key] = stamp

    async def read(key: str) -> None:
        for _ in range(rounds * 4):
            before = answered.get(key, "")
            found = await names.current(bucket.id, key)
            if found is not None:
                assert found.stamp >= before
            else:
                # Deleted now, or not yet written: but then not answered as written and kept.
                assert not before or (await names.known([version(bucket.id, key, before)]))[0] in (
                    Known.HELD,
                    Known.PAST,
                )
            await asyncio.sleep(0)

    await asyncio.gather(*[job(key) for key in "abc" for job in (write, read, read)])


async def test_only_so_many_rows_are_remembered(names, monkeypatch):
    monkeypatch.setattr("dc.names.reader.ROWS_MAX", 3)
    bucket = await names.create_bucket("photos", OWNER, "eu")
    for number in range(5):
        await names.put(version(bucket.id, f"k{number}", names.clock.now()))
        assert (await names.current(bucket.id, f"k{number}")).key == f"k{number}"
    number = names.directory.number(bucket.id)
    held = [name for name in "01234" if names._reader.remembered(number, f"k{name}")]
    assert held == ["2", "3", "4"]


async def test_two_owners_of_one_name_both_keep_their_buckets(names):
    mine = await names.create_bucket("photos", OWNER, "eu")
    theirs = Bucket(
        id="f" * 16, name="photos", owner="e" * 64, region="ap", created=stamp_at(1_000)
    )
    await names.apply([theirs])
    assert names.directory.bucket("photos") == theirs, "the earlier one has the name"
    (renamed,) = names.directory.buckets_of(OWNER)
    assert renamed.id == mine.id and renamed.name == f"photos--conflict-{PARIS[:8]}"


async def test_a_delete_marker_is_current_but_not_listed(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    await names.put(version(bucket.id, "k", stamp_at(1_000), "b" * 32))
    await names.put(version(bucket.id, "k", stamp_at(2_000), "a" * 32, kind=Kind.DELETE_MARKER))
    assert (await names.current(bucket.id, "k")).kind == Kind.DELETE_MARKER
    assert (await names.list_objects(bucket.id)).objects == []
    assert (await names.list_objects(bucket.id, delimiter="/")).objects == []


async def test_many_buckets_of_one_long_name_are_all_shown(names):
    buckets = [
        Bucket(
            id=f"{number:016x}",
            name="n" * 50,
            owner=OWNER,
            region="eu",
            created=stamp_at(1_700_000_000_000 + number),
        )
        for number in range(12)
    ]
    await names.apply(buckets)
    shown = names.directory.buckets_of(OWNER)
    assert {bucket.id for bucket in shown} == {bucket.id for bucket in buckets}
    assert all(len(bucket.name) <= 63 for bucket in shown)
    assert names.directory.bucket("n" * 50).id == buckets[0].id


async def test_changes_of_peers_count_for_when_the_log_is_copied_back(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    for number in range(12):
        keys = [f"{number}/{key}" for key in range(400)]
        await names.apply([version(bucket.id, key, names.clock.now()) for key in keys])
    assert names._writer._checkpoint is not None


async def ended(but: set[threading.Thread]) -> None:
    """Return when there are no threads but those."""
    for _ in range(500):
        if not set(threading.enumerate()) - but:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a thread was left behind")


async def test_what_cannot_be_loaded_leaves_no_thread_behind(tmp_path: Path):
    path = tmp_path / "names.db"
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE users")
        db.commit()
    before = set(threading.enumerate())
    with pytest.raises(sqlite3.OperationalError):
        async with opened(path):
            pass
    await ended(before)


async def test_closing_ends_all_threads_when_the_log_cannot_be_copied_back(tmp_path: Path):
    class Full:
        def execute(self, _statement: str) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    before = set(threading.enumerate())
    async with opened(tmp_path / "names.db") as names:
        run = names._writer._db.run
        names._writer._db.run = lambda work: run(lambda _db: work(Full()))
    await ended(before)
    async with opened(tmp_path / "names.db") as names:
        assert names.feed_end == 0


async def test_a_key_that_cannot_be_asked_for_does_not_stop_the_reads_of_others(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    await names.put(version(bucket.id, "k", names.clock.now()))
    with pytest.raises(NamesError):
        await names.current(bucket.id, "\ud800")
    async with asyncio.timeout(5):
        assert await names.current(bucket.id, "k") is not None


async def test_a_read_that_fails_is_the_name_servers_error(names):
    bucket = await names.create_bucket("photos", OWNER, "eu")
    await names._scan.run(lambda db: db.execute("ALTER TABLE versions RENAME TO hidden"))
    for read in (
        names.list_objects(bucket.id),
        names.known([version(bucket.id, "k", names.clock.now())]),
        names.feed(0, 10),
    ):
        with pytest.raises(NamesClosed, match="could not read"):
            await read
    await names._scan.run(lambda db: db.execute("ALTER TABLE hidden RENAME TO versions"))
