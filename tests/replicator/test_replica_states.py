"""Every state word of `docs/replication.md`, provoked; none claims more than is known."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from replica_kit import Dc, SystemClock, datacenters, eventually, pair, settled

import replicator.consumer
import replicator.measures
from dc.names.api import NamesError
from dc.names.model import Cursor, Version
from dc.names.trees import delta
from replicator import messages, wire
from replicator.errors import WireError
from replicator.outbound import Outbound
from replicator.status import Inbound
from replicator.verify import Options


def state_is(dc: Dc, other: Dc, word: str) -> Callable[[], bool]:
    return lambda: dc.peer(other).state == word


def answer(dc: Dc, method: str, name: str, handler: Any) -> None:
    """Calls of peers for this are answered otherwise."""
    dc.replicator._server._routes[method, name] = handler


async def test_connecting_while_nothing_answers(tmp_path: Path) -> None:
    """The peer takes the connection, and says neither yes nor no."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        go = asyncio.Event()
        feed = paris.replicator._server._routes["GET", "feed"]

        async def slow(request: Any, peer: Any) -> web.StreamResponse:
            await go.wait()
            return await feed(request, peer)

        answer(paris, "GET", "feed", slow)
        await tokyo.down()
        await tokyo.up()
        assert tokyo.peer(paris).state == "CONNECTING"
        assert tokyo.peer(paris).to_take is None, "what is not known is not said"
        await asyncio.sleep(0.3)
        assert tokyo.peer(paris).state == "CONNECTING"
        go.set()
        await settled(paris, tokyo)


async def test_seeding_until_what_was_there_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        for number in range(5):
            await paris.put(bucket, f"k{number}", b"x")
        apply, go = tokyo.names.apply, asyncio.Event()

        async def held(*args: Any, **more: Any) -> None:
            await go.wait()
            await apply(*args, **more)

        monkeypatch.setattr(tokyo.names, "apply", held)
        token = paris.replicator.issue_token().token
        report = await tokyo.replicator.join(token, 0.3)
        assert not report.complete
        await eventually(state_is(tokyo, paris, "SEEDING"))
        assert tokyo.peer(paris).behind >= 5 and tokyo.peer(paris).root == ""
        go.set()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "k4") == b"x"


async def test_streaming_while_all_is_here_and_not_compared(tmp_path: Path) -> None:
    """Until the peer has said its root, nothing is said of being identical."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        go = asyncio.Event()
        state = paris.replicator._server._routes["GET", "state"]

        async def slow(request: Any, peer: Any) -> web.StreamResponse:
            await go.wait()
            return await state(request, peer)

        answer(paris, "GET", "state", slow)
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        await eventually(state_is(paris, tokyo, "IDENTICAL"))
        assert tokyo.peer(paris).state == "STREAMING"
        assert tokyo.peer(paris).to_take == tokyo.peer(paris).to_give
        go.set()
        await eventually(state_is(tokyo, paris, "IDENTICAL"))


async def test_behind_says_how_many_how_much_and_how_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        apply, go = tokyo.names.apply, asyncio.Event()

        async def held(*args: Any, **more: Any) -> None:
            await go.wait()
            await apply(*args, **more)

        monkeypatch.setattr(tokyo.names, "apply", held)
        for number in range(7):
            await paris.put(bucket, f"k{number}", b"12345")
        await eventually(lambda: tokyo.peer(paris).to_take is not None, 10)
        await eventually(state_is(tokyo, paris, "BEHIND"), 10)

        def told() -> bool:
            take = tokyo.peer(paris).to_take
            return take is not None and take.changes == 7

        await eventually(told, 10)
        take, give = tokyo.peer(paris).to_take, paris.peer(tokyo).to_give
        assert take is not None and give is not None
        assert (take.changes, take.bytes, take.at_least) == (7, 35, False)
        assert (give.changes, give.bytes, give.at_least) == (7, 35, False)
        assert 2 < take.oldest_seconds < 60 and 2 < give.oldest_seconds < 60
        assert (paris.peer(tokyo).lag_seconds or 0) > 2
        go.set()
        await settled(paris, tokyo)
        assert tokyo.peer(paris).to_take == paris.peer(tokyo).to_give
        assert paris.peer(tokyo).lag_seconds == 0


async def test_identical_at_the_same_root_until_anything_changes(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "k", b"x")
        await settled(paris, tokyo)
        await eventually(state_is(paris, tokyo, "IDENTICAL"))
        await eventually(state_is(tokyo, paris, "IDENTICAL"))
        first = paris.peer(tokyo).root
        assert len(first) == 32 and first == tokyo.peer(paris).root
        await paris.put(bucket, "k", b"other")
        # At once, before anybody was asked: it is not known any more.
        assert paris.peer(tokyo).state == "STREAMING" and paris.peer(tokyo).root == ""
        await eventually(lambda: paris.peer(tokyo).root not in ("", first), 20)
        await eventually(lambda: paris.peer(tokyo).root == tokyo.peer(paris).root, 20)
        # Neither is it said of a peer that is not there.
        await tokyo.down()
        await eventually(lambda: paris.peer(tokyo).state != "IDENTICAL")
        assert paris.peer(tokyo).root == ""
        await tokyo.up()


async def test_what_differs_is_never_called_identical(tmp_path: Path) -> None:
    """A version that one DC lost, behind the back of its feed."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        tree = tokyo.names.directory.number(bucket.id)

        def lose(transaction: Any) -> None:
            transaction.deltas.append(delta(tree, "lost", "1" * 32, ""))

        await tokyo.names._writer.action(lose)
        await paris.put(bucket, "k", b"x")
        await settled(paris, tokyo)
        await eventually(lambda: tokyo.peer(paris).differs, 20)
        await eventually(lambda: paris.peer(tokyo).differs, 20)
        assert paris.peer(tokyo).state == tokyo.peer(paris).state == "STREAMING"
        assert paris.peer(tokyo).root == ""


