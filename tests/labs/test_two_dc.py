"""The two-datacenter lab, as docs/labs.md describes it, on a real Docker engine.

Builds the base image and the image, brings the lab up under a project name and ports of its
own, pairs the two by labs/two-dc/pair.sh, and takes an object from one DC to the other.
Whatever happens, containers, networks and volumes go away again.
"""

import os
import re
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "labs" / "two-dc" / "compose.yaml"
IMAGE = "farshore:lab-test"
DCS = ("paris", "tokyo")

BUILD_SECONDS_MAX = 1200
STEP_SECONDS_MAX = 120
ARRIVAL_SECONDS_MAX = 60

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]


def say(text: str) -> None:
    print(f"[two-dc] {text}", flush=True)


def run(*command: str, env: dict[str, str] | None = None, seconds: int = STEP_SECONDS_MAX) -> str:
    """The command's standard output; its failure, with both outputs, is the test's."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}"
        pytest.fail(f"{' '.join(command)} ended with {done.returncode}:\n{said}", pytrace=False)
    return done.stdout


def require_engine() -> None:
    """Skips without a Docker engine; in CI (CI=true) its absence is a failure."""
    missing = None
    if shutil.which("docker") is None:
        missing = "there is no docker command"
    else:
        try:
            command = ["docker", "version", "--format", "{{.Server.Version}}"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
            if answer.returncode:
                missing = f"no Docker engine answers: {answer.stderr.strip()}"
        except subprocess.TimeoutExpired:
            missing = "the Docker engine does not answer within 20 s"
    if missing is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{missing}, and CI=true asks for one", pytrace=False)
    pytest.skip(missing)


def compose_command() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
    command = ["docker", "compose"] if plugin.returncode == 0 else ["docker-compose"]
    return [*command, "-f", str(COMPOSE_FILE)]


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all held at once so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


@dataclass
class Lab:
    ports: dict[str, int]
    env: dict[str, str]
    compose: list[str] = field(default_factory=compose_command)

    def run(self, *arguments: str) -> str:
        return run(*self.compose, *arguments, env=self.env)

    def inspect(self, dc: str, template: str) -> str:
        container = self.run("ps", "-q", dc).strip()
        return run("docker", "inspect", "--format", template, container).strip()

    def s3(self, dc: str, key_id: str, secret: str) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.ports[dc]}",
            region_name={"paris": "eu", "tokyo": "asia"}[dc],
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )


@pytest.fixture(scope="module")
def image() -> str:
    require_engine()
    started = time.monotonic()
    say("building the image")
    run("labs/build-image.sh", IMAGE, seconds=BUILD_SECONDS_MAX)
    say(f"built in {time.monotonic() - started:.0f} s")
    return IMAGE


@pytest.fixture(scope="module")
def lab(image: str) -> Iterator[Lab]:
    ports = dict(zip(DCS, free_ports(len(DCS)), strict=True))
    env = {
        "COMPOSE_PROJECT_NAME": f"farshore-test-{uuid.uuid4().hex[:8]}",
        "FARSHORE_IMAGE": image,
        "PARIS_S3": f"127.0.0.1:{ports['paris']}",
        "TOKYO_S3": f"127.0.0.1:{ports['tokyo']}",
    }
    lab = Lab(ports, env)
    say(f"bringing up {env['COMPOSE_PROJECT_NAME']}")
    try:
        lab.run("up", "-d")
        yield lab
    finally:
        logs = subprocess.run(
            [*lab.compose, "logs", "--no-color", "--tail", "40"],
            cwd=ROOT,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS_MAX,
        )
        say(f"the last lines of the logs:\n{logs.stdout}")
        lab.run("down", "--volumes", "--remove-orphans", "--timeout", "20")
        say("taken down")


@pytest.fixture(scope="module")
def keys(lab: Lab) -> tuple[str, str]:
    """The access key of the user that pair.sh made: key id, secret."""
    said = run("labs/two-dc/pair.sh", env=lab.env, seconds=STEP_SECONDS_MAX * 2)
    key_id = re.search(r"(?i)access.?key(?:.?id)?\W+([A-Z0-9]{16,})", said)
    secret = re.search(r"(?i)secret(?:.?access)?(?:.?key)?\W+([A-Za-z0-9/+=_-]{30,})", said)
    assert key_id is not None, f"pair.sh printed no access key:\n{said}"
    assert secret is not None, "pair.sh printed an access key without its secret"
    return key_id[1], secret[1]


def get_when_there(s3: Any, bucket: str, key: str) -> bytes:
    deadline = time.monotonic() + ARRIVAL_SECONDS_MAX
    while True:
        try:
            body: bytes = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body
        except (ClientError, BotoCoreError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def test_image_runs_as_nobody_special_and_holds_no_tools(image: str) -> None:
    """Nothing of the build, of the tests or for the network; botocore for its model of S3 alone."""
    script = (
        "import os, shutil, sys, importlib.util as u; modules, commands = sys.argv[1:];"
        "print(os.getuid(), *filter(u.find_spec, modules.split()),"
        " *filter(shutil.which, commands.split()))"
    )
    modules = "pip setuptools wheel hatchling boto3 awscli pytest mypy ruff botocore"
    commands = "pip pip3 gcc g++ cc ld make git curl wget ssh aws farshore"
    python = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", image]
    said = run(*python, "-c", script, modules, commands)
    assert said.split() == ["10001", "botocore", "farshore"]


def test_object_put_in_paris_is_read_in_tokyo(lab: Lab, keys: tuple[str, str]) -> None:
    paris, tokyo = (lab.s3(dc, *keys) for dc in DCS)
    small, large = b"bonjour", os.urandom(12 * 1024 * 1024 + 7)
    paris.create_bucket(Bucket="hello", CreateBucketConfiguration={"LocationConstraint": "eu"})
    paris.put_object(Bucket="hello", Key="small", Body=small)
    paris.put_object(Bucket="hello", Key="large", Body=large)
    assert get_when_there(tokyo, "hello", "small") == small
    assert get_when_there(tokyo, "hello", "large") == large


@pytest.mark.parametrize("dc", DCS)
def test_container_is_healthy_and_not_root(lab: Lab, keys: tuple[str, str], dc: str) -> None:
    assert lab.inspect(dc, "{{.State.Health.Status}}") == "healthy"
    assert lab.run("exec", "-T", dc, "id", "-u").strip() == "10001"
