"""Versions through the S3 interface: ids, delete markers, listings, deletions."""

import asyncio
import hashlib
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House, read_answer, request_bytes, sign


async def versioned(house: House, state: str = "Enabled", name: str = "photos") -> str:
    if house.names.directory.bucket(name) is None:
        await house.bucket(name)
    bucket = house.names.directory.bucket(name)
    assert bucket is not None
    await house.names.set_bucket_registers(bucket.id, {"versioning": state})
    return name


def refusal(call: Any, **asked: Any) -> tuple[int, str, dict[str, str]]:
    with pytest.raises(ClientError) as refused:
        call(**asked)
    answer = refused.value.response
    about = answer["ResponseMetadata"]
    return about["HTTPStatusCode"], answer["Error"]["Code"], about["HTTPHeaders"]


def listed(client: Any, **asked: Any) -> list[tuple[str, str, bool, bool]]:
    """(key, version id, latest, marker) in the listing's order of keys and times."""
    found = client.list_object_versions(Bucket="photos", **asked)
    rows = [(one, False) for one in found.get("Versions", [])]
    rows += [(one, True) for one in found.get("DeleteMarkers", [])]
    rows.sort(key=lambda row: row[0]["LastModified"], reverse=True)
    rows.sort(key=lambda row: row[0]["Key"])
    return [(one["Key"], one["VersionId"], one["IsLatest"], gone) for one, gone in rows]


