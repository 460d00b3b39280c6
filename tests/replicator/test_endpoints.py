"""Several endpoints of a peer: which is tried, failover, the way back; and proxies in between."""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from replica_kit import Dc, datacenters, eventually, link, pair, settled
from replica_proxy import Proxy

import replicator.client
import replicator.feed_stream
import replicator.lines
import replicator.link
from dc.names.api import NoSuchPeer
from replicator.endpoints import Endpoints, WayBack
from replicator.limits import MIB
from replicator.lines import LineWatch
from tokens.errors import PlaceInvalid


def test_the_one_that_works_is_kept_and_those_that_failed_come_last() -> None:
    ends = Endpoints(["a", "b", "c"])
    assert ends.in_order() == ["a", "b", "c"] and ends.first == ends.current == "a"
    ends.failed("a")
    assert ends.in_order() == ["b", "c", "a"]
    ends.worked("b", 9)
    assert ends.current == "b" and ends.in_order() == ["b", "c", "a"]
    ends.failed("b")
    assert ends.in_order() == ["c", "a", "b"]
    ends.failed("c")
    assert ends.in_order() == ["a", "b", "c"]
    ends.worked("c", 9)
    assert ends.in_order() == ["c", "a", "b"]
    ends.worked("a", 9)
    assert ends.in_order()[0] == "a"


def test_an_answer_to_what_was_asked_before_a_failure_says_nothing() -> None:
    ends = Endpoints(["a", "b"])
    began = ends.failures
    ends.failed("a")
    ends.worked("b", ends.failures)
    ends.worked("a", began)
    assert ends.current == "b" and ends.in_order() == ["b", "a"]
    ends.worked("a", ends.failures)
    assert ends.current == "a" and ends.in_order() == ["a", "b"]


def test_the_way_back_is_taken_more_seldom_when_it_leads_nowhere() -> None:
    way, now, taken = WayBack(), 0.0, []
    for _ in range(40_000):
        if way.is_open(now):
            way.taken(now)
            taken.append(now)
        now += 1.0
    waits = [after - before for before, after in itertools.pairwise(taken)]
    assert waits[:4] == [60, 120, 240, 480] and max(waits) == 3600
    # After days that went well it is as at first.
    way.taken(now + 100_000)
    assert not way.is_open(now + 100_059) and way.is_open(now + 100_060)


@contextlib.asynccontextmanager
async def two_ways(tmp_path: Path) -> AsyncIterator[tuple[Dc, Dc, Proxy, Proxy]]:
    """Paris and Tokyo, paired; Tokyo reaches Paris by either of two proxies."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        proxies = Proxy(), Proxy()
        for proxy in proxies:
            await proxy.start()
            proxy.target = paris.port
        paris.advertised = [f"127.0.0.1:{proxy.port}" for proxy in proxies]
        try:
            await pair(paris, tokyo)
            yield paris, tokyo, *proxies
        finally:
            for proxy in proxies:
                await proxy.stop()


def used(tokyo: Dc, paris: Dc) -> str:
    return tokyo.peer(paris).endpoint


async def test_a_line_is_lost_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator.link, "FIRST_ENDPOINT_SECONDS", 0.3)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        assert used(tokyo, paris) == f"127.0.0.1:{first.port}"
        # Connections are refused there from now on.
        target, first.target = first.target, free_port()
        first.cut()
        await paris.put(bucket, "by the second", b"1")
        await settled(paris, tokyo)
        assert used(tokyo, paris) == f"127.0.0.1:{second.port}"
        first.target = target
        await eventually(lambda: used(tokyo, paris) == f"127.0.0.1:{first.port}")
        second.target = free_port()
        second.cut()
        await paris.put(bucket, "by the first", b"2")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "by the second") == b"1"
        assert await tokyo.get(bucket, "by the first") == b"2"
        assert tokyo.peer(paris).last_error == ""


async def test_an_idle_link_goes_back_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And asks for nothing while the first endpoint is in use."""
    monkeypatch.setattr(replicator.link, "FIRST_ENDPOINT_SECONDS", 0.2)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        await tokyo.replicator.set_link(paris.dc_id, 3600)
        await eventually(lambda: tokyo.peer(paris).state == "IDLE")
        assert used(tokyo, paris) == f"127.0.0.1:{first.port}"
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None
        asked, answers = [], link.client.answers

        async def counted(endpoint: str, seconds: float) -> bool:
            asked.append(endpoint)
            return await answers(endpoint, seconds)

        monkeypatch.setattr(link.client, "answers", counted)
        drawn = tokyo.peer(paris).drawn_ms
        await asyncio.sleep(1)
        assert (asked, tokyo.peer(paris).drawn_ms) == ([], drawn)
        # Another is in use, as after a failure.
        link.client._endpoints.worked(f"127.0.0.1:{second.port}", 0)
        await eventually(lambda: used(tokyo, paris) == f"127.0.0.1:{first.port}")
        await eventually(lambda: tokyo.peer(paris).drawn_ms > drawn)
        await asyncio.sleep(1)
        assert asked == [f"127.0.0.1:{first.port}"]


