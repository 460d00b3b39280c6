"""Files that come slowly, while something else happens to their peer."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from file_kit import carry, export, pair_offline
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.names.api import NoSuchPeer
from replicator.importing import ImportReport

HEADER_READS = 3


class Slow:
    """An import that stands still behind the header until `go` is set."""

    def __init__(self, dc: Dc, file: bytes) -> None:
        self.go = asyncio.Event()
        self.stands = asyncio.Event()
        self._source = io.BytesIO(file)
        self._reads = 0
        self.task = asyncio.create_task(dc.replicator.files.take(self._read, lambda _: None))

    async def _read(self, length: int) -> bytes:
        self._reads += 1
        if self._reads > HEADER_READS:
            self.stands.set()
            await self.go.wait()
        return self._source.read(length)

    async def end(self) -> ImportReport:
        self.go.set()
        return await self.task


@contextlib.asynccontextmanager
async def slow(dc: Dc, file: bytes) -> AsyncIterator[Slow]:
    one = Slow(dc, file)
    try:
        await one.stands.wait()
        yield one
    finally:
        one.task.cancel()
        await asyncio.gather(one.task, return_exceptions=True)


async def test_a_peer_whose_record_changes_gets_no_stream_beside_an_import(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        file, _ = await export(paris, tokyo, everything=True)
        async with slow(tokyo, file) as importing:
            await eventually(lambda: not tokyo.peer(paris).state.startswith("STREAM"))
            assert tokyo.peer(paris).last_error == "a file of it is being imported"
            before = tokyo.replicator._peers.link(paris.dc_id)
            await tokyo.replicator.set_link(paris.dc_id, 3000)
            link = tokyo.replicator._peers.link(paris.dc_id)
            assert link is not None and link is not before
            await paris.put(bucket, "live", b"x")
            await asyncio.sleep(1.0)
            assert await tokyo.get(bucket, "live") is None
            assert not link.inbound.connected
            assert (await importing.end()).complete
        await eventually(lambda: _is(tokyo, bucket, "live"))
        files = tokyo.peer(paris).files
        assert files is not None and files.imported_ms, "shown by the link of now"
        assert tokyo.peer(paris).last_error == ""


async def _is(dc: Dc, bucket, key: str) -> bool:  # type: ignore[no-untyped-def]
    return await dc.get(bucket, key) is not None


async def test_a_removed_peer_acknowledges_nothing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", b"x")
        await carry(paris, tokyo)
        back, _ = await export(tokyo, paris)
        async with slow(paris, back) as importing:
            await paris.replicator.remove_peer(tokyo.dc_id)
            with pytest.raises(NoSuchPeer):
                await importing.end()
        await paris.replicator.join_offline(tokyo.replicator.issue_token().token)
        assert paris.names.knowledge.progress(tokyo.dc_id) is None
        assert (await carry(tokyo, paris)).acked == paris.names.feed_end


async def test_nothing_more_is_exported_to_a_removed_peer(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", b"x" * 1000)
        size = 0

        async def put(piece: bytes) -> None:
            nonlocal size
            if not size:
                await paris.replicator.remove_peer(tokyo.dc_id)
            size += len(piece)

        with pytest.raises(NoSuchPeer):
            await paris.replicator.files.export(tokyo.dc_id, None, False, put)
        assert size < 1000, "the header only"