async def test_each_write_is_a_version_and_each_can_be_read(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        ids = []
        for number in range(3):
            body = b"body %d" % number
            ids.append(client.put_object(Bucket="photos", Key="k", Body=body)["VersionId"])
        assert len(set(ids)) == 3
        for number, version_id in enumerate(ids):
            got = client.get_object(Bucket="photos", Key="k", VersionId=version_id)
            assert (got["Body"].read(), got["VersionId"]) == (b"body %d" % number, version_id)
            head = client.head_object(Bucket="photos", Key="k", VersionId=version_id)
            assert (head["VersionId"], head["ContentLength"]) == (version_id, 6)
        got = client.get_object(Bucket="photos", Key="k")
        assert (got["Body"].read(), got["VersionId"]) == (b"body 2", ids[2])
        client.delete_object(Bucket="photos", Key="k", VersionId=ids[2])
        assert client.get_object(Bucket="photos", Key="k")["VersionId"] == ids[1]

    await asyncio.to_thread(run)


async def test_a_delete_marker_hides_the_object_and_can_be_taken_away(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        version_id = client.put_object(Bucket="photos", Key="k", Body=b"body")["VersionId"]
        gone = client.delete_object(Bucket="photos", Key="k")
        marker = gone["VersionId"]
        assert gone["DeleteMarker"]
        status, code, headers = refusal(client.get_object, Bucket="photos", Key="k")
        assert (status, code) == (404, "NoSuchKey")
        assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
        asked = {"Bucket": "photos", "Key": "k", "VersionId": marker}
        for call in (client.get_object, client.head_object):
            status, code, headers = refusal(call, **asked)
            assert status == 405
            assert headers["x-amz-delete-marker"] == "true"
            assert headers["allow"] == "DELETE"
            assert "last-modified" in headers
        assert client.get_object(Bucket="photos", Key="k", VersionId=version_id)
        assert "Contents" not in client.list_objects_v2(Bucket="photos")
        taken = client.delete_object(**asked)
        assert taken["DeleteMarker"]
        assert taken["VersionId"] == marker
        assert client.get_object(Bucket="photos", Key="k")["VersionId"] == version_id
        status, code, headers = refusal(client.get_object, Bucket="photos", Key="absent")
        assert headers["x-amz-delete-marker"] == "false"

    await asyncio.to_thread(run)


async def test_suspended_the_null_version_is_written_again(house: House) -> None:
    await house.bucket()
    client = house.boto()
    first = await asyncio.to_thread(client.put_object, Bucket="photos", Key="k", Body=b"null 1")
    assert "VersionId" not in first
    await versioned(house)
    version = await asyncio.to_thread(client.put_object, Bucket="photos", Key="k", Body=b"id")
    version_id = version["VersionId"]
    await versioned(house, "Suspended")

    def run() -> None:
        assert "VersionId" not in client.put_object(Bucket="photos", Key="k", Body=b"null 2")
        got = client.get_object(Bucket="photos", Key="k")
        assert (got["Body"].read(), got["VersionId"]) == (b"null 2", "null")
        assert listed(client) == [("k", "null", True, False), ("k", version_id, False, False)]
        gone = client.delete_object(Bucket="photos", Key="k")
        assert (gone["DeleteMarker"], gone["VersionId"]) == (True, "null")
        assert listed(client) == [("k", "null", True, True), ("k", version_id, False, False)]
        taken = client.delete_object(Bucket="photos", Key="k", VersionId="null")
        assert (taken["DeleteMarker"], taken["VersionId"]) == (True, "null")
        assert client.get_object(Bucket="photos", Key="k")["VersionId"] == version_id

    await asyncio.to_thread(run)


async def test_a_bucket_is_deleted_only_when_no_version_and_no_marker_is_left(
    house: House,
) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        client.put_object(Bucket="photos", Key="k", Body=b"body")
        client.delete_object(Bucket="photos", Key="k")
        for _ in range(2):
            assert refusal(client.delete_bucket, Bucket="photos")[1] == "BucketNotEmpty"
            key, version_id, _, _ = listed(client)[-1]
            client.delete_object(Bucket="photos", Key=key, VersionId=version_id)
        client.delete_bucket(Bucket="photos")

    await asyncio.to_thread(run)


async def test_many_are_deleted_at_once_each_with_its_own_outcome(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        put = [client.put_object(Bucket="photos", Key=key, Body=b"x") for key in "abc"]
        ids = [one["VersionId"] for one in put]
        marker = client.delete_object(Bucket="photos", Key="c")["VersionId"]
        asked: list[dict[str, Any]] = [
            {"Key": "a"},
            {"Key": "b", "VersionId": ids[1]},
            {"Key": "c", "VersionId": marker},
            {"Key": "c", "VersionId": "nonsense"},
            {"Key": "a", "ETag": "wrong"},
            {"Key": "c", "VersionId": ids[2], "Size": 7},
            {"Key": "absent", "ETag": "wrong"},
        ]
        answer = client.delete_objects(Bucket="photos", Delete={"Objects": asked})
        marked, version, unmarked, absent = answer["Deleted"]
        assert (marked["Key"], marked["DeleteMarker"]) == ("a", True)
        assert "VersionId" not in marked
        assert version == {"Key": "b", "VersionId": ids[1]}
        assert unmarked == {
            "Key": "c", "VersionId": marker, "DeleteMarker": True, "DeleteMarkerVersionId": marker,
        }  # fmt: skip
        assert absent == {"Key": "absent"}
        errors = [(one["Key"], one["Code"]) for one in answer["Errors"]]
        assert errors == [
            ("c", "NoSuchVersion"), ("a", "PreconditionFailed"), ("c", "PreconditionFailed"),
        ]  # fmt: skip
        assert listed(client) == [
            ("a", marked["DeleteMarkerVersionId"], True, True),
            ("a", ids[0], False, False),
            ("c", ids[2], True, False),
        ]
        quiet = {"Objects": [{"Key": "c", "VersionId": ids[2]}, *asked[3:5]], "Quiet": True}
        answer = client.delete_objects(Bucket="photos", Delete=quiet)
        assert "Deleted" not in answer
        assert len(answer["Errors"]) == 2

    await asyncio.to_thread(run)


async def test_a_listing_goes_on_where_the_page_before_ended(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        for key in ("a", "b/1", "b/2", "c &<"):
            for _ in range(3):
                client.put_object(Bucket="photos", Key=key, Body=b"x")
        client.delete_object(Bucket="photos", Key="a")
        whole = listed(client)
        assert len(whole) == 13
        for size in (1, 2, 5):
            pages = client.get_paginator("list_object_versions").paginate(
                Bucket="photos", PaginationConfig={"PageSize": size}
            )
            found = []
            for page in pages:
                rows = page.get("Versions", []) + page.get("DeleteMarkers", [])
                assert len(rows) <= size
                found += [(one["Key"], one["VersionId"]) for one in rows]
            assert sorted(found) == sorted(row[:2] for row in whole)
        page = client.list_object_versions(Bucket="photos", Delimiter="/", Prefix="")
        assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["b/"]
        assert {one["Key"] for one in page["Versions"]} == {"a", "c &<"}
        assert page["Versions"][0]["Owner"]["ID"] == "a" * 64

    await asyncio.to_thread(run)


async def test_a_marker_without_a_key_or_that_is_none_is_refused(house: House) -> None:
    await versioned(house)
    for query in ("version-id-marker=null", "key-marker=a&version-id-marker=x"):
        answer = await house.ask("GET", f"/photos?versions&{query}")
        assert (answer.status, answer.code) == (400, "InvalidArgument")
    empty = await house.ask("GET", "/photos?versions&max-keys=0")
    assert empty.texts("IsTruncated") == ["false"]


async def test_copies_and_uploads_are_versions_and_copy_versions(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        first = client.put_object(Bucket="photos", Key="k", Body=b"first")["VersionId"]
        client.put_object(Bucket="photos", Key="k", Body=b"second")
        source = {"Bucket": "photos", "Key": "k", "VersionId": first}
        copied = client.copy_object(Bucket="photos", Key="copy", CopySource=source)
        assert copied["CopySourceVersionId"] == first
        got = client.get_object(Bucket="photos", Key="copy", VersionId=copied["VersionId"])
        assert got["Body"].read() == b"first"
        upload = client.create_multipart_upload(Bucket="photos", Key="k")["UploadId"]
        asked = {"Bucket": "photos", "Key": "k", "UploadId": upload}
        part = client.upload_part_copy(**asked, PartNumber=1, CopySource=source)
        assert part["CopySourceVersionId"] == first
        parts = [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]
        done = client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        again = client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        assert done["VersionId"] == again["VersionId"]
        got = client.get_object(Bucket="photos", Key="k")
        assert (got["Body"].read(), got["VersionId"]) == (b"first", done["VersionId"])
        marker = client.delete_object(Bucket="photos", Key="k")["VersionId"]
        for version_id, code in ((marker, "InvalidRequest"), (None, "NoSuchKey")):
            gone = {"Bucket": "photos", "Key": "k"}
            if version_id:
                gone["VersionId"] = version_id
            asked = {"Bucket": "photos", "Key": "copy", "CopySource": gone}
            assert refusal(client.copy_object, **asked)[1] == code

    await asyncio.to_thread(run)


async def test_a_body_that_was_on_its_way_when_versioning_began_is_a_version(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"before")
    head = sign("PUT", "/photos/k", {"Host": house.host}, hashlib.sha256(b"slow").hexdigest())
    sent = request_bytes("PUT", "/photos/k", {**head, "Content-Length": "4"}, b"sl")
    reader, writer = await house.connect()
    writer.write(sent)
    await writer.drain()
    await asyncio.sleep(0.1)
    await versioned(house)
    writer.write(b"ow")
    answer = await read_answer(reader, "PUT")
    writer.close()
    assert answer.status == 200
    assert "x-amz-version-id" in answer.headers
    old = await house.ask("GET", "/photos/k?versionId=null")
    assert old.body == b"before"
