"""Notifications to a real broker: nothing is lost, whoever is away or killed, and order is kept."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from mqtt_kit import Listener, Mosquitto, configure, last_in_order
from process_kit import Dc, eventually, s3_client

pytestmark = pytest.mark.process


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    one = Mosquitto(tmp_path / "broker")
    one.start()
    yield one
    one.stop()


def started(folder: Path, **mqtt: Any) -> Iterator[Dc]:
    dc = Dc(folder / "paris", "paris")
    configure(dc, "mqtt", host="127.0.0.1", **mqtt)
    try:
        dc.start()
        yield dc
    finally:
        dc.end()


@pytest.fixture
def dc(tmp_path: Path, broker: Mosquitto) -> Iterator[Dc]:
    yield from started(tmp_path, port=broker.port)


def bucket_that_tells(dc: Dc) -> Any:
    client = s3_client(dc.s3_port, dc.facts("user", "add", "ann@example.org"))
    client.create_bucket(Bucket="photos")
    client.put_bucket_notification_configuration(
        Bucket="photos",
        NotificationConfiguration={
            "TopicConfigurations": [
                {
                    "TopicArn": "arn:farshore:mqtt:::all",
                    "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
                }
            ]
        },
    )
    return client


def test_what_happens_while_the_broker_is_away_is_told_when_it_is_back(
    dc: Dc, broker: Mosquitto
) -> None:
    with Listener(broker.port) as listener:
        client = bucket_that_tells(dc)
        eventually("the test event", lambda: len(listener.messages) == 1)
        assert listener.messages[0][0] == "farshore/all"
        assert listener.messages[0][1]["Event"] == "s3:TestEvent"
        broker.stop()
        for number in range(150):
            client.put_object(Bucket="photos", Key=f"k{number % 10}", Body=b"x" * number)
        client.delete_object(Bucket="photos", Key="k0")
        eventually("they wait", lambda: dc.facts("status")["events_waiting"] == 151)
        broker.start()
        eventually("all have arrived", lambda: len(listener.events()) >= 151, 60)
        assert {key: len(set(one)) for key, one in listener.sequences().items()} == {
            f"k{number}": 15 + (number == 0) for number in range(10)
        }
        assert all(map(last_in_order, listener.sequences().values()))
        assert listener.sequences()["k0"][-1] == next(
            one["s3"]["object"]["sequencer"]
            for one in listener.events()
            if one["eventName"] == "ObjectRemoved:Delete"
        )
        eventually("none waits", lambda: dc.facts("status")["events_waiting"] == 0)
        status = dc.facts("status")
        assert (status["broker"], status["events_lost"]) == ("connected", 0)


def test_a_datacenter_that_is_killed_loses_no_event(dc: Dc, broker: Mosquitto) -> None:
    acknowledged: list[str] = []

    def write(client: Any, stop: threading.Event, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                client.put_object(Bucket="photos", Key=f"{name}/{number}", Body=b"x")
            except (BotoCoreError, ClientError):
                return
            acknowledged.append(f"{name}/{number}")

    with Listener(broker.port) as listener:
        client = bucket_that_tells(dc)
        for kill in range(4):
            if kill == 2:
                broker.stop()
            stop = threading.Event()
            writer = threading.Thread(target=write, args=(client, stop, str(kill)))
            writer.start()
            before = len(acknowledged)
            eventually("some are written", lambda least=before + 30: len(acknowledged) > least)  # type: ignore[misc]
            dc.kill()
            stop.set()
            writer.join()
            if kill == 2:
                broker.start()
            dc.start()
        eventually(
            "all that was acknowledged was told",
            lambda: set(acknowledged) <= listener.sequences().keys(),
            60,
        )
        assert all(map(last_in_order, listener.sequences().values()))
        eventually("none waits", lambda: dc.facts("status")["events_waiting"] == 0)


def test_a_broker_that_asks_for_a_password(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker", password="secret")
    file = tmp_path / "paris.password"
    file.write_text("wrong\n")
    file.chmod(0o600)
    broker.start()
    starting = started(tmp_path, port=broker.port, user="farshore", password_file=str(file))
    dc = next(starting)
    try:
        with Listener(broker.port, "farshore", "secret") as listener:
            bucket_that_tells(dc)
            eventually("it is refused", lambda: dc.facts("status")["broker"] == "failing")
            assert "notifications: " in dc.facts("status")["failing"][0]
            assert dc.stop() == 0
            file.write_text("secret\n")
            dc.start()
            eventually("the test event", lambda: len(listener.messages) == 1)
        assert "secret" not in dc.log()
    finally:
        starting.close()  # type: ignore[attr-defined]
        broker.stop()
