"""Gateways on other machines: who may be one, what a process is told to be, and how one leaves."""

import http.client
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from gateways_kit import Cluster, status_of, tls_to
from process_kit import Dc, eventually, farshore, free_port

from dc.objects.nodes import wire
from dc.remote.calls import PROTOCOL
from tokens.certificate import make_certificate
from tokens.fingerprint import fingerprint
from tokens.hello import sign_answer
from tokens.identity import Identity

BUCKET = "photos"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The datacenter serves no clients itself; two nodes have a disk and are gateways."""
    made = Cluster(
        tmp_path_factory.mktemp("roles"), "--redundancy", "1+1", roles="ns,os,replicator"
    )
    try:
        made.join("os0")
        made.join("os1")
        eventually(
            "all nodes answer",
            lambda: {one["state"] for one in made.nodes_shown().values()} == {"ok"},
        )
        made.client("os0").create_bucket(Bucket=BUCKET)
        yield made
    finally:
        made.end()


def test_a_datacenter_without_a_gateway_of_its_own(cluster: Cluster) -> None:
    status = cluster.paris.facts("status")
    assert status["s3"] == ""
    assert "not served by this process" in cluster.paris.cli("status").stdout
    with pytest.raises(ConnectionRefusedError):
        status_of(cluster.paris.s3_port, "/")
    body = os.urandom(3_000_000)
    cluster.client("os0").put_object(Bucket=BUCKET, Key="k", Body=body)
    assert cluster.client("os1").get_object(Bucket=BUCKET, Key="k")["Body"].read() == body
    for command in (
        ("user", "list"),
        ("bucket", "list"),
        ("node", "list"),
        ("objects", "status"),
        ("replication", "status"),
    ):
        cluster.paris.cli(*command)
    for node in cluster.nodes_shown().values():
        assert (node["roles"], node["gateway"]) == (["os", "gateway"], "connected")


def test_a_node_of_both_does_one_of_them(cluster: Cluster) -> None:
    body = os.urandom(2_000_000)
    cluster.client("os0").put_object(Bucket=BUCKET, Key="before", Body=body)
    node = cluster.nodes["os1"]
    node.stop()
    node.roles = "os"
    node.start()
    eventually("it is no gateway", lambda: cluster.nodes_shown()["os1"]["state"] == "degraded")
    eventually(
        "it is said why", lambda: "is no gateway now" in cluster.nodes_shown()["os1"]["gateway"]
    )
    told = cluster.paris.cli("node", "list")
    assert "os,gateway" in told.stdout and "the gateway of os1 is not connected" in told.stderr
    with pytest.raises(ConnectionRefusedError):
        status_of(node.s3_port, "/")
    node.stop()
    node.roles = "gateway"
    node.start()
    cluster.until_serving("os1")
    shown = cluster.nodes_shown()["os1"]
    assert (shown["state"], shown["gateway"]) == ("degraded", "connected")
    # Its disk is not there: reads are made of the others, writes go on without it.
    s3 = cluster.client("os1")
    assert s3.get_object(Bucket=BUCKET, Key="before")["Body"].read() == body
    s3.put_object(Bucket=BUCKET, Key="without", Body=body)
    node.kill()
    assert cluster.client("os0").get_object(Bucket=BUCKET, Key="without")["Body"].read() == body
    node.roles = ""
    node.start()
    cluster.until_serving("os1", seconds=10)
    assert cluster.client("os1").get_object(Bucket=BUCKET, Key="without")["Body"].read() == body


@pytest.mark.parametrize(
    ("roles", "words"),
    [
        ("ns", "is ns, os and replicator at once: os is missing"),
        ("gateway", "is ns, os and replicator at once: os is missing"),
        ("ns,os,replicator,s3", "there is no role 's3': there are gateway, os, ns, replicator"),
        ("NS", "there is no role 'NS'"),
    ],
)
def test_what_a_datacenter_cannot_be_is_said(cluster: Cluster, roles: str, words: str) -> None:
    done = farshore("serve", cluster.paris.folder, "--role", roles, check=False)
    assert done.returncode == 1
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_what_a_node_cannot_be_is_said(cluster: Cluster) -> None:
    cluster.join("gw9", start=False)
    for roles, words in (
        ("os", "the node gw9 is gateway: it cannot be os"),
        ("ns", "the node gw9 is gateway: it cannot be ns"),
        ("gateway,replicator", "cannot be replicator"),
    ):
        done = farshore("serve", cluster.folder / "gw9", "--role", roles, check=False)
        assert done.returncode == 1
        assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr
    done = farshore("-C", cluster.folder / "gw9", "status", check=False)
    assert done.returncode == 1 and "is a node, no datacenter" in done.stderr
    done = farshore("serve", cluster.folder / "nowhere", check=False)
    assert done.returncode == 1 and "farshore node join" in done.stderr
    cluster.paris.cli("node", "release", "gw9", "--lost")
    assert "gw9" not in cluster.nodes_shown()
    cluster.nodes.pop("gw9")


# -- who may --------------------------------------------------------------------------------------


def test_a_token_makes_what_it_says_and_once(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.paris.facts("node", "add")["token"]
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    s3 = ("--s3", f"127.0.0.1:{free_port()}")
    done = farshore(
        *("node", "join", token, tmp_path / "x", "--name", "x", *listen, *s3),
        *("--disk", tmp_path / "d"),
        check=False,
    )
    assert done.returncode == 1 and "farshore node add --role gateway" in done.stderr
    token = cluster.paris.facts("node", "add", "--role", "gateway")["token"]
    for more, words in (
        ((), "--s3 HOST:PORT"),
        (("--s3", "nonsense"), "nonsense"),
        (("--s3", listen[1]), "each needs a port of its own"),
        ((*s3, "--disk", tmp_path / "d"), "farshore node add --role os"),
    ):
        done = farshore(
            *("node", "join", token, tmp_path / "x", "--name", "x", *listen, *more), check=False
        )
        assert done.returncode == 1 and words in done.stderr, done.stderr
    farshore("node", "join", token, tmp_path / "x", "--name", "x", *listen, *s3)
    done = farshore(
        *("node", "join", token, tmp_path / "y", "--name", "y", *listen, *s3), check=False
    )
    assert done.returncode == 1 and "used already" in done.stderr
    cluster.paris.cli("node", "release", "x", "--lost")


def test_strangers_are_told_nothing(cluster: Cluster, tmp_path: Path) -> None:
    """But for what was drawn: not who signs as another datacenter, or for another node."""
    shown = cluster.nodes_shown()
    port = int(shown["os1"]["endpoints"][0].rpartition(":")[2])
    mark = fingerprint((cluster.nodes["os1"].folder / "node.crt").read_bytes())
    paris = Identity.load((cluster.paris.folder / "identity").read_bytes())
    tokyo = Identity.load((Dc(tmp_path / "tokyo", "tokyo").folder / "identity").read_bytes())
    ask = wire.frame(wire.Ask(PROTOCOL, 0, "b" * 32, length=1))
    for said in (b"", b"GET / HTTP/1.1\r\n\r\n", ask):
        with tls_to(port) as stranger:
            assert heard_by(stranger, said + ask) == b"", said
    for who, node, is_known in (
        (tokyo, shown["os1"], False),
        (paris, shown["os0"], False),
        (paris, shown["os1"], True),  # The test asks as it should.
    ):
        with tls_to(port) as caller:
            caller.sendall(wire.frame(wire.Hello()))
            header, _ = wire.lengths(caller.recv(wire.LENGTHS.size))
            nonce = wire.nonce_of(caller.recv(header))
            proof = wire.Proof(sign_answer(who, nonce, node["id"], mark))
            caller.settimeout(5)
            caller.sendall(wire.frame(proof))
            with suppress(OSError):
                assert bool(caller.recv(4096)) == is_known


def heard_by(stranger: ssl.SSLSocket, said: bytes) -> bytes:
    heard = b""
    with suppress(OSError):
        stranger.sendall(said)
        stranger.settimeout(12)
        while data := stranger.recv(4096):
            heard += data
    return heard


def test_who_listens_in_the_place_of_a_gateway_is_told_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Neither an access token nor the data key: its certificate is not the one that joined."""
    listen = cluster.join("gw8", start=False).config()["listen"]
    certificate, key = make_certificate("f" * 16, datetime.now(UTC) - timedelta(days=1))
    (tmp_path / "crt").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "crt", tmp_path / "key")
    heard = b""
    with socket.create_server(("127.0.0.1", int(listen.rpartition(":")[2]))) as impostor:
        impostor.settimeout(15)
        for _ in range(2):
            plain, _ = impostor.accept()
            plain.settimeout(5)
            with context.wrap_socket(plain, server_side=True) as secure, suppress(OSError):
                heard += secure.recv(4096)
    assert heard == b""
    assert "another one's" in cluster.paris.log()
    cluster.nodes.pop("gw8")
    cluster.paris.cli("node", "release", "gw8", "--lost")


