"""What the datacenter asks of an MQTT broker. The real one is `dc/mqtt.py`.

Three parts talk to the broker, each over a connection of its own: notifications of buckets
(`gateway/notifications`), events (`dc/events`), and doorbells between datacenters
(`replicator/doorbell.py`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

IN_FLIGHT_MAX = 100
"""Messages under way at once on one connection, each of 1 KB or so."""


class Will(NamedTuple):
    """What the broker publishes, and retains, when a connection breaks without a goodbye."""

    topic: str
    payload: bytes


class Message(NamedTuple):
    """What was published to a topic that was subscribed to."""

    topic: str
    payload: bytes


class Connection(Protocol):
    """An open connection. Its calls raise what the library raises when it breaks."""

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the broker has taken the message for good (QoS 1). Those of whom it is
        called first are sent first."""
        ...

    async def subscribe(self, topics: Sequence[str]) -> None:
        """PermissionError when the broker refuses one of them."""
        ...

    def messages(self) -> AsyncIterator[Message]:
        """What comes, until the connection breaks, which raises. What is not taken in time is
        dropped. Who has subscribed to nothing learns by it that the connection broke."""
        ...


class Broker(Protocol):
    """Where messages go, and come from."""

    def connect(self, will: Will | None = None) -> AbstractAsyncContextManager[Connection]:
        """A connection; what it raises is a reason to try again later."""
        ...
