"""Changes in files, in the admin API (`docs/air-gap.md`).

    POST /replication/export {"to", "from_position", "everything"}    the file, as it is made
    POST /replication/import                                          the file is the body

An export that fails in its middle ends the connection, so that nobody takes a part for the whole.
An import is answered when all of the file was taken, or as soon as something is wrong with it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Protocol

import msgspec
import structlog
from aiohttp import ClientPayloadError, web
from msgspec import Meta

from admin.errors import AdminError
from admin.reply import answer, body
from dc.names.api import NamesError, NoSuchPeer
from dc.names.model import Peer
from dc.objects.api import ObjectsError
from replicator.errors import FileRefused, ReplicatorError
from replicator.exporting import ExportReport
from replicator.importing import ImportReport
from replicator.limits import FILE_IDLE_SECONDS

log = structlog.get_logger("admin")


class ExportFile(msgspec.Struct, forbid_unknown_fields=True):
    to: Annotated[str, Meta(max_length=64)]
    from_position: Annotated[int, Meta(ge=0, le=2**62)] | None = None
    everything: bool = False


class Exchange(Protocol):
    """What this asks of the replicator."""

    def after(self, dc_id: str, position: int | None, everything: bool) -> int: ...

    async def export(
        self,
        dc_id: str,
        position: int | None,
        everything: bool,
        put: Callable[[bytes], Awaitable[None]],
    ) -> ExportReport: ...

    async def take(
        self, read: Callable[[int], Awaitable[bytes]], said: Callable[[ImportReport], None]
    ) -> ImportReport: ...


class FilesApi:
    """Of one datacenter."""

    def __init__(self, files: Exchange, peers: Callable[[], list[Peer]]) -> None:
        self._files = files
        self._peers = peers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/replication/export", self._export),
            web.post("/replication/import", self._import),
        ]

    async def _export(self, request: web.Request) -> web.StreamResponse:
        wanted = await body(request, ExportFile)
        peer = self._peer(wanted.to)
        try:
            self._files.after(peer.dc_id, wanted.from_position, wanted.everything)
        except ValueError as error:
            raise AdminError(str(error)) from None
        response = web.StreamResponse(
            headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        try:
            report = await self._files.export(
                peer.dc_id, wanted.from_position, wanted.everything, response.write
            )
        except (ReplicatorError, NamesError, ObjectsError, ConnectionError) as error:
            log.warning("an export ended in its middle", peer=peer.name, error=str(error))
            if request.transport is not None:
                request.transport.abort()
            return response
        log.info("exported", peer=peer.name, changes=report.changes, bytes=report.bytes)
        await response.write_eof()
        return response

    async def _import(self, request: web.Request) -> web.StreamResponse:
        async def read(length: int) -> bytes:
            data = bytearray()
            try:
                while len(data) < length:
                    async with asyncio.timeout(FILE_IDLE_SECONDS):
                        piece = await request.content.read(length - len(data))
                    if not piece:
                        break
                    data += piece
            except TimeoutError:
                raise FileRefused(
                    "cut_short", f"nothing of the file came for {FILE_IDLE_SECONDS:.0f} seconds"
                ) from None
            except (ClientPayloadError, ConnectionError):
                pass
            return bytes(data)

        latest: list[ImportReport] = []

        def said(report: ImportReport) -> None:
            latest[:] = [report]

        try:
            return answer(await self._files.take(read, said))
        except FileRefused as error:
            taken = latest[0].changes - latest[0].known if latest else 0
            before = f"; {taken:,} changes in front of that were taken" if taken else ""
            said_so = {"error": error.code, "message": f"{error.code}: {error}{before}"}
            return answer(said_so, 409)

    def _peer(self, name: str) -> Peer:
        for peer in self._peers():
            if name in (peer.name, peer.dc_id):
                return peer
        raise NoSuchPeer(f"{name[:80]!r} is not paired with this datacenter")
