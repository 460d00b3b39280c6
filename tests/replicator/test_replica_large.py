"""Large bodies: by ranges, resumed, checked as a whole, never in the way of small ones."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled
from replica_proxy import Proxy

import replicator.inbox
import replicator.transfer
from replicator.limits import MIB
from replicator.transfer import Piece, missing_ranges


@contextlib.asynccontextmanager
async def through_proxy(tmp_path: Path) -> AsyncIterator[tuple[Dc, Dc, Proxy]]:
    """Paris and Tokyo, paired; Tokyo reaches Paris through the proxy."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        proxy = Proxy()
        await proxy.start()
        proxy.target = paris.port
        paris.advertised = [f"127.0.0.1:{proxy.port}"]
        try:
            await pair(paris, tokyo)
            yield paris, tokyo, proxy
        finally:
            await proxy.stop()


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
        # At most what was on the way when the cut came was fetched twice: four ranges.
        assert 48 * MIB < proxy.from_target < 48 * MIB + 4 * 8 * MIB


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
