"""A datacenter that lost its bytes gets them back from the one it is paired with."""

import os
from pathlib import Path

from tests.admin.conftest import Serving, farshore, init
from tests.admin.test_cli_buckets import client, got, until


def test_lost_bytes_come_back_from_the_peer(tmp_path: Path) -> None:
    for name in ("paris", "tokyo"):
        init(tmp_path / name, name)
    paris, tokyo = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    try:
        token = paris.cli("token", "issue").stdout.strip()
        assert tokyo.cli("dc", "add", token).returncode == 0
        key = paris.facts("user", "add", "ann@example.com")
        s3 = client(paris, key)
        s3.create_bucket(Bucket="photos")
        bodies = {f"k{n}": os.urandom(size) for n, size in enumerate((1, 5000, 2_000_000))}
        for name, body in bodies.items():
            s3.put_object(Bucket="photos", Key=name, Body=body)
        there = client(tokyo, key)
        until(
            lambda: {name: got(there, name) == bodies[name] for name in bodies},
            dict.fromkeys(bodies, True),
        )
        paris.stop()
        for path in (tmp_path / "paris" / "containers").glob("*.fsc"):
            path.unlink()
        done = farshore("check", tmp_path / "paris")
        assert done.returncode == 1 and "is not there" in done.stdout
        done = farshore("check", tmp_path / "paris", "--repair")
        assert done.returncode == 0, done.stdout
        paris = Serving(tmp_path / "paris")
        s3 = client(paris, key)
        until(
            lambda: {name: got(s3, name) == bodies[name] for name in bodies},
            dict.fromkeys(bodies, True),
        )
        until(lambda: paris.cli("replication", "verify").returncode, 0)
        paris.stop()
        assert farshore("check", tmp_path / "paris").returncode == 0
    finally:
        paris.stop()
        tokyo.stop()
