"""`farshore serve` as a process: it stops in order and in time, and survives being killed."""

import http.client
import json
import signal
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from tests.admin.conftest import Serving, init

pytestmark = pytest.mark.process


def s3(running: Serving, user: dict[str, str]) -> Any:
    facts = running.facts("status")
    return boto3.client(
        "s3",
        endpoint_url=facts["s3"],
        region_name=facts["region"],
        aws_access_key_id=user["access_key"],
        aws_secret_access_key=user["secret_key"],
        config=Config(s3={"addressing_style": "path"}, proxies={}, signature_version="s3v4"),
    )


def half_sent(url: str, body: bytes) -> http.client.HTTPConnection:
    """A PUT of which the headers and half of the body are on the way."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=15)
    connection.putrequest("PUT", f"{parts.path}?{parts.query}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[: len(body) // 2])
    time.sleep(0.3)
    return connection


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_requests_under_way_are_finished(tmp_path: Path, number: signal.Signals) -> None:
    root = tmp_path / "paris"
    init(root)
    running = Serving(root)
    user = running.facts("user", "add", "ann@example.com")
    client = s3(running, user)
    client.create_bucket(Bucket="hello", CreateBucketConfiguration={"LocationConstraint": "paris"})
    url = client.generate_presigned_url("put_object", {"Bucket": "hello", "Key": "slow"})
    body = b"0123456789" * 1000
    sending, idle = half_sent(url, body), half_sent(url, body)
    started = time.monotonic()
    running.process.send_signal(number)
    time.sleep(0.7)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0))
    sending.send(body[len(body) // 2 :])
    assert sending.getresponse().status == 200
    said = running.stop()
    assert running.process.returncode == 0, said
    assert time.monotonic() - started < 10
    sending.close()
    idle.close()
    again = Serving(root)
    assert s3(again, user).get_object(Bucket="hello", Key="slow")["Body"].read() == body
    again.stop()


def test_it_stops_at_once_when_idle(tmp_path: Path) -> None:
    init(tmp_path / "paris")
    running = Serving(tmp_path / "paris")
    # A connection that is kept alive does not hold it up.
    port = json.loads((tmp_path / "paris" / "run.json").read_text())["admin"]["port"]
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/health")
    assert connection.getresponse().read() == b'{"status":"ok"}'
    started = time.monotonic()
    said = running.stop()
    connection.close()
    assert time.monotonic() - started < 2
    assert running.process.returncode == 0
    assert [json.loads(line)["event"] for line in said.splitlines()] == [
        "serving",
        "stopping",
        "stopped",
    ]


def test_killed_and_started_again(tmp_path: Path) -> None:
    root = tmp_path / "paris"
    init(root)
    running = Serving(root)
    made = running.facts("user", "add", "ann@example.com")
    running.stop(signal.SIGKILL)
    assert running.cli("status").returncode == 1
    again = Serving(root)
    users = again.facts("user", "list")
    assert [user["canonical_id"] for user in users] == [made["canonical_id"]]
    again.stop()


def test_no_secret_is_logged_or_shown(tmp_path: Path) -> None:
    root = tmp_path / "paris"
    init(root)
    config = root / "farshore.toml"
    config.write_text(config.read_text().replace('level = "info"', 'level = "debug"'))
    running = Serving(root)
    made = running.facts("user", "add", "ann@example.com")
    s3(running, made).list_buckets()
    shown = running.cli("status").stdout + running.cli("user", "list").stdout
    said = running.stop()
    token = (root / "admin.token").read_text().strip()
    for secret in (made["secret_key"], token):
        assert secret not in said + shown


def test_it_is_small_and_quiet(serving: Serving) -> None:
    """The limits are 90 MB and 0.5 % of a core; this allows for a busy machine."""
    stat = Path(f"/proc/{serving.process.pid}/stat")
    status = Path(f"/proc/{serving.process.pid}/status").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
    assert rss_kb < 90_000
    loaded = Path(f"/proc/{serving.process.pid}/maps").read_text()
    assert "cryptography" not in loaded and "pydantic" not in loaded
    used = []
    for _ in range(4):  # what came before may still be ending in the first
        before = sum(map(int, stat.read_text().split()[13:15]))
        time.sleep(4)
        used.append(sum(map(int, stat.read_text().split()[13:15])) - before)
        if used[-1] <= 4:
            return
    raise AssertionError(f"ticks used in 4 s, again and again: {used}")
