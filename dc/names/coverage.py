"""Coverage: of which DC's changes everything is reflected here.

For each origin DC a few intervals of stamps, most often one that begins at the beginning (low "").
`docs/convergence.md` tells what it means, how it grows and what is concluded from it. All errors
are on the side of covering less: what is not covered is taken as new.
"""

import sqlite3
from collections.abc import Iterable

from dc.names.model import Interval
from dc.stamps import Stamp, stamp_ms, stamp_origin

INTERVALS_MAX = 32
"""Of one origin."""
ORIGINS_MAX = 1024
"""DCs that ever were. A peer may make up any number."""


class Coverage:
    """The intervals of all origins, joined where they touch."""

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._by_origin: dict[str, list[Interval]] = {}
        self.join(intervals)

    def __contains__(self, stamp: Stamp) -> bool:
        return any(
            one.low <= stamp <= one.high for one in self._by_origin.get(stamp_origin(stamp), ())
        )

    def intervals(self) -> list[Interval]:
        return [one for origin in sorted(self._by_origin) for one in self._by_origin[origin]]

    def of(self, origin: str) -> list[Interval]:
        return self._by_origin.get(origin, [])

    def join(self, intervals: Iterable[Interval]) -> bool:
        """Cover these, too; whether that is anything new."""
        grown = False
        for one in intervals:
            known = self._by_origin.get(one.origin, [])
            if any(old.low <= one.low and one.high <= old.high for old in known):
                continue
            if not known and len(self._by_origin) >= ORIGINS_MAX:
                continue
            self._by_origin[one.origin] = _joined([*known, one])
            grown = True
        return grown

    def stable(self, origins: Iterable[str], absent_before_ms: int) -> Stamp:
        """The stamp up to which everything is covered, of `origins` and of all other DCs known of
        that were heard of since `absent_before_ms`; "" when there is none."""
        wanted = set(origins)
        stable: Stamp | None = None
        for origin in wanted | set(self._by_origin):
            known = self._by_origin.get(origin, [])
            if not known and origin not in wanted:
                continue
            if known and stamp_ms(known[-1].high) < absent_before_ms:
                continue
            high = known[0].high if known and not known[0].low else ""
            stable = high if stable is None else min(stable, high)
        return stable or ""


def _joined(intervals: list[Interval]) -> list[Interval]:
    result: list[Interval] = []
    for one in sorted(intervals):
        if result and one.low <= result[-1].high:
            last = result.pop()
            one = Interval(last.origin, last.low, max(last.high, one.high))
        result.append(one)
    # Rather forget what lies far back than grow for ever.
    return result[:1] + result[1:][-(INTERVALS_MAX - 1) :]


# -- in the database ----------------------------------------------------------------------------


def load(db: sqlite3.Connection) -> Coverage:
    rows = db.execute("SELECT origin, low, high FROM coverage").fetchall()
    return Coverage(Interval(*row) for row in rows)


def store(db: sqlite3.Connection, intervals: Iterable[Interval]) -> None:
    db.execute("DELETE FROM coverage")
    db.executemany(
        "INSERT INTO coverage VALUES(?, ?, ?)",
        [(one.origin, one.low, one.high) for one in intervals],
    )
