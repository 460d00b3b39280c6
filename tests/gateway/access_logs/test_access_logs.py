"""Access logs: one line for each request, in S3's format, where the configuration says."""

import asyncio
import hashlib
import json
import re
import shlex
from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House, request_bytes, sign

from dc.names.api import NamesClosed
from dc.names.model import Kind
from gateway.access_logs import delivery

ANN = "a" * 64
FIELDS = 26


def fields(line: str) -> list[str]:
    """A line as readers of these logs take it apart."""
    found = shlex.split(line.replace("[", '"').replace("]", '"'))
    assert len(found) == FIELDS, line
    return found


async def logging_house(house: House, **shape: Any) -> Any:
    await house.bucket("photos")
    await house.bucket("logs")
    client = house.boto()
    await asyncio.to_thread(enable, client, **shape)
    return client


def enable(client: Any, target: str = "logs", prefix: str = "log/", **more: Any) -> None:
    client.put_bucket_logging(
        Bucket="photos",
        BucketLoggingStatus={
            "LoggingEnabled": {"TargetBucket": target, "TargetPrefix": prefix, **more}
        },
    )


async def lines(house: House) -> list[list[str]]:
    """What was written into the target bucket until now."""
    await house.logs.flush()
    found = []
    for key in await house.keys("logs"):
        answer = await house.ask("GET", f"/logs/{key}")
        found += [fields(line) for line in answer.body.decode().splitlines()]
    return found


async def test_every_request_is_a_line(house: House) -> None:
    client = await logging_house(house)

    def run() -> None:
        client.put_object(Bucket="photos", Key="a b", Body=b"hello")
        client.get_object(Bucket="photos", Key="a b")["Body"].read()
        client.get_object(Bucket="photos", Key="a b", Range="bytes=1-2")["Body"].read()
        client.head_object(Bucket="photos", Key="a b")
        client.put_object_tagging(Bucket="photos", Key="a b", Tagging={"TagSet": []})
        client.list_objects_v2(Bucket="photos")
        client.get_bucket_location(Bucket="photos")
        with pytest.raises(ClientError):
            client.get_object(Bucket="photos", Key="none")
        client.copy_object(Bucket="photos", Key="c", CopySource="photos/a b")
        client.delete_object(Bucket="photos", Key="c")
        client.list_buckets()
        client.list_objects_v2(Bucket="logs")

    await asyncio.to_thread(run)
    denied = await house.ask("GET", "/photos", user="bob")
    assert denied.status == 403
    found = (await lines(house))[1:]
    assert [(one[6], one[7], one[9], one[10], one[11], one[12]) for one in found] == [
        ("REST.PUT.OBJECT", "a%20b", "200", "-", "-", "5"),
        ("REST.GET.OBJECT", "a%20b", "200", "-", "5", "5"),
        ("REST.GET.OBJECT", "a%20b", "206", "-", "2", "5"),
        ("REST.HEAD.OBJECT", "a%20b", "200", "-", "-", "5"),
        ("REST.PUT.OBJECT_TAGGING", "a%20b", "200", "-", "-", found[4][12]),
        ("REST.GET.BUCKET", "-", "200", "-", found[5][11], "-"),
        ("REST.GET.LOCATION", "-", "200", "-", found[6][11], "-"),
        ("REST.GET.OBJECT", "none", "404", "NoSuchKey", found[7][11], "-"),
        ("REST.COPY.OBJECT", "c", "200", "-", found[8][11], "0"),
        ("REST.DELETE.OBJECT", "c", "204", "-", "-", "-"),
        ("REST.GET.BUCKET", "-", "403", "AccessDenied", found[10][11], "-"),
    ]
    for one in found:
        assert one[:2] == [ANN, "photos"]
        assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", one[2])
        assert one[3] == "127.0.0.1"
        assert one[4] == ("b" if one[10] == "AccessDenied" else "a") * 64
        assert one[18:20] == ["dc", "SigV4"]
        assert one[21] == "AuthHeader"
    assert found[0][8].startswith("PUT /photos/a%20b")


async def test_no_request_can_write_the_line_of_another(house: House) -> None:
    await logging_house(house)
    nasty = 'x" 200 - \\ "y'
    headers = {"User-Agent": nasty, "Referer": nasty, "Host": house.host}
    target = "/photos/%0Aevil%20%22line%22"
    answer = await house.ask("PUT", target, b"x", headers)
    assert answer.status == 200
    bad = sign("GET", "/photos/k?x", {"Host": house.host}, "UNSIGNED-PAYLOAD", secret="no")
    denied = await house.raw(request_bytes("GET", "/photos/k\"?x=1'2", bad))
    assert denied.status == 403
    found = (await lines(house))[1:]
    assert len(found) == 2
    assert found[0][7] == "%0Aevil%20%22line%22"
    assert found[0][15] == found[0][16] == "x%22 200 - %5C %22y"
    assert found[1][4] == "-"


