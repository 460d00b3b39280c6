"""DCs without a link become equal by files, and go on by a link when there is one."""

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from file_kit import carry, export, link_up, pair_offline, root, take
from replica_kit import Dc, datacenters, eventually, new_epoch, pair, settled
from verify_kit import change, damage, forget

from dc.names.model import FeedEntry, Version
from dc.objects.api import CorruptData, MissingData
from dc.placement import REPLICATION
from replicator import status
from replicator.errors import FileRefused
from replicator.limits import MIB

ONLY_PARIS = (
    '{"Role":"","Rules":[{"ID":"1","Status":"Enabled","Filter":{"Prefix":""},'
    '"Destination":{"Bucket":"arn:farshore:dc:::paris"}}]}'
)


async def test_files_both_ways_make_them_equal_and_a_link_goes_on(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        large, medium = os.urandom(19 * MIB + 5), os.urandom(300_000)
        await paris.put(bucket, "small", b"hello")
        await paris.put(bucket, "large", large)
        await paris.put(bucket, "medium", medium)
        await paris.put(bucket, "empty", b"")
        await paris.delete(bucket, "empty")
        file, made = await export(paris, tokyo)
        assert b"hello" not in file and large[:100] not in file, "bodies are nobody else's business"
        report = await take(tokyo, file)
        assert report.complete and not report.gap and report.unfinished == 0
        assert report.bodies == made.bodies == 2 and report.changes == made.changes
        assert report.position == report.last == made.last
        assert await tokyo.get(bucket, "small") == b"hello"
        assert await tokyo.get(bucket, "large") == large
        assert await tokyo.get(bucket, "medium") == medium
        assert await tokyo.get(bucket, "empty") is None
        await tokyo.put(bucket, "back", b"from tokyo")
        back = await carry(tokyo, paris)
        assert back.acked == made.last, "the way back says how far it was taken"
        assert back.identical and root(paris) == root(tokyo)
        assert await paris.get(bucket, "back") == b"from tokyo"
        again = await carry(paris, tokyo)
        assert again.acked == back.position and again.identical
        before = paris.peer(tokyo).changes_out
        await link_up(paris, tokyo)
        await settled(paris, tokyo)
        await paris.put(bucket, "live", b"over the link")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "live") == b"over the link"
        assert paris.peer(tokyo).changes_out - before <= 2, "nothing goes again"


