"""DCs without a link, and the files that go between them."""

import io
import struct

import msgspec
from replica_kit import Dc

from replicator.exporting import ExportReport
from replicator.importing import ImportReport

HEAD = 16 + 4 + 64
"""Magic, length and signature: the header begins here."""


async def pair_offline(one: Dc, other: Dc) -> None:
    """By hand, in both directions; nothing is connected, and nobody can be reached."""
    for dc in (one, other):
        dc.advertised = ["127.0.0.1:1"]
    tokens = [dc.replicator.issue_token().token for dc in (one, other)]
    here = await one.replicator.join_offline(tokens[1])
    there = await other.replicator.join_offline(tokens[0])
    assert here.code == there.code != ""


async def link_up(one: Dc, other: Dc) -> None:
    """From now on each can be reached by the other."""
    for dc, peer in ((one, other), (other, one)):
        (known,) = [each for each in dc.names.peers() if each.dc_id == peer.dc_id]
        endpoints = [f"127.0.0.1:{peer.port}"]
        await dc.names.add_peer(msgspec.structs.replace(known, endpoints=endpoints))
        await dc.replicator._peers.refresh()


async def export(
    dc: Dc, to: Dc, position: int | None = None, everything: bool = False
) -> tuple[bytes, ExportReport]:
    made: list[bytes] = []

    async def put(data: bytes) -> None:
        made.append(bytes(data))

    report = await dc.replicator.files.export(to.dc_id, position, everything, put)
    file = b"".join(made)
    assert report.bytes == len(file)
    return file, report


async def take(dc: Dc, file: bytes) -> ImportReport:
    """Import a file."""
    source = io.BytesIO(file)

    async def read(length: int) -> bytes:
        return source.read(length)

    return await dc.replicator.files.take(read, lambda _: None)


async def carry(one: Dc, other: Dc) -> ImportReport:
    """An export of one, imported by the other."""
    file, _ = await export(one, other)
    return await take(other, file)


def root(dc: Dc) -> str:
    return dc.replicator._home.root()


def chunks_of(file: bytes) -> tuple[bytes, list[bytes]]:
    """The head of a file, and its chunks with lengths and signatures."""
    (length,) = struct.unpack_from(">I", file, 16)
    at = HEAD + length
    head, chunks = file[:at], []
    while at < len(file):
        (length,) = struct.unpack_from(">I", file, at)
        chunks.append(file[at : at + 4 + 64 + length])
        at += 4 + 64 + length
    return head, chunks
