"""What Prometheus is shown: read with its own parser, from real processes; and bad callers."""

import asyncio
import json
import re
import stat
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from admin.metrics import service
from admin.metrics.datacenter import DatacenterPage
from admin.metrics.service import About, Metrics
from admin.node import Node
from dc.system import SystemClock, SystemDisk, SystemNetwork, SystemRandomness
from tests.admin.conftest import Serving, farshore, init, run_file
from tests.admin.test_node import make

PAGE = Path(__file__).parents[2] / "docs/metrics.md"
OF_GATEWAYS = "farshore_gateway_connected"
"""Not shown by datacenters (tests/processes/test_gateway_roles.py)."""
ROW = re.compile(r"\| `([a-z0-9_]+)` \| (\w+) \| ([a-z, _]*?) ?\| .+ \|")
TOKEN = "c0ffee" * 8
CANARIES = ("canary-bucket", "canary/key", "canary@example.com")


def switch_on(root: Path, token: str = "") -> None:
    """The token is put into a file. Objects are counted every second."""
    text = (root / "farshore.toml").read_text()
    for name in ("compaction_every", "compaction_grace"):
        text = re.sub(f"^{name} = .*$", f'{name} = "1s"', text, flags=re.MULTILINE)
    before, table, after = text.partition("[metrics]")
    after = after.replace('listen = ""', 'listen = "127.0.0.1:0"', 1)
    if token:
        path = root / "metrics.token"
        path.touch(0o600)
        path.write_text(f"{token}\n")
        after = after.replace('token_file = ""', 'token_file = "metrics.token"', 1)
    (root / "farshore.toml").write_text(before + table + after)


def ask(
    root: Path, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str, str]:
    """Status, content type and body."""
    at = run_file(root)["metrics"]
    connection = HTTPConnection(at["host"], at["port"], timeout=10)
    try:
        connection.request(method, path, headers=headers)
        found = connection.getresponse()
        return found.status, found.headers.get("Content-Type", ""), found.read().decode()
    finally:
        connection.close()


