"""Object lock through the S3 interface: retention, legal hold, and what the bucket gives to all."""

import asyncio
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

import pytest
from gateway_kit import House
from test_s3_versions import refusal

DENIED = (403, "AccessDenied")
LONG = datetime(2140, 1, 1, tzinfo=UTC)
K: dict[str, Any] = {"Bucket": "photos", "Key": "k"}


def soon(**more: float) -> datetime:
    now = datetime.now(UTC) + timedelta(**more)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


async def locked(house: House, work: Callable[[Any], None]) -> None:
    """Run `work` with a client, in a bucket with object lock."""
    client = house.boto()

    def run() -> None:
        client.create_bucket(
            Bucket="photos", ObjectLockEnabledForBucket=True,
            CreateBucketConfiguration={"LocationConstraint": "paris"},
        )  # fmt: skip
        work(client)

    await asyncio.to_thread(run)


def retention(mode: str, until: datetime) -> dict[str, Any]:
    return {"Mode": mode, "RetainUntilDate": until}


async def test_what_is_retained_is_deleted_by_bypass_only(house: House) -> None:
    def work(client: Any) -> None:
        version = client.put_object(**K, Body=b"kept")["VersionId"]
        client.put_object_retention(**K, Retention=retention("GOVERNANCE", LONG))
        found = client.get_object_retention(**K, VersionId=version)
        assert found["Retention"] == retention("GOVERNANCE", LONG)
        assert refusal(client.delete_object, **K, VersionId=version)[:2] == DENIED
        marker = client.delete_object(**K)["VersionId"]
        assert refusal(client.delete_object, **K, VersionId=version)[:2] == DENIED
        client.delete_object(**K, VersionId=marker)
        assert client.get_object(**K)["Body"].read() == b"kept"
        client.delete_object(**K, VersionId=version, BypassGovernanceRetention=True)
        assert refusal(client.get_object, **K)[1] == "NoSuchKey"

    await locked(house, work)


async def test_compliance_is_bypassed_by_nobody_and_ends_by_itself(house: House) -> None:
    def work(client: Any) -> None:
        until = soon(seconds=1.5)
        version = client.put_object(
            **K, Body=b"x", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=until
        )["VersionId"]
        head = client.head_object(**K)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert abs(head["ObjectLockRetainUntilDate"] - until) < timedelta(seconds=1)
        asked = {**K, "VersionId": version, "BypassGovernanceRetention": True}
        assert refusal(client.delete_object, **asked)[:2] == DENIED
        for wanted in (retention("GOVERNANCE", LONG), retention("COMPLIANCE", soon(seconds=0.5))):
            asked = {**K, "Retention": wanted, "BypassGovernanceRetention": True}
            assert refusal(client.put_object_retention, **asked)[:2] == DENIED

    await locked(house, work)
    await asyncio.sleep(1.6)
    client = house.boto()

    def later() -> None:
        version = client.head_object(**K)["VersionId"]
        client.delete_object(**K, VersionId=version)

    await asyncio.to_thread(later)


async def test_a_retention_is_made_longer_freely_and_shorter_by_bypass(house: House) -> None:
    def work(client: Any) -> None:
        client.put_object(**K, Body=b"x")
        put = client.put_object_retention
        put(**K, Retention=retention("GOVERNANCE", LONG))
        put(**K, Retention=retention("GOVERNANCE", LONG + timedelta(days=1)))
        for wanted in (retention("GOVERNANCE", LONG), retention("COMPLIANCE", LONG), {}):
            assert refusal(put, **K, Retention=wanted)[:2] == DENIED
        put(**K, Retention=retention("GOVERNANCE", LONG), BypassGovernanceRetention=True)
        assert client.get_object_retention(**K)["Retention"]["RetainUntilDate"] == LONG
        put(**K, Retention={}, BypassGovernanceRetention=True)
        code = refusal(client.get_object_retention, **K)[1]
        assert code == "NoSuchObjectLockConfiguration"

    await locked(house, work)


