"""The bytes of objects in the admin API.

    GET    /objects                          how many are whole, what they take, what runs
    GET    /tiers                            how bytes are kept, by tier
    POST   /objects/compact {"threshold"}    give back space now; null: as configured

The answer of the latter is JSON lines: {"progress": ...} now and then, with what GET /objects tells
of `compaction`, in the end {"report": ...}, or {"error": code, "message": one line}. Who hears no
more does not end the work.
"""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body
from dc.objects.compaction import Compactor
from dc.objects.store import ContainerStore
from dc.ports import Clock

PROGRESS_SECONDS = 0.5
COUNT_SECONDS = 2.0
"""How long who asks for the status waits for a new count; then he is told the last one."""
_REPORTED = ("moved_bytes", "removed_containers", "freed_bytes")


class Compact(msgspec.Struct, forbid_unknown_fields=True):
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None


class ObjectsApi:
    """Of one datacenter."""

    def __init__(self, compactor: Compactor, store: ContainerStore, clock: Clock) -> None:
        self._compactor = compactor
        self._store = store
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/objects", self._status),
            web.get("/tiers", self._tiers),
            web.post("/objects/compact", self._compact),
        ]

    async def _status(self, _: web.Request) -> web.Response:
        await self._compactor.refresh(COUNT_SECONDS)
        return answer(
            {
                "redundancy": str(self._store.mode),
                "containers": self._store.stats().containers,
                "space": self._compactor.space(),
                "repair": self._store.repair_progress(self._compactor.sizes()),
                "recoding": self._compactor.recoding(),
                "compaction": self._compactor.progress(),
            }
        )

    async def _tiers(self, _: web.Request) -> web.Response:
        return answer({"tiers": self._compactor.tiers()})

    async def _compact(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, Compact)
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        before = self._compactor.progress()
        run = self._compactor.compact(wanted.threshold)
        while (now := self._compactor.progress())["finished"] < run and not now["error"]:
            await response.write(msgspec.json.encode({"progress": now}) + b"\n")
            await self._clock.sleep(PROGRESS_SECONDS)
        await response.write(msgspec.json.encode(_end(before, now, run)) + b"\n")
        await response.write_eof()
        return response


def _end(before: dict[str, Any], now: dict[str, Any], run: int) -> dict[str, Any]:
    """The last line."""
    if now["finished"] < run:
        text = f"it failed, and is tried again: {now['error']}"
        return {"error": "not_compacted", "message": text}
    report = {name: now[name] - before[name] for name in _REPORTED}
    return {"report": {**report, "damaged_containers": now["damaged_containers"]}}
