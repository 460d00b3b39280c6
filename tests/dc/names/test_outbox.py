"""Events are in the outbox if and only if their change is durable, in the order of the changes."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from names_kit import OWNER, opened, tombstone, version

from dc.names import outbox
from dc.names.api import NoSuchBucket, NoSuchUpload, NoSuchVersion
from dc.names.model import Event, OutboxState
from dc.names.schema import MIGRATIONS
from dc.names.service import SqliteNames
from dc.names.transaction import Transaction


def event(text: str) -> Event:
    return Event("t", text.encode())


async def told(names: SqliteNames) -> list[str]:
    return [one.event.payload.decode() for one in await names.outbox.page()]


async def test_every_kind_of_change_tells_its_events_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = (await names.create_bucket("photos", OWNER, "paris")).id
        now = names.clock.now
        await names.put(version(bucket, "a", now()), events=[event("put a")])
        await names.put(version(bucket, "b", now()))
        await names.set_registers(bucket, "a", "", {"tags": "{}"}, events=[event("tag a")])
        await names.delete([tombstone(bucket, "a", now())], events=[event("del a")])
        assert await told(names) == ["put a", "tag a", "del a"]
    async with opened(tmp_path / "n.db") as names:
        assert await told(names) == ["put a", "tag a", "del a"]


async def test_a_change_that_is_refused_tells_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = (await names.create_bucket("photos", OWNER, "paris")).id
        one = version(bucket, "a", names.clock.now())
        with pytest.raises(NoSuchVersion):
            await names.set_registers(bucket, "a", "", {"tags": "{}"}, events=[event("x")])
        with pytest.raises(NoSuchUpload):
            await names.complete_upload("none", one, events=[event("x")])
        gone = asyncio.ensure_future(names.delete_bucket(bucket))
        await asyncio.sleep(0)
        late = names.put(one, events=[event("x")])
        with pytest.raises(NoSuchBucket):
            await late
        await gone
        assert await told(names) == []
        assert await names.outbox.state() == OutboxState(0, 0)


async def test_what_has_arrived_is_taken_out_and_ids_are_not_used_again(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = (await names.create_bucket("photos", OWNER, "paris")).id
        for key in "abc":
            put = version(bucket, key, names.clock.now())
            await names.put(put, events=[event(key), event(key.upper())])
        page = await names.outbox.page(limit=4)
        assert [one.event.payload for one in page] == [b"a", b"A", b"b", b"B"]
        await names.outbox.done(page[2].id)
        assert await told(names) == ["B", "c", "C"]
        assert [one.id for one in await names.outbox.page(after=page[3].id)] == [5, 6]
        await names.outbox.done(6)
        await names.put(version(bucket, "d", names.clock.now()), events=[event("d")])
        assert [one.id for one in await names.outbox.page()] == [7]


async def test_who_empties_it_is_woken_by_a_commit(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        bucket = (await names.create_bucket("photos", OWNER, "paris")).id
        async with asyncio.timeout(5):
            await names.outbox.wait()
        waiting = asyncio.ensure_future(names.outbox.wait())
        await names.put(version(bucket, "a", names.clock.now()))
        assert not waiting.done()
        await names.put(version(bucket, "a", names.clock.now()), events=[event("a")])
        async with asyncio.timeout(5):
            await waiting


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(1, 5), st.just(0)), max_size=12))
def test_a_full_outbox_counts_what_it_does_not_take(steps: list[int]) -> None:
    """A step adds that many events, or (0) takes the oldest out; at most 6 fit."""
    db = sqlite3.connect(":memory:")
    for migration in MIGRATIONS:
        db.executescript(migration)
    model: list[str] = []
    lost = number = 0
    for step in steps:
        if not step and model:
            db.execute("DELETE FROM outbox WHERE id = (SELECT min(id) FROM outbox)")
            model.pop(0)
        for _ in range(step):
            number += 1
        new = [str(number - step + 1 + each) for each in range(step)]
        outbox.add(Transaction(db, "0" * 16, 0, lambda _: False), [event(n) for n in new], 6)
        lost += len(new[6 - len(model) :])
        model += new[: 6 - len(model)]
        assert [p.decode() for (p,) in db.execute("SELECT payload FROM outbox")] == model
        assert outbox.state(db) == OutboxState(len(model), lost)
    db.close()
