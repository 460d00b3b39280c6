"""Bytes that rotted, moved or were cut off: the right bytes are served or none."""

import asyncio
import functools
from collections.abc import Sequence

import pytest
from object_checks import (
    FOLDER,
    Stored,
    noise,
    read_image,
    scan_image,
    store_on,
    upload,
    whole,
)
from object_disks import Image, MemoryDisk

from dc.names.model import Extent
from dc.objects.api import CorruptData, MissingData
from dc.objects.format import BLOCK_BYTES, HEADER_BYTES, file_name, table_bytes
from dc.objects.reader import FileCache, read_cached
from dc.objects.scan import scan

SMALL = [1, 700, 700, 40]
LARGE = [BLOCK_BYTES + 10, 3 * BLOCK_BYTES]


@functools.cache
def written(sizes: tuple[int, ...]) -> tuple[Image, list[Stored]]:
    """A container with bodies of these sizes."""

    async def scenario() -> tuple[Image, list[Stored]]:
        disk = MemoryDisk()
        objects = store_on(disk)
        await objects.open()
        stored = [
            (b"ident%d" % n, await objects.put(b"ident%d" % n, noise(size, n)), noise(size, n))
            for n, size in enumerate(sizes)
        ]
        await objects.close()
        return disk.image(), stored

    return asyncio.run(scenario())


def bodies(sizes: Sequence[int]) -> tuple[bytes, list[Stored]]:
    image, stored = written(tuple(sizes))
    return next(iter(image.values())), stored


def image_of(content: bytes, extent: Extent) -> Image:
    return {FOLDER / file_name(extent.container): content}


def outcome(image: Image, stored: Stored) -> str:
    """How a body reads from damaged files. Fails when bytes come out that nobody wrote."""
    _, extents, data = stored
    try:
        assert read_image(image, extents) == data, "wrong bytes were served"
        result = "right"
    except CorruptData as error:
        assert f"{extents[0].container:016x}" in str(error)
        result = "corrupt"
    except MissingData:
        result = "missing"
    files = FileCache(MemoryDisk(image), FOLDER, 8)
    with files.borrow(extents[0].container):
        try:
            cached = read_cached(files, extents[0])
            assert cached in (None, data), "wrong bytes were served from the cache"
            assert (cached == data) == (result == "right")
        except CorruptData:
            assert result == "corrupt"
    return result


def flipped(content: bytes, at: int, bit: int = 0) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1 << bit
    return bytes(changed)


def test_every_flipped_byte_of_a_container_is_found_or_does_not_matter() -> None:
    content, stored = bodies(SMALL)
    for at in range(len(content)):
        image = image_of(flipped(content, at, at % 8), stored[0][1][0])
        for one in stored:
            [extent] = one[1]
            covered = extent.offset - table_bytes(extent.length), extent.offset + extent.length
            expected = "corrupt" if covered[0] <= at < covered[1] else "right"
            assert outcome(image, one) == expected


def test_flipped_bytes_of_bodies_of_several_blocks_are_found() -> None:
    content, stored = bodies(LARGE)
    for one in stored:
        [extent] = one[1]
        table_at = extent.offset - table_bytes(extent.length)
        spots = [*range(table_at, extent.offset + 5), *range(extent.offset, len(content), 4999)]
        for block in range(0, extent.length, BLOCK_BYTES):
            spots += [extent.offset + block - 1, extent.offset + block]
        for at in [*spots, extent.offset + extent.length - 1]:
            if at < extent.offset + extent.length:
                assert outcome(image_of(flipped(content, at), extent), one) == "corrupt"


async def test_a_range_is_served_when_only_other_blocks_are_damaged() -> None:
    content, stored = bodies(LARGE)
    _, [extent], data = stored[1]
    image = image_of(flipped(content, extent.offset + BLOCK_BYTES), extent)
    objects = store_on(MemoryDisk(image))
    await objects.open()
    assert await whole(objects, [extent], 0, BLOCK_BYTES) == data[:BLOCK_BYTES]
    assert (
        await whole(objects, [extent], 2 * BLOCK_BYTES, 3 * BLOCK_BYTES)
        == (data[2 * BLOCK_BYTES :])
    )
    with pytest.raises(CorruptData):
        await whole(objects, [extent], BLOCK_BYTES - 1, BLOCK_BYTES + 1)
    await objects.close()


