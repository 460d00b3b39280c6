"""`farshore bucket` with two real datacenters, and clients at both."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.admin.conftest import Serving, init


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Serving, Serving]]:
    """Paris and Tokyo, paired."""
    for name in ("paris", "tokyo"):
        init(tmp_path / name, name)
    running = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    token = running[0].cli("token", "issue").stdout.strip()
    assert running[1].cli("dc", "add", token).returncode == 0
    yield running
    for one in running:
        one.stop()


def client(dc: Serving, key: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=dc.facts("status")["s3"],
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"],
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}),
    )


def got(at: Any, key: str) -> bytes | str:
    """The bytes of an object, or the code of the error."""
    try:
        body: bytes = at.get_object(Bucket="photos", Key=key)["Body"].read()
        return body
    except ClientError as error:
        return str(error.response["Error"]["Code"])


def until(look: Any, wanted: Any) -> None:
    deadline = time.monotonic() + 20
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)


def test_bytes_go_where_the_operator_says(two: tuple[Serving, Serving]) -> None:
    paris, tokyo = two
    key = paris.facts("user", "add", "ann@example.com")
    here = client(paris, key)
    here.create_bucket(Bucket="photos")
    assert "everywhere" in paris.cli("bucket", "list").stdout
    facts = paris.facts(
        *("bucket", "replicate", "photos", "--prefix", "raw/", "--to", "paris"),
    )
    assert facts["rules"] == [{"prefix": "raw/", "to": ["paris"]}]
    done = paris.cli("bucket", "replicate", "photos", "--prefix", "b/", "--to", "tokyo")
    assert done.returncode == 0 and "stays where it was written" in done.stdout
    until(lambda: tokyo.facts("bucket", "replicate", "photos")["rules"][0]["to"], ["tokyo"])
    for name in ("raw/1", "b/1"):
        here.put_object(Bucket="photos", Key=name, Body=b"x" * 10)
    there = client(tokyo, key)
    until(lambda: got(there, "b/1"), b"x" * 10)
    until(lambda: got(there, "raw/1"), "InvalidObjectState")
    shown = here.get_bucket_replication(Bucket="photos")["ReplicationConfiguration"]["Rules"]
    assert [rule["Filter"]["Prefix"] for rule in shown] == ["raw/", "b/"]
    absent = tokyo.facts("replication", "status")["absent"]
    assert (absent["objects"], absent["bytes"]) == (1, 10)
    assert "1 objects (10 B) are held by other" in tokyo.cli("replication", "status").stdout

    assert tokyo.facts("bucket", "read-through", "photos")["read_through"] is False
    done = tokyo.cli("bucket", "read-through", "photos", "on")
    assert (done.returncode, done.stdout) == (0, "read-through of photos is on\n")
    until(lambda: paris.facts("bucket", "list")[0]["read_through"], True)
    assert "READ-THROUGH" in paris.cli("bucket", "list").stdout
    until(lambda: got(there, "raw/1"), b"x" * 10)
    assert tokyo.facts("bucket", "read-through", "photos", "off")["read_through"] is False
    until(lambda: got(there, "raw/1"), "InvalidObjectState")

    done = tokyo.cli("bucket", "replicate", "photos", "--everywhere")
    assert done.returncode == 0 and "all bytes go to all" in done.stdout
    until(lambda: got(there, "raw/1"), b"x" * 10)
    until(lambda: paris.cli("replication", "verify").returncode, 0)
    with pytest.raises(ClientError, match="ReplicationConfigurationNotFound"):
        here.get_bucket_replication(Bucket="photos")


def test_what_an_operator_may_get_wrong(tmp_path: Path) -> None:
    init(tmp_path / "paris")
    paris = Serving(tmp_path / "paris")
    try:
        key = paris.facts("user", "add", "ann@example.com")
        at = client(paris, key)
        at.create_bucket(Bucket="photos")
        for args, code, words in (
            (("nosuch", "--to", "paris"), 1, "there is no bucket 'nosuch'"),
            (("photos", "--to", "mars"), 1, "no datacenter is called 'mars': there are paris"),
            (("photos", "--stop"), 1, "there is no rule for all keys"),
            (("photos", "--prefix", "a", "--stop"), 1, "there is no rule for the prefix 'a'"),
            (("photos", "--to", "paris", "--everywhere"), 2, "one of --to"),
            (("photos", "--everywhere", "--prefix", "a"), 2, "whole bucket"),
            (("photos", "--prefix", "a"), 2, "--prefix needs"),
            (("photos", "--prefix", "a" * 1025, "--to", "paris"), 1, "1024"),
        ):
            done = paris.cli("bucket", "replicate", *args)
            assert done.returncode == code and words in done.stderr, (args, done.stderr)
        for args, code, words in (
            (("nosuch", "on"), 1, "there is no bucket 'nosuch'"),
            (("photos", "maybe"), 2, "on or off"),
        ):
            done = paris.cli("bucket", "read-through", *args)
            assert done.returncode == code and words in done.stderr, (args, done.stderr)
        assert paris.facts("bucket", "replicate", "photos")["everywhere"]
        # Rules that S3 clients have set stay, but for those of the prefix.
        at.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
        rule = {"Status": "Disabled", "Destination": {"Bucket": "arn:farshore:dc:::paris"}}
        rules = [
            {**rule, "ID": "off", "Prefix": "a"},
            {**rule, "ID": "farshore-1", "Status": "Enabled", "Prefix": "b"},
        ]
        asked = {"Role": "r", "Rules": rules}
        at.put_bucket_replication(Bucket="photos", ReplicationConfiguration=asked)
        paris.facts("bucket", "replicate", "photos", "--prefix", "a", "--to", "paris")
        found = at.get_bucket_replication(Bucket="photos")["ReplicationConfiguration"]["Rules"]
        assert [(one["ID"], one["Status"]) for one in found] == [
            ("off", "Disabled"),
            ("farshore-1", "Enabled"),
            ("farshore-1-", "Enabled"),
        ]
        paris.facts("bucket", "replicate", "photos", "--prefix", "b", "--stop")
        facts = paris.facts("bucket", "replicate", "photos")
        assert facts["rules"] == [{"prefix": "a", "to": ["paris"]}]
        at.put_bucket_replication(
            Bucket="photos", ReplicationConfiguration={"Role": "r", "Rules": rules[1:]}
        )
        done = paris.cli("bucket", "replicate", "photos", "--prefix", "b", "--stop")
        assert done.returncode == 1 and "no rule left" in done.stderr
    finally:
        paris.stop()