async def test_an_offline_peer_is_no_error(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        link = paris.replicator._peers.link(tokyo.dc_id)
        assert link is not None
        await eventually(lambda: link._failures > 0)
        shown = paris.peer(tokyo)
        assert (shown.state, shown.last_error, shown.files) == ("OFFLINE", "", None)
        assert shown.retry_seconds > 30
        bucket = await paris.bucket()
        await carry(paris, tokyo)
        assert paris.peer(tokyo).to_give is None, "it has not said yet what it has"
        await carry(tokyo, paris)
        await paris.put(bucket, "key", b"x" * 1000)
        await eventually(lambda: (paris.peer(tokyo).to_give or status.NOTHING).changes == 1)
        give = paris.peer(tokyo).to_give
        assert give is not None and give.bytes == 1000
        version = await paris.names.version(bucket.id, "key", "")
        assert version is not None and paris.replicator.mark(version) == "PENDING"
        await carry(paris, tokyo)
        await carry(tokyo, paris)
        assert paris.replicator.mark(version) == "COMPLETED"
        files = paris.peer(tokyo).files
        assert files is not None and files.exported_position == paris.names.feed_end
        assert files.acked_ms >= files.exported_ms > 0 and files.imported_ms > 0
        await paris.down()
        await paris.up()
        assert paris.peer(tokyo).files == files
        assert paris.peer(tokyo).our_acked == paris.names.feed_end


async def test_exports_get_smaller_by_what_is_acknowledged(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(20):
            await paris.put(bucket, f"{number}", os.urandom(10_000))
        first, _ = await export(paris, tokyo)
        await take(tokyo, first)
        assert len((await export(paris, tokyo))[0]) >= len(first), "not acknowledged yet"
        way_back, _ = await export(tokyo, paris)
        await take(paris, way_back)
        await paris.put(bucket, "one more", b"x")
        second, report = await export(paris, tokyo)
        assert len(second) < 3_000 and report.changes == 1
        assert (await take(tokyo, second)).position == paris.names.feed_end
        everything, whole = await export(paris, tokyo, everything=True)
        assert whole.after == 0 and len(everything) > len(first)
        again = await take(tokyo, everything)
        assert again.known == again.changes and root(tokyo) == root(paris)


async def test_an_acknowledgement_of_an_old_file_is_not_listened_to(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await carry(paris, tokyo)
        old, _ = await export(tokyo, paris)
        await paris.put(bucket, "key", b"x")
        await carry(paris, tokyo)
        await asyncio.sleep(0.01)
        assert (await carry(tokyo, paris)).acked == paris.names.feed_end
        replayed = await take(paris, old)
        assert replayed.acked == paris.names.feed_end and replayed.ack_ignored
        # A newer file that says less: tokyo was put back.
        forgotten = paris.names.feed_end - 1
        cursor = await tokyo.names.cursor(paris.dc_id)
        assert cursor is not None
        await tokyo.names.apply([], peer=paris.dc_id, cursor=type(cursor)(cursor.epoch, forgotten))
        await asyncio.sleep(0.01)
        assert (await carry(tokyo, paris)).acked == forgotten
        # And one that has nothing any more.
        await damage(tokyo, change("DELETE FROM cursors"))
        await asyncio.sleep(0.01)
        assert (await carry(tokyo, paris)).acked is None
        assert (await export(paris, tokyo))[1].after == 0


async def test_a_large_body_goes_on_where_it_was(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        body = os.urandom(42 * MIB)
        await paris.put(bucket, "large", body)
        file, _ = await export(paris, tokyo)
        with pytest.raises(FileRefused) as refused:
            await take(tokyo, file[: 30 * MIB])
        assert refused.value.code == "cut_short"
        assert await tokyo.get(bucket, "large") is None, "not visible before all of it is here"
        assert tokyo.names.feed_end > 0, "what came before it is"
        await tokyo.down()
        await tokyo.up()
        stored: list[int] = []
        real = tokyo.objects.writer

        def writer(ident: bytes, **more: Any) -> Any:
            stored.append(1)
            return real(ident, **more)

        tokyo.objects.writer = writer  # type: ignore[method-assign]
        report = await take(tokyo, file)
        assert report.bodies == 1 and report.unfinished == 0
        assert await tokyo.get(bucket, "large") == body
        assert len(stored) == 3, "of six ranges, three were durable"


async def test_what_was_overwritten_during_the_export_comes_in_its_later_state(
    tmp_path: Path,
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "large", os.urandom(9 * MIB))
        await paris.put(bucket, "damaged", os.urandom(9 * MIB))
        real = paris.objects.read
        overwritten = False

        async def read(extents: Any, start: int, stop: int) -> Any:
            nonlocal overwritten
            if not overwritten:
                overwritten = True
                await paris.put(bucket, "large", b"later")
            if stop > MIB:
                raise CorruptData("gone")
            async for piece in real(extents, start, stop):
                yield piece

        paris.objects.read = read  # type: ignore[method-assign, assignment]
        file, made = await export(paris, tokyo)
        assert made.unreadable == 1 and made.bodies == 0
        files = paris.peer(tokyo).files
        assert files is not None and files.exported_unreadable == 1
        report = await take(tokyo, file)
        assert report.unfinished == 1, "the damaged one is owed, and not acknowledged"
        paris.objects.read = real  # type: ignore[method-assign]
        back = await carry(tokyo, paris)
        assert back.acked is not None and back.acked < made.last
        again = await carry(paris, tokyo)
        assert again.unfinished == 0 and again.bodies == 1
        assert await tokyo.get(bucket, "large") == b"later"
        assert root(paris) == root(tokyo)


async def test_a_body_that_moved_while_it_was_read_is_read_where_it_is_then(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        body = os.urandom(19 * MIB)
        await paris.put(bucket, "large", body)
        stored = await paris.names.version(bucket.id, "large", "")
        assert stored is not None
        stale = list(stored.extents)
        real_feed, real_read = paris.names.feed, paris.objects.read
        begins: list[int] = []

        async def feed(after: int, limit: int) -> Any:
            """The extents of a moment ago, in pages of the feed."""
            entries, looked, complete = await real_feed(after, limit)
            if limit > 1:
                entries = [
                    FeedEntry(one.seq, msgspec.structs.replace(one.change, extents=stale))
                    if isinstance(one.change, Version)
                    else one
                    for one in entries
                ]
            return entries, looked, complete

        async def read(extents: Any, start: int, stop: int) -> Any:
            begins.append(start)
            sent = 0
            async for piece in real_read(stored.extents, start, stop):
                if extents is stale and sent >= 9 * MIB:
                    raise MissingData("compacted")
                sent += len(piece)
                yield piece

        paris.names.feed = feed  # type: ignore[method-assign, assignment]
        paris.objects.read = read  # type: ignore[method-assign, assignment]
        file, made = await export(paris, tokyo)
        assert (made.bodies, made.unreadable) == (1, 0)
        assert begins[0] == 0 and begins[1] >= 8 * MIB, "it goes on, and begins not anew"
        assert (await take(tokyo, file)).unfinished == 0
        assert await tokyo.get(bucket, "large") == body


async def test_nothing_after_a_gap_is_acknowledged(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await carry(paris, tokyo)
        end = paris.names.feed_end
        await paris.put(bucket, "between", b"x")
        await paris.put(bucket, "large", os.urandom(9 * MIB))
        file, _ = await export(paris, tokyo, position=end + 1)
        with pytest.raises(FileRefused):
            await take(tokyo, file[: 5 * MIB])
        assert await tokyo.names.inbox_state(paris.dc_id) == (1, end + 2)
        assert (await carry(tokyo, paris)).acked == end
        assert (await take(tokyo, file)).gap
        assert (await carry(tokyo, paris)).acked == end
        assert tokyo.peer(paris).files is not None
        between, _ = await export(paris, tokyo)
        assert (await take(tokyo, between)).position == end + 2
        assert (await carry(tokyo, paris)).acked == end + 2


async def test_what_waits_in_the_inbox_and_changed_since_is_dropped(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "large", os.urandom(9 * MIB))
        file, _ = await export(paris, tokyo)
        with pytest.raises(FileRefused):
            await take(tokyo, file[: 5 * MIB])
        assert await tokyo.names.inbox_state(paris.dc_id) != (0, 0)
        await paris.put(bucket, "large", b"small now")
        report = await carry(paris, tokyo)
        assert report.unfinished == 0
        assert await tokyo.get(bucket, "large") == b"small now"


async def test_rules_hold_in_files(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.names.set_bucket_registers(bucket.id, {REPLICATION: ONLY_PARIS})
        large, small = os.urandom(9 * MIB), b"a secret of paris"
        await paris.put(bucket, "large", large)
        await paris.put(bucket, "small", small)
        file, made = await export(paris, tokyo)
        assert made.bodies == 0 and len(file) < 10_000, "bytes are withheld"
        report = await take(tokyo, file)
        assert report.unfinished == 0
        found = await tokyo.names.version(bucket.id, "large", "")
        assert found is not None and found.size == len(large)
        assert root(paris) == root(tokyo)


async def test_changes_of_third_datacenters_are_in_files(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "rome", "paris", "tokyo") as (rome, paris, tokyo):
        await pair(rome, paris)
        bucket = await rome.bucket()
        large = os.urandom(9 * MIB)
        await rome.put(bucket, "large", large)
        await rome.put(bucket, "small", b"of rome")
        await settled(rome, paris)
        await pair_offline(paris, tokyo)
        await carry(paris, tokyo)
        assert await tokyo.get(bucket, "large") == large
        assert await tokyo.get(bucket, "small") == b"of rome"
        await tokyo.put(bucket, "answer", b"of tokyo")
        await carry(tokyo, paris)
        await eventually(lambda: _is(rome, bucket, "answer", b"of tokyo"))
        assert root(paris) == root(tokyo)


async def _is(dc: Dc, bucket: Any, key: str, body: bytes | None) -> bool:
    return await dc.get(bucket, key) == body


async def test_a_datacenter_that_was_put_back_begins_with_all(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", b"x")
        await carry(paris, tokyo)
        new_epoch(paris)
        await paris.put(bucket, "after", b"y")
        file, _ = await export(paris, tokyo, position=paris.names.feed_end - 1)
        with pytest.raises(FileRefused) as refused:
            await take(tokyo, file)
        assert refused.value.code == "another_history" and "--all" in str(refused.value)
        assert await tokyo.get(bucket, "after") is None
        file, _ = await export(paris, tokyo, everything=True)
        report = await take(tokyo, file)
        assert report.position == paris.names.feed_end and report.identical
        assert await tokyo.get(bucket, "after") == b"y"


async def test_an_export_gives_back_what_its_receiver_forgot(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        body = os.urandom(9 * MIB)
        await paris.put(bucket, "large", body)
        await paris.put(bucket, "small", b"small")
        await carry(paris, tokyo)
        small, _ = await export(tokyo, paris)
        assert len(small) < 5_000, "paris has the bodies of what it made"
        await paris.down()
        for name in ("names.db", "names.db-wal", "names.db-shm"):
            (paris.root / name).unlink(missing_ok=True)
        await paris.up()
        await paris.replicator.join_offline(tokyo.replicator.issue_token().token)
        file, _ = await export(tokyo, paris, everything=True)
        await take(paris, file)
        assert await paris.get(bucket, "large") == body
        assert await paris.get(bucket, "small") == b"small"


async def test_deletions_that_were_missed_are_found_over_a_link(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "gone", b"x")
        await carry(paris, tokyo)
        made = paris.names.clock.now()
        await paris.delete(bucket, "gone")
        await damage(
            paris,
            forget("tombstones", "1"),
            change("INSERT INTO facts VALUES('horizon', '1000000')"),
            change("INSERT OR REPLACE INTO coverage VALUES(?, '', ?)", paris.dc_id, made),
        )
        report = await carry(paris, tokyo)
        assert report.missed_deletions and not report.identical
        await tokyo.down()
        await tokyo.up()
        cursor = await tokyo.names.cursor(paris.dc_id)
        assert cursor is not None and cursor.missed, "it is remembered"
        assert await tokyo.get(bucket, "gone") == b"x"
        await link_up(paris, tokyo)
        await eventually(lambda: _is(tokyo, bucket, "gone", None))


async def test_what_is_covered_after_a_restart_waits_for_a_newer_file(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        await paris.bucket()
        await carry(paris, tokyo)
        old, _ = await export(tokyo, paris)
        await paris.down()
        await paris.up()
        link = paris.replicator._peers.link(tokyo.dc_id)
        assert link is not None
        await take(paris, old)
        assert not link.inbound.given_back, "it was made before the start"
        tokyo.clock.skew_ms = 121_000
        await carry(tokyo, paris)
        assert not link.inbound.given_back, "by a clock that is wrong"
        paris.clock.skew_ms = 121_000
        await carry(tokyo, paris)
        assert link.inbound.given_back


async def test_nothing_is_known_of_an_export_that_failed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", os.urandom(100_000))
        count = 0

        async def put(_: bytes) -> None:
            nonlocal count
            count += 1
            if count == 3:
                raise ConnectionError("the disk is full")

        with pytest.raises(ConnectionError):
            await paris.replicator.files.export(tokyo.dc_id, None, False, put)
        assert paris.peer(tokyo).files is None
        with pytest.raises(ValueError):
            await export(paris, tokyo, position=paris.names.feed_end + 1)


async def test_a_file_while_there_is_a_link_changes_nothing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        file, _ = await export(paris, tokyo, everything=True)
        await paris.put(bucket, "key", b"x")
        await settled(paris, tokyo)
        await take(tokyo, file)
        await paris.put(bucket, "more", b"y")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "more") == b"y"
        assert root(paris) == root(tokyo)
