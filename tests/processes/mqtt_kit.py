"""A real Mosquitto on a loopback port, which can go away and come back, and one who listens to it.

The listener's session is kept by the broker, on disk: what is published while it is away, or right
after the broker came back, it gets later.
"""

import json
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from process_kit import eventually, free_port


class Mosquitto:
    def __init__(self, folder: Path, password: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            f"allow_anonymous {'false' if password else 'true'}",
            f"log_dest file {folder}/log",
            # Started by root it would become another user, who cannot get to the test's folder.
            "user root",
        ]
        if password:
            passwords = folder / "passwords"
            passwords.touch()
            subprocess.run(["mosquitto_passwd", "-b", passwords, "farshore", password], check=True)
            passwords.chmod(0o644)
            lines.append(f"password_file {passwords}")
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config])

    def stop(self) -> None:
        """SIGTERM: sessions are stored."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Listener:
    """Everything published under farshore/, in order."""

    def __init__(self, port: int, user: str = "", password: str = "") -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._subscribed = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        if user:
            self._client.username_pw_set(user, password)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._port = port

    def __enter__(self) -> Self:
        self._client.connect_async("127.0.0.1", self._port)
        self._client.loop_start()
        eventually("the listener is heard", self._subscribed.is_set)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe("farshore/#", qos=1)

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.messages.append((message.topic, json.loads(message.payload)))

    def events(self) -> list[dict[str, Any]]:
        """The records, without test events."""
        return [one["Records"][0] for _, one in self.messages if "Records" in one]

    def sequences(self) -> dict[str, list[str]]:
        """The sequencers by key, in the order in which they came."""
        found: dict[str, list[str]] = {}
        for one in self.events():
            about = one["s3"]["object"]
            found.setdefault(about["key"], []).append(about["sequencer"])
        return found


def last_in_order(sequence: list[str]) -> bool:
    """Whether what came for the first time came in order, and the last is the latest."""
    first_times = list(dict.fromkeys(sequence))
    return first_times == sorted(first_times) and sequence[-1] == max(sequence)
