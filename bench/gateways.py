"""Rows about a datacenter whose clients ask a gateway that is another process."""

from bench import large, small
from bench.small import Figures
from bench.world import World


def put64(world: World) -> Figures:
    _, found = small.put(world, world.fronted(), "gateway64", 64)
    return found


def get16(world: World) -> Figures:
    return small.get(world, world.fronted())


def put64m(world: World) -> Figures:
    return large.put(world, world.fronted())


def get64m(world: World) -> Figures:
    return large.get(world, world.fronted(), "gatewayget")
