"""Checksums of objects and their parts, by boto3, and GetObjectAttributes."""

import asyncio
import hashlib
from base64 import b64decode, b64encode
from typing import Any

import pytest
from awscrt import checksums as crt
from botocore.exceptions import ClientError
from gateway_kit import House

from gateway.checksums import ALGORITHMS, hasher

PARTS = [b"k" * (5 << 20), b"l" * (5 << 20), b"m" * 1000]
LINEAR = ("CRC32", "CRC32C", "CRC64NVME")


def checksum(algorithm: str, data: bytes) -> str:
    made = hasher(algorithm)
    made.update(data)
    return made.digest_b64()


def composite(algorithm: str, parts: list[bytes]) -> str:
    joined = b"".join(b64decode(checksum(algorithm, part)) for part in parts)
    return f"{checksum(algorithm, joined)}-{len(parts)}"


def code(refused: pytest.ExceptionInfo[ClientError]) -> str:
    return refused.value.response["Error"]["Code"]


def upload(client: Any, algorithm: str, **begin: str) -> tuple[str, list[dict[str, Any]]]:
    """An upload with all of its parts."""
    names = {"Bucket": "photos", "Key": "m"}
    made = client.create_multipart_upload(**names, ChecksumAlgorithm=algorithm, **begin)
    parts = []
    for number, part in enumerate(PARTS, 1):
        member = f"Checksum{algorithm}"
        text = checksum(algorithm, part)
        answer = client.upload_part(
            **names,
            UploadId=made["UploadId"],
            PartNumber=number,
            Body=part,
            **{member: text},
        )
        assert answer[member] == text
        parts.append({"PartNumber": number, "ETag": answer["ETag"], member: text})
    return made["UploadId"], parts


