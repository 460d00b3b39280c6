"""Written at either datacenter, read at the other, byte for byte, with the clients people use."""

import io
import os
import random
import subprocess
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from process_kit import BIN, all_keys, eventually

pytestmark = pytest.mark.process


def exists(client, key, bucket="shared"):
    try:
        client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        assert error.response["Error"]["Code"] == "404"
        return False
    return True


def body_of(client, key, bucket="shared"):
    return client.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000, 1 << 20, (1 << 20) + 1, 20_000_000])
@pytest.mark.parametrize("way", ["paris to tokyo", "tokyo to paris"])
def test_bytes_arrive_as_they_were_written(two, size, way):
    here, there = (two.at_paris, two.at_tokyo)[:: 1 if way == "paris to tokyo" else -1]
    key = f"sizes/{way}/{size} ä+%20.bin"
    data = random.Random(size).randbytes(size)
    put = here.put_object(
        Bucket="shared", Key=key, Body=data, ContentType="image/x-test", Metadata={"who": "ann"}
    )
    eventually(f"{key} at the other side", lambda: exists(there, key))
    got = there.get_object(Bucket="shared", Key=key)
    assert got["Body"].read() == data
    assert got["ETag"] == put["ETag"]
    assert got["ContentType"] == "image/x-test" and got["Metadata"] == {"who": "ann"}
    if size > 1000:
        part = there.get_object(Bucket="shared", Key=key, Range="bytes=997-1099")
        assert part["Body"].read() == data[997:1100]


def test_a_multipart_upload_arrives_with_its_etag(two):
    data = random.Random(7).randbytes(13_000_000)
    two.at_paris.upload_fileobj(io.BytesIO(data), "shared", "multi")
    here = two.at_paris.head_object(Bucket="shared", Key="multi")
    assert here["ETag"].endswith('-2"')
    eventually("the upload at tokyo", lambda: exists(two.at_tokyo, "multi"))
    assert body_of(two.at_tokyo, "multi") == data
    assert two.at_tokyo.head_object(Bucket="shared", Key="multi")["ETag"] == here["ETag"]


def test_overwrites_and_deletes_arrive(two):
    for turn, (here, there) in enumerate(
        [(two.at_paris, two.at_tokyo), (two.at_tokyo, two.at_paris)] * 2
    ):
        body = b"turn %d" % turn
        here.put_object(Bucket="shared", Key="again", Body=body)
        eventually(
            "the overwrite",
            lambda there=there, body=body: (
                exists(there, "again") and body_of(there, "again") == body
            ),
        )
    two.at_tokyo.delete_object(Bucket="shared", Key="again")
    eventually("the delete", lambda: not exists(two.at_paris, "again"))


def test_buckets_are_deleted_and_made_again(two):
    two.at_tokyo.create_bucket(Bucket="passing")

    def at_paris():
        return "passing" in [found["Name"] for found in two.at_paris.list_buckets()["Buckets"]]

    eventually("the bucket at paris", at_paris)
    two.at_paris.delete_bucket(Bucket="passing")

    def at_tokyo():
        return "passing" in [found["Name"] for found in two.at_tokyo.list_buckets()["Buckets"]]

    eventually("the deletion at tokyo", lambda: not at_tokyo())
    two.at_tokyo.create_bucket(Bucket="passing")
    eventually("the bucket again at paris", at_paris)


def test_keys_and_users_travel(two):
    added = two.tokyo.facts("user", "key", "add", "ann@example.org")
    from process_kit import s3_client

    client = s3_client(two.paris.s3_port, added)

    def works():
        try:
            client.list_buckets()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidAccessKeyId"
            return False
        return True

    eventually("the new key at paris", works)
    two.paris.cli("user", "key", "revoke", "ann@example.org", added["access_key"])
    eventually("the revocation at paris", lambda: not works())
    client = s3_client(two.tokyo.s3_port, added)
    eventually("the revocation at tokyo", lambda: not works())


@pytest.fixture
def aws(two, tmp_path):
    """The aws CLI at a datacenter."""

    def run(dc, *arguments):
        environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": two.keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": two.keys["secret_key"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": str(tmp_path / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        }
        done = subprocess.run(
            [BIN / "aws", "--endpoint-url", f"http://127.0.0.1:{dc.s3_port}", *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_aws_cli_cp_sync_and_rm(two, aws, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    chance = random.Random(5)
    for number in range(30):
        path = source / f"dir {number % 3}" / f"file-{number} é+.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(number * 997))
    (source / "large.bin").write_bytes(chance.randbytes(17_000_000))
    aws(two.paris, "s3", "mb", "s3://cli")
    aws(two.paris, "s3", "cp", source / "large.bin", "s3://cli/single/large.bin")
    aws(two.paris, "s3", "sync", source, "s3://cli/tree")
    want = {f"tree/{name}" for name in tree(source)} | {"single/large.bin"}
    eventually(
        "the tree at tokyo",
        lambda: "s3://cli" and "cli" in aws(two.tokyo, "s3", "ls")
        and all_keys(two.at_tokyo, "cli") == want,
        60,
    )  # fmt: skip
    aws(two.tokyo, "s3", "sync", "s3://cli/tree", target)
    assert tree(target) == tree(source)
    aws(two.tokyo, "s3", "cp", "s3://cli/single/large.bin", tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (source / "large.bin").read_bytes()
    assert aws(two.tokyo, "s3", "sync", "s3://cli/tree", target) == "", "nothing is left to do"
    aws(two.tokyo, "s3", "rm", "--recursive", "s3://cli/tree")
    eventually(
        "the deletes at paris", lambda: all_keys(two.at_paris, "cli") == {"single/large.bin"}
    )
    aws(two.paris, "s3", "rb", "--force", "s3://cli")
    eventually("the bucket's end", lambda: "cli" not in aws(two.tokyo, "s3", "ls"))
