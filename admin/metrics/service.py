"""`GET /metrics`, in the text format of Prometheus, on a listener of its own (`metrics.listen`).

What is shown is read when somebody asks, from where it is kept anyway: nothing is kept up for it
but the counts of requests (`gateway/counts.py`) and how late the event loop is. Whoever asks twice
within `KEPT_SECONDS` gets the same page, so that many cost no more than one. A part that cannot be
read, or takes too long, as the database of a disk that hangs, is left out and named in
`farshore_metrics_failed`; the others are shown.

It tells counts, and names of peers, nodes and disks; no keys, no users, no names of buckets or
objects. If a token is set, who does not show it gets the same 401 for every path.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import NamedTuple

import structlog
from aiohttp import web
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from admin.metrics.page import Page
from dc.histogram import Histogram
from dc.ports import Clock
from dc.worker import Worker

log = structlog.get_logger("metrics")

PATH = "/metrics"
KEPT_SECONDS = 1.0
PART_SECONDS_MAX = 4.0
"""Prometheus waits for ten seconds by itself; two parts at most wait for the database."""
LAG_EVERY_SECONDS = 0.25
LAG_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Bounds of how late the event loop is: every request waits that long somewhere."""
REQUEST_BYTES_MAX = 1024
"""Nobody who reads has anything to send."""

Show = Callable[[Page], Awaitable[None]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class About(NamedTuple):
    """Whose metrics these are."""

    name: str
    region: str


class Metrics:
    """Of one datacenter, or of a gateway elsewhere. `shows` fill a page, each by its name; `app` is
    served; `start` and `stop` what measures meanwhile."""

    def __init__(
        self, about: About, shows: Mapping[str, Show], clock: Clock, token: str = ""
    ) -> None:
        self._about = about
        self._shows = shows
        self._clock = clock
        self._token = token.encode()
        self._lag = Histogram(LAG_BOUNDS)
        self._worker = Worker("event loop lag", clock, self._measure)
        self._asking = asyncio.Lock()
        self._text = b""
        self._made_at = float("-inf")
        self._process = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._process)

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=REQUEST_BYTES_MAX)
        app.add_routes([web.get(PATH, self._answer)])
        return app

    def start(self) -> None:
        self._worker.start()

    async def stop(self) -> None:
        await self._worker.stop()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._token:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if not right or scheme.lower() != "bearer":
                return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    async def _answer(self, _: web.Request) -> web.Response:
        text = await self.text()
        headers = {"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"}
        return web.Response(body=text, headers=headers)

    async def text(self) -> bytes:
        """The page, at most `KEPT_SECONDS` old."""
        async with self._asking:
            if self._clock.monotonic() - self._made_at >= KEPT_SECONDS:
                page = await self._page()
                self._text = generate_latest(page) + generate_latest(self._process)
                self._made_at = self._clock.monotonic()
            return self._text

    async def _measure(self) -> float:
        """How late the loop comes back."""
        began = self._clock.monotonic()
        await self._clock.sleep(LAG_EVERY_SECONDS)
        late = self._clock.monotonic() - began - LAG_EVERY_SECONDS
        self._lag.note(max(0.0, late))
        return 0.0

    # -- the page -------------------------------------------------------------------------------

    async def _page(self) -> Page:
        page, (name, region) = Page(), self._about
        of, labels = (name, region, version("farshore")), ("name", "region", "version")
        page.gauges("info", "Which datacenter or gateway this is; always 1", labels, [(of, 1)])
        page.histograms("event_loop_lag_seconds", "How late it is", (), [((), self._lag)])
        failed = dict.fromkeys(self._shows, 0)
        for name, show in self._shows.items():
            try:
                await asyncio.wait_for(show(page), PART_SECONDS_MAX)
            except Exception as error:
                # Whoever watches needs the rest the more when something is wrong.
                failed[name] = 1
                log.warning("a part of the metrics failed", part=name, error=repr(error))
        page.counts("metrics_failed", "Parts of this page that are not here", "part", failed, ())
        return page
