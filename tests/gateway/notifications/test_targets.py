"""Notification configurations, and the records that changes leave in the outbox."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from form_kit import form, policy, post, signed_v4
from gateway_kit import House, open_house
from hypothesis import given
from hypothesis import strategies as st

from gateway.notifications.targets import EVENTS, Target

ARN = "arn:aws:sns:paris::"


@pytest.fixture
async def telling(tmp_path: Path) -> AsyncIterator[House]:
    async with open_house(tmp_path, notifications=True) as opened:
        yield opened


def target(topic: str, *events: str, name: str = "", **rules: str) -> dict[str, Any]:
    found: dict[str, Any] = {"TopicArn": ARN + topic, "Events": list(events)}
    if name:
        found["Id"] = name
    if rules:
        named = [{"Name": rule, "Value": value} for rule, value in rules.items()]
        found["Filter"] = {"Key": {"FilterRules": named}}
    return found


def put(client: Any, *targets: dict[str, Any], **others: Any) -> str:
    try:
        client.put_bucket_notification_configuration(
            Bucket="photos",
            NotificationConfiguration={"TopicConfigurations": list(targets), **others},
        )
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


async def told(house: House) -> list[tuple[str, dict[str, Any]]]:
    """(topic, record) of all events, which are taken out."""
    page = await house.names.outbox.page()
    if page:
        await house.names.outbox.done(page[-1].id)
    return [(one.event.topic, json.loads(one.event.payload)) for one in page]


async def test_what_cannot_be_told_is_refused(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()
    every = "s3:ObjectCreated:*"

    def run() -> None:
        assert put(client, {**target("t", every), "TopicArn": "arn:aws:sqs:paris::q"}) == (
            "InvalidArgument"
        )
        for topic in ("", "a+b", "a/#", "$SYS", "/a", "a" * 257, "a\nb"):
            assert put(client, target(topic, every)) == "InvalidArgument", topic
        assert put(client, target("t", "s3:ObjectRestore:*")) == "InvalidArgument"
        assert put(client, target("t", "ObjectCreated:Put")) in ("InvalidArgument", "MalformedXML")
        assert put(client, target("t", every, name="n" * 256)) == "InvalidArgument"
        assert put(client, target("t", every, prefix="a" * 1025)) == "InvalidArgument"
        twice = target("t", every, prefix="a")
        twice["Filter"]["Key"]["FilterRules"] *= 2
        assert put(client, twice) == "InvalidArgument"
        same = [target("t", every, name="a", prefix=prefix) for prefix in "ab"]
        assert put(client, *same) == "InvalidArgument"
        assert put(client, target("t", every), target("u", "s3:ObjectCreated:Put")) == (
            "InvalidArgument"
        )
        queue = {"QueueArn": "arn:aws:sqs:paris:1:q", "Events": [every]}
        assert put(client, QueueConfigurations=[queue]) == "NotImplemented"
        function = {"LambdaFunctionArn": "arn:aws:lambda:paris:1:f", "Events": [every]}
        assert put(client, LambdaFunctionConfigurations=[function]) == "NotImplemented"
        assert put(client, EventBridgeConfiguration={}) == "NotImplemented"
        got = client.get_bucket_notification_configuration(Bucket="photos")
        assert "TopicConfigurations" not in got

    await asyncio.to_thread(run)
    assert await told(telling) == []


async def test_without_a_broker_nothing_can_be_told(house: House) -> None:
    await house.bucket()
    client = house.boto()
    assert await asyncio.to_thread(put, client, target("t", "s3:ObjectCreated:*")) == (
        "InvalidArgument"
    )


async def test_what_is_put_is_shown_and_every_topic_gets_a_test_event(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()
    targets = [
        target("t", "s3:ObjectCreated:Put", "s3:ObjectRemoved:*", name="one", prefix="a/"),
        target("t", "s3:ObjectCreated:Put", name="two", prefix="b/", suffix=".jpg"),
        {**target("", "s3:ObjectAcl:Put", name="x"), "TopicArn": "arn:farshore:mqtt:::a/b"},
    ]

    def run() -> None:
        assert put(client, *targets) == ""
        got = client.get_bucket_notification_configuration(Bucket="photos")
        assert got["TopicConfigurations"] == targets

    await asyncio.to_thread(run)
    events = await told(telling)
    assert [topic for topic, _ in events] == ["a/b", "t"]
    assert events[0][1]["Event"] == "s3:TestEvent"
    assert events[0][1]["Bucket"] == "photos"
    assert await asyncio.to_thread(put, client) == ""
    assert await told(telling) == []

    def shown() -> None:
        got = client.get_bucket_notification_configuration(Bucket="photos")
        assert "TopicConfigurations" not in got

    await asyncio.to_thread(shown)


async def test_changes_become_amazons_records(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()

    def run() -> None:
        names = ("ObjectCreated", "ObjectRemoved", "ObjectTagging")
        assert put(client, target("t", *(f"s3:{name}:*" for name in names), name="all")) == ""
        at = {"Bucket": "photos", "Key": "a b/é"}
        client.put_object(**at, Body=b"hello")
        client.copy_object(Bucket="photos", Key="copy", CopySource=at)
        client.put_object_tagging(**at, Tagging={"TagSet": [{"Key": "a", "Value": ""}]})
        client.delete_object_tagging(**at)
        client.delete_object(**at)
        objects = {"Objects": [{"Key": "x"}, {"Key": "y"}]}
        client.delete_objects(Bucket="photos", Delete=objects)
        at["Key"] = "m"
        upload = client.create_multipart_upload(**at)["UploadId"]
        etag = client.upload_part(**at, UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        client.complete_multipart_upload(**at, UploadId=upload, MultipartUpload=parts)

    await asyncio.to_thread(run)
    records = [record["Records"][0] for _, record in (await told(telling))[1:]]
    assert [(one["eventName"], one["s3"]["object"]["key"]) for one in records] == [
        ("ObjectCreated:Put", "a+b/%C3%A9"),
        ("ObjectCreated:Copy", "copy"),
        ("ObjectTagging:Put", "a+b/%C3%A9"),
        ("ObjectTagging:Delete", "a+b/%C3%A9"),
        ("ObjectRemoved:Delete", "a+b/%C3%A9"),
        ("ObjectRemoved:Delete", "x"),
        ("ObjectRemoved:Delete", "y"),
        ("ObjectCreated:CompleteMultipartUpload", "m"),
    ]
    first = records[0]
    assert first["s3"]["object"]["size"] == 5
    assert first["s3"]["object"]["eTag"] == "5d41402abc4b2a76b9719d911017c592"
    assert first["s3"]["configurationId"] == "all"
    assert first["s3"]["bucket"]["name"] == "photos"
    assert first["requestParameters"]["sourceIPAddress"] == "127.0.0.1"
    assert first["userIdentity"]["principalId"] == "a" * 64
    sequencers = [one["s3"]["object"]["sequencer"] for one in records]
    assert sequencers == sorted(sequencers)


async def test_only_what_was_asked_for_is_told(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()

    def run() -> None:
        asked = target("t", "s3:ObjectCreated:Put", prefix="in/", suffix=".jpg")
        assert put(client, asked) == ""
        for key in ("in/a.jpg", "in/a.png", "out/a.jpg"):
            client.put_object(Bucket="photos", Key=key, Body=b"")
        client.delete_object(Bucket="photos", Key="in/a.jpg")
        with pytest.raises(ClientError):
            client.put_object_tagging(Bucket="photos", Key="no", Tagging={"TagSet": []})

    await asyncio.to_thread(run)
    assert [one["Records"][0]["s3"]["object"]["key"] for _, one in (await told(telling))[1:]] == [
        "in/a.jpg"
    ]


async def test_with_versions_deletions_say_what_they_are(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()

    def run() -> tuple[str, str, str]:
        enabled = {"Status": "Enabled"}
        client.put_bucket_versioning(Bucket="photos", VersioningConfiguration=enabled)
        assert put(client, target("t", "s3:ObjectRemoved:*")) == ""
        at = {"Bucket": "photos", "Key": "k"}
        made = client.put_object(**at, Body=b"")["VersionId"]
        marker = client.delete_object(**at)["VersionId"]
        client.delete_object(**at, VersionId=made)
        objects = [{"Key": "k", "VersionId": marker}, {"Key": "k"}]
        deleted = client.delete_objects(Bucket="photos", Delete={"Objects": objects})["Deleted"]
        second = next(one["DeleteMarkerVersionId"] for one in deleted if "VersionId" not in one)
        with pytest.raises(ClientError) as refused:
            client.delete_object(**at, VersionId=second, IfMatch="none")
        assert refused.value.response["Error"]["Code"] == "PreconditionFailed"
        return made, marker, second

    made, marker, second = await asyncio.to_thread(run)
    records = [record["Records"][0] for _, record in (await told(telling))[1:]]
    assert [(one["eventName"], one["s3"]["object"]["versionId"]) for one in records] == [
        ("ObjectRemoved:DeleteMarkerCreated", marker),
        ("ObjectRemoved:Delete", made),
        ("ObjectRemoved:Delete", marker),
        ("ObjectRemoved:DeleteMarkerCreated", second),
    ]


async def test_a_form_is_told_as_a_post(telling: House) -> None:
    await telling.bucket()
    client = telling.boto()
    assert await asyncio.to_thread(put, client, target("t", "s3:ObjectCreated:Post")) == ""
    assert (await post(telling, form(signed_v4({"key": "k"}, policy())))).status == 204
    assert (await telling.ask("PUT", "/photos/k", b"")).status == 200
    records = [record["Records"][0] for _, record in (await told(telling))[1:]]
    assert [one["eventName"] for one in records] == ["ObjectCreated:Post"]


_names = st.sampled_from(("", "a", "ab", "b"))
_targets = st.builds(
    Target,
    st.just("i"),
    st.just("t"),
    st.sampled_from([frozenset(names) for names in EVENTS.values()]),
    _names,
    _names,
)


@given(_targets, _targets, st.text("ab", max_size=5), st.sampled_from(EVENTS["s3:ObjectCreated:*"]))
def test_what_two_targets_want_overlaps(one: Target, other: Target, key: str, event: str) -> None:
    if one.wants(event, key) and other.wants(event, key):
        assert one.overlaps(other)
        assert other.overlaps(one)
