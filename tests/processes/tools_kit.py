"""Clients that Debian has, run against a datacenter. A test that needs one which is not installed
says so and is skipped; continuous integration installs them all (`.ci/run`)."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest
from process_kit import BIN, Dc

REGION = "us-east-1"


def needed(tool: str) -> str:
    """The path of a program; the test is skipped without it."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def run(
    command: list[object], environment: Mapping[str, str], *, code: int = 0, seconds: float = 120
) -> str:
    """Standard output of a program that ends with `code`."""
    done = subprocess.run(
        [str(each) for each in command],
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Tools:
    """The programs, with a user's keys and a home of their own."""

    def __init__(self, home: Path, keys: dict[str, str]) -> None:
        self.home = home
        self._keys = keys
        self._environment = {
            "HOME": str(home),
            "AWS_ACCESS_KEY_ID": keys["access_key"],
            "AWS_SECRET_ACCESS_KEY": keys["secret_key"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": str(home / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(home / "none"),
        }

    def aws(self, dc: Dc, *arguments: object, code: int = 0) -> str:
        endpoint = f"http://127.0.0.1:{dc.s3_port}"
        command = [BIN / "aws", "--endpoint-url", endpoint, "--region", dc.name, *arguments]
        return run(command, self._environment, code=code)

    def s3cmd(self, dc: Dc, *arguments: object, code: int = 0) -> str:
        host = f"127.0.0.1:{dc.s3_port}"
        command = [
            needed("s3cmd"), "--no-ssl", "--config", self.home / "none", "--host", host,
            "--host-bucket", host, "--access_key", self._keys["access_key"],
            "--secret_key", self._keys["secret_key"], "--region", REGION, "--no-progress",
            *arguments,
        ]  # fmt: skip
        return run(command, self._environment, code=code)

    def rclone(self, *arguments: object, code: int = 0, **dcs: Dc) -> str:
        """Each datacenter is a remote by the name that it is given here."""
        environment = dict(self._environment)
        for name, dc in dcs.items():
            settings = {
                "type": "s3",
                "provider": "Other",
                "env_auth": "true",
                "endpoint": f"http://127.0.0.1:{dc.s3_port}",
                "region": REGION,
                "chunk_size": "5M",
                "upload_cutoff": "5M",
            }
            for key, value in settings.items():
                environment[f"RCLONE_CONFIG_{name.upper()}_{key.upper()}"] = value
        command = [needed("rclone"), "--config", "", "--retries", "1", *arguments]
        return run(command, environment, code=code)

    def restic(self, dc: Dc, bucket: str, *arguments: object, code: int = 0) -> str:
        environment = {
            **self._environment,
            "RESTIC_PASSWORD": "correct horse",
            "RESTIC_REPOSITORY": f"s3:http://127.0.0.1:{dc.s3_port}/{bucket}",
        }
        return run([needed("restic"), "--no-cache", *arguments], environment, code=code)


def grow(folder: Path, seed: int, files: int = 20, large: int = 0) -> Path:
    """A tree of small files with awkward names, an empty one, and one large."""
    chance = Random(seed)
    for number in range(files):
        path = folder / f"dir {number % 3}" / f"file-{number} é+&%20.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(number * 997))
    if large:
        (folder / "large.bin").write_bytes(chance.randbytes(large))
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
