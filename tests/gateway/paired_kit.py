"""Gateways of datacenters that replicate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway_kit import REGION, Credentials, House
from replica_kit import DISK, Dc

from dc.keyring import Keyring
from gateway.context import Config
from gateway.service import Gateway


@contextlib.asynccontextmanager
async def house_of(dc: Dc) -> AsyncIterator[House]:
    """The gateway of a datacenter, as `admin/parts.py` makes it."""
    gateway = Gateway(
        names=dc.names,
        objects=dc.objects,
        credentials=Credentials(),
        keyring=Keyring(dc.names, dc.secrets, dc.randomness),
        clock=dc.clock,
        randomness=dc.randomness,
        config=Config(region=REGION, ssec_over_http=True, host_id=dc.name),
        offload=DISK,
        replication=dc.replicator.mark,
    )
    server = gateway.server()
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    house = House(dc.names, dc.objects, server, listener.sockets[0].getsockname()[1])
    try:
        yield house
    finally:
        await house.close()
        listener.close()
        server.pre_shutdown()
        await server.shutdown(2)
