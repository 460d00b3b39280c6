"""Settings that are kept or always off: replication rules, acceleration, who pays."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House
from test_s3_replication_status import two

HERE = "arn:farshore:dc:::dc"
RULE: dict[str, Any] = {"ID": "a", "Status": "Enabled", "Destination": {"Bucket": HERE}}
TAG = {"Key": "k", "Value": "v"}


def code(call: Any, **asked: Any) -> str:
    try:
        call(Bucket="photos", **asked)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@pytest.fixture
async def versioned(house: House) -> House:
    await house.bucket()
    bucket = house.names.directory.bucket("photos")
    assert bucket is not None
    await house.names.set_bucket_registers(bucket.id, {"versioning": "Enabled"})
    return house


async def test_replication_rules_are_kept_and_shown(versioned: House) -> None:
    client = versioned.boto()
    rules = [
        {**RULE, "Priority": 1, "Filter": {"Prefix": "x/"}},
        {
            **RULE,
            "ID": "b",
            "Priority": 2,
            "Filter": {"And": {"Prefix": "y", "Tags": [TAG]}},
            "DeleteMarkerReplication": {"Status": "Enabled"},
        },
        {**RULE, "ID": "c", "Status": "Disabled", "Prefix": ""},
    ]

    def run() -> None:
        asked = {"Role": "any", "Rules": rules}
        assert code(client.get_bucket_replication) == "ReplicationConfigurationNotFoundError"
        assert code(client.put_bucket_replication, ReplicationConfiguration=asked) == ""
        got = client.get_bucket_replication(Bucket="photos")["ReplicationConfiguration"]
        assert got == asked
        client.delete_bucket_replication(Bucket="photos")
        assert code(client.get_bucket_replication) == "ReplicationConfigurationNotFoundError"

    await asyncio.to_thread(run)


BAD = [
    ([{**RULE, "Destination": {"Bucket": "arn:aws:s3:::other"}}], "NotImplemented"),
    ([{**RULE, "Destination": {"Bucket": "arn:farshore:dc:::mars"}}], "InvalidArgument"),
    ([{**RULE, "Destination": {"Bucket": HERE, "StorageClass": "GLACIER"}}], "NotImplemented"),
    ([{**RULE, "ID": "a" * 256}], "InvalidArgument"),
    ([RULE, RULE], "InvalidArgument"),
    ([{**RULE, "Priority": 1}, {**RULE, "ID": "b", "Priority": 1}], "InvalidArgument"),
    ([{**RULE, "Status": "On"}], "MalformedXML"),
    ([{**RULE, "Prefix": "a", "Filter": {"Prefix": "a"}}], "MalformedXML"),
    ([{**RULE, "Filter": {"Prefix": "a", "Tag": TAG}}], "MalformedXML"),
    ([{**RULE, "Prefix": "a" * 1025}], "InvalidRequest"),
    ([{**RULE, "ExistingObjectReplication": {"Status": "Enabled"}}], "NotImplemented"),
    ([{**RULE, "Filter": {}, "DeleteMarkerReplication": {"Status": "Disabled"}}], "NotImplemented"),
    ([], "MalformedXML"),
]


async def test_what_nothing_would_follow_is_refused(versioned: House) -> None:
    client = versioned.boto()

    def run() -> None:
        for rules, wanted in BAD:
            asked = {"Role": "any", "Rules": rules}
            found = code(client.put_bucket_replication, ReplicationConfiguration=asked)
            assert found == wanted, rules
        assert code(client.get_bucket_replication) == "ReplicationConfigurationNotFoundError"

    await asyncio.to_thread(run)


async def test_rules_must_say_that_everything_goes_everywhere(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, _):
        bucket = paris.names.directory.bucket("photos")
        assert bucket is not None
        await paris.names.set_bucket_registers(bucket.id, {"versioning": "Enabled"})
        client = at_paris.boto()
        tokyo_rule = {**RULE, "Destination": {"Bucket": f"arn:farshore:dc:::{tokyo.name}"}}
        some = {**tokyo_rule, "ID": "b", "Priority": 2, "Filter": {"Prefix": "x/"}}
        whole = {**tokyo_rule, "Priority": 1, "Filter": {"Prefix": ""}}

        def run() -> None:
            for rules, wanted in (
                ([some], "NotImplemented"),
                ([{**whole, "Status": "Disabled"}], "NotImplemented"),
                ([{**tokyo_rule, "Prefix": "x"}], "NotImplemented"),
                ([{**whole, "Filter": {"Tag": TAG}}], "NotImplemented"),
                ([some, {**whole, "Status": "Disabled"}], "NotImplemented"),
                ([{**tokyo_rule, "Prefix": ""}], ""),
                ([some, whole], ""),
                ([whole], ""),
            ):
                asked = {"Role": "any", "Rules": rules}
                found = code(client.put_bucket_replication, ReplicationConfiguration=asked)
                assert found == wanted, rules

        await asyncio.to_thread(run)


async def test_replication_needs_versions(house: House) -> None:
    await house.bucket()
    client = house.boto()
    asked = {"Role": "any", "Rules": [RULE]}
    found = await asyncio.to_thread(
        code, client.put_bucket_replication, ReplicationConfiguration=asked
    )
    assert found == "InvalidRequest"


async def test_acceleration_and_payment_can_only_be_off(house: House) -> None:
    await house.bucket()
    client = house.boto()

    def run() -> None:
        put, pay = (
            client.put_bucket_accelerate_configuration,
            client.put_bucket_request_payment,
        )
        shown = client.get_bucket_accelerate_configuration
        assert "Status" not in shown(Bucket="photos")
        assert code(put, AccelerateConfiguration={"Status": "Enabled"}) == "NotImplemented"
        assert code(put, AccelerateConfiguration={}) == "MalformedXML"
        assert "Status" not in shown(Bucket="photos")
        assert code(put, AccelerateConfiguration={"Status": "Suspended"}) == ""
        assert shown(Bucket="photos")["Status"] == "Suspended"
        assert code(pay, RequestPaymentConfiguration={"Payer": "Requester"}) == "NotImplemented"
        assert code(pay, RequestPaymentConfiguration={"Payer": "BucketOwner"}) == ""
        assert client.get_bucket_request_payment(Bucket="photos")["Payer"] == "BucketOwner"

    await asyncio.to_thread(run)
