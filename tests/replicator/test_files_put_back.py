"""Files of a datacenter that was put back to a backup, and those that it had made before."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from file_kit import carry, export, pair_offline, take
from replica_kit import Dc, datacenters, new_epoch

from dc.names.model import Bucket
from replicator.errors import FileRefused
from replicator.limits import MIB

NAMES = ("names.db", "names.db-wal", "names.db-shm")


def save(dc: Dc, backup: Path) -> None:
    backup.mkdir()
    for name in NAMES:
        if (dc.root / name).exists():
            shutil.copy(dc.root / name, backup / name)


async def put_back(dc: Dc, backup: Path) -> None:
    await dc.down()
    for name in NAMES:
        (dc.root / name).unlink(missing_ok=True)
        if (backup / name).exists():
            shutil.copy(backup / name, dc.root / name)
    await dc.up()


async def with_a_lost_file(paris: Dc, tokyo: Dc, backup: Path) -> tuple[Bucket, bytes, int]:
    """Paris is put back to where it was before six changes; its bucket, a file with all that it
    made until then, and the last position that the backup has."""
    await pair_offline(paris, tokyo)
    bucket = await paris.bucket()
    await paris.put(bucket, "base", b"x")
    await paris.names.upkeep()
    save(paris, backup)
    end = paris.names.feed_end
    for number in range(6):
        await paris.put(bucket, f"lost {number}", b"x")
    old, _ = await export(paris, tokyo)
    await put_back(paris, backup)
    assert paris.names.feed_end == end
    return bucket, old, end


async def refused(dc: Dc, file: bytes) -> str:
    with pytest.raises(FileRefused) as error:
        await take(dc, file)
    return error.value.code


async def test_an_old_file_moves_no_cursor_over_what_was_made_since(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket, old, _ = await with_a_lost_file(paris, tokyo, tmp_path / "backup")
        await paris.put(bucket, "new 1", b"x")
        taken = await carry(paris, tokyo)
        assert await refused(tokyo, old) == "another_history"
        cursor = await tokyo.names.cursor(paris.dc_id)
        assert cursor is not None and cursor.seq == taken.position == paris.names.feed_end
        for number in range(2, 10):
            await paris.put(bucket, f"new {number}", b"x")
        assert (await carry(tokyo, paris)).acked == taken.position
        assert (await carry(paris, tokyo)).position == paris.names.feed_end
        for number in range(1, 10):
            assert await tokyo.get(bucket, f"new {number}") == b"x"


async def test_an_old_file_drops_nothing_that_is_unfinished(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket, old, _ = await with_a_lost_file(paris, tokyo, tmp_path / "backup")
        await paris.put(bucket, "new", b"x")
        await carry(paris, tokyo)
        await paris.put(bucket, "large", os.urandom(9 * MIB))
        new, _ = await export(paris, tokyo)
        assert await refused(tokyo, new[: len(new) - 3 * MIB]) == "cut_short"
        waits = await tokyo.names.inbox_state(paris.dc_id)
        assert waits == (1, paris.names.feed_end)
        assert await refused(tokyo, old) == "another_history"
        assert await tokyo.names.inbox_state(paris.dc_id) == waits
        assert (await take(tokyo, new)).bodies == 1


async def test_a_remembered_piece_of_a_lost_history_is_forgotten(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await carry(paris, tokyo)
        await paris.put(bucket, "base", b"x")
        await paris.names.upkeep()
        save(paris, tmp_path / "backup")
        end = paris.names.feed_end
        for number in range(6):
            await paris.put(bucket, f"lost {number}", b"x")
        beyond, _ = await export(paris, tokyo, position=end)
        assert (await take(tokyo, beyond)).gap
        await put_back(paris, tmp_path / "backup")
        report = await carry(paris, tokyo)
        assert report.position == end and not report.gap
        assert (await tokyo.names.exchanges.of(paris.dc_id)).spans == []
        await paris.put(bucket, "new", b"x")
        assert (await carry(paris, tokyo)).position == end + 1
        assert await tokyo.get(bucket, "new") == b"x"


async def test_an_old_file_of_what_the_backup_has_is_taken(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "base", b"x")
        await paris.names.upkeep()
        old, made = await export(paris, tokyo)
        await paris.down()
        await paris.up()
        await paris.put(bucket, "new", b"y")
        new, _ = await export(paris, tokyo, position=made.last)
        assert (await take(tokyo, new)).gap
        assert (await take(tokyo, old)).position == paris.names.feed_end
        assert await tokyo.get(bucket, "base") == b"x"


async def test_all_files_of_one_van(tmp_path: Path) -> None:
    """One that continues, and one with all, made when the datacenter was put back."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", b"x")
        first, _ = await export(paris, tokyo)
        await asyncio.sleep(0.01)
        new_epoch(paris)
        await paris.put(bucket, "after", b"y")
        second, _ = await export(paris, tokyo, everything=True)
        await take(tokyo, first)
        assert (await take(tokyo, second)).position == paris.names.feed_end
        assert await refused(tokyo, first) == "another_history"
        assert await tokyo.get(bucket, "after") == b"y"


async def test_an_older_file_does_not_start_over_when_the_newer_was_interrupted(
    tmp_path: Path,
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "first", b"x")
        await carry(paris, tokyo)
        end = paris.names.feed_end
        for number in range(3):
            await paris.put(bucket, f"{number}", b"x")
        beyond, _ = await export(paris, tokyo, position=end + 1)
        assert (await take(tokyo, beyond)).gap
        old, _ = await export(paris, tokyo, everything=True)
        await asyncio.sleep(0.01)
        new_epoch(paris)
        await paris.put(bucket, "large", os.urandom(9 * MIB))
        new, _ = await export(paris, tokyo, everything=True)
        assert await refused(tokyo, new[: len(new) - 3 * MIB]) == "cut_short"
        assert (await tokyo.names.exchanges.of(paris.dc_id)).spans == []
        await tokyo.down()
        await tokyo.up()
        cursor = await tokyo.names.cursor(paris.dc_id)
        assert cursor is not None and cursor.epoch == paris.names.knowledge.epoch
        assert await refused(tokyo, old) == "another_history"
        assert await tokyo.names.cursor(paris.dc_id) == cursor
        report = await take(tokyo, new)
        assert report.complete and report.bodies == 1 and report.position == paris.names.feed_end


async def test_a_clock_that_was_ahead_once_does_not_make_all_later_files_old(
    tmp_path: Path,
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await carry(paris, tokyo)
        tokyo.clock.skew_ms = 365 * 24 * 3600_000
        assert not (await carry(tokyo, paris)).ack_ignored
        tokyo.clock.skew_ms = 0
        await paris.put(bucket, "key", b"x")
        await carry(paris, tokyo)
        assert (await carry(tokyo, paris)).ack_ignored, "it may be older, by what can be known"
        tokyo.clock.skew_ms = paris.clock.skew_ms = 61_000
        later = await carry(tokyo, paris)
        assert later.acked == paris.names.feed_end and not later.ack_ignored
