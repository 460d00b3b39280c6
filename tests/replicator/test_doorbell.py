"""Idle links: no stream is open, the doorbell rings, the feed is drawn; and a ring that is lost,
forged or one of thousands does no harm."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from broker_kit import MemoryBroker
from replica_kit import Dc, datacenters, eventually, pair
from replica_proxy import Proxy

from dc.broker import Message
from dc.names.model import Bucket
from replicator import wire
from replicator.drawing import AWAY, LIVE, NONE, SILENT
from replicator.errors import Unreachable
from replicator.feed_stream import FeedStream, Send
from replicator.limits import RINGS_CHECKED_MAX
from replicator.ring import RING_BYTES_MAX, Ring, ring_topic, sign_ring
from replicator.verify import Options

HOUR = 3600


async def draw(taker: Dc, giver: Dc, poll_seconds: int = HOUR) -> None:
    await taker.replicator.set_link(giver.dc_id, poll_seconds)


@asynccontextmanager
async def on_idle_links(
    root: Path, *names: str, poll_seconds: int = HOUR
) -> AsyncIterator[tuple[MemoryBroker, list[Dc], Bucket]]:
    """DCs in a row, each paired with the next, all of whose links are drawn; and a bucket that all
    of them have."""
    broker = MemoryBroker()
    async with datacenters(root, *names) as dcs:
        for dc in dcs:
            await dc.down()
            dc.broker = broker
            await dc.up()
        for one, other in pairwise(dcs):
            await pair(one, other)
        bucket = await dcs[0].bucket()
        for dc in dcs:
            await eventually(lambda dc=dc: dc.names.directory.bucket("photos") is not None)
        for one, other in pairwise(dcs):
            await draw(one, other, poll_seconds)
            await draw(other, one, poll_seconds)
        for dc in dcs:
            await eventually(lambda dc=dc: resting(dc))
        yield broker, dcs, bucket


def resting(dc: Dc) -> bool:
    """Whether all its links are idle, and can ring."""
    return all(
        peer.state == "IDLE" and peer.doorbell == LIVE and not peer.streaming_to
        for peer in dc.replicator.status().peers
    )


async def has(dc: Dc, bucket: Bucket, key: str, body: bytes) -> bool:
    return await dc.get(bucket, key) == body


def draws(dc: Dc, of: Dc) -> int:
    """When `of` was drawn by `dc` last."""
    return dc.peer(of).drawn_ms


async def test_a_change_rings_and_is_drawn_within_a_second_or_so(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (broker, (paris, tokyo), bucket):
        for number in range(3):
            await asyncio.sleep(0.5)
            began = paris.clock.monotonic()
            await paris.put(bucket, f"k{number}", b"x")
            await eventually(lambda number=number: has(tokyo, bucket, f"k{number}", b"x"), 3.0)
            assert paris.clock.monotonic() - began < 1.5
        await eventually(lambda: paris.peer(tokyo).our_behind == 0)
        assert paris.peer(tokyo).their_poll_seconds == HOUR
        assert paris.replicator.mark(await the(paris, bucket, "k2")) == "COMPLETED"
        assert tokyo.replicator.mark(await the(tokyo, bucket, "k2")) == "REPLICA"
        await eventually(lambda: resting(tokyo) and resting(paris))
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None and link._inbox.ups == 1, "each draw is no new connection"
        # What tokyo took from paris is no news for paris, and rings there not.
        told = len(broker.rings())
        await asyncio.sleep(1.5)
        assert len(broker.rings()) == told
        assert all(one.topic.endswith(f"ring/{paris.dc_id}") for one in broker.rings()[-3:])


async def the(dc: Dc, bucket: Bucket, key: str):  # type: ignore[no-untyped-def]
    version = await dc.names.version(bucket.id, key, "")
    assert version is not None
    return version


async def test_a_chain_rings_on_and_large_bodies_come_by_a_draw(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "rome", "tokyo") as (_, dcs, bucket):
        paris, rome, tokyo = dcs
        large = bytes(range(256)) * 12_000
        await paris.put(bucket, "large", large)
        await tokyo.put(bucket, "small", b"s")
        await eventually(lambda: has(tokyo, bucket, "large", large))
        await eventually(lambda: has(paris, bucket, "small", b"s"))
        await paris.delete(bucket, "small")

        async def gone() -> bool:
            return await tokyo.get(bucket, "small") is None

        await eventually(gone)
        await eventually(lambda: all(map(resting, dcs)))
        await eventually(lambda: rome.peer(tokyo).our_behind == 0)


async def test_what_was_not_rung_is_polled_and_what_was_missed_is_rung_again(
    tmp_path: Path,
) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (broker, (paris, tokyo), bucket):
        broker.lost = True
        await draw(tokyo, paris, 2)
        await eventually(lambda: resting(tokyo))
        await paris.put(bucket, "lost", b"x")
        await eventually(lambda: has(tokyo, bucket, "lost", b"x"), 4.0)
        broker.go_away()
        await eventually(lambda: tokyo.peer(paris).doorbell == AWAY)
        assert "away" in tokyo.peer(paris).doorbell_error or "broke" in (
            tokyo.peer(paris).doorbell_error
        )
        await paris.put(bucket, "away", b"x")
        await eventually(lambda: has(tokyo, bucket, "away", b"x"), 4.0)
        assert tokyo.peer(paris).state in ("IDLE", "SEEDING")
        await draw(tokyo, paris, HOUR)
        await eventually(lambda: tokyo.peer(paris).state == "IDLE")
        await paris.put(bucket, "missed", b"x")
        await asyncio.sleep(1)
        assert not await has(tokyo, bucket, "missed", b"x")
        broker.lost, broker.up = False, True
        await eventually(lambda: has(tokyo, bucket, "missed", b"x"))
        await eventually(lambda: tokyo.peer(paris).doorbell == LIVE)


async def test_who_does_not_ring_is_known(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await draw(tokyo, paris)
        await eventually(lambda: tokyo.peer(paris).state == "IDLE")
        assert tokyo.peer(paris).doorbell == NONE
        await tokyo.down()
        tokyo.broker = MemoryBroker()
        await tokyo.up()
        await eventually(lambda: tokyo.peer(paris).doorbell == SILENT)
        assert tokyo.peer(paris).poll_seconds == HOUR, "it outlives a restart"
        assert tokyo.peer(paris).next_draw_seconds < 61
        await draw(tokyo, paris, 0)
        await eventually(lambda: paris.peer(tokyo).streaming_to)


async def test_a_stranger_at_the_broker_cannot_ring(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (broker, (paris, tokyo), bucket):
        await paris.put(bucket, "k", b"x")
        await eventually(lambda: has(tokyo, bucket, "k", b"x"))
        await eventually(lambda: resting(tokyo))
        await asyncio.sleep(1.2)
        topic, before = ring_topic(tokyo.dc_id, paris.dc_id), draws(tokyo, paris)
        later = paris.clock.wall_ms() + 1000
        news = Ring(epoch="0" * 16, position=10**6, at_ms=later)
        to_paris = sign_ring(paris.identity, paris.dc_id, news)
        before_it = Ring(epoch="0" * 16, position=10**6, at_ms=1)
        old = sign_ring(paris.identity, tokyo.dc_id, before_it)
        by_tokyo = sign_ring(tokyo.identity, tokyo.dc_id, news)
        replayed = broker.rings()[-1].payload
        for forged in (b"", b"x", b"\xff" * RING_BYTES_MAX, b"v4.public." + b"A" * 200,
                       b"x" * 1_000_000, to_paris, by_tokyo, old, replayed):  # fmt: skip
            broker.deliver(Message(topic, forged), False)
        broker.deliver(Message(ring_topic(tokyo.dc_id, "f" * 16), replayed), False)
        await asyncio.sleep(1.5)
        assert draws(tokyo, paris) == before
        assert tokyo.replicator._doorbell.dropped >= 10
        # A flood costs no more than a second's worth of checks, and true rings are heard after it.
        for _ in range(20 * RINGS_CHECKED_MAX):
            broker.deliver(Message(topic, to_paris), False)
        await asyncio.sleep(1.2)
        assert draws(tokyo, paris) == before
        await paris.put(bucket, "k2", b"x")
        await eventually(lambda: has(tokyo, bucket, "k2", b"x"))
        # Nor does the peer itself make another draw with every ring.
        began = len(broker.rings())
        for number in range(30):
            await paris.put(bucket, f"n{number}", b"x")
            await asyncio.sleep(0.05)
        assert len(broker.rings()) - began <= 8


async def test_a_clock_that_goes_back_silences_nobody(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (_, (paris, tokyo), bucket):
        paris.clock.skew_ms = 50_000
        await paris.put(bucket, "ahead", b"x")
        await eventually(lambda: has(tokyo, bucket, "ahead", b"x"))
        await eventually(lambda: resting(tokyo))
        paris.clock.skew_ms = 0
        await paris.put(bucket, "right again", b"x")
        await eventually(lambda: has(tokyo, bucket, "right again", b"x"), 4.0)


async def test_draws_are_no_losses_and_a_peer_that_stays_away_is_one(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (_, (paris, tokyo), bucket):
        for number in range(4):
            await paris.put(bucket, f"k{number}", b"x")
            await eventually(lambda number=number: has(tokyo, bucket, f"k{number}", b"x"))
            await eventually(lambda: resting(tokyo))
        absences = paris.replicator.absences
        assert (await absences.report("", 0, "")).absences == []
        await eventually(lambda: paris.peer(tokyo).our_behind == 0)
        await tokyo.down()
        await paris.put(bucket, "lost", b"x")
        await absences.meet()
        assert (await absences.report("", 0, "")).absences == [], "it may still come"
        paris.replicator._server.outbound(tokyo.dc_id)._expected_until = 0.0
        await absences.meet()
        (found,) = (await absences.report("", 0, "")).absences
        assert (found.peer, found.writes) == (tokyo.dc_id, 1)
        await tokyo.up()


async def test_a_pause_ends_an_idle_link_too(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (_, (paris, tokyo), bucket):
        await tokyo.replicator.pause(paris.dc_id)
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None
        assert not (link.inbound.connected or link.inbound.idle or link.checks.connected)
        with pytest.raises(Unreachable, match="paused here"):
            await link.client.state()
        await paris.put(bucket, "k", b"x")
        await asyncio.sleep(1)
        assert not await has(tokyo, bucket, "k", b"x")
        await tokyo.replicator.resume(paris.dc_id)
        await eventually(lambda: has(tokyo, bucket, "k", b"x"))


async def test_idle_links_are_compared_and_known_to_be_identical(tmp_path: Path) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo") as (broker, (paris, tokyo), bucket):
        await paris.put(bucket, "k", b"x")
        await eventually(lambda: has(tokyo, bucket, "k", b"x"))
        # Paris has no reason to draw what tokyo took from it, and all the same lacks nothing.
        await eventually(lambda: tokyo.peer(paris).our_behind == 0 and bool(tokyo.peer(paris).root))
        assert tokyo.peer(paris).state == "IDLE" and not tokyo.peer(paris).differs
        broker.lost = True
        for number in range(5):
            await paris.put(bucket, f"p{number}", b"x")
            await tokyo.put(bucket, f"t{number}", b"y")
        assert not tokyo.peer(paris).root
        # What was not rung is drawn for the comparison, from both sides.
        report = await paris.replicator.verify(tokyo.dc_id, Options(), lambda _: None)
        assert report.identical, report
        assert await has(tokyo, bucket, "p4", b"x") and await has(paris, bucket, "t4", b"y")


async def test_a_draw_that_the_peer_ends_early_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a DC does that is stopped meanwhile."""
    whole, cut = FeedStream.run, [0]

    async def run(self: FeedStream, send: Send) -> None:
        if not self._ends or cut[0] > 2:
            await whole(self, send)
            return
        cut[0] += 1
        names = self._home.names
        hello = wire.Hello(
            end=names.feed_end, dc_id=self._home.dc_id, epoch=names.epoch, after=self._after,
            horizon=0,
        )  # fmt: skip
        await send(wire.encode_frame(hello))

    async with on_idle_links(tmp_path, "paris", "tokyo") as (_, (paris, tokyo), bucket):
        monkeypatch.setattr(FeedStream, "run", run)
        await paris.put(bucket, "k", b"x")
        await eventually(lambda: has(tokyo, bucket, "k", b"x"), 5.0)
        assert cut[0] == 3


