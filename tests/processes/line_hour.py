"""Two datacenters on a line of 10 Mbit/s and 80 ms for as many minutes as you like, under a mixed
load: what gets there, how late, and what went over the wire.

    make line-hour MINUTES=60

Small objects are written on both sides all the time, and large ones whenever the line has had the
time to carry those before: so it is busy, and never hopelessly behind. In the end all must be
there, and both must be the same.
"""

import argparse
import contextlib
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from netns_kit import NetDc, Wire, check_identical, network
from netns_load import Load

MEGABITS = 10.0
DELAY_S = 0.04
"""One way."""
QUEUE_MS = 200
BUSY = 0.7
"""Which part of the line the large objects are meant to take."""
LARGE_BYTES = (2_000_000, 8_000_000)
LARGE_WRITERS = 3
"""They begin together: as many bodies as are fetched at once, over as many connections."""
SMALL_BYTES_MAX = 20_000
SMALL_PAUSE_S = 0.25
CATCH_UP_S = 60.0


class Report(NamedTuple):
    """What was measured."""

    seconds: float
    """Of the load; then what was left was waited for."""
    catch_up_s: float
    lags: list[float]
    """Of the small objects, sorted, seconds."""
    large_lags: list[float]
    small: int
    large: int
    given_bytes: int
    wire_bytes: int
    """Towards the datacenter that took the large ones."""

    def lag(self, part: float) -> float:
        """A percentile."""
        return self.lags[min(len(self.lags) - 1, int(len(self.lags) * part))]

    def __str__(self) -> str:
        large = self.large_lags
        return (
            f"{self.seconds:.0f} s at {MEGABITS:g} Mbit/s, {2000 * DELAY_S:.0f} ms:"
            f" {self.small} small objects, {self.large} large, {self.given_bytes / 1e6:.1f} MB\n"
            f"lag of the small: median {self.lag(0.5):.2f} s, 99 % within {self.lag(0.99):.2f} s,"
            f" at most {self.lags[-1]:.2f} s\n"
            f"lag of the large: median {large[len(large) // 2]:.1f} s, at most {large[-1]:.1f} s\n"
            f"over the wire: {self.wire_bytes / 1e6:.1f} MB, {self.megabits:.2f} Mbit/s,"
            f" {self.wire_bytes / self.given_bytes - 1:.1%} more than the objects\n"
            f"caught up {self.catch_up_s:.1f} s after the last write"
        )

    @property
    def megabits(self) -> float:
        return self.wire_bytes * 8 / 1e6 / (self.seconds + self.catch_up_s)


def large(at: NetDc, seen_at: NetDc, number: int) -> Load:
    """Large objects of one of the writers."""
    mean = sum(LARGE_BYTES) / 2
    pause_s = LARGE_WRITERS * mean * 8 / (MEGABITS * 1e6 * BUSY)
    return Load(at, seen_at, f"large-{number}", pause_s=pause_s, size=LARGE_BYTES)


def play(paris: NetDc, tokyo: NetDc, line: Wire, seconds: float) -> Report:
    """Write for so long, wait until all is there, and compare."""
    line.slow(MEGABITS, QUEUE_MS)
    before, began = line.went_to(tokyo), time.monotonic()
    sizes = (0, SMALL_BYTES_MAX)
    with contextlib.ExitStack() as stack:
        there, back = (
            stack.enter_context(Load(*way, way[0].name, pause_s=SMALL_PAUSE_S, size=sizes))
            for way in ((paris, tokyo), (tokyo, paris))
        )
        larges = [stack.enter_context(large(paris, tokyo, one)) for one in range(LARGE_WRITERS)]
        time.sleep(seconds)
        for load in (there, back, *larges):
            load.end()
        ended = time.monotonic()
        for load in (there, back, *larges):
            load.arrive(CATCH_UP_S)
        caught_up = time.monotonic()
        sent = line.went_to(tokyo) - before
    check_identical(paris, tokyo, seconds=CATCH_UP_S)
    large_lags = sorted(lag for load in larges for lag in load.lags)
    return Report(
        seconds=ended - began,
        catch_up_s=caught_up - ended,
        lags=sorted(there.lags + back.lags),
        large_lags=large_lags,
        small=len(there.lags) + len(back.lags),
        large=len(large_lags),
        given_bytes=sum(load.given_bytes for load in (there, *larges)),
        wire_bytes=sent.bytes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="line-hour-") as folder:
        with network(Path(folder), "paris", "tokyo", delay_s=DELAY_S) as net:
            paris, tokyo = net.dcs
            print(play(paris, tokyo, net.wires["tokyo"], 60 * minutes))


if __name__ == "__main__":
    main()
