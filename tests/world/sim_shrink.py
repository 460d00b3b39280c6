"""Making a failing world small: events are left out as long as the same check fails.

Pairings stay. First halves, then quarters, and so on down to single events, like Zeller's `ddmin`.
"""

from collections.abc import Callable

from sim_plan import Plan
from sim_world import Result, run


def shrink(
    plan: Plan, check: str, runs_max: int = 300, say: Callable[[str], None] = lambda _: None
) -> tuple[Plan, Result]:
    """The smallest plan found that fails the same check, and how it fails."""
    best, result = plan, run(plan)
    runs = 0
    share = 2
    while share <= 2 * len(best.events) and runs < runs_max:
        size = max(1, len(best.events) // share)
        start = 0
        smaller = False
        while start < len(best.events) and runs < runs_max:
            left = [
                event
                for place, event in enumerate(best.events)
                if not start <= place < start + size or event.kind == "pair"
            ]
            if len(left) == len(best.events):
                start += size
                continue
            runs += 1
            tried = run(best.only(left))
            if tried.check == check:
                best, result, smaller = best.only(left), tried, True
                say(f"{len(left)} events after {runs} runs")
            else:
                start += size
        if size == 1 and not smaller:
            break
        share = share if smaller and size == 1 else share * 2
    return best, result
