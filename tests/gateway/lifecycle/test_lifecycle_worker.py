"""The lifecycle worker: what is due goes, what has changed since stays, restarts lose nothing."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dc.names.model import Extent, Kind, Meta, SweptVersion, Upload, Version
from dc.names.service import SqliteNames, open_names
from dc.names.sweep import Sweeper
from dc.stamps import version_id
from dc.system import SystemClock, SystemDatabases, SystemRandomness
from gateway.lifecycle import worker
from gateway.lifecycle.worker import Lifecycle

DAY = 10_000
OWNER = "a" * 64
START = 1_800_000_000_000


class SetClock(SystemClock):
    """Wall time as the test sets it; nobody waits."""

    ms = START

    def wall_ms(self) -> int:
        return self.ms

    async def sleep(self, seconds: float) -> None:
        return


class Dc:
    def __init__(self, names: SqliteNames, clock: SetClock) -> None:
        self.names = names
        self.clock = clock
        self.lifecycle = self.worker()

    def worker(self) -> Lifecycle:
        return Lifecycle(self.names, self.clock, day_ms=DAY, notifications=True, host_id="paris")

    async def bucket(self, *rules: dict[str, Any], name: str = "photos", **more: str) -> str:
        made = await self.names.create_bucket(name, OWNER, "paris")
        named = [{"ID": f"r{n}", "Status": "Enabled", **rule} for n, rule in enumerate(rules)]
        registers = {"lifecycle": json.dumps({"Rules": named}), **more}
        await self.names.set_bucket_registers(made.id, registers)
        return made.id

    async def put(self, bucket: str, key: str, *, versioned: bool = False) -> Version:
        stamp = self.names.clock.now()
        vid = version_id(stamp) if versioned else ""
        one = Version(bucket, key, vid, stamp, Kind.OBJECT, 1, "e", Meta(), [Extent(1, 64, 1)])
        await self.names.put(one)
        return one

    async def look(self, passes: int = 1) -> None:
        upto = self.lifecycle.passes + passes
        for _ in range(1000):
            await self.lifecycle.step()
            if self.lifecycle.passes == upto:
                return
        raise AssertionError("it does not come to an end")

    async def there(self, bucket: str) -> list[SweptVersion]:
        return await self.names.sweeper.page(bucket, ("", ""))

    async def told(self) -> list[str]:
        page = await self.names.outbox.page()
        return [json.loads(one.event.payload)["Records"][0]["eventName"] for one in page]


@asynccontextmanager
async def opened(path: Path, clock: SetClock) -> AsyncIterator[Dc]:
    names = await open_names(
        path / "n.db",
        databases=SystemDatabases(),
        clock=clock,
        randomness=SystemRandomness(),
        dc_id="1" * 16,
    )
    try:
        yield Dc(names, clock)
    finally:
        await names.close()


@pytest.fixture
async def dc(tmp_path: Path) -> AsyncIterator[Dc]:
    async with opened(tmp_path, SetClock()) as one:
        yield one


DAYS = {"Prefix": "", "Expiration": {"Days": 1}}
TELL = json.dumps(
    {
        "TopicConfigurations": [
            {"Id": "i", "TopicArn": "arn:farshore:mqtt:::t", "Events": ["s3:LifecycleExpiration:*"]}
        ]
    }
)


async def test_without_versions_an_object_is_deleted_and_told(dc: Dc) -> None:
    bucket = await dc.bucket({**DAYS, "Prefix": "old/"}, notification=TELL)
    await dc.put(bucket, "old/a")
    await dc.put(bucket, "new/a")
    dc.clock.ms += DAY - 1
    await dc.look()
    assert len(await dc.there(bucket)) == 2
    dc.clock.ms += 1
    await dc.look()
    assert [one.key for one in await dc.there(bucket)] == ["new/a"]
    assert await dc.told() == ["LifecycleExpiration:Delete"]
    assert dc.lifecycle.status() == {
        "passes": 2,
        "bucket": "",
        "expired": 1,
        "removed": 0,
        "aborted": 0,
    }


async def test_with_versions_a_marker_goes_over_the_object_and_leaves_when_it_is_alone(
    dc: Dc,
) -> None:
    rule = {**DAYS, "NoncurrentVersionExpiration": {"NoncurrentDays": 2}}
    bucket = await dc.bucket(rule, versioning="Enabled", notification=TELL)
    first = await dc.put(bucket, "k", versioned=True)
    dc.clock.ms += DAY
    await dc.look()
    marker, kept = await dc.there(bucket)
    assert (marker.kind, kept.vid) == (Kind.DELETE_MARKER, first.vid)
    assert marker.vid == version_id(marker.stamp)
    dc.clock.ms += 2 * DAY
    await dc.look()
    assert await dc.there(bucket) == [marker]
    await dc.look()
    assert await dc.there(bucket) == []
    created, removed, gone = await dc.told()
    assert created == "LifecycleExpiration:DeleteMarkerCreated"
    assert removed == gone == "LifecycleExpiration:Delete"


async def test_with_versions_suspended_a_null_marker_takes_the_place(dc: Dc) -> None:
    bucket = await dc.bucket(DAYS, versioning="Suspended")
    await dc.put(bucket, "null")
    kept = await dc.put(bucket, "old", versioned=True)
    dc.clock.ms += DAY
    await dc.look()
    found = [(one.key, one.vid, one.kind) for one in await dc.there(bucket)]
    assert found == [
        ("null", "", Kind.DELETE_MARKER),
        ("old", "", Kind.DELETE_MARKER),
        ("old", kept.vid, Kind.OBJECT),
    ]


async def test_what_was_written_anew_since_it_was_judged_stays(
    dc: Dc, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = await dc.bucket(DAYS, notification=TELL)
    await dc.put(bucket, "again")
    await dc.put(bucket, "gone")
    dc.clock.ms += DAY
    page = Sweeper.page

    async def late(self: Sweeper, *asked: Any) -> list[SweptVersion]:
        found = await page(self, *asked)
        await dc.put(bucket, "again")
        return found

    monkeypatch.setattr(Sweeper, "page", late)
    await dc.look()
    monkeypatch.undo()
    assert [one.key for one in await dc.there(bucket)] == ["again"]
    assert await dc.told() == ["LifecycleExpiration:Delete"]


async def test_rules_that_were_taken_away_are_not_applied(dc: Dc) -> None:
    bucket = await dc.bucket(DAYS)
    await dc.bucket(DAYS, name="other")
    await dc.put(bucket, "k")
    dc.clock.ms += DAY
    await dc.names.set_bucket_registers(bucket, {"lifecycle": ""})
    await dc.look()
    assert len(await dc.there(bucket)) == 1


async def test_uploads_that_wait_for_too_long_are_aborted(
    dc: Dc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PAGE", 2)
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    bucket = await dc.bucket({**abort, "Prefix": "a"})
    for key in ("a1", "a2", "a3", "b"):
        started = dc.names.clock.now()
        await dc.names.create_upload(Upload(f"id{key}", bucket, key, OWNER, started, Meta()))
    await dc.look()
    assert len(await dc.names.uploads(bucket)) == 4
    dc.clock.ms += DAY
    await dc.look()
    assert [one.key for one in await dc.names.uploads(bucket)] == ["b"]
    assert dc.lifecycle.aborted == 3


async def test_a_bucket_deleted_in_the_middle_does_not_end_the_pass(
    dc: Dc, monkeypatch: pytest.MonkeyPatch
) -> None:
    buckets = sorted([await dc.bucket(DAYS, name=name) for name in ("one", "two")])
    await dc.put(buckets[1], "k")
    dc.clock.ms += DAY
    await dc.lifecycle.step()
    await dc.names.delete_bucket(buckets[0])
    await dc.look()
    assert await dc.there(buckets[1]) == []


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.sampled_from("abcdef"), max_size=14),
    st.integers(1, 4),
    st.lists(st.integers(1, 6), max_size=3),
)
async def test_restarts_in_the_middle_leave_nothing_out(
    tmp_path_factory: pytest.TempPathFactory, keys: list[str], page: int, stops: list[int]
) -> None:
    """All versions but the newest of each key go, whatever the size of pages, and wherever the
    process was killed; `stops` are steps between kills."""
    clock, path = SetClock(), tmp_path_factory.mktemp("dc")
    rule = {"Prefix": "", "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "PAGE", page)
        patch.setattr(worker, "PLACE_STORED_EVERY", 2)
        async with opened(path, clock) as dc:
            bucket = await dc.bucket(rule, versioning="Enabled")
            for key in keys:
                clock.ms += 1
                await dc.put(bucket, key, versioned=True)
            clock.ms += DAY + 1
            for steps in stops:
                for _ in range(steps):
                    await dc.lifecycle.step()
                dc.lifecycle = dc.worker()
            await dc.look(2)
            assert [one.key for one in await dc.there(bucket)] == sorted(set(keys))
