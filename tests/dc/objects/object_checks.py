"""What the tests of containers share: a store on a disk, and the check that nothing is lost."""

import asyncio
import random
from collections.abc import Sequence

from object_disks import ROOT, FixedClock, Image, MemoryDisk, SeededRandomness

from dc.names.model import Extent
from dc.objects.api import ObjectsError
from dc.objects.format import file_name
from dc.objects.reader import FileCache, pieces, read_piece
from dc.objects.scan import Record, scan
from dc.objects.store import ContainerStore

FOLDER = ROOT / "containers"
Stored = tuple[bytes, list[Extent], bytes]
"""ident, extents and bytes of a body that was acknowledged."""


def noise(length: int, seed: int = 0) -> bytes:
    return random.Random(seed * 1_000_003 + length).randbytes(length)


def store_on(disk: MemoryDisk, seed: int = 1, container_max_bytes: int = 1 << 30) -> ContainerStore:
    return ContainerStore(
        ROOT,
        disk=disk,
        clock=FixedClock(),
        randomness=SeededRandomness(seed),
        container_max_bytes=container_max_bytes,
    )


async def upload(store: ContainerStore, ident: bytes, data: bytes, step: int = 1 << 18) -> Stored:
    async with store.writer(ident) as writer:
        for start in range(0, len(data), step):
            await writer.write(data[start : start + step])
        return ident, await writer.finish(), data


async def whole(store: ContainerStore, extents: Sequence[Extent], start: int, stop: int) -> bytes:
    return b"".join([bytes(piece) async for piece in store.read(extents, start, stop)])


def read_image(image: Image, extents: Sequence[Extent]) -> bytes:
    """A body as another process would read it from these files."""
    files = FileCache(MemoryDisk(image), FOLDER, 8)
    size = sum(extent.length for extent in extents)
    return b"".join(bytes(read_piece(files, *piece)) for piece in pieces(extents, 0, size))


def scan_image(image: Image, container: int) -> list[Record]:
    return list(scan(MemoryDisk(image).open(FOLDER / file_name(container))))


def loss(image: Image, stored: Sequence[Stored]) -> str:
    """What of the acknowledged bodies is not there, whether by its extents or by a scan; "" when
    all is well."""
    found: dict[int, dict[Extent, Record]] = {}
    for ident, extents, data in stored:
        try:
            if read_image(image, extents) != data:
                return f"{ident!r}: wrong bytes"
            for extent in extents:
                if extent.container not in found:
                    records = scan_image(image, extent.container)
                    found[extent.container] = {record.extent: record for record in records}
                record = found[extent.container].get(extent)
                if record is None or record.ident != ident or not record.intact:
                    return f"{ident!r}: a scan does not find {extent}: {record}"
        except ObjectsError as error:
            return f"{ident!r}: {error}"
    return ""


async def settle(turns: int = 5) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
