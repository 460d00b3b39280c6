"""Rows about read-through: what one datacenter serves of another's, on one machine."""

import time

from bench.arrival import await_all
from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.large import again
from bench.small import Figures
from bench.stats import percentile
from bench.world import World

KEYS = 100
ARRIVAL_SECONDS_MAX = 60


def through(world: World) -> Figures:
    """One client, one request after the other: bytes that only the other has, a key that nobody
    has, a page of 100 keys; and each without read-through, of what is here."""
    north, south = world.pair()
    count = world.settings.count(2_000, 300)
    keys = world.new_keys(KEYS)
    away, here = "through-away", "through-here"
    bodies = [world.small_body.read_bytes()] * KEYS
    _kept_in_north(world, north, south, away, keys, bodies)
    _kept_in_north(world, south, south, here, keys, bodies)
    with world.measured(north, south) as meter:
        figures = {}
        for name, bucket in (("", away), ("local_", here)):
            asks = {
                "get": south.s3.presigner.paths("GET", bucket, keys),
                "miss": south.s3.presigner.paths("GET", bucket, [f"no-{key}" for key in keys]),
                "list": [south.s3.presigner.path("GET", bucket, query=[("list-type", "2")])],
            }
            for what, targets in asks.items():
                seconds = _timed(south, targets, count, 404 if what == "miss" else 200)
                figures[f"{name}{what}_ms"] = percentile(seconds, 50) * 1000
                figures[f"{name}{what}_p99_ms"] = percentile(seconds, 99) * 1000
    return figures | {"other_cores": meter.facts(1, 0.0)["other_cores"]}


def get64m(world: World) -> Figures:
    """Objects that only the other datacenter has."""
    north, south = world.pair()
    keys = world.new_keys(4)
    bodies = [world.large_body.read_bytes()] * len(keys)
    _kept_in_north(world, north, south, "through-large", keys, bodies)
    return again(world, south, "through-large", keys)


def _kept_in_north(
    world: World,
    north: Datacenter,
    south: Datacenter,
    bucket: str,
    keys: list[str],
    bodies: list[bytes],
) -> None:
    """A bucket whose bytes stay in `north`, and that may be read through if that is not `south`."""
    world.new_bucket(north, bucket)
    north.cli("bucket", "replicate", bucket, "--to", north.name)
    if north is not south:
        north.cli("bucket", "read-through", bucket, "on")
    for key, body in zip(keys, bodies, strict=True):
        north.s3.must("PUT", bucket, key, body=body)
    await_all(south.s3, bucket, keys, ARRIVAL_SECONDS_MAX)


def _timed(at: Datacenter, targets: list[str], count: int, wanted: int) -> list[float]:
    """The seconds that each of `count` requests takes."""
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        status, _ = at.s3.send("GET", targets[number % len(targets)])
        seconds.append(time.perf_counter() - began)
        if status != wanted:
            raise BenchError(f"a GET was answered {status}, not {wanted}")
    return seconds
