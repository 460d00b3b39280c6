"""Gateways on other machines, and what goes wrong: stopped, killed, cut off, a datacenter that is
away. Nothing that was acknowledged is lost, and nobody is served who may not be."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
from gateways_kit import Cable, Cluster, Load, Queued, code_of, status_of
from process_kit import eventually, free_port

BUCKET = "photos"
REVOKED_SECONDS_MAX = 7.5
"""Within which a change counts that a gateway does not hear of."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("faults"))
    try:
        made.join("gw1")
        made.join("gw2")
        made.client("gw1").create_bucket(Bucket=BUCKET)
        made.client("gw1").put_object(Bucket=BUCKET, Key="k", Body=b"secret")
        yield made
    finally:
        made.end()


@pytest.fixture
def cable() -> Iterator[Cable]:
    made = Cable(free_port())
    try:
        yield made
    finally:
        made.end()


def test_a_stopped_gateway_never_serves_a_key_that_was_revoked(cluster: Cluster) -> None:
    ann = cluster.keys["canonical_id"]
    key = cluster.admin.post("users", ann, "keys")
    s3 = cluster.client("gw2", key)
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"secret"
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"})
    gateway = cluster.nodes["gw2"]
    gateway.signal(signal.SIGSTOP)
    try:
        queued = [Queued(url) for _ in range(20)]
        began = time.monotonic()
        cluster.admin.delete("users", ann, "keys", key["access_key"])
        took = time.monotonic() - began
        assert took < REVOKED_SECONDS_MAX, took
        assert code_of(lambda: cluster.client("gw1", key).list_buckets()) == "InvalidAccessKeyId"
        queued += [Queued(url) for _ in range(20)]
        shown = cluster.nodes_shown()["gw2"]
        assert shown["state"] == "unreachable" and shown["gateway"] != "connected"
    finally:
        gateway.signal(signal.SIGCONT)
    found = {each.status() for each in queued}
    assert 200 not in found and found <= {403, 503}, found
    cluster.until_serving("gw2")
    assert code_of(lambda: s3.get_object(Bucket=BUCKET, Key="k")) == "InvalidAccessKeyId"


def test_a_gateway_that_does_not_answer_is_not_waited_for_twice(cluster: Cluster) -> None:
    gateway = cluster.nodes["gw2"]
    gateway.signal(signal.SIGSTOP)
    try:
        took = []
        for number in range(3):
            began = time.monotonic()
            cluster.client("gw1").create_bucket(Bucket=f"meanwhile-{number}")
            took.append(time.monotonic() - began)
        assert took[0] < REVOKED_SECONDS_MAX and max(took[1:]) < 1, took
    finally:
        gateway.signal(signal.SIGCONT)
    cluster.until_serving("gw2")
    names = [one["Name"] for one in cluster.client("gw2").list_buckets()["Buckets"]]
    assert {f"meanwhile-{number}" for number in range(3)} <= set(names)


def test_a_gateway_is_killed_under_load_and_comes_back_by_itself(cluster: Cluster) -> None:
    load, dying = Load(cluster, BUCKET, "gw1"), Load(cluster, BUCKET, "gw2")
    try:
        time.sleep(1)
        cluster.nodes["gw2"].kill()
        time.sleep(1.5)
        eventually(
            "gw2 is seen to be away",
            lambda: cluster.nodes_shown()["gw2"]["state"] == "unreachable",
        )
        cluster.nodes["gw2"].start()
        cluster.until_serving("gw2", seconds=8)
        count = len(dying.acknowledged)
        eventually("clients of gw2 go on", lambda: len(dying.acknowledged) > count + 3)
    finally:
        load.end()
        dying.end()
    assert not load.failed, load.failed[:3]
    assert len(load.acknowledged) > 20 and dying.failed
    load.check("gw2")
    dying.check("gw1")


