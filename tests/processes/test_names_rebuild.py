"""The name server's folder is lost, `farshore names rebuild` makes it again from the containers,
and clients see exactly what they saw before."""

import contextlib
import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from process_kit import FARSHORE, Dc, eventually, farshore, pair, s3_client
from test_kills import Load, check_unknown, missing

pytestmark = pytest.mark.process

Make = Callable[..., Dc]
GRACE = "objects.compaction_grace"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::plain/public/*",
        }
    ],
}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Dc] = []

    def start(name: str = "paris", redundancy: str = "", disks: int = 0) -> Dc:
        options: list[object] = []
        if disks:
            options = ["--redundancy", redundancy]
            for number in range(disks):
                options += ["--disk", tmp_path / f"disk{number}"]
        dc = Dc(tmp_path / name, name, *options)
        made.append(dc)
        dc.start()
        return dc

    yield start
    for dc in made:
        dc.end()


def fill(client: Any, count: int) -> None:
    """Objects of all kinds, in buckets of all kinds."""
    chance = random.Random(7)
    client.create_bucket(Bucket="plain")
    client.create_bucket(Bucket="kept")
    client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    client.create_bucket(Bucket="gone")
    client.delete_bucket(Bucket="gone")
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Enabled"})
    client.put_bucket_policy(Bucket="plain", Policy=json.dumps(POLICY))
    client.put_bucket_tagging(Bucket="kept", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    client.put_bucket_lifecycle_configuration(
        Bucket="plain",
        LifecycleConfiguration={
            "Rules": [
                {
                    "ID": "r",
                    "Status": "Enabled",
                    "Filter": {"Prefix": "old/"},
                    "Expiration": {"Days": 30},
                }
            ]
        },
    )

    def one(number: int) -> None:
        size = chance.choice((0, 1, 300, 4096, 70_000))
        data = random.Random(number).randbytes(size)
        key = f"k{number % 7}/{number:05}-ü"
        more: dict[str, Any] = {}
        if number % 5 == 0:
            more = {"Tagging": f"n={number}", "ContentType": "text/x", "Metadata": {"who": "ann"}}
        if number % 11 == 0:
            more["ServerSideEncryption"] = "AES256"
        client.put_object(Bucket="plain", Key=key, Body=data, **more)
        if number % 4 == 0:
            client.put_object(Bucket="plain", Key=key, Body=data + b"again")
        if number % 6 == 0:
            client.delete_object(Bucket="plain", Key=key)
        if number % 9 == 0:
            made = client.put_object(Bucket="kept", Key=key, Body=data)
            client.put_object(Bucket="kept", Key=key, Body=b"second" + data, Tagging="x=y")
            if number % 2:
                client.delete_object(Bucket="kept", Key=key)
            if number % 4 == 0:
                client.delete_object(Bucket="kept", Key=key, VersionId=made["VersionId"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(count)))
    special(client)


def special(client: Any) -> None:
    """What there is one of."""
    big = random.Random(1).randbytes(5 << 20)
    for bucket in ("plain", "kept"):
        client.put_object(Bucket=bucket, Key="large", Body=big[: 3 << 20])
        upload = client.create_multipart_upload(Bucket=bucket, Key="multi", Tagging="m=1")
        parts = []
        for number, body in ((1, big), (2, b"the end")):
            done = client.upload_part(
                Bucket=bucket,
                Key="multi",
                UploadId=upload["UploadId"],
                PartNumber=number,
                Body=body,
            )
            parts.append({"PartNumber": number, "ETag": done["ETag"]})
        client.complete_multipart_upload(
            Bucket=bucket,
            Key="multi",
            UploadId=upload["UploadId"],
            MultipartUpload={"Parts": parts},
        )
        client.copy_object(
            Bucket=bucket, Key="copy-of-large", CopySource={"Bucket": "plain", "Key": "large"}
        )
        client.put_object(Bucket=bucket, Key="small", Body=b"small")
        client.copy_object(
            Bucket=bucket, Key="copy-of-small", CopySource={"Bucket": bucket, "Key": "small"}
        )
        client.put_object(Bucket=bucket, Key="public", Body=b"all", ACL="public-read")
        client.put_object_acl(Bucket=bucket, Key="small", ACL="authenticated-read")
        client.put_object_tagging(
            Bucket=bucket, Key="large", Tagging={"TagSet": [{"Key": "late", "Value": "1"}]}
        )
    until = datetime.now(UTC) + timedelta(days=1)
    client.put_object(
        Bucket="locked",
        Key="held",
        Body=b"held",
        ObjectLockLegalHoldStatus="ON",
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
    )
    made = client.put_object(Bucket="locked", Key="late", Body=b"later")
    client.put_object_retention(
        Bucket="locked",
        Key="late",
        VersionId=made["VersionId"],
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": until},
    )
    client.put_bucket_versioning(Bucket="kept", VersioningConfiguration={"Status": "Suspended"})
    client.put_object(Bucket="kept", Key="null", Body=b"null version")
    # Refused: must not be there.
    for _ in range(3):
        with pytest.raises(ClientError):
            client.put_object(Bucket="plain", Key="small", Body=b"never", IfNoneMatch="*")


def without_noise(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}


def asked(call: Callable[..., Any], **arguments: Any) -> Any:
    """The answer, or the code of the error."""
    try:
        return without_noise(call(**arguments))
    except ClientError as error:
        return error.response["Error"]["Code"]


def seen(client: Any) -> dict[str, Any]:
    """All that a client can see."""
    found: dict[str, Any] = {}
    for each in client.list_buckets()["Buckets"]:
        bucket = each["Name"]
        found[bucket] = {"created": each["CreationDate"]}
        for name in ("acl", "policy", "versioning", "tagging", "lifecycle_configuration"):
            found[bucket][name] = asked(getattr(client, f"get_bucket_{name}"), Bucket=bucket)
        lock = asked(client.get_object_lock_configuration, Bucket=bucket)
        found[bucket]["lock"] = lock
        pages = client.get_paginator("list_object_versions").paginate(Bucket=bucket)
        versions: list[Any] = []
        markers: list[Any] = []
        for page in pages:
            versions += page.get("Versions", [])
            markers += page.get("DeleteMarkers", [])
        found[bucket]["versions"], found[bucket]["markers"] = versions, markers
        with ThreadPoolExecutor(8) as pool:
            found[bucket]["objects"] = list(
                pool.map(lambda one, bucket=bucket: of_version(client, bucket, one), versions)
            )
    return found


def of_version(client: Any, bucket: str, version: dict[str, Any]) -> Any:
    about = {"Bucket": bucket, "Key": version["Key"], "VersionId": version["VersionId"]}
    answer = asked(client.get_object, **about, ChecksumMode="ENABLED")
    body = answer.pop("Body").read() if isinstance(answer, dict) else b""
    return (
        about,
        answer,
        body,
        asked(client.get_object_tagging, **about),
        asked(client.get_object_acl, **about),
        asked(client.get_object_retention, **about) if bucket == "locked" else None,
        asked(client.get_object_legal_hold, **about) if bucket == "locked" else None,
    )


def lose_names(dc: Dc) -> None:
    shutil.rmtree(dc.folder / "names")


def rebuilt(dc: Dc) -> Any:
    return json.loads(farshore("names", "rebuild", dc.folder, "--json").stdout)


def test_everything_comes_back(make: Make) -> None:
    dc = make()
    keys = dc.facts("user", "add", "ann@example.com")
    others = dc.facts("user", "add", "bob@example.com")
    dc.cli("user", "delete", "bob@example.com")
    client = s3_client(dc.s3_port, keys)
    fill(client, 600)
    before = seen(client)
    # Killed: what is not in the journal yet stays out of it.
    time.sleep(1)
    dc.kill()
    lose_names(dc)
    refused = farshore("serve", dc.folder, check=False)
    assert refused.returncode == 1 and "names rebuild" in refused.stderr
    dry = json.loads(farshore("names", "rebuild", dc.folder, "--json", "--dry-run").stdout)
    assert not (dc.folder / "names").exists()
    report = rebuilt(dc)
    assert {**report, "containers": 0, "bytes_read": 0, "records": 0} == {
        **dry, "containers": 0, "bytes_read": 0, "records": 0
    }  # fmt: skip
    assert (report["lost"], report["buckets"], report["users"], report["keys"]) == (0, 3, 1, 1)
    dc.start()
    after = seen(client)
    for bucket, facts in before.items():
        for name, fact in facts.items():
            assert after[bucket][name] == fact, (bucket, name)
    assert after == before
    with pytest.raises(ClientError):
        s3_client(dc.s3_port, others).list_buckets()
    # It goes on as ever.
    client.put_object(Bucket="plain", Key="new", Body=b"new")
    assert client.get_object(Bucket="plain", Key="new")["Body"].read() == b"new"
    with pytest.raises(ClientError):
        client.delete_object(
            Bucket="locked", Key="held", VersionId=before["locked"]["versions"][0]["VersionId"]
        )
    dc.stop()
    assert farshore("check", dc.folder).returncode == 0


def folders(root: Path) -> list[Path]:
    return [root / f"disk{number}" for number in range(6)]


def test_everything_comes_back_with_two_of_six_disks_lost(tmp_path: Path, make: Make) -> None:
    dc = make(redundancy="4+2", disks=6)
    client = s3_client(dc.s3_port, dc.facts("user", "add", "ann@example.com"))
    fill(client, 300)
    before = seen(client)
    assert dc.stop() == 0
    lose_names(dc)
    for folder in folders(tmp_path)[1:3]:
        shutil.rmtree(folder)
    assert "names rebuild" in farshore("serve", dc.folder, check=False).stderr
    report = rebuilt(dc)
    # Four disks are enough to read, and too few to write to.
    assert report["lost"] == 0 and "4 of 6 disks" in report["not_journaled"]
    dc.start()
    assert seen(client) == before
    for folder in folders(tmp_path)[1:3]:
        dc.cli("disk", "prepare", folder)
    eventually("all is journaled", lambda: dc.facts("status")["journal_behind"] == 0, 60)
    client.put_object(Bucket="plain", Key="later", Body=b"later")
    before = seen(client)
    dc.stop()
    lose_names(dc)
    assert rebuilt(dc)["not_journaled"] == ""
    dc.start()
    assert seen(client) == before


def test_killed_in_the_middle_and_made_again(make: Make) -> None:
    dc = make()
    client = s3_client(dc.s3_port, dc.facts("user", "add", "ann@example.com"))
    fill(client, 300)
    before = seen(client)
    assert dc.stop() == 0
    lose_names(dc)
    chance = random.Random(5)
    killed = 0
    for number in range(8):
        process = subprocess.Popen(
            [FARSHORE, "names", "rebuild", dc.folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.3 + 0.2 * number + chance.random() * 0.1)
        process.kill()
        killed += process.wait() < 0
        if (dc.folder / "names").exists():
            lose_names(dc)
    # How many of them depends on the machine; the first is killed before it is done on any.
    assert killed
    rebuilt(dc)
    assert not (dc.folder / "names.rebuild").exists()
    dc.start()
    assert seen(client) == before


def test_a_peer_gives_back_what_is_lacking(make: Make) -> None:
    """Names are lost, and then some of the bytes, too: both come from the other datacenter."""
    paris, tokyo = make("paris"), make("tokyo")
    pair(paris, tokyo)
    keys = paris.facts("user", "add", "ann@example.com")
    client = s3_client(paris.s3_port, keys)
    there = s3_client(tokyo.s3_port, keys)
    fill(client, 300)
    eventually("they are the same", lambda: same(paris), 60)
    paris.stop()
    # Paris hears nothing of this before it loses its names.
    there.put_object(Bucket="plain", Key="from tokyo", Body=b"tokyo")
    there.delete_object(Bucket="plain", Key="small")
    before = seen(there)
    lose_names(paris)
    largest = max((paris.folder / "containers").glob("*.fsc"), key=lambda path: path.stat().st_size)
    largest.unlink()
    done = farshore("names", "rebuild", paris.folder, "--json", check=False)
    report = json.loads(done.stdout)
    assert done.returncode == 1 and report["lost"] > 0 and report["peers"] == 1
    paris.start()
    eventually("they are the same again", lambda: same(paris) and same(tokyo), 120)
    eventually("all bytes are here", lambda: readable(client, before), 60)
    assert alike(seen(client)) == alike(before)
    client.put_object(Bucket="plain", Key="from paris", Body=b"paris")
    eventually(
        "it goes on", lambda: asked(there.head_object, Bucket="plain", Key="from paris") != "404"
    )
    verified = paris.cli("replication", "verify", check=False)
    assert verified.returncode == 0, verified.stdout + verified.stderr


def same(dc: Dc) -> bool:
    (peer,) = dc.facts("replication", "status")["peers"]
    return bool(peer["state"] == "IDENTICAL")


def readable(client: Any, wanted: dict[str, Any]) -> bool:
    answers = [one[1] for bucket in seen(client).values() for one in bucket["objects"]]
    return all(isinstance(answer, dict) for answer in answers)


def alike(found: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the datacenter that is asked."""
    for facts in found.values():
        for one in facts["objects"]:
            one[1].pop("ReplicationStatus", None)
    return {bucket: facts["objects"] for bucket, facts in found.items()}


SETTLED_SECONDS = 2.0
"""What was acknowledged longer ago than this must be in the journal; nobody says when it is."""


@pytest.mark.parametrize("turn", range(2))
def test_names_are_lost_under_load(make: Make, turn: int) -> None:
    """Killed at any moment: of what was acknowledged no object is missing that has bytes, and what
    was deleted a while ago stays so."""
    dc = make()
    keys = dc.facts("user", "add", "ann@example.com")
    client = s3_client(dc.s3_port, keys)
    client.create_bucket(Bucket="shared")
    early = Load(dc.s3_port, keys, f"early-{turn}")
    time.sleep(3)
    early.end()
    time.sleep(SETTLED_SECONDS)
    late = Load(dc.s3_port, keys, f"late-{turn}")
    time.sleep(random.Random(turn).uniform(0.5, 3))
    dc.kill()
    late.end()
    lose_names(dc)
    assert rebuilt(dc)["lost"] == 0
    dc.start()
    assert missing(client, early) == []
    check_unknown(client, early)
    check_unknown(client, late)
    written = {key: body for key, body in late.acknowledged.items() if body is not None}
    late.acknowledged = written
    assert len(written) > 20
    # Content is never empty: all of these have idents.
    assert missing(client, late) == []
