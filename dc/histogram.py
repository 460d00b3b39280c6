"""Counts of how long things took, cheap enough for where every request passes.

Plain numbers, changed on one thread: there is no lock, and nothing is made per value. Who shows
them makes sums of them when somebody looks.
"""

from bisect import bisect_left
from collections.abc import Sequence


class Histogram:
    """`counts[n]` values were at most `bounds[n]` and above the bound before; the last count is of
    those above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        """Of all values."""

    def note(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def at_most(self) -> list[tuple[float, int]]:
        """Of each bound, and of infinity, how many values were not above it."""
        found, below = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append((bound, below))
        return found