def test_a_gateway_that_is_ended_finishes_what_it_has_begun(cluster: Cluster) -> None:
    body = os.urandom(24 << 20)
    cluster.client("gw1").put_object(Bucket=BUCKET, Key="ending", Body=body)
    reading = cluster.client("gw2").get_object(Bucket=BUCKET, Key="ending")["Body"]
    found = reading.read(1 << 20)
    ended = threading.Thread(target=cluster.nodes["gw2"].stop)
    ended.start()
    time.sleep(0.3)
    found += reading.read()
    ended.join()
    assert found == body
    # It has said that it serves nobody any more: so nobody waits for it.
    began = time.monotonic()
    cluster.client("gw1").create_bucket(Bucket="without-gw2")
    assert time.monotonic() - began < 1
    cluster.nodes["gw2"].start()
    cluster.until_serving("gw2", seconds=8)


def test_the_datacenter_is_killed_under_load(cluster: Cluster) -> None:
    load = Load(cluster, BUCKET, "gw1", "gw2")
    try:
        time.sleep(1)
        cluster.paris.kill()
        eventually(
            "a gateway without its datacenter answers 503",
            lambda: status_of(cluster.port("gw1"), f"/{BUCKET}/k") == 503,
            5,
        )
        assert status_of(cluster.port("gw2"), f"/{BUCKET}/k") == 503
        cluster.paris.start()
        cluster.until_serving("gw1", "gw2", seconds=8)
        count = len(load.acknowledged)
        eventually("clients go on", lambda: len(load.acknowledged) > count + 5)
    finally:
        load.end()
    assert load.failed
    for problem in load.failed:
        assert any(
            word in problem for word in ("503", "Service", "SlowDown", "closed", "broken")
        ), problem
    load.check("gw1")


def test_the_datacenter_is_stopped_for_a_while(cluster: Cluster) -> None:
    load = Load(cluster, BUCKET, "gw1", "gw2")
    try:
        time.sleep(0.5)
        cluster.paris.signal(signal.SIGSTOP)
        try:
            time.sleep(5)
            # Nobody can tell what is true meanwhile: the lease is over.
            assert status_of(cluster.port("gw1"), f"/{BUCKET}/k") == 503
        finally:
            cluster.paris.signal(signal.SIGCONT)
        cluster.until_serving("gw1", "gw2", seconds=8)
        count = len(load.acknowledged)
        eventually("clients go on", lambda: len(load.acknowledged) > count + 5)
    finally:
        load.end()
    load.check("gw2")


@pytest.mark.parametrize("direction", ["there", "back"])
def test_a_connection_is_stalled_one_way_and_then_cut(
    cluster: Cluster, cable: Cable, direction: str
) -> None:
    name = f"far-{direction}"
    cluster.join(
        *(name, "--listen", f"127.0.0.1:{cable.target}"),
        *("--advertise", f"127.0.0.1:{cable.port}"),
    )
    url = cluster.client(name).generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": "k"}
    )
    load = Load(cluster, BUCKET, name, "gw1")
    try:
        time.sleep(1)
        cable.stall(direction)
        under_way = Queued(url)
        eventually(
            "who cannot be told of changes serves nobody",
            lambda: status_of(cluster.port(name), f"/{BUCKET}/k", 1) == 503,
            6,
        )
        if direction == "there":
            # Nobody ends what hangs: both sides find out by themselves.
            eventually("it is seen", lambda: state_of(cluster, name) == "unreachable", 12)
        else:
            began = time.monotonic()
            cluster.client("gw1").create_bucket(Bucket="stalled")
            assert time.monotonic() - began < REVOKED_SECONDS_MAX
            cable.cut()
        assert under_way.status() == 503
        cable.heal()
        cluster.until_serving(name, seconds=12)
        count = len(load.acknowledged)
        eventually("clients go on", lambda: len(load.acknowledged) > count + 5)
    finally:
        load.end()
    load.check("gw1")
    cluster.paris.cli("node", "release", name)
    cluster.nodes.pop(name).end()


def state_of(cluster: Cluster, name: str) -> str:
    return str(cluster.nodes_shown()[name]["state"])
