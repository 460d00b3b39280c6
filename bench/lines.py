"""Rows about two datacenters with a line between them that is long, thin, or often cut.

South takes north's changes by a `bench.line`, or straight. To measure bodies alone they are put
while the line leads nowhere.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import million, proc
from bench.arrival import await_all, await_one
from bench.datacenter import Datacenter, answers, die_with_parent, free_ports
from bench.errors import BenchError
from bench.lag import lags
from bench.replication import PUTS_PER_SECOND, WARM_UP
from bench.small import Figures
from bench.stats import percentile
from bench.world import World

RTT_MS = 80
MIB = 1 << 20
BULK_OBJECTS, BULK_BYTES, BULK_BYTES_QUICK = 4, 256 * MIB, 64 * MIB
LINK_RATE = 30_000_000
THIN_RATE = 2_500_000
CUT_BYTES, CUT_BYTES_QUICK = 300_000_000, 30_000_000
CUTS, CUTS_QUICK = 20, 2
ARRIVAL_SECONDS_MAX = 600
NOWHERE = "127.0.0.1:1"


class Link:
    """A line from a free port to a datacenter's peer listener."""

    def __init__(self, target: str, *options: str, port: int = 0) -> None:
        self.port = port or free_ports(1)[0]
        self.address = f"127.0.0.1:{self.port}"
        ports = str(self.port), target.rpartition(":")[2]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.line", *ports, *options],
            cwd=Path(__file__).parent.parent,
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        while not answers(self.address):
            time.sleep(0.05)

    def end(self) -> dict[str, int]:
        """What `bench.line` says of it."""
        self._process.send_signal(signal.SIGTERM)
        said, _ = self._process.communicate(timeout=30)
        found: dict[str, int] = json.loads(said)
        return found


@contextmanager
def line(world: World, *options: str) -> Iterator[tuple[Datacenter, Datacenter, Link]]:
    """The pair, with a line from south to north."""
    north, south = world.pair()
    (there,) = _endpoints(south, north)
    link = Link(there, *options)
    try:
        south.cli("dc", "move", north.name, link.address)
        yield north, south, link
    finally:
        south.cli("dc", "move", north.name, there)
        link.end()


def _endpoints(datacenter: Datacenter, peer: Datacenter) -> list[str]:
    listed = json.loads(datacenter.cli("dc", "list", "--json"))
    (found,) = [one["endpoints"] for one in listed if one["name"] == peer.name]
    return list(found)


def far_lag(world: World) -> Figures:
    """As the row `lag`, with 80 ms there and back."""
    with line(world, "--rtt-ms", str(RTT_MS)) as (north, south, _):
        bucket = _known_bucket(world, north, south, "far-lag")
        keys = world.new_keys(world.settings.count(400, 100) + WARM_UP)
        lags(north, south, bucket, keys[:WARM_UP], world.small_body, PUTS_PER_SECOND)
        seconds = lags(north, south, bucket, keys[WARM_UP:], world.small_body, PUTS_PER_SECOND)
    return {
        "p50_ms": percentile(seconds, 50) * 1000,
        "p99_ms": percentile(seconds, 99) * 1000,
        "max_ms": max(seconds) * 1000,
        "objects": len(seconds),
    }


def far_burst(world: World) -> Figures:
    """As the row `burst`, with 80 ms there and back."""
    with line(world, "--rtt-ms", str(RTT_MS)) as (north, south, _):
        bucket = _known_bucket(world, north, south, "far-burst")
        keys = world.new_keys(world.settings.count(2_000, 1_000))
        with ThreadPoolExecutor(1) as pool:
            putting = pool.submit(world.put_all, north, bucket, keys)
            arrived = await_all(south.s3, bucket, keys, ARRIVAL_SECONDS_MAX)
            load = putting.result()
    return {"rate": len(keys) / (arrived - load.started), "put_rate": load.rate}


def bulk(world: World) -> Figures:
    """Four large objects, straight."""
    north, south = world.pair()
    (there,) = _endpoints(south, north)
    return _bulk(world, north, south, there, "bulk")


def far_bulk(world: World) -> Figures:
    """The same by a line of 30 MB/s with 80 ms there and back."""
    with line(world, "--rtt-ms", str(RTT_MS), "--rate", str(LINK_RATE)) as (north, south, link):
        found = _bulk(world, north, south, link.address, "far-bulk")
    return {"percent": found["mb_per_second"] * 1e8 / LINK_RATE, **found}


