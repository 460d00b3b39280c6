"""Writes that wait: those that are to be read first, and what comes later of the same keys.

Each key has a lane, in the order of its writes; keys do not wait for each other. Only numbers are
kept, some 300 bytes for each. They are not looked through: who makes entries goes on behind them,
and comes back to a lane when that is said to be ready.
"""

from collections import deque

Key = tuple[str, str]
"""A bucket's id, and a key in it."""


class Lanes:
    """`len`: how many wait. `in`: whether anything of a key does."""

    def __init__(self) -> None:
        self._lanes: dict[Key, deque[int]] = {}
        self._ready: dict[Key, None] = {}
        """In this order; the first of each can be looked at."""
        self._held: set[int] = set()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, key: Key) -> bool:
        return key in self._lanes

    def add(self, key: Key, number: int) -> None:
        """Behind what waits of that key."""
        self._lanes.setdefault(key, deque()).append(number)
        self._held.add(number)

    def set_ready(self, key: Key) -> None:
        """The first one of a key may have to wait no more."""
        if key in self._lanes:
            self._ready[key] = None

    def ready(self) -> Key | None:
        """A key that is ready."""
        return next(iter(self._ready), None)

    def first(self, key: Key, limit: int) -> list[int]:
        """The first ones of a lane."""
        lane = self._lanes[key]
        return [lane[at] for at in range(min(limit, len(lane)))]

    def looked_at(self, key: Key) -> None:
        """It is not ready until it is said to be so again."""
        self._ready.pop(key, None)

    def leave(self, key: Key, number: int) -> None:
        """Nothing, when it does not wait. What follows it is ready."""
        if number not in self._held:
            return
        self._held.discard(number)
        lane = self._lanes[key]
        first = lane.popleft()
        assert first == number
        if lane:
            self._ready[key] = None
        else:
            del self._lanes[key]
            self._ready.pop(key, None)
