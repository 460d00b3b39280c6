"""Waiting for what was made elsewhere: woken by the commit that brings it, bounded in all."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, tombstone, version

from dc.names import arrivals
from dc.names.api import NamesClosed, TooManyWaiting
from dc.names.model import Bucket, Conflict, Interval, Register
from dc.names.service import SqliteNames
from dc.positions import Position, position_of, read_position
from dc.stamps import version_id

NOW = 1_700_000_000_000
BUCKET = "b" * 16


def made(ms: int, key: str = "k", vid: str = "", origin: str = TOKYO) -> Position:
    return position_of(stamp_at(NOW + ms, origin=origin), BUCKET, key, vid)


async def begun(names: SqliteNames, *positions: Position, seconds: float = 20) -> Any:
    """A wait that is under way."""
    before = names.arrivals._count
    task = asyncio.ensure_future(names.missing(positions, seconds))
    for _ in range(200):
        if names.arrivals._count > before:
            break
        await asyncio.sleep(0.01)
    assert not task.done()
    return task


async def test_what_was_made_here_and_what_is_covered_is_here(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        assert await names.missing([made(5, origin=PARIS)], 0) == []
        old, new = made(10), made(30)
        names.cover([Interval(TOKYO, "", made(20).stamp)])
        assert await names.missing([old, new], 0) == [new]


async def test_the_commit_of_a_change_wakes_who_waits_for_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        one, two = made(10), made(11, "other")
        task = await begun(names, one, two)
        await names.apply([version(BUCKET, "k", one.stamp)])
        assert not task.done()
        await names.apply([tombstone(BUCKET, "other", two.stamp)])
        assert await task == []
        assert not names.arrivals._waiting and not names.arrivals._count


async def test_an_older_change_of_the_item_is_not_enough_and_a_later_one_is(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "names.db") as names:
        task = await begun(names, made(10))
        await names.apply([version(BUCKET, "k", made(9).stamp)])
        await names.apply([version(BUCKET, "k", stamp_at(NOW + 12), version_id(made(12).stamp))])
        await names.apply([version(BUCKET, "another", made(12).stamp)])
        await asyncio.sleep(0)
        assert not task.done()
        # What was overwritten before it was sent never comes.
        await names.apply([version(BUCKET, "k", made(11).stamp)])
        assert await task == []
        # Nor does it make that unknown if it comes afterwards, by a detour.
        await names.apply([version(BUCKET, "k", made(9).stamp)])
        assert await names.missing([made(11)], 0) == []


async def test_what_lost_has_come_when_what_it_lost_to_has(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        # What is here is neither: the winner's body is still on its way.
        await names.apply([version(BUCKET, "k", made(5).stamp)])
        task = await begun(names, made(10))
        lost = version(BUCKET, "k", made(10).stamp)
        told = Conflict(loser=lost, winner=stamp_at(NOW + 20))
        await names.apply([told])
        assert await names.missing([made(10)], 0) == [made(10)]
        assert not task.done()
        await names.apply([version(BUCKET, "k", told.winner)])
        assert await task == []


@pytest.mark.parametrize("gone", [False, True], ids=["there", "deleted"])
async def test_what_lost_to_what_is_here_already_has_come_with_the_conflict(
    tmp_path: Path, gone: bool
) -> None:
    async with opened(tmp_path / "names.db") as names:
        told = Conflict(loser=version(BUCKET, "k", made(10).stamp), winner=stamp_at(NOW + 20))
        winner = (tombstone if gone else version)(BUCKET, "k", told.winner)
        await names.apply([winner])
        # As if it had come longer ago than is remembered.
        assert await names.missing([made(10)], 0) == []
        names.arrivals._latest.clear()
        task = await begun(names, made(10))
        await names.apply([told])
        assert await task == []
    async with opened(tmp_path / "names.db") as names:
        assert await names.missing([made(10)], 0) == []


async def test_a_bucket_and_each_of_its_settings_is_an_item(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        new = Bucket(id=BUCKET, name="b", owner=OWNER, region="r", created=made(10).stamp)
        setting = position_of(made(11).stamp, BUCKET, vid="cors")
        task = await begun(names, position_of(new.created, BUCKET))
        other = await begun(names, setting)
        later = {"acl": Register(made(12).stamp, "x")}
        await names.apply([Bucket(**_fields(new), registers=later)])
        assert await task == []
        assert not other.done()
        later["cors"] = Register(setting.stamp, "y")
        await names.apply([Bucket(**_fields(new), registers=later)])
        assert await other == []


def _fields(bucket: Bucket) -> dict[str, Any]:
    return {name: getattr(bucket, name) for name in ("id", "name", "owner", "region", "created")}


async def test_the_wait_is_over_after_its_time(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        assert await names.missing([made(10)], 0.05) == [made(10)]
        assert not names.arrivals._waiting and not names.arrivals._count


async def test_more_coverage_wakes_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        task = await begun(names, made(10))
        names.cover([Interval(TOKYO, "", made(10).stamp)])
        assert await asyncio.wait_for(task, 5) == []


async def test_what_came_before_anybody_asked_is_known(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.apply([version(BUCKET, "k", made(10).stamp)])
        assert names.arrivals._latest == {}, "nothing is kept until somebody asks"
        assert await names.missing([made(10)], 0) == []
    async with opened(tmp_path / "names.db") as names:
        assert await names.missing([made(10)], 0) == []


async def test_the_first_to_ask_has_the_feed_read_back_to_where_all_is_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "FEED_PAGE", 4)
    async with opened(tmp_path / "names.db") as names:
        for number in range(40):
            await names.apply([version(BUCKET, f"k{number}", made(number).stamp)])
        names.cover([Interval(TOKYO, "", made(17).stamp)])
        assert await names.missing([made(18, "k18"), made(38, "k39")], 0) == []
        kept = list(names.arrivals._latest)
        assert made(8, "k8").item not in kept
        assert kept[-22:] == [made(number, f"k{number}").item for number in range(18, 40)]
        assert await names.missing([made(40, "k39")], 0) == [made(40, "k39")]
    monkeypatch.setattr(arrivals, "ITEMS_MAX", 12)
    async with opened(tmp_path / "names.db") as names:
        assert await names.missing([made(28, "k28"), made(20, "k20")], 0) == [made(20, "k20")]


async def test_what_is_kept_and_who_waits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrivals, "ITEMS_MAX", 5)
    monkeypatch.setattr(arrivals, "WAITING_MAX", 2)
    async with opened(tmp_path / "names.db") as names:
        tasks = [await begun(names, made(1000 + number)) for number in range(2)]
        with pytest.raises(TooManyWaiting):
            await names.missing([made(1000)], 1)
        for number in range(20):
            await names.apply([version(BUCKET, f"k{number}", made(number).stamp)])
        assert len(names.arrivals._latest) == 5
        assert await names.missing([made(19, "k19")], 0) == []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not names.arrivals._waiting and not names.arrivals._count


async def test_who_waits_is_told_of_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        task = await begun(names, made(10))
    with pytest.raises(NamesClosed):
        await task


def test_a_position_is_text_and_back() -> None:
    position = made(10, "ключ", "f" * 32)
    assert read_position(position.text()) == position
    assert position.item != made(10, "ключ").item
    good = position.text()
    for bad in ("", good[:-1], good + "0", "2" + good[1:], good.upper(), good[:-1] + "é"):
        with pytest.raises(ValueError, match="is no position"):
            read_position(bad)
