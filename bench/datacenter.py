"""Real datacenters, started as a user would: `farshore init`, `farshore serve`, on loopback."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from bench import proc
from bench.client import S3
from bench.errors import BenchError
from bench.presign import Presigner

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15
COMMAND_SECONDS_MAX = 60
NOT_ALL_CAME = 4
"""The exit code of a `dc add` whose time was over before all of the peer was here."""
SETTLE_SECONDS = 3
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Runs in a new process: the kernel ends it when the bench ends, however that happens."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            probe = stack.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports.append(int(probe.getsockname()[1]))
        return ports


def answers(address: str) -> bool:
    """Whether something accepts connections there."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def end(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL to its whole session when that does not help."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Datacenter:
    """A running DC with what it takes to send it requests."""

    s3: S3
    keys: tuple[str, str]
    """Access key and secret key of the last user."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        s3, peer, admin = (f"127.0.0.1:{port}" for port in free_ports(3))
        self.address = s3
        self.fresh: proc.Memory | None = None
        self.rss_under_load = 0
        listen = ["--s3", s3, "--peer", peer, "--admin", admin]
        self.log = self.folder.with_suffix(".log")
        self.cli("init", str(self.folder), "--name", name, *listen, *options)
        self.start()

    def start(self) -> None:
        """Serve, when it was just made or has been stopped."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_farshore(), "serve", str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise

    def add_node(self, folder: Path) -> subprocess.Popen[bytes]:
        """A node with one disk, that has joined; its process."""
        token = self.cli("node", "add").splitlines()[0]
        return self._join_node(token, folder, "--disk", str(folder / "disk"))

    def add_gateway(self, folder: Path) -> subprocess.Popen[bytes]:
        """A node that is a gateway, and that clients ask from now on; its process."""
        token = self.cli("node", "add", "--role", "gateway").splitlines()[0]
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        return self._join_node(token, folder, "--s3", self.address)

    def _join_node(self, token: str, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        (port,) = free_ports(1)
        at = ["--listen", f"127.0.0.1:{port}", *options]
        self.cli("node", "join", token, str(folder), "--name", folder.name, *at)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*_farshore(), "serve", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def until_nodes_answer(self) -> None:
        """Wait until all nodes are seen; it is looked every ten seconds."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while any(one["state"] != "ok" for one in json.loads(self.cli("node", "list", "--json"))):
            if time.monotonic() > deadline:
                raise BenchError("a node is not reached")
            time.sleep(1)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cli(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
        """What a command prints; BenchError when it ends with a code that is none of these."""
        command = [*_farshore(), *arguments]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env={**_environment(), "FARSHORE_DC": str(self.folder)},
            timeout=COMMAND_SECONDS_MAX,
        )
        if done.returncode not in codes:
            said = done.stderr.strip()[-400:]
            raise BenchError(f"`farshore {arguments[0]}` ended with {done.returncode}: {said}")
        return done.stdout

    def add_user(self) -> tuple[str, str]:
        """Access key and secret key of a new user, for whom `s3` then signs."""
        made = json.loads(self.cli("user", "add", "bench@example.com", "--json"))
        self.keys = made["access_key"], made["secret_key"]
        self.sign_for(*self.keys)
        return self.keys

    def sign_for(self, access_key: str, secret_key: str) -> None:
        now = datetime.now(UTC)
        presigner = Presigner(self.address, access_key, secret_key, self.name, now)
        self.s3 = S3(self.address, presigner)

    def settle(self) -> None:
        """Wait until it has started for good, and note its memory before any load."""
        time.sleep(SETTLE_SECONDS)
        self.fresh = proc.memory(self.pid)

    def pair_with(self, other: "Datacenter") -> None:
        """`dc add` here with a token of the other."""
        self.join(other.cli("token", "issue").splitlines()[-1])

    def join(self, token: str, *, waits: bool = True) -> None:
        """`waits`: for all that the peer has."""
        self.cli("dc", "add", token, codes=(0,) if waits else (0, NOT_ALL_CAME))

    def check(self) -> None:
        """BenchError with the end of the log when it has ended."""
        if self._process.poll() is not None:
            said = self.log.read_text(errors="replace")[-1500:]
            raise BenchError(f"{self.name} has ended with {self._process.returncode}: {said}")

    def stop(self) -> None:
        end(self._process)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not answers(self.address):
            self.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name} does not answer after {START_SECONDS_MAX} s")
            time.sleep(0.05)
        while True:
            try:
                self.cli("user", "list")
                return
            except BenchError:
                self.check()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _farshore() -> list[str]:
    """The command of this very environment, though it may not be on PATH."""
    beside = Path(sys.executable).parent / "farshore"
    if not beside.exists():
        raise BenchError(f"{beside} is missing: run `make setup`, then `make bench`")
    return [str(beside)]


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("FARSHORE_")}