async def test_keys_of_log_objects(house: House) -> None:
    client = await logging_house(
        house,
        TargetObjectKeyFormat={"PartitionedPrefix": {"PartitionDateSource": "EventTime"}},
    )
    assert len(await lines(house)) == 1
    (key,) = await house.keys("logs")
    pattern = rf"log/{ANN}/paris/photos/\d{{4}}/\d\d/\d\d/\d{{4}}(-\d\d){{5}}-[0-9A-F]{{16}}"
    assert re.fullmatch(pattern, key)
    await asyncio.to_thread(enable, client, prefix="simple")
    await house.logs.flush()
    keys = [key for key in await house.keys("logs") if key.startswith("simple")]
    assert len(keys) == 1
    assert re.fullmatch(r"simple\d{4}(-\d\d){5}-[0-9A-F]{16}", keys[0])


async def test_a_target_with_versions_gets_versions(house: House) -> None:
    await logging_house(house)
    logs = house.names.directory.bucket("logs")
    assert logs is not None
    await house.names.set_bucket_registers(logs.id, {"versioning": "Enabled"})
    await house.logs.flush()
    (one,) = await house.names.sweeper.page(logs.id, ("", ""))
    assert one.kind == Kind.OBJECT
    assert one.vid


async def test_a_place_that_is_gone_gets_nothing(house: House) -> None:
    client = await logging_house(house)
    await house.logs.flush()
    before = await house.keys("logs")
    await house.ask("GET", "/photos")
    await asyncio.to_thread(client.put_bucket_logging, Bucket="photos", BucketLoggingStatus={})
    await house.logs.flush()
    assert await house.keys("logs") == before
    assert house.logs.dropped == 1
    await asyncio.to_thread(enable, client)
    logs = house.names.directory.bucket("logs")
    assert logs is not None
    await house.names.set_bucket_registers(logs.id, {"encryption": "{}"})
    await house.logs.flush()
    assert await house.keys("logs") == before
    assert house.logs.dropped == 2


async def test_memory_is_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await logging_house(house)
    await house.logs.flush()
    monkeypatch.setattr(delivery, "LINES_BYTES_MAX", 2000)
    monkeypatch.setattr(delivery, "OBJECT_BYTES_MAX", 700)
    for _ in range(20):
        await house.ask("GET", "/photos")
    dropped = house.logs.dropped
    assert 0 < dropped < 20
    await house.logs.step()
    assert len(await lines(house)) == 1 + 20 - dropped
    for key in await house.keys("logs"):
        assert len((await house.ask("GET", f"/logs/{key}")).body) <= 700


async def test_configurations(house: House) -> None:
    await house.bucket("photos")
    await house.bucket("logs")
    await house.bucket("other")
    await house.bucket("theirs", "bob")
    client = house.boto()

    def code(target: str = "logs", **more: Any) -> str:
        try:
            enable(client, target, **more)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def run() -> None:
        assert "LoggingEnabled" not in client.get_bucket_logging(Bucket="photos")
        assert code("none") == "InvalidTargetBucketForLogging"
        assert code("photos") == "InvalidArgument"
        assert code("theirs") == "AccessDenied"
        assert code(prefix="p" * 1000) == "InvalidArgument"
        assert code(TargetObjectKeyFormat={}) == "MalformedXML"
        assert (
            code(TargetObjectKeyFormat={"PartitionedPrefix": {"PartitionDateSource": "x"}})
            == "MalformedXML"
        )
        bob = {"Grantee": {"Type": "CanonicalUser", "ID": "b" * 64}, "Permission": "READ"}
        assert code(TargetGrants=[bob]) == "NotImplemented"
        ann = {"Grantee": {"Type": "CanonicalUser", "ID": ANN}, "Permission": "FULL_CONTROL"}
        assert code(TargetGrants=[ann]) == ""
        assert client.get_bucket_logging(Bucket="photos")["LoggingEnabled"] == {
            "TargetBucket": "logs",
            "TargetPrefix": "log/",
            "TargetObjectKeyFormat": {"SimplePrefix": {}},
        }
        client.put_bucket_logging(
            Bucket="other",
            BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": ""}},
        )
        assert code("other") == "InvalidArgument"
        client.put_bucket_logging(Bucket="photos", BucketLoggingStatus={})
        assert "LoggingEnabled" not in client.get_bucket_logging(Bucket="photos")

    await asyncio.to_thread(run)


