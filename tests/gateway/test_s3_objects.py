"""Objects: put, get, head, delete, copy; ranges, conditions, metadata, addressing."""

import asyncio
import hashlib
import os
from base64 import b64encode
from typing import Any

import pytest
from botocore.exceptions import ClientError
from gateway_kit import House
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dc.names.api import NamesFull
from dc.objects.api import TooFewDisks
from gateway.errors import S3Error
from gateway.ranges import parse_range
from gateway.target import bucket_of_host, parse_target

SIZES = [0, 1, 4096, 65_536, 1 << 20, (1 << 20) + 1, 5_000_001]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("algorithm", [None, "CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
async def test_round_trip_with_boto3(house: House, size: int, algorithm: str | None) -> None:
    await house.bucket()
    client, body = house.boto(), os.urandom(size)
    more = {} if algorithm is None else {"ChecksumAlgorithm": algorithm}

    def run() -> None:
        put = client.put_object(Bucket="photos", Key="k", Body=body, **more)
        assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        got = client.get_object(Bucket="photos", Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == body
        assert got["ContentLength"] == size
        assert got["ChecksumType"] == "FULL_OBJECT"
        assert got[f"Checksum{algorithm or 'CRC32'}"] == put[f"Checksum{algorithm or 'CRC32'}"]
        head = client.head_object(Bucket="photos", Key="k")
        assert (head["ContentLength"], head["ETag"]) == (size, put["ETag"])
        assert head["LastModified"] == got["LastModified"]

    await asyncio.to_thread(run)


@pytest.mark.parametrize("size", [100, 3 << 20])
@pytest.mark.parametrize("payload", ["UNSIGNED-PAYLOAD", None])
async def test_plain_bodies(house: House, size: int, payload: str | None) -> None:
    await house.bucket()
    body = os.urandom(size)
    md5 = b64encode(hashlib.md5(body).digest()).decode()
    answer = await house.ask("PUT", "/photos/k", body, {"Content-MD5": md5}, payload=payload)
    assert (answer.status, answer.body) == (200, b"")
    assert (await house.ask("GET", "/photos/k")).body == body


async def test_an_overwritten_object_is_the_new_one_at_once(house: House) -> None:
    await house.bucket()
    for number in range(30):
        body = bytes([number]) * (1 + number * 60_000)
        await house.ask("PUT", "/photos/k", body, payload="UNSIGNED-PAYLOAD")
        assert (await house.ask("GET", "/photos/k")).body == body
    assert (await house.ask("DELETE", "/photos/k")).status == 204
    assert (await house.ask("GET", "/photos/k")).code == "NoSuchKey"
    assert (await house.ask("DELETE", "/photos/k")).status == 204


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(key=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=60))
async def test_every_key_comes_back_as_it_was(house: House, key: str) -> None:
    if house.names.directory.bucket("photos") is None:
        await house.bucket()
    client = house.boto()

    def run() -> None:
        client.put_object(Bucket="photos", Key=key, Body=key.encode())
        assert client.get_object(Bucket="photos", Key=key)["Body"].read() == key.encode()
        listed = client.list_objects_v2(Bucket="photos")["Contents"]
        assert [item["Key"] for item in listed] == [key]
        deleted = client.delete_object(Bucket="photos", Key=key)
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
        assert client.list_objects_v2(Bucket="photos")["KeyCount"] == 0

    # Our own XML of DeleteObjects cannot hold control characters, so single deletes.
    await asyncio.to_thread(run)


@pytest.mark.parametrize(
    "raw",
    ["../../etc/passwd", "..", ".", "a//b", "a/./b/../c", "%2e%2e/%2e%2e/x", "a%2Fb", "a%252Fb",
     "%5c..%5c..%5cx", "a/", "a b+c".replace(" ", "%20"), "%E2%80%AE", "%C3%BC"],
)  # fmt: skip
async def test_odd_keys_are_just_keys(house: House, raw: str) -> None:
    from urllib.parse import unquote

    await house.bucket()
    assert (await house.ask("PUT", f"/photos/{raw}", b"body")).status == 200
    assert await house.keys() == [unquote(raw)]
    assert (await house.ask("GET", f"/photos/{raw}")).body == b"body"
    copied = await house.ask("PUT", "/photos/copy", headers={"x-amz-copy-source": f"/photos/{raw}"})
    assert copied.status == 200
    assert (await house.ask("GET", "/photos/copy")).body == b"body"


@given(size=st.integers(0, 50), text=st.text(max_size=20))
def test_any_range_header_is_a_span_or_refused_or_ignored(size: int, text: str) -> None:
    try:
        span = parse_range(f"bytes={text}", size)
    except S3Error as error:
        assert error.code == "InvalidRange"
        return
    if span is not None:
        assert 0 <= span[0] < span[1] <= size


@given(size=st.integers(1, 50), first=st.integers(0, 60), last=st.integers(0, 60))
def test_ranges_are_those_of_a_slice(size: int, first: int, last: int) -> None:
    body = bytes(range(size))
    for header, wanted in (
        (f"bytes={first}-{last}", body[first : last + 1]),
        (f"bytes={first}-", body[first:]),
        (f"bytes=-{last}", body[max(0, size - last) :] if last else b""),
    ):
        try:
            span = parse_range(header, size)
        except S3Error:
            assert wanted == b""
        else:
            if span is None:
                assert header == f"bytes={first}-{last}" and last < first
            else:
                assert body[span[0] : span[1]] == wanted != b""


RANGES = f"bytes={','.join(['0-0'] * 1000)}"


@pytest.mark.parametrize(
    "header", ["bytes=0-1,3-4", "bytes=5-2", "chars=0-1", "bytes=a-b", "x", RANGES]
)
async def test_ranges_that_are_none_give_the_whole_object(house: House, header: str) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"0123456789")
    answer = await house.ask("GET", "/photos/k", headers={"Range": header})
    assert (answer.status, answer.body) == (200, b"0123456789")


@pytest.mark.parametrize("size", [1000, 3_000_000])
async def test_ranges_of_small_and_large_objects(house: House, size: int) -> None:
    await house.bucket()
    body = os.urandom(size)
    await house.ask("PUT", "/photos/k", body, payload="UNSIGNED-PAYLOAD")
    for first, last in ((0, 0), (0, size - 1), (size // 2, size + 100), (size - 1, size - 1)):
        answer = await house.ask("GET", "/photos/k", headers={"Range": f"bytes={first}-{last}"})
        stop = min(last, size - 1)
        assert (answer.status, answer.body) == (206, body[first : stop + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{stop}/{size}"
    suffix = await house.ask("GET", "/photos/k", headers={"Range": "bytes=-10"})
    assert suffix.body == body[-10:]
    head = await house.ask("HEAD", "/photos/k", headers={"Range": "bytes=1-5"})
    assert (head.status, head.headers["content-length"]) == (206, "5")


async def test_conditional_reads(house: House) -> None:
    await house.bucket()
    put = await house.ask("PUT", "/photos/k", b"body")
    etag = put.headers["etag"]
    modified = (await house.ask("HEAD", "/photos/k")).headers["last-modified"]
    past, future = "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"
    table = [
        ({"If-Match": etag}, 200),
        ({"If-Match": etag.strip('"')}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": f'"x", {etag}'}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": f"W/{etag}"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": modified}, 304),
        ({"If-Modified-Since": past}, 200),
        ({"If-Modified-Since": "nonsense"}, 200),
        ({"If-Unmodified-Since": modified}, 200),
        ({"If-Unmodified-Since": past}, 412),
        ({"If-Match": etag, "If-Unmodified-Since": past}, 200),
        ({"If-None-Match": '"x"', "If-Modified-Since": future}, 200),
        ({"If-None-Match": etag, "If-Modified-Since": past}, 304),
    ]
    for headers, status in table:
        for method in ("GET", "HEAD"):
            answer = await house.ask(method, "/photos/k", headers=headers)
            assert answer.status == status, headers
            if status == 304:
                assert (answer.body, answer.headers["etag"]) == (b"", etag)
                assert "content-length" not in answer.headers


async def test_metadata_comes_back(house: House) -> None:
    await house.bucket()
    sent = {
        "Content-Type": "text/plain; charset=utf-8",
        "Cache-Control": "max-age=3",
        "Content-Disposition": 'attachment; filename="x"',
        "Content-Language": "fr",
        "Content-Encoding": "aws-chunked, gzip",
        "Expires": "Fri, 01 Jan 2100 00:00:00 GMT",
        "x-amz-meta-Colour": "blue",
        "x-amz-meta-name": "J\u00fcrgen",
    }
    await house.ask("PUT", "/photos/k", b"body", sent)
    got = (await house.ask("GET", "/photos/k")).headers
    for name, value in sent.items():
        assert got[name.lower()] == ("gzip" if name == "Content-Encoding" else value)
    await house.ask("PUT", "/photos/plain", b"body")
    assert (await house.ask("HEAD", "/photos/plain")).headers["content-type"] == (
        "binary/octet-stream"
    )


async def test_response_overrides(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"body", {"Content-Type": "text/plain"})
    target = "/photos/k?response-content-type=text%2Fcsv&response-content-disposition=inline"
    answer = await house.ask("GET", target)
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "inline"
    injected = await house.ask("GET", "/photos/k?response-content-type=a%0D%0AX-Evil:%201")
    assert (injected.status, injected.code) == (400, "InvalidArgument")


async def test_version_ids(house: House) -> None:
    await house.bucket()
    await house.ask("PUT", "/photos/k", b"body")
    assert (await house.ask("GET", "/photos/k?versionId=null")).body == b"body"
    absent = "f" * 32
    for target in (f"/photos/k?versionId={absent}", "/photos/absent?versionId=null"):
        assert (await house.ask("GET", target)).code == "NoSuchVersion"
    for bad in ("abc", "", "F" * 32, "f" * 31):
        for method in ("GET", "DELETE"):
            answer = await house.ask(method, f"/photos/k?versionId={bad}")
            assert (answer.status, answer.code) == (400, "InvalidArgument")
    assert (await house.ask("DELETE", "/photos/k?versionId=null")).status == 204
    assert await house.keys() == []


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_copies(house: House, size: int) -> None:
    await house.bucket()
    await house.bucket("other")
    client, body = house.boto(), os.urandom(size)

    def run() -> None:
        client.put_object(
            Bucket="photos", Key="a b", Body=body, Metadata={"k": "v"}, ContentType="text/plain"
        )
        copied: Any = client.copy_object(
            Bucket="other", Key="copy", CopySource={"Bucket": "photos", "Key": "a b"}
        )
        client.delete_object(Bucket="photos", Key="a b")
        got = client.get_object(Bucket="other", Key="copy")
        assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (
            body, {"k": "v"}, "text/plain",
        )  # fmt: skip
        assert got["ETag"] == copied["CopyObjectResult"]["ETag"]
        client.copy_object(
            Bucket="other", Key="copy", CopySource="other/copy", MetadataDirective="REPLACE",
            Metadata={"new": "1"}, ChecksumAlgorithm="SHA256",
        )  # fmt: skip
        got = client.get_object(Bucket="other", Key="copy", ChecksumMode="ENABLED")
        assert (got["Body"].read(), got["Metadata"]) == (body, {"new": "1"})
        assert got["ChecksumSHA256"] == b64encode(hashlib.sha256(body).digest()).decode()

    await asyncio.to_thread(run)


@pytest.mark.parametrize(
    ("source", "more", "code"),
    [
        ("", {}, "InvalidArgument"),
        ("photos", {}, "InvalidArgument"),
        ("/photos/", {}, "InvalidArgument"),
        ("photos/a?acl", {}, "InvalidArgument"),
        ("photos/%ff", {}, "InvalidURI"),
        ("photos/" + "a" * 1025, {}, "KeyTooLongError"),
        ("photos/absent", {}, "NoSuchKey"),
        ("absent/a", {}, "NoSuchBucket"),
        ("bobs/a", {}, "AccessDenied"),
        ("photos/a?versionId=x", {}, "InvalidArgument"),
        (f"photos/a?versionId={'f' * 32}", {}, "NoSuchVersion"),
        ("photos/a", {"x-amz-metadata-directive": "MOVE"}, "InvalidArgument"),
        ("photos/a", {"x-amz-copy-source-if-match": "x"}, "PreconditionFailed"),
        ("photos/a", {"x-amz-copy-source-if-none-match": "*"}, "PreconditionFailed"),
        ("photos/a", {"x-amz-source-expected-bucket-owner": "x"}, "AccessDenied"),
        ("photos/a", {"x-amz-checksum-algorithm": "MD4"}, "InvalidRequest"),
        ("photos/a", {"x-amz-tagging-directive": "MOVE"}, "InvalidArgument"),
    ],
)
async def test_bad_copies(house: House, source: str, more: dict[str, str], code: str) -> None:
    await house.bucket()
    await house.bucket("bobs", "bob")
    await house.ask("PUT", "/bobs/a", b"secret", user="bob")
    await house.ask("PUT", "/photos/a", b"body")
    answer = await house.ask("PUT", "/photos/b", headers={"x-amz-copy-source": source, **more})
    assert answer.code == code
    assert await house.keys() == ["a"]
    itself = await house.ask("PUT", "/photos/a", headers={"x-amz-copy-source": "photos/a"})
    assert itself.code == "InvalidRequest"


async def test_delete_many(house: House) -> None:
    await house.bucket()
    client = house.boto()
    keys = [f"k & <{number}>" for number in range(1000)]
    for key in keys[:20]:
        await asyncio.to_thread(client.put_object, Bucket="photos", Key=key, Body=b"x")
    wanted = {"Objects": [{"Key": key} for key in keys]}
    done = await asyncio.to_thread(client.delete_objects, Bucket="photos", Delete=wanted)
    assert [item["Key"] for item in done["Deleted"]] == keys
    assert await house.keys() == []
    quiet = {"Objects": [{"Key": "a"}, {"Key": "b", "VersionId": "x"}], "Quiet": True}
    done = await asyncio.to_thread(client.delete_objects, Bucket="photos", Delete=quiet)
    assert "Deleted" not in done
    assert [(item["Key"], item["Code"]) for item in done["Errors"]] == [("b", "NoSuchVersion")]


async def test_a_deleted_bucket_takes_no_object(house: House) -> None:
    await house.bucket()
    assert (await house.ask("DELETE", "/photos")).status == 204
    assert (await house.ask("PUT", "/photos/k", b"body")).code == "NoSuchBucket"


@pytest.mark.parametrize("style", ["virtual", "path"])
async def test_addressing(house: House, style: str) -> None:
    await house.bucket()
    virtual = style == "virtual"
    headers = {"Host": f"photos.s3.localhost:{house.port}"} if virtual else {}
    target = "/a/b" if virtual else "/photos/a/b"
    assert (await house.ask("PUT", target, b"body", headers)).status == 200
    assert await house.keys() == ["a/b"]
    root = "/" if virtual else "/photos"
    assert (await house.ask("GET", root, headers=headers)).texts("Key") == ["a/b"]


def test_hosts() -> None:
    domains = ("s3.localhost", "localhost")
    assert bucket_of_host("s3.localhost:80", domains) is None
    assert bucket_of_host("Localhost", domains) is None
    assert bucket_of_host("a.b.s3.localhost", domains) == "a.b"
    assert bucket_of_host("a.localhost:1", domains) == "a"
    assert bucket_of_host("xlocalhost", domains) is None
    assert bucket_of_host("[::1]:80", domains) is None
    assert bucket_of_host("10.0.0.1:80", domains) is None
    target = parse_target("/a%2Fb//..", "", "x.s3.localhost", domains)
    assert (target.bucket, target.key) == ("x", "a/b//..")


async def test_memory_is_bounded_by_pieces(house: House) -> None:
    import tracemalloc

    await house.bucket()
    size = 64 << 20
    reader, writer = await house.connect()
    from gateway_kit import EMPTY_SHA256, read_answer, request_bytes, sign

    headers = {"Host": house.host, "Content-Length": str(size)}
    headers = sign("PUT", "/photos/big", headers, "UNSIGNED-PAYLOAD")
    piece = bytes(1 << 20)
    tracemalloc.start()
    try:
        writer.write(request_bytes("PUT", "/photos/big", headers))
        for _ in range(size // len(piece)):
            writer.write(piece)
            await writer.drain()
        assert (await read_answer(reader)).status == 200
        headers = sign("GET", "/photos/big", {"Host": house.host}, EMPTY_SHA256)
        writer.write(request_bytes("GET", "/photos/big", headers))
        await reader.readuntil(b"\r\n\r\n")
        left = size
        while left:
            left -= len(await reader.read(1 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        writer.close()
    assert peak < 24 << 20


async def test_corrupt_bytes_are_never_served(house: House, tmp_path: Any) -> None:
    await house.bucket()
    body = os.urandom(4 << 20)
    await house.ask("PUT", "/photos/large", body, payload="UNSIGNED-PAYLOAD")
    await house.ask("PUT", "/photos/small", body[:5000])
    for path in (tmp_path / "containers").iterdir():
        data = bytearray(path.read_bytes())
        for wanted in (body[3_000_000:3_000_100], body[100:200]):
            at = data.find(wanted)
            if at >= 0:
                data[at] ^= 1
        path.write_bytes(data)
    small = await house.ask("GET", "/photos/small")
    assert (small.status, small.code) == (500, "InternalError")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError, ClientError)):
        answer = await house.ask("GET", "/photos/large")
        assert answer.code == "InternalError"
        raise ConnectionError
    copied = await house.ask("PUT", "/photos/c", headers={"x-amz-copy-source": "photos/large"})
    assert (copied.status, copied.code) == (500, "InternalError")
    assert await house.keys() == ["large", "small"]


async def test_too_few_disks_are_a_503_that_clients_try_again_after(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.bucket()

    async def away(*_body: object, **_options: object) -> None:
        raise TooFewDisks("4 of 6 disks can be written")

    monkeypatch.setattr(house.objects, "put", away)
    answer = await house.ask("PUT", "/photos/k", b"x")
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")


async def test_a_full_disk_of_the_name_server_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.bucket()

    async def full(_version: object, **_events: object) -> None:
        raise NamesFull("the name server's disk is full")

    monkeypatch.setattr(house.names, "put", full)
    answer = await house.ask("PUT", "/photos/k", b"x")
    assert (answer.status, answer.code) == (507, "InsufficientStorage")


async def test_a_deletion_that_is_not_committed_is_not_acknowledged(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await house.bucket()
    assert (await house.ask("PUT", "/photos/k", b"x")).status == 200

    async def full(_tombstones: object, **_events: object) -> None:
        raise NamesFull("the name server's disk is full")

    monkeypatch.setattr(house.names, "delete", full)
    body = b"<Delete><Object><Key>k</Key></Object></Delete>"
    digest = {"Content-MD5": b64encode(hashlib.md5(body).digest()).decode()}
    for answer in (
        await house.ask("DELETE", "/photos/k"),
        await house.ask("POST", "/photos?delete=", body, digest),
    ):
        assert (answer.status, answer.code) == (507, "InsufficientStorage")
    assert await house.keys() == ["k"]
