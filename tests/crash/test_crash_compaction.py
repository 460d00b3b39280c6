"""Compaction, after every power cut and after a kill between any two of its steps."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from crash_compaction import IN_ARCHIVE, CompactionOracle, record_compaction, with_garbage
from crash_kit import Report, explore
from crash_trace import Image, Trace

from dc.names.places import Places
from dc.objects.compaction import Compactor, Count
from dc.objects.store import ContainerStore

MODES = ["1+0", "2+1", "1+0 to 2+1", "2+1 to 1+1", IN_ARCHIVE]
LIMITS = {
    "1+0": {"samples": 24, "torn_max": 3, "loose_max": 8},
    "2+1": {"samples": 2, "torn_max": 1, "loose_max": 2},
    "1+0 to 2+1": {"samples": 2, "torn_max": 1, "loose_max": 2},
    "2+1 to 1+1": {"samples": 2, "torn_max": 1, "loose_max": 2},
    IN_ARCHIVE: {"samples": 2, "torn_max": 1, "loose_max": 2},
}


@pytest.fixture(scope="module", params=MODES)
def filled(request: pytest.FixtureRequest) -> tuple[str, Image, dict[str, bytes]]:
    return (request.param, *with_garbage(request.param))


def look(
    filled: tuple[str, Image, dict[str, bytes]], trace: Trace, bad_max: int = 0
) -> tuple[Report, CompactionOracle]:
    oracle = CompactionOracle(filled[0], filled[2])
    return explore(trace, oracle, bad_max=bad_max, **LIMITS[filled[0]]), oracle


def test_nothing_is_lost_by_a_power_cut(filled: Any) -> None:
    trace, removed = record_compaction(filled[1], filled[0])
    assert removed >= 2, "nothing was compacted"
    report, oracle = look(filled, trace)
    assert report.losses == []
    assert report.tally.states > 300
    assert oracle.gone_on > 10


def test_nothing_is_lost_by_a_kill_between_any_two_steps(filled: Any) -> None:
    """Everything that was written is there, and the next process goes on from it."""
    trace, _ = record_compaction(filled[1], filled[0])
    oracle = CompactionOracle(filled[0], filled[2], go_on_each=1)
    kills = [after for after in range(len(trace.ops) + 1) if _durable(trace, after)]
    assert len(kills) > 10
    for after in kills:
        assert oracle.look(trace.killed(after).view()) == [], f"killed after {after}"
    assert oracle.gone_on == len(kills)


def _durable(trace: Trace, after: int) -> bool:
    """Whether something was made durable, or a name was changed, just before or is just after."""
    near = trace.ops[max(0, after - 1) : after + 1]
    return any(op.kind not in ("write", "truncate") for op in near)


# -- the check can fail ---------------------------------------------------------------------------


def test_finds_bytes_that_are_named_before_they_are_durable(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hasty(self: ContainerStore, records: Sequence[Any], tier: str) -> Any:
        futures = [
            await self._standard.moved.append(
                one.ident, one.buffers, one.length, one.position, one.flags, durable=False
            )
            for one in records
        ]
        return [appended.extent for appended in await asyncio.gather(*futures)]

    monkeypatch.setattr(ContainerStore, "store_moved", hasty)
    trace, _ = record_compaction(filled[1], filled[0])
    assert look(filled, trace, bad_max=1)[0].bad


def test_finds_syncs_of_the_log_that_are_left_out(filled: Any) -> None:
    """Then names may be the old ones again, when what they pointed to was removed."""
    trace, _ = record_compaction(filled[1], filled[0], drop=lambda path, _: path.endswith("-wal"))
    assert look(filled, trace, bad_max=1)[0].bad


def test_finds_a_removal_before_the_names_are_moved(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    move = Places.move

    async def late(self: Compactor, count: Count, chosen: Any, mixed: Any) -> None:
        async def after_the_removal(places: Places, moves: Any) -> Any:
            for container in chosen:
                if container in await self._store.sizes():
                    await self._store.remove(container, 0)
            return await move(places, moves)

        monkeypatch.setattr(Places, "move", after_the_removal)
        await moves_out(self, count, chosen, mixed)

    moves_out = Compactor._move
    monkeypatch.setattr(Compactor, "_move", late)
    monkeypatch.setattr(Compactor, "_remove_empty", _nothing)
    trace, _ = record_compaction(filled[1], filled[0])
    monkeypatch.undo()
    assert look(filled, trace, bad_max=1)[0].bad


async def _nothing(self: Compactor, count: Count) -> None:
    pass
