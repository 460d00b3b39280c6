"""Idle links at a real broker, with TLS and passwords: changes ring and come; and when the broker
is killed, refuses, or is full of strangers, they come all the same."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from botocore.exceptions import ClientError
from mqtt_kit import USER, Mosquitto, configure, make_certificates
from paho.mqtt.enums import CallbackAPIVersion
from process_kit import Dc, eventually, pair, s3_client

pytestmark = pytest.mark.process
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doorbells")


@pytest.fixture(scope="module")
def ca(folder: Path) -> Path:
    return make_certificates(folder / "certificates")


@pytest.fixture(scope="module")
def broker(folder: Path, ca: Path) -> Iterator[Mosquitto]:
    one = Mosquitto(folder / "broker", PASSWORD, ca.parent)
    one.start()
    yield one
    one.stop()


def configured(dc: Dc, broker: Mosquitto, ca: Path, password: str = PASSWORD) -> None:
    file = dc.folder / "mqtt.password"
    file.touch(0o600)
    file.write_text(f"{password}\n")
    configure(
        dc, "mqtt", host="127.0.0.1", port=broker.port, user=USER,
        password_file="mqtt.password", tls=True, ca_file=str(ca),
    )  # fmt: skip


class Both:
    """paris and tokyo, each of which draws the other's feed."""

    def __init__(self, paris: Dc, tokyo: Dc) -> None:
        self.paris, self.tokyo = paris, tokyo
        pair(paris, tokyo)
        self.link("1h")
        keys = paris.facts("user", "add", "ann@example.org")
        self.at_paris, self.at_tokyo = (s3_client(dc.s3_port, keys) for dc in (paris, tokyo))
        self.at_paris.create_bucket(Bucket="photos")
        self.arrives(self.at_paris, "first", self.at_tokyo, 10)

    def link(self, poll: str) -> None:
        self.paris.cli("dc", "link", "tokyo", "--doorbell", "mqtt", "--poll", poll)
        self.tokyo.cli("dc", "link", "paris", "--doorbell", "mqtt", "--poll", poll)

    def peer(self, dc: Dc) -> Any:
        [found] = dc.ask("replication")["peers"]
        return found

    def rest(self) -> None:
        """Until both are idle, and can ring."""
        for dc in (self.paris, self.tokyo):
            eventually(
                f"{dc.name} is idle",
                lambda dc=dc: (  # type: ignore[misc]
                    (found := self.peer(dc))["state"] == "IDLE"
                    and found["doorbell"] == "live"
                    and not found["streaming_to"]
                ),
            )

    def arrives(self, here: Any, key: str, there: Any, seconds: float) -> float:
        """Put an object, and wait for it elsewhere; the seconds it took."""
        here.put_object(Bucket="photos", Key=key, Body=key.encode())
        began = time.monotonic()

        def is_there() -> bool:
            try:
                return bool(there.get_object(Bucket="photos", Key=key)["Body"].read())
            except ClientError:
                return False

        eventually(f"{key} arrives", is_there, seconds)
        return time.monotonic() - began


@pytest.fixture(scope="module")
def both(folder: Path, broker: Mosquitto, ca: Path) -> Iterator[Both]:
    paris, tokyo = Dc(folder / "paris", "paris"), Dc(folder / "tokyo", "tokyo")
    try:
        for dc in (paris, tokyo):
            configured(dc, broker, ca)
            dc.start()
        yield Both(paris, tokyo)
    finally:
        paris.end()
        tokyo.end()


def test_changes_ring_and_come_whatever_becomes_of_the_broker(
    both: Both, broker: Mosquitto
) -> None:
    both.rest()
    quickest = [both.arrives(both.at_paris, f"p{n}", both.at_tokyo, 5) for n in range(3)]
    quickest += [both.arrives(both.at_tokyo, f"t{n}", both.at_paris, 5) for n in range(3)]
    assert min(quickest) < 1.0 and sorted(quickest)[3] < 2.0, quickest
    shown = both.tokyo.cli("replication", "status").stdout
    assert "IDLE, drawn" in shown or "STREAMING" in shown or "SEEDING" in shown
    broker.kill()
    eventually("it is seen", lambda: both.peer(both.tokyo)["doorbell"] == "away")
    assert "the broker is away" in both.tokyo.cli("replication", "status").stdout
    both.link("1s")
    both.arrives(both.at_paris, "without a broker", both.at_tokyo, 5)
    both.link("1h")
    broker.start()
    both.rest()
    both.arrives(both.at_paris, "with it again", both.at_tokyo, 5)
    both.tokyo.kill()
    both.at_paris.put_object(Bucket="photos", Key="meanwhile", Body=b"x")
    both.tokyo.start()
    eventually(
        "it comes", lambda: "meanwhile" in str(both.at_tokyo.list_objects_v2(Bucket="photos"))
    )
    both.paris.kill()
    both.paris.start()
    both.rest()
    both.arrives(both.at_paris, "after the kills", both.at_tokyo, 5)


def test_strangers_at_the_broker_do_no_harm(both: Both, broker: Mosquitto, ca: Path) -> None:
    both.rest()
    ids = {dc.name: dc.ask("status")["dc_id"] for dc in (both.paris, both.tokyo)}
    topic = f"farshore-doorbell/{ids['tokyo']}/ring/{ids['paris']}"
    stranger = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="stranger")
    stranger.username_pw_set(USER, PASSWORD)
    stranger.tls_set(str(ca))
    stranger.connect("127.0.0.1", broker.port)
    stranger.loop_start()
    time.sleep(1)
    drawn = both.peer(both.tokyo)["drawn_ms"]
    for payload in (b"", b"garbage", b"v4.public." + b"A" * 300, b"x" * (4 << 20)):
        stranger.publish(topic, payload, qos=1).wait_for_publish(10)
    for number in range(2000):
        stranger.publish(topic, b"flood %d" % number)
    stranger.publish(topic, b"last", qos=1).wait_for_publish(10)
    time.sleep(1.5)
    found = both.peer(both.tokyo)
    assert (found["drawn_ms"], found["state"], found["doorbell"]) == (drawn, "IDLE", "live")
    both.arrives(both.at_paris, "after the flood", both.at_tokyo, 5)
    stranger.disconnect()
    stranger.loop_stop()


def test_a_broker_that_refuses_is_said_and_polling_goes_on(
    both: Both, broker: Mosquitto, ca: Path, tmp_path: Path
) -> None:
    both.link("1h")
    stranger = make_certificates(tmp_path / "strangers")
    for authority, password, reason in (
        (stranger, PASSWORD, "certificate verify failed"),
        (ca, "wrong", "ot authori"),
    ):
        assert both.tokyo.stop() == 0
        configured(both.tokyo, broker, authority, password)
        both.tokyo.start()
        eventually(
            "it says so",
            lambda reason=reason: reason in both.peer(both.tokyo)["doorbell_error"],  # type: ignore[misc]
        )
        assert both.peer(both.tokyo)["doorbell"] == "away"
    assert reason in both.tokyo.cli("replication", "status").stdout
    both.tokyo.cli("dc", "link", "paris", "--doorbell", "mqtt", "--poll", "1s")
    both.arrives(both.at_paris, "polled", both.at_tokyo, 5)
    assert PASSWORD not in both.tokyo.log() and "wrong" not in both.tokyo.log()
    assert both.tokyo.stop() == 0
    configured(both.tokyo, broker, ca)
    both.tokyo.start()
    both.link("1h")
    both.rest()