# -- leaving --------------------------------------------------------------------------------------


def test_a_gateway_that_was_released_serves_nobody(cluster: Cluster) -> None:
    gateway = cluster.join("gw1")
    assert status_of(gateway.s3_port, f"/{BUCKET}") == 403
    done = cluster.paris.cli("node", "release", "gw1")
    assert "gw1 was released" in done.stdout
    for _ in range(20):
        assert status_of(gateway.s3_port, f"/{BUCKET}") == 503
    assert "gw1" not in cluster.nodes_shown()
    gateway.stop()
    gateway.start()
    cluster.client("os0").create_bucket(Bucket="later")
    assert status_of(gateway.s3_port, "/later") == 503
    assert gateway.stop() == 0


def test_the_last_gateway_is_not_released(cluster: Cluster) -> None:
    """Of those that are connected; lost ones go, whatever is left."""
    gateway = cluster.join("gw2")
    for name in ("os0", "os1"):
        cluster.nodes[name].kill()

    def connected() -> list[str]:
        shown = cluster.nodes_shown().values()
        return [one["name"] for one in shown if one["gateway"] == "connected"]

    eventually("gw2 is left alone", lambda: connected() == ["gw2"])
    done = cluster.paris.cli("node", "release", "gw2", check=False)
    assert done.returncode == 1
    assert "gw2 is the last gateway that is connected" in done.stderr
    assert "gw2" in cluster.nodes_shown()
    gateway.end()
    cluster.paris.cli("node", "release", "gw2", "--lost")
    assert "gw2" not in cluster.nodes_shown()


