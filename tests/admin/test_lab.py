"""`farshore lab`: paired datacenters, a user whose keys work everywhere, and a clean end."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from admin.errors import AdminError
from admin.lab.demo import free_bucket
from admin.lab.setup import NAMES, choose_names
from dc.config import is_name
from tests.admin.conftest import FARSHORE, run_file

READY_SECONDS_MAX = 60


class Lab:
    def __init__(self, folder: Path, *more: str) -> None:
        self.ready_file = folder.with_name("ready.json")
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*FARSHORE, "lab", "--dir", str(folder), "--ready-file", str(self.ready_file), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "not ready in time"
            time.sleep(0.05)

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ready_file.read_text())
        return found

    def pids(self) -> list[int]:
        return [dc["pid"] for dc in self.facts["datacenters"]]

    def s3(self, number: int) -> Any:
        dc = self.facts["datacenters"][number]
        return self.client(dc["s3"], dc["region"])

    def client(self, url: str, region: str) -> Any:
        user = self.facts["user"]
        return boto3.client(
            "s3",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=user["access_key"],
            aws_secret_access_key=user["secret_key"],
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def end(self, number: int = signal.SIGTERM) -> tuple[str, str]:
        self.process.send_signal(number)
        try:
            return self.process.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def gone(pid: int, seconds: float = 0) -> bool:
    """Whether a process has ended by then."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z" or time.monotonic() >= deadline:
            return state == "Z"
        time.sleep(0.05)


