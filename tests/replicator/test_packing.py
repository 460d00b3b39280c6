"""Batches as bundles: smaller where that pays, and nothing that does harm is unpacked."""

import os
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import zstandard
from replica_kit import settled
from replica_proxy import through_proxy

from replicator import wire
from replicator.errors import WireError
from replicator.limits import FRAME_BYTES_MAX, PACK_PAUSE_MAX
from replicator.packing import Packer, unpack

TEXT = b"2026-11-30T10:00:00Z GET /photos/cat.jpg 200\n" * 200


def test_what_shrinks_is_packed_and_the_rest_is_not_tried_all_the_time() -> None:
    packer = Packer()
    packed = packer.pack(TEXT)
    assert packed is not None and len(packed) < len(TEXT) / 10 and unpack(packed) == TEXT
    assert packer.pack(b"short") is None
    tried = 0
    normal = packer._compress

    def counted(data: bytes) -> bytes:
        nonlocal tried
        tried += 1
        return normal(data)

    packer._compress = counted  # type: ignore[method-assign]
    for _ in range(1000):
        assert packer.pack(os.urandom(1000)) is None
    assert 10 < tried < 30
    # One that shrinks is found again.
    assert any(packer.pack(TEXT) for _ in range(PACK_PAUSE_MAX + 1))
    assert packer.pack(TEXT)


def bundle(data: bytes, **options: object) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"nonsense",
        bundle(b""),
        bundle(TEXT)[:-5],
        bundle(TEXT) + b"more",
        bundle(TEXT, write_content_size=False),
        bundle(bytes(FRAME_BYTES_MAX + 1)),
        bundle(bytes(200 << 20)),
        bundle(TEXT) + bundle(TEXT),
    ],
    ids=[
        "nothing", "nonsense", "of nothing", "cut", "more", "no size", "long", "bomb", "two",
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_refused_in_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * FRAME_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_size_that_is_a_lie_is_refused() -> None:
    honest = bytearray(bundle(bytes(5000)))
    # The size stands after magic and descriptor, in two bytes, less 256.
    assert int.from_bytes(honest[5:7], "little") == 5000 - 256
    for lie in (10, 4000, 60_000):
        honest[5:7] = lie.to_bytes(2, "little")
        with pytest.raises(WireError):
            unpack(bytes(honest))


def test_a_bundle_in_a_bundle_is_refused() -> None:
    encode = msgspec.msgpack.Encoder().encode
    alive = encode(wire.KeepAlive(end=5))
    once = encode(wire.Packed(bundle(alive)))
    assert wire.decode_frame(once) == wire.KeepAlive(end=5)
    with pytest.raises(WireError):
        wire.decode_frame(encode(wire.Packed(bundle(once))))


async def test_logs_take_a_fraction_on_the_way_and_photos_no_more(tmp_path: Path) -> None:
    async with through_proxy(tmp_path) as (paris, tokyo, proxy):
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        bodies = {f"log{n}": TEXT + str(n).encode() for n in range(200)}
        sizes = {}
        for kind in ("logs", "photos"):
            proxy.from_target = 0
            for key, body in bodies.items():
                await paris.put(bucket, key, body)
            await settled(paris, tokyo)
            for key, body in bodies.items():
                assert await tokyo.get(bucket, key) == body
            sizes[kind] = proxy.from_target
            bodies = {f"photo{n}": os.urandom(len(TEXT)) for n in range(200)}
        total = 200 * len(TEXT)
        assert sizes["logs"] < total / 4
        assert total < sizes["photos"] < total * 1.2
