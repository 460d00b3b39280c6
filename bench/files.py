"""Rows about changes that travel in files: an export, and its import where nothing is yet."""

import json
import time
from pathlib import Path

from bench.datacenter import Datacenter
from bench.small import Figures
from bench.world import World


def small(world: World) -> Figures:
    """Objects of 4 KiB."""
    count = world.settings.count(20_000, 4_000)
    north, south = _apart(world, "small")
    keys = world.filled(north, "carried", count)
    return _carry(world, north, south, "carried", keys[:1], count)


def large(world: World) -> Figures:
    """Objects of 64 MiB."""
    count = world.settings.count(16, 4)
    north, south = _apart(world, "large")
    world.new_bucket(north, "carried")
    keys = world.new_keys(count)
    body = world.large_body.read_bytes()
    for key in keys:
        north.s3.must("PUT", "carried", key, body=body)
    return _carry(world, north, south, "carried", keys[:1], count)


def _apart(world: World, name: str) -> tuple[Datacenter, Datacenter]:
    """Two datacenters that are paired by hand and cannot reach each other, with one user."""
    nowhere = ("--advertise", "127.0.0.1:1")
    pair = world.start(f"here-{name}", *nowhere), world.start(f"there-{name}", *nowhere)
    pair[1].sign_for(*pair[0].add_user())
    tokens = [each.cli("token", "issue").splitlines()[-1] for each in pair]
    pair[0].cli("dc", "add", tokens[1], "--offline")
    pair[1].cli("dc", "add", tokens[0], "--offline")
    return pair


def _carry(
    world: World, north: Datacenter, south: Datacenter, bucket: str, looked: list[str], count: int
) -> Figures:
    file = Path(world.folder / f"{north.name}.farshore")
    with world.measured(north, south) as meter:
        began = time.monotonic()
        north.cli("replication", "export", "--to", south.name, str(file))
        exported = time.monotonic() - began
        began = time.monotonic()
        report = json.loads(south.cli("replication", "import", str(file), "--json"))
        imported = time.monotonic() - began
    assert report["complete"] and not report["unfinished"]
    for key in looked:
        assert south.s3.must("GET", bucket, key) == north.s3.must("GET", bucket, key)
    size = file.stat().st_size
    file.unlink()
    facts = meter.facts(count, 0.0)
    return {
        "rate": count / imported,
        "export_rate": count / exported,
        "megabytes": size / 1e6,
        "export_mb_per_second": size / 1e6 / exported,
        "mb_per_second": size / 1e6 / imported,
        "cpu_seconds_per_gb": sum(meter.cpu_seconds.values()) / (size / 1e9),
        "operations": count,
        "seconds": exported + imported,
        **facts,
    }
