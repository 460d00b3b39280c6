"""What a peer lacks is measured a stretch at a time, wherever in a stretch its business stands."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from replica_kit import Dc, SystemClock, datacenters

import replicator.measures
from replicator.measures import Measures

TOKYO = "2" * 16
STRETCH = 10


class HandClock(SystemClock):
    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


async def measured(paris: Dc, settled: int, clock: HandClock) -> tuple[int, bool]:
    """How many changes it comes to, and whether these are all."""
    out: Any = SimpleNamespace(
        settled=settled, taken=0, unfinished=frozenset(), failing={}, lacking=None
    )
    home: Any = SimpleNamespace(names=paris.names, clock=clock)
    inbound: Any = SimpleNamespace(inbox=0)
    measures = Measures(home, SimpleNamespace(dc_id=TOKYO), out, inbound)  # type: ignore[arg-type]
    for _ in range(40):
        clock.seconds += await measures.look()
    assert out.lacking is not None
    return out.lacking.changes, out.lacking.complete


@pytest.mark.parametrize("before", range(STRETCH + 1))
async def test_stretches_begin_with_what_is_the_peers_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """Two that it lacks stand before, at and after the end of a stretch that begins with others."""
    monkeypatch.setattr(replicator.measures, "BACKLOG_POSITIONS_MAX", STRETCH)
    async with datacenters(tmp_path, "paris") as (paris,):
        bucket = await paris.bucket()
        made = await paris.put(bucket, "made", b"x")
        settled, clock = paris.names.feed_end, HandClock()
        await paris.names.apply(
            [
                msgspec.structs.replace(made, key=f"own{n}", stamp=made.stamp[:16] + TOKYO)
                for n in range(2 * STRETCH + before)
            ]
        )
        await paris.put(bucket, "k", b"x")
        await paris.put(bucket, "k2", b"x")
        assert await measured(paris, settled, clock) == (2, True)
        for number in range(3 * STRETCH):
            await paris.put(bucket, f"more{number}", b"x")
        assert await measured(paris, settled, clock) == (STRETCH, False), "at least so many"
