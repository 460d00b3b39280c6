"""Events in the admin API.

    GET  /events                            whether they are on, up to where all is told, errors
    POST /events/enable {"position"}        null: from where it was told up to, or from now on
    POST /events/disable
    POST /events/replay {"position"}        tell again what changed after it

Each answers what GET /events does.
"""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body
from dc.events.publisher import Publisher
from dc.stamps import utc_text

Position = Annotated[int, Meta(ge=0, le=2**62)]


class Enable(msgspec.Struct, forbid_unknown_fields=True):
    position: Position | None = None


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    position: Position


class EventsApi:
    """Of one datacenter."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/events", self._status),
            web.post("/events/enable", self._enable),
            web.post("/events/disable", self._disable),
            web.post("/events/replay", self._replay),
        ]

    async def _status(self, _: web.Request) -> web.Response:
        found = await self._publisher.status()
        heard_ms = found.pop("heard_ms")
        return answer({**found, "acknowledged": utc_text(heard_ms) if heard_ms else None})

    async def _enable(self, request: web.Request) -> web.Response:
        await self._publisher.turn_on((await body(request, Enable)).position)
        return await self._status(request)

    async def _disable(self, request: web.Request) -> web.Response:
        await self._publisher.turn_off()
        return await self._status(request)

    async def _replay(self, request: web.Request) -> web.Response:
        await self._publisher.replay((await body(request, Replay)).position)
        return await self._status(request)


def shown(status: dict[str, Any]) -> dict[str, Any]:
    """What `farshore status` says of them."""
    return {
        "events": status["state"],
        "events_position": status["position"],
        "events_behind": status["behind"],
    }
