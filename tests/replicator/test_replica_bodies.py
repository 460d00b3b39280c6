"""Bodies that a peer asks for: bounded in number, and in how long nothing of one is taken."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled

import replicator.feed_server
from dc.names.model import Version
from replicator import messages
from replicator.feed_server import CRC_BYTES
from replicator.limits import (
    BODIES_PER_PEER_MAX,
    LARGE_RANGES_AT_ONCE,
    MIB,
    READ_BODIES_MAX,
    SMALL_AT_ONCE,
)
from tokens.access import issue_access

SIZE = 24 * MIB


@asynccontextmanager
async def asked(dc: Dc, peer: Dc, version: Version) -> AsyncIterator[asyncio.StreamReader]:
    """A connection of `peer` with its request for a whole body, and nothing read of the answer."""
    ask = messages.BodyAsk(version.bucket, version.key, "", version.stamp, 0, version.size)
    now = dc.clock.wall_ms() // 1000
    token = issue_access(peer.identity, dc.dc_id, now, peer.randomness.token)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", dc.port, ssl=context, limit=1024)
    head = f"GET /v2/body?ask={messages.encode_ask(ask)} HTTP/1.1\r\nHost: dc\r\n"
    writer.write(f"{head}Authorization: Bearer {token}\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.transport.abort()


@asynccontextmanager
async def with_a_large_body(root: Path) -> AsyncIterator[tuple[Dc, Dc, Version]]:
    async with datacenters(root, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        version = await paris.put(await paris.bucket(), "large", os.urandom(SIZE))
        await settled(paris, tokyo)
        yield paris, tokyo, version


def under_way(dc: Dc) -> int:
    return len(dc.objects.usage._reads)


async def test_a_body_of_which_nothing_is_taken_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold memory, and its containers, for as long as the peer likes."""
    async with with_a_large_body(tmp_path) as (paris, tokyo, version):
        monkeypatch.setattr(replicator.feed_server, "BODY_STALLED_SECONDS_MAX", 2.0)
        async with asked(paris, tokyo, version) as reader:
            await reader.readuntil(b"\r\n\r\n")
            await eventually(lambda: under_way(paris) == 0, 10)
            with pytest.raises(asyncio.IncompleteReadError):
                await reader.readexactly(SIZE + CRC_BYTES)
        assert paris.replicator._server.outbound(tokyo.dc_id).bodies == 0


async def test_one_that_is_taken_slowly_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_a_large_body(tmp_path) as (paris, tokyo, version):
        monkeypatch.setattr(replicator.feed_server, "BODY_STALLED_SECONDS_MAX", 2.0)
        async with asked(paris, tokyo, version) as reader:
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head.splitlines()[0]
            taken = 0
            while taken < SIZE:
                taken += len(await reader.readexactly(min(128 << 10, SIZE - taken)))
                await asyncio.sleep(0.02)
            await reader.readexactly(CRC_BYTES)
        await eventually(lambda: under_way(paris) == 0, 10)


async def test_so_many_are_under_way_and_the_next_come_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_a_large_body(tmp_path) as (paris, tokyo, version):
        monkeypatch.setattr(replicator.feed_server, "BODIES_PER_PEER_MAX", 2)
        async with asked(paris, tokyo, version) as one, asked(paris, tokyo, version) as other:
            for reader in (one, other):
                assert b" 200 " in await reader.readuntil(b"\r\n")
            async with asked(paris, tokyo, version) as third:
                assert b" 503 " in await third.readuntil(b"\r\n")
            bucket = paris.names.directory.bucket_by_id(version.bucket)
            assert bucket is not None
            body = os.urandom(MIB)
            await paris.put(bucket, "waits", body)
            await eventually(lambda: tokyo.peer(paris).failing == 1)
            assert await tokyo.get(bucket, "waits") is None
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "waits") == body


def test_a_peer_that_behaves_has_less_under_way() -> None:
    own = SMALL_AT_ONCE + LARGE_RANGES_AT_ONCE
    assert 2 * (own + READ_BODIES_MAX) <= BODIES_PER_PEER_MAX
