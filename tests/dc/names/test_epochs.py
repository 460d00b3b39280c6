"""Cursors of the past: which of them this feed, as it is now, has given out."""

import shutil
from pathlib import Path

from dcs_kit import bucket_of, sites


async def test_each_start_begins_an_epoch_and_knows_the_old_ones(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        first, end = one.names.epoch, one.names.feed_end
        assert one.names.knowledge.recognises(first, end, one.names.feed_end)
        assert not one.names.knowledge.recognises(first, end + 1, one.names.feed_end)
        await one.start_again()
        second = one.names.epoch
        await one.put(bucket, "a")
        knowledge, now = one.names.knowledge, one.names.feed_end
        assert second != first and now > end
        assert knowledge.recognises(first, end, now)
        assert not knowledge.recognises(first, end + 1, now), "it never got so far"
        assert knowledge.recognises(second, now, now)
        assert not knowledge.recognises("0123456789abcdef", 0, now)
        assert not knowledge.recognises("none", 0, now)


async def test_a_database_from_the_past_does_not_know_what_it_forgot(tmp_path: Path) -> None:
    async with sites(tmp_path, 1) as (one,):
        bucket = await bucket_of(one)
        await one.put(bucket, "a")
        epoch, then = one.names.epoch, one.names.feed_end
        await one.close()
        shutil.copy(one.path, tmp_path / "backup.db")
        await one.open()
        await one.put(bucket, "b")
        forgotten = one.names.epoch
        await one.close()
        shutil.copy(tmp_path / "backup.db", one.path)
        await one.open()
        await one.put(bucket, "c")
        now = one.names.feed_end
        assert one.names.knowledge.recognises(epoch, then, now)
        assert not one.names.knowledge.recognises(forgotten, then, now)
        assert not one.names.knowledge.recognises(forgotten, now, now), "the same position"