def complete(client: Any, upload_id: str, parts: list[dict[str, Any]], **more: Any) -> Any:
    return client.complete_multipart_upload(
        Bucket="photos", Key="m", UploadId=upload_id, MultipartUpload={"Parts": parts}, **more
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_checksum_is_verified_kept_and_told(house: House, algorithm: str):
    await house.bucket()
    client, body = house.boto(), b"some bytes"
    member, text = f"Checksum{algorithm}", checksum(algorithm, body)

    def work() -> None:
        names = {"Bucket": "photos", "Key": "a"}
        put = client.put_object(**names, Body=body, **{member: text})
        assert (put[member], put["ChecksumType"]) == (text, "FULL_OBJECT")
        head = client.head_object(**names, ChecksumMode="ENABLED")
        assert (head[member], head["ChecksumType"]) == (text, "FULL_OBJECT")
        assert member not in client.head_object(**names)
        listed = client.list_objects_v2(Bucket="photos")["Contents"][0]
        assert listed["ChecksumAlgorithm"] == [algorithm]
        found = client.get_object_attributes(**names, ObjectAttributes=["Checksum"])
        assert found["Checksum"] == {member: text, "ChecksumType": "FULL_OBJECT"}
        with pytest.raises(ClientError) as refused:
            client.put_object(**names, Body=b"other bytes", **{member: text})
        assert code(refused) == "BadDigest"
        copy = client.copy_object(
            Bucket="photos", Key="b", CopySource="photos/a", ChecksumAlgorithm=algorithm
        )
        assert copy["CopyObjectResult"][member] == text

    await asyncio.to_thread(work)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_object_of_parts_has_a_checksum_of_each_and_of_all(house: House, algorithm: str):
    await house.bucket()
    client, member = house.boto(), f"Checksum{algorithm}"
    kind = "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"
    whole = composite(algorithm, PARTS)
    if kind == "FULL_OBJECT":
        whole = checksum(algorithm, b"".join(PARTS))

    def work() -> None:
        names = {"Bucket": "photos", "Key": "m"}
        upload_id, parts = upload(client, algorithm)
        listed = client.list_parts(**names, UploadId=upload_id)
        assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
        assert [part[member] for part in listed["Parts"]] == [part[member] for part in parts]
        with pytest.raises(ClientError) as refused:
            complete(client, upload_id, parts, **{member: checksum(algorithm, b"other")})
        assert code(refused) == "BadDigest"
        made = complete(client, upload_id, parts, **{member: whole})
        assert (made[member], made["ChecksumType"]) == (whole, kind)
        head = client.head_object(**names, ChecksumMode="ENABLED")
        assert (head[member], head["ChecksumType"]) == (whole, kind)
        for part in parts:
            got = client.get_object(**names, PartNumber=part["PartNumber"], ChecksumMode="ENABLED")
            assert (got[member], got["ChecksumType"]) == (part[member], kind)
            assert got["Body"].read() == PARTS[part["PartNumber"] - 1]
        # A copy is of one piece, and so is its checksum.
        copy = client.copy_object(Bucket="photos", Key="b", CopySource="photos/m")
        result = copy["CopyObjectResult"]
        assert result[member] == checksum(algorithm, b"".join(PARTS))
        assert result["ChecksumType"] == "FULL_OBJECT"

    await asyncio.to_thread(work)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
async def test_a_crc_of_all_bytes_is_made_of_those_of_the_parts(house: House, algorithm: str):
    await house.bucket()
    client, member = house.boto(), f"Checksum{algorithm}"

    def work() -> None:
        upload_id, parts = upload(client, algorithm, ChecksumType="FULL_OBJECT")
        whole = checksum(algorithm, b"".join(PARTS))
        with pytest.raises(ClientError) as refused:
            complete(client, upload_id, parts, ChecksumType="COMPOSITE")
        assert code(refused) == "BadDigest"
        made = complete(client, upload_id, parts, **{member: whole, "ChecksumType": "FULL_OBJECT"})
        assert (made[member], made["ChecksumType"]) == (whole, "FULL_OBJECT")

    await asyncio.to_thread(work)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_only_what_can_be_computed_may_be_asked_for(house: House, algorithm: str):
    await house.bucket()
    kind = "COMPOSITE" if algorithm == "CRC64NVME" else "FULL_OBJECT"
    headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    answer = await house.ask("POST", "/photos/m?uploads", headers=headers)
    if algorithm in ("CRC32", "CRC32C"):
        assert answer.status == 200
    else:
        assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_a_checksum_of_another_algorithm_is_refused_at_the_end(house: House):
    await house.bucket()
    client = house.boto()

    def work() -> None:
        upload_id, parts = upload(client, "SHA256")
        with pytest.raises(ClientError) as refused:
            complete(client, upload_id, parts, ChecksumSHA1=checksum("SHA1", b""))
        assert code(refused) == "InvalidRequest"
        wrong = [{**part, "ChecksumSHA256": checksum("SHA256", b"other")} for part in parts]
        with pytest.raises(ClientError) as refused:
            complete(client, upload_id, wrong)
        assert code(refused) == "InvalidPart"
        # The size, and the CRC-64 that every object has, can be given of any upload.
        with pytest.raises(ClientError) as refused:
            complete(client, upload_id, parts, MpuObjectSize=1)
        assert code(refused) == "InvalidRequest"
        size = sum(map(len, PARTS))
        crc = checksum("CRC64NVME", b"".join(PARTS))
        complete(client, upload_id, parts, MpuObjectSize=size, ChecksumCRC64NVME=crc)

    await asyncio.to_thread(work)


async def test_two_checksums_and_unknown_ones_are_refused(house: House):
    await house.bucket()
    upload_id = (await house.ask("POST", "/photos/m?uploads")).texts("UploadId")[0]
    body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
    body += b"</CompleteMultipartUpload>"
    await house.ask("PUT", f"/photos/m?uploadId={upload_id}&partNumber=1", b"x")
    two = {"x-amz-checksum-sha1": "a", "x-amz-checksum-sha256": "b"}
    etag = hashlib.md5(b"x").hexdigest().encode()
    answer = await house.ask(
        "POST", f"/photos/m?uploadId={upload_id}", body.replace(b">a<", b">" + etag + b"<"), two
    )
    assert (answer.status, answer.code) == (400, "InvalidRequest")
    for headers in (two, {"x-amz-checksum-crc16": "AAA="}):
        answer = await house.ask("PUT", "/photos/a", b"x", headers)
        assert (answer.status, answer.code) == (400, "InvalidRequest")


# -- GetObjectAttributes -------------------------------------------------------------------------

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


async def test_the_attributes_of_an_object_of_one_piece(house: House):
    await house.bucket()
    await house.ask("PUT", "/photos/a", b"hello")
    client = house.boto()
    found = await asyncio.to_thread(
        client.get_object_attributes, Bucket="photos", Key="a", ObjectAttributes=ALL
    )
    assert found["ETag"] == hashlib.md5(b"hello").hexdigest()
    assert found["ObjectSize"] == 5
    assert found["StorageClass"] == "STANDARD"
    assert "ObjectParts" not in found
    crc = b64encode(crt.crc64nvme(b"hello").to_bytes(8, "big")).decode()
    assert found["Checksum"] == {"ChecksumCRC64NVME": crc, "ChecksumType": "FULL_OBJECT"}
    assert found["LastModified"] is not None
    only = await asyncio.to_thread(
        client.get_object_attributes, Bucket="photos", Key="a", ObjectAttributes=["ObjectSize"]
    )
    assert not {"ETag", "Checksum", "StorageClass"} & only.keys()


async def test_the_parts_of_an_object_come_in_pages(house: House):
    await house.bucket()
    client = house.boto()

    def work() -> None:
        upload_id, parts = upload(client, "SHA256")
        complete(client, upload_id, parts)

        def page(**more: Any) -> Any:
            return client.get_object_attributes(
                Bucket="photos", Key="m", ObjectAttributes=["ObjectParts"], **more
            )["ObjectParts"]

        found = page()
        assert (found["TotalPartsCount"], found["IsTruncated"]) == (3, False)
        assert [part["Size"] for part in found["Parts"]] == [len(part) for part in PARTS]
        assert [part["ChecksumSHA256"] for part in found["Parts"]] == [
            part["ChecksumSHA256"] for part in parts
        ]
        found = page(MaxParts=1, PartNumberMarker=1)
        assert [part["PartNumber"] for part in found["Parts"]] == [2]
        assert found["IsTruncated"] is True
        assert (found["PartNumberMarker"], found["NextPartNumberMarker"]) == (1, 2)
        assert page(MaxParts=5, PartNumberMarker=2)["IsTruncated"] is False
        assert "Parts" not in page(PartNumberMarker=10_000)

    await asyncio.to_thread(work)


async def test_the_attributes_of_a_version(house: House):
    await house.bucket()
    client = house.boto()

    def work() -> None:
        client.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        names = {"Bucket": "photos", "Key": "a"}
        first = client.put_object(**names, Body=b"one", StorageClass="STANDARD_IA")["VersionId"]
        second = client.put_object(**names, Body=b"seven")["VersionId"]

        def attributes(**more: str) -> tuple[Any, ...]:
            found = client.get_object_attributes(**names, ObjectAttributes=ALL, **more)
            return tuple(found[name] for name in ("VersionId", "ObjectSize", "StorageClass"))

        assert attributes() == (second, 5, "STANDARD")
        assert attributes(VersionId=first) == (first, 3, "STANDARD_IA")
        # An older version may be copied onto its own object.
        restored = client.copy_object(**names, CopySource={**names, "VersionId": first})
        assert restored["CopySourceVersionId"] == first
        assert attributes()[1] == 3
        with pytest.raises(ClientError) as refused:
            client.copy_object(**names, CopySource=names)
        assert code(refused) == "InvalidRequest"
        client.delete_object(**names)
        with pytest.raises(ClientError) as refused:
            attributes()
        assert code(refused) == "NoSuchKey"

    await asyncio.to_thread(work)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "InvalidRequest"),
        ({"x-amz-object-attributes": "Colour"}, "InvalidArgument"),
        ({"x-amz-object-attributes": "ETag", "x-amz-max-parts": "-1"}, "InvalidArgument"),
        ({"x-amz-object-attributes": "ETag", "x-amz-part-number-marker": "x"}, "InvalidArgument"),
    ],
)
async def test_attributes_that_there_are_not(house: House, headers: dict[str, str], expected: str):
    await house.bucket()
    await house.ask("PUT", "/photos/a", b"hello")
    answer = await house.ask("GET", "/photos/a?attributes", headers=headers)
    assert (answer.status, answer.code) == (400, expected)
    answer = await house.ask(
        "GET", "/photos/none?attributes", headers={"x-amz-object-attributes": "ETag"}
    )
    assert (answer.status, answer.code) == (404, "NoSuchKey")
