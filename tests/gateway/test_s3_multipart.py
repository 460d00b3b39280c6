"""Multipart uploads: what the parts become, what is refused, listings, repeated Complete."""

import asyncio
import hashlib
import io
import os
from base64 import b64encode
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from gateway_kit import House

MIB = 1 << 20
BODY = os.urandom(11 * MIB)
PARTS = [BODY[: 5 * MIB], BODY[5 * MIB : 10 * MIB], BODY[10 * MIB :]]
CHECKSUM_KEYS = ("ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA256")


def complete_xml(parts: list[tuple[int, str]]) -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


async def begin(house: House, **headers: str) -> str:
    if house.names.directory.bucket("photos") is None:
        await house.bucket()
    answer = await house.ask("POST", "/photos/k?uploads", headers=headers)
    assert answer.status == 200
    return answer.texts("UploadId")[0]


async def upload(house: House, upload_id: str, number: int, body: bytes) -> str:
    target = f"/photos/k?partNumber={number}&uploadId={upload_id}"
    answer = await house.ask("PUT", target, body)
    assert answer.status == 200
    return answer.headers["etag"].strip('"')


async def complete(house: House, upload_id: str, parts: list[tuple[int, str]]) -> Any:
    return await house.ask("POST", f"/photos/k?uploadId={upload_id}", complete_xml(parts))


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "FULL_OBJECT"),
        ("CRC32", "COMPOSITE"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA256", "COMPOSITE"),
    ],
)
async def test_checksums_of_parts_and_whole(house: House, algorithm: str, kind: str) -> None:
    await house.bucket()
    client, name = house.boto(), f"Checksum{algorithm}"

    def run() -> None:
        begun = client.create_multipart_upload(
            Bucket="photos", Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind,
            Metadata={"a": "b"},
        )  # fmt: skip
        about = {"Bucket": "photos", "Key": "k", "UploadId": begun["UploadId"]}
        named = []
        for number, body in enumerate(PARTS, 1):
            put = client.upload_part(
                **about, PartNumber=number, Body=body, ChecksumAlgorithm=algorithm
            )
            named.append({"PartNumber": number, "ETag": put["ETag"], name: put[name]})
        listed = client.list_parts(**about)["Parts"]
        assert [
            {key: part[key] for key in ("PartNumber", "ETag", name)} for part in listed
        ] == named
        done = client.complete_multipart_upload(**about, MultipartUpload={"Parts": named})
        assert done["ChecksumType"] == kind
        if kind == "FULL_OBJECT":
            whole = client.put_object(
                Bucket="photos", Key="whole", Body=BODY, ChecksumAlgorithm=algorithm
            )
            assert done[name] == whole[name]
        else:
            assert done[name].endswith("-3")
        got = client.get_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == BODY
        assert (got[name], got["Metadata"]) == (done[name], {"a": "b"})
        part = client.get_object(Bucket="photos", Key="k", PartNumber=2)
        assert (part["Body"].read(), part["PartsCount"]) == (PARTS[1], 3)

    await asyncio.to_thread(run)


async def test_etag_is_that_of_the_parts(house: House) -> None:
    upload_id = await begin(house)
    named = [
        (number, await upload(house, upload_id, number, body))
        for number, body in ((2, PARTS[0]), (7, PARTS[1]), (10_000, PARTS[2]))
    ]
    done = await complete(house, upload_id, named)
    digest = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in PARTS)).hexdigest()
    assert done.texts("ETag") == [f'"{digest}-3"']
    assert (await house.ask("GET", "/photos/k")).body == BODY
    head = await house.ask("HEAD", "/photos/k?partNumber=3")
    assert (head.status, head.headers["content-length"]) == (206, str(MIB))
    assert (await house.ask("GET", "/photos/k?partNumber=4")).code == "InvalidPartNumber"
    assert (await house.ask("GET", "/photos/k?partNumber=0")).code == "InvalidArgument"


