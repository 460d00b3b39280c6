"""kill -9 during an import, at any moment: the same command again goes on, and nothing is wrong."""

import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from process_kit import FARSHORE, Dc, farshore, s3_client

pytestmark = pytest.mark.process

KILLS = 3
LARGE_BYTES = 60_000_000


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Dc, Dc]]:
    """paris and tokyo, paired without a link."""
    dcs = [Dc(tmp_path / name, name, "--advertise", "127.0.0.1:1") for name in ("paris", "tokyo")]
    try:
        for dc in dcs:
            dc.start()
        tokens = [dc.cli("token", "issue").stdout.splitlines()[-1] for dc in dcs]
        dcs[0].cli("dc", "add", tokens[1], "--offline")
        dcs[1].cli("dc", "add", tokens[0], "--offline")
        yield dcs[0], dcs[1]
    finally:
        for dc in dcs:
            dc.end()


def test_kills_in_the_middle_of_an_import(apart: tuple[Dc, Dc], tmp_path: Path) -> None:
    paris, tokyo = apart
    keys = paris.facts("user", "add", "ann@example.org")
    client = s3_client(paris.s3_port, keys)
    client.create_bucket(Bucket="shared")
    bodies = {f"{number}": os.urandom(20_000) for number in range(300)}
    bodies["large"] = os.urandom(LARGE_BYTES)
    for key, body in bodies.items():
        client.put_object(Bucket="shared", Key=key, Body=body)
    file = tmp_path / "paris.farshore"
    paris.cli("replication", "export", "--to", "tokyo", file)
    chance = random.Random(7)
    for turn in range(KILLS):
        importing = subprocess.Popen(
            [FARSHORE, "-C", tokyo.folder, "replication", "import", file],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.3, 0.9))
        tokyo.kill()
        assert importing.wait(30) in (0, 1), f"turn {turn}"
        tokyo.start()
    report = tokyo.facts("replication", "import", file)
    assert report["complete"] and report["unfinished"] == 0 and not report["gap"]
    there = s3_client(tokyo.s3_port, keys)
    for key, body in bodies.items():
        assert there.get_object(Bucket="shared", Key=key)["Body"].read() == body
    back = tmp_path / "tokyo.farshore"
    tokyo.cli("replication", "export", "--to", "paris", back)
    assert paris.facts("replication", "import", back)["identical"]
    checked = farshore("check", tokyo.folder, check=False)
    assert checked.returncode in (0, 1)
