"""Datacenters in network namespaces, joined by wires that can be cut, slowed and made to lose.

Each datacenter is a real `farshore serve` in a namespace of its own; a wire is a veth pair between
two of them. What a wire does to packets is done by the kernel: nftables drops, rejects or loses
what comes in at one end (so each direction by itself), tbf bounds the rate of what goes out. The
test does its S3 and admin requests inside, from threads that have entered the namespace with
setns(2): sockets belong to the namespace of the thread that made them.

Namespaces are named after the process that made them. They are removed with the test, and the next
one removes what a killed process has left.
"""

import contextlib
import ctypes
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from delay_proxy import DelayProxy
from process_kit import Dc, eventually, farshore

from admin.client import AdminClient
from bench.client import S3
from bench.presign import Presigner

T = TypeVar("T")
S3_PORT, PEER_PORT, ADMIN_PORT, PROXY_PORT = 8000, 7000, 9000, 7001
_PREFIX = "fs"
_CLONE_NEWNET = 0x40000000
_THREADS = 16
_TABLE = """
table inet faults {
    chain incoming { type filter hook input priority 0; policy accept; }
}
"""
_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count()


def run(*command: object, check: bool = True, given: str | None = None) -> str:
    """Standard output of a program of the system."""
    done = subprocess.run(
        [str(each) for each in command],
        input=given, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert not check or done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@functools.cache
def why_not() -> str:
    """Why namespaces cannot be used here; "" when they can."""
    missing = [tool for tool in ("ip", "tc", "nft") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (packages iproute2, nftables)"
    probe = f"{_PREFIX}{os.getpid()}-probe"
    done = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if done.returncode:
        return f"network namespaces are not permitted: {done.stderr.strip()}"
    run("ip", "netns", "del", probe)
    return ""


def need_namespaces() -> None:
    """Skip the test where there can be none. What only was not installed is an error, for
    continuous integration installs it (`.ci/run`)."""
    reason = why_not()
    assert "not installed" not in reason, reason
    if reason:
        pytest.skip(reason)


def sweep() -> None:
    """Remove the namespaces of processes that are gone."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        owner, dash, _ = name.removeprefix(_PREFIX).partition("-")
        ours = name.startswith(_PREFIX) and dash and owner.isdigit()
        if ours and not Path(f"/proc/{owner}").exists():
            _remove(name)


def _remove(name: str) -> None:
    """A namespace, with all processes in it. Another test may be sweeping, too."""
    for process in run("ip", "netns", "pids", name, check=False).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)
    run("ip", "netns", "del", name, check=False)


class Namespace:
    """A network namespace, with threads of this process inside."""

    def __init__(self, label: str) -> None:
        self.name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}-{label}"
        self.inside = ["ip", "netns", "exec", self.name]
        run("ip", "netns", "add", self.name)
        self._threads = ThreadPoolExecutor(_THREADS, initializer=self.enter)
        self.run("ip", "link", "set", "lo", "up")
        self.run("nft", "-f", "-", given=_TABLE)

    def enter(self) -> None:
        """Take the calling thread inside, for good."""
        with open(f"/run/netns/{self.name}") as file:
            if _libc.setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns into {self.name}")

    def run(self, *command: object, given: str | None = None) -> str:
        return run(*self.inside, *command, given=given)

    def begin(self, call: Callable[..., T], *arguments: object, **named: object) -> Future[T]:
        """Call in a thread inside."""
        return self._threads.submit(call, *arguments, **named)

    def do(self, call: Callable[..., T], *arguments: object, **named: object) -> T:
        """The same, to its end."""
        return self.begin(call, *arguments, **named).result(120)

    def remove(self) -> None:
        _remove(self.name)
        self._threads.shutdown(wait=False, cancel_futures=True)


class NetDc(Dc):
    """A datacenter in a namespace; `addresses` are where its peers reach it, the preferred first.
    All of them have the same ports. `delay_s`: how long bytes take to it, and from it."""

    bucket = "shared"

    def __init__(
        self,
        space: Namespace,
        folder: Path,
        name: str,
        addresses: list[str],
        delay_s: float = 0.0,
    ) -> None:
        self.folder = folder
        self.name = name
        self.addresses = addresses
        self.s3_port = S3_PORT
        self.process = None
        self.space = space
        self.prefix = space.inside
        self._keys: dict[str, str] = {}
        self._local = threading.local()
        self._connections: list[S3] = []
        port = PROXY_PORT if delay_s else PEER_PORT
        advertised = [word for one in addresses for word in ("--advertise", f"{one}:{port}")]
        farshore(
            "init", folder, "--name", name, "--s3", f"127.0.0.1:{S3_PORT}",
            "--peer", f"0.0.0.0:{PEER_PORT}", "--admin", f"127.0.0.1:{ADMIN_PORT}", *advertised,
        )  # fmt: skip
        self._proxy = (
            DelayProxy(self.space.enter, "0.0.0.0", PROXY_PORT, PEER_PORT, delay_s)
            if delay_s
            else None
        )
        self._admin = AdminClient(folder)

    def remove(self) -> None:
        self.end()
        if self._proxy is not None:
            self._proxy.stop()
        for connection in self._connections:
            connection.close()

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel, and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    # -- S3 -------------------------------------------------------------------------------------

    def use(self, keys: dict[str, str]) -> None:
        """Ask as this user from now on."""
        self._keys = keys

    def s3(self) -> S3:
        """This thread's connection."""
        if not hasattr(self._local, "s3"):
            address = f"127.0.0.1:{S3_PORT}"
            access, secret = self._keys["access_key"], self._keys["secret_key"]
            presigner = Presigner(address, access, secret, "us-east-1", datetime.now(UTC))
            self._local.s3 = S3(address, presigner)
            self._connections.append(self._local.s3)
        s3: S3 = self._local.s3
        return s3

    def ask(self, method: str, key: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """A request about a key of the bucket, or the bucket; status and body."""
        return self.space.do(lambda: self.s3().call(method, self.bucket, key, body=body))

    def put(self, key: str, body: bytes) -> None:
        self.space.do(lambda: self.s3().must("PUT", self.bucket, key, body=body))

    def get(self, key: str) -> bytes | None:
        """None when it is not there."""
        status, body = self.ask("GET", key)
        assert status in (200, 404), f"{self.name}: GET {key}: {status} {body[:300]!r}"
        return body if status == 200 else None

    def has(self, key: str) -> bool:
        return self.ask("HEAD", key)[0] == 200

    def keys(self) -> set[str]:
        return set(self.space.do(lambda: self.s3().keys(self.bucket)))

    # -- admin ----------------------------------------------------------------------------------

    def admin(self, method: str, *path: str, body: Any = None) -> Any:
        """What the command line would ask, without starting it."""
        return self.space.do(self._admin.request, method, path, body)

    def peer(self, name: str) -> dict[str, Any]:
        """The line of a peer in the replication status."""
        status = self.admin("GET", "replication")
        (found,) = (one for one in status["peers"] if one["name"] == name)
        return dict(found)


class Flow(NamedTuple):
    """What went into one direction of a wire."""

    bytes: int
    packets: int

    def __sub__(self, other: "Flow") -> "Flow":  # type: ignore[override]
        return Flow(self.bytes - other.bytes, self.packets - other.packets)


class End(NamedTuple):
    """Where a wire enters a datacenter."""

    dc: NetDc
    device: str


class Wire:
    """A veth pair. `lane`: of several between the same two, which of their addresses it serves."""

    def __init__(self, one: NetDc, two: NetDc, lane: int = 0) -> None:
        self.ends = (End(one, f"{two.name}{lane}"), End(two, f"{one.name}{lane}"))
        (_, here), (_, there) = self.ends
        run(
            "ip", "link", "add", here, "netns", one.space.name,
            "type", "veth", "peer", "name", there, "netns", two.space.name,
        )  # fmt: skip
        for end, far in (self.ends, self.ends[::-1]):
            space, own, other = end.dc.space, end.dc.addresses[lane], far.dc.addresses[lane]
            space.run("ip", "address", "add", f"{own}/32", "dev", end.device)
            space.run("ip", "link", "set", end.device, "up")
            space.run("ip", "route", "add", f"{other}/32", "dev", end.device, "src", own)

    def _incoming(self, to: NetDc | None, *rule: str) -> None:
        """A rule for what comes in at `to`, or at both ends."""
        for end in self.ends:
            if to is None or end.dc is to:
                end.dc.space.run(
                    "nft", "add", "rule", "inet", "faults", "incoming",
                    "iifname", end.device, *rule,
                )  # fmt: skip

    def cut(self, to: NetDc | None = None) -> None:
        """Swallow all packets, or those that go to one datacenter."""
        self._incoming(to, "drop")

    def reset(self) -> None:
        """Reset all connections on which something comes, until `heal`. It is the bare
        acknowledgements that are answered with a reset, as if from where they went: so whoever only
        receives knows it, too; and whoever sends gets its reset for what it sends next."""
        rule = "tcp flags & (syn | rst | fin) == 0 meta length <= 60 reject with tcp reset"
        self._incoming(None, *rule.split())

    def lose(self, percent: int) -> None:
        """Lose so much of all packets, at random; each is one of the size that wires have."""
        for end in self.ends:
            end.dc.space.run("ip", "link", "set", end.device, "gso_max_segs", "1")
        self._incoming(None, "numgen", "random", "mod", "100", "<", str(percent), "drop")

    def heal(self) -> None:
        """No faults any more. The rate stays."""
        for end in self.ends:
            rules = json.loads(
                end.dc.space.run("nft", "-j", "-a", "list", "chain", "inet", "faults", "incoming")
            )
            for entry in rules["nftables"]:
                rule = entry.get("rule")
                if rule and f'"{end.device}"' in json.dumps(rule["expr"]):
                    end.dc.space.run(
                        "nft", "delete", "rule", "inet", "faults", "incoming",
                        "handle", rule["handle"],
                    )  # fmt: skip
            end.dc.space.run("ip", "link", "set", end.device, "gso_max_segs", "65535")

    def slow(self, megabits: float, queue_ms: int = 100) -> None:
        """A rate for each direction, with a queue that holds what it takes so long to send."""
        for end in self.ends:
            end.dc.space.run(
                "tc", "qdisc", "replace", "dev", end.device, "root", "tbf",
                "rate", f"{megabits}mbit", "burst", "16kb", "latency", f"{queue_ms}ms",
            )  # fmt: skip

    def fast(self) -> None:
        """No rate any more."""
        for end in self.ends:
            end.dc.space.run("tc", "qdisc", "del", "dev", end.device, "root")

    def went_to(self, dc: NetDc) -> Flow:
        """What was sent towards a datacenter, lost or not."""
        (sender,) = (end for end in self.ends if end.dc is not dc)
        text = sender.dc.space.run("ip", "-j", "-s", "link", "show", "dev", sender.device)
        sent = json.loads(text)[0]["stats64"]["tx"]
        return Flow(sent["bytes"], sent["packets"])


class Net(NamedTuple):
    """Datacenters that are paired with the first of them, and the wires to them, by their names;
    with a second lane, the wires of that, too."""

    dcs: list[NetDc]
    wires: dict[str, Wire]
    seconds: dict[str, Wire]


@contextlib.contextmanager
def network(folder: Path, *names: str, lanes: int = 1, delay_s: float = 0.0) -> Iterator[Net]:
    """Make all of it, with a user and a bucket that all know; take it down again."""
    need_namespaces()
    sweep()
    with contextlib.ExitStack() as stack:

        def made(number: int, name: str) -> NetDc:
            space = Namespace(name)
            stack.callback(space.remove)
            addresses = [f"10.77.{lane}.{number}" for lane in range(lanes)]
            dc = NetDc(space, folder / name, name, addresses, delay_s)
            stack.callback(dc.remove)
            return dc

        with ThreadPoolExecutor() as pool:
            dcs = list(pool.map(made, itertools.count(1), names))
            hub, *others = dcs
            wires = [{one.name: Wire(hub, one, lane) for one in others} for lane in range(lanes)]
            list(pool.map(NetDc.start, dcs))
        _introduce(hub, others)
        yield Net(dcs, wires[0], wires[-1] if lanes > 1 else {})


def _introduce(hub: NetDc, others: list[NetDc]) -> None:
    """Pair, and let all know a user and a bucket."""
    for other in others:
        token = hub.admin("POST", "tokens", body={"lifetime_seconds": 600})["token"]
        other.admin("POST", "datacenters", body={"token": token, "timeout_seconds": 30})
    keys = hub.admin("POST", "users", body={"email": "ann@example.org"})
    for dc in (hub, *others):
        dc.use(keys)
    assert hub.ask("PUT")[0] == 200
    for other in others:
        eventually(f"the bucket is at {other.name}", lambda o=other: o.ask("HEAD")[0] == 200)


def identical(one: NetDc, other: NetDc) -> bool:
    """Whether both say that they hold exactly the same."""
    here, there = one.peer(other.name), other.peer(one.name)
    words = {here["state"], there["state"]}
    return words == {"IDENTICAL"} and here["root"] == there["root"]


def settled(one: NetDc, *others: NetDc, seconds: float = 30.0) -> None:
    """Wait until each says that it and the other hold exactly the same."""
    for other in others:
        eventually(f"{one.name} = {other.name}", lambda o=other: identical(one, o), seconds)


def check_identical(one: NetDc, *others: NetDc, seconds: float = 30.0) -> None:
    """The same, and a full comparison finds no difference either."""
    settled(one, *others, seconds=seconds)
    done = one.cli("replication", "verify", "--json", check=False)
    assert done.returncode == 0, f"{one.name}: {done.stdout} {done.stderr}"