async def test_a_repeated_complete_is_answered_the_same(house: House) -> None:
    upload_id = await begin(house)
    named = [(1, await upload(house, upload_id, 1, b"small"))]
    answers = await asyncio.gather(*(complete(house, upload_id, named) for _ in range(4)))
    again = await complete(house, upload_id, named)
    assert {(answer.status, answer.body) for answer in answers} == {(200, again.body)}
    await house.ask("PUT", "/photos/k", b"newer")
    after = await complete(house, upload_id, named)
    assert (after.status, after.texts("ETag")) == (200, again.texts("ETag"))
    assert (await house.ask("GET", "/photos/k")).body == b"newer"


async def test_a_part_may_be_replaced(house: House) -> None:
    upload_id = await begin(house)
    old = await upload(house, upload_id, 1, b"old")
    new = await upload(house, upload_id, 1, b"new")
    assert (await complete(house, upload_id, [(1, old)])).code == "InvalidPart"
    assert (await complete(house, upload_id, [(1, new)])).status == 200
    assert (await house.ask("GET", "/photos/k")).body == b"new"


async def test_bad_completes_make_no_object(house: House) -> None:
    upload_id = await begin(house)
    one = await upload(house, upload_id, 1, b"too small")
    two = await upload(house, upload_id, 2, b"too small")
    for parts, code in (
        ([], "MalformedXML"),
        ([(2, two), (1, one)], "InvalidPartOrder"),
        ([(1, one), (1, one)], "InvalidPartOrder"),
        ([(1, one), (3, two)], "InvalidPart"),
        ([(1, two[::-1])], "InvalidPart"),
        ([(1, "x")], "InvalidPart"),
        ([(0, one)], "InvalidArgument"),
        ([(10_001, one)], "InvalidArgument"),
        ([(1, one), (2, two)], "EntityTooSmall"),
        ([(number + 1, one) for number in range(10_001)], "MalformedXML"),
    ):
        answer = await complete(house, upload_id, parts)
        assert (answer.status, answer.code) == (400, code)
    for document in (b"<CompleteMultipartUpload>", b"<Other/>", b"x" * ((2 << 20) + 1)):
        answer = await house.ask("POST", f"/photos/k?uploadId={upload_id}", document)
        assert answer.status == 400
    for headers, code in (
        ({"x-amz-mp-object-size": "1"}, "InvalidRequest"),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, "BadDigest"),
        ({"x-amz-checksum-sha256": b64encode(bytes(32)).decode()}, "InvalidRequest"),
        ({"If-Match": "*"}, "NoSuchKey"),
    ):
        target = f"/photos/k?uploadId={upload_id}"
        answer = await house.ask("POST", target, complete_xml([(1, one)]), headers)
        assert answer.code == code
    assert await house.keys() == []
    assert (await complete(house, upload_id, [(1, one)])).status == 200
    assert await house.keys() == ["k"]


async def test_absent_uploads_and_bad_part_numbers(house: House) -> None:
    upload_id = await begin(house)
    await house.bucket("other")
    for target in ("/photos/k?uploadId=none", "/photos/j?uploadId=" + upload_id,
                   "/other/k?uploadId=" + upload_id, "/photos/k?uploadId="):  # fmt: skip
        for method, more in (("PUT", "&partNumber=1"), ("GET", ""), ("DELETE", ""), ("POST", "")):
            body = complete_xml([(1, "x")]) if method == "POST" else b""
            answer = await house.ask(method, target + more, body)
            assert (answer.status, answer.code) == (404, "NoSuchUpload")
    for number in ("0", "10001", "-1", "1e3", "x", "", "%D9%A1", "99999999999999999999"):
        target = f"/photos/k?uploadId={upload_id}&partNumber={number}"
        answer = await house.ask("PUT", target, b"x")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    bob = await house.ask("DELETE", f"/photos/k?uploadId={upload_id}", user="bob")
    assert bob.code == "AccessDenied"
    assert (await house.ask("DELETE", f"/photos/k?uploadId={upload_id}")).status == 204
    assert (await house.ask("DELETE", f"/photos/k?uploadId={upload_id}")).code == "NoSuchUpload"
    assert (await house.ask("GET", "/photos?uploads")).texts("UploadId") == []