async def test_what_a_comparison_found_is_shown(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        assert paris.peer(tokyo).verified is None
        await paris.replicator.verify(tokyo.dc_id, Options(), lambda _: None)
        verified = paris.peer(tokyo).verified
        assert verified is not None and verified.identical and not verified.error


async def test_unreachable(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        await tokyo.down()
        await eventually(state_is(paris, tokyo, "UNREACHABLE"))
        peer = paris.peer(tokyo)
        assert peer.last_error and peer.retry_seconds > 0 and peer.to_take is None
        # What it lacks is known all the same.
        bucket = await paris.bucket()
        await paris.put(bucket, "k", b"12345")
        await eventually(lambda: (paris.peer(tokyo).our_behind or 0) > 0)
        await eventually(lambda: bool((give := paris.peer(tokyo).to_give) and give.bytes == 5))
        await tokyo.up()
        await settled(paris, tokyo)
        assert paris.peer(tokyo).last_error == "", "all was taken since"


async def test_refused(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.replicator.remove_peer(tokyo.dc_id)
        await eventually(state_is(tokyo, paris, "REFUSED"))
        assert "removed this DC" in tokyo.peer(paris).last_error


async def test_failed_when_the_peer_breaks_the_protocol(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)

        async def nonsense(request: Any, _: Any) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"\0\0\0\3abc")
            return response

        answer(paris, "GET", "feed", nonsense)
        await tokyo.down()
        await tokyo.up()
        await eventually(state_is(tokyo, paris, "FAILED"))
        assert "WireError" in tokyo.peer(paris).last_error


async def test_a_stream_that_brings_nothing_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer's feed moves, and the cursor stands still: the link heals itself, and says so."""
    monkeypatch.setattr(replicator.consumer, "STUCK_SECONDS_MAX", 1.0)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        server = paris.replicator._server
        feed, opened = server._routes["GET", "feed"], 0

        async def wedged(request: Any, peer: Any) -> web.StreamResponse:
            """Says that there is more, and does not send it; the second time all is well."""
            nonlocal opened
            opened += 1
            if opened > 1:
                return await feed(request, peer)
            names = paris.names
            ask = messages.decode_ask(request.query["ask"], messages.FeedAsk)
            response = web.StreamResponse()
            await response.prepare(request)
            hello = wire.Hello(
                end=names.feed_end,
                dc_id=paris.dc_id,
                epoch=names.epoch,
                after=ask.after,
                horizon=0,
            )
            await response.write(wire.encode_frame(hello))
            while True:
                await response.write(wire.encode_frame(wire.KeepAlive(end=names.feed_end)))
                await asyncio.sleep(0.1)

        answer(paris, "GET", "feed", wedged)
        await tokyo.down()
        await tokyo.up()
        await eventually(lambda: opened == 1 and tokyo.peer(paris).state == "STREAMING")
        with structlog.testing.capture_logs() as logs:
            await paris.put(bucket, "k", b"x")

            async def arrived() -> bool:
                return await tokyo.get(bucket, "k") == b"x"

            await eventually(arrived)
        assert opened == 2
        # The status shows it only until the next stream is open.
        said = [one["error"] for one in logs if one["event"] == "no stream from a peer"]
        assert any("Stuck" in one and "nothing of the peer's feed came" in one for one in said)


async def test_a_slow_line_is_not_taken_for_a_stuck_one() -> None:
    """One batch may take longer than the watchdog waits, if bytes of it come."""

    class SlowLine:
        """A large frame, a little at a time."""

        async def readexactly(self, size: int) -> bytes:
            return (400_000).to_bytes(size, "big")

        async def read(self, size: int) -> bytes:
            clock.now += 20
            waited.append(inbound.stuck_seconds)
            return bytes(min(size, 50_000))

    class Clock(SystemClock):
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    waited: list[float] = []
    inbound = Inbound(clock)
    inbound.started(Cursor("e", 0), 10)
    with pytest.raises(WireError):
        await replicator.consumer._frame(SlowLine(), inbound)
    assert len(waited) == 8 and max(waited) == 20
    clock.now += 61
    assert inbound.stuck_seconds == 61
    # Who has all that there is does not wait for anything.
    inbound.applied(Cursor("e", 10))
    clock.now += 1000
    assert inbound.stuck_seconds == 0
    inbound.heard(11)
    assert inbound.stuck_seconds == 0


async def test_lag_is_found_behind_any_number_of_the_peers_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the peer made itself stands first in the feed, many more than are looked at at once."""
    monkeypatch.setattr(replicator.measures, "BACKLOG_POSITIONS_MAX", 10)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)

        async def lost(request: Any, peer: Any) -> web.StreamResponse:
            return web.Response(status=503)

        answer(paris, "POST", "ack", lost)
        for number in range(95):
            await tokyo.put(bucket, f"own{number}", b"x")
        await eventually(lambda: paris.peer(tokyo).behind == 0)
        await tokyo.replicator.stop()
        put_at = paris.clock.monotonic()
        await paris.put(bucket, "k", b"12345")
        await paris.put(bucket, "k2", b"12345")

        def measured() -> bool:
            give = paris.peer(tokyo).to_give
            return give is not None and give.changes == 2 and give.bytes == 10

        await eventually(measured)
        lag = paris.peer(tokyo).lag_seconds
        assert lag is not None and 0 < lag <= paris.clock.monotonic() - put_at + 0.1
        # More than are looked at in one go are "at least" so many.
        for number in range(25):
            await paris.put(bucket, f"more{number}", b"12345")

        def cut_off() -> bool:
            give = paris.peer(tokyo).to_give
            return give is not None and give.at_least and 2 < give.changes <= 10

        await eventually(cut_off)
        await tokyo.start()


async def test_problems_are_told_both_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        apply = tokyo.names.apply

        async def refuse(changes: Any, **more: Any) -> None:
            if any(isinstance(one, Version) and one.key == "bad" for one in changes):
                raise NamesError("poison")
            await apply(changes, **more)

        with monkeypatch.context() as patch:
            patch.setattr(tokyo.names, "apply", refuse)
            await paris.put(bucket, "bad", b"x")
            await eventually(lambda: len(tokyo.peer(paris).problems) == 1)
            await eventually(lambda: len(paris.peer(tokyo).their_problems) == 1)
            here, there = tokyo.peer(paris).problems[0], paris.peer(tokyo).their_problems[0]
            assert here.position == there.position and here.attempts >= 1
            assert "poison" in here.reason and "poison" in there.reason
            assert "'bad'" in here.what and "'bad'" in there.what
        await settled(paris, tokyo)
        await eventually(lambda: paris.peer(tokyo).their_problems == [])
        await eventually(lambda: tokyo.peer(paris).problems == [])


async def test_conflicts_are_counted(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        await tokyo.bucket()
        await paris.put(bucket, "k", b"of paris")
        await tokyo.put(bucket, "k", b"of tokyo")
        assert (await paris.replicator.counted_status()).conflicts == 0
        await pair(paris, tokyo)
        await settled(paris, tokyo)

        async def counted() -> bool:
            return (await paris.replicator.counted_status()).conflicts == 1

        await eventually(counted)


async def test_who_is_gone_for_good_holds_up_nothing(tmp_path: Path) -> None:
    """Removed from one side alone: tombstones, progress and status do without it."""
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        await pair(paris, tokyo)
        await pair(paris, austin)
        bucket = await paris.bucket()
        await settled(paris, tokyo, austin)
        await austin.down()
        await paris.put(bucket, "k", b"x")
        await paris.delete(bucket, "k")
        await eventually(lambda: paris.peer(tokyo).our_behind == 0)
        knowledge = paris.names.knowledge
        end = paris.names.feed_end
        assert knowledge.chores(paris.names.peers()).acked < end
        await paris.replicator.remove_peer(austin.dc_id)
        assert knowledge.chores(paris.names.peers()).acked >= end
        assert knowledge.progress(austin.dc_id) is None
        assert [peer.name for peer in paris.replicator.status().peers] == ["tokyo"]
        await paris.names.upkeep()
        await paris.down()
        await paris.up()
        assert paris.names.knowledge.progress(austin.dc_id) is None
        assert paris.names.knowledge.progress(tokyo.dc_id) is not None
        await austin.up()
        await eventually(state_is(austin, paris, "REFUSED"))
        await settled(paris, tokyo)


async def test_what_is_not_known_any_more_is_not_remembered(tmp_path: Path) -> None:
    """A peer that came from further back than it was: after a crash, too, it counts as behind."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        assert tokyo.names.directory.bucket_by_id(bucket.id) is not None
        await paris.names.upkeep()
        await tokyo.down()
        paris.names.knowledge.note_progress(tokyo.dc_id, None)
        await paris.names.upkeep()
        await paris.down()
        await paris.up()
        assert paris.names.knowledge.progress(tokyo.dc_id) is None
        assert paris.peer(tokyo).our_acked is None
        await tokyo.up()
        await settled(paris, tokyo)


async def test_a_late_acknowledgement_of_a_process_that_has_ended_is_not_heard(
    tmp_path: Path,
) -> None:
    """The peer may have been put back to a backup since: what it lacks then must be kept."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.bucket()
        await settled(paris, tokyo)
        before = tokyo.names.epoch
        await tokyo.down()
        await tokyo.up()
        await settled(paris, tokyo)
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None
        knowledge, now = tokyo.names.knowledge, tokyo.names.epoch
        for epoch, is_heard in ((before, False), (now, True)):
            paris.names.knowledge.note_progress(tokyo.dc_id, None)
            knowledge.epoch = epoch
            await link.client.ack(
                messages.Ack(epoch=paris.names.epoch, position=paris.names.feed_end)
            )
            assert (paris.names.knowledge.progress(tokyo.dc_id) is not None) == is_heard


async def test_a_late_request_for_the_feed_does_not_silence_who_lives(tmp_path: Path) -> None:
    """It is of a process that has ended, and comes after that of the next one: its stream ends
    soon, the other's goes on."""
    async with datacenters(tmp_path, "paris") as (paris,):
        outbound = Outbound(paris.names.knowledge, "a" * 16)
        outbound.opened(object(), 0, True, "next")
        outbound.opened(object(), 0, True, "ended")
        assert outbound.is_over("next"), "nobody can tell yet"
        outbound.closed("ended")
        assert not outbound.is_over("next") and outbound.streams == 1
        outbound.closed("next")
        outbound.opened(object(), 0, True, "next")
        assert outbound.is_over("ended") and not outbound.is_over("next")


async def test_a_link_starts_though_the_disk_fails_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read for it beside is not needed for streams."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):

        async def fails(_: str) -> None:
            raise NamesError("disk I/O error")

        for dc in (paris, tokyo):
            monkeypatch.setattr(dc.names.exchanges, "of", fails)
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        assert tokyo.names.directory.bucket_by_id(bucket.id) is not None
