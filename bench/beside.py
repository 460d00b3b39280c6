"""The row about clients beside repair and scrub, both throttled as they are without configuration.

One datacenter with 4+2 over six folders: PUTs and GETs of 4 KiB while nothing else runs, then while
the slots of a lost disk are written anew, then while all is scrubbed.
"""

import json
import shutil
import time
from pathlib import Path

from bench import wrk
from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.small import PUTS_PER_SECOND_MAX, READ_CONNECTIONS, Figures
from bench.world import World
from dc.objects.marks import MARK

LARGE_OBJECTS, LARGE_OBJECTS_QUICK = 24, 10
SMALL_OBJECTS = 4_000
BEGIN_SECONDS_MAX = 60
IDLE_SECONDS_MAX = 600


def beside(world: World) -> Figures:
    """p99 beside each, as a multiple of p99 alone: the worse of PUT and GET."""
    disks = [world.folder / f"beside{number}" for number in range(6)]
    options = [part for disk in disks for part in ("--disk", str(disk))]
    datacenter = world.start("beside", "--redundancy", "4+2", *options)
    datacenter.add_user()
    keys = world.filled(datacenter, "small", SMALL_OBJECTS)
    body = world.large_body.read_bytes()
    world.new_bucket(datacenter, "large")
    for number in range(world.settings.count(LARGE_OBJECTS, LARGE_OBJECTS_QUICK)):
        datacenter.s3.must("PUT", "large", str(number), body=body)
    figures: Figures = {}
    _restart(datacenter)
    _until(datacenter, "idle", IDLE_SECONDS_MAX)
    _loads(world, datacenter, keys, "idle", figures)
    datacenter.stop()
    _lose(disks[0])
    datacenter.start()
    _until(datacenter, "repairing", BEGIN_SECONDS_MAX)
    _loads(world, datacenter, keys, "repairing", figures)
    _until(datacenter, "idle", IDLE_SECONDS_MAX)
    _restart(datacenter)
    _until(datacenter, "scrubbing", BEGIN_SECONDS_MAX)
    _loads(world, datacenter, keys, "scrubbing", figures)
    datacenter.stop()
    for doing in ("repairing", "scrubbing"):
        ratios = (
            figures[f"{m}_{doing}_p99_ms"] / figures[f"{m}_idle_p99_ms"] for m in ("put", "get")
        )
        figures[f"{doing}_ratio"] = max(ratios)
    return figures


def _loads(
    world: World, datacenter: Datacenter, keys: list[str], doing: str, figures: Figures
) -> None:
    """PUTs, then GETs; BenchError when the work was not under way all the time."""
    bucket = world.new_bucket(datacenter, f"put-{doing}")
    new = world.new_keys(PUTS_PER_SECOND_MAX * world.settings.seconds)
    presigner = datacenter.s3.presigner
    for method, targets in (
        ("PUT", presigner.paths("PUT", bucket, new)),
        ("GET", presigner.paths("GET", "small", keys)),
    ):
        load = wrk.run(
            datacenter.address,
            method,
            targets,
            world.folder,
            connections=READ_CONNECTIONS,
            seconds=world.settings.seconds,
            body=world.small_body if method == "PUT" else None,
            once=method == "PUT",
        )
        name = f"{method.lower()}_{doing}"
        figures[f"{name}_p99_ms"] = load.p99_ms
        figures[f"{name}_rate"] = load.rate
    if (now := _doing(datacenter)) != doing:
        raise BenchError(f"it was {doing}, and is {now} before the load has ended")
    datacenter.check()


def _restart(datacenter: Datacenter) -> None:
    """A round of scrubbing begins with it, since none is known of."""
    datacenter.stop()
    (datacenter.folder / "scrub.json").unlink(missing_ok=True)
    datacenter.start()


def _lose(disk: Path) -> None:
    """A new, empty one in its place."""
    mark = (disk / MARK).read_bytes()
    shutil.rmtree(disk)
    disk.mkdir()
    (disk / MARK).write_bytes(mark)


def _until(datacenter: Datacenter, wanted: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while (now := _doing(datacenter)) != wanted:
        if time.monotonic() > deadline:
            raise BenchError(f"it is {now} after {seconds:.0f} s, not {wanted}")
        time.sleep(0.5)


def _doing(datacenter: Datacenter) -> str:
    return str(json.loads(datacenter.cli("objects", "status", "--json"))["repair"]["doing"])