async def test_a_peer_that_is_gone_is_unreachable_and_found_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with on_idle_links(tmp_path, "paris", "tokyo", poll_seconds=1) as (_, dcs, bucket):
        paris, tokyo = dcs
        await paris.down()
        await eventually(lambda: tokyo.peer(paris).state == "UNREACHABLE")
        await tokyo.put(bucket, "k", b"x")
        await paris.up()
        await eventually(lambda: has(paris, bucket, "k", b"x"))
        await eventually(lambda: tokyo.peer(paris).state == "IDLE")
        await paris.replicator.remove_peer(tokyo.dc_id)
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")


async def test_an_idle_link_costs_nothing_and_a_stream_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted between the DCs: tokyo draws the feed of paris, oslo keeps it open. What is done now
    and then is done sooner here: a stream says that it is there each second, not each ten."""
    monkeypatch.setattr("replicator.feed_stream.KEEPALIVE_SECONDS", 1.0)
    monkeypatch.setattr("replicator.agreement.DRAW_AFTER_SECONDS", 0.5)
    proxies = [Proxy(), Proxy()]
    async with datacenters(tmp_path, "paris", "tokyo", "oslo") as dcs:
        paris = dcs[0]
        for dc in dcs:
            await dc.down()
            dc.broker = MemoryBroker() if dc is paris else paris.broker
            await dc.up()
        for proxy, dc in zip(proxies, dcs[1:], strict=True):
            await proxy.start()
            proxy.target = paris.port
            paris.advertised = [f"127.0.0.1:{proxy.port}"]
            await pair(paris, dc)
        tokyo = dcs[1]
        bucket = await paris.bucket()
        await eventually(lambda: tokyo.names.directory.bucket("photos") is not None)
        await draw(tokyo, paris)
        await eventually(lambda: tokyo.peer(paris).doorbell == LIVE)
        await asyncio.sleep(1.5)
        drawn, streamed = await spent(proxies, asyncio.sleep(3))
        assert drawn == (0, 0)
        # Nor does what goes the other way, by a stream.
        await tokyo.put(bucket, "by tokyo", b"x")
        await eventually(lambda: has(paris, bucket, "by tokyo", b"x"))
        assert (await spent(proxies[:1], asyncio.sleep(1.5)))[0] == (0, 0)
        assert streamed[1] > 0 and proxies[1].open > 0

        async def change() -> None:
            await paris.put(bucket, "k", b"x")
            await eventually(lambda: has(tokyo, bucket, "k", b"x"))
            await asyncio.sleep(1.5)

        drawn, streamed = await spent(proxies, change())
        assert drawn[0] <= 1, "one connection, or the one of the last draw again"
        assert 0 < drawn[1] < 10_000
        for proxy in proxies:
            await proxy.stop()


async def spent(proxies: list[Proxy], work: Awaitable[None]) -> list[tuple[int, int]]:
    """Of each, how many connections were opened, and how many bytes went, during the work."""
    before = [(one.connections, one.from_target + one.to_target) for one in proxies]
    await work
    after = [(one.connections, one.from_target + one.to_target) for one in proxies]
    return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]
