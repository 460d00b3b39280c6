"""A real Mosquitto on a loopback port, which can go away and come back, with TLS and passwords if
that is wanted; and one who listens to it.

The listener's session is kept by the broker, on disk: what is published while it is away, or right
after the broker came back, it gets later.
"""

import datetime
import ipaddress
import json
import re
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as mqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion
from process_kit import Dc, eventually, free_port

USER = "farshore"


def configure(dc: Dc, section: str, **fields: Any) -> None:
    """Set fields of a table of farshore.toml."""
    path = dc.folder / "farshore.toml"
    head, table, rest = path.read_text().partition(f"[{section}]\n")
    for name, value in fields.items():
        line = f"{name} = {json.dumps(value)}"
        rest = re.sub(rf"^{name} = .*$", lambda _, line=line: line, rest, count=1, flags=re.M)
    path.write_text(head + table + rest)


def make_certificates(folder: Path) -> Path:
    """A CA, and the certificate of a broker on 127.0.0.1 by it: ca.pem, broker.pem, broker.key.
    The path of ca.pem."""
    folder.mkdir(parents=True, exist_ok=True)
    before = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("ca", "broker")
    ]
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    extensions: list[list[tuple[x509.ExtensionType, bool]]] = [
        [
            (x509.BasicConstraints(ca=True, path_length=0), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
            (issuer_id, False),
        ],
        [
            (alternatives, False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), False),
        ],
    ]
    for number, name in enumerate(("ca", "broker")):
        builder = x509.CertificateBuilder(
            names[0], names[number], keys[number].public_key(), number + 1, before,
            before + datetime.timedelta(days=36_500),
        )  # fmt: skip
        for extension, critical in extensions[number]:
            builder = builder.add_extension(extension, critical)
        made = builder.sign(keys[0], hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "broker.key").write_bytes(key)
    return folder / "ca.pem"


class Mosquitto:
    """`certificates`: the folder of `make_certificates`; then it speaks TLS only."""

    def __init__(self, folder: Path, password: str = "", certificates: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        self._log = folder / "log"
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            f"allow_anonymous {'false' if password else 'true'}",
            f"log_dest file {self._log}",
            # Started by root it would become another user, who cannot get to the test's folder.
            "user root",
        ]
        if password:
            passwords = folder / "passwords"
            passwords.touch()
            subprocess.run(["mosquitto_passwd", "-b", passwords, USER, password], check=True)
            passwords.chmod(0o644)
            lines.append(f"password_file {passwords}")
        if certificates is not None:
            lines.append(f"certfile {certificates}/broker.pem")
            lines.append(f"keyfile {certificates}/broker.key")
        self._config.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        self._process = subprocess.Popen(["mosquitto", "-c", self._config])

    def log(self) -> str:
        """Who has connected, and more."""
        return self._log.read_text() if self._log.exists() else ""

    def kill(self) -> None:
        """SIGKILL: what was retained and subscribed since it was started last is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def stop(self) -> None:
        """SIGTERM: sessions are stored."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Listener:
    """Everything published to a topic, in order."""

    def __init__(
        self,
        port: int,
        user: str = "",
        password: str = "",
        *,
        topic: str = "farshore/#",
        ca: Path | None = None,
    ) -> None:
        self._topic = topic
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._subscribed = threading.Event()
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False
        )
        if user:
            self._client.username_pw_set(user, password)
        if ca is not None:
            self._client.tls_set(str(ca))
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
        client.subscribe(self._topic, qos=1)

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
