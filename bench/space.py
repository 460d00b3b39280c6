"""The row about space: what small objects take on coded disks, after compaction."""

import json
import re
from pathlib import Path

from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.small import Figures
from bench.world import SMALL_BYTES, World

REDUNDANCY, K, M = "4+2", 4, 2
THRESHOLD = "0.02"


def space(world: World) -> Figures:
    """Objects of 4 KiB at a datacenter of its own; half of them are overwritten, then it compacts.
    What is on the disks for each byte of an object that has to be there, redundancy included."""
    disks = [world.folder / f"space{number}" for number in range(K + M)]
    options = [part for disk in disks for part in ("--disk", str(disk))]
    datacenter = world.start("space", "--redundancy", REDUNDANCY, *options)
    datacenter.stop()
    _hurry(datacenter)
    datacenter.start()
    datacenter.add_user()
    bucket = world.new_bucket(datacenter, "space")
    keys = world.new_keys(world.settings.count(50_000, 5_000))
    world.put_all(datacenter, bucket, keys)
    world.put_all(datacenter, bucket, keys[::2])
    needed = len(keys) * SMALL_BYTES * (K + M) / K
    before = _taken(disks)
    told = json.loads(datacenter.cli("objects", "compact", "--threshold", THRESHOLD, "--json"))
    after = _taken(disks)
    if told["damaged_containers"] or not told["removed_containers"]:
        raise BenchError(f"it was not compacted: {told}")
    world.check_readable(datacenter, bucket, keys)
    datacenter.stop()
    return {"ratio": after / needed, "ratio_before": before / needed, "raw_mb": after / 1e6}


def _hurry(datacenter: Datacenter) -> None:
    """A minute twice is nothing to measure."""
    path = datacenter.folder / "farshore.toml"
    text = re.sub(r"(?m)^compaction_grace = .*$", 'compaction_grace = "1s"', path.read_text())
    path.write_text(text)


def _taken(disks: list[Path]) -> int:
    return sum(path.stat().st_size for disk in disks for path in disk.rglob("*.fss"))
