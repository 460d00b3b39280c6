"""A datacenter on several disks, whose disks are lost, damaged and killed under load: nothing that
was acknowledged is lost, and no wrong byte is served."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from process_kit import Dc, eventually, s3_client
from test_kills import Load, check_unknown, missing

pytestmark = pytest.mark.process

Make = Callable[..., Dc]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes a running datacenter with a user and the bucket `shared`."""
    made: list[Dc] = []

    def start(redundancy: str, disks: int) -> Dc:
        options = [item for disk in folders(tmp_path, disks) for item in ("--disk", disk)]
        dc = Dc(tmp_path / "dc", "dc", "--redundancy", redundancy, *options)
        made.append(dc)
        dc.start()
        return dc

    yield start
    for dc in made:
        dc.end()


def folders(root: Path, count: int) -> list[Path]:
    return [root / f"disk{number}" for number in range(count)]


def remove(folder: Path) -> None:
    """At once: the datacenter may begin files in it meanwhile."""
    gone = folder.with_name(f"{folder.name}-gone")
    folder.rename(gone)
    shutil.rmtree(gone)


def user(dc: Dc) -> dict[str, str]:
    keys: dict[str, str] = dc.facts("user", "add", "ann@example.com")
    s3_client(dc.s3_port, keys).create_bucket(Bucket="shared")
    return keys


def load_for(dc: Dc, keys: dict[str, str], label: str, seconds: float) -> Load:
    load = Load(dc.s3_port, keys, label)
    time.sleep(seconds)
    return load


@pytest.mark.parametrize(("redundancy", "disks"), [("2+1", 3), ("4+2", 6), ("1+2", 4)])
def test_disks_are_lost_under_load(tmp_path: Path, make: Make, redundancy: str, disks: int) -> None:
    dc = make(redundancy, disks)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    lost, loads = folders(tmp_path, disks)[: int(redundancy[-1])], []
    for number, folder in enumerate(lost):
        load = load_for(dc, keys, f"before-{number}", 1)
        remove(folder)
        time.sleep(0.5)
        load.end()
        loads.append(load)
    for load in loads:
        assert missing(client, load) == []
    # One is not enough to stop anybody from writing.
    after = load_for(dc, keys, "after", 1)
    after.end()
    assert any(after.acknowledged.values()) == (redundancy != "4+2")
    dc.kill()
    dc.start()
    facts = dc.facts("status")
    assert (facts["redundancy"], facts["disks"]) == (redundancy, disks)
    assert facts["disks_missing"] == [str(folder) for folder in lost]
    for load in (*loads, after):
        assert missing(client, load) == []
        check_unknown(client, load)


def test_a_disk_that_comes_back_is_used_again(tmp_path: Path, make: Make) -> None:
    """What is missing on it is decoded around."""
    dc = make("2+1", 3)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    folder = folders(tmp_path, 3)[1]
    first = load_for(dc, keys, "first", 1)
    first.end()
    dc.stop()
    folder.rename(tmp_path / "away")
    dc.start()
    second = load_for(dc, keys, "second", 1)
    second.end()
    dc.stop()
    (tmp_path / "away").rename(folder)
    dc.start()
    assert dc.facts("status")["disks_missing"] == []
    third = load_for(dc, keys, "third", 1)
    third.end()
    remove(folders(tmp_path, 3)[0])
    for load in (first, third):
        assert missing(client, load) == []


@pytest.mark.parametrize("seed", range(2))
def test_disks_rot(tmp_path: Path, make: Make, seed: int) -> None:
    """Random bytes of all files of as many disks as may be lost, and pieces cut off."""
    chance = random.Random(seed)
    dc = make("4+2", 6)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    load = load_for(dc, keys, "rot", 1)
    load.end()
    for folder in chance.sample(folders(tmp_path, 6), 2):
        for path in folder.rglob("*.fss"):
            damage(path, chance)
    assert missing(client, load) == []
    dc.stop()
    dc.start()
    assert missing(client, load) == []


def damage(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(1 + len(data) // 10_000):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    if chance.random() < 0.3:
        del data[chance.randrange(len(data)) :]
    path.write_bytes(data)


def test_a_lost_disk_is_replaced(tmp_path: Path, make: Make) -> None:
    """While all goes on: and then another one may be lost."""
    dc = make("2+1", 3)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    first = load_for(dc, keys, "first", 1)
    lost, other, _ = folders(tmp_path, 3)
    remove(lost)
    time.sleep(0.5)
    first.end()
    refused = dc.cli("disk", "prepare", other, check=False)
    assert refused.returncode == 1 and "is a disk of this datacenter already" in refused.stderr
    refused = dc.cli("disk", "prepare", tmp_path / "elsewhere", check=False)
    assert refused.returncode == 1 and "none of objects.disks" in refused.stderr
    eventually("it is missed", lambda: dc.facts("status")["disks_missing"] == [str(lost)])
    dc.cli("disk", "prepare", lost)
    # What is being written is mended when it is sealed, at the latest by a restart.
    dc.stop()
    dc.start()

    def whole() -> bool:
        facts = dc.facts("status")
        return facts["containers"] == facts["containers_whole"] and not facts["disks_missing"]

    eventually("all is written anew", whole, 60)
    assert dc.facts("status")["slots_mended"] > 0
    remove(other)
    assert missing(client, first) == []
    check_unknown(client, first)


def test_kills_lose_nothing(tmp_path: Path, make: Make) -> None:
    dc = make("2+1", 3)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    chance, loads = random.Random(5), []
    for turn in range(5):
        load = load_for(dc, keys, f"kill-{turn}", chance.uniform(0.3, 1))
        dc.kill()
        load.end()
        loads.append(load)
        dc.start()
    remove(folders(tmp_path, 3)[2])
    for load in loads:
        assert load.acknowledged
        assert missing(client, load) == []
        check_unknown(client, load)


def test_with_too_few_disks_it_reads_and_says_so(tmp_path: Path, make: Make) -> None:
    dc = make("4+2", 6)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    client.put_object(Bucket="shared", Key="kept", Body=b"kept" * 1000)
    dc.stop()
    for folder in folders(tmp_path, 6)[:2]:
        remove(folder)
    dc.start()
    assert client.get_object(Bucket="shared", Key="kept")["Body"].read() == b"kept" * 1000
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket="shared", Key="new", Body=b"new")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] >= 500
    eventually("the log says why", lambda: "4 of 6 disks can be written" in dc.log())
