"""What the gateway does by itself, beside requests: a worker for each, and how they do."""

from collections.abc import Sequence
from typing import Any

from dc.broker import Broker
from dc.names.api import Names
from dc.ports import Clock
from dc.worker import Worker
from gateway.access_logs.delivery import AccessLogs
from gateway.lifecycle.worker import Lifecycle
from gateway.notifications.delivery import Delivery

_BROKER_BACKOFF_SECONDS_MAX = 10.0
"""A broker that is back is found within this time."""


class Background:
    """Started and stopped with the datacenter. `broker`: None when there is none; `others`: what
    else works in the background."""

    def __init__(
        self,
        *,
        names: Names,
        clock: Clock,
        host_id: str,
        day_ms: int,
        broker: Broker | None,
        topic_prefix: str,
        logs: AccessLogs,
        others: Sequence[Worker] = (),
    ) -> None:
        self._names = names
        self._logs = logs
        self.lifecycle = Lifecycle(
            names, clock, day_ms=day_ms, notifications=broker is not None, host_id=host_id
        )
        self._workers = [
            Worker("lifecycle", clock, self.lifecycle.step),
            Worker("access logs", clock, logs.step),
            *others,
        ]
        self._delivery: Delivery | None = None
        self._notifications: Worker | None = None
        if broker is not None:
            self._delivery = Delivery(names.outbox, broker, topic_prefix)
            self._notifications = Worker(
                "notifications", clock, self._delivery.step, _BROKER_BACKOFF_SECONDS_MAX
            )
            self._workers.append(self._notifications)

    @property
    def workers(self) -> Sequence[Worker]:
        """All that there are."""
        return self._workers

    def start(self) -> None:
        for worker in self._workers:
            worker.start()

    async def stop(self) -> None:
        for worker in self._workers:
            await worker.stop()
        await self._logs.flush()

    async def status(self) -> dict[str, Any]:
        """For people: flat, in the order to show."""
        events = await self._names.outbox.state()
        found = {f"lifecycle_{name}": value for name, value in self.lifecycle.status().items()}
        return {
            **found,
            "broker": self._broker_state(),
            "events_waiting": events.waiting,
            "events_lost": events.lost,
            "access_log_lines_lost": self._logs.dropped,
            "failing": [
                f"{worker.name}: {worker.last_error}"
                for worker in self._workers
                if worker.last_error
            ],
        }

    def _broker_state(self) -> str:
        if self._delivery is None or self._notifications is None:
            return "none"
        if self._delivery.connected:
            return "connected"
        return "failing" if self._notifications.last_error else "idle"
