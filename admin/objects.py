"""The bytes of objects in the admin API.

    GET    /objects                     how many are whole, what they take, what runs
    POST   /objects/compact {"threshold"}    give back space now; {"run": the number of this run}

A run is over when `compaction.finished` of GET /objects is its number. Without a threshold it is
the configured one.
"""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body
from dc.objects.compaction import Compactor
from dc.objects.store import ContainerStore


class Compact(msgspec.Struct, forbid_unknown_fields=True):
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


class ObjectsApi:
    """Of one datacenter."""

    def __init__(self, compactor: Compactor, store: ContainerStore) -> None:
        self._compactor = compactor
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/objects", self._status),
            web.post("/objects/compact", self._compact),
        ]

    async def _status(self, _: web.Request) -> web.Response:
        return answer(self.facts())

    def facts(self) -> dict[str, Any]:
        """What `farshore objects status --json` shows."""
        space = self._compactor.space()
        return {
            "redundancy": str(self._store.mode),
            "containers": self._store.stats().containers,
            "space": space,
            "repair": self._store.repair_progress(self._compactor.sizes()),
            "compaction": self._compactor.progress(),
        }

    async def _compact(self, request: web.Request) -> web.Response:
        wanted = await body(request, Compact)
        return answer({"run": self._compactor.compact(wanted.threshold)}, 202)
