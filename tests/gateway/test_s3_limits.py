"""S3's limits, each at its edge and one past it."""

from typing import Any
from urllib.parse import quote

import pytest
from gateway_kit import House

from dc.names.model import Extent, Kind, Meta, Upload, UploadPart, Version
from gateway.assemble import NamedPart, assemble
from gateway.errors import S3Error
from gateway.limits import KEY_BYTES_MAX

GIB = 1 << 30
MIB = 1 << 20
ETAG = "d" * 32


async def bucket_id(house: House) -> str:
    await house.bucket()
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    return bucket.id


async def record(house: House, bucket: str, key: str, size: int = 0) -> None:
    """An object that only the name server knows of."""
    extents = [Extent(1 << 60, 64, size)] if size else []
    stamp = house.names.clock.now()
    await house.names.put(Version(bucket, key, "", stamp, Kind.OBJECT, size, ETAG, Meta(), extents))


@pytest.mark.parametrize("target", ["/photos/k", "/photos/k?partNumber=1&uploadId={upload}"])
async def test_no_put_and_no_part_is_larger_than_5_gib(house: House, target: str) -> None:
    await house.bucket()
    begun = await house.ask("POST", "/photos/k?uploads")
    (upload,) = begun.texts("UploadId")
    headers = {"Content-Length": str(5 * GIB + 1)}
    answer = await house.ask("PUT", target.format(upload=upload), b"", headers)
    assert (answer.status, answer.code) == (400, "EntityTooLarge")


async def test_no_more_than_5_gib_is_copied_at_once(house: House) -> None:
    bucket = await bucket_id(house)
    await record(house, bucket, "large", 5 * GIB + 1)
    headers = {"x-amz-copy-source": "photos/large"}
    answer = await house.ask("PUT", "/photos/copy", headers=headers)
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    begun = await house.ask("POST", "/photos/copy?uploads")
    (upload,) = begun.texts("UploadId")
    target = f"/photos/copy?partNumber=1&uploadId={upload}"
    answer = await house.ask("PUT", target, headers=headers)
    assert answer.status == 400


def made_of(sizes: list[int]) -> Any:
    """What an upload with parts of these sizes becomes."""
    upload = Upload("u", "b", "k", "o", "s", Meta())
    parts = [
        UploadPart(number, size, ETAG, "s", 0, {}, [Extent(1, 64, size)])
        for number, size in enumerate(sizes, 1)
    ]
    return assemble(upload, [NamedPart(part.number, ETAG, {}) for part in parts], parts)


def refused(sizes: list[int]) -> str:
    with pytest.raises(S3Error) as error:
        made_of(sizes)
    return error.value.code


def test_all_parts_but_the_last_have_5_mib() -> None:
    assert made_of([5 * MIB, 5 * MIB, 1]).size == 10 * MIB + 1
    assert made_of([1]).size == 1
    assert refused([5 * MIB - 1, 5 * MIB]) == "EntityTooSmall"
    assert refused([5 * MIB, 5 * MIB - 1, 5 * MIB]) == "EntityTooSmall"


def test_an_object_has_up_to_10_000_parts_and_5_tib() -> None:
    whole = made_of([5 * MIB] * 10_000)
    assert whole.etag.endswith("-10000")
    full = [5 * GIB] * 1024
    assert made_of(full).size == 5 << 40
    assert refused([*full, 1]) == "EntityTooLarge"


async def test_user_metadata_has_up_to_2_kib(house: House) -> None:
    await house.bucket()
    fits = {"x-amz-meta-a": "b" * 1023, "x-amz-meta-c": "d" * 1023}
    assert (await house.ask("PUT", "/photos/k", b"x", fits)).status == 200
    head = (await house.ask("HEAD", "/photos/k")).headers
    assert {name: head[name] for name in fits} == fits
    answer = await house.ask("PUT", "/photos/k", b"x", {**fits, "x-amz-meta-c": "d" * 1024})
    assert (answer.status, answer.code) == (400, "MetadataTooLarge")


async def test_a_page_has_up_to_1000_entries_whatever_is_asked_for(house: House) -> None:
    bucket = await bucket_id(house)
    for number in range(1001):
        await record(house, bucket, f"{number:04d}")
        upload = Upload(f"u{number}", bucket, f"{number:04d}", "a" * 64,
                        house.names.clock.now(), Meta())  # fmt: skip
        await house.names.create_upload(upload)
    for query, limit in (
        ("", "max-keys"), ("list-type=2&", "max-keys"), ("versions&", "max-keys"),
        ("uploads&", "max-uploads"),
    ):  # fmt: skip
        for more in ("", f"{limit}=1001", f"{limit}=1000000"):
            answer = await house.ask("GET", f"/photos?{query}{more}".rstrip("&?"))
            assert answer.texts("Key") == [f"{number:04d}" for number in range(1000)]
            assert answer.texts("IsTruncated") == ["true"]


@pytest.mark.parametrize("letter", ["k", "\u00fc", "\U0001f600", "/", "."])
async def test_a_key_has_up_to_1024_bytes(house: House, letter: str) -> None:
    await house.bucket()
    key = letter * (KEY_BYTES_MAX // len(letter.encode()))
    for more, status in (("", 200), ("k", 400)):
        answer = await house.ask("PUT", f"/photos/{quote(key + more)}", b"x")
        assert (answer.status, answer.code) == (status, "KeyTooLongError" if more else "")
    assert await house.keys() == [key]
    assert (await house.ask("GET", f"/photos/{quote(key)}")).body == b"x"
