"""A datacenter whose disks are on other machines: real nodes, a real client, real faults."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from nodes_kit import Cluster, free_port, until

from tests.admin.conftest import Serving, farshore

MODE = "4+2"
NODES = 7


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, NODES, MODE)
    try:
        yield made
    finally:
        made.stop()


class Load:
    """Puts and gets until it is ended; what was acknowledged is remembered."""

    def __init__(self, cluster: Cluster, name: str = "load") -> None:
        self.name = name
        self.acknowledged: dict[str, bytes] = {}
        self.slowest = 0.0
        self.wrong: list[str] = []
        self._cluster = cluster
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        s3, number = self._cluster.client(), 0
        while not self._ended.is_set():
            key, body = f"{self.name}/{number}", os.urandom(20_000 if number % 5 else 1_500_000)
            began = time.monotonic()
            try:
                s3.put_object(Bucket="photos", Key=key, Body=body)
                self.acknowledged[key] = body
                if s3.get_object(Bucket="photos", Key=key)["Body"].read() != body:
                    self.wrong.append(key)
            except (ClientError, BotoCoreError) as error:
                self.wrong.append(f"{key}: {error}")
            self.slowest = max(self.slowest, time.monotonic() - began)
            number += 1

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def test_two_nodes_are_lost_under_load_and_mended(cluster: Cluster) -> None:
    bodies = {f"k{n}": cluster.put(f"k{n}", size) for n, size in enumerate((1, 4096, 3_000_000))}
    load = Load(cluster)
    try:
        time.sleep(1)
        cluster.nodes["os0"].stop(signal.SIGKILL)
        time.sleep(1)
        # Stopped, not dead: it takes connections and never answers.
        os.kill(cluster.nodes["os1"].process.pid, signal.SIGSTOP)
        time.sleep(12)
    finally:
        load.end()
    assert not load.wrong, load.wrong[:3]
    assert len(load.acknowledged) > 5 and load.slowest < 30
    for key, body in {**bodies, **load.acknowledged}.items():
        assert cluster.get(key) == body, key
    assert cluster.states()["os0"] == "unreachable"

    os.kill(cluster.nodes["os1"].process.pid, signal.SIGCONT)
    # Its files are gone for good, and it comes back empty under its name.
    cluster.nodes["os0"] = Serving(cluster.root / "os0")
    until(lambda: cluster.states(), dict.fromkeys(cluster.nodes, "ok"), 90)
    status = cluster.paris.facts("status")
    assert status["stripes_lost"] == 0
    for key, body in bodies.items():
        assert cluster.get(key) == body


def test_two_of_six_nodes_die_in_one_moment_and_no_client_sees_an_error(tmp_path: Path) -> None:
    """A slot of each container is on each of them: what is being written fails on two, which is
    one more than may be missing, and is written again on the disks of the other four."""
    cluster = Cluster(tmp_path, 6, MODE, disks=2)
    loads: list[Load] = []
    try:
        loads += [Load(cluster, f"load{number}") for number in range(6)]
        time.sleep(2)
        for name in ("os0", "os1"):
            os.kill(cluster.nodes[name].process.pid, signal.SIGKILL)
        time.sleep(8)
        for load in loads:
            load.end()
        wrong = [one for load in loads for one in load.wrong]
        assert not wrong, wrong[:3]
        acknowledged = {key: body for load in loads for key, body in load.acknowledged.items()}
        assert len(acknowledged) > 50
        for key, body in acknowledged.items():
            assert cluster.get(key) == body, key
        cluster.paris.process.send_signal(signal.SIGTERM)
        assert "a group is written again" in cluster.paris.stop()
    finally:
        for load in loads:
            load.end()
        cluster.stop()


def test_a_node_is_released_and_another_takes_its_place(cluster: Cluster) -> None:
    bodies = {f"k{n}": cluster.put(f"k{n}", 700_000) for n in range(10)}
    done = cluster.paris.cli("node", "release", "os3")
    assert done.returncode == 0, done.stderr
    assert "os3 was released" in done.stdout
    cluster.nodes.pop("os3").stop()
    assert "os3" not in cluster.states()
    left = list((cluster.root / "disk-os3" / "containers").glob("*.fss"))
    assert left == []
    for key, body in bodies.items():
        assert cluster.get(key) == body
    # Six are left, and 4+2 takes six.
    done = cluster.paris.cli("node", "release", "os4")
    assert done.returncode == 1 and "4+2 takes 6 disks, and 5 would be left" in done.stderr
    cluster.join("os7")
    until(lambda: cluster.states()["os7"], "ok")
    assert cluster.paris.cli("disk", "drain", f"os4:{cluster.root}/disk-os4").returncode == 0

    def state() -> tuple[str, int]:
        (found,) = [
            one for one in cluster.paris.facts("disk", "list") if one["disk"].startswith("os4:")
        ]
        return found["state"], found["slots"]

    until(state, ("drained", 0), 60)
    label = f"os4:{cluster.root}/disk-os4"
    assert cluster.paris.cli("disk", "remove", label).returncode == 0
    for key, body in bodies.items():
        assert cluster.get(key) == body
    # All of it outlives a restart.
    cluster.paris.stop()
    cluster.paris = Serving(cluster.root / "paris")
    cluster.s3 = cluster.client()
    # All disks of os4 were removed, and nobody has released it.
    others = dict.fromkeys(cluster.states(), "ok")
    until(cluster.states, {**others, "os4": "leaving"})
    assert [one["disk"] for one in cluster.paris.facts("disk", "list")].count(label) == 0
    for key, body in bodies.items():
        assert cluster.get(key) == body


def test_a_node_is_lost_while_another_is_mended_and_a_release_is_interrupted(
    cluster: Cluster,
) -> None:
    bodies = {f"k{n}": cluster.put(f"k{n}", 3_000_000) for n in range(12)}
    cluster.nodes["os0"].stop(signal.SIGKILL)
    shutil.rmtree(cluster.root / "disk-os0" / "containers")
    cluster.nodes["os0"] = Serving(cluster.root / "os0")

    def is_mending() -> bool:
        return bool(cluster.paris.facts("status")["slots_mended"])

    until(is_mending, True, 60)
    cluster.nodes["os1"].stop(signal.SIGKILL)
    for key, body in bodies.items():
        assert cluster.get(key) == body
    cluster.nodes["os1"] = Serving(cluster.root / "os1")
    # A disk that failed is left out for a minute.
    until(cluster.states, dict.fromkeys(cluster.nodes, "ok"), 120)

    with ThreadPoolExecutor(1) as pool:
        release = pool.submit(cluster.paris.cli, "node", "release", "os2")
        until(lambda: cluster.states()["os2"], "leaving")
        cluster.paris.stop(signal.SIGKILL)
        assert release.result().returncode == 1
    cluster.paris = Serving(cluster.root / "paris")
    cluster.s3 = cluster.client()
    until(lambda: cluster.states()["os2"], "leaving")
    for key, body in bodies.items():
        assert cluster.get(key) == body
    done = cluster.paris.cli("node", "release", "os2")
    assert done.returncode == 0, done.stderr
    cluster.nodes.pop("os2").stop()
    for key, body in bodies.items():
        assert cluster.get(key) == body


def test_who_is_not_the_datacenter_gets_nothing(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.paris.facts("node", "add")["token"]
    args = ("--listen", f"127.0.0.1:{free_port()}", "--disk", str(tmp_path / "d"))
    done = farshore("node", "join", token, tmp_path / "x", "--name", "os1", *args)
    assert done.returncode == 1 and "there is a node os1 already" in done.stderr
    done = farshore("node", "join", token, tmp_path / "x", "--name", "x", *args)
    assert done.returncode == 0, done.stderr
    done = farshore("node", "join", token, tmp_path / "y", "--name", "y", *args)
    assert done.returncode == 1 and "used already" in done.stderr
    for bad, words in (
        ("", "token"),
        ("v4.public.abc", "token"),
        (token[:-3] + "AAA", "token"),
        (cluster.paris.facts("token", "issue")["token"], "purpose"),
    ):
        done = farshore("node", "join", bad, tmp_path / "z", "--name", "z", *args)
        assert done.returncode == 1 and words in done.stderr, (bad, done.stderr)
        assert "Traceback" not in done.stderr
    # One that nobody serves is unreachable, and gone when it is said to be lost.
    until(lambda: cluster.states()["x"], "unreachable")
    done = cluster.paris.cli("node", "release", "x")
    assert done.returncode == 1 and "--lost" in done.stderr
    assert cluster.paris.cli("node", "release", "x", "--lost").returncode == 0
    assert "x" not in cluster.states()


def test_the_last_node_takes_everything_with_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 1, "1+1")
    try:
        done = cluster.paris.cli("node", "release", "os0")
        assert done.returncode == 1 and "--destroy paris" in done.stderr
        done = cluster.paris.cli("node", "release", "os0", "--destroy", "tokyo")
        assert done.returncode == 1
        body = cluster.put("k", 5000)
        assert cluster.get("k") == body
        done = cluster.paris.cli("node", "release", "os0", "--destroy", "paris", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"node": "os0", "destroyed": True}
        assert not (tmp_path / "paris").exists()
        assert list((tmp_path / "disk-os0" / "containers").glob("*.fss")) == []
    finally:
        cluster.stop()
