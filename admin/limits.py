"""Limits and pauses in the admin API: how fast bytes may go between this datacenter and another.

    GET  /datacenters/{name}/limit      what is set, what holds now, and what is measured
    PUT  /datacenters/{name}/limit {"rate", "directions", "between"}
    POST /datacenters/{name}/pause      end all dealings, until:
    POST /datacenters/{name}/resume

A rate is a text such as "2MB/s", or "none"; directions are "in", "out" or both, which is meant when
none is given; `between` has windows of the day such as "08:00-18:00" that the rate is for. All
answer with what then holds, as GET does. {name} may be the id.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal, Protocol

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body, utc
from dc.names.api import NoSuchPeer
from dc.names.model import Peer
from dc.rate_text import parse_between, parse_rate, shown_rate
from dc.rates import Limit
from replicator.pace import Pace
from replicator.service import Alter

TEXT_CHARACTERS_MAX = 40
WINDOWS_ASKED_MAX = 16
Text = Annotated[str, Meta(max_length=TEXT_CHARACTERS_MAX)]
Direction = Literal["in", "out"]


class SetLimit(msgspec.Struct, forbid_unknown_fields=True):
    rate: Text
    directions: Annotated[list[Direction], Meta(max_length=2)] = []
    between: Annotated[list[Text], Meta(max_length=WINDOWS_ASKED_MAX)] = []


class Pacing(Protocol):
    """What this asks of the replicator."""

    @property
    def minute(self) -> int: ...

    def pace(self, dc_id: str) -> Pace: ...

    async def limit(self, dc_id: str, into: Alter | None, out: Alter | None) -> None: ...

    async def pause(self, dc_id: str) -> None: ...

    async def resume(self, dc_id: str) -> None: ...


class LimitsApi:
    """Of one datacenter."""

    def __init__(self, replicator: Pacing, peers: Callable[[], list[Peer]]) -> None:
        self._replicator = replicator
        self._peers = peers

    def routes(self) -> list[web.RouteDef]:
        path = "/datacenters/{name}"
        return [
            web.get(f"{path}/limit", self._get),
            web.put(f"{path}/limit", self._put),
            web.post(f"{path}/pause", partial(self._set_paused, self._replicator.pause)),
            web.post(f"{path}/resume", partial(self._set_paused, self._replicator.resume)),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        return self._answer(self._peer(request))

    async def _put(self, request: web.Request) -> web.Response:
        peer, wanted = self._peer(request), await body(request, SetLimit)
        rate, spans = parse_rate(wanted.rate), [parse_between(one) for one in wanted.between]

        def alter(limit: Limit) -> Limit:
            return limit.changed(rate, spans)

        directions = wanted.directions or ["in", "out"]
        into, out = (alter if one in directions else None for one in ("in", "out"))
        await self._replicator.limit(peer.dc_id, into, out)
        return self._answer(self._peer(request))

    async def _set_paused(
        self, act: Callable[[str], Awaitable[None]], request: web.Request
    ) -> web.Response:
        await act(self._peer(request).dc_id)
        return self._answer(self._peer(request))

    def _peer(self, request: web.Request) -> Peer:
        name = request.match_info["name"]
        for peer in self._peers():
            if name in (peer.name, peer.dc_id):
                return peer
        raise NoSuchPeer(f"{name[:80]!r} is not paired with this datacenter")

    def _answer(self, peer: Peer) -> web.Response:
        pace, terms = self._replicator.pace(peer.dc_id), peer.terms
        came, went = pace.measured()
        facts = {
            "name": peer.name,
            "dc_id": peer.dc_id,
            "paused": utc(terms.paused_ms // 1000) if terms.paused_ms else None,
            "in": self._shown(terms.into, pace.their_out, pace.takes_at, came),
            "out": self._shown(terms.out, pace.their_in, pace.sends_at, went),
        }
        return answer(facts)

    def _shown(self, limit: Limit, theirs: int, now: int, measured: float) -> dict[str, Any]:
        """Of one direction. Numbers are bytes a second; 0 is no limit."""
        minute = self._replicator.minute
        return {
            "rate": limit.rate,
            "text": shown_rate(limit.rate),
            "windows": [
                {
                    "between": one.between,
                    "rate": one.rate,
                    "text": shown_rate(one.rate),
                    "holds": one.holds(minute),
                }
                for one in limit.windows
            ],
            "theirs": theirs,
            "now": now,
            "measured": round(measured, 1),
        }
