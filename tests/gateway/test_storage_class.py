"""Storage classes are kept and told, and mean nothing more here."""

import asyncio
from typing import Any

from gateway_kit import House
from test_s3_versions import refusal, versioned


async def test_a_class_is_kept_by_puts_copies_and_uploads_and_shown(house: House) -> None:
    await versioned(house)
    client = house.boto()

    def run() -> None:
        slow: dict[str, Any] = {"StorageClass": "GLACIER"}
        client.put_object(Bucket="photos", Key="a", Body=b"x", **slow)
        client.put_object(Bucket="photos", Key="b", Body=b"x", StorageClass="STANDARD")
        client.put_object(
            Bucket="photos", Key="c", Body=b"x", ChecksumAlgorithm="SHA256",
            StorageClass="STANDARD_IA", Metadata={"class": "first"},
        )  # fmt: skip
        client.copy_object(Bucket="photos", Key="d", CopySource="photos/c")
        client.copy_object(Bucket="photos", Key="e", CopySource="photos/b", **slow)
        upload = client.create_multipart_upload(Bucket="photos", Key="f", **slow)["UploadId"]
        asked = {"Bucket": "photos", "Key": "f", "UploadId": upload}
        part = client.upload_part(**asked, PartNumber=1, Body=b"x")
        assert client.list_parts(**asked)["StorageClass"] == "GLACIER"
        (begun,) = client.list_multipart_uploads(Bucket="photos")["Uploads"]
        assert begun["StorageClass"] == "GLACIER"
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        expected = {
            "a": "GLACIER", "b": None, "c": "STANDARD_IA", "d": None, "e": "GLACIER",
            "f": "GLACIER",
        }  # fmt: skip
        for key, kind in expected.items():
            got = client.get_object(Bucket="photos", Key=key)
            assert got["Body"].read() == b"x"
            assert got.get("StorageClass") == kind
            assert client.head_object(Bucket="photos", Key=key).get("StorageClass") == kind
        for page, name in (
            (client.list_objects(Bucket="photos"), "Contents"),
            (client.list_objects_v2(Bucket="photos", Delimiter="/"), "Contents"),
            (client.list_object_versions(Bucket="photos"), "Versions"),
        ):
            shown = {one["Key"]: one["StorageClass"] for one in page[name]}
            assert shown == {key: kind or "STANDARD" for key, kind in expected.items()}
        (row,) = client.list_objects_v2(Bucket="photos", Prefix="c")["Contents"]
        assert row["ChecksumAlgorithm"] == ["SHA256"]

    await asyncio.to_thread(run)


async def test_a_copy_onto_itself_may_change_the_class_alone(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        client.put_object(Bucket="photos", Key="a", Body=b"x", Metadata={"kept": "yes"})
        asked = {"Bucket": "photos", "Key": "a", "CopySource": "photos/a"}
        assert refusal(client.copy_object, **asked)[1] == "InvalidRequest"
        client.copy_object(**asked, StorageClass="ONEZONE_IA")
        head = client.head_object(Bucket="photos", Key="a")
        assert (head["StorageClass"], head["Metadata"]) == ("ONEZONE_IA", {"kept": "yes"})

    await asyncio.to_thread(run)
