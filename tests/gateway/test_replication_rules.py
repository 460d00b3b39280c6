"""Settings that are kept or always off: replication rules, acceleration, who pays."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House
from replica_kit import eventually
from test_s3_replication_status import HEADER, becomes, two

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
            "Filter": {"And": {"Prefix": "y"}},
            "ExistingObjectReplication": {"Status": "Enabled"},
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
    ([{**RULE, "ExistingObjectReplication": {"Status": "Disabled"}}], "NotImplemented"),
    ([{**RULE, "Filter": {"Tag": TAG}}], "NotImplemented"),
    ([{**RULE, "Filter": {"And": {"Prefix": "y", "Tags": [TAG]}}}], "NotImplemented"),
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


async def test_what_other_datacenters_hold_is_told_and_not_given(tmp_path: Path) -> None:
    async with two(tmp_path) as (paris, tokyo, at_paris, at_tokyo):
        bucket = paris.names.directory.bucket("photos")
        assert bucket is not None
        await paris.names.set_bucket_registers(bucket.id, {"versioning": "Enabled"})
        boto = at_paris.boto()
        rule = {**RULE, "Destination": {"Bucket": "arn:farshore:dc:::tokyo"}, "Priority": 1}
        rules = [{**rule, "Filter": {"Prefix": "in/"}}]

        async def say(rules: list[dict[str, Any]]) -> None:
            asked = {"Role": "any", "Rules": rules}
            await asyncio.to_thread(
                boto.put_bucket_replication, Bucket="photos", ReplicationConfiguration=asked
            )

        await say(rules)
        for key in ("in/k", "out"):
            put = await at_paris.ask("PUT", f"/photos/{key}", b"hello")
            assert put.status == 200
        await eventually(becomes(at_tokyo, "in/k", "REPLICA"))
        await eventually(becomes(at_paris, "in/k", "COMPLETED"))

        async def is_known() -> bool:
            return (await at_tokyo.ask("HEAD", "/photos/out")).status == 200

        await eventually(is_known)
        # Nobody replicates it, so there is nothing to say of its replication.
        for house in (at_paris, at_tokyo):
            head = await house.ask("HEAD", "/photos/out")
            assert head.headers["content-length"] == "5" and HEADER not in head.headers
            assert b"<Key>out</Key>" in (await house.ask("GET", "/photos")).body
        assert (await at_paris.ask("GET", "/photos/out")).body == b"hello"
        for asked in ({}, {"Range": "bytes=0-1"}):
            got = await at_tokyo.ask("GET", "/photos/out", headers=asked)
            assert got.status == 403 and b"<Code>InvalidObjectState</Code>" in got.body
            assert b"the datacenter where it was written" in got.body
        copied = await at_tokyo.ask(
            "PUT", "/photos/copy", headers={"x-amz-copy-source": "/photos/out"}
        )
        assert copied.status == 403 and b"<Code>InvalidObjectState</Code>" in copied.body

        # Who is to hold it now, and has not got it yet, says that it comes.
        await tokyo.replicator._fill.stop()
        await say([{**rule, "Filter": {"Prefix": ""}}])
        got = None

        async def is_to_come() -> bool:
            nonlocal got
            got = await at_tokyo.ask("GET", "/photos/out")
            return got.status == 503

        await eventually(is_to_come)
        assert got is not None and b"<Code>ServiceUnavailable</Code>" in got.body
        assert b"on their way" in got.body
        tokyo.replicator._fill.start()

        async def is_here() -> bool:
            return (await at_tokyo.ask("GET", "/photos/out")).body == b"hello"

        await eventually(is_here)


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
