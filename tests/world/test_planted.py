"""The planted bugs are found: run as a script it looks for the first seed that finds each."""

import sys
import time

import pytest
from planted_bugs import PLANTED
from sim_plan import plan_of
from sim_world import run

SEEDS_MAX = 200
FOUND_BY = {
    "acknowledged_before_commit": 1,
    "clock_forgets": 0,
    "clock_goes_back": 0,
    "cursor_before_effect": 21,
    "cursor_by_page": 0,
    "empty_bucket_stays_dead": 11,
    "failure_stepped_over": 6,
    "feed_row_left": 0,
    "inbox_apart_from_cursor": 75,
    "inbox_gives_up": 6,
    "late_acknowledgement_counts": 54,
    "no_directory_sync": 9,
    "no_file_sync": 3,
    "relay_drops_deletes": 15,
    "revival_not_told": 78,
    "tie_broken_by_arrival": 5,
    "tombstone_ignored": 1,
    "upload_completed_with_old_parts": 5,
}
"""A seed that finds each; to be looked for again when `sim_plan.py` draws otherwise."""


@pytest.mark.parametrize("name", sorted(FOUND_BY))
def test_a_planted_bug_is_found(name: str) -> None:
    with PLANTED[name]():
        assert run(plan_of(FOUND_BY[name])).check


def main(names: list[str]) -> None:
    for name in names or sorted(PLANTED):
        began = time.monotonic()
        with PLANTED[name]():
            for seed in range(SEEDS_MAX):
                result = run(plan_of(seed))
                if result.check:
                    break
        found = f'    "{name}": {seed},' if result.check else f"{name} was not found"
        print(f"{found}  # {result.check}, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
