"""x-amz-replication-status of objects, through the gateways of two datacenters that replicate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gateway_kit import REGION, USERS, House
from paired_kit import house_of
from replica_kit import Dc, datacenters, eventually, pair

from dc.names.api import NamesError
from dc.names.model import Version

HEADER = "x-amz-replication-status"


@contextlib.asynccontextmanager
async def two(root: Path) -> AsyncIterator[tuple[Dc, Dc, House, House]]:
    """Paris and Tokyo, paired; the bucket `photos` is in both."""
    async with datacenters(root, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.names.create_bucket("photos", USERS["ann"], REGION)
        await eventually(lambda: tokyo.names.directory.bucket("photos") is not None)
        async with house_of(paris) as at_paris, house_of(tokyo) as at_tokyo:
            yield paris, tokyo, at_paris, at_tokyo


async def put(house: House, key: str) -> None:
    assert (await house.ask("PUT", f"/photos/{key}", b"hello")).status == 200


async def said(house: House, key: str) -> str:
    """What HEAD and GET say; they say the same."""
    head = await house.ask("HEAD", f"/photos/{key}")
    get = await house.ask("GET", f"/photos/{key}")
    part = await house.ask("GET", f"/photos/{key}", headers={"Range": "bytes=0-1"})
    assert head.status == get.status == 200 and part.status == 206
    words = {answer.headers.get(HEADER, "") for answer in (head, get, part)}
    assert len(words) == 1
    return words.pop()


def becomes(house: House, key: str, word: str) -> Callable[[], Any]:
    async def check() -> bool:
        answer = await house.ask("HEAD", f"/photos/{key}")
        return answer.headers.get(HEADER, "") == word

    return check


def hold_acks(dc: Dc) -> asyncio.Event:
    """Acknowledgements to this DC wait for the event."""
    routes = dc.replicator._server._routes
    take, go = routes["POST", "ack"], asyncio.Event()

    async def held(request: Any, peer: Any) -> Any:
        await go.wait()
        return await take(request, peer)

    routes["POST", "ack"] = held
    return go


async def test_pending_until_it_is_acknowledged_then_completed(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        go = hold_acks(paris)
        await put(at_paris, "k")
        await eventually(becomes(at_tokyo, "k", "REPLICA"))
        assert await said(at_tokyo, "k") == "REPLICA"
        # It is there, but that is not known here.
        assert await said(at_paris, "k") == "PENDING"
        go.set()
        await eventually(becomes(at_paris, "k", "COMPLETED"))
        assert await said(at_paris, "k") == "COMPLETED"
        version = await paris.names.current(paris.names.directory.bucket("photos").id, "k")
        acked = paris.replicator._server.outbound(tokyo.dc_id).acked
        assert version.seq <= acked
        # And written there anew, it is a replica here.
        await put(at_tokyo, "k")
        await eventually(becomes(at_paris, "k", "REPLICA"))


async def test_alone_there_is_no_such_header(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await paris.names.create_bucket("photos", USERS["ann"], REGION)
        async with house_of(paris) as at_paris:
            await put(at_paris, "k")
            assert await said(at_paris, "k") == ""
            await pair(paris, tokyo)
            await eventually(becomes(at_paris, "k", "COMPLETED"))
            await paris.replicator.remove_peer(tokyo.dc_id)
            assert await said(at_paris, "k") == ""


async def test_a_poisoned_change_has_failed_and_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        apply, poisoned = tokyo.names.apply, True

        async def refuse(changes: Any, **more: Any) -> None:
            bad = [c for c in changes if isinstance(c, Version) and c.key.startswith("bad")]
            if poisoned and bad:
                raise NamesError("poison")
            await apply(changes, **more)

        monkeypatch.setattr(tokyo.names, "apply", refuse)
        await put(at_paris, "bad")
        await eventually(becomes(at_paris, "bad", "FAILED"))
        assert await said(at_paris, "bad") == "FAILED"
        # All that came after it has arrived, and is known to have.
        await put(at_paris, "good")
        await eventually(becomes(at_paris, "good", "COMPLETED"))
        assert await said(at_paris, "bad") == "FAILED"
        await eventually(lambda: len(paris.peer(tokyo).their_problems) == 1)
        (problem,) = paris.peer(tokyo).their_problems
        assert "'bad'" in problem.what and "poison" in problem.reason
        assert tokyo.peer(paris).failing == 1
        give = paris.peer(tokyo).to_give
        assert give is not None and (give.changes, give.bytes) == (1, 5)
        poisoned = False
        await eventually(becomes(at_paris, "bad", "COMPLETED"))
        await eventually(lambda: paris.peer(tokyo).their_problems == [])
        assert await at_tokyo.keys() == ["bad", "good"]


async def test_a_restart_forgets_no_acknowledgement(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.names.create_bucket("photos", USERS["ann"], REGION)
        async with house_of(paris) as at_paris:
            await put(at_paris, "before")
            await eventually(becomes(at_paris, "before", "COMPLETED"))
            await paris.names.upkeep()
            await tokyo.down()
            await put(at_paris, "after")
            assert await said(at_paris, "after") == "PENDING"
        await paris.down()
        await paris.up()
        # Tokyo is away: what is known is what was stored.
        async with house_of(paris) as at_paris:
            assert await said(at_paris, "before") == "COMPLETED"
            assert await said(at_paris, "after") == "PENDING"
            await tokyo.up()
            await eventually(becomes(at_paris, "after", "COMPLETED"))


async def test_two_peers_must_both_have_it(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "austin") as (paris, tokyo, austin):
        await pair(paris, tokyo)
        await pair(paris, austin)
        await paris.names.create_bucket("photos", USERS["ann"], REGION)
        async with house_of(paris) as at_paris:
            await austin.down()
            await put(at_paris, "k")
            bucket = paris.names.directory.bucket("photos")
            await eventually(lambda: paris.peer(tokyo).our_behind == 0)
            assert await tokyo.get(bucket, "k") == b"hello"
            assert await said(at_paris, "k") == "PENDING"
            # Who is gone for good is not waited for.
            await paris.replicator.remove_peer(austin.dc_id)
            assert await said(at_paris, "k") == "COMPLETED"
            await austin.up()


async def test_asking_costs_no_more_than_a_lookup(tmp_path: Path) -> None:
    """It is asked on every GET and HEAD: nothing is read, and nothing looked through."""
    async with two(tmp_path) as (paris, _, at_paris, _):
        await put(at_paris, "k")
        await eventually(becomes(at_paris, "k", "COMPLETED"))
        bucket = paris.names.directory.bucket("photos")
        version = await paris.names.current(bucket.id, "k")
        marks = paris.replicator.mark
        asked = 0
        known = marks._outbound_of

        def counted(dc_id: str) -> Any:
            nonlocal asked
            asked += 1
            return known(dc_id)

        marks._outbound_of = counted
        assert {marks(version) for _ in range(10_000)} == {"COMPLETED"}
        assert asked <= 1, "once for each acknowledgement, not for each request"
