"""How the feed of a paired datacenter is taken, in the admin API.

PUT /datacenters/{name}/link {"poll_seconds"}    0: it is kept open
"""

from collections.abc import Callable
from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.errors import AdminError
from admin.reply import answer, body
from dc.names.api import NoSuchPeer
from dc.names.model import Peer
from replicator.limits import DRAW_EVERY_SECONDS_MAX
from replicator.service import Replicator


class SetLink(msgspec.Struct, forbid_unknown_fields=True):
    poll_seconds: Annotated[int, Meta(ge=0, le=DRAW_EVERY_SECONDS_MAX)]


class LinksApi:
    """Of one datacenter. `has_broker`: one is configured."""

    def __init__(
        self, replicator: Replicator, peers: Callable[[], list[Peer]], has_broker: bool
    ) -> None:
        self._replicator = replicator
        self._peers = peers
        self._has_broker = has_broker

    def routes(self) -> list[web.RouteDef]:
        return [web.put("/datacenters/{name}/link", self._set)]

    async def _set(self, request: web.Request) -> web.Response:
        name, wanted = request.match_info["name"], await body(request, SetLink)
        if wanted.poll_seconds and not self._has_broker:
            raise AdminError("no MQTT broker is configured: set mqtt.host in farshore.toml")
        for peer in self._peers():
            if name in (peer.name, peer.dc_id):
                await self._replicator.set_link(peer.dc_id, wanted.poll_seconds)
                return answer({"name": peer.name, "poll_seconds": wanted.poll_seconds})
        raise NoSuchPeer(f"{name[:80]!r} is not paired with this datacenter")
