"""Paris and nodes of some disks each, all processes of their own."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.admin.conftest import Serving, farshore, init


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Cluster:
    """Paris, and nodes of some disks each."""

    def __init__(self, root: Path, nodes: int, mode: str, disks: int = 1) -> None:
        self.root = root
        self.disks = disks
        init(root / "paris", "paris", "--redundancy", mode)
        self.paris = Serving(root / "paris")
        self.nodes: dict[str, Serving] = {}
        with ThreadPoolExecutor(nodes) as pool:
            list(pool.map(self.join, [f"os{number}" for number in range(nodes)]))
        self.nodes = dict(sorted(self.nodes.items()))
        until(lambda: self.states() == dict.fromkeys(self.nodes, "ok"), True)
        self.key = self.paris.facts("user", "add", "ann@example.com")
        self.s3 = self.client()
        self.s3.create_bucket(Bucket="photos")

    def client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.paris.facts("status")["s3"],
            aws_access_key_id=self.key["access_key"],
            aws_secret_access_key=self.key["secret_key"],
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 0}, read_timeout=60),
        )

    def join(self, name: str) -> None:
        token = self.paris.facts("node", "add")["token"]
        at = f"127.0.0.1:{free_port()}"
        args = ["--name", name, "--listen", at, "--disk", str(self.root / f"disk-{name}")]
        for number in range(1, self.disks):
            args += ["--disk", str(self.root / f"disk{number}-{name}")]
        done = farshore("node", "join", token, self.root / name, *args)
        assert done.returncode == 0, done.stderr
        self.nodes[name] = Serving(self.root / name)

    def states(self) -> dict[str, str]:
        return {one["name"]: one["state"] for one in self.paris.facts("node", "list")}

    def put(self, key: str, size: int) -> bytes:
        body = os.urandom(size)
        self.s3.put_object(Bucket="photos", Key=key, Body=body)
        return body

    def get(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket="photos", Key=key)["Body"].read()
        return body

    def stop(self) -> None:
        for node in self.nodes.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.process.pid, signal.SIGCONT)
            node.stop()
        self.paris.stop()


def until(look: Callable[[], Any], wanted: Any, seconds: float = 40) -> None:
    deadline = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, found
        time.sleep(0.3)
