"""What is remembered of files, and that peers without a link are waited for."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from dc.names.errors import NoSuchPeer
from dc.names.exchanges import Exchanged, Span
from dc.names.model import Cursor, Inboxed, Peer
from dc.names.service import SqliteNames, open_names
from dc.system import SystemClock, SystemDatabases, SystemRandomness

PEER = Peer(
    dc_id="b" * 16,
    name="tokyo",
    region="asia",
    endpoints=["127.0.0.1:1"],
    fingerprint="0" * 64,
    signing_key=bytes(32),
    sealing_key=bytes(32),
    paired="0" * 16 + "a" * 16,
)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SqliteNames]:
    names = await open_names(
        folder / "names.db",
        databases=SystemDatabases(),
        clock=SystemClock(),
        randomness=SystemRandomness(),
        dc_id="a" * 16,
    )
    try:
        yield names
    finally:
        await names.close()


async def test_it_is_durable_and_goes_with_the_peer(tmp_path: Path) -> None:
    record = Exchanged(exported_ms=5, newest_ms=7, spans=[Span("e", 1, 2, {"d": 1})], epoch="e")
    async with opened(tmp_path) as one:
        with pytest.raises(NoSuchPeer):
            await one.exchanges.put(PEER.dc_id, record)
        await one.add_peer(PEER)
        assert await one.exchanges.of(PEER.dc_id) == Exchanged()
        await one.exchanges.put(PEER.dc_id, record, Cursor("e", 4, True))
    async with opened(tmp_path) as one:
        assert await one.exchanges.of(PEER.dc_id) == record
        assert await one.cursor(PEER.dc_id) == Cursor("e", 4, True)
        again = msgspec.structs.replace(record, exported_ms=6)
        await one.exchanges.put(PEER.dc_id, again)
        assert await one.exchanges.of(PEER.dc_id) == again
        assert await one.cursor(PEER.dc_id) == Cursor("e", 4, True), "not touched"
        waits = [Inboxed(peer=PEER.dc_id, seq=seq, change=b"") for seq in (5, 6, 7)]
        await one.apply([], peer=PEER.dc_id, inbox=waits)
        await one.exchanges.put(PEER.dc_id, record, Cursor("f", 0), [5, 7])
        assert await one.cursor(PEER.dc_id) == Cursor("f", 0)
        assert [entry.seq for entry in await one.inbox(PEER.dc_id)] == [6]
        await one.remove_peer(PEER.dc_id)
        await one.add_peer(PEER)
        assert await one.exchanges.of(PEER.dc_id) == Exchanged()


async def test_a_peer_without_a_link_is_never_too_long_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        knowledge = one.knowledge
        knowledge.peer_absence_ms_max = -1
        knowledge.note_progress(PEER.dc_id, 3)
        assert knowledge.chores([PEER]).acked > 3, "it is not waited for any more"
        by_files = msgspec.structs.replace(PEER, by_files=True)
        assert knowledge.chores([by_files]).acked == 3
        assert knowledge.chores([by_files]).stable == "", "nor is what it has not covered"