@pytest.mark.process
def test_lab_from_first_to_last(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    lab = Lab(folder, "--names", "berlin,osaka,lima")
    facts = lab.facts
    assert list(facts) == ["datacenters", "user"]
    assert [dc["name"] for dc in facts["datacenters"]] == ["berlin", "osaka", "lima"]
    for dc in facts["datacenters"]:
        assert list(dc) == ["name", "region", "dir", "s3", "admin", "pid"]
        assert Path(dc["dir"]) == folder / dc["name"]
    assert list(facts["user"]) == ["email", "access_key", "secret_key"]
    for private in (folder / "lab.json", lab.ready_file):
        assert private.stat().st_mode & 0o777 == 0o600
    lab.s3(0).create_bucket(
        Bucket="hello", CreateBucketConfiguration={"LocationConstraint": "berlin"}
    )
    lab.s3(0).put_object(Bucket="hello", Key="a", Body=b"from berlin")
    wait_for(lab.s3(2), "a", b"from berlin")

    # One of them dies: it is started again, and the ready file says its new process.
    victim = lab.pids()[1]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while victim in lab.pids():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    lab.s3(1).put_object(Bucket="hello", Key="b", Body=b"from osaka")
    wait_for(lab.s3(0), "b", b"from osaka")

    children = lab.pids()
    started = time.monotonic()
    out, err = lab.end(signal.SIGINT)
    assert time.monotonic() - started < 10
    assert lab.process.returncode == 0
    assert all(gone(pid) for pid in children)
    assert f"osaka (pid {victim}) was ended by signal 9; starting it again" in err
    assert facts["user"]["secret_key"] in out
    assert sum(" s3 " in line and "--endpoint-url" in line for line in out.splitlines()) == 3

    # Run again, it goes on with what there is, at the same addresses.
    again = Lab(folder)
    for before, after in zip(facts["datacenters"], again.facts["datacenters"], strict=True):
        assert {**before, "pid": 0} == {**after, "pid": 0}
    assert again.facts["user"] == facts["user"]
    wait_for(again.s3(2), "b", b"from osaka")
    second = subprocess.run(
        [*FARSHORE, "lab", "--dir", str(folder)], capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 1 and "already running" in second.stderr

    # Killed, it takes its children along.
    children = again.pids()
    again.end(signal.SIGKILL)
    assert all(gone(pid, 10) for pid in children)


def wait_for(s3: Any, key: str, body: bytes) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            assert s3.get_object(Bucket="hello", Key=key)["Body"].read() == body
            return
        except ClientError as error:
            # The last: a gateway has just been started.
            not_yet = ("NoSuchKey", "NoSuchBucket", "ServiceUnavailable")
            assert error.response["Error"]["Code"] in not_yet
            assert time.monotonic() < deadline, "it has not arrived"
            time.sleep(0.05)


@pytest.mark.process
def test_a_lab_whose_port_is_taken_says_so(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab", "--dcs", "1")
    children = lab.pids()
    second = tmp_path / "other"
    second.mkdir()
    done = subprocess.run(["cp", "-r", tmp_path / "lab" / "paris", second], check=True)
    assert done.returncode == 0
    refused = subprocess.run(
        [*FARSHORE, "lab", "--dir", str(second), "--names", "paris,tokyo"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    lab.end()
    assert all(gone(pid) for pid in children)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "paris did not start: port " in refused.stderr and "is taken" in refused.stderr


@pytest.mark.process
def test_a_lab_with_gateways(tmp_path: Path) -> None:
    """They serve at addresses that stay, and are started again like datacenters."""
    folder = tmp_path / "lab"
    lab = Lab(folder, "--dcs", "1", "--gateways", "2")
    one, two = (gateway(folder, lab, f"paris-gw{number}") for number in (1, 2))
    one.create_bucket(Bucket="hello")
    one.put_object(Bucket="hello", Key="a", Body=b"by one")
    assert two.get_object(Bucket="hello", Key="a")["Body"].read() == b"by one"
    out, _ = lab.end()
    assert all(f"paris-gw{number}" in out for number in (1, 2)) and "S3 ENDPOINT" in out
    again = Lab(folder)
    wait_for(two, "a", b"by one")
    victim = run_file(folder / "paris-gw2")["pid"]
    os.kill(victim, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while run_file(folder / "paris-gw2")["pid"] == victim:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    wait_for(two, "a", b"by one")
    again.end()


def gateway(folder: Path, lab: Lab, name: str) -> Any:
    """A client of a gateway node."""
    at = run_file(folder / name)["s3"]
    return lab.client(f"http://{at['host']}:{at['port']}", "paris")


def test_names() -> None:
    assert choose_names([], None, []) == ["paris", "tokyo"]
    assert choose_names([], 3, []) == ["paris", "tokyo", "austin"]
    assert choose_names([], None, ["a", "b", "c"]) == ["a", "b", "c"]
    assert choose_names([], 1, ["a", "b"]) == ["a"]
    assert choose_names([], 3, ["tokyo"]) == ["tokyo", "paris", "austin"]
    assert choose_names(["x"], None, ["a", "b"]) == ["x"]
    for bad in (["A"], ["a", "a"], ["a", ""], ["../a"]):
        with pytest.raises(AdminError):
            choose_names(bad, None, [])
    assert len(set(NAMES)) == 16 and all(map(is_name, NAMES))


def test_the_commands_make_a_bucket_of_their_own() -> None:
    assert free_bucket([]) == "hello"
    assert free_bucket(["hello", "hello-2"]) == "hello-3"


@pytest.mark.process
def test_the_demo_loses_nodes_and_a_disk_and_nothing_else(tmp_path: Path) -> None:
    args = ["--dir", str(tmp_path / "lab"), "--dcs", "1", "--nodes", "2", "--redundancy", "1+1"]
    done = subprocess.run(
        [*FARSHORE, "lab", *args, "--demo"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[-1] == "All is as it was put."
    assert [line for line in told if "killed" in line] == [
        "paris-os2: killed (SIGKILL).",
        "paris-os1: killed (SIGKILL).",
    ]
    assert "paris: 124 of 124 objects at full redundancy; repair: idle." in told
    assert "files on its disk removed" in done.stdout


def test_the_demo_takes_nodes(tmp_path: Path) -> None:
    args = [*FARSHORE, "lab", "--dir", str(tmp_path / "lab"), "--demo"]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--nodes 6 --redundancy 4+2" in done.stderr
