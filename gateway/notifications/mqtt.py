"""The broker that speaks MQTT (3.1.1), through aiomqtt.

A connection has a name of its own, from the id of the datacenter: should an earlier one still hang,
the broker drops it.
"""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt
import msgspec

from gateway.notifications.delivery import BATCH, Publish

_SECONDS_MAX = 10.0
"""For the broker to answer anything."""
_KEEPALIVE_SECONDS = 30
_AT_LEAST_ONCE = 1

_quiet = logging.getLogger("gateway.mqtt")
_quiet.propagate = False
_quiet.addHandler(logging.NullHandler())


class MqttBroker(msgspec.Struct, frozen=True, kw_only=True):
    """A `gateway.notifications.delivery.Broker`."""

    host: str
    port: int
    client_id: str
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Publish]:
        client = aiomqtt.Client(
            self.host,
            self.port,
            username=self.user or None,
            password=self.password or None,
            identifier=self.client_id,
            logger=_quiet,
            timeout=_SECONDS_MAX,
            keepalive=_KEEPALIVE_SECONDS,
            max_inflight_messages=BATCH,
            tls_context=self.tls,
        )
        client.pending_calls_threshold = BATCH

        async def publish(topic: str, payload: bytes) -> None:
            await client.publish(topic, payload, qos=_AT_LEAST_ONCE)

        async with client:
            yield publish
