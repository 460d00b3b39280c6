"""Disks that are full, or whose syncs fail, under a real datacenter: what was acknowledged stays,
what is not stored is said, and writes go on as soon as they can."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from process_kit import Dc, eventually, s3_client
from test_disks import folders, load_for, user
from test_kills import check_unknown, missing
from test_recoding import configure

pytestmark = pytest.mark.process

PIECE = 256 << 10


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Any]:
    """Makes a folder a disk of so many MiB of its own."""
    made: list[Path] = []

    def make(folder: Path, mib: int) -> None:
        folder.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"disks cannot be mounted here: {done.stderr.strip()}")
        made.append(folder)

    yield make
    for folder in made:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def dcs() -> Iterator[list[Dc]]:
    made: list[Dc] = []
    yield made
    for dc in made:
        dc.end()


def made_on(root: Path, dcs: list[Dc], mode: str, disks: int) -> Dc:
    options = [item for disk in folders(root, disks) for item in ("--disk", disk)]
    dc = Dc(root / "dc", "dc", "--redundancy", mode, *options)
    configure(dc, compaction_every="1s", compaction_grace="1s")
    dcs.append(dc)
    dc.start()
    return dc


def fill(client: Any, bodies: dict[str, bytes], most: int) -> str:
    """Put until it is refused, so many at most; the code of the refusal, or ""."""
    chance = random.Random(len(bodies))
    for number in range(most):
        body = chance.randbytes(PIECE)
        try:
            client.put_object(Bucket="shared", Key=f"k{number}", Body=body)
        except ClientError as error:
            code: str = error.response["Error"]["Code"]
            return code
        bodies[f"k{number}"] = body
    return ""


def wrong(client: Any, bodies: dict[str, bytes]) -> list[str]:
    def got(key: str) -> bytes:
        found: bytes = client.get_object(Bucket="shared", Key=key)["Body"].read()
        return found

    return [key for key, body in bodies.items() if got(key) != body]


def test_all_disks_are_full_and_space_comes_back(tmp_path: Path, small: Any, dcs: list[Dc]) -> None:
    for folder in folders(tmp_path, 3):
        small(folder, 8)
    dc = made_on(tmp_path, dcs, "2+1", 3)
    client, bodies = s3_client(dc.s3_port, user(dc)), {}
    assert fill(client, bodies, 200) == "InsufficientStorage"
    assert len(bodies) > 20 and "disk is full" in dc.log()
    assert wrong(client, bodies) == []
    dc.kill()
    dc.start()
    assert wrong(client, bodies) == []
    for key in bodies:
        client.delete_object(Bucket="shared", Key=key)

    def writes() -> bool:
        return not fill(client, {}, 8)

    eventually("deleted bytes make room", writes, seconds=40)


def test_one_disk_that_is_full_holds_up_nobody(tmp_path: Path, small: Any, dcs: list[Dc]) -> None:
    small(folders(tmp_path, 4)[0], 2)
    dc = made_on(tmp_path, dcs, "2+1", 4)
    client, bodies = s3_client(dc.s3_port, user(dc)), {}
    assert fill(client, bodies, 60) == ""
    assert wrong(client, bodies) == []
    assert "No space left on device" in (tmp_path / "dc.log").read_text()


@pytest.mark.parametrize("mode", ["1+0", "2+1"])
def test_syncs_that_fail_acknowledge_nothing(tmp_path: Path, dcs: list[Dc], mode: str) -> None:
    """The kernel says EIO of every fdatasync for a while, of names and of containers."""
    assert shutil.which("strace"), "strace is needed: apt-get install strace"
    dc = made_on(tmp_path, dcs, mode, 0 if mode == "1+0" else 3)
    keys = user(dc)
    client = s3_client(dc.s3_port, keys)
    loads = [load_for(dc, keys, "before", 0.5)]
    loads[0].end()
    assert dc.process is not None
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=fdatasync"]
    command += ["-e", "inject=fdatasync:error=EIO", "-p", str(dc.process.pid)]
    with subprocess.Popen(command) as tracer:
        loads.append(load_for(dc, keys, "failing", 2.0))
        loads[1].end()
        tracer.send_signal(signal.SIGINT)
        tracer.wait(10)
    assert loads[1].unknown, "no sync has failed"
    assert "nput/output error" in (tmp_path / "dc.log").read_text()
    dc.kill()
    dc.start()
    loads.append(load_for(dc, keys, "after", 0.5))
    loads[2].end()
    assert loads[0].acknowledged and loads[2].acknowledged
    for load in loads:
        assert missing(client, load) == []
        check_unknown(client, load)