def test_a_gateway_counts_its_requests(cluster: Cluster) -> None:
    port = free_port()
    cluster.join("gwm", "--metrics", f"127.0.0.1:{port}")
    try:
        cluster.client("gwm").list_buckets()

        def samples() -> dict[str, float]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
            lines = [line for line in text.splitlines() if not line.startswith("#")]
            return {name: float(value) for name, _, value in (one.rpartition(" ") for one in lines)}

        found = samples()
        listed = 'farshore_s3_requests_total{operation="ListBuckets",status="2xx"}'
        assert found[listed] >= 1 and found["farshore_gateway_connected"] == 1
        assert not [name for name in found if name.startswith("farshore_replication")]
        cluster.paris.signal(signal.SIGSTOP)
        try:
            eventually("it says so", lambda: samples()["farshore_gateway_connected"] == 0)
        finally:
            cluster.paris.signal(signal.SIGCONT)
    finally:
        cluster.nodes["gwm"].end()
        list(cluster.admin.lines("nodes", "release", body={"node": "gwm", "lost": True}))


def test_listeners_need_ports_of_their_own(cluster: Cluster, tmp_path: Path) -> None:
    token = cluster.admin.post("nodes", "token", body={"roles": ["gateway"]})["token"]
    join = ("node", "join", token, tmp_path / "x", "--name", "x", "--listen", "127.0.0.1:1")
    for more, words in (
        (("--s3", "127.0.0.1:1"), "--s3 and --listen are both"),
        (("--s3", "127.0.0.1:2", "--metrics", "127.0.0.1:2"), "are both"),
        (("--s3", "127.0.0.1:2", "--metrics", "nowhere"), "--metrics"),
    ):
        done = farshore(*join, *more, check=False)
        assert done.returncode == 1 and words in done.stderr, done.stderr
