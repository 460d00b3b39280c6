"""The broker that speaks MQTT, through aiomqtt (`dc/broker.py`).

A connection has a name of its own, from the id of the datacenter and what it is for: should an
earlier one still hang, the broker drops it.

Who only publishes speaks MQTT 3.1.1, which every broker does. Who subscribes speaks MQTT 5, by
which the broker is told to send no message that is longer than `RECEIVED_BYTES_MAX`: what is
published to a topic is for everybody to choose who may, and would be taken into memory as a whole.
"""

import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiomqtt
import msgspec
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from dc.broker import IN_FLIGHT_MAX, Connection, Message, Will

RECEIVED_BYTES_MAX = 16 * 1024
RECEIVED_WAITING_MAX = 256
"""Messages that came and were not taken yet; more are dropped."""
_SECONDS_MAX = 10.0
"""For the broker to answer anything."""
_AT_LEAST_ONCE = 1
_REFUSED = 0x80

_quiet = logging.getLogger("dc.mqtt")
_quiet.propagate = False
_quiet.addHandler(logging.NullHandler())


class _Open:
    """A `dc.broker.Connection`."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self._client = client

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await self._client.publish(topic, payload, qos=_AT_LEAST_ONCE, retain=retain)

    async def subscribe(self, topics: Sequence[str]) -> None:
        granted = await self._client.subscribe([(topic, _AT_LEAST_ONCE) for topic in topics])
        codes = [one if isinstance(one, int) else one.value for one in granted]
        for topic, code in zip(topics, codes, strict=True):
            if code >= _REFUSED:
                raise PermissionError(f"the broker refuses the subscription of {topic}")

    async def messages(self) -> AsyncIterator[Message]:
        async for one in self._client.messages:
            if isinstance(one.payload, bytes):
                yield Message(str(one.topic), one.payload)


class MqttBroker(msgspec.Struct, frozen=True, kw_only=True):
    """A `dc.broker.Broker`."""

    host: str
    port: int
    client_id: str
    user: str = ""
    password: str = ""
    tls: ssl.SSLContext | None = None
    keepalive_seconds: int = 30
    receives: bool = False
    """Whether it is to be subscribed to topics."""

    def used_for(
        self, what: str, *, receives: bool = False, keepalive_seconds: int = 30
    ) -> "MqttBroker":
        """The same broker, with connections that have another name."""
        return msgspec.structs.replace(
            self,
            client_id=f"{self.client_id}-{what}",
            receives=receives,
            keepalive_seconds=keepalive_seconds,
        )

    @asynccontextmanager
    async def connect(self, will: Will | None = None) -> AsyncIterator[Connection]:
        client = aiomqtt.Client(
            self.host,
            self.port,
            username=self.user or None,
            password=self.password or None,
            identifier=self.client_id,
            logger=_quiet,
            timeout=_SECONDS_MAX,
            keepalive=self.keepalive_seconds,
            max_inflight_messages=IN_FLIGHT_MAX,
            max_queued_incoming_messages=RECEIVED_WAITING_MAX,
            tls_context=self.tls,
            will=will and aiomqtt.Will(will.topic, will.payload, _AT_LEAST_ONCE, True),
            protocol=aiomqtt.ProtocolVersion.V5 if self.receives else aiomqtt.ProtocolVersion.V311,
            properties=_bounded() if self.receives else None,
        )
        client.pending_calls_threshold = IN_FLIGHT_MAX
        async with client:
            yield _Open(client)


def _bounded() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.MaximumPacketSize = RECEIVED_BYTES_MAX
    return properties