async def test_a_legal_hold_holds_until_it_is_off(house: House) -> None:
    def work(client: Any) -> None:
        code = "NoSuchObjectLockConfiguration"
        version = client.put_object(**K, Body=b"x")["VersionId"]
        assert refusal(client.get_object_legal_hold, **K)[:2] == (404, code)
        client.put_object_legal_hold(**K, LegalHold={"Status": "ON"})
        assert client.get_object_legal_hold(**K)["LegalHold"] == {"Status": "ON"}
        assert client.head_object(**K)["ObjectLockLegalHoldStatus"] == "ON"
        asked = {**K, "VersionId": version, "BypassGovernanceRetention": True}
        assert refusal(client.delete_object, **asked)[:2] == DENIED
        client.put_object_legal_hold(**K, LegalHold={"Status": "OFF"})
        client.delete_object(**K, VersionId=version)

    await locked(house, work)


async def test_of_many_only_those_that_are_not_locked_are_deleted(house: House) -> None:
    def work(client: Any) -> None:
        lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": LONG}
        put = client.put_object
        kept = put(Bucket="photos", Key="kept", Body=b"x", **lock)["VersionId"]
        free = put(Bucket="photos", Key="free", Body=b"x")["VersionId"]
        named = [{"Key": "kept", "VersionId": kept}, {"Key": "free", "VersionId": free}]
        asked = {"Bucket": "photos", "Delete": {"Objects": named}}
        answer = client.delete_objects(**asked)
        assert [one["Key"] for one in answer["Deleted"]] == ["free"]
        (error,) = answer["Errors"]
        assert (error["Key"], error["VersionId"], error["Code"]) == ("kept", kept, "AccessDenied")
        answer = client.delete_objects(**asked, BypassGovernanceRetention=True)
        assert len(answer["Deleted"]) == 2

    await locked(house, work)


async def test_the_bucket_gives_its_retention_to_all_that_ask_for_none(house: House) -> None:
    def work(client: Any) -> None:
        rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 2}}
        client.put_object_lock_configuration(
            Bucket="photos",
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )
        client.put_object(**K, Body=b"x")
        client.copy_object(Bucket="photos", Key="copy", CopySource="photos/k")
        upload = client.create_multipart_upload(Bucket="photos", Key="parts")["UploadId"]
        asked = {"Bucket": "photos", "Key": "parts", "UploadId": upload}
        part = client.upload_part(**asked, PartNumber=1, Body=b"x")
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        for key in ("k", "copy", "parts"):
            head = client.head_object(Bucket="photos", Key=key)
            assert head["ObjectLockMode"] == "GOVERNANCE"
            left = head["ObjectLockRetainUntilDate"] - datetime.now(UTC)
            assert timedelta(days=1.99) < left < timedelta(days=2.01)
        own = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": soon(seconds=60)}
        client.put_object(**K, Body=b"x", **own)
        assert client.head_object(**K)["ObjectLockMode"] == "COMPLIANCE"

    await locked(house, work)