async def test_one_that_accepts_and_never_answers_holds_up_nothing_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator.client, "ANSWER_SECONDS_MAX", 0.5)
    monkeypatch.setattr(replicator.client, "CONNECT_SECONDS_OF_SEVERAL", 0.5)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        first.frozen.clear()
        first.cut()
        began = time.monotonic()
        for number in range(3):
            # Each time the stream is opened anew; the dead one is not tried first again.
            await paris.put(bucket, f"k{number}", b"1")
            await settled(paris, tokyo)
            assert used(tokyo, paris) == f"127.0.0.1:{second.port}"
            second.cut()
        await settled(paris, tokyo)
        assert time.monotonic() - began < 8
        first.frozen.set()


async def test_one_that_answers_and_then_forwards_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator.client, "SILENCE_SECONDS_MAX", 1.0)
    monkeypatch.setattr(replicator.feed_stream, "KEEPALIVE_SECONDS", 0.3)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        first.frozen.clear()
        await paris.put(bucket, "k", b"1")

        async def there() -> bool:
            return await tokyo.get(bucket, "k") == b"1"

        await eventually(there)
        assert used(tokyo, paris) == f"127.0.0.1:{second.port}"
        first.frozen.set()


async def test_a_line_that_goes_dead_is_left_long_before_its_silence_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator.feed_stream, "KEEPALIVE_SECONDS", 0.3)
    monkeypatch.setattr(replicator.lines, "KEEPALIVE_SECONDS", 0.3)
    monkeypatch.setattr(replicator.lines, "DOUBT_SECONDS", 0.3)
    monkeypatch.setattr(replicator.lines, "LINE_ANSWER_SECONDS", 0.5)
    body = random.Random(1).randbytes(20 * MIB)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        began, before = time.monotonic(), first.from_target
        await paris.put(bucket, "large", body)
        await eventually(lambda: first.from_target - before > MIB)
        first.frozen.clear()
        await paris.put(bucket, "small", b"1")
        # The ranges under way go on by the other, too.
        await settled(paris, tokyo)
        assert time.monotonic() - began < 20
        assert used(tokyo, paris) == f"127.0.0.1:{second.port}"
        assert await tokyo.get(bucket, "small") == b"1"
        assert await tokyo.get(bucket, "large") == body
        first.frozen.set()


class Line:
    """What a watch sees of a peer: when it was heard, how far it is; and whether it answers."""

    def __init__(self, answers: bool) -> None:
        self.feed_endpoint = "a:1"
        self.heard_at, self.bytes = 100.0, 0
        self.settled: int | None = 5
        self.is_busy = False
        self.asked = 0
        self.given_up: list[str] = []
        self._answers = answers

    @property
    def sign_of_life(self) -> tuple[float, int]:
        return self.heard_at, self.bytes

    async def answers(self, endpoint: str, seconds: float) -> bool:
        self.asked += 1
        self.bytes += self.is_busy
        return self._answers

    def give_up(self, endpoint: str) -> None:
        self.given_up.append(endpoint)


async def looked_at(line: Line, *, now: float, end: int = 5, doubt: bool = False) -> Line:
    """After the watch looked at `now`, twice, with our feed ending at `end`."""
    home: Any = SimpleNamespace(
        clock=SimpleNamespace(monotonic=lambda: now), names=SimpleNamespace(feed_end=end)
    )
    seen: Any = line
    peer: Any = SimpleNamespace(name="tokyo")
    watch = LineWatch(home, peer, seen, seen, seen)
    if doubt:
        watch.doubt()
    await watch.look()
    await watch.look()
    return line


async def test_what_has_no_answer_yet_goes_by_another_when_its_line_is_given_up(
    tmp_path: Path,
) -> None:
    async with two_ways(tmp_path) as (paris, tokyo, first, _):
        await settled(paris, tokyo)
        client, gone = link(tokyo, paris).client, f"127.0.0.1:{first.port}"
        first.frozen.clear()
        began = time.monotonic()
        asked = [asyncio.ensure_future(client.state()) for _ in range(3)]
        await asyncio.sleep(0.2)
        assert not any(one.done() for one in asked)
        client.give_up(gone)
        for one in asked:
            assert (await one).dc_id == paris.dc_id
        assert time.monotonic() - began < 4
        first.frozen.set()
        await settled(paris, tokyo)


