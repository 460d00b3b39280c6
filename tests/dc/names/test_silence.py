"""Who is not waited for any more, when clocks are set."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dc.names.model import Peer
from dc.names.service import SqliteNames
from dc.names.silence import START_SECONDS
from tests.dc.names.dcs_kit import START_MS
from tests.dc.names.names_kit import FixedClock, opened

DAY = 24 * 3600 * 1000
PEER = Peer(
    dc_id="b" * 16,
    name="tokyo",
    region="asia",
    endpoints=["127.0.0.1:1"],
    fingerprint="0" * 64,
    signing_key=bytes(32),
    sealing_key=bytes(32),
    paired="0" * 16 + "a" * 16,
)


class Clocks(FixedClock):
    """A wall clock that is set, and one that only goes forward."""

    def __init__(self) -> None:
        super().__init__(START_MS)
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def pass_ms(self, ms: int) -> None:
        self.ms += ms
        self.seconds += ms / 1000


Hear = Callable[[SqliteNames, Clocks], Awaitable[None]]


async def hear_broker(names: SqliteNames, clock: Clocks) -> None:
    await names.event_cursor.store(on=True, position=3, heard_ms=clock.wall_ms())


async def hear_peer(names: SqliteNames, _: Clocks) -> None:
    await names.add_peer(PEER)
    names.knowledge.note_progress(PEER.dc_id, 3)
    await names.upkeep()


def is_waited_for(names: SqliteNames, hear: Hear) -> bool:
    return names.knowledge.chores([PEER] if hear is hear_peer else []).acked == 3


@pytest.mark.parametrize("hear", [hear_broker, hear_peer])
async def test_a_wall_clock_that_is_set_makes_nobody_absent(tmp_path: Path, hear: Hear) -> None:
    clock = Clocks()
    async with opened(tmp_path / "n.db", clock=clock) as names:
        await hear(names, clock)
        for ms in (400 * DAY, -800 * DAY, 400 * DAY):
            clock.ms += ms
            assert is_waited_for(names, hear)
        clock.pass_ms(30 * DAY)
        assert is_waited_for(names, hear)
        # Nor does one that is back make anybody stay.
        clock.ms -= 10 * DAY
        clock.pass_ms(1)
        assert not is_waited_for(names, hear)
        await hear(names, clock)
        assert is_waited_for(names, hear)


@pytest.mark.parametrize("hear", [hear_broker, hear_peer])
async def test_who_was_heard_of_in_a_time_to_come_is_waited_for_as_long_as_others(
    tmp_path: Path, hear: Hear
) -> None:
    """Stored while the clock was a year ahead: not for a year."""
    clock = Clocks()
    clock.ms += 365 * DAY
    async with opened(tmp_path / "n.db", clock=clock) as names:
        await hear(names, clock)
    clock.ms -= 365 * DAY
    async with opened(tmp_path / "n.db", clock=clock) as names:
        assert is_waited_for(names, hear)
        clock.pass_ms(30 * DAY)
        assert is_waited_for(names, hear)
        clock.pass_ms(1)
        assert not is_waited_for(names, hear)


@pytest.mark.parametrize("hear", [hear_broker, hear_peer])
async def test_a_start_with_a_wrong_clock_makes_nobody_absent(tmp_path: Path, hear: Hear) -> None:
    clock = Clocks()
    async with opened(tmp_path / "n.db", clock=clock) as names:
        await hear(names, clock)
    clock.pass_ms(DAY)
    clock.ms += 90 * DAY
    async with opened(tmp_path / "n.db", clock=clock) as names:
        clock.pass_ms(60_000)
        assert is_waited_for(names, hear)
        clock.ms -= 90 * DAY
        clock.pass_ms(2 * DAY)
        assert is_waited_for(names, hear)
    # When it is right, so is what it says of the time before the start.
    clock.pass_ms(28 * DAY)
    async with opened(tmp_path / "n.db", clock=clock) as names:
        assert is_waited_for(names, hear)
        clock.pass_ms(int(START_SECONDS * 1000))
        assert not is_waited_for(names, hear)
