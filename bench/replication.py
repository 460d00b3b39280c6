"""Rows about two datacenters on one machine that ship each other their changes."""

import time
from concurrent.futures import ThreadPoolExecutor

from bench import proc, wrk
from bench.arrival import await_all
from bench.datacenter import Datacenter
from bench.lag import lags
from bench.small import PUTS_PER_SECOND_MAX, Figures
from bench.stats import percentile
from bench.world import World

ARRIVAL_SECONDS_MAX = 180
IDLE_SECONDS = 10
IDLE_SETTLE_SECONDS = 3
PUTS_PER_SECOND = 20
WARM_UP = 20
COPYING_TURNS = 3


def seed(world: World) -> Figures:
    """From `dc add` until all that was there before is at the new peer."""
    north, south = world.unpaired()
    count = world.settings.count(20_000, 4_000)
    keys = world.filled(north, "seeded", count)
    token = north.cli("token", "issue").splitlines()[-1]
    with world.measured(north, south) as meter:
        began = time.time()
        with ThreadPoolExecutor(1) as pool:
            joined = pool.submit(world.pair_up, token)
            arrived = await_all(south.s3, "seeded", keys, ARRIVAL_SECONDS_MAX)
            joined.result()
    world.check_readable(south, "seeded", keys)
    seconds = arrived - began
    return {
        "rate": count / seconds,
        "operations": count,
        "seconds": seconds,
        **meter.facts(count, 0.0),
        **_each(meter.cpu_seconds),
    }


def idle(world: World) -> Figures:
    """CPU time of each datacenter, paired and without load."""
    pair = world.pair()
    time.sleep(IDLE_SETTLE_SECONDS)
    before = [proc.cpu_seconds_fine(each.pid) for each in pair]
    with world.measured(*pair):
        began = time.monotonic()
        time.sleep(IDLE_SECONDS)
        elapsed = time.monotonic() - began
        after = [proc.cpu_seconds_fine(each.pid) for each in pair]
    used = [100 * (b - a) / elapsed for a, b in zip(before, after, strict=True)]
    return {
        "percent": max(used),
        **{f"percent_{dc.name}": p for dc, p in zip(pair, used, strict=True)},
    }


def lag(world: World) -> Figures:
    """Of single objects, a few each second."""
    north, south = world.pair()
    count = world.settings.count(400, 100)
    bucket = _replicated_bucket(north, south, world, "lag")
    keys = world.new_keys(count + WARM_UP)
    body = world.small_body
    lags(north, south, bucket, keys[:WARM_UP], body, PUTS_PER_SECOND)
    with world.measured(north, south) as meter:
        seconds = lags(north, south, bucket, keys[WARM_UP:], body, PUTS_PER_SECOND)
    return {
        "p50_ms": percentile(seconds, 50) * 1000,
        "p90_ms": percentile(seconds, 90) * 1000,
        "p99_ms": percentile(seconds, 99) * 1000,
        "max_ms": max(seconds) * 1000,
        "objects": count,
        "other_cores": meter.facts(1, 0.0)["other_cores"],
        "stolen_cores": meter.facts(1, 0.0)["stolen_cores"],
    }


def lag_both(world: World) -> Figures:
    """The same in both directions at once."""
    north, south = world.pair()
    count = world.settings.count(400, 100)
    body = world.small_body
    buckets = [
        _replicated_bucket(*ends, world, f"lag-{number}")
        for number, ends in enumerate(((north, south), (south, north)))
    ]
    keys = world.new_keys(count)
    with world.measured(north, south) as meter, ThreadPoolExecutor(1) as pool:
        there = pool.submit(lags, north, south, buckets[0], keys, body, PUTS_PER_SECOND)
        seconds = lags(south, north, buckets[1], keys, body, PUTS_PER_SECOND)
        seconds += there.result()
    return {
        "p50_ms": percentile(seconds, 50) * 1000,
        "p99_ms": percentile(seconds, 99) * 1000,
        "max_ms": max(seconds) * 1000,
        "objects": 2 * count,
        "other_cores": meter.facts(1, 0.0)["other_cores"],
        "stolen_cores": meter.facts(1, 0.0)["stolen_cores"],
    }


def copying(world: World) -> Figures:
    """The rate of PUTs while a peer takes them all, as a part of the rate without a peer; in turns,
    since the machine may not be equally fast all the time."""
    alone, (north, south) = world.solo(), world.pair()
    rates: dict[str, list[float]] = {"alone": [], "copied": []}
    with world.measured(alone, north, south) as meter:
        for turn in range(COPYING_TURNS):
            for kind, datacenter in (("alone", alone), ("copied", north)):
                bucket = world.new_bucket(datacenter, f"copying-{kind}-{turn}")
                rates[kind].append(_put_for_a_while(world, datacenter, bucket))
                if kind == "copied":
                    # What was under way when the load ended is stored a moment later.
                    time.sleep(1)
                    await_all(south.s3, bucket, datacenter.s3.keys(bucket), ARRIVAL_SECONDS_MAX)
    put_alone, put_copied = (sum(rates[kind]) / COPYING_TURNS for kind in ("alone", "copied"))
    return {
        "percent": 100 * put_copied / put_alone,
        "alone_rate": put_alone,
        "copied_rate": put_copied,
        "other_cores": meter.facts(1, 0.0)["other_cores"],
        "stolen_cores": meter.facts(1, 0.0)["stolen_cores"],
    }


def _put_for_a_while(world: World, datacenter: Datacenter, bucket: str) -> float:
    """PUTs a second."""
    seconds = max(2, world.settings.seconds // 2)
    keys = world.new_keys(PUTS_PER_SECOND_MAX * seconds)
    load = wrk.run(
        datacenter.address,
        "PUT",
        datacenter.s3.presigner.paths("PUT", bucket, keys),
        world.folder,
        connections=16,
        seconds=seconds,
        body=world.small_body,
        once=True,
    )
    return load.rate


def burst(world: World) -> Figures:
    """From the first PUT of many until all are at the other datacenter."""
    north, south = world.pair()
    count = world.settings.count(2_000, 1_000)
    bucket = _replicated_bucket(north, south, world, "burst")
    keys = world.new_keys(count)
    with world.measured(north, south) as meter:
        with ThreadPoolExecutor(1) as pool:
            putting = pool.submit(world.put_all, north, bucket, keys)
            arrived = await_all(south.s3, bucket, keys, ARRIVAL_SECONDS_MAX)
            load = putting.result()
    world.check_readable(south, bucket, keys)
    seconds = arrived - load.started
    return {
        "rate": count / seconds,
        "put_rate": load.rate,
        "operations": count,
        "seconds": seconds,
        **meter.facts(count, load.client_cpu_seconds),
        **_each(meter.cpu_seconds),
    }


def _replicated_bucket(north: Datacenter, south: Datacenter, world: World, name: str) -> str:
    """A new bucket with an object, known at both."""
    bucket = world.new_bucket(north, name)
    north.s3.must("PUT", bucket, "first", body=b"first")
    await_all(south.s3, bucket, ["first"], ARRIVAL_SECONDS_MAX)
    north.s3.must("DELETE", bucket, "first")
    return bucket


def _each(cpu_seconds: dict[str, float]) -> Figures:
    return {f"cpu_seconds_{name}": value for name, value in cpu_seconds.items()}
