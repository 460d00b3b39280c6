"""Which of a peer's endpoints to talk to: failover, and the way back.

Endpoints are addresses of one DC, in the order in which its operator prefers them: a private line,
then the internet, say. The one in use is kept for as long as it works. One that fails goes behind
those that have not failed since, so an address that swallows everything is not tried first each
time. When another than the first is in use, the first is asked now and then whether it answers
again (`replicator/link.py`). Some lines answer what is short and carry nothing large:
so one that fails soon after the way back was taken is left alone for longer each time.
"""

from collections.abc import Sequence

from replicator.limits import FIRST_ENDPOINT_SECONDS, FIRST_ENDPOINT_SECONDS_MAX


class Endpoints:
    """Of one peer: `host:port` each, at least one."""

    def __init__(self, endpoints: Sequence[str]) -> None:
        self._all = list(endpoints)
        self._failed: dict[str, int] = {}
        self.failures = 0
        """So far: what a request remembers of when it began."""
        self.current = self._all[0]
        """The one that answered last."""

    @property
    def several(self) -> bool:
        return len(self._all) > 1

    @property
    def first(self) -> str:
        """The preferred one."""
        return self._all[0]

    def in_order(self) -> list[str]:
        """All, the one to try first in front."""
        rank = self._failed
        order = sorted(self._all, key=lambda one: rank.get(one, 0))
        if self.current not in rank:
            order.remove(self.current)
            order.insert(0, self.current)
        return order

    def worked(self, endpoint: str, began: int) -> None:
        """A request got its answer; `began`: how many failures there were when it began. An answer
        that was long on its way says nothing of an endpoint that has failed since."""
        if self._failed.get(endpoint, 0) <= began:
            self._failed.pop(endpoint, None)
            self.current = endpoint

    def failed(self, endpoint: str) -> None:
        self.failures += 1
        self._failed[endpoint] = self.failures


class WayBack:
    """When the way back to the preferred endpoint may be taken. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._wait = FIRST_ENDPOINT_SECONDS
        self._taken_at: float | None = None

    def is_open(self, now: float) -> bool:
        return self._taken_at is None or now >= self._taken_at + self._wait

    def taken(self, now: float) -> None:
        failed_soon = self._taken_at is not None and now < self._taken_at + 2 * self._wait
        self._wait = FIRST_ENDPOINT_SECONDS
        if failed_soon and self._taken_at is not None:
            self._wait = min(2 * (now - self._taken_at), FIRST_ENDPOINT_SECONDS_MAX)
        self._taken_at = now
