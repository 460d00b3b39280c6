"""Rows about memory: of the datacenters that the other rows have started."""

import time

from bench import proc
from bench.errors import BenchError
from bench.small import Figures
from bench.world import World

SETTLE_SECONDS = 2


def memory_idle(world: World) -> Figures:
    """The largest of those that have started and not served anything yet."""
    world.solo()
    fresh = [each.fresh for each in world.datacenters if each.fresh]
    return {
        "rss_mb": max(each.rss for each in fresh) / 1e6,
        "pss_mb": max(each.pss for each in fresh) / 1e6,
    }


def memory_load(world: World) -> Figures:
    """The highest that any of them has had since it started; and what it has kept."""
    if not world.datacenters:
        raise BenchError("there was no load: run other rows with this one")
    time.sleep(SETTLE_SECONDS)
    now = {each.name: proc.memory(each.pid) for each in world.datacenters}
    figures = {"peak_mb": max(each.peak for each in now.values()) / 1e6}
    for each in world.datacenters:
        figures |= {
            f"peak_mb_{each.name}": now[each.name].peak / 1e6,
            f"under_load_mb_{each.name}": each.rss_under_load / 1e6,
            f"afterwards_mb_{each.name}": now[each.name].rss / 1e6,
            f"afterwards_pss_mb_{each.name}": now[each.name].pss / 1e6,
        }
    return figures
