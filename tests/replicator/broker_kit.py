"""A broker in memory: retains, has wills, matches `+`; and goes away or loses messages if told to.

Everything that was published is in `published`, whoever published it.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from dc.broker import Message, Will


class MemoryConnection:
    def __init__(self, broker: "MemoryBroker") -> None:
        self._broker = broker
        self.queue: asyncio.Queue[Message | None] = asyncio.Queue()
        self.topics: list[str] = []
        self.broken = False

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionError("the connection broke")
        self._broker.deliver(Message(topic, payload), retain)

    async def subscribe(self, topics: Sequence[str]) -> None:
        self.topics += topics
        for topic, payload in list(self._broker.retained.items()):
            if self.wants(topic):
                self.queue.put_nowait(Message(topic, payload))

    def wants(self, topic: str) -> bool:
        levels = topic.split("/")
        return any(
            len(levels) == len(wanted := one.split("/"))
            and all(a in ("+", b) for a, b in zip(wanted, levels, strict=True))
            for one in self.topics
        )

    async def messages(self) -> AsyncIterator[Message]:
        while (message := await self.queue.get()) is not None:
            yield message
        raise ConnectionError("the connection broke")


class MemoryBroker:
    """`lost`: rings that are taken and reach nobody."""

    def __init__(self) -> None:
        self.up = True
        self.lost = False
        self.retained: dict[str, bytes] = {}
        self.published: list[Message] = []
        self._open: list[MemoryConnection] = []

    @asynccontextmanager
    async def connect(self, will: Will | None = None) -> AsyncIterator[MemoryConnection]:
        await asyncio.sleep(0)
        if not self.up:
            raise ConnectionError("the broker is away")
        connection = MemoryConnection(self)
        self._open.append(connection)
        try:
            yield connection
        finally:
            if connection in self._open:
                self._open.remove(connection)
            elif will is not None:
                self.deliver(Message(will.topic, will.payload), True)

    def deliver(self, message: Message, retain: bool) -> None:
        self.published.append(message)
        if self.lost and "/ring/" in message.topic:
            return
        if retain:
            self.retained[message.topic] = message.payload
        for one in self._open:
            if one.wants(message.topic):
                one.queue.put_nowait(message)

    def go_away(self) -> None:
        """All connections break, and none is let in."""
        self.up = False
        self.retained.clear()
        gone, self._open = self._open, []
        for one in gone:
            one.broken = True
            one.queue.put_nowait(None)

    def rings(self) -> list[Message]:
        return [one for one in self.published if "/ring/" in one.topic]
