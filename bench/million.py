"""The row about the memory that objects in containers take: a million, 4+2 over six folders.

Resident memory of a datacenter when it has all of them, less that when it had a twentieth: each
time the highest of after they were put, after a restart, and after reads all over them. So caches,
which are full by then and do not grow, do not count; how much all of it is, is shown, too.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from bench import proc, wrk
from bench.datacenter import Datacenter
from bench.small import READ_CONNECTIONS, Figures
from bench.world import World

BUCKET = "many"
OBJECTS, OBJECTS_QUICK = 1_000_000, 100_000
PUT_KEYS, PUT_CONNECTIONS = 200_000, 64
"""At a time."""
READ_KEYS = 100_000


@dataclass(frozen=True)
class Million:
    """A datacenter with a million objects of 4 KiB in `BUCKET`; megabytes resident when it had
    none, a twentieth, all."""

    datacenter: Datacenter
    keys: list[str]
    empty_mb: float
    few_mb: float
    all_mb: float


_made: WeakKeyDictionary[World, Million] = WeakKeyDictionary()


def made(world: World) -> Million:
    """Made when it is first asked for."""
    if world not in _made:
        _made[world] = _make(world)
    return _made[world]


def million(world: World) -> Figures:
    """Megabytes for a million more."""
    found = made(world)
    more = len(found.keys) * 19 / 20
    return {
        "mb_per_million": (found.all_mb - found.few_mb) / more * 1e6,
        "empty_mb": found.empty_mb,
        "few_mb": found.few_mb,
        "all_mb": found.all_mb,
    }


def _make(world: World) -> Million:
    disks = [world.folder / f"million{number}" for number in range(6)]
    options = [part for disk in disks for part in ("--disk", str(disk))]
    datacenter = world.start("million", "--redundancy", "4+2", *options)
    datacenter.add_user()
    datacenter.settle()
    empty = _rss_mb(datacenter)
    world.new_bucket(datacenter, BUCKET)
    keys = world.new_keys(world.settings.count(OBJECTS, OBJECTS_QUICK))
    print(f"    (first {len(keys):,} objects are put into {datacenter.name})", flush=True)
    few = len(keys) // 20
    few_mb = _highest_mb(world, datacenter, keys[:few], keys[:few])
    return Million(
        datacenter, keys, empty, few_mb, _highest_mb(world, datacenter, keys[few:], keys)
    )


def _highest_mb(world: World, datacenter: Datacenter, new: list[str], there: list[str]) -> float:
    """Put the new ones; the highest of the three."""
    for begin in range(0, len(new), PUT_KEYS):
        world.put_all(datacenter, BUCKET, new[begin : begin + PUT_KEYS], PUT_CONNECTIONS)
    after_puts = _rss_mb(datacenter)
    datacenter.stop()
    datacenter.start()
    datacenter.settle()
    started = _rss_mb(datacenter)
    world.check_readable(datacenter, BUCKET, there)
    some = world.random.sample(there, min(READ_KEYS, len(there)))
    wrk.run(
        datacenter.address,
        "GET",
        datacenter.s3.presigner.paths("GET", BUCKET, some),
        world.folder,
        connections=READ_CONNECTIONS,
        seconds=world.settings.seconds,
    )
    return max(after_puts, started, _rss_mb(datacenter))


def _rss_mb(datacenter: Datacenter) -> float:
    return proc.memory(datacenter.pid, proportional=False).rss / 1e6
