"""Pausing a peer: nothing goes or comes, both sides say so, and all goes on afterwards."""

import asyncio
import os
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled
from structlog.testing import capture_logs

import replicator.client
from dc.names.api import NoSuchPeer
from replicator.errors import NotCompared
from replicator.limits import MIB
from replicator.verify import Options


def link_of(dc: Dc, other: Dc) -> object:
    return dc.replicator._peers.link(other.dc_id)


async def test_a_pause_is_shown_on_both_sides_and_all_goes_on_after_it(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        before = paris.clock.wall_ms()
        # An error of the past, as of the pairing: all was caught up with since.
        link_of(paris, tokyo)._last_error = "it answers 403"  # type: ignore[attr-defined]
        await paris.replicator.pause(tokyo.dc_id)
        seen = paris.peer(tokyo)
        assert (seen.state, seen.last_error) == ("PAUSED", "")
        assert before <= seen.pace.paused_ms <= paris.clock.wall_ms()
        await eventually(lambda: tokyo.peer(paris).state == "PAUSED")
        there = tokyo.peer(paris).pace
        assert (there.paused_ms, there.paused_there_ms) == (0, seen.pace.paused_ms)
        assert paris.peer(tokyo).pace.paused_there_ms == 0
        await paris.put(bucket, "from paris", b"p")
        await tokyo.put(bucket, "from tokyo", b"t")
        await asyncio.sleep(0.5)
        assert await tokyo.get(bucket, "from paris") is None
        assert await paris.get(bucket, "from tokyo") is None
        await paris.replicator.pause(tokyo.dc_id)
        assert paris.peer(tokyo).pace.paused_ms == seen.pace.paused_ms, "it is since when it began"
        await paris.replicator.resume(tokyo.dc_id)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "from paris") == b"p"
        assert await paris.get(bucket, "from tokyo") == b"t"
        assert paris.peer(tokyo).pace.paused_ms == tokyo.peer(paris).pace.paused_there_ms == 0


async def test_a_pause_outlives_restarts_of_both(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.replicator.pause(tokyo.dc_id)
        since = paris.peer(tokyo).pace.paused_ms
        for dc in (paris, tokyo):
            await dc.down()
            await dc.up()
        await paris.put(bucket, "k", b"body")
        assert paris.peer(tokyo).state == "PAUSED"
        assert paris.peer(tokyo).pace.paused_ms == since
        await eventually(lambda: tokyo.peer(paris).pace.paused_there_ms == since)
        assert await tokyo.get(bucket, "k") is None
        await paris.replicator.resume(tokyo.dc_id)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"body"
        await paris.down()
        await paris.up()
        await settled(paris, tokyo)


async def test_what_was_on_its_way_ends_at_once_and_is_finished_later(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket, body = await paris.bucket(), os.urandom(2 * MIB)
        await settled(paris, tokyo)
        await paris.replicator.limit(tokyo.dc_id, None, lambda one: one.changed(200_000, []))
        await paris.put(bucket, "large", body)
        meter = link_of(paris, tokyo).pace.meter
        before = meter.out.passed
        await eventually(lambda: meter.out.passed > before + 100_000)
        await paris.replicator.pause(tokyo.dc_id)
        await eventually(lambda: not meter.connections, 1.0)
        await paris.replicator.limit(tokyo.dc_id, None, lambda one: one.changed(0, []))
        await asyncio.sleep(0.5)
        assert await tokyo.get(bucket, "large") is None
        await paris.replicator.resume(tokyo.dc_id)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "large") == body


async def test_the_other_side_asks_seldom_and_says_little(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        with capture_logs() as logs:
            await paris.replicator.pause(tokyo.dc_id)
            await eventually(lambda: tokyo.peer(paris).state == "PAUSED")
            asked = 0
            normal = replicator.client.PeerClient._open

            async def count(self: replicator.client.PeerClient, *args: object, **more: object):
                nonlocal asked
                asked += 1
                return await normal(self, *args, **more)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(replicator.client.PeerClient, "_open", count)
                await asyncio.sleep(3.0)
        assert asked == 0
        assert len([one for one in logs if one["log_level"] in ("warning", "error")]) <= 1
        assert tokyo.peer(paris).retry_seconds > 15


async def test_both_may_pause(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.replicator.pause(tokyo.dc_id)
        await tokyo.replicator.pause(paris.dc_id)
        await paris.put(bucket, "k", b"body")
        await paris.replicator.resume(tokyo.dc_id)
        await eventually(lambda: paris.peer(tokyo).pace.paused_there_ms > 0)
        assert paris.peer(tokyo).state == "PAUSED"
        await tokyo.replicator.resume(paris.dc_id)
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"body"


async def test_others_are_not_paused_and_new_peers_do_not_wake_it(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo", "lima") as (paris, tokyo, lima):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await paris.replicator.pause(tokyo.dc_id)
        await pair(paris, lima)
        await paris.put(bucket, "k", b"body")
        await tokyo.put(bucket, "t", b"from tokyo")

        async def is_there() -> bool:
            return await lima.get(bucket, "k") == b"body"

        await eventually(is_there)
        await asyncio.sleep(0.5)
        assert paris.peer(tokyo).state == "PAUSED"
        assert await tokyo.get(bucket, "k") is None
        assert await paris.get(bucket, "t") is None


async def test_what_cannot_be_done_meanwhile_is_said(tmp_path: Path):
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.replicator.pause(tokyo.dc_id)
        with pytest.raises(NotCompared, match="dc resume"):
            await paris.replicator.verify(tokyo.dc_id, Options(), lambda _: None)
        for act in (paris.replicator.pause, paris.replicator.resume):
            with pytest.raises(NoSuchPeer):
                await act("0" * 16)
        await paris.replicator.remove_peer(tokyo.dc_id)
        tokyo.replicator._peers.heard(paris.dc_id)
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")
