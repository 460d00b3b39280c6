"""What a peer lacks is measured a stretch at a time, wherever in a stretch its business stands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from replica_kit import Dc, SystemClock, datacenters

import replicator.measures
from dc.names.model import Backlog
from replicator.measures import Measures
from replicator.messages import Ack
from replicator.outbound import Outbound

TOKYO = "2" * 16
STRETCH = 10


class HandClock(SystemClock):
    seconds = 1_000.0

    def monotonic(self) -> float:
        return self.seconds


async def measured(paris: Dc, settled: int, clock: HandClock) -> tuple[int, bool]:
    """How many changes it comes to, and whether these are all."""
    out: Any = SimpleNamespace(
        settled=settled, taken=0, unfinished=frozenset(), failing={}, lacking=None, forgotten=0
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


@asynccontextmanager
async def measured_to_the_end(
    root: Path, *, draws: bool
) -> AsyncIterator[tuple[Dc, Outbound, Measures, list[int]]]:
    """Tokyo has all that paris has, as it said, and lacks nothing, as was measured; and where the
    changes stand that paris made."""
    async with datacenters(root, "paris") as (paris,):
        bucket = await paris.bucket()
        made = []
        for number in range(5):
            last = await paris.put(bucket, f"k{number}", b"x")
            made.append(paris.names.feed_end)
        out, clock, stream = Outbound(paris.names.knowledge, TOKYO), HandClock(), object()
        out.opened(stream, 0, True, "before")
        out.draws(60 if draws else 0, clock)
        epoch = paris.names.epoch
        out.acknowledged(Ack(epoch=epoch, position=made[-1], taken=made[-1]))
        theirs = msgspec.structs.replace(last, key="own", stamp=last.stamp[:16] + TOKYO)
        await paris.names.apply([theirs])
        home: Any = SimpleNamespace(names=paris.names, clock=clock)
        inbound: Any = SimpleNamespace(inbox=0)
        measures = Measures(home, SimpleNamespace(dc_id=TOKYO), out, inbound)  # type: ignore[arg-type]
        out.closed("before")
        await measures.look()
        assert out.lacking is not None and not out.lacking.changes
        yield paris, out, measures, made


def put_back(paris: Dc, out: Outbound, position: int) -> None:
    """To a backup that had taken so much, as it says when it comes again."""
    out.opened(object(), position, True, "after")
    out.acknowledged(Ack(epoch=paris.names.epoch, position=position, taken=position))
    out.closed("after")


@pytest.mark.parametrize("draws", [False, True], ids=["keeps a stream", "draws"])
async def test_a_peer_that_was_put_back_lacks_what_it_has_forgotten(
    tmp_path: Path, draws: bool
) -> None:
    async with measured_to_the_end(tmp_path, draws=draws) as (paris, out, measures, made):
        put_back(paris, out, made[1])
        await measures.look()
        assert out.lacking is not None and out.lacking.changes == 3
        assert out.settled == made[1]


async def test_one_that_is_put_back_while_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with measured_to_the_end(tmp_path, draws=True) as (paris, out, measures, made):
        backlog = paris.names.backlog

        async def slow(peer: str, after: int, limit: int) -> Backlog:
            found = await backlog(peer, after, limit)
            put_back(paris, out, made[1])
            return found

        out.forget()
        out.acknowledged(Ack(epoch=paris.names.epoch, position=made[-1], taken=made[-1]))
        with monkeypatch.context() as patch:
            patch.setattr(paris.names, "backlog", slow)
            await measures.look()
        assert out.settled == made[1]
        await measures.look()
        assert out.lacking is not None and out.lacking.changes == 3


async def test_one_that_is_put_back_to_before_what_it_had_not_finished(tmp_path: Path) -> None:
    """What it had taken after that is not there any more, though no more was acknowledged."""
    async with measured_to_the_end(tmp_path, draws=False) as (paris, out, measures, made):
        out.forget()
        epoch = paris.names.epoch
        out.acknowledged(Ack(epoch=epoch, position=made[1], taken=made[-1], unfinished=[made[2]]))
        assert out.has(made[3])
        out.opened(object(), made[2], True, "after")
        out.acknowledged(Ack(epoch=epoch, position=made[1], taken=made[2], unfinished=[made[2]]))
        assert not out.has(made[3])
        await measures.look()
        assert out.lacking is not None and out.lacking.changes == 3
