"""Disks and machines in the admin API.

    GET    /disks                       the disks, and what is on them
    POST   /disks {"path"}              an empty folder of this machine becomes one
    POST   /disks/drain {"disks", "undo", "fewer_hosts"}   let them become empty, or no more
    POST   /disks/remove {"disk", "lost"}   forget one that is empty, or lost
    GET    /nodes                       the machines that give disks, or are gateways
    POST   /nodes/token {"lifetime_seconds", "roles"}   a token for one more
    POST   /nodes/release {"node", "lost", "destroy", "fewer_hosts"}   let one go

The answer to a release is JSON lines: {"progress": {"slots"}} while its disks are emptied, in the
end {"report": ...} or {"error": code, "message"}. Who hears no more does not end the draining, but
nobody forgets the node then: release it again. `destroy` is the name of the datacenter, where no
disk would be left: all bytes of all objects are deleted.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.errors import AdminError
from admin.fleet import Fleet
from admin.reply import answer, body, utc
from dc.ports import Clock

PROGRESS_SECONDS = 0.5
Label = Annotated[str, Meta(min_length=1, max_length=4096)]


class AddDisk(msgspec.Struct, forbid_unknown_fields=True):
    path: Label


class DrainDisks(msgspec.Struct, forbid_unknown_fields=True):
    disks: Annotated[list[Label], Meta(min_length=1, max_length=1024)]
    undo: bool = False
    fewer_hosts: bool = False


class RemoveDisk(msgspec.Struct, forbid_unknown_fields=True):
    disk: Label
    lost: bool = False


class NodeToken(msgspec.Struct, forbid_unknown_fields=True):
    lifetime_seconds: Annotated[int, Meta(ge=1, le=7 * 86_400)] = 3_600
    roles: Annotated[tuple[Literal["os", "gateway"], ...], Meta(min_length=1, max_length=2)] = (
        "os",
    )


class ReleaseNode(msgspec.Struct, forbid_unknown_fields=True):
    node: Label
    lost: bool = False
    destroy: str = ""
    fewer_hosts: bool = False


class FleetApi:
    """Of one datacenter, called `name`."""

    def __init__(self, fleet: Fleet, clock: Clock, name: str) -> None:
        self._fleet = fleet
        self._clock = clock
        self._name = name

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/disks", self._disks),
            web.post("/disks", self._add_disk),
            web.post("/disks/drain", self._drain),
            web.post("/disks/remove", self._remove),
            web.get("/nodes", self._nodes),
            web.post("/nodes/token", self._token),
            web.post("/nodes/release", self._release),
        ]

    async def _disks(self, _: web.Request) -> web.Response:
        return answer({"disks": self._fleet.shown_disks()})

    async def _add_disk(self, request: web.Request) -> web.Response:
        wanted = await body(request, AddDisk)
        await self._fleet.add_disk(Path(wanted.path))
        return answer({"disk": wanted.path}, 201)

    async def _drain(self, request: web.Request) -> web.Response:
        wanted = await body(request, DrainDisks)
        await self._fleet.drain(wanted.disks, undo=wanted.undo, fewer_hosts=wanted.fewer_hosts)
        return answer({"disks": self._fleet.shown_disks()})

    async def _remove(self, request: web.Request) -> web.Response:
        wanted = await body(request, RemoveDisk)
        await self._fleet.remove_disk(wanted.disk, lost=wanted.lost)
        return answer({"disks": self._fleet.shown_disks()})

    async def _nodes(self, _: web.Request) -> web.Response:
        return answer({"nodes": self._fleet.shown_nodes()})

    async def _token(self, request: web.Request) -> web.Response:
        wanted = await body(request, NodeToken)
        token, expires = self._fleet.token(wanted.lifetime_seconds, wanted.roles)
        return answer({"token": token, "expires": utc(expires)}, 201)

    async def _release(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, ReleaseNode)
        labels = self._fleet.labels_of(wanted.node)
        last = bool(labels) and len(labels) == len(self._fleet.shown_disks())
        if not wanted.lost and not last:
            self._fleet.check_gateways(wanted.node)
        if wanted.destroy and not last:
            raise AdminError("there are other disks: nothing has to be destroyed")
        if last and wanted.destroy != self._name:
            raise AdminError(
                f"{wanted.node} has the last disks: with it all objects are destroyed. If that is"
                f" meant: --destroy {self._name}"
            )
        if labels and not wanted.lost and not last:
            self._check_there(labels)
            await self._fleet.drain(labels, fewer_hosts=wanted.fewer_hosts)
        response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        try:
            if last:
                await self._fleet.destroy()
            elif not wanted.lost:
                await self._wait(response, set(labels))
            await self._fleet.forget_node(wanted.node, lost=wanted.lost)
            line: dict[str, Any] = {"report": {"node": wanted.node, "destroyed": last}}
        except AdminError as error:
            line = {"error": "not_released", "message": str(error)}
        await response.write(msgspec.json.encode(line) + b"\n")
        await response.write_eof()
        return response

    def _check_there(self, labels: Collection[str]) -> list[dict[str, Any]]:
        """These disks. AdminError when they cannot be reached."""
        disks = [one for one in self._fleet.shown_disks() if one["disk"] in labels]
        missing = [one["disk"] for one in disks if one["state"] == "missing"]
        if missing:
            raise AdminError(
                f"{', '.join(missing)} cannot be reached: say --lost if the node will not come back"
            )
        return disks

    async def _wait(self, response: web.StreamResponse, labels: set[str]) -> None:
        """Until nothing is on the disks any more. AdminError when they cannot be reached."""
        while True:
            disks = self._check_there(labels)
            slots = sum(one["slots"] for one in disks)
            if not slots:
                return
            await response.write(msgspec.json.encode({"progress": {"slots": slots}}) + b"\n")
            await self._clock.sleep(PROGRESS_SECONDS)
