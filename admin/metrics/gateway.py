"""What is shown of a gateway on another machine, on a listener of its own."""

import asyncio
from collections.abc import Callable

from aiohttp import web

from admin.metrics import requests
from admin.metrics.page import Page
from admin.metrics.service import About, Metrics
from dc.ports import Clock
from gateway.connection import Server

BACKLOG = 16


class GatewayMetrics:
    """`server` has the connections of clients; `is_leased` says whether they are served."""

    def __init__(
        self, name: str, server: Server, is_leased: Callable[[], bool], clock: Clock
    ) -> None:
        self._client_server = server
        self._is_leased = is_leased
        self._metrics = Metrics(About(name, ""), {"requests": self._requests}, clock)
        self._runner = web.AppRunner(
            self._metrics.app(), access_log=None, handle_signals=False, keepalive_timeout=5.0
        )
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen for Prometheus; returns the port. OSError."""
        await self._runner.setup()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._runner.server, host, port, backlog=BACKLOG)
        self._metrics.start()
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.close()
        await self._metrics.stop()
        await self._runner.cleanup()

    async def _requests(self, page: Page) -> None:
        requests.show(page, self._client_server.counts, len(self._client_server.connections))
        text = "Whether the datacenter is connected, so that clients are served"
        page.gauge("gateway_connected", text, self._is_leased())