async def test_policies_decide_where_logs_may_go(house: House) -> None:
    """Of one owner unless it is denied; of another if it is allowed; each time that they go."""
    await house.bucket("photos")
    await house.bucket("logs")
    await house.bucket("theirs", "bob")
    client = house.boto()
    service = {"Service": "logging.s3.amazonaws.com"}
    about = {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::photos"}, "StringEquals": {
        "aws:SourceAccount": ANN}}  # fmt: skip

    async def say(bucket: str, user: str, effect: str, **more: Any) -> None:
        one = {"Effect": effect, "Principal": service, "Action": "s3:PutObject", **more}
        one["Resource"] = f"arn:aws:s3:::{bucket}/log/*"
        body = json.dumps({"Version": "2012-10-17", "Statement": [one]}).encode()
        assert (await house.ask("PUT", f"/{bucket}?policy", body, user=user)).status == 204

    async def code(target: str) -> str:
        try:
            await asyncio.to_thread(enable, client, target)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    await say("theirs", "bob", "Allow", Condition={"StringEquals": {"aws:SourceAccount": "x"}})
    assert await code("theirs") == "AccessDenied"
    await say("theirs", "bob", "Allow", Condition=about)
    assert await code("theirs") == ""
    await say("logs", "ann", "Deny")
    assert await code("logs") == "AccessDenied"
    await say("logs", "ann", "Deny", Condition={"ArnLike": {"aws:SourceArn": "arn:aws:s3:::x"}})
    assert await code("logs") == ""
    await house.ask("GET", "/photos?prefix=first")
    written = await lines(house)
    assert written[-1][8].startswith("GET /photos?prefix=first")
    assert house.logs.dropped == 0
    await say("logs", "ann", "Deny")
    await house.ask("GET", "/photos?prefix=second")
    assert await lines(house) == written
    assert house.logs.dropped == 1


async def test_lines_say_when_a_grant_was_needed(house: House) -> None:
    await logging_house(house)
    headers = {"x-amz-acl": "public-read"}
    await house.ask("PUT", "/photos/open", b"", headers)
    for user in ("ann", "bob", None):
        assert (await house.ask("GET", "/photos/open", user=user)).status == 200
    needed = [line[-1] for line in await lines(house) if line[6] == "REST.GET.OBJECT"]
    assert needed == ["-", "Yes", "Yes"]


async def test_each_of_many_deletions_has_a_line(house: House) -> None:
    await logging_house(house)
    body = (
        b"<Delete><Object><Key>a b</Key></Object><Object><Key>none</Key><VersionId>x</VersionId>"
        b"</Object></Delete>"
    )
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    for user in ("ann", "bob"):
        await house.ask("POST", "/photos?delete", body, {"Content-MD5": md5}, user=user)
    found = [line for line in await lines(house) if "DELETE" in line[6]]
    assert [(one[6], one[7], one[9], one[10], one[17]) for one in found] == [
        ("REST.POST.MULTI_OBJECT_DELETE", "-", "200", "-", "-"),
        ("BATCH.DELETE.OBJECT", "none", "404", "NoSuchVersion", "x"),
        ("BATCH.DELETE.OBJECT", "a%20b", "204", "-", "-"),
        ("REST.POST.MULTI_OBJECT_DELETE", "-", "200", "-", "-"),
        ("BATCH.DELETE.OBJECT", "a%20b", "403", "AccessDenied", "-"),
        ("BATCH.DELETE.OBJECT", "none", "403", "AccessDenied", "x"),
    ]
    assert {one[5] for one in found[:3]} == {found[0][5]}
    assert found[1][18:23] == ["dc", "SigV4", "-", "AuthHeader", house.host]


@pytest.mark.parametrize("ended", [NamesClosed("gone"), asyncio.CancelledError()])
async def test_lines_that_were_being_written_at_the_end_are_kept(
    house: House, monkeypatch: pytest.MonkeyPatch, ended: BaseException
) -> None:
    """The next session of a gateway on another machine writes them, or the flush of a stop."""
    client = await logging_house(house)
    await lines(house)
    await asyncio.to_thread(client.put_object, Bucket="photos", Key="k", Body=b"x")

    async def fail(*_: object) -> None:
        house.logs._add(house.logs._directory.bucket("photos"), 2, "later")  # type: ignore[arg-type]
        raise ended

    monkeypatch.setattr(house.logs, "_put", fail)
    with pytest.raises(type(ended)):
        await house.logs.flush()
    monkeypatch.undo()
    (pending,) = house.logs._pending.values()
    assert [line.text == "later" for line in pending.lines] == [False, True]
    assert house.logs._size == sum(len(line.text) for line in pending.lines)
    assert house.logs.dropped == 0
