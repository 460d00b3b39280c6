"""What the gateway stores beside the bytes: enough to make the names again from them."""

from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from gateway_kit import House

from dc.names.model import Extent, Version
from dc.objects.ident import Piece, Refusal, Whole, decode_ident
from dc.objects.scan import Record, scan
from dc.system import SystemDisk

DISK = SystemDisk()
SIZES = [1, 4096, 1 << 20, (1 << 20) + 1, 3 << 20, (3 << 20) + 5]


def records(house: House) -> dict[Extent, Record]:
    found = {}
    folder: Path = house.objects._folder
    for name in DISK.list_dir(folder):
        file = DISK.open(folder / name)
        found.update({one.extent: one for one in scan(file)})
        file.close()
    return found


async def current(house: House, key: str) -> Version:
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    version = await house.names.current(bucket.id, key)
    assert version is not None
    return version


def check_told(house: House, version: Version) -> None:
    """The last record tells the version, and how the others are found."""
    found = records(house)
    idents = [decode_ident(found[extent].ident) for extent in version.extents]
    bare = msgspec.structs.replace(version, extents=[], seq=0)
    last = idents.pop()
    assert isinstance(last, Whole) and last.version == bare
    assert bool(last.body) == bool(idents)
    for one in idents:
        assert isinstance(one, Piece)
        assert (one.bucket, one.key, one.stamp) == (version.bucket, version.key, last.body)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_a_body_tells_the_whole_version(house: House, size: int, encrypted: bool) -> None:
    await house.bucket()
    headers = {"x-amz-meta-a": "b", "x-amz-tagging": "c=d", "x-amz-acl": "public-read"}
    if encrypted:
        headers["x-amz-server-side-encryption"] = "AES256"
    answer = await house.ask("PUT", "/photos/k", bytes(size), headers)
    assert answer.status == 200
    version = await current(house, "k")
    assert version.registers and version.meta.user
    check_told(house, version)
    copy = {"x-amz-copy-source": quote("photos/k"), "x-amz-acl": "private"}
    assert (await house.ask("PUT", "/photos/copy", headers=copy)).status == 200
    check_told(house, await current(house, "copy"))


async def test_a_refusal_is_written_down(house: House) -> None:
    """Before the client hears of it; a PUT that is stored leaves none."""
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"first")
    assert not refusals(house)
    answer = await house.ask("PUT", "/photos/k", b"second", {"If-None-Match": "*"})
    assert answer.status == 412
    (one,) = refusals(house)
    version = await current(house, "k")
    assert (one.bucket, one.key, one.vid) == (version.bucket, "k", "")
    wholes = [decode_ident(each.ident) for each in records(house).values()]
    stamps = [each.version.stamp for each in wholes if isinstance(each, Whole)]
    assert sorted(stamps) == [version.stamp, one.stamp]
    copy = {"x-amz-copy-source": "photos/k", "x-amz-metadata-directive": "REPLACE"}
    answer = await house.ask("PUT", "/photos/k", headers={**copy, "If-None-Match": "*"})
    assert answer.status == 412
    assert len(refusals(house)) == 2


def refusals(house: House) -> list[Refusal]:
    found = [decode_ident(one.ident) for one in records(house).values()]
    return [one for one in found if isinstance(one, Refusal)]
