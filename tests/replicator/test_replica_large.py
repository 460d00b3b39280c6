"""Large bodies: by ranges, resumed, checked as a whole, never in the way of small ones."""

import asyncio
import itertools
import os
from pathlib import Path

import pytest
from replica_kit import datacenters, eventually, link, pair, settled
from replica_proxy import through_proxy

import replicator.inbox
import replicator.transfer
from replicator.errors import BodyUnavailable
from replicator.limits import CUT_BYTES_MIN, MIB
from replicator.messages import BodyAsk
from replicator.transfer import Piece, missing_ranges


async def test_large_bodies_arrive_whole(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        sizes = [256 * 1024, 256 * 1024 + 1, MIB, 8 * MIB, 8 * MIB + 1, 21 * MIB + 3]
        bodies = {f"of {size}": os.urandom(size) for size in sizes}
        for key, body in bodies.items():
            await paris.put(bucket, key, body)
        await settled(paris, tokyo)
        for key, body in bodies.items():
            assert await tokyo.get(bucket, key) == body


async def test_a_body_comes_no_faster_than_it_is_taken(tmp_path: Path) -> None:
    """What nobody takes stays where it is, but for what the kernels have."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        body = os.urandom(48 * MIB)
        version = await paris.put(bucket, "big", body)
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        peer = link(tokyo, paris)
        before = peer.pace.meter.into.passed
        ask = BodyAsk(bucket.id, "big", "", version.stamp, 0, len(body))
        async with peer.client.body(ask) as content:
            assert content is not None
            first = await content.readexactly(10)
            await asyncio.sleep(0.5)
            given = link(paris, tokyo).pace.meter.out
            sent = given.passed
            await asyncio.sleep(0.5)
            assert given.passed - sent < 100_000, "what links say to each other"
            assert peer.pace.meter.into.passed - before < 4 * MIB
            assert first + await content.readexactly(len(body) - 10) == body


async def test_a_cut_in_the_middle_resumes_with_what_lacks(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        body = os.urandom(48 * MIB)
        await settled(paris, tokyo)
        proxy.from_target, proxy.allow = 0, 36 * MIB
        await paris.put(bucket, "big", body)
        await eventually(lambda: proxy.allow is not None and proxy.allow < 0)
        assert await tokyo.get(bucket, "big") is None
        proxy.allow = None
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == body
        # At most what was on the way when the cut came was fetched twice: what is in buffers, and
        # of each of the four ranges less than is worth keeping.
        assert 48 * MIB < proxy.from_target < 48 * MIB + 4 * CUT_BYTES_MIN + 4 * MIB


async def test_a_line_that_is_cut_all_the_time_brings_the_body_all_the_same(tmp_path: Path) -> None:
    """Each time after less than a range."""
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        body = os.urandom(24 * MIB)
        await settled(paris, tokyo)
        proxy.from_target, cuts, proxy.allow = 0, 0, 4 * MIB
        await paris.put(bucket, "big", body)
        await eventually(lambda: tokyo.peer(paris).inbox > 0)
        while await tokyo.get(bucket, "big") is None and cuts < 30:
            proxy.allow = 4 * MIB
            await eventually(lambda: (proxy.allow or 0) < 0 or not tokyo.peer(paris).inbox)
            cuts += 1
        assert cuts >= 5
        assert await tokyo.get(bucket, "big") == body
        assert proxy.from_target < 24 * MIB + cuts * 3 * MIB


async def test_when_one_range_gives_up_the_others_come_to_their_end(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        body = os.urandom(32 * MIB)
        await settled(paris, tokyo)
        normal, tries = replicator.transfer.Transfer._range, 0

        async def one_fails(self: replicator.transfer.Transfer, start: int, stop: int) -> object:
            nonlocal tries
            if start == 8 * MIB:
                tries += 1
                await asyncio.sleep(0.1)
                raise BodyUnavailable("planned")
            await asyncio.sleep(0.2)
            return await normal(self, start, stop)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replicator.transfer.Transfer, "_range", one_fails)
            await paris.put(bucket, "big", body)
            await eventually(lambda: tries > 0)

            async def put_back() -> bool:
                entries = await tokyo.names.inbox(paris.dc_id)
                return bool(entries) and bool(entries[0].error)

            await eventually(put_back)
            (entry,) = await tokyo.names.inbox(paris.dc_id)
            assert sum(extent.length for _, extent in entry.extents) == 24 * MIB
        proxy.from_target = 0
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == body
        assert proxy.from_target < 9 * MIB


async def test_a_crash_in_the_middle_refetches_only_what_lacks(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        body = os.urandom(64 * MIB)
        await settled(paris, tokyo)
        proxy.from_target = 0
        await paris.put(bucket, "big", body)

        async def half() -> bool:
            entries = await tokyo.names.inbox(paris.dc_id)
            return bool(entries) and len(entries[0].extents) >= 32

        await eventually(half)
        await tokyo.replicator.stop()
        entries = await tokyo.names.inbox(paris.dc_id)
        there = sum(extent.length for _, extent in entries[0].extents)
        assert there >= 32 * MIB
        assert await tokyo.get(bucket, "big") is None
        proxy.from_target = 0
        await tokyo.objects.close()
        await tokyo.names.close()
        await tokyo.up()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == body
        assert proxy.from_target < 64 * MIB - there + 2 * MIB


async def test_superseded_while_on_the_way(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        proxy.from_target = 0
        await paris.put(bucket, "big", os.urandom(48 * MIB))
        await eventually(lambda: proxy.from_target > 8 * MIB)
        proxy.frozen.clear()
        body = os.urandom(30 * MIB)
        await paris.put(bucket, "big", body)
        proxy.cut()
        proxy.frozen.set()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == body
        assert await tokyo.names.inbox_state(paris.dc_id) == (0, 0)


async def test_deleted_while_on_the_way(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        proxy.from_target = 0
        await paris.put(bucket, "big", os.urandom(48 * MIB))
        await eventually(lambda: proxy.from_target > 8 * MIB)
        proxy.frozen.clear()
        await paris.delete(bucket, "big")
        proxy.cut()
        proxy.frozen.set()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") is None


async def test_small_ones_do_not_wait_behind_large_ones(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, _):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        gate = asyncio.Event()
        normal = replicator.transfer.Transfer._range

        async def held(self: replicator.transfer.Transfer, start: int, stop: int) -> Piece | None:
            await gate.wait()
            return await normal(self, start, stop)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(replicator.transfer.Transfer, "_range", held)
            for number in range(10):
                await paris.put(bucket, f"big{number}", os.urandom(MIB))
            await paris.put(bucket, "small", b"s")

            async def small_is_there() -> bool:
                return await tokyo.get(bucket, "small") == b"s"

            await eventually(small_is_there)
            assert await tokyo.get(bucket, "big0") is None
            await eventually(lambda: tokyo.peer(paris).state == "BEHIND")
            gate.set()
            await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big9") is not None


async def test_wrong_bytes_never_become_visible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source gives other bytes than were written, with a CRC that fits them."""
    monkeypatch.setattr(replicator.inbox, "CHANGE_RETRY_MAX_SECONDS", 0.3)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        read, read_cached = paris.objects.read, paris.objects.read_cached
        rotten = True

        async def bad(extents, start, stop):
            async for piece in read(extents, start, stop):
                data = bytearray(piece)
                data[0] ^= rotten
                yield bytes(data)

        monkeypatch.setattr(paris.objects, "read", bad)
        monkeypatch.setattr(paris.objects, "read_cached", lambda extents: None)
        bodies = {"small": b"hello", "large": os.urandom(20 * MIB)}
        for key, body in bodies.items():
            await paris.put(bucket, key, body)

        def reasons() -> set[str]:
            found = tokyo.peer(paris).problems
            return {one.what.split("'")[1] for one in found if "CRC-64" in one.reason}

        await eventually(lambda: reasons() == {"small", "large"})
        problem = tokyo.peer(paris).problems[0]
        assert problem.attempts >= 1 and "BodyCorrupt" in problem.reason
        for key in bodies:
            assert await tokyo.get(bucket, key) is None
        assert tokyo.peer(paris).inbox == 2
        # Nothing is acknowledged past what is unfinished.
        acked = paris.peer(tokyo).our_acked
        assert acked is not None and acked < problem.position
        rotten = False
        monkeypatch.setattr(paris.objects, "read_cached", read_cached)
        await settled(paris, tokyo)
        for key, body in bodies.items():
            assert await tokyo.get(bucket, key) == body


async def test_a_range_with_another_crc_than_its_own_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        calls = 0
        normal = replicator.transfer._exactly

        async def once_wrong(content, length):
            nonlocal calls
            data = await normal(content, length)
            calls += 1
            return bytes(8) if calls == 1 else data

        monkeypatch.setattr(replicator.transfer, "_exactly", once_wrong)
        body = os.urandom(MIB)
        await paris.put(bucket, "big", body)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == body
        assert calls >= 2


def test_missing_ranges() -> None:
    def piece(start: int, length: int) -> Piece:
        return Piece(start, length, 0, [])

    assert missing_ranges([], 20 * MIB) == [
        (0, 8 * MIB),
        (8 * MIB, 16 * MIB),
        (16 * MIB, 20 * MIB),
    ]
    assert missing_ranges([piece(0, 20)], 20) == []
    assert missing_ranges([piece(5, 5), piece(15, 3)], 20) == [(0, 5), (10, 15), (18, 20)]
    huge = missing_ranges([], 5 << 40)
    assert len(huge) <= 2001 and huge[0][0] == 0 and huge[-1][1] == 5 << 40
    assert all(one[1] == other[0] for one, other in itertools.pairwise(huge))
