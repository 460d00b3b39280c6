"""Gateways on other machines: what one client writes by one, others see by another, at once."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from gateways_kit import Cluster, code_of, status_of
from process_kit import Dc, all_keys, eventually, s3_client

GATEWAYS = ("gw1", "gw2", "paris")
BUCKET = "photos"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("gateways"))
    try:
        made.join("gw1")
        made.join("gw2")
        made.client("gw1").create_bucket(Bucket=BUCKET)
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def clients(cluster: Cluster) -> list[Any]:
    return [cluster.client(name) for name in GATEWAYS]


def test_what_one_writes_the_others_see_at_once(clients: list[Any]) -> None:
    for number in range(90):
        writer, reader = clients[number % 3], clients[(number + 1 + number // 3 % 2) % 3]
        body = os.urandom(100 + number)
        etag = writer.put_object(Bucket=BUCKET, Key=f"ryw/{number % 7}", Body=body)["ETag"]
        found = reader.get_object(Bucket=BUCKET, Key=f"ryw/{number % 7}")
        assert (found["Body"].read(), found["ETag"]) == (body, etag)
        head = reader.head_object(Bucket=BUCKET, Key=f"ryw/{number % 7}")
        assert head["ContentLength"] == len(body)
        key = f"list/{number}"
        writer.put_object(Bucket=BUCKET, Key=key, Body=b"x")
        assert key in all_keys(reader, BUCKET, key)
        reader.delete_object(Bucket=BUCKET, Key=key)
        assert key not in all_keys(writer, BUCKET, key)
        assert code_of(lambda: writer.head_object(Bucket=BUCKET, Key=key)) == "404"  # noqa: B023


def test_versions_are_in_order_whoever_made_them(clients: list[Any]) -> None:
    one, two, three = clients
    one.create_bucket(Bucket="versions")
    two.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    made = []
    for number in range(30):
        writer, reader = clients[number % 3], clients[(number + 2) % 3]
        made.append(writer.put_object(Bucket="versions", Key="k", Body=b"%d" % number)["VersionId"])
        assert reader.get_object(Bucket="versions", Key="k")["Body"].read() == b"%d" % number
    assert made[0] != "null" and len(set(made)) == 30
    for s3 in clients:
        shown = s3.list_object_versions(Bucket="versions")["Versions"]
        assert [one["VersionId"] for one in shown] == made[::-1]
    marker = three.delete_object(Bucket="versions", Key="k")["VersionId"]
    assert code_of(lambda: one.get_object(Bucket="versions", Key="k")) == "NoSuchKey"
    two.delete_object(Bucket="versions", Key="k", VersionId=marker)
    assert one.get_object(Bucket="versions", Key="k")["Body"].read() == b"29"


def test_an_upload_whose_parts_come_by_different_gateways(clients: list[Any]) -> None:
    one, two, three = clients
    upload = one.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    bodies = [os.urandom(size) for size in (5 << 20, 6 << 20, 1000)]
    parts = []
    for number, (s3, body) in enumerate(zip((two, three, one), bodies, strict=True), 1):
        done = s3.upload_part(
            Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=body
        )
        parts.append({"PartNumber": number, "ETag": done["ETag"]})
    listed = three.list_parts(Bucket=BUCKET, Key="parts", UploadId=upload)["Parts"]
    assert [part["ETag"] for part in listed] == [part["ETag"] for part in parts]
    two.complete_multipart_upload(
        Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    whole = b"".join(bodies)
    for s3 in clients:
        assert s3.get_object(Bucket=BUCKET, Key="parts")["Body"].read() == whole
    span = one.get_object(Bucket=BUCKET, Key="parts", Range="bytes=5242870-11534350")
    assert span["Body"].read() == whole[5242870:11534351]


def test_large_bodies_ranges_and_copies(clients: list[Any]) -> None:
    one, two, _ = clients
    body = os.urandom(64 << 20)
    one.put_object(Bucket=BUCKET, Key="large", Body=body)
    assert two.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body
    for start, stop in ((0, 1), (1 << 20, (3 << 20) + 5), (len(body) - 7, len(body))):
        span = two.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={start}-{stop - 1}")
        assert span["Body"].read() == body[start:stop]
    two.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/large")
    assert (
        one.get_object(Bucket=BUCKET, Key="copy", Range="bytes=-1000")["Body"].read()
        == body[-1000:]
    )


def test_who_hangs_up_in_the_middle_leaves_nothing_behind(
    cluster: Cluster, clients: list[Any]
) -> None:
    one, two, _ = clients
    body = os.urandom(16 << 20)
    one.put_object(Bucket=BUCKET, Key="hung", Body=body)
    put, get = (
        one.generate_presigned_url(what, Params={"Bucket": BUCKET, "Key": key})
        for what, key in (("put_object", "never"), ("get_object", "hung"))
    )
    host = f"127.0.0.1:{cluster.port('gw1')}"
    for _ in range(12):
        with socket.create_connection(("127.0.0.1", cluster.port("gw1")), 5) as up:
            path = put.split(host)[1]
            head = f"PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            up.sendall(head.encode() + body[: 5 << 20])
        with socket.create_connection(("127.0.0.1", cluster.port("gw1")), 5) as down:
            path = get.split(host)[1]
            down.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert down.recv(1000).startswith(b"HTTP/1.1 200")
    assert code_of(lambda: two.head_object(Bucket=BUCKET, Key="never")) == "404"
    # More than there are connections or pieces under way: nothing may be used up.
    for _ in range(3):
        assert one.get_object(Bucket=BUCKET, Key="hung")["Body"].read() == body


def test_a_slow_reader_holds_up_nobody(clients: list[Any]) -> None:
    one, two, _ = clients
    body = os.urandom(32 << 20)
    two.put_object(Bucket=BUCKET, Key="slow", Body=body)
    waiting = [one.get_object(Bucket=BUCKET, Key="slow")["Body"] for _ in range(6)]
    assert one.get_object(Bucket=BUCKET, Key="slow")["Body"].read() == body
    one.put_object(Bucket=BUCKET, Key="beside", Body=body)
    for each in waiting[:2]:
        assert each.read() == body
    for each in waiting[2:]:
        each.close()
    assert (
        one.get_object(Bucket=BUCKET, Key="beside", Range="bytes=0-9")["Body"].read() == body[:10]
    )


# -- what is said of buckets and keys -------------------------------------------------------------


def test_what_is_said_of_a_bucket_counts_everywhere_when_it_is_answered(
    cluster: Cluster, clients: list[Any]
) -> None:
    clients[0].create_bucket(Bucket="public")
    for s3 in clients:
        s3.put_public_access_block(
            Bucket="public", PublicAccessBlockConfiguration={"BlockPublicPolicy": False}
        )
    clients[0].put_object(Bucket="public", Key="k", Body=b"x")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",'
        ' "Action": "s3:GetObject", "Resource": "arn:aws:s3:::public/*"}]}'
    )
    for number in range(40):
        setter, port = clients[number % 3], cluster.port(GATEWAYS[(number + 1) % 3])
        setter.put_bucket_policy(Bucket="public", Policy=policy)
        assert status_of(port, "/public/k") == 200, number
        setter.delete_bucket_policy(Bucket="public")
        assert status_of(port, "/public/k") == 403, number


def test_versioning_that_is_switched_counts_for_the_next_put(clients: list[Any]) -> None:
    clients[0].create_bucket(Bucket="switched")
    for number in range(30):
        setter, putter = clients[number % 3], clients[(number + 1) % 3]
        for status in ("Enabled", "Suspended"):
            setter.put_bucket_versioning(
                Bucket="switched", VersioningConfiguration={"Status": status}
            )
            done = putter.put_object(Bucket="switched", Key="k", Body=b"x")
            assert (done.get("VersionId", "null") == "null") == (status == "Suspended"), number


def test_buckets_are_there_and_gone_everywhere(clients: list[Any]) -> None:
    for number in range(20):
        maker, other = clients[number % 3], clients[(number + 1) % 3]
        maker.create_bucket(Bucket="passing")
        other.put_object(Bucket="passing", Key="k", Body=b"x")
        other.delete_object(Bucket="passing", Key="k")
        maker.delete_bucket(Bucket="passing")
        assert code_of(lambda: other.list_objects_v2(Bucket="passing")) == "NoSuchBucket"  # noqa: B023


def test_a_key_counts_as_long_as_it_is_one(cluster: Cluster) -> None:
    ann = cluster.keys["canonical_id"]
    for number in range(25):
        key = cluster.admin.post("users", ann, "keys")
        clients = [cluster.client(name, key) for name in ("gw1", "gw2")]
        for s3 in clients:
            s3.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
        if number % 5:
            cluster.admin.delete("users", ann, "keys", key["access_key"])
        else:
            cluster.paris.cli("user", "key", "revoke", ann, key["access_key"])
        for s3 in clients:
            refused = code_of(lambda: s3.list_objects_v2(Bucket=BUCKET))  # noqa: B023
            assert refused == "InvalidAccessKeyId", number


# -- what goes on behind it -----------------------------------------------------------------------


def test_encrypted_by_one_and_read_by_another(clients: list[Any]) -> None:
    one, two, three = clients
    one.create_bucket(Bucket="sealed")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    two.put_bucket_encryption(Bucket="sealed", ServerSideEncryptionConfiguration={"Rules": [rule]})
    for number, (writer, reader) in enumerate(((one, two), (two, three), (three, one))):
        body = os.urandom(3_000_000)
        done = writer.put_object(Bucket="sealed", Key=f"k{number}", Body=body)
        assert done["ServerSideEncryption"] == "AES256"
        found = reader.get_object(Bucket="sealed", Key=f"k{number}", Range="bytes=999-")
        assert found["ServerSideEncryption"] == "AES256"
        assert found["Body"].read() == body[999:]


def test_access_logs_are_written_also_when_the_session_was_interrupted(
    cluster: Cluster, clients: list[Any]
) -> None:
    one = clients[0]
    one.create_bucket(Bucket="logs")
    one.create_bucket(Bucket="logged")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow",'
        ' "Principal": {"Service": "logging.s3.amazonaws.com"},'
        ' "Action": "s3:PutObject", "Resource": "arn:aws:s3:::logs/*"}]}'
    )
    one.put_bucket_policy(Bucket="logs", Policy=policy)
    one.put_bucket_logging(
        Bucket="logged",
        BucketLoggingStatus={"LoggingEnabled": {"TargetBucket": "logs", "TargetPrefix": "l/"}},
    )

    def lines() -> str:
        keys = all_keys(one, "logs")
        return "".join(one.get_object(Bucket="logs", Key=k)["Body"].read().decode() for k in keys)

    one.put_object(Bucket="logged", Key="first", Body=b"x")
    eventually("the first line is there", lambda: "REST.PUT.OBJECT first" in lines(), 10)
    one.put_object(Bucket="logged", Key="second", Body=b"x")
    cluster.paris.kill()
    cluster.paris.start()
    cluster.until_serving("gw1", "gw2")
    eventually("the second line is there", lambda: "REST.PUT.OBJECT second" in lines(), 10)
    one.put_object(Bucket="logged", Key="third", Body=b"x")
    cluster.nodes["gw1"].stop()
    cluster.nodes["gw1"].start()
    cluster.until_serving("gw1")
    assert "REST.PUT.OBJECT third" in lines()


def test_what_was_put_by_a_gateway_travels(cluster: Cluster, clients: list[Any]) -> None:
    tokyo = Dc(cluster.folder / "tokyo", "tokyo")
    try:
        tokyo.start()
        token = cluster.admin.post("tokens", body={"lifetime_seconds": 600})["token"]
        tokyo.cli("dc", "add", token)
        there = s3_client(tokyo.s3_port, cluster.keys)
        bodies = {f"far/{size}": os.urandom(size) for size in (10, 50_000, 9_000_000)}
        for key, body in bodies.items():
            clients[0].put_object(Bucket=BUCKET, Key=key, Body=body)
        for key, body in bodies.items():

            def status(key: str = key) -> str:
                found = clients[1].head_object(Bucket=BUCKET, Key=key)
                return str(found.get("ReplicationStatus"))

            eventually(f"{key} is at tokyo", lambda: status() == "COMPLETED")
            assert there.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
        tokyo.kill()
        clients[0].put_object(Bucket=BUCKET, Key="far/late", Body=b"x")
        assert clients[1].head_object(Bucket=BUCKET, Key="far/late")["ReplicationStatus"] in (
            "PENDING",
            "FAILED",
        )
        tokyo.start()
        there.put_object(Bucket=BUCKET, Key="back", Body=b"from tokyo")
        eventually("it came back", lambda: "back" in all_keys(clients[0], BUCKET, "back"))
        found = clients[0].head_object(Bucket=BUCKET, Key="back")
        assert found["ReplicationStatus"] == "REPLICA"
        # A key that is revoked there is one less here, at all gateways.
        key = tokyo.facts("user", "key", "add", cluster.keys["canonical_id"])
        s3 = cluster.client("gw2", key)
        eventually("the key is here", lambda: code_of(s3.list_buckets) == "")
    finally:
        tokyo.end()
