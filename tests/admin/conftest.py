"""Real `farshore` processes for the tests of the admin part, ended with the test."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FARSHORE = [sys.executable, "-m", "admin"]
ANY_PORTS = ["--s3", "127.0.0.1:0", "--peer", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
START_SECONDS_MAX = 20


def farshore(
    *args: str | Path, variables: dict[str, str] | None = None, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    env = {name: value for name, value in os.environ.items() if name != "FARSHORE_DC"}
    return subprocess.run(
        [*FARSHORE, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**env, **(variables or {})},
        **more,
    )


def init(root: Path, name: str = "paris", *more: str) -> None:
    done = farshore("init", root, "--name", name, *ANY_PORTS, *more)
    assert done.returncode == 0, done.stderr


def run_file(root: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((root / "run.json").read_text())
    except FileNotFoundError:
        return {}
    return found


class Serving:
    """`farshore serve` of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.process = subprocess.Popen(
            [*FARSHORE, "serve", str(root)], stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while run_file(root).get("pid") != self.process.pid:
            assert self.process.poll() is None, self.stop()
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.02)

    def cli(self, *args: str) -> subprocess.CompletedProcess[str]:
        return farshore("-C", self.root, *args)

    def facts(self, *args: str) -> Any:
        done = self.cli(*args, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self, number: int = signal.SIGTERM) -> str:
        """What it wrote to standard error."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.communicate(timeout=15)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One datacenter that runs for all tests of a file."""
    root = tmp_path_factory.mktemp("dc") / "paris"
    init(root)
    running = Serving(root)
    yield running
    running.stop()
