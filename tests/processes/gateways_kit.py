"""Gateways on other machines, as processes: a datacenter, its gateways, a cable that can be cut."""

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from process_kit import FARSHORE, Dc, eventually, farshore, free_port, s3_client

from admin.client import AdminClient


class Process(Dc):
    """A datacenter that is there already, or a node: `farshore serve FOLDER --role ...`."""

    def __init__(self, folder: Path, s3_port: int = 0, roles: str = "") -> None:
        self.folder = folder
        self.name = folder.name
        self.s3_port = s3_port
        self.roles = roles
        self.process = None

    def start(self) -> None:
        more = ["--role", self.roles] if self.roles else []
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [FARSHORE, "serve", self.folder, *more],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually(f"{self.name} answers", self.answers)

    def config(self) -> dict[str, Any]:
        """node.json."""
        found: dict[str, Any] = json.loads((self.folder / "node.json").read_text())
        return found

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()


class Cluster:
    """A datacenter and its gateways; of what has a disk the name begins with "os"."""

    def __init__(self, folder: Path, *options: object, roles: str = "") -> None:
        self.folder = folder
        made = Dc(folder / "paris", "paris", *options)
        config = made.folder / "farshore.toml"
        config.write_text(
            config.read_text().replace('access_log_every = "5m"', 'access_log_every = "1s"')
        )
        self.paris = Process(made.folder, made.s3_port, roles)
        self.nodes: dict[str, Process] = {}
        self.paris.start()
        self.admin = AdminClient(self.paris.folder)
        self.keys: dict[str, str] = self.admin.post("users", body={"email": "ann@example.org"})

    def join(self, name: str, *more: object, start: bool = True) -> Process:
        """A node that is a gateway, and has a disk if its name says so."""
        has_disk = name.startswith("os")
        roles = ["gateway", *(["os"] if has_disk else [])]
        token = self.admin.post("nodes", "token", body={"roles": roles})["token"]
        port = free_port()
        farshore(
            *("node", "join", token, self.folder / name, "--name", name),
            *("--s3", f"127.0.0.1:{port}"),
            *(() if "--listen" in more else ("--listen", f"127.0.0.1:{free_port()}")),
            *(("--disk", self.folder / f"disk-{name}") if has_disk else ()),
            *more,
        )
        node = self.nodes[name] = Process(self.folder / name, port)
        if start:
            node.start()
            self.until_serving(name)
        return node

    def nodes_shown(self) -> dict[str, Any]:
        return {one["name"]: one for one in self.admin.get("nodes")["nodes"]}

    def until_serving(self, *names: str, seconds: float = 20) -> None:
        for name in names:
            s3 = self.client(name)

            def serves(s3: Any = s3) -> bool:
                with suppress(ClientError, BotoCoreError):
                    s3.list_buckets()
                    return True
                return False

            eventually(f"{name} serves", serves, seconds)

    def client(self, name: str, keys: dict[str, str] | None = None) -> Any:
        return s3_client(self.port(name), keys or self.keys, signature_version="s3v4")

    def port(self, name: str) -> int:
        return (self.paris if name == "paris" else self.nodes[name]).s3_port

    def end(self) -> None:
        for each in (*self.nodes.values(), self.paris):
            each.end()


def status_of(port: int, path: str, timeout: float = 10) -> int:
    """Of a GET without a key; 0 when nothing is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    except TimeoutError:
        return 0
    finally:
        connection.close()


def code_of(call: Callable[[], Any]) -> str:
    """The error code of what is refused, "" of what is not."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


class Queued:
    """A request that has been sent and is not read yet: its server may be stopped."""

    def __init__(self, url: str) -> None:
        at = urlsplit(url)
        self._socket = socket.create_connection((at.hostname or "", at.port or 0), 5)
        self._socket.settimeout(30)
        request = f"GET {at.path}?{at.query} HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n"
        self._socket.sendall(request.encode())

    def status(self) -> int:
        """0 when it was cut off."""
        with self._socket, suppress(OSError):
            head = self._socket.recv(4096)
            return int(head.split()[1]) if head else 0
        return 0


class Load:
    """Puts, gets and lists by some gateways, until it is ended. What was acknowledged is
    remembered; what failed stands in `failed`, what came back otherwise in `wrong`."""

    def __init__(self, cluster: Cluster, bucket: str, *names: str, large: int = 1_500_000) -> None:
        self.acknowledged: dict[str, bytes] = {}
        self.failed: list[str] = []
        self.wrong: list[str] = []
        self._cluster = cluster
        self._bucket = bucket
        self._large = large
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(name, names[number - 1]))
            for number, name in enumerate(names)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, name: str, other: str) -> None:
        """Write by one, read by another."""
        s3, there, number = self._cluster.client(name), self._cluster.client(other), 0
        while not self._ended.is_set():
            key = f"load/{name}/{number}"
            body = os.urandom(self._large if number % 4 == 3 else 20_000)
            number += 1
            try:
                s3.put_object(Bucket=self._bucket, Key=key, Body=body)
                self.acknowledged[key] = body
                if there.get_object(Bucket=self._bucket, Key=key)["Body"].read() != body:
                    self.wrong.append(key)
            except (ClientError, BotoCoreError, OSError) as error:
                self.failed.append(f"{name} {key}: {error}")
                time.sleep(0.05)

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def check(self, name: str) -> None:
        """All that was acknowledged is there, as it was."""
        s3 = self._cluster.client(name)
        assert not self.wrong
        for key, body in self.acknowledged.items():
            assert s3.get_object(Bucket=self._bucket, Key=key)["Body"].read() == body, key


class Cable:
    """A TCP proxy: what goes through it can be stalled, in one direction or both, and cut."""

    def __init__(self, target: int) -> None:
        self.target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = {"there": threading.Event(), "back": threading.Event()}
        self._tells = threading.Event()
        """Whether one side hears that the other has ended; without, no connection is begun."""
        self._near: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.heal()
        self._spawn(self._accept)

    def stall(self, *directions: str) -> None:
        """ "there": from the datacenter to the node; "back": the other way."""
        self._tells.clear()
        for one in directions:
            self._open[one].clear()

    def release(self, direction: str) -> None:
        """What was held up arrives late."""
        self._open[direction].set()

    def cut_near(self) -> None:
        """The datacenter finds its connections ended, and the node does not."""
        self._tells.clear()
        _end(self._near)

    def heal(self) -> None:
        for one in (*self._open.values(), self._tells):
            one.set()

    def cut(self) -> None:
        """End the connections that there are."""
        _end(self._sockets)

    def end(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self.heal()
        self.cut()
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._tells.is_set():
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self.target), 5)
                except OSError:
                    near.close()
                    continue
                self._sockets += [near, far]
                self._near.append(near)
                self._spawn(self._carry, near, far, "there")
                self._spawn(self._carry, far, near, "back")

    def _carry(self, source: socket.socket, sink: socket.socket, way: str) -> None:
        with suppress(OSError):
            source.settimeout(None)
            while data := source.recv(1 << 16):
                self._open[way].wait()
                sink.sendall(data)
        self._tells.wait()
        _end([source, sink])


def _end(sockets: Sequence[socket.socket]) -> None:
    for one in list(sockets):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


def tls_to(port: int) -> ssl.SSLSocket:
    """A stranger's connection with a node."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 5))