async def test_parts_with_another_checksum_than_announced(house: House) -> None:
    await house.bucket()
    upload_id = await begin(house, **{"x-amz-checksum-algorithm": "SHA256"})
    target = f"/photos/k?uploadId={upload_id}&partNumber=1"
    for headers in ({}, {"x-amz-checksum-crc32": "AAAAAA=="}):
        answer = await house.ask("PUT", target, b"x", headers)
        assert answer.code == "InvalidRequest"
    for algorithm, kind in (("SHA1", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE"), ("MD9", "")):
        headers = {"x-amz-checksum-algorithm": algorithm}
        if kind:
            headers["x-amz-checksum-type"] = kind
        answer = await house.ask("POST", "/photos/k?uploads", headers=headers)
        assert answer.code == "InvalidRequest"


async def test_copied_parts(house: House) -> None:
    upload_id = await begin(house)
    await house.ask("PUT", "/photos/source", BODY, payload="UNSIGNED-PAYLOAD")
    named = []
    for number, header in enumerate(
        (f"bytes=0-{6 * MIB - 1}", f"bytes={6 * MIB}-{11 * MIB - 1}"), 1
    ):
        answer = await house.ask(
            "PUT", f"/photos/k?uploadId={upload_id}&partNumber={number}",
            headers={"x-amz-copy-source": "photos/source", "x-amz-copy-source-range": header},
        )  # fmt: skip
        named.append((number, answer.texts("ETag")[0].strip('"')))
    malformed = (400, "InvalidArgument")
    for header, refusal in (
        (f"bytes=0-{11 * MIB}", (416, "InvalidRange")),
        ("bytes=-5", malformed),
        ("bytes=5-", malformed),
        ("bytes=9-3", malformed),
        ("0-1", malformed),
        ("bytes=0-1,3-4", malformed),
    ):
        answer = await house.ask(
            "PUT", f"/photos/k?uploadId={upload_id}&partNumber=3",
            headers={"x-amz-copy-source": "photos/source", "x-amz-copy-source-range": header},
        )  # fmt: skip
        assert (answer.status, answer.code) == refusal
    foreign = await house.ask(
        "PUT", f"/photos/k?uploadId={upload_id}&partNumber=3",
        headers={"x-amz-copy-source": "absent/source"},
    )  # fmt: skip
    assert foreign.code == "NoSuchBucket"
    assert (await complete(house, upload_id, named)).status == 200
    assert (await house.ask("GET", "/photos/k")).body == BODY


async def test_list_parts_in_pages(house: House) -> None:
    upload_id = await begin(house)
    for number in (1, 5, 9):
        await upload(house, upload_id, number, b"x")
    target = f"/photos/k?uploadId={upload_id}&max-parts=2"
    first = await house.ask("GET", target)
    assert (first.texts("PartNumber"), first.texts("IsTruncated")) == (["1", "5"], ["true"])
    rest = await house.ask("GET", f"{target}&part-number-marker=5")
    assert (rest.texts("PartNumber"), rest.texts("IsTruncated")) == (["9"], ["false"])


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_list_uploads_in_pages(house: House, limit: int) -> None:
    await house.bucket()
    client = house.boto()
    keys = ["a", "a", "b/1", "b/2", "c", "d/1"]

    def run() -> None:
        for key in keys:
            client.create_multipart_upload(Bucket="photos", Key=key)
        for delimiter, wanted in (("", keys), ("/", ["a", "a", "c"])):
            found, prefixes, ids = [], [], set()
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket="photos", Delimiter=delimiter, PaginationConfig={"PageSize": limit}
            )
            for page in pages:
                found += [item["Key"] for item in page.get("Uploads", [])]
                ids |= {item["UploadId"] for item in page.get("Uploads", [])}
                prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
            assert (found, len(ids)) == (wanted, len(wanted))
            assert prefixes == (["b/", "d/"] if delimiter else [])

    await asyncio.to_thread(run)


async def test_transfer_manager(house: House) -> None:
    await house.bucket()
    client = house.boto()
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)

    def run() -> None:
        client.upload_fileobj(io.BytesIO(BODY), "photos", "k", Config=config)
        got = io.BytesIO()
        client.download_fileobj("photos", "k", got, Config=config)
        assert got.getvalue() == BODY
        client.copy({"Bucket": "photos", "Key": "k"}, "photos", "copy", Config=config)
        assert client.get_object(Bucket="photos", Key="copy")["Body"].read() == BODY

    await asyncio.to_thread(run)
