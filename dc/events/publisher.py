"""Events: tells the change feed to the broker, at least once, in the feed's order.

The feed is the queue (`dc/names/feed.py`): it has each item that changed, once, as it is now. So a
broker that is away for any length of time costs no space, and when it is back it is told the last
state of each item; states in between that were superseded meanwhile are not. No PUT waits for any
of this, nor writes a byte more for it.

A step is one connection, and lasts as long as it does; when it breaks, the worker comes again after
a back-off. Up to `BATCH` events are under way at once. The position moves past those that the
broker has acknowledged (QoS 1) and that no unacknowledged one is before. It is stored a second
later at the latest (`dc/names/event_cursor.py`): what was told in that second is told again after a
crash.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from dc.broker import Broker, Connection
from dc.events.records import Records
from dc.names.api import Names
from dc.names.model import FeedEntry
from dc.ports import Clock
from dc.worker import TaskGroup, first_of

log = structlog.get_logger("events")

BATCH = 50
"""Events under way at once, each of 1 KB or so: some milliseconds of the event loop."""
GAP_SECONDS = 0.02
"""Between batches, so that a load of thousands of changes a second is told in fifty, and requests
come in between when much is to be told."""
STORE_SECONDS = 1.0
"""How often at most the position is stored: each time is a commit."""
HEARD_SECONDS = 3600.0
"""How often it is stored that the broker is there, when there is nothing to tell."""
ERROR_CHARACTERS_MAX = 300
LAG_POSITIONS_MAX = 10_000
"""Positions looked at for how much is to be told; more are said to be at least so many."""


class EventsRefused(Exception):
    """What was asked of events cannot be; the text says why, and what to do."""


class Publisher:
    """`step` is the work of a `dc.worker.Worker`. `broker`: None when none is configured."""

    def __init__(
        self,
        names: Names,
        clock: Clock,
        broker: Broker | None,
        records: Records,
        kinds: Sequence[str],
    ) -> None:
        self._names = names
        self._clock = clock
        self._broker = broker
        self._records = records
        self._kinds = frozenset(kinds)
        self._cursor = names.event_cursor
        self._position: int | None = None
        """All up to here is acknowledged; None: what is stored counts."""
        self._stored_at = 0.0
        self._changed = asyncio.Event()
        self._setting = asyncio.Lock()
        self.connected = False
        self.published = 0
        """Since the start."""
        self.last_error = ""
        """Why the connection broke last; empty when something was acknowledged since."""

    # -- what operators ask -------------------------------------------------------------------

    async def turn_on(self, position: int | None = None) -> None:
        """Tell what changes, from a position on; without one from where it was told up to, or from
        now on if it never was. EventsRefused."""
        if self._broker is None:
            raise EventsRefused("no MQTT broker is configured: set mqtt.host in farshore.toml")
        self._check(position)
        known = self._cursor.state.position
        start = known if position is None else position
        start = self._names.feed_end if start is None else start
        await self._set(on=True, position=start, heard_ms=self._clock.wall_ms())

    async def turn_off(self) -> None:
        """Tell nothing more; the position is kept."""
        await self._set(on=False)

    async def replay(self, position: int) -> None:
        """Tell again what changed after a position. EventsRefused when events are off."""
        if not self._cursor.state.on:
            raise EventsRefused("events are off: `farshore events enable --from POSITION`")
        self._check(position)
        await self._set(position=position)

    def _check(self, position: int | None) -> None:
        end = self._names.feed_end
        if position is not None and not 0 <= position <= end:
            raise EventsRefused(f"{position} is no position of the feed: 0 to {end}")

    async def _set(self, **changes: Any) -> None:
        """What is under way must not store its position over a new one."""
        async with self._setting:
            await self._cursor.store(**changes)
            self._position = None
            self._changed.set()

    async def status(self) -> dict[str, Any]:
        """For people and programs. `lag_seconds` is the age of the oldest change to be told."""
        state, end = self._cursor.state, self._names.feed_end
        position = state.position if self._position is None else self._position
        behind = 0 if position is None or not state.on else end - position
        lag, least = 0.0, False
        if behind and position is not None:
            found = await self._names.backlog("", position, LAG_POSITIONS_MAX)
            least = not found.complete
            now_ms = self._clock.wall_ms()
            lag = max(0, now_ms - found.oldest_ms) / 1000 if found.oldest_ms else 0.0
        return {
            "state": self._word(state.on),
            "position": position,
            "end": end,
            "behind": behind,
            "lag_seconds": round(lag, 3),
            "at_least": least,
            "published": self.published,
            "heard_ms": state.heard_ms,
            "kinds": sorted(self._kinds),
            "last_error": self.last_error,
        }

    def _word(self, on: bool) -> str:
        if self._broker is None:
            return "none"
        if not on:
            return "off"
        if self.connected:
            return "connected"
        return "failing" if self.last_error else "connecting"

    # -- telling ------------------------------------------------------------------------------

    async def step(self) -> float:
        """While events are on, tell until the connection breaks."""
        self._changed.clear()
        if self._broker is None or not self._cursor.state.on:
            await self._changed.wait()
            return 0
        try:
            async with self._broker.connect() as connection:
                self.connected, self.last_error = True, ""
                async with TaskGroup() as group:
                    watch = group.create_task(_watch(connection))
                    tell = group.create_task(self._tell(connection))
                    tell.add_done_callback(lambda _: watch.cancel())
        except Exception as error:
            self.last_error = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]
            raise
        finally:
            self.connected = False
        return 0

    async def _tell(self, connection: Connection) -> None:
        """Until something else is to be done."""
        names = self._names
        position = self._cursor.state.position if self._position is None else self._position
        position = position or 0
        while not self._changed.is_set():
            if names.feed_end > position:
                entries, looked, _ = await names.feed(position, BATCH)
                await self._publish(connection, entries)
                position = looked
            if self._changed.is_set():
                return
            self._position = position
            left = await self._store(position)
            if names.feed_end > position:
                await self._clock.sleep(GAP_SECONDS)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await first_of(names.feed_wait(position), self._changed.wait())

    async def _publish(self, connection: Connection, entries: Sequence[FeedEntry]) -> None:
        """All of them; when one fails, the position is before it, and its error is raised."""
        epoch, told = self._names.epoch, self._records.told
        events = [
            (entry.seq, event)
            for entry in entries
            if (event := told(epoch, entry, self._kinds)) is not None
        ]
        sent = await asyncio.gather(
            *(connection.publish(event.topic, event.payload) for _, event in events),
            return_exceptions=True,
        )
        for (seq, _), error in zip(events, sent, strict=True):
            if error is not None:
                raise error
            self.published += 1
            if not self._changed.is_set():
                self._position = seq

    async def _store(self, position: int) -> float:
        """Store the position, or that the broker is there, if it is time; the seconds until it will
        be."""
        state, now = self._cursor.state, self._clock.monotonic()
        moved = position != state.position
        left = self._stored_at + (STORE_SECONDS if moved else HEARD_SECONDS) - now
        if left > 0 and self._stored_at:
            return left
        async with self._setting:
            if not self._changed.is_set():
                await self._cursor.store(position=position, heard_ms=self._clock.wall_ms())
                self._stored_at = now
        return STORE_SECONDS


async def _watch(connection: Connection) -> None:
    """Raises when the connection breaks, also while there is nothing to tell."""
    async for _ in connection.messages():
        pass
