"""A datacenter in one process: what `farshore serve` runs.

Start: lock DIR, read it, open names and objects, listen for peers, then for S3 clients, then for
Prometheus (if that is wanted) and the command line; last, write DIR/run.json, which tells the
command line where to ask. So whoever finds the admin API finds everything else running.

Stop, within 10 seconds: listen no more; let requests that are under way finish, for 5 seconds;
then end replication, objects and names, in this order, each of which lets what it has begun
become durable. What is not over by then is cut off: nothing that was acknowledged depends on it.

A configured port 0 is a free port; the one of the last start, from run.json, is tried first, since
peers and clients remember it.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import structlog
from aiohttp import web

from admin.api import AdminApi
from admin.buckets import BucketsApi
from admin.comparisons import ComparisonsApi
from admin.conflicts import ConflictsApi
from admin.drain import drain
from admin.errors import AdminError, os_reason, taken
from admin.events import EventsApi, shown
from admin.failover_api import FailoverApi
from admin.files_api import FilesApi
from admin.fleet_api import FleetApi
from admin.layout import Layout, Lock, existing, read_run, shown_json
from admin.limits import LimitsApi
from admin.links import LinksApi
from admin.metrics.datacenter import DatacenterPage
from admin.metrics.service import About, Metrics
from admin.notary import NotaryApi
from admin.objects import ObjectsApi
from admin.parts import Files, Parts, open_parts, read_files
from dc.config import bracketed, parse_listen
from dc.names.api import NamesError
from dc.objects.api import ObjectsError
from dc.ports import Clock, Disk, Network, Randomness
from notary.web import LogPages

log = structlog.get_logger("node")

IN_FLIGHT_SECONDS = 5.0
"""How long requests may go on after a stop."""
PART_STOP_SECONDS = 1.5
"""How long each part may take to stop after that."""
LISTENERS = {"peer", "admin"}
"""What is bound at the end of a start, whatever clients are served."""
LOCK_TRIES = 5
LOCK_WAIT_SECONDS = 0.05
BACKLOG = 1024
ADMIN_BACKLOG = 64


class Node:
    """One DIR, served by this process."""

    def __init__(
        self,
        layout: Layout,
        clock: Clock,
        disk: Disk,
        randomness: Randomness,
        network: Network,
        *,
        is_gateway: bool = True,
    ) -> None:
        """`is_gateway`: S3 clients are served."""
        self._layout = layout
        self._clock = clock
        self._disk = disk
        self._randomness = randomness
        self._network = network
        self._is_gateway = is_gateway
        self._lock = Lock(layout.lock, f"the datacenter in {layout.root}")
        self._parts: Parts | None = None
        self._s3: asyncio.Server | None = None
        self._admin: asyncio.Server | None = None
        self._runners: list[web.AppRunner] = []
        self._metrics: Metrics | None = None
        self._metrics_listener: asyncio.Server | None = None
        self._notary_listener: asyncio.Server | None = None
        self._started = 0.0
        self.addresses: dict[str, dict[str, Any]] = {}
        """Bound host and port of s3, peer and admin, and of metrics if they are wanted."""

    async def start(self) -> None:
        """Everything up, or AdminError and nothing left behind."""
        existing(self._layout.root)
        await self._acquire()
        try:
            await self._start(await self._disk.run(lambda: read_files(self._layout)))
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise AdminError(os_reason(error, self._layout.root)) from error
            if isinstance(error, sqlite3.Error | NamesError | ObjectsError):
                raise AdminError(
                    f"the data in {self._layout.root} cannot be opened: {error}"
                ) from error
            raise

    async def _acquire(self) -> None:
        """A command that looks whether DIR is served holds its lock for a moment: try again."""
        for _ in range(LOCK_TRIES - 1):
            try:
                return self._lock.acquire()
            except AdminError:
                await self._clock.sleep(LOCK_WAIT_SECONDS)
        return self._lock.acquire()

    async def _start(self, files: Files) -> None:
        self._started = self._clock.monotonic()
        config = files.config
        last = read_run(self._layout)
        parts = self._parts = await open_parts(
            files,
            clock=self._clock,
            disk=self._disk,
            randomness=self._randomness,
            network=self._network,
        )
        await self._try_ports("peer", config.peer.listen, last, parts.replicator.start)
        if self._is_gateway:
            self._s3 = await self._listen("s3", config.s3.listen, parts.s3, BACKLOG, last)
        if config.metrics.listen:
            await self._start_metrics(parts, last)
        if config.notary.listen:
            await self._start_notary(parts, last)
        self._admin = await self._listen(
            "admin", config.admin.listen, await self._admin_server(parts), ADMIN_BACKLOG, last
        )
        parts.background.start()
        parts.notary.start()
        parts.fleet.is_gateway = self._is_gateway
        parts.gateways.start()
        run = {"pid": os.getpid(), "dc_id": files.identity.dc_id, **self.addresses}
        encoded = shown_json(run)
        await self._disk.run(lambda: self._disk.write_atomic(self._layout.run, encoded))
        log.info(
            "serving",
            name=config.name,
            dc_id=files.identity.dc_id,
            **{what: self.url(what) for what in self.addresses},
        )

    def url(self, what: str) -> str:
        """host:port as bound, of s3, peer, admin or metrics."""
        at = self.addresses[what]
        return f"{bracketed(at['host'])}:{at['port']}"

    async def _start_metrics(self, parts: Parts, last: dict[str, Any]) -> None:
        config = parts.files.config
        about, page = About(config.name, config.region), DatacenterPage(parts)
        metrics = self._metrics = Metrics(about, page.shows, self._clock, parts.files.metrics_token)
        server = await self._server(metrics.app())
        self._metrics_listener = await self._listen(
            "metrics", config.metrics.listen, server, ADMIN_BACKLOG, last
        )
        metrics.start()

    async def _start_notary(self, parts: Parts, last: dict[str, Any]) -> None:
        pages = LogPages(parts.notary.store, parts.notary.witness, parts.names.peers)
        server = await self._server(pages.app())
        listen = parts.files.config.notary.listen
        self._notary_listener = await self._listen("notary", listen, server, ADMIN_BACKLOG, last)

    def _notary_url(self) -> str:
        return f"http://{self.url('notary')}" if "notary" in self.addresses else ""

    async def _server(self, app: web.Application) -> web.Server:
        runner = web.AppRunner(app, access_log=None, handle_signals=False, keepalive_timeout=5.0)
        self._runners.append(runner)
        await runner.setup()
        assert runner.server is not None
        return runner.server

    async def _admin_server(self, parts: Parts) -> web.Server:
        host, _ = parse_listen(parts.files.config.admin.listen)
        api = AdminApi(
            parts.files.admin_token,
            frozenset({host.lower()}),
            parts.accounts,
            parts.replicator,
            parts.names.peers,
            self.whole_status,
            ConflictsApi(parts.names).routes()
            + BucketsApi(
                parts.names, parts.files.config.name, parts.objects.tiers, parts.compactor.look
            ).routes()
            + EventsApi(parts.events).routes()
            + LinksApi(parts.replicator, parts.names.peers, parts.files.broker is not None).routes()
            + ObjectsApi(parts.compactor, parts.objects, self._clock).routes()
            + FleetApi(parts.fleet, self._clock, parts.files.config.name).routes()
            + FailoverApi(parts.replicator.absences, parts.names.peers).routes()
            + FilesApi(parts.replicator.files, parts.names.peers).routes()
            + ComparisonsApi(
                parts.replicator, parts.names.peers, parts.names.directory.bucket
            ).routes()
            + LimitsApi(parts.replicator, parts.names.peers).routes()
            + NotaryApi(
                parts.notary,
                parts.names,
                self._disk,
                parts.hooks,
                self._notary_url(),
            ).routes(),
        )
        return await self._server(api.app())

    async def _listen(
        self, what: str, listen: str, server: web.Server, backlog: int, last: dict[str, Any]
    ) -> asyncio.Server:
        opened: list[asyncio.Server] = []

        async def open_at(host: str, port: int) -> int:
            loop = asyncio.get_running_loop()
            opened.append(await loop.create_server(server, host, port, backlog=backlog))
            bound: int = opened[0].sockets[0].getsockname()[1]
            return bound

        await self._try_ports(what, listen, last, open_at)
        return opened[0]

    async def _try_ports(
        self,
        what: str,
        listen: str,
        last: dict[str, Any],
        open_at: Callable[[str, int], Awaitable[int]],
    ) -> None:
        """Note the address that was bound: that of the last start, if any will do."""
        host, port = parse_listen(listen)
        wanted = [port] if port else [_last_port(last, what), 0]
        for each in wanted:
            try:
                self.addresses[what] = {"host": host, "port": await open_at(host, each)}
                return
            except OSError as error:
                if each == wanted[-1]:
                    raise taken(what, host, port, error) from None

    def status(self) -> dict[str, Any]:
        """For the admin API."""
        assert self._parts is not None
        files = self._parts.files
        return {
            "name": files.config.name,
            "region": files.config.region,
            "dc_id": files.identity.dc_id,
            "version": version("farshore"),
            "pid": os.getpid(),
            "up_seconds": round(self._clock.monotonic() - self._started, 1),
            **self._parts.watch.status(),
            "s3": f"http://{self.url('s3')}" if self._is_gateway else "",
            "peer": self.url("peer"),
            "advertise": files.config.advertised(self.addresses["peer"]["port"]),
            "admin": f"http://{self.url('admin')}",
            "metrics": self._metrics_url(),
            "users": len(self._parts.accounts.users()),
            "datacenters": [peer.name for peer in self._parts.names.peers()],
            **self._parts.objects.status(),
            **self._parts.journal.status(),
            **self._parts.compactor.status(),
        }

    def _metrics_url(self) -> str:
        return f"http://{self.url('metrics')}/metrics" if "metrics" in self.addresses else "off"

    async def whole_status(self) -> dict[str, Any]:
        """With how the background work does."""
        assert self._parts is not None
        events = shown(await self._parts.events.status())
        return {**self.status(), **await self._parts.background.status(), **events}

    async def stop(self) -> None:
        """Stop what has been started; harmless otherwise."""
        parts, self._parts = self._parts, None
        for listening in (self._s3, self._admin, self._metrics_listener, self._notary_listener):
            if listening is not None:
                listening.close()
        self._s3 = self._admin = self._metrics_listener = self._notary_listener = None
        runners, self._runners = self._runners, []
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            await metrics.stop()
        if parts is not None:
            started = self.addresses.keys() >= LISTENERS
            if started:
                log.info("stopping")
            await drain(parts.s3, IN_FLIGHT_SECONDS, self._clock)
            await _within(PART_STOP_SECONDS, parts.s3.shutdown(0.1), "s3")
            for runner in runners:
                await _within(PART_STOP_SECONDS, runner.cleanup(), "admin")
            await _within(PART_STOP_SECONDS, parts.gateways.stop(), "gateways")
            await _within(PART_STOP_SECONDS, parts.background.stop(), "background work")
            await _within(PART_STOP_SECONDS, parts.notary.stop(), "notary")
            await _within(PART_STOP_SECONDS, parts.replicator.stop(), "replication")
            await _within(PART_STOP_SECONDS, parts.journal.finish(), "journal")
            await _within(PART_STOP_SECONDS, parts.objects.close(), "objects")
            await _within(PART_STOP_SECONDS, parts.names.close(), "names")
            parts.fleet.close()
            if started:
                log.info("stopped")
        self._lock.release()


def _last_port(last: dict[str, Any], what: str) -> int:
    at = last.get(what)
    port = at.get("port") if isinstance(at, dict) else None
    return port if isinstance(port, int) and 0 < port <= 65_535 else 0


async def _within(seconds: float, work: Any, what: str) -> None:
    """One part that does not stop must not keep the others from stopping."""
    try:
        # In a task that was cancelled, as one that starts may be, asyncio.timeout of Python 3.11.2
        # raises CancelledError when time is up.
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("did not stop in time, cut off", part=what)
    except Exception as error:
        log.warning("failed to stop", part=what, error=f"{type(error).__name__}: {error}")
