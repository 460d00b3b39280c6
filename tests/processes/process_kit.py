"""Real farshore processes, as a user runs them: `farshore init`, `serve`, and the rest."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from admin.client import AdminClient

BIN = Path(sys.executable).parent
FARSHORE = BIN / "farshore"


def free_port() -> int:
    """Not one of those that the system gives to connections (from 32768 on): they would take it
    while the datacenter is down, and other tests run at the same time."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def farshore(
    *arguments: object, check: bool = True, prefix: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """The command line; `prefix` is what runs it."""
    done = subprocess.run(
        [*prefix, FARSHORE, *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{arguments}: {done.stderr}"
    return done


def eventually(what: str, ready: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `ready` says so; fail with `what` when it does not in time. Half of the time is
    left to what is waited for: to look may be a command, which costs more than a wait."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if ready():
            return
        took = time.monotonic() - began
        assert began + took < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(max(0.05, min(took, 1.0)))


def s3_client(port: int, keys: dict[str, str], **settings: Any) -> Any:
    config = Config(
        retries={"total_max_attempts": 1},
        connect_timeout=5,
        read_timeout=30,
        s3={"addressing_style": "path"},
        **settings,
    )
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
        region_name="us-east-1",
        config=config,
    )


class Dc:
    """A datacenter in a folder, and its process. `options` are further ones of `init`."""

    prefix: Sequence[str] = ()
    """What runs its process and commands."""

    def __init__(self, folder: Path, name: str, *options: object) -> None:
        self.folder = folder
        self.name = name
        self.s3_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        farshore(
            "init", folder, "--name", name, "--s3", f"127.0.0.1:{self.s3_port}",
            "--peer", f"127.0.0.1:{free_port()}", "--admin", f"127.0.0.1:{free_port()}",
            *options,
        )  # fmt: skip

    def start(self) -> None:
        log = (self.folder.parent / f"{self.name}.log").open("ab")
        self.process = subprocess.Popen(
            [*self.prefix, FARSHORE, "serve", self.folder],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        eventually(f"{self.name} answers", self.answers)

    def answers(self) -> bool:
        """Whether this process has written run.json, which it does when all of it listens."""
        assert self.process is not None and self.process.poll() is None, self.log()
        with contextlib.suppress(FileNotFoundError):
            run = json.loads((self.folder / "run.json").read_text())
            return bool(run["pid"] == self.process.pid)
        return False

    def log(self) -> str:
        return (self.folder.parent / f"{self.name}.log").read_text()[-3000:]

    def cli(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return farshore("-C", self.folder, *arguments, check=check, prefix=self.prefix)

    def facts(self, *arguments: object) -> Any:
        return json.loads(self.cli(*arguments, "--json").stdout)

    def ask(self, *path: str) -> Any:
        """The same of the admin API, without a process for it: to be asked again and again."""
        return AdminClient(self.folder).get(*path)

    def kill(self) -> None:
        """SIGKILL to everything that `serve` started."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 10.0) -> int:
        """SIGTERM; the exit code. It must end within `seconds`."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(seconds)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def pair(one: Dc, two: Dc) -> None:
    token = one.cli("token", "issue").stdout.splitlines()[-1]
    two.cli("dc", "add", token)


def keys_of(objects: list[dict[str, Any]]) -> list[str]:
    return [found["Key"] for found in objects]


def all_keys(client: Any, bucket: str, prefix: str = "") -> set[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {found["Key"] for page in pages for found in page.get("Contents", [])}
