"""Delivery: empties the outbox into the broker, at least once, in order.

A step is one connection, and lasts as long as it does; when it breaks, the worker comes again after
a back-off. Up to `IN_FLIGHT_MAX` events are under way at once. They leave the outbox when the
broker has acknowledged them (QoS 1), and only those that no unacknowledged one is before: after a
connection that broke, or a crash, some are told again, but what is told last of a key is what
happened last.
"""

import asyncio
from collections.abc import Sequence

from dc.broker import IN_FLIGHT_MAX, Broker, Connection
from dc.names.model import Outgoing
from dc.names.outbox import Outbox


class Delivery:
    """`step` is the work of a `dc.worker.Worker`."""

    def __init__(self, outbox: Outbox, broker: Broker, prefix: str) -> None:
        self._outbox = outbox
        self._broker = broker
        self._prefix = prefix
        self.connected = False
        self.delivered = 0
        """Since the start."""

    async def step(self) -> float:
        """Wait for the first event, then deliver until the connection breaks."""
        while not await self._outbox.page(limit=1):
            await self._outbox.wait()
        try:
            async with self._broker.connect() as connection:
                self.connected = True
                while True:
                    page = await self._outbox.page(limit=IN_FLIGHT_MAX)
                    if page:
                        await self._send(connection, page)
                    else:
                        await self._outbox.wait()
        finally:
            self.connected = False

    async def _send(self, connection: Connection, page: Sequence[Outgoing]) -> None:
        sent = await asyncio.gather(
            *(
                connection.publish(f"{self._prefix}{one.event.topic}", one.event.payload)
                for one in page
            ),
            return_exceptions=True,
        )
        failures = [place for place, result in enumerate(sent) if result is not None]
        arrived = failures[0] if failures else len(page)
        if arrived:
            await self._outbox.done(page[arrived - 1].id)
            self.delivered += arrived
        if failures:
            error = sent[arrived]
            assert error is not None
            raise error
