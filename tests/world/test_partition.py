"""The short form of `make simulate-partition`: see docs/simulation.md."""

import pytest
from partition import EQUAL_SECONDS_MAX, play_partition


@pytest.mark.timeout(120)
def test_two_minutes_of_partition() -> None:
    result, world = play_partition(seconds=120.0, rate=20)
    assert not result.check, f"{result.check}: {result.story}"
    assert world.done == 2 * 120 * 20
    assert world.equal_after < EQUAL_SECONDS_MAX
