"""Choosing what of an inbox is started: large bodies do not hold up small ones, nor cost a look
through all of them whenever one has ended."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from replica_kit import datacenters, eventually, pair

from dc.names.model import Inboxed, Meta
from replicator import inbox as choosing
from replicator import wire
from replicator.inbox import Inbox
from replicator.limits import INLINE_BYTES_MAX, LARGE_AT_ONCE


def entry(peer: str, seq: int, size: int) -> Inboxed:
    record = wire.VersionRecord(
        seq=seq,
        bucket="b" * 16,
        key=f"k{seq}",
        vid="",
        stamp=f"{seq:016x}{peer}",
        kind=0,
        size=size,
        etag="e" * 32,
        meta=Meta(crc64=0),
        seen="",
        registers={},
        body=None,
    )
    return Inboxed(peer=peer, seq=seq, change=wire.encode_record(record))


async def test_many_large_ones_are_looked_through_once_and_small_ones_behind_them_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "INBOX_PAGE", 20)
    monkeypatch.setattr(choosing, "INBOX_POLL_SECONDS", 2.0)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await paris.replicator.stop()
        await paris.let_go()
        names, [peer], read = paris.names, paris.names.peers(), [0]
        sizes = [INLINE_BYTES_MAX + 1] * 300 + [100] * 5
        entries = [entry(peer.dc_id, 1_000 + seq, size) for seq, size in enumerate(sizes)]
        await names.apply([], peer=peer.dc_id, inbox=entries)
        inbox_of = names.inbox

        async def counted(*arguments: Any, **more: Any) -> list[Inboxed]:
            found = await inbox_of(*arguments, **more)
            read[0] += len(found)
            return found

        monkeypatch.setattr(names, "inbox", counted)
        home: Any = SimpleNamespace(names=names, clock=paris.clock)
        told: Any = SimpleNamespace(inbox_is=lambda count: None)
        one, ended, running, most = Inbox(home, peer, told, told), [], set(), [0]

        async def finish(entry: Inboxed, record: wire.Record) -> None:
            running.add(entry.seq)
            most[0] = max(most[0], sum(1 for seq in running if seq < 1_300))
            await asyncio.sleep(0.005)
            await names.apply([], peer=peer.dc_id, done=[entry.seq])
            running.discard(entry.seq)
            ended.append(entry.seq)

        monkeypatch.setattr(one, "_finish", finish)
        one.link_is_up()
        one.start()
        try:
            await eventually(lambda: len(ended) >= 100)
            assert read[0] < 305 + 200, "not all of them for each"
            assert most[0] == LARGE_AT_ONCE
            assert {1_300, 1_301, 1_302, 1_303, 1_304} < set(ended)
            await eventually(lambda: len(ended) == 305)
            assert len(set(ended)) == 305
        finally:
            await one.stop()
