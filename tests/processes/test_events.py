"""Events at a real broker, with TLS and a password: all last states arrive, in order, whoever is
away or killed; and nothing of it holds up a datacenter."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from mqtt_kit import USER, Listener, Mosquitto, configure, make_certificates
from process_kit import FARSHORE, Dc, eventually, pair, s3_client

pytestmark = pytest.mark.process
PASSWORD = "correct horse"
TOPIC = "farshore-events/#"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return make_certificates(tmp_path / "certificates")


@pytest.fixture
def broker(tmp_path: Path, ca: Path) -> Iterator[Mosquitto]:
    one = Mosquitto(tmp_path / "broker", PASSWORD, ca.parent)
    one.start()
    yield one
    one.stop()


def listening(broker: Mosquitto, ca: Path) -> Listener:
    return Listener(broker.port, USER, PASSWORD, topic=TOPIC, ca=ca)


def configured(dc: Dc, broker: Mosquitto, ca: Path, password: str = PASSWORD) -> None:
    file = dc.folder / "mqtt.password"
    file.touch(0o600)
    file.write_text(f"{password}\n")
    configure(
        dc, "mqtt", host="127.0.0.1", port=broker.port, user=USER,
        password_file="mqtt.password", tls=True, ca_file=str(ca),
    )  # fmt: skip


@pytest.fixture
def paris(tmp_path: Path, broker: Mosquitto, ca: Path) -> Iterator[Dc]:
    dc = Dc(tmp_path / "paris", "paris")
    configured(dc, broker, ca)
    dc.start()
    yield dc
    dc.end()


def state(dc: Dc) -> Any:
    return dc.ask("events")


def last_states(listener: Listener) -> dict[str, tuple[str, str]]:
    """Kind and ETag of each key, as the event that came last has it."""
    return {
        one["key"]: (one["kind"], one.get("etag", ""))
        for _, one in list(listener.messages)
        if "key" in one
    }


def in_order(listener: Listener) -> bool:
    """Whether what came for the first time came in the order of the feed."""
    first = list(dict.fromkeys(one["position"] for _, one in list(listener.messages)))
    return first == sorted(first)


def test_changes_of_both_datacenters_are_told_and_no_secret(
    paris: Dc, broker: Mosquitto, ca: Path, tmp_path: Path
) -> None:
    tokyo = Dc(tmp_path / "tokyo", "tokyo")
    try:
        tokyo.start()
        pair(paris, tokyo)
        for refused in (("events", "enable"), ("dc", "link", "paris", "--doorbell", "mqtt")):
            done = tokyo.cli(*refused, check=False)
            assert done.returncode == 1 and "set mqtt.host" in done.stderr
        too_long = ("dc", "link", "tokyo", "--doorbell", "mqtt", "--poll", "2d")
        assert paris.cli(*too_long, check=False).returncode == 2
        with listening(broker, ca) as listener:
            assert paris.facts("events", "enable")["state"] in ("connecting", "connected")
            tail = subprocess.Popen(
                [FARSHORE, "-C", paris.folder, "events", "tail", "paris/object/+", "--count", "2",
                 "--json"], stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            eventually("the tail is there", lambda: "farshore-tail" in broker.log())
            keys = paris.facts("user", "add", "ann@example.org")
            here = s3_client(paris.s3_port, keys)
            here.create_bucket(Bucket="photos")
            here.put_object(Bucket="photos", Key="a +#/ä", Body=b"x", Metadata={"m": "hidden"})
            eventually("the user is at tokyo", lambda: bool(tokyo.ask("users")["users"]))
            there = s3_client(tokyo.s3_port, keys)
            eventually("the bucket is there", lambda: "photos" in str(there.list_buckets()))
            there.put_object(Bucket="photos", Key="from tokyo", Body=b"yy")
            here.delete_object(Bucket="photos", Key="a +#/ä")
            wanted = {"a +#/ä", "from tokyo"}
            eventually("all is told", lambda: last_states(listener).keys() >= wanted)
            eventually("and gone", lambda: last_states(listener)["a +#/ä"][0] == "deletion")
            events = {(topic, one.get("key", "")): one for topic, one in listener.messages}
            ours = events["farshore-events/paris/object/photos", "a +#/ä"]
            theirs = events["farshore-events/paris/object/photos", "from tokyo"]
            assert (ours["origin"], ours["local"]) == ("paris", True)
            assert (theirs["origin"], theirs["local"], theirs["size"]) == ("tokyo", False, 2)
            assert {topic.split("/")[2] for topic, _ in events} >= {"user", "key", "bucket"}
            text = json.dumps(listener.messages)
            assert keys["access_key"] in text
            assert keys["secret_key"] not in text and "hidden" not in text
            lines = tail.communicate(timeout=20)[0].splitlines()
            printed = [json.loads(line)["key"] for line in lines]
            assert printed == ["a +#/ä", "from tokyo"]
    finally:
        tokyo.end()


def test_a_long_outage_and_a_kill_lose_nothing(paris: Dc, broker: Mosquitto, ca: Path) -> None:
    keys = paris.facts("user", "add", "ann@example.org")
    client = s3_client(paris.s3_port, keys)
    client.create_bucket(Bucket="photos")
    wanted: dict[str, tuple[str, str]] = {}

    def write(begin: int, end: int) -> None:
        for number in range(begin, end):
            key = f"k{number % 40}"
            try:
                if number % 7 == 0:
                    client.delete_object(Bucket="photos", Key=key)
                    wanted[key] = ("deletion", "")
                else:
                    put = client.put_object(Bucket="photos", Key=key, Body=b"%d" % number)
                    wanted[key] = ("object", put["ETag"].strip('"'))
            except (BotoCoreError, ClientError):
                return

    paris.cli("events", "enable")
    with listening(broker, ca) as listener:
        write(0, 60)
        eventually("all is told", lambda: last_states(listener) == wanted)
        broker.stop()
        write(60, 180)
        eventually("it is seen", lambda: state(paris)["state"] == "failing")
        assert state(paris)["behind"] > 0 and state(paris)["lag_seconds"] > 0
        paris.kill()
        paris.start()
        write(180, 300)
        before = len(listener.messages)
        broker.start()
        eventually("all is told", lambda: last_states(listener) == wanted)
        assert in_order(listener)
        # 240 changes of 40 keys: what was superseded is not told.
        assert len(listener.messages) - before < 240
        eventually("none waits", lambda: state(paris)["behind"] == 0)
        assert paris.ask("status")["events"] == "connected"
        paris.kill()
        write_again = len(listener.messages)
        paris.start()
        client.put_object(Bucket="photos", Key="after", Body=b"x")
        eventually("it goes on", lambda: "after" in last_states(listener))
        assert len(listener.messages) - write_again < 10, "the position was durable"


def test_a_broker_that_refuses_is_said_and_holds_up_nothing(
    paris: Dc, broker: Mosquitto, ca: Path, tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path / "strangers")
    keys = paris.facts("user", "add", "ann@example.org")
    paris.cli("events", "enable")
    for authority, password, reason in (
        (stranger, PASSWORD, "certificate verify failed"),
        (ca, "wrong", "ot authori"),
    ):
        assert paris.stop() == 0
        configured(paris, broker, authority, password)
        paris.start()
        eventually("it says so", lambda reason=reason: reason in state(paris)["last_error"])  # type: ignore[misc]
        assert state(paris)["state"] == "failing"
        assert any("events: " in one for one in paris.ask("status")["failing"])
    client = s3_client(paris.s3_port, keys)
    client.create_bucket(Bucket="photos")
    client.put_object(Bucket="photos", Key="a", Body=b"x")
    assert paris.stop() == 0
    configured(paris, broker, ca)
    with listening(broker, ca) as listener:
        paris.start()
        eventually("it is told", lambda: "a" in last_states(listener))
    assert PASSWORD not in paris.log() and "wrong" not in paris.log()