async def test_uploads_and_copies_are_born_locked(house: House) -> None:
    def work(client: Any) -> None:
        lock = {
            "ObjectLockMode": "GOVERNANCE",
            "ObjectLockRetainUntilDate": LONG,
            "ObjectLockLegalHoldStatus": "ON",
        }
        client.put_object(**K, Body=b"x")
        client.copy_object(Bucket="photos", Key="copy", CopySource="photos/k", **lock)
        upload = client.create_multipart_upload(Bucket="photos", Key="parts", **lock)["UploadId"]
        asked = {"Bucket": "photos", "Key": "parts", "UploadId": upload}
        part = client.upload_part(**asked, PartNumber=1, Body=b"x")
        parts = [{"PartNumber": 1, "ETag": part["ETag"]}]
        client.complete_multipart_upload(**asked, MultipartUpload={"Parts": parts})
        for key in ("copy", "parts"):
            head = client.get_object(Bucket="photos", Key=key)
            assert {name: head[name] for name in lock} == lock
        client.copy_object(Bucket="photos", Key="plain", CopySource="photos/copy")
        assert "ObjectLockMode" not in client.head_object(Bucket="photos", Key="plain")

    await locked(house, work)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"mode": "GOVERNANCE"}, "InvalidArgument"),
        ({"retain-until-date": "2140-01-01T00:00:00Z"}, "InvalidArgument"),
        ({"mode": "governance", "retain-until-date": "2140-01-01T00:00:00Z"}, "InvalidArgument"),
        ({"mode": "GOVERNANCE", "retain-until-date": "tomorrow"}, "InvalidArgument"),
        ({"mode": "GOVERNANCE", "retain-until-date": "2020-01-01T00:00:00Z"}, "InvalidArgument"),
        ({"mode": "GOVERNANCE", "retain-until-date": "9" * 5000}, "InvalidArgument"),
        ({"mode": "GOVERNANCE", "retain-until-date": "0001-01-01T00:00:00Z"}, "InvalidArgument"),
        ({"legal-hold": "on"}, "InvalidArgument"),
    ],
)
async def test_a_lock_that_is_none_is_refused(
    house: House, headers: dict[str, str], code: str
) -> None:
    await locked(house, lambda _: None)
    sent = {f"x-amz-object-lock-{name}": value for name, value in headers.items()}
    answer = await house.ask("PUT", "/photos/k", b"x", sent)
    assert (answer.status, answer.code) == (400, code)
    assert await house.keys() == []


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ("<Mode>GOVERNANCE</Mode>", "MalformedXML"),
        ("<RetainUntilDate>2140-01-01T00:00:00Z</RetainUntilDate>", "MalformedXML"),
        ("<Mode>x</Mode><RetainUntilDate>2140-01-01T00:00:00Z</RetainUntilDate>", "MalformedXML"),
        ("<Mode>GOVERNANCE</Mode><RetainUntilDate>x</RetainUntilDate>", "MalformedXML"),
        (
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>2020-01-01T00:00:00Z</RetainUntilDate>",
            "InvalidArgument",
        ),
        (
            "<Mode>GOVERNANCE</Mode><RetainUntilDate>0001-01-01T00:00:00Z</RetainUntilDate>",
            "InvalidArgument",
        ),
    ],
)
async def test_a_retention_that_is_none_is_refused(house: House, wanted: str, code: str) -> None:
    await locked(house, lambda client: client.put_object(**K, Body=b"x"))
    body = f"<Retention>{wanted}</Retention>".encode()
    headers = {"x-amz-checksum-algorithm": "CRC32", **crc32_of(body)}
    answer = await house.ask("PUT", "/photos/k?retention", body, headers)
    assert (answer.status, answer.code) == (400, code)


def crc32_of(body: bytes) -> dict[str, str]:
    return {"x-amz-checksum-crc32": b64encode(crc32(body).to_bytes(4, "big")).decode()}


async def test_without_object_lock_nothing_can_be_locked(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        client.put_object(**K, Body=b"x")
        wanted = {"Retention": retention("GOVERNANCE", LONG)}
        missing = (400, "InvalidRequest")
        assert refusal(client.put_object_retention, **K, **wanted)[:2] == missing
        assert refusal(client.get_object_retention, **K)[:2] == missing
        hold = {"LegalHold": {"Status": "ON"}}
        assert refusal(client.put_object_legal_hold, **K, **hold)[:2] == missing
        assert refusal(client.get_object_legal_hold, **K)[:2] == missing
        asked = {**K, "Body": b"x", "ObjectLockLegalHoldStatus": "ON"}
        assert refusal(client.put_object, **asked)[:2] == missing

    await asyncio.to_thread(run)


async def test_a_version_that_is_not_here_is_not_deleted_unheard(house: House) -> None:
    """It may have been locked where it was written."""

    def work(client: Any) -> None:
        version = client.put_object(**K, Body=b"x")["VersionId"]
        never = "f" * 32
        assert refusal(client.delete_object, **K, VersionId=never)[:2] == (404, "NoSuchVersion")
        client.delete_object(**K, VersionId=version)
        client.delete_object(**K, VersionId=version)

    await locked(house, work)
