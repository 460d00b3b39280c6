"""A wall clock that goes back is told of, in the log and in the status, as long as it matters."""

import pytest
from structlog.testing import capture_logs

from dc.clock_watch import EACH_SECONDS, ClockWatch
from dc.stamps import HybridClock

DC = "d" * 16
T0 = 1_700_000_000_000


class Clock:
    """A wall clock that can be set, and one that only goes forward."""

    def __init__(self) -> None:
        self.set_ms = 0
        self.seconds = 0.0

    def wall_ms(self) -> int:
        return T0 + int(self.seconds * 1000) + self.set_ms

    def monotonic(self) -> float:
        return 5_000.0 + self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.stamps = HybridClock(self.clock, DC)
        self.stamps.now()
        self.watch = ClockWatch(self.clock, lambda: self.stamps.last)

    async def step(self, seconds: float = EACH_SECONDS) -> str:
        """What the status says some time later."""
        self.clock.seconds += seconds
        await self.watch.step()
        return self.watch.status()["clock"]


async def test_it_is_told_once_and_shown_until_the_last_change_is_passed() -> None:
    world = World()
    with capture_logs() as logs:
        for _ in range(3):
            assert await world.step() == "ok"
        world.stamps.now()
        assert logs == []
        world.clock.set_ms = -3_600_000
        assert (await world.step()).startswith(
            "it went back by 3600 s (seen when it showed 2023-11-14T21:13:40.000Z): changes are"
            " stamped 3595 s ahead of it."
        )
        assert "stamped 3590 s ahead" in await world.step()
        (told,) = logs
        assert (told["log_level"], told["what"]) == ("warning", "it went back by 3600 s")
        # What is changed meanwhile is stamped behind what was, and not by this clock.
        world.stamps.now()
        assert await world.step(3_500.0) != "ok"
        assert await world.step(100.0) == "ok"
        assert len(logs) == 2


@pytest.mark.parametrize("set_ms", [-500, 3_600_000, 0])
async def test_what_is_not_told(set_ms: int) -> None:
    """A clock that follows others is put right by a little; one that is set ahead does not go back,
    nor does one stand still while the machine is busy."""
    world = World()
    world.clock.set_ms = set_ms
    with capture_logs() as logs:
        for seconds in (EACH_SECONDS, 1000.0, EACH_SECONDS):
            assert await world.step(seconds) == "ok"
    assert logs == []


async def test_a_clock_that_goes_back_twice_is_told_twice() -> None:
    world = World()
    with capture_logs() as logs:
        for back in (2_000, 60_000):
            world.clock.set_ms -= back
            await world.step()
    assert [one["what"] for one in logs] == ["it went back by 2 s", "it went back by 60 s"]


@pytest.mark.parametrize(("ahead_ms", "told"), [(50_000, False), (600_000, True)])
async def test_one_that_went_back_while_the_datacenter_was_down(ahead_ms: int, told: bool) -> None:
    """Stamps may be ahead by the minute that clocks of others may differ."""
    clock = Clock()
    last = f"{(T0 + ahead_ms) << 16:016x}{DC}"
    with capture_logs() as logs:
        watch = ClockWatch(clock, lambda: last)
    assert bool(logs) == told
    words = "it is 600 s behind the last change that was made here" if told else "ok"
    assert watch.status()["clock"].startswith(words)
