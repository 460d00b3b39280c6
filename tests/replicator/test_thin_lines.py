"""Lines that break before they have carried much, again and again."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
from replica_kit import Dc, eventually, settled
from replica_proxy import through_proxy

import replicator.inbox
import replicator.link
from replicator.appetite import Appetite
from replicator.batching import Batches
from replicator.client import PeerClient
from replicator.compare_client import CompareClient
from replicator.compare_wire import ItemsAsked, Records, encode
from replicator.errors import Unreachable
from replicator.limits import (
    BATCH_BYTES,
    BATCH_BYTES_MIN,
    BATCH_DOUBLED_SECONDS,
    COMPARE_ITEMS_ASKED_MAX,
    CUT_BYTES_MIN,
    KIB,
    MIB,
)
from replicator.messages import decode_body
from replicator.wire import UnreadableRecord, encode_record


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicator.inbox, "CHANGE_RETRY_MAX_SECONDS", 0.1)
    monkeypatch.setattr(replicator.link, "RETRY_FIRST_SECONDS", 0.05)


async def _cut_after(
    tmp_path: Path, each: int, seconds: float, write: Callable[[Dc], Awaitable[None]]
) -> int:
    """Paris's peer Tokyo takes what `write` wrote over a line that is cut each time after `each`
    bytes; the bytes that went over it."""
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        await settled(paris, tokyo)
        proxy.from_target, proxy.allow = 0, 0
        proxy.cut()
        await write(paris)
        end = paris.names.feed_end
        there = asyncio.ensure_future(
            eventually(lambda: (paris.peer(tokyo).our_acked or 0) >= end, seconds)
        )
        while not there.done():
            if (proxy.allow or 0) < 0 or not proxy.open:
                proxy.allow = each
            await asyncio.sleep(0.005)
        await there
        carried = proxy.from_target
        proxy.allow = None
        await settled(paris, tokyo)
        return carried


async def test_small_objects_pass_a_line_that_carries_less_than_a_batch(tmp_path: Path) -> None:
    bodies = {f"k{number}": os.urandom(6000) for number in range(300)}

    async def write(paris: Dc) -> None:
        bucket = await paris.bucket()
        for key, body in bodies.items():
            await paris.put(bucket, key, body)

    carried = await _cut_after(tmp_path, 200 * KIB, 30, write)
    assert carried < 3 * sum(map(len, bodies.values()))


async def test_a_body_passes_a_line_that_carries_little_of_each_range(tmp_path: Path) -> None:
    async def write(paris: Dc) -> None:
        bucket = await paris.bucket()
        await paris.put(bucket, "large", os.urandom(3 * MIB))
        await paris.put(bucket, "inline", os.urandom(200 * KIB))

    carried = await _cut_after(tmp_path, 150 * KIB, 30, write)
    assert carried < 3 * 3 * MIB


class Thin:
    """A line that carries 20 records, and then breaks; after `calls` calls it is gone."""

    records_at_once = COMPARE_ITEMS_ASKED_MAX

    def __init__(self, calls: int) -> None:
        self.calls = calls

    async def call(self, _: str, body: bytes) -> bytes:
        self.calls -= 1
        if self.calls < 0:
            raise Unreachable("gone")
        items = decode_body(body, ItemsAsked).items
        if len(items) > 20:
            raise ConnectionResetError
        return encode(Records(len(items), []))


async def test_a_repair_asks_for_what_the_line_carries() -> None:
    items = [("b" * 16, 0, f"k{number}", "") for number in range(100)]
    line = Thin(50)
    assert await CompareClient(cast(PeerClient, line)).records(items) == []
    assert line.records_at_once >= 6 and line.calls >= 30
    with pytest.raises(Unreachable):
        await CompareClient(cast(PeerClient, Thin(1))).records(items)


class Ending(Thin):
    """One that breaks each time from then on."""

    async def call(self, name: str, body: bytes) -> bytes:
        if self.calls == 0:
            raise ConnectionResetError
        await super().call(name, body)
        asked = len(decode_body(body, ItemsAsked).items)
        record = encode_record(UnreadableRecord(seq=1, what="a change", reason="none"))
        return encode(Records(asked, [record] * asked))


async def test_what_came_before_a_line_carries_nothing_any_more_counts() -> None:
    items = [("b" * 16, 0, f"k{number}", "") for number in range(100)]
    line = Ending(5)
    client = CompareClient(cast(PeerClient, line))
    found = await client.records(items)
    assert 0 < len(found) < 100 and line.records_at_once == 1
    assert client.unasked == 100 - len(found)
    with pytest.raises(Unreachable):
        await CompareClient(cast(PeerClient, line)).records(items)


def test_batches_are_an_eighth_of_what_the_line_carries() -> None:
    batches = Batches()
    assert batches.limit(0.0) == BATCH_BYTES
    batches.sent(10, MIB)
    batches.sent(20, MIB)
    batches = batches.next(0, 0.0)
    assert batches.limit(0.0) == BATCH_BYTES // 4, "nothing was carried"
    batches.sent(5, 400 * KIB)
    batches.sent(9, 100 * KIB)
    batches = batches.next(5, 0.0)
    assert batches.limit(0.0) == 50 * KIB
    batches.taken(9)
    assert batches.limit(0.0) == 50 * KIB, "of another stream"
    for last in range(10, 110):
        batches.sent(last, 50 * KIB)
        batches.taken(last)
    assert batches.limit(0.0) == 625 * KIB
    assert batches.next(109, 0.0).limit(0.0) == 625 * KIB, "nothing was lost"
    batches.sent(110, 100)
    assert batches.next(109, 0.0).limit(0.0) == 625 * KIB, "next to nothing was lost"
    batches.sent(111, 200 * MIB)
    batches = batches.next(111, 0.0)
    assert batches.limit(0.0) == BATCH_BYTES
    for _ in range(20):
        batches.sent(120, MIB)
        batches = batches.next(111, 0.0)
    assert batches.limit(0.0) == BATCH_BYTES_MIN
    assert batches.next(0, 0.0).limit(0.0) == BATCH_BYTES_MIN, "it reads anew"


def test_batches_grow_with_the_time_without_a_break_where_little_is_written() -> None:
    began, now, sizes = 100.0, 100.0, []
    batches = Batches(0, BATCH_BYTES_MIN, began)
    for _ in range(12):
        sizes.append(batches.limit(now))
        now += BATCH_DOUBLED_SECONDS
    doubled = [BATCH_BYTES_MIN << number for number in range(10)]
    assert sizes == [*doubled, BATCH_BYTES, BATCH_BYTES]
    assert batches.limit(1e12) == BATCH_BYTES
    assert batches.next(0, now).limit(now) == BATCH_BYTES, "nothing was lost"
    batches.sent(1, MIB)
    again = batches.next(0, now)
    assert again.limit(now) == BATCH_BYTES // 4, "nothing was carried"
    assert again.limit(now + BATCH_DOUBLED_SECONDS) == BATCH_BYTES // 2


async def test_the_appetite_shrinks_once_for_what_was_cut_together() -> None:
    appetite = Appetite()
    async with appetite.slot(large=True) as one, appetite.slot(large=False) as other:
        appetite.cut(one)
        appetite.cut(other)
    assert appetite.is_small and appetite.kept_bytes == 64 * KIB
    async with appetite.slot(large=True) as one:
        appetite.cut(one)
        appetite.cut(one)
        assert appetite.kept_bytes == 16 * KIB
        waits = asyncio.ensure_future(anext(aiter(_slots(appetite))))
        given_up = asyncio.ensure_future(anext(aiter(_slots(appetite))))
        await asyncio.sleep(0)
        assert not waits.done(), "one at a time"
        given_up.cancel()
        for _ in range(64):
            appetite.brought(MIB)
        assert not appetite.is_small and appetite.kept_bytes == CUT_BYTES_MIN
    await waits


async def _slots(appetite: Appetite) -> AsyncIterator[int]:
    async with appetite.slot(large=True) as began:
        yield began
