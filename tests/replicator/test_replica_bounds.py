"""What must hold at the edges: records that no frame holds, links that are made anew, streams that
begin while something else is under way."""

from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from replica_kit import datacenters, eventually, link, pair, settled

import replicator.peers
from dc.names.model import Cursor, Meta
from replicator import wire


def headers(characters: int) -> dict[str, str]:
    return {f"n{number}": "x" * 8000 for number in range(characters // 8000)}


async def test_a_record_too_large_with_its_body_is_sent_without(tmp_path: Path) -> None:
    """As a relayed one may be, of which the body came by itself."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        one = await paris.put(bucket, "one", bytes(200_000))
        meta = msgspec.structs.replace(one.meta, user=headers(8_200_000))
        stamp = paris.names.clock.now()
        large = msgspec.structs.replace(one, key="large", stamp=stamp, meta=meta)
        await paris.names.apply([large])
        await paris.put(bucket, "after", b"x")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "large") == bytes(200_000)
        assert await tokyo.get(bucket, "after") == b"x"


async def test_a_record_that_no_frame_holds_is_shown_and_holds_up_nothing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        one = await paris.put(bucket, "one", b"")
        meta = Meta(user=headers(6_000_000), headers=headers(6_000_000))
        stamp = paris.names.clock.now()
        await paris.names.apply([msgspec.structs.replace(one, key="huge", stamp=stamp, meta=meta)])
        await paris.put(bucket, "after", b"x")

        async def arrived() -> bool:
            return await tokyo.get(bucket, "after") == b"x"

        await eventually(arrived)
        await eventually(lambda: tokyo.peer(paris).inbox == 1)
        (entry,) = await tokyo.names.inbox(paris.dc_id)
        record = wire.decode_record(entry.change)
        assert type(record) is wire.UnreadableRecord and "bytes" in record.reason
        assert tokyo.peer(paris).state != "FAILED"


async def test_a_peer_without_a_link_has_not_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link may be about to be made anew: what this DC forgot may still be only there."""
    async with datacenters(tmp_path, "paris", "tokyo", "lima") as (paris, tokyo, lima):
        await pair(paris, tokyo)
        await pair(paris, lima)
        await settled(paris, tokyo, lima)
        peers, knowledge = paris.replicator._peers, paris.names.knowledge
        closed: list[bool] = []
        monkeypatch.setattr(knowledge, "close_gap", lambda: closed.append(True))
        await eventually(lambda: link(paris, lima).inbound.given_back)
        with monkeypatch.context() as patch:
            patch.delitem(peers._links, lima.dc_id)
            patch.setattr(replicator.peers, "GAP_SECONDS", 0)
            peers._given_back()
            assert not closed
        peers._given_back()
        assert not closed, "tokyo may have forgotten as well, and get it back from others"
        monkeypatch.setattr(replicator.peers, "GAP_SECONDS", 0)
        peers._given_back()
        assert closed


async def test_a_position_of_one_feed_says_nothing_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream may begin at another feed of the peer while an acknowledgement is made."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        to = link(paris, tokyo)
        await to._workers[1].stop()
        positions: list[int] = []
        monkeypatch.setattr(to, "_settled", positions.append)
        state = paris.names.inbox_state

        async def slow(peer: str) -> tuple[int, int]:
            to.inbound.cursor = Cursor("anew", 3)
            return await state(peer)

        with monkeypatch.context() as patch:
            patch.setattr(paris.names, "inbox_state", slow)
            to.inbound.cursor = Cursor("before", 1000)
            to._inbox.moved.set()
            assert await to._acknowledge() == 0
        assert positions == [] and to._inbox.moved.is_set()
        await to._acknowledge()
        assert positions == [3]


async def test_no_stream_is_begun_for_who_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        prepare = web.StreamResponse.prepare

        async def slow(response: web.StreamResponse, request: web.BaseRequest) -> object:
            done = await prepare(response, request)
            if request.path == "/v2/feed" and paris.names.peers():
                await paris.replicator.remove_peer(tokyo.dc_id)
            return done

        monkeypatch.setattr(web.StreamResponse, "prepare", slow)
        await link(tokyo, paris).reopen()
        await eventually(lambda: tokyo.peer(paris).state == "REFUSED")
        assert not paris.replicator._server._streams.get(tokyo.dc_id)
