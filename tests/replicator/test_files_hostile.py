"""Files that are not what a peer has made for this DC are refused, and nothing of them applied."""

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from file_kit import HEAD, chunks_of, export, pair_offline, root, take
from replica_kit import Dc, datacenters, pair

from replicator import filed, wire
from replicator.errors import FileRefused
from replicator.limits import CHUNK_BYTES_MAX, MIB

REFUSALS = ("not_an_export", "altered", "cut_short", "another_version", "not_paired")
SAMPLES = 150
"""Positions that are altered, and at which a file is cut."""


async def refused(dc: Dc, file: bytes) -> str:
    """The code that a file is refused with."""
    with pytest.raises(FileRefused) as error:
        await take(dc, file)
    assert str(error.value) and "\n" not in str(error.value)
    return error.value.code


async def test_no_byte_can_be_altered_and_no_end_cut_off(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(3):
            await paris.put(bucket, f"small {number}", os.urandom(2000))
        await paris.put(bucket, "large", os.urandom(300_000))
        file, _ = await export(paris, tokyo)
        nothing = root(tokyo)
        head, chunks = chunks_of(file)
        first = len(head) + len(chunks[0])
        chance = random.Random(1)
        # The header, the first chunk (all names and small bodies), and samples of the rest.
        positions = [*range(0, len(head) + 4 + 64, 3), *chance.sample(range(first), 40)]
        for position in positions:
            altered = bytearray(file)
            altered[position] ^= 1 << chance.randrange(8)
            code = await refused(tokyo, bytes(altered))
            assert code in REFUSALS, position
            assert root(tokyo) == nothing, f"byte {position} was altered, and something applied"
        for position in chance.sample(range(first, len(file)), SAMPLES):
            altered = bytearray(file)
            altered[position] ^= 1 << chance.randrange(8)
            assert await refused(tokyo, bytes(altered)) in ("altered", "cut_short"), position
            assert await tokyo.get(bucket, "large") is None
        for length in [0, 1, 15, *chance.sample(range(16, len(file)), SAMPLES), len(file) - 1]:
            expected = "not_an_export" if length < 16 else "cut_short"
            assert await refused(tokyo, file[:length]) == expected, length
        assert await refused(tokyo, file + b"x") == "altered"
        assert (await take(tokyo, file)).complete
        assert root(tokyo) == root(paris)


async def test_chunks_belong_to_one_place_in_one_file(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "one", os.urandom(6 * MIB))
        file, _ = await export(paris, tokyo)
        other, _ = await export(paris, tokyo)
        head, chunks = chunks_of(file)
        _, others = chunks_of(other)
        assert len(chunks) == len(others) >= 4 and head + b"".join(chunks) == file
        for wrong in (
            [others[0], *chunks[1:]],
            [chunks[0], chunks[2], chunks[1], *chunks[3:]],
            [chunks[0], *chunks[2:]],
            [chunks[0], chunks[0], *chunks[1:]],
            chunks[1:],
        ):
            assert await refused(tokyo, head + b"".join(wrong)) == "altered"
        assert await tokyo.get(bucket, "one") is None
        assert await refused(tokyo, head + b"".join([*chunks[:-1], others[-1]])) == "altered"
        assert await refused(tokyo, head + b"".join(chunks[:-1])) == "cut_short"
        assert (await take(tokyo, file)).complete


async def test_files_of_strangers_and_for_others(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "rome") as (paris, tokyo, rome):
        await pair(rome, paris)
        await pair_offline(paris, tokyo)
        await paris.bucket()
        for_rome, _ = await export(paris, rome)
        assert await refused(tokyo, for_rome) == "for_another"
        of_rome, _ = await export(rome, paris)
        assert await refused(tokyo, of_rome) == "not_paired"
        file, _ = await export(paris, tokyo)
        assert await refused(paris, file) == "not_paired"
        with pytest.raises(FileRefused, match="the file was exported here"):
            await take(paris, file)
        # Rome, a peer of paris, says that it is paris.
        forged = _header_changed(file, lambda header: header | {"made_ms": header["made_ms"] + 1})
        assert await refused(tokyo, forged) == "altered"
        newer = _header_changed(file, lambda header: header | {"version": 2})
        assert await refused(tokyo, newer) == "another_version"
        await tokyo.replicator.remove_peer(paris.dc_id)
        assert await refused(tokyo, file) == "not_paired"
        assert await refused(tokyo, b"PK\x03\x04 something else entirely" * 10) == "not_an_export"


def _header_changed(file: bytes, change: Callable[[dict], dict]) -> bytes:
    (length,) = struct.unpack_from(">I", file, 16)
    header = change(msgspec.msgpack.decode(file[HEAD : HEAD + length]))
    encoded = msgspec.msgpack.encode(header)
    return (
        file[:16]
        + struct.pack(">I", len(encoded))
        + file[20:HEAD]
        + encoded
        + file[HEAD + length :]
    )


async def test_lengths_are_not_believed(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        await paris.bucket()
        file, _ = await export(paris, tokyo)
        head, chunks = chunks_of(file)
        asked: list[int] = []

        async def take_counting(data: bytes) -> str:
            at = 0

            async def read(length: int) -> bytes:
                nonlocal at
                asked.append(length)
                at += length
                return data[at - length : at]

            with pytest.raises(FileRefused) as error:
                await tokyo.replicator.files.take(read, lambda _: None)
            return error.value.code

        for length in (0, 15, CHUNK_BYTES_MAX + 1, 2**31, 2**32 - 1):
            huge = struct.pack(">I", length)
            assert await take_counting(head + huge + chunks[0][4:]) == "altered"
            if length != 15:
                assert await take_counting(file[:16] + huge + file[20:]) == "altered"
        assert max(asked) <= CHUNK_BYTES_MAX


async def test_what_is_signed_and_makes_no_sense_is_refused_too(tmp_path: Path) -> None:
    """By a peer that turned bad: the same as on the wire, without more than its own chunk."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "key", os.urandom(300_000))

        def made(*contents: bytes, **header: object) -> bytes:
            told = filed.Header(
                file="0" * 32,
                sender=paris.dc_id,
                receiver=tokyo.dc_id,
                made_ms=paris.clock.wall_ms(),
                epoch="e1",
                epochs={},
                after=0,
                horizon=0,
                key=b"",
            )
            told = msgspec.structs.replace(told, **header)
            key = tokyo.identity.public.sealing_key
            writer = filed.FileWriter(paris.identity, told, key, bytes(32))
            return writer.head() + b"".join(writer.chunk(content) for content in contents)

        def batch(after: int, last: int) -> bytes:
            return filed.frame_content(wire.encode_batch(after, last, last, []))

        end = filed.message_content(filed.End(5, ""))
        # Who knows the key of a file, and is not who signed its header.
        told = made(batch(0, 5), end)
        head, chunks = chunks_of(told)
        forger = filed.FileWriter(
            tokyo.identity,
            msgspec.msgpack.decode(head[HEAD:], type=filed.Header),
            tokyo.identity.public.sealing_key,
            bytes(32),
        )
        forged = forger.chunk(batch(0, 5))
        assert forged[68:] == chunks[0][68:], "the same ciphertext"
        assert await refused(tokyo, head + forged + chunks[1]) == "altered"
        for contents in (
            [b""],
            [b"z"],
            [b"b12"],
            [b"m\xc1"],
            [b"f\xc1"],
            [filed.frame_content(wire.encode_frame(wire.KeepAlive(end=1)))],
            [batch(3, 5), end],
            [batch(0, 4), end],
            [batch(0, 4), batch(3, 5), end],
        ):
            assert await refused(tokyo, made(*contents)) == "not_readable", contents
        assert await refused(tokyo, made(batch(0, 5), end, packing="zstd")) == "another_version"
        # Bodies that nobody asked for pass by.
        strange = filed.piece_content(7, 2**60, b"x" * 1000)
        assert (await take(tokyo, made(batch(0, 5), strange, end))).complete


async def test_a_body_of_other_bytes_is_kept_and_shown(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair_offline(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "large", os.urandom(5 * MIB))
        real = paris.objects.read

        async def read(extents, start, stop):  # type: ignore[no-untyped-def]
            async for piece in real(extents, start, stop):
                yield bytes(len(piece))

        paris.objects.read = read  # type: ignore[method-assign]
        file, _ = await export(paris, tokyo)
        report = await take(tokyo, file)
        assert (report.unfinished, report.failing, report.bodies) == (1, 1, 0)
        [entry] = await tokyo.names.inbox(paris.dc_id)
        assert "BodyCorrupt" in entry.error
        assert await tokyo.get(bucket, "large") is None
        paris.objects.read = real  # type: ignore[method-assign]
        file, _ = await export(paris, tokyo)
        assert (await take(tokyo, file)).unfinished == 0
        assert root(paris) == root(tokyo)
