"""Links that compare every few seconds, whatever breaks: they never find a difference.

What they would find in the end is repaired by nobody here, so a false one is seen.
"""

from typing import Any

import pytest
from sim_plan import plan_of
from sim_world import run

from replicator.checks import Checks
from replicator.verify import Options, VerifyReport

EVERY_SECONDS = 3.0
SEEDS = (3, 17, 41, 539, 553)
"""The last two once found what was not there: a change in an inbox, a peer from an old backup."""


@pytest.mark.parametrize("seed", SEEDS)
def test_no_difference_is_found(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[VerifyReport] = []
    once = Checks.run

    def is_time(self: Checks) -> bool:
        now = self._home.clock.monotonic()
        return self._ran_at is None or now - self._ran_at >= EVERY_SECONDS

    async def noted(self: Checks, options: Options, *said: Any) -> VerifyReport:
        reports.append(await once(self, options, *said))
        return reports[-1]

    async def nothing(self: Checks, first: VerifyReport) -> None:
        pass

    monkeypatch.setattr(Checks, "_is_time", is_time)
    monkeypatch.setattr(Checks, "run", noted)
    monkeypatch.setattr(Checks, "_repair", nothing)
    assert run(plan_of(seed)).check == ""
    assert len(reports) > 10
    assert [one.differences for one in reports if one.differs] == []
