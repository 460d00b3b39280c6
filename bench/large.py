"""Rows about objects of 64 MiB, at one datacenter that is paired with none."""

import hashlib

from bench.clients import Transfers, run_transfers
from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.meter import Meter
from bench.small import Figures
from bench.world import World

CONNECTIONS = 2
PUTS_PER_SECOND_MAX = 40
READ_OBJECTS = 8


def put64m(world: World) -> Figures:
    return put(world, world.solo())


def get64m(world: World) -> Figures:
    return get(world, world.solo())


def put(world: World, datacenter: Datacenter) -> Figures:
    """New keys all the time."""
    bucket = world.new_bucket(datacenter, "largeput")
    keys = world.new_keys(PUTS_PER_SECOND_MAX * world.settings.seconds)
    transfers, meter = _load(world, datacenter, "PUT", bucket, keys)
    stored = datacenter.s3.keys(bucket)
    if len(stored) != transfers.count:
        raise BenchError(f"{transfers.count} PUTs were answered, {len(stored)} objects are listed")
    _check(world, datacenter, bucket, stored[len(stored) // 2])
    return _figures(transfers, meter)


def get(world: World, datacenter: Datacenter, bucket: str = "largeget") -> Figures:
    """A few objects again and again, so that they come from the page cache."""
    world.new_bucket(datacenter, bucket)
    keys = world.new_keys(READ_OBJECTS)
    body = world.large_body.read_bytes()
    for key in keys:
        datacenter.s3.must("PUT", bucket, key, body=body)
    return again(world, datacenter, bucket, keys)


def again(world: World, datacenter: Datacenter, bucket: str, keys: list[str]) -> Figures:
    """The same of objects that are there."""
    for key in keys[:2]:
        _check(world, datacenter, bucket, key)
    transfers, meter = _load(world, datacenter, "GET", bucket, keys)
    return _figures(transfers, meter)


def _load(
    world: World, datacenter: Datacenter, method: str, bucket: str, keys: list[str]
) -> tuple[Transfers, Meter]:
    targets = datacenter.s3.presigner.paths(method, bucket, keys)
    with world.measured(datacenter) as meter:
        transfers = run_transfers(
            world.folder,
            datacenter.address,
            method,
            targets,
            world.large_body,
            CONNECTIONS,
            world.settings.seconds,
        )
    return transfers, meter


def _check(world: World, datacenter: Datacenter, bucket: str, key: str) -> None:
    got = hashlib.sha256(datacenter.s3.must("GET", bucket, key)).digest()
    if got != hashlib.sha256(world.large_body.read_bytes()).digest():
        raise BenchError(f"/{bucket}/{key} has other bytes than were put")


def _figures(transfers: Transfers, meter: Meter) -> Figures:
    facts = meter.facts(transfers.count, transfers.client_cpu_seconds)
    del facts["cpu_ms"]
    return {
        "mb_per_second": transfers.megabytes_per_second,
        "transfers": transfers.count,
        "seconds": transfers.seconds,
        "slowest_seconds": transfers.slowest_seconds,
        "cpu_seconds_per_gb": meter.server_cpu_seconds / (transfers.bytes / 1e9),
        **facts,
    }
