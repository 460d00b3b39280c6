"""Lifecycle configurations: what is accepted, what S3 refuses and how, and what is shown again."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House

from gateway.lifecycle.rules import compiled
from gateway.settings import setting_text

RULE: dict[str, Any] = {"ID": "a", "Status": "Enabled", "Filter": {"Prefix": "x/"}}
DAYS: dict[str, Any] = {"Expiration": {"Days": 1}}
TAG = {"Key": "k", "Value": "v"}


def code_of(client: Any, *rules: dict[str, Any]) -> str:
    try:
        client.put_bucket_lifecycle_configuration(
            Bucket="photos", LifecycleConfiguration={"Rules": list(rules)}
        )
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


BAD: list[tuple[dict[str, Any], str]] = [
    (RULE, "InvalidRequest"),
    ({**RULE, **DAYS, "Status": "enabled"}, "MalformedXML"),
    ({**RULE, **DAYS, "ID": "a" * 256}, "InvalidArgument"),
    ({**RULE, **DAYS, "Prefix": "y"}, "MalformedXML"),
    ({"Status": "Enabled", **DAYS}, "MalformedXML"),
    ({**RULE, "Expiration": {}}, "MalformedXML"),
    ({**RULE, "Expiration": {"Days": 0}}, "InvalidArgument"),
    ({**RULE, "Expiration": {"Days": -1}}, "InvalidArgument"),
    ({**RULE, "Expiration": {"Days": 1, "Date": datetime(2030, 1, 1)}}, "MalformedXML"),
    ({**RULE, "Expiration": {"Date": datetime(2030, 1, 1, 1)}}, "InvalidArgument"),
    ({**RULE, "Expiration": {"Days": 1, "ExpiredObjectDeleteMarker": True}}, "MalformedXML"),
    (
        {**RULE, "Filter": {"Tag": TAG}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
        "InvalidRequest",
    ),
    (
        {
            **RULE,
            "Filter": {"Tag": TAG},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
        },
        "InvalidRequest",
    ),
    ({**RULE, "AbortIncompleteMultipartUpload": {}}, "MalformedXML"),
    ({**RULE, "NoncurrentVersionExpiration": {"NoncurrentDays": 0}}, "InvalidArgument"),
    ({**RULE, "NoncurrentVersionExpiration": {"NewerNoncurrentVersions": 1}}, "MalformedXML"),
    (
        {
            **RULE,
            "NoncurrentVersionExpiration": {"NoncurrentDays": 1, "NewerNoncurrentVersions": 101},
        },
        "InvalidArgument",
    ),
    ({**RULE, **DAYS, "Filter": {"Prefix": "x" * 1025}}, "InvalidRequest"),
    ({**RULE, **DAYS, "Filter": {"Tag": {"Key": "a;", "Value": "v"}}}, "InvalidRequest"),
    ({**RULE, **DAYS, "Filter": {"And": {"Tags": [TAG, TAG]}}}, "InvalidRequest"),
    (
        {
            **RULE,
            **DAYS,
            "Filter": {"And": {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 10}},
        },
        "InvalidRequest",
    ),
    ({**RULE, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, "NotImplemented"),
    (
        {
            **RULE,
            "Transitions": [{"Date": datetime(2030, 1, 1, 1), "StorageClass": "GLACIER"}],
        },
        "InvalidArgument",
    ),
]


async def test_what_s3_refuses_is_refused(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        for rule, code in BAD:
            assert code_of(client, rule) == code, rule
        assert code_of(client, {**RULE, **DAYS}, {**RULE, **DAYS}) == "InvalidArgument"
        assert code_of(client) == "MalformedXML"
        many = [{**RULE, **DAYS, "ID": str(n)} for n in range(1001)]
        assert code_of(client, *many) == "MalformedXML"
        assert code_of(client, *many[:1000]) == ""

    await asyncio.to_thread(run)


async def test_what_is_put_is_shown_and_can_be_taken_away(house: House) -> None:
    await house.bucket()
    client = house.boto()
    rules = [
        {**RULE, **DAYS},
        {"ID": "b", "Status": "Disabled", "Prefix": "", "Expiration": {"Days": 2}},
        {
            "ID": "c",
            "Status": "Enabled",
            "Filter": {
                "And": {
                    "Prefix": "p",
                    "Tags": [TAG],
                    "ObjectSizeGreaterThan": 1,
                    "ObjectSizeLessThan": 100,
                }
            },
            "Expiration": {"Date": datetime(2030, 1, 1, tzinfo=UTC)},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 4},
        },
        {
            "ID": "d",
            "Status": "Enabled",
            "Filter": {},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
    ]

    def run() -> None:
        assert code_of(client, *rules) == ""
        got = client.get_bucket_lifecycle_configuration(Bucket="photos")
        assert got["Rules"] == rules
        client.delete_bucket_lifecycle(Bucket="photos")
        client.delete_bucket_lifecycle(Bucket="photos")
        with pytest.raises(ClientError) as refused:
            client.get_bucket_lifecycle_configuration(Bucket="photos")
        assert refused.value.response["Error"]["Code"] == "NoSuchLifecycleConfiguration"
        assert code_of(client, {"Status": "Enabled", "Prefix": "", **DAYS}) == ""
        assert client.get_bucket_lifecycle_configuration(Bucket="photos")["Rules"][0]["ID"]

    await asyncio.to_thread(run)


async def test_only_enabled_rules_are_applied(house: House) -> None:
    await house.bucket()
    client = house.boto()
    off = {**RULE, **DAYS, "ID": "off", "Status": "Disabled"}
    await asyncio.to_thread(code_of, client, {**RULE, **DAYS}, off)
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    assert [rule.id for rule in compiled(setting_text(bucket, "lifecycle"))] == ["a"]


async def test_clients_are_told_when_an_object_expires(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        rule = {**RULE, **DAYS, "ID": "by day"}
        later = {**RULE, "ID": "later", "Expiration": {"Days": 3}}
        tagged = {**RULE, **DAYS, "ID": "t", "Filter": {"Tag": TAG}}
        assert code_of(client, later, rule, tagged) == ""
        put = client.put_object(Bucket="photos", Key="x/a", Body=b"")
        for answer in (
            put,
            client.head_object(Bucket="photos", Key="x/a"),
            client.get_object(Bucket="photos", Key="x/a"),
        ):
            found = re.fullmatch(r'expiry-date="(.+)", rule-id="by%20day"', answer["Expiration"])
            assert found is not None
            at = datetime.strptime(found[1], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
            assert (at.hour, at.minute, at.second) == (0, 0, 0)
            assert timedelta(days=1) <= at - datetime.now(UTC) + timedelta(minutes=1)
            assert at - datetime.now(UTC) <= timedelta(days=2)
        assert "Expiration" not in client.put_object(Bucket="photos", Key="y", Body=b"")
        client.put_object(Bucket="photos", Key="z", Body=b"", Tagging="k=v")
        assert 'rule-id="t"' in client.head_object(Bucket="photos", Key="z")["Expiration"]
        abort = {**RULE, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
        assert code_of(client, abort) == ""
        upload = client.create_multipart_upload(Bucket="photos", Key="x/m")
        assert upload["AbortRuleId"] == "a"
        assert upload["AbortDate"].hour == 0
        assert "AbortDate" not in client.create_multipart_upload(Bucket="photos", Key="y")

    await asyncio.to_thread(run)