def _bulk(world: World, north: Datacenter, south: Datacenter, address: str, bucket: str) -> Figures:
    _known_bucket(world, north, south, bucket)
    south.cli("dc", "move", north.name, NOWHERE)
    size = world.settings.count(BULK_BYTES, BULK_BYTES_QUICK)
    bodies = {str(number): os.urandom(size) for number in range(BULK_OBJECTS)}
    for key, body in bodies.items():
        north.s3.must("PUT", bucket, key, body=body)
    with world.measured(north, south) as meter:
        began = time.time()
        south.cli("dc", "move", north.name, address)
        arrived = await_all(south.s3, bucket, sorted(bodies), ARRIVAL_SECONDS_MAX)
    for key, body in bodies.items():
        _check(south, bucket, key, body)
    total = size * BULK_OBJECTS
    return {
        "mb_per_second": total / (arrived - began) / 1e6,
        "seconds": arrived - began,
        "cpu_seconds_per_gb": meter.server_cpu_seconds / (total / 1e9),
    }


def cut(world: World) -> Figures:
    """One large object by a line of 20 Mbit/s that is cut twenty times while it comes: as 3 GB that
    are cut every 60 s."""
    size = world.settings.count(CUT_BYTES, CUT_BYTES_QUICK)
    cuts = world.settings.count(CUTS, CUTS_QUICK)
    return cut_of(world, size, size / THIN_RATE / cuts)


def cut_of(world: World, size: int, cut_every: float) -> Figures:
    north, south = world.pair()
    bucket = _known_bucket(world, north, south, "cut")
    (there,) = _endpoints(south, north)
    south.cli("dc", "move", north.name, NOWHERE)
    body = os.urandom(size)
    north.s3.must("PUT", bucket, "large", body=body)
    options = "--rtt-ms", str(RTT_MS), "--rate", str(THIN_RATE), "--cut-every", str(cut_every)
    link = Link(there, *options)
    began = time.time()
    south.cli("dc", "move", north.name, link.address)
    try:
        arrived = await_all(south.s3, bucket, ["large"], size / THIN_RATE * 5)
    finally:
        said = link.end()
        south.cli("dc", "move", north.name, there)
    _check(south, bucket, "large", body)
    return {
        "percent_twice": 100 * (said["back"] / size - 1),
        "seconds": arrived - began,
        "seconds_at_least": size / THIN_RATE,
        "cuts": said["cuts"],
    }


def first(world: World) -> Figures:
    """From the start of `dc add` until an object that was there before is at the other one, with 80
    ms there and back in each direction."""
    ports = free_ports(2)
    ends = []
    for name, port in zip(("here", "there"), ports, strict=True):
        ends.append(world.start(name, "--advertise", f"127.0.0.1:{port}"))
    here, there = ends
    links = [
        Link(json.loads(one.cli("status", "--json"))["peer"], "--rtt-ms", str(RTT_MS), port=port)
        for one, port in zip(ends, ports, strict=True)
    ]
    there.sign_for(*here.add_user())
    here.s3.must("PUT", "early")
    here.s3.must("PUT", "early", "first", body=b"first")
    token = here.cli("token", "issue").splitlines()[-1]
    began = time.time()
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(there.join, token)
        arrived = await_all(there.s3, "early", ["first"], ARRIVAL_SECONDS_MAX)
        joined.result()
    paired = time.time()
    for link in links:
        link.end()
    for one in ends:
        one.stop()
    return {"seconds": arrived - began, "command_seconds": paired - began}


def _known_bucket(world: World, north: Datacenter, south: Datacenter, name: str) -> str:
    bucket = world.new_bucket(north, name)
    north.s3.must("PUT", bucket, "first", body=b"first")
    await_all(south.s3, bucket, ["first"], ARRIVAL_SECONDS_MAX)
    north.s3.must("DELETE", bucket, "first")
    return bucket


def _check(datacenter: Datacenter, bucket: str, key: str, body: bytes) -> None:
    got = hashlib.sha256(datacenter.s3.must("GET", bucket, key)).digest()
    if got != hashlib.sha256(body).digest():
        raise BenchError(f"/{bucket}/{key} has other bytes than were put")


def seed_million(world: World) -> Figures:
    """A million objects of 4 KiB, to a new peer."""
    there = million.made(world)
    source, bucket, keys = there.datacenter, million.BUCKET, there.keys
    target = world.start("empty")
    target.sign_for(*source.keys)
    target.settle()
    token = source.cli("token", "issue").splitlines()[-1]
    early = 0.0
    began = time.time()
    with ThreadPoolExecutor(1) as pool:
        joined = pool.submit(target.join, token, waits=False)
        await_one(target.s3, bucket, keys[len(keys) // 10], ARRIVAL_SECONDS_MAX)
        early = _rss(source, target)
        arrived = await_all(target.s3, bucket, keys, ARRIVAL_SECONDS_MAX)
        joined.result()
    late = _rss(source, target)
    world.check_readable(target, bucket, keys)
    source.stop()
    target.stop()
    seconds = arrived - began
    return {
        "rate": len(keys) / seconds,
        "seconds": seconds,
        "mb_early": early,
        "mb_late": late,
        "grown_mb": late - early,
    }


def _rss(*datacenters: Datacenter) -> float:
    return sum(proc.memory(each.pid, proportional=False).rss for each in datacenters) / 1e6
