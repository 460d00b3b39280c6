"""What the machine itself can do, measured in the same hour, so that the bench's figures can be
read on any machine: the disk, the hashes, and a bare aiohttp server under the same load client."""

import contextlib
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import proc, wrk
from bench.clients import run_heads
from bench.datacenter import answers, die_with_parent, end, free_ports
from bench.errors import BenchError
from bench.presign import Presigner
from bench.world import SMALL_BYTES, World

START_SECONDS_MAX = 10
MIB = 1024 * 1024
TARGETS = 20_000
CONNECTIONS = 16
SLICE_SECONDS = 0.5


@dataclass(frozen=True)
class Limit:
    name: str
    title: str
    value: float
    unit: str
    cpu_ms: float | None = None
    """Of the server, per request."""
    client_cores: float | None = None


def measure(world: World) -> Iterator[Limit]:
    """All of them, in turn."""
    seconds = 1 if world.settings.quick else 3
    yield Limit("fdatasync", "4 KiB appends with fdatasync", _syncs(world.folder, seconds), "/s")
    size = (256 if world.settings.quick else 2048) * MIB
    yield Limit("write", "sequential writes", _writes(world.folder, size), "MB/s")
    for name in ("md5", "sha256"):
        speed = _hashes(hashlib.new(name, usedforsecurity=False), seconds / 3)
        yield Limit(name, f"{name.upper()} on one core", speed, "MB/s")
    with _bare_server() as (address, pid):
        for method in ("PUT", "GET", "HEAD"):
            yield _bare(world, address, pid, method, 2 if world.settings.quick else 5)


def _syncs(folder: Path, seconds: float) -> float:
    """Of the best half second: a disk that is shared stalls now and then."""
    path, block, best = folder / "syncs", os.urandom(SMALL_BYTES), 0.0
    with path.open("wb", buffering=0) as file:
        for _ in range(round(seconds / SLICE_SECONDS)):
            count, began = 0, time.perf_counter()
            while time.perf_counter() < began + SLICE_SECONDS:
                file.write(block)
                os.fdatasync(file.fileno())
                count += 1
            best = max(best, count / (time.perf_counter() - began))
    path.unlink()
    return best


def _writes(folder: Path, size: int) -> float:
    path, block = folder / "writes", os.urandom(MIB)
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(size // MIB):
            file.write(block)
        os.fdatasync(file.fileno())
        elapsed = time.perf_counter() - began
    path.unlink()
    return size / 1e6 / elapsed


def _hashes(digest: "hashlib._Hash", seconds: float) -> float:
    block, count = os.urandom(MIB), 0
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        digest.update(block)
        count += 1
    return count * MIB / 1e6 / (time.perf_counter() - began)


@contextlib.contextmanager
def _bare_server() -> Iterator[tuple[str, int]]:
    """Address and pid."""
    port = free_ports(1)[0]
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.bare", str(port)],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent,
    )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not answers(f"127.0.0.1:{port}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError("the bare server does not start")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        end(process)


def _bare(world: World, address: str, pid: int, method: str, seconds: int) -> Limit:
    """Presigned targets, as long as those that the datacenters get."""
    presigner = Presigner(address, "A" * 20, "S" * 40, "region", datetime.now(UTC))
    targets = presigner.paths(method, "bucket", world.new_keys(TARGETS))
    before = proc.cpu_seconds(pid)
    if method == "HEAD":
        load = run_heads(world.folder, address, targets, CONNECTIONS, seconds)
    else:
        body = world.small_body if method == "PUT" else None
        load = wrk.run(
            address,
            method,
            targets,
            world.folder,
            connections=CONNECTIONS,
            seconds=seconds,
            body=body,
        )
    cpu_ms = (proc.cpu_seconds(pid) - before) * 1000 / load.requests
    title = f"bare aiohttp, {method} 4 KiB, {CONNECTIONS} connections"
    client = load.client_cpu_seconds / load.seconds
    return Limit(f"bare_{method.lower()}", title, load.rate, "/s", cpu_ms, client)
