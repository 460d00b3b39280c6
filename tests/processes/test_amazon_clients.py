"""Amazon's own clients at a datacenter: the aws CLI, and boto3 with what it builds on top of
requests (resources, transfers, URLs and forms that are signed beforehand)."""

import json
import random
import urllib.request
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from process_kit import all_keys, s3_client
from tools_kit import Tools, grow, tree

pytestmark = pytest.mark.process


@pytest.fixture
def tools(two, tmp_path: Path) -> Tools:
    home = tmp_path / "home"
    home.mkdir()
    return Tools(home, two.keys)


def fetch(url: str, data: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """A request by someone who has no keys."""
    method = (
        "PUT" if data is not None and "multipart" not in headers.get("Content_Type", "") else None
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        asked = urllib.request.Request(url, data=data, headers=named, method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_cli_presigns_and_syncs_with_delete(two, tools, tmp_path):
    source = grow(tmp_path / "source", 21, files=12)
    tools.aws(two.paris, "s3", "mb", "s3://signs")
    tools.aws(two.paris, "s3", "sync", source, "s3://signs/tree")
    name = sorted(tree(source))[-1]
    url = tools.aws(two.paris, "s3", "presign", f"s3://signs/tree/{name}").strip()
    assert fetch(url) == (200, tree(source)[name])
    assert fetch(url.replace("X-Amz-Signature=", "X-Amz-Signature=0"))[0] == 403
    assert fetch(url.partition("?")[0])[0] == 403
    (source / name).unlink()
    (source / "new.txt").write_text("new")
    tools.aws(two.paris, "s3", "sync", "--delete", source, "s3://signs/tree")
    assert all_keys(two.at_paris, "signs") == {f"tree/{each}" for each in tree(source)}
    tools.aws(two.paris, "s3", "mv", "s3://signs/tree/new.txt", "s3://signs/moved.txt")
    back = tools.aws(two.paris, "s3", "cp", "s3://signs/moved.txt", "-")
    assert back == "new"
    tools.aws(two.paris, "s3", "rb", "--force", "s3://signs")
    assert "signs" not in tools.aws(two.paris, "s3", "ls")


def test_the_cli_keeps_versions(two, tools, tmp_path):
    def api(operation: str, *arguments: str) -> Any:
        said = tools.aws(two.paris, "s3api", operation, "--bucket", "kept", *arguments)
        return json.loads(said) if said else {}

    tools.aws(two.paris, "s3", "mb", "s3://kept")
    api("put-bucket-versioning", "--versioning-configuration", "Status=Enabled")
    assert api("get-bucket-versioning") == {"Status": "Enabled"}
    file = tmp_path / "file"
    for text in ("one", "two"):
        file.write_text(text)
        tools.aws(two.paris, "s3", "cp", file, "s3://kept/file")
    tools.aws(two.paris, "s3", "rm", "s3://kept/file")
    listed = api("list-object-versions")
    assert [each["IsLatest"] for each in listed["DeleteMarkers"]] == [True]
    versions = [each["VersionId"] for each in listed["Versions"]]
    assert len(set(versions)) == 2
    api("get-object", "--key", "file", "--version-id", versions[1], str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "one"
    api("delete-object", "--key", "file", "--version-id", listed["DeleteMarkers"][0]["VersionId"])
    assert tools.aws(two.paris, "s3", "cp", "s3://kept/file", "-") == "two"
    for version in versions:
        api("delete-object", "--key", "file", "--version-id", version)
    assert tools.aws(two.paris, "s3", "rb", "s3://kept") == "remove_bucket: kept\n"


def test_resources_and_transfers_of_boto3(two, tmp_path):
    s3 = boto3.resource(
        "s3",
        endpoint_url=f"http://127.0.0.1:{two.paris.s3_port}",
        aws_access_key_id=two.keys["access_key"],
        aws_secret_access_key=two.keys["secret_key"],
        region_name="us-east-1",
    )
    bucket = s3.create_bucket(Bucket="resources")
    source = tmp_path / "source.bin"
    source.write_bytes(random.Random(22).randbytes(23_000_001))
    config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20)
    bucket.upload_file(str(source), "big.bin", Config=config, ExtraArgs={"Metadata": {"a": "b"}})
    big = s3.Object("resources", "big.bin")
    assert big.e_tag.endswith('-4"') and big.metadata == {"a": "b"}
    bucket.copy({"Bucket": "resources", "Key": "big.bin"}, "copied.bin", Config=config)
    target = tmp_path / "target.bin"
    bucket.download_file("copied.bin", str(target), Config=config)
    assert target.read_bytes() == source.read_bytes()
    for number in range(30):
        bucket.put_object(Key=f"many/{number}", Body=b"%d" % number)
    assert sum(1 for _ in bucket.objects.filter(Prefix="many/").page_size(7)) == 30
    bucket.objects.delete()
    assert list(bucket.objects.all()) == []
    bucket.delete()
    assert "resources" not in [each.name for each in s3.buckets.all()]


def test_urls_and_forms_that_are_signed_beforehand(two):
    client = s3_client(two.paris.s3_port, two.keys, signature_version="s3v4")
    client.create_bucket(Bucket="forms")
    put = client.generate_presigned_url("put_object", {"Bucket": "forms", "Key": "by url"})
    assert fetch(put, b"by url")[0] == 200
    get = client.generate_presigned_url("get_object", {"Bucket": "forms", "Key": "by url"})
    assert fetch(get) == (200, b"by url")
    form = client.generate_presigned_post(
        "forms",
        "by form/${filename}",
        Fields={"x-amz-meta-who": "ann"},
        Conditions=[{"x-amz-meta-who": "ann"}, ["content-length-range", 1, 100]],
    )

    def post(data: bytes) -> int:
        parts = [*form["fields"].items(), ('file"; filename="a.txt', data.decode())]
        body = "".join(
            f'--edge\r\nContent-Disposition: form-data; name="{name}{chr(34)}\r\n\r\n{value}\r\n'
            for name, value in parts
        )
        kind = "multipart/form-data; boundary=edge"
        return fetch(form["url"], f"{body}--edge--\r\n".encode(), Content_Type=kind)[0]

    assert post(b"by form") == 204
    assert post(b"x" * 101) == 400
    got = client.get_object(Bucket="forms", Key="by form/a.txt")
    assert got["Body"].read() == b"by form" and got["Metadata"] == {"who": "ann"}
