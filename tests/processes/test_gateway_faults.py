"""Gateways on other machines, and what goes wrong: stopped, killed, cut off, a datacenter that is
away. Nothing that was acknowledged is lost, and nobody is served who may not be."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gateways_kit import Cable, Cluster, Load, Queued, code_of, status_of
from process_kit import eventually, free_port

BUCKET = "photos"
REVOKED_SECONDS_MAX = 7.5
"""Within which a change counts that a gateway does not hear of."""
SILENCE_SECONDS_MAX = 12.0
"""Within which both sides find out that they hear nothing of each other."""


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


def two_urls(s3: Any) -> list[str]:
    """Of what a gateway answers with what it has in its memory, and with the datacenter's help."""
    return [
        s3.generate_presigned_url("list_buckets"),
        s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"}),
    ]


def test_a_stopped_gateway_never_serves_a_key_that_was_revoked(cluster: Cluster) -> None:
    ann = cluster.keys["canonical_id"]
    key = cluster.admin.post("users", ann, "keys")
    s3 = cluster.client("gw2", key)
    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"secret"
    urls = two_urls(s3) * 10
    gateway = cluster.nodes["gw2"]
    gateway.signal(signal.SIGSTOP)
    try:
        queued = [Queued(url) for url in urls]
        began = time.monotonic()
        cluster.admin.delete("users", ann, "keys", key["access_key"])
        took = time.monotonic() - began
        assert 3 < took < REVOKED_SECONDS_MAX, took
        assert code_of(lambda: cluster.client("gw1", key).list_buckets()) == "InvalidAccessKeyId"
        queued += [Queued(url) for url in urls]
        shown = cluster.nodes_shown()["gw2"]
        assert shown["state"] == "unreachable" and shown["gateway"] != "connected"
    finally:
        gateway.signal(signal.SIGCONT)
    found = {each.status() for each in queued}
    assert 200 not in found and found <= {403, 503}, found
    cluster.until_serving("gw2")
    assert code_of(lambda: s3.get_object(Bucket=BUCKET, Key="k")) == "InvalidAccessKeyId"


def test_a_gateway_that_is_slow_to_hear_of_it_is_waited_for(cluster: Cluster) -> None:
    ann, gateway = cluster.keys["canonical_id"], cluster.nodes["gw2"]
    for number in range(6):
        key = cluster.admin.post("users", ann, "keys")
        urls = two_urls(cluster.client("gw2", key))
        gateway.signal(signal.SIGSTOP)
        again = threading.Timer(0.3, gateway.signal, (signal.SIGCONT,))
        again.start()
        began = time.monotonic()
        cluster.admin.delete("users", ann, "keys", key["access_key"])
        assert time.monotonic() - began > 0.2
        assert [Queued(url).status() for url in urls] == [403, 403], number
        again.join()


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


def test_who_cannot_be_told_of_a_revocation_does_not_serve_the_key(
    cluster: Cluster, cable: Cable
) -> None:
    """It runs, and hears late, and not that it was given up: only its own clock can tell it."""
    name = join_far(cluster, cable)
    ann = cluster.keys["canonical_id"]
    key = cluster.admin.post("users", ann, "keys")
    listing, getting = two_urls(cluster.client(name, key))
    load = Load(cluster, BUCKET, name, "gw1")
    try:
        cable.stall("there")
        time.sleep(1)
        under_way, began = Queued(getting), time.monotonic()
        assert Queued(listing).status() == 200
        cable.cut_near()
        late = threading.Timer(1, cable.release, ("there",))
        late.start()
        cluster.admin.delete("users", ann, "keys", key["access_key"])
        assert time.monotonic() - began < REVOKED_SECONDS_MAX
        for _ in range(30):
            assert Queued(listing).status() == 503
            time.sleep(0.02)
        late.join()
        # What hangs is ended all the same.
        assert under_way.status() == 503
        assert time.monotonic() - began < SILENCE_SECONDS_MAX
        cable.cut()
        cable.heal()
        go_on(cluster, name, load)
    finally:
        load.end()
    assert Queued(listing).status() == 403
    load.check("gw1")
    leave(cluster, name)


def test_a_datacenter_that_was_started_anew_remembers_that_there_are_leases(
    cluster: Cluster, cable: Cable
) -> None:
    """The process that gave them is gone, and the gateway has not heard of that."""
    name = join_far(cluster, cable)
    ann = cluster.keys["canonical_id"]
    key = cluster.admin.post("users", ann, "keys")
    listing = two_urls(cluster.client(name, key))[0]
    assert Queued(listing).status() == 200
    cable.stall("there")
    cluster.paris.kill()
    cluster.paris.start()
    cluster.admin.delete("users", ann, "keys", key["access_key"])
    assert Queued(listing).status() == 503
    cable.cut()
    cable.heal()
    cluster.until_serving(name, "gw1", "gw2")
    assert Queued(listing).status() == 403
    leave(cluster, name)


def test_a_datacenter_that_hears_nothing_finds_out(cluster: Cluster, cable: Cable) -> None:
    """Nobody ends the connection, and nothing is to be told."""
    name = join_far(cluster, cable)
    load = Load(cluster, BUCKET, name, "gw1")
    try:
        time.sleep(0.5)
        cable.stall("back")
        eventually(
            "it serves nobody", lambda: status_of(cluster.port(name), f"/{BUCKET}/k", 1) == 503, 6
        )
        eventually(
            "it is seen",
            lambda: cluster.nodes_shown()[name]["state"] == "unreachable",
            SILENCE_SECONDS_MAX,
        )
        cable.heal()
        go_on(cluster, name, load)
    finally:
        load.end()
    load.check("gw1")
    leave(cluster, name)


def go_on(cluster: Cluster, name: str, load: Load) -> None:
    """A gateway serves again, and its clients go on."""
    cluster.until_serving(name, seconds=12)
    count = len(load.acknowledged)
    eventually("clients go on", lambda: len(load.acknowledged) > count + 5)


def join_far(cluster: Cluster, cable: Cable) -> str:
    """A gateway that is reached by the cable."""
    name = "far"
    cluster.join(
        *(name, "--listen", f"127.0.0.1:{cable.target}"),
        *("--advertise", f"127.0.0.1:{cable.port}"),
    )
    return name


def leave(cluster: Cluster, name: str) -> None:
    """Let a gateway go, with all that it has."""
    cluster.nodes.pop(name).end()
    cluster.paris.cli("node", "release", name, "--lost")
    shutil.rmtree(cluster.folder / name)
