"""Gateways of datacenters that replicate."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from gateway_kit import REGION, Credentials, House
from replica_kit import DISK, Dc

from dc.keyring import Keyring
from dc.names.api import GatewayNames
from dc.objects.api import ObjectStore
from dc.read_through import Others
from dc.remote.names import remote_names
from dc.remote.objects import RemoteObjects
from dc.remote.others import RemoteOthers
from dc.remote.session import Session
from gateway.context import Config, Replication
from gateway.service import Gateway


@contextlib.asynccontextmanager
async def house_of(
    dc: Dc, *, alone: bool = False, session: Session | None = None
) -> AsyncIterator[House]:
    """The gateway of a datacenter, as `admin/parts.py` makes it, or one on another machine, with a
    `session`; `alone`: it asks no others."""
    names: GatewayNames = dc.names
    objects: ObjectStore = dc.objects
    mark: Replication = dc.replicator.mark
    others: Others = dc.replicator.others
    if session is not None:
        names, mark = remote_names(session)
        objects, others = RemoteObjects(session), RemoteOthers(session)
    gateway = Gateway(
        names=names,
        objects=objects,
        credentials=Credentials(),
        keyring=Keyring(names, dc.secrets, dc.randomness),
        clock=dc.clock,
        randomness=dc.randomness,
        config=Config(region=REGION, ssec_over_http=True, host_id=dc.name),
        offload=DISK,
        replication=mark,
        others=None if alone else others,
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
