"""Rows about limits: what really goes over the wire, counted by proxies between two datacenters."""

import time

from bench.arrival import await_all
from bench.counting import CountingProxy
from bench.datacenter import Datacenter, free_ports
from bench.small import Figures
from bench.world import World

RATE = 300 << 10
SECONDS = 30
BEGIN_SECONDS = 2
BUCKET = "limited"
LARGE_OBJECTS = 4
SMALL_EACH_SECONDS = 1.0
ARRIVAL_SECONDS_MAX = 20


def limit_out(world: World) -> Figures:
    """The one that sends has the limit."""
    return _measure(world, "out")


def limit_in(world: World) -> Figures:
    """The one that takes has it."""
    return _measure(world, "in")


def _measure(world: World, direction: str) -> Figures:
    ports = free_ports(2)
    proxies = [CountingProxy(port) for port in ports]
    source, target = (
        world.start(f"{name}-{direction}", "--advertise", f"127.0.0.1:{port}")
        for name, port in zip(("source", "target"), ports, strict=True)
    )
    for datacenter, proxy in zip((source, target), proxies, strict=True):
        proxy.folder = datacenter.folder
    target.sign_for(*source.add_user())
    target.pair_with(source)
    holder, other = (source, target) if direction == "out" else (target, source)
    holder.cli("dc", "limit", other.name, f"{RATE}B/s", f"--{direction}")
    figures = _counted(world, source, target, proxies)
    # What is left of it would be a load for other rows.
    holder.cli("dc", "limit", other.name, "none")
    await_all(target.s3, BUCKET, source.s3.keys(BUCKET), ARRIVAL_SECONDS_MAX)
    return figures


def _counted(
    world: World, source: Datacenter, target: Datacenter, proxies: list[CountingProxy]
) -> Figures:
    bucket = world.new_bucket(source, BUCKET)
    source.s3.must("PUT", bucket, "first", body=b"first")
    await_all(target.s3, bucket, ["first"], ARRIVAL_SECONDS_MAX)
    large = world.large_body.read_bytes()[: 8 << 20]
    for number in range(LARGE_OBJECTS):
        source.s3.must("PUT", bucket, f"large-{number}", body=large)
    time.sleep(BEGIN_SECONDS)

    def passed() -> int:
        return proxies[0].from_target + proxies[1].to_target

    seconds = world.settings.count(SECONDS, SECONDS // 3)
    began, before = time.monotonic(), passed()
    lags: list[float] = []
    while time.monotonic() - began < seconds - SMALL_EACH_SECONDS:
        key, put_at = f"small-{len(lags)}", time.monotonic()
        source.s3.must("PUT", bucket, key, body=world.small_body.read_bytes())
        while target.s3.call("HEAD", bucket, key)[0] != 200:
            time.sleep(0.005)
        lags.append(time.monotonic() - put_at)
        time.sleep(max(0.0, SMALL_EACH_SECONDS - lags[-1]))
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    rate = (passed() - before) / (time.monotonic() - began)
    lags.sort()
    return {
        "off_percent": abs(100 * (rate / RATE - 1)),
        "rate": rate,
        "seconds": seconds,
        "small_p50_ms": lags[len(lags) // 2] * 1000,
        "small_max_ms": lags[-1] * 1000,
    }