async def test_pieces_before_the_damage_are_served_and_none_from_there_on() -> None:
    disk = MemoryDisk()
    objects = store_on(disk)
    await objects.open()
    _, extents, data = await upload(objects, b"", noise(4 << 20))
    inode = disk.names[FOLDER / file_name(extents[0].container)]
    inode.content[extents[2].offset] ^= 1
    got = b""
    with pytest.raises(CorruptData):
        async for piece in objects.read(extents, 0, 4 << 20):
            got += bytes(piece)
    assert got == data[: 2 << 20]
    await objects.close()


def test_records_of_equal_size_that_changed_places_are_found() -> None:
    content, stored = bodies(SMALL)
    [one], [two] = stored[1][1], stored[2][1]
    start_one, start_two = one.offset - 4, two.offset - 4
    swapped = bytearray(content)
    swapped[start_one : one.offset + 700] = content[start_two : two.offset + 700]
    swapped[start_two : two.offset + 700] = content[start_one : one.offset + 700]
    assert outcome(image_of(bytes(swapped), one), stored[1]) == "corrupt"
    assert outcome(image_of(bytes(swapped), one), stored[2]) == "corrupt"
    assert outcome(image_of(bytes(swapped), one), stored[3]) == "right"
    scanned = scan_image(image_of(bytes(swapped), one), one.container)
    assert len(scanned) == 1


def test_blocks_that_changed_places_with_their_checksums_are_found() -> None:
    content, stored = bodies(LARGE)
    [extent] = stored[1][1]
    table_at, size = extent.offset - 12, BLOCK_BYTES
    first = slice(extent.offset, extent.offset + size)
    second = slice(extent.offset + size, extent.offset + 2 * size)
    swapped = bytearray(content)
    swapped[first], swapped[second] = content[second], content[first]
    swapped[table_at : table_at + 4] = content[table_at + 4 : table_at + 8]
    swapped[table_at + 4 : table_at + 8] = content[table_at : table_at + 4]
    assert outcome(image_of(bytes(swapped), extent), stored[1]) == "corrupt"


def test_a_container_under_the_name_of_another_is_found() -> None:
    content, stored = bodies(SMALL)
    ident, [extent], data = stored[1]
    other = Extent(extent.container + 1, extent.offset, extent.length)
    assert outcome(image_of(content, other), (ident, [other], data)) == "corrupt"


def test_every_truncation_is_found_and_a_scan_ends_where_the_last_whole_record_ends() -> None:
    content, stored = bodies(SMALL)
    ends = [one[1][0].offset + one[1][0].length for one in stored]
    extent = stored[0][1][0]
    for length in range(len(content)):
        image = image_of(content[:length], extent)
        for one, end in zip(stored, ends, strict=True):
            assert outcome(image, one) == ("right" if end <= length else "missing")
        file = MemoryDisk(image).open(FOLDER / file_name(extent.container))
        if length < HEADER_BYTES:
            with pytest.raises(CorruptData):
                scan(file)
            continue
        scanned = scan(file)
        found = [record.extent for record in scanned]
        whole_ones = [end for end in ends if end <= length]
        assert found == [one[1][0] for one in stored[: len(whole_ones)]]
        assert scanned.good_end == max([HEADER_BYTES, *whole_ones])
        assert scanned.torn == (length > scanned.good_end)


def test_a_scan_survives_every_flipped_byte_and_tells_nothing_wrong() -> None:
    content, stored = bodies(SMALL)
    extent = stored[0][1][0]
    true = {one[1][0]: one[0] for one in stored}
    for at in range(HEADER_BYTES, len(content)):
        image = image_of(flipped(content, at, at % 8), extent)
        records = scan_image(image, extent.container)
        for record in records:
            assert true[record.extent] == record.ident
            damaged = record.extent.offset <= at < record.extent.offset + record.extent.length
            assert record.intact == (not damaged)


def test_zeroes_and_garbage_after_the_end_are_a_torn_tail() -> None:
    content, stored = bodies(SMALL)
    extent = stored[0][1][0]
    for tail in (bytes(5000), noise(5000), content[HEADER_BYTES:]):
        file = MemoryDisk(image_of(content + tail, extent)).open(
            FOLDER / file_name(extent.container)
        )
        scanned = scan(file)
        assert len(list(scanned)) == len(stored)
        assert (scanned.good_end, scanned.torn) == (len(content), True)