class Samples:
    """A page as Prometheus reads it. What is labelled otherwise is another sample."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families = list(text_string_to_metric_families(text))
        self._values = {
            (one.name, frozenset(one.labels.items())): one.value
            for family in self.families
            for one in family.samples
        }

    def __call__(self, name: str, /, **labels: str) -> float:
        return self._values[f"farshore_{name}", frozenset(labels.items())]


def read(root: Path) -> Samples:
    status, kind, text = ask(root)
    assert status == 200 and kind.startswith("text/plain; version=")
    return Samples(text)


def until(root: Path, look: Callable[[Samples], Any], seconds: float = 30) -> Samples:
    """The first page of which something is so; pages are kept for a second."""
    clock = SystemClock()
    deadline = clock.monotonic() + seconds
    while True:
        page = read(root)
        try:
            if look(page):
                return page
        except KeyError as error:
            assert clock.monotonic() < deadline, error
        assert clock.monotonic() < deadline, page.text
        asyncio.run(clock.sleep(0.3))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, Serving]]:
    """Paris, on three disks, and Tokyo; paired."""
    root = tmp_path_factory.mktemp("metrics")
    disks = [each for n in range(3) for each in ("--disk", str(root / f"disk{n}"))]
    init(root / "paris", "paris", *disks, "--redundancy", "2+1")
    init(root / "tokyo", "tokyo")
    for name in ("paris", "tokyo"):
        switch_on(root / name)
    paris, tokyo = Serving(root / "paris"), Serving(root / "tokyo")
    try:
        token = paris.facts("token", "issue")["token"]
        assert tokyo.cli("dc", "add", token).returncode == 0
        yield paris, tokyo
    finally:
        paris.stop()
        tokyo.stop()


def client(serving: Serving, key: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=serving.facts("status")["s3"],
        aws_access_key_id=key["access_key"],
        aws_secret_access_key=key["secret_key"],
        region_name="us-east-1",
        config=BotoConfig(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )


def test_requests_objects_and_peers_are_shown(pair: tuple[Serving, Serving]) -> None:
    paris, _ = pair
    key = paris.facts("user", "add", CANARIES[2])
    s3 = client(paris, key)
    s3.create_bucket(Bucket=CANARIES[0])
    bodies = [bytes([n]) * 4096 for n in range(8)] + [b"large" * 600_000]
    for number, body in enumerate(bodies):
        s3.put_object(Bucket=CANARIES[0], Key=f"{CANARIES[1]}{number}", Body=body)
    for number, body in enumerate(bodies):
        found = s3.get_object(Bucket=CANARIES[0], Key=f"{CANARIES[1]}{number}")["Body"].read()
        assert found == body
    with pytest.raises(ClientError):
        s3.get_object(Bucket=CANARIES[0], Key="none")
    paris.facts("notary", "enable", CANARIES[0])
    page = until(
        paris.root,
        lambda page: (
            page("objects") == len(bodies)
            and page("notary_published") == page("notary_witnessed", peer="tokyo") == 1
            and page("replication_state", peer="tokyo", state="IDENTICAL")
        ),
    )
    size = sum(map(len, bodies))
    assert page("s3_requests_total", operation="PutObject", status="2xx") == len(bodies)
    assert page("s3_requests_total", operation="GetObject", status="2xx") == len(bodies)
    assert page("s3_requests_total", operation="GetObject", status="4xx") == 1
    assert page("s3_errors_total", code="NoSuchKey") == 1
    assert page("s3_request_seconds_count", operation="GetObject") == len(bodies) + 1
    assert page("s3_request_seconds_bucket", operation="PutObject", le="+Inf") == len(bodies)
    assert page("s3_sent_bytes_total", operation="GetObject") > size
    assert page("s3_received_bytes_total", operation="PutObject") >= size
    assert page("s3_requests_in_flight") == 0 and page("s3_connections") >= 1
    assert page("objects_whole") == len(bodies) and page("containers_lacking") == 0
    assert page("objects_live_bytes") == size <= page("objects_raw_bytes") / 1.5
    assert page("disks", state="ok") == 3 and page("disks", state="missing") == 0
    assert page("disk_slots", disk=str(paris.root.parent / "disk0"), host="") > 0
    assert page("users") == 1 and page("names_commits_total") > len(bodies)
    assert page("replication_lag_seconds", peer="tokyo") == 0
    assert page("replication_inbox", peer="tokyo") == page(
        "replication_inbox_failing", peer="tokyo"
    )
    assert page("replication_last_contact_timestamp_seconds", peer="tokyo") > 1.7e9
    assert page("replication_given_changes_total", peer="tokyo") >= len(bodies)
    assert page("event_loop_lag_seconds_count") > 0
    assert page("metrics_failed", part="objects") == page("metrics_failed", part="notary") == 0
    assert page("notary_entries") == 1 and page("notary_alarms") == page("notary_waiting") == 0
    assert page("notary_failing") == page("notary_lost_total") == 0
    for secret in (*CANARIES, key["access_key"], key["secret_key"], key["canonical_id"]):
        assert secret not in page.text


def test_a_disk_that_goes_and_a_peer_that_dies_show(pair: tuple[Serving, Serving]) -> None:
    paris, tokyo = pair
    gone = paris.root.parent / "disk1"
    gone.rename(gone.with_name("away"))
    page = until(paris.root, lambda page: page("disks", state="missing") == 1)
    assert page("disks", state="ok") == 2 and page("containers_lacking") > 0
    gone.with_name("away").rename(gone)
    until(paris.root, lambda page: page("disks", state="ok") == 3)
    tokyo.stop()
    until(paris.root, lambda page: page("replication_state", peer="tokyo", state="UNREACHABLE"))


def test_the_page_and_what_is_exported_are_the_same(pair: tuple[Serving, Serving]) -> None:
    rows = [match for line in PAGE.read_text().splitlines() if (match := ROW.fullmatch(line))]
    documented = {row[1]: (row[2], frozenset(filter(None, row[3].split(", ")))) for row in rows}
    assert len(documented) == len(rows) > 60
    del documented[OF_GATEWAYS]
    exported, labelled = {}, {}
    for serving in pair:
        if serving.process.poll() is not None:
            continue
        for family in read(serving.root).families:
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exported[name] = family.type
            for one in family.samples:
                labelled[name] = frozenset(one.labels.keys() - {"le"})
    assert exported == {name: kind for name, (kind, _) in documented.items()}
    assert labelled == {name: documented[name][1] for name in labelled}
    words = re.findall(r"\b(?:farshore|process|python)_[a-z0-9_]+", PAGE.read_text())
    known = {
        *documented,
        OF_GATEWAYS,
        *(f"{name}_bucket" for name in documented),
        "process_",
        "farshore_",
    }
    assert set(words) <= known, "an alert asks for what is not there"


def test_nobody_listens_unless_told(tmp_path: Path) -> None:
    init(tmp_path / "rome", "rome")
    serving = Serving(tmp_path / "rome")
    try:
        assert set(run_file(serving.root)) == {"pid", "dc_id", "s3", "peer", "admin"}
        assert serving.facts("status")["metrics"] == "off"
    finally:
        serving.stop()


def test_bad_callers_get_nothing(tmp_path: Path) -> None:
    root = tmp_path / "rome"
    init(root, "rome")
    switch_on(root, TOKEN)
    serving = Serving(root)
    try:
        admin_token = (root / "admin.token").read_text().strip()
        bad = (
            {},
            {"Authorization": ""},
            {"Authorization": f"Bearer {TOKEN[:-1]}"},
            {"Authorization": f"Bearer {TOKEN}x"},
            {"Authorization": f"Basic {TOKEN}"},
            {"Authorization": TOKEN},
            {"Authorization": f"Bearer {admin_token}"},
            {"Authorization": "Bearer \xff\xfe"},
        )
        for headers in bad:
            for path in ("/metrics", "/", "/status", "/health", "/metrics/../status"):
                status, _, text = ask(root, path, **headers)
                assert status == 401 and "farshore" not in text, (headers, path)
        right = {"Authorization": f"Bearer {TOKEN}"}
        status, _, text = ask(root, **right)
        assert status == 200 and Samples(text)("info", name="rome", region="rome", version="0.1.0")
        assert ask(root, method="HEAD", **right)[0] == 200
        for path in ("/status", "/users", "/", "/metricsx", "/metrics/x"):
            assert ask(root, path, **right)[0] == 404
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert ask(root, method=method, **right)[0] == 405
        # The token reads metrics and nothing else; the admin API has no metrics.
        at = run_file(root)["admin"]
        for path, token, wanted in (("/status", TOKEN, 401), ("/metrics", admin_token, 404)):
            connection = HTTPConnection(at["host"], at["port"], timeout=10)
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            assert connection.getresponse().status == wanted
            connection.close()
        assert TOKEN not in text
    finally:
        log = serving.stop()
    assert TOKEN not in log


@pytest.mark.parametrize("token, mode, words", [
    ("short", 0o600, "at least 16"),
    (TOKEN, 0o644, "open to others"),
    (None, 0o600, "missing"),
], ids=["short", "open", "missing"])  # fmt: skip
def test_a_token_that_is_none_is_refused(
    tmp_path: Path, token: str | None, mode: int, words: str
) -> None:
    root = tmp_path / "rome"
    init(root, "rome")
    switch_on(root, token or TOKEN)
    path = root / "metrics.token"
    path.chmod(mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    if token is None:
        path.unlink()
    done = farshore("serve", root)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


async def test_what_cannot_be_read_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make(tmp_path)
    node = Node(layout, SystemClock(), SystemDisk(), SystemRandomness(), SystemNetwork())
    await node.start()
    try:
        assert node._parts is not None
        parts = node._parts
        monkeypatch.setattr(service, "PART_SECONDS_MAX", 0.2)

        async def hangs() -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(parts.replicator, "counted_status", hangs)
        metrics = Metrics(About("paris", "eu"), DatacenterPage(parts).shows, SystemClock())
        first, second = await asyncio.gather(metrics.text(), metrics.text())
        page = Samples(first.decode())
        assert page("metrics_failed", part="replication") == 1
        assert page("metrics_failed", part="objects") == 0 and page("containers") > 0
        assert first is second, "who asks twice at once costs no more"
        await asyncio.sleep(service.KEPT_SECONDS)
        assert await metrics.text() is not first
    finally:
        await node.stop()


async def test_a_loop_that_is_late_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = make(tmp_path)
    text = layout.config.read_text()
    layout.config.write_text(text.replace('listen = ""', 'listen = "127.0.0.1:0"'))
    node = Node(layout, SystemClock(), SystemDisk(), SystemRandomness(), SystemNetwork())
    await node.start()
    try:
        run = json.loads(layout.run.read_bytes())
        assert node.status()["metrics"] == f"http://127.0.0.1:{run['metrics']['port']}/metrics"
        metrics = node._metrics
        assert metrics is not None
        await asyncio.sleep(2 * service.LAG_EVERY_SECONDS)
        clock = SystemClock()
        until_at = clock.monotonic() + 0.7
        while clock.monotonic() < until_at:
            pass  # Nobody else gets a turn.
        await asyncio.sleep(0.1)
        page = Samples((await metrics.text()).decode())
        late = page("event_loop_lag_seconds_count") - page(
            "event_loop_lag_seconds_bucket", le="0.2"
        )
        assert late >= 1
    finally:
        await node.stop()
