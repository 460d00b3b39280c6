"""Who says that something was superseded: the feed that told of it, and no other one.

A DC that is put back to an old backup answers at once, while the stream of its dead process still
seems open elsewhere. What it has forgotten it does not have; but no later state is on its way.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from replica_kit import Dc, datacenters, eventually, link, new_epoch, pair, settled

from dc.names.model import Inboxed
from replicator import messages
from replicator.errors import BodyUnavailable
from replicator.limits import MIB
from replicator.transfer import Piece, Transfer


@pytest.fixture
def gate() -> Iterator[asyncio.Event]:
    """No range of a body is asked for before it is open."""
    gate = asyncio.Event()
    normal = Transfer._range

    async def held(self: Transfer, start: int, stop: int) -> Piece | None:
        await gate.wait()
        return await normal(self, start, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transfer, "_range", held)
        yield gate


def forget(dc: Dc, patch: pytest.MonkeyPatch) -> None:
    """As if another process answered from here on, put back to before all that was written."""

    async def nothing(*_: object) -> None:
        return None

    new_epoch(dc)
    patch.setattr(dc.names, "version", nothing)
    patch.setattr(dc.names, "conflict", nothing)


async def test_what_was_forgotten_is_not_superseded(tmp_path: Path, gate: asyncio.Event) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        entries: list[Inboxed] = []

        async def waits() -> bool:
            entries[:] = await tokyo.names.inbox(paris.dc_id)
            return bool(entries)

        async def tried() -> bool:
            return not await waits() or entries[0].attempts > 0

        await paris.put(bucket, "big", bytes(MIB))
        await eventually(waits)
        with pytest.MonkeyPatch.context() as patch:
            forget(paris, patch)
            gate.set()
            await eventually(tried)
            assert entries and "started anew" in entries[0].error
            acked = paris.peer(tokyo).our_acked
            assert acked is None or acked < entries[0].seq
        await link(tokyo, paris).reopen()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") == bytes(MIB)


async def test_what_is_deleted_is_superseded(tmp_path: Path, gate: asyncio.Event) -> None:
    """Also by a process that was started since, when its feed is open."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "big", bytes(MIB))
        await eventually(lambda: tokyo.peer(paris).inbox == 1)
        await paris.down()
        await paris.up()
        await paris.delete(bucket, "big")
        gate.set()
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "big") is None
        assert await tokyo.names.inbox_state(paris.dc_id) == (0, 0)


async def test_an_entry_is_asked_for_again_of_the_same_feed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        client = link(tokyo, paris).client
        ask = messages.EntryAsk(paris.names.epoch, paris.names.feed_end + 1)
        assert await client.entry(ask) is None
        new_epoch(paris)
        with pytest.raises(BodyUnavailable):
            await client.entry(ask)
