"""Space comes back in a real datacenter: what was deleted and overwritten goes from the disk, while
others write, and also when it is killed again and again; everything else reads back."""

import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from process_kit import Dc, eventually, farshore, s3_client
from test_kills import Load, missing

pytestmark = pytest.mark.process

Make = Callable[[str], Dc]
DISKS = {"1+0": 0, "2+1": 3}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Dc] = []

    def start(redundancy: str) -> Dc:
        options: list[object] = []
        for number in range(DISKS[redundancy]):
            options += ["--disk", tmp_path / f"disk{number}"]
        if options:
            options += ["--redundancy", redundancy]
        dc = Dc(tmp_path / "dc", "dc", *options)
        config = dc.folder / "farshore.toml"
        text = re.sub(
            r"(?m)^compaction_(every|grace) = .*$", r'compaction_\1 = "1s"', config.read_text()
        )
        config.write_text(text)
        made.append(dc)
        dc.start()
        return dc

    yield start
    for dc in made:
        dc.end()


def taken(tmp_path: Path) -> int:
    """Bytes of all containers."""
    return sum(path.stat().st_size for path in tmp_path.rglob("*.fs[cs]"))


def fill(client: Any, seed: int = 0) -> dict[str, bytes]:
    """Small and large objects, some overwritten, an upload, old versions; most of it is deleted."""
    chance = random.Random(seed)
    kept: dict[str, bytes] = {}
    for number in range(120):
        key, data = f"{seed}/{number}", chance.randbytes(chance.choice([100, 4096, 50_000]))
        client.put_object(Bucket="shared", Key=key, Body=data)
        kept[key] = data
    for number in range(4):
        key, data = f"{seed}/large {number}", chance.randbytes(3_000_000)
        client.put_object(Bucket="shared", Key=key, Body=data)
        kept[key] = data
    for key in [key for key in kept if chance.random() < 0.2]:
        kept[key] = chance.randbytes(3000)
        client.put_object(Bucket="shared", Key=key, Body=kept[key])
    for key in [key for key in kept if chance.random() < 0.7]:
        client.delete_object(Bucket="shared", Key=key)
        del kept[key]
    upload = client.create_multipart_upload(Bucket="shared", Key=f"{seed}/up")["UploadId"]
    parts = []
    kept[f"{seed}/up"] = b""
    for number, size in ((1, 5 << 20), (2, 1000)):
        data = chance.randbytes(size)
        where = {"Bucket": "shared", "Key": f"{seed}/up", "UploadId": upload, "PartNumber": number}
        etag = client.upload_part(**where, Body=data)["ETag"]
        parts.append({"PartNumber": number, "ETag": etag})
        kept[f"{seed}/up"] += data
    client.complete_multipart_upload(
        Bucket="shared", Key=f"{seed}/up", UploadId=upload, MultipartUpload={"Parts": parts}
    )
    return kept


def wrong(client: Any, kept: dict[str, bytes]) -> list[str]:
    return [
        key
        for key, data in kept.items()
        if client.get_object(Bucket="shared", Key=key)["Body"].read() != data
    ]


def user(dc: Dc) -> dict[str, str]:
    keys: dict[str, str] = dc.facts("user", "add", "ann@example.com")
    s3_client(dc.s3_port, keys).create_bucket(Bucket="shared")
    return keys


@pytest.mark.parametrize("redundancy", DISKS)
def test_space_comes_back(tmp_path: Path, make: Make, redundancy: str) -> None:
    dc = make(redundancy)
    client = s3_client(dc.s3_port, user(dc))
    kept = fill(client)
    before = taken(tmp_path)
    report = dc.facts("objects", "compact", "--threshold", "0.05")
    alive = sum(map(len, kept.values()))
    k, m = map(int, redundancy.split("+"))
    assert report["removed_containers"] > 0
    assert report["damaged_containers"] == []
    assert taken(tmp_path) < 1.1 * alive * (k + m) / k < before
    facts = dc.facts("objects", "status")
    assert facts["redundancy"] == redundancy
    assert facts["space"]["bytes_live"] == alive
    assert facts["space"]["objects"] == facts["space"]["objects_whole"] == len(kept)
    assert abs(facts["space"]["bytes_raw"] - taken(tmp_path)) < 0.01 * taken(tmp_path)
    assert wrong(client, kept) == []
    shown = dc.cli("objects", "status").stdout
    assert f"{len(kept)} of {len(kept)} at full redundancy" in shown
    dc.kill()
    dc.start()
    assert wrong(client, kept) == []
    dc.stop()
    checked = farshore("check", dc.folder, "--json")
    assert '"defects": 0' in checked.stdout


def test_under_load(tmp_path: Path, make: Make) -> None:
    """What is written meanwhile is there, and nobody is refused."""
    dc = make("2+1")
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    kept = fill(client)
    load = Load(dc.s3_port, keys, "load")
    for _ in range(2):
        dc.cli("objects", "compact", "--threshold", "0.05")
    load.end()
    assert load.acknowledged and not load.unknown, "a client was refused"
    assert missing(client, load) == []
    assert wrong(client, kept) == []


@pytest.mark.parametrize("redundancy", ["1+0", "2+1"])
def test_kills_while_it_compacts(tmp_path: Path, make: Make, redundancy: str) -> None:
    dc = make(redundancy)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    chance = random.Random(3)
    kept = fill(client)
    for turn in range(1, 4):
        dc.kill()
        dc.start()
        time.sleep(chance.uniform(0.1, 2.5))
        kept |= fill(client, turn)
    dc.kill()
    dc.start()
    assert wrong(client, kept) == []
    dc.cli("objects", "compact", "--threshold", "0.05")
    k, m = map(int, redundancy.split("+"))
    assert taken(tmp_path) < 1.1 * sum(map(len, kept.values())) * (k + m) / k
    assert wrong(client, kept) == []


def test_it_comes_back_by_itself(tmp_path: Path, make: Make) -> None:
    """Without anybody asking: what was sealed by a restart."""
    dc = make("1+0")
    client = s3_client(dc.s3_port, user(dc))
    kept = fill(client)
    before = taken(tmp_path)
    dc.stop()
    dc.start()
    eventually("space comes back", lambda: taken(tmp_path) < 0.8 * before)
    assert dc.facts("status")["containers_removed"] > 0
    assert wrong(client, kept) == []
