"""What a node does that is a gateway: it serves S3 clients with the datacenter's names and bytes.

The datacenter connects; a session begins when all of its connections are there, and when its
directory has come, a `Gateway` is made that belongs to it (`dc/remote/session.py`). Without one, or
when it may not be relied upon any more, clients get 503 and try again, elsewhere as well.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from admin.drain import drain
from admin.metrics.gateway import GatewayMetrics
from admin.s3 import Outside, make_gateway
from dc.accounts import AccessKeys
from dc.names.errors import NamesClosed
from dc.objects.nodes.wire import Ask
from dc.ports import Clock, Disk, Randomness
from dc.remote import wire
from dc.remote.calls import PROTOCOL
from dc.remote.link import Link
from dc.remote.names import remote_names
from dc.remote.objects import RemoteObjects
from dc.remote.others import RemoteOthers, RemoteProofs
from dc.remote.session import Session
from dc.remote.wire import Told
from dc.worker import Worker, spawn
from gateway.access_logs.delivery import AccessLogs
from gateway.connection import Connection, Server
from gateway.counts import Counts
from gateway.errors import S3Error
from gateway.reply import XML_HEAD, Reply
from gateway.request import Request
from gateway.service import Gateway
from tokens.secret_store import SecretStore

log = structlog.get_logger("gateway")

GATHER_SECONDS = 10.0
"""Within which all connections of a session must be there."""
IN_FLIGHT_SECONDS = 5.0
FLUSH_SECONDS = 1.5
LEAVE_SECONDS = 1.0
BACKLOG = 1024


class _Current(NamedTuple):
    """What clients are served with."""

    session: Session
    gateway: Gateway
    logs: AccessLogs
    writes_logs: Worker


class _Gathering:
    """Connections of a session that is about to begin."""

    def __init__(self, count: int) -> None:
        self.links: list[Link[Told] | None] = [None] * count
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def complete(self) -> list[Link[Told]] | None:
        links = [link for link in self.links if link is not None]
        return links if len(links) == len(self.links) else None


class GatewayNode:
    """`adopt` takes the connections of the datacenter, `start` listens for clients."""

    protocol = PROTOCOL

    def __init__(self, clock: Clock, disk: Disk, randomness: Randomness) -> None:
        self._clock = clock
        self._disk = disk
        self._randomness = randomness
        self._gathering: dict[str, _Gathering] = {}
        self._counts = Counts()
        self._session: Session | None = None
        self._current: _Current | None = None
        self._listener: asyncio.Server | None = None
        self._server: Server | None = None
        self._metrics: GatewayMetrics | None = None
        self._stopping = False

    async def start(self, host: str, port: int) -> int:
        """Listen for S3 clients; returns the port. OSError."""
        self._server = Server(self._serve, self._refuse, self._counts)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._server, host, port, backlog=BACKLOG)
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def start_metrics(self, name: str, host: str, port: int) -> int:
        """Listen for Prometheus, too; returns the port. OSError."""
        assert self._server is not None
        self._metrics = GatewayMetrics(name, self._server, self._is_leased, self._clock)
        return await self._metrics.start(host, port)

    def _is_leased(self) -> bool:
        return self._current is not None and self._current.session.is_leased()

    # -- clients ----------------------------------------------------------------------------------

    async def _serve(self, request: Request) -> None:
        current = self._current
        if current is not None and current.session.is_leased():
            await current.gateway.serve(request)
            return
        error = S3Error("ServiceUnavailable", "The datacenter cannot be reached. Please retry.")
        request.id, request.close = self._randomness.token(8).hex().upper(), True
        request.common = f"x-amz-request-id: {request.id}\r\n"
        body = error.to_xml(request.id, "")
        self._counts.codes[error.code] += 1
        request.connection.send(request, Reply(error.status, XML_HEAD + error.head, body))

    def _refuse(self, connection: Connection, error: BaseException) -> None:
        if self._current is not None:
            self._current.gateway.refuse(connection, error)

    # -- the datacenter ---------------------------------------------------------------------------

    async def adopt(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ask: Ask
    ) -> None:
        """Use a connection for a session, until that has ended."""
        if not 0 < ask.length <= wire.LINKS_MAX or ask.offset >= ask.length:
            return
        gathering = self._gathering.setdefault(ask.name, _Gathering(ask.length))
        if ask.offset >= len(gathering.links) or gathering.links[ask.offset] is not None:
            return
        gathering.links[ask.offset] = Link(reader, writer, wire.decode_told)
        try:
            links = gathering.complete()
            if links is None:
                await asyncio.wait_for(gathering.begun.wait(), GATHER_SECONDS)
                await gathering.ended.wait()
            else:
                gathering.begun.set()
                await self._run(links)
        finally:
            self._gathering.pop(ask.name, None)
            gathering.ended.set()

    async def _run(self, links: Sequence[Link[Told]]) -> None:
        session = Session(links, self._clock, self._loaded)
        if self._session is not None:
            # The datacenter has begun anew: it knows nothing of this one any more.
            self._session.close()
        self._session = session
        try:
            await session.run()
        except OSError as error:
            if not self._stopping:
                reason = f"{type(error).__name__}: {error}"
                log.warning("the datacenter is not connected any more", reason=reason)
        finally:
            if self._session is session:
                self._session = None
            if self._current is not None and self._current.session is session:
                # The lines that are left are the next session's to write.
                await self._current.writes_logs.stop()

    def _loaded(self, session: Session) -> None:
        """All is known: serve clients with it."""
        settings = session.welcome.settings
        names, mark = remote_names(session)
        objects = RemoteObjects(session)
        secrets = SecretStore(session.welcome.data_key, self._randomness.token)
        gateway, logs = make_gateway(
            names,
            objects,
            AccessKeys(session.directory, secrets),
            secrets,
            mark,
            settings,
            Outside(self._clock, self._randomness, self._disk),
            self._counts,
            RemoteOthers(session),
            RemoteProofs(session),
        )
        before = self._current
        writes = Worker("access logs", self._clock, logs.step)
        self._current = _Current(session, gateway, logs, writes)
        spawn(_take_over(before, logs, writes), "access logs of an earlier session")
        log.info("connected with the datacenter", datacenter=settings.name)

    # -- the end ----------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Let requests finish that are under way, and say goodbye."""
        if self._listener is not None:
            self._listener.close()
        if self._server is not None:
            await drain(self._server, IN_FLIGHT_SECONDS, self._clock)
            await self._server.shutdown(0.1)
        current, session = self._current, self._session
        if current is not None:
            await current.writes_logs.stop()
            with suppress(NamesClosed, TimeoutError):
                await asyncio.wait_for(current.logs.flush(), FLUSH_SECONDS)
        if self._metrics is not None:
            await self._metrics.stop()
        self._stopping = True
        if session is not None:
            session.leave()
            await session.wait_ended(LEAVE_SECONDS)
            session.close()


async def _take_over(before: _Current | None, logs: AccessLogs, writes: Worker) -> None:
    """Go on with the lines that an earlier session has not written."""
    if before is not None:
        await before.writes_logs.stop()
        logs.adopt(before.logs)
    writes.start()
