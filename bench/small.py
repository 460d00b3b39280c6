"""Rows about objects of 4 KiB, and listings, at one datacenter that is paired with none."""

from collections.abc import Sequence

from bench import wrk
from bench.client import PAGE, list_query
from bench.clients import run_heads
from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.meter import Meter
from bench.world import SMALL_BYTES, World
from bench.wrk import Load

Figures = dict[str, float]
PUTS_PER_SECOND_MAX = 15_000
DELETES_PER_SECOND_MAX = 8_000
READ_CONNECTIONS = 16
LIST_CONNECTIONS = 4


def put16(world: World) -> Figures:
    return _put(world, 16)


def put64(world: World) -> Figures:
    return _put(world, 64)


def _put(world: World, connections: int) -> Figures:
    bucket = f"put{connections}"
    stored, found = put(world, world.solo(), bucket, connections)
    world.leftover += [(bucket, key) for key in stored]
    return found


def put(
    world: World, datacenter: Datacenter, bucket: str, connections: int
) -> tuple[list[str], Figures]:
    """New keys all the time, into a new bucket. Afterwards it is listed: it must hold what was
    answered."""
    world.new_bucket(datacenter, bucket)
    keys = world.new_keys(PUTS_PER_SECOND_MAX * world.settings.seconds)
    targets = datacenter.s3.presigner.paths("PUT", bucket, keys)
    with world.measured(datacenter) as meter:
        load = wrk.run(
            datacenter.address,
            "PUT",
            targets,
            world.folder,
            connections=connections,
            seconds=world.settings.seconds,
            body=world.small_body,
            once=True,
        )
    stored = datacenter.s3.keys(bucket)
    if not load.requests <= len(stored) <= load.requests + connections:
        raise BenchError(f"{load.requests} PUTs were answered, {len(stored)} objects are listed")
    world.check_readable(datacenter, bucket, stored)
    return stored, figures(load, meter)


def get16(world: World) -> Figures:
    return get(world, world.solo())


def get(world: World, datacenter: Datacenter) -> Figures:
    keys = world.filled(datacenter, "reads", world.settings.count(20_000, 4_000))
    world.check_readable(datacenter, "reads", keys)
    world.random.shuffle(keys)
    targets = datacenter.s3.presigner.paths("GET", "reads", keys)
    load, meter = _wrk(world, datacenter, "GET", targets, READ_CONNECTIONS)
    if load.bytes_read < load.requests * SMALL_BYTES:
        raise BenchError(f"{load.requests} objects of 4 KiB came in {load.bytes_read} bytes")
    return figures(load, meter)


def head16(world: World) -> Figures:
    datacenter = world.solo()
    keys = world.filled(datacenter, "reads", world.settings.count(20_000, 4_000))
    targets = datacenter.s3.presigner.paths("HEAD", "reads", keys)
    with world.measured(datacenter) as meter:
        load = run_heads(
            world.folder, datacenter.address, targets, READ_CONNECTIONS, world.settings.seconds
        )
    return figures(load, meter)


def listing(world: World) -> Figures:
    """Pages of 1,000 from anywhere in the bucket."""
    datacenter = world.solo()
    count = world.settings.count(100_000, 10_000)
    keys = sorted(world.filled(datacenter, "listing", count))
    starts = list(range(0, count - PAGE, 97))
    world.random.shuffle(starts)
    for start in starts[:3]:
        if datacenter.s3.page("listing", keys[start]) != keys[start + 1 : start + 1 + PAGE]:
            raise BenchError(f"the page after {keys[start]} is not what was put")
    presigner = datacenter.s3.presigner
    targets = [presigner.path("GET", "listing", query=list_query(keys[at])) for at in starts]
    load, meter = _wrk(world, datacenter, "GET", targets, LIST_CONNECTIONS)
    if load.bytes_read < load.requests * PAGE * len(keys[0]):
        raise BenchError(f"{load.requests} pages came in {load.bytes_read} bytes")
    return figures(load, meter)


def delete16(world: World) -> Figures:
    """What the rows before have put, and more when that is too little. None may be left."""
    datacenter = world.solo()
    wanted = DELETES_PER_SECOND_MAX * world.settings.seconds
    doomed, world.leftover = world.leftover, []
    if len(doomed) < wanted:
        more = world.filled(datacenter, "deletes", wanted - len(doomed))
        doomed += [("deletes", key) for key in more]
    world.random.shuffle(doomed)
    sign = datacenter.s3.presigner.paths
    targets = [target for bucket, key in doomed for target in sign("DELETE", bucket, [key])]
    load, meter = _wrk(world, datacenter, "DELETE", targets, READ_CONNECTIONS, once=True)
    left = sum(len(datacenter.s3.keys(bucket)) for bucket in {bucket for bucket, _ in doomed})
    gone = len(doomed) - left
    if not load.requests <= gone <= load.requests + READ_CONNECTIONS:
        raise BenchError(f"{load.requests} DELETEs were answered, {gone} objects are gone")
    return figures(load, meter)


def _wrk(
    world: World,
    datacenter: Datacenter,
    method: str,
    targets: Sequence[str],
    connections: int,
    once: bool = False,
) -> tuple[Load, Meter]:
    with world.measured(datacenter) as meter:
        load = wrk.run(
            datacenter.address,
            method,
            targets,
            world.folder,
            connections=connections,
            seconds=world.settings.seconds,
            once=once,
        )
    return load, meter


def figures(load: Load, meter: Meter) -> Figures:
    """For the results."""
    return {
        "rate": load.rate,
        "operations": load.requests,
        "seconds": load.seconds,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "max_ms": load.max_ms,
        **meter.facts(load.requests, load.client_cpu_seconds),
    }
