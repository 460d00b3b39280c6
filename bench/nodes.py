"""Rows about a datacenter whose disks are on six nodes, processes of their own: 4+2."""

import signal

from bench import large, small
from bench.small import Figures
from bench.world import World


def put64(world: World) -> Figures:
    _, found = small.put(world, world.spread(), "nodes64", 64)
    return found


def put64m(world: World) -> Figures:
    return large.put(world, world.spread())


def get64m(world: World) -> Figures:
    return large.get(world, world.spread(), "nodesget")


def degraded(world: World) -> Figures:
    """As get64m, while two of the nodes are killed."""
    datacenter = world.spread()
    bucket = world.new_bucket(datacenter, "nodesdegraded")
    keys = world.new_keys(large.READ_OBJECTS)
    for key in keys:
        datacenter.s3.must("PUT", bucket, key, body=world.large_body.read_bytes())
    for node in world.nodes[:2]:
        node.send_signal(signal.SIGKILL)
        node.wait()
    return large.again(world, datacenter, bucket, keys)