async def test_a_line_is_asked_only_in_doubt_and_given_up_only_when_nothing_comes() -> None:
    assert (await looked_at(Line(False), now=111.9)).asked == 0
    assert (await looked_at(Line(False), now=112.1)).given_up == ["a:1", "a:1"]
    assert (await looked_at(Line(False), now=101.9, end=6)).asked == 0
    assert (await looked_at(Line(False), now=102.1, end=6)).given_up == ["a:1", "a:1"]
    assert (await looked_at(Line(False), now=100.1, doubt=True)).given_up == ["a:1", "a:1"]
    answering = await looked_at(Line(True), now=112.1, doubt=True)
    assert answering.asked == 1 and answering.given_up == []
    busy = Line(False)
    busy.is_busy = True
    assert (await looked_at(busy, now=112.1)).given_up == []
    unknown, not_open = Line(False), Line(False)
    unknown.settled, not_open.feed_endpoint = None, ""
    assert (await looked_at(unknown, now=102.1, end=6)).asked == 0
    assert (await looked_at(not_open, now=200.0)).asked == 0


@pytest.mark.parametrize("passes", [20_000, 400_000], ids=["heads", "a little of each body"])
async def test_one_that_passes_the_beginning_only_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    """As a line that loses long packets, or a proxy with a full disk."""
    monkeypatch.setattr(replicator.client, "SILENCE_SECONDS_MAX", 1.0)
    monkeypatch.setattr(replicator.feed_stream, "KEEPALIVE_SECONDS", 0.3)
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        first.mute_after = passes
        body = os.urandom(3_000_000)
        await paris.put(bucket, "large", body)
        await eventually(lambda: tokyo.peer(paris).inbox > 0)
        await eventually(lambda: tokyo.peer(paris).inbox == 0, 6)
        assert await tokyo.get(bucket, "large") == body
        assert second.from_target > 2_000_000


async def test_a_link_that_is_stopped_while_it_reopens_stays_stopped(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None
        await asyncio.gather(link.reopen(), link.reopen(), link.stop(), link.reopen())
        assert all(worker._task is None for worker in link._workers)


async def test_a_proxy_that_cuts_idle_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream is never idle for long; what else is open may be cut at any time."""
    monkeypatch.setattr(replicator.feed_stream, "KEEPALIVE_SECONDS", 0.3)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        proxy = Proxy()
        await proxy.start()
        proxy.target, proxy.idle_seconds = paris.port, 0.9
        paris.advertised = [f"127.0.0.1:{proxy.port}"]
        try:
            await pair(paris, tokyo)
            bucket = await paris.bucket()
            await settled(paris, tokyo)
            await eventually(lambda: proxy.idle_cuts > 0)
            await asyncio.sleep(1)
            for number in range(3):
                await paris.put(bucket, f"k{number}", b"1" * 300_000)
                await settled(paris, tokyo)
                await asyncio.sleep(1)
            peer = tokyo.peer(paris)
            assert peer.last_error == "" and peer.failing == 0
            assert await tokyo.get(bucket, "k2") == b"1" * 300_000
        finally:
            await proxy.stop()


async def test_a_peer_that_has_moved(tmp_path: Path) -> None:
    async with two_ways(tmp_path) as (paris, tokyo, first, second):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await tokyo.replicator.move_peer(paris.dc_id, [f"127.0.0.1:{second.port}"])
        await first.stop()
        await paris.put(bucket, "k", b"1")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k") == b"1"
        assert tokyo.peer(paris).endpoints == [f"127.0.0.1:{second.port}"]
        taken = tokyo.peer(paris).their_position
        await tokyo.down()
        await tokyo.up()
        await settled(paris, tokyo)
        assert tokyo.peer(paris).endpoints == [f"127.0.0.1:{second.port}"]
        assert tokyo.peer(paris).their_position >= taken
        for bad in ([], ["tokyo"], ["a:1", "a:1"], ["a:0"], ["a:1"] * 9, ["http://a:1"]):
            with pytest.raises(PlaceInvalid):
                await tokyo.replicator.move_peer(paris.dc_id, bad)
        with pytest.raises(NoSuchPeer):
            await tokyo.replicator.move_peer("f" * 16, ["a:1"])
        await first.start()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
