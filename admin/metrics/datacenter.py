"""What is shown of a datacenter."""

from collections.abc import Mapping

from admin.metrics import events, notary, objects, replication, requests
from admin.metrics.page import Page
from admin.metrics.service import Show
from admin.parts import Parts


class DatacenterPage:
    """`shows` are its parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.shows: Mapping[str, Show] = {
            "requests": self._requests,
            "objects": self._objects,
            "names": self._names,
            "replication": self._replication,
            "background": self._background,
            "events": self._events,
            "notary": self._notary,
        }

    async def _requests(self, page: Page) -> None:
        server = self._parts.s3
        requests.show(page, server.counts, len(server.connections))

    async def _objects(self, page: Page) -> None:
        objects.show(page, self._parts.objects, self._parts.compactor, self._parts.fleet)

    async def _names(self, page: Page) -> None:
        replication.show_names(page, self._parts.names, self._parts.journal)

    async def _replication(self, page: Page) -> None:
        replication.show(page, await self._parts.replicator.counted_status())

    async def _background(self, page: Page) -> None:
        background = self._parts.background
        values = [((one.name,), bool(one.last_error)) for one in background.workers]
        page.gauges("worker_failing", "Whether its last try failed", ("worker",), values)
        status = await background.status()
        page.gauge("events_waiting", "Events that the broker lacks", status["events_waiting"])
        page.counter("events_lost", "Events that were dropped", status["events_lost"])
        lost = status["access_log_lines_lost"]
        page.counter("access_log_lines_lost", "Lines that were dropped", lost)

    async def _events(self, page: Page) -> None:
        events.show(page, await self._parts.events.status())

    async def _notary(self, page: Page) -> None:
        notary.show(page, await self._parts.notary.status())
