"""The planted bugs are found: run as a script it looks for the first seed that finds each."""

import sys
import time

import pytest
from planted_bugs import PLANTED
from sim_plan import plan_of
from sim_world import run

SEEDS_MAX = 200
FOUND_BY = {
    "acknowledged_before_commit": 0,
    "attribute_lost_on_merge": 24,
    "change_of_the_wrong_origin": 197,
    "clock_forgets": 1,
    "clock_goes_back": 1,
    "concurrent_loser_forgotten": 6,
    "conflict_joins_the_other": 9,
    "conflict_leads_to_the_other": 9,
    "conflict_not_seen": 7,
    "conflict_without_bytes": 6,
    "conflicts_not_counted": 12,
    "cosigned_before_it_is_durable": 45,
    "covered_before_settled": 25,
    "covered_when_said": 25,
    "cursor_before_effect": 96,
    "cursor_by_page": 2,
    "empty_bucket_stays_dead": 4,
    "entries_made_twice": 59,
    "epochs_ignored": 89,
    "etag_kept_on_overwrite": 20,
    "etag_of_the_last_part": 5,
    "everything_is_seen": 6,
    "failure_stepped_over": 54,
    "feed_row_left": 1,
    "filled_in_is_not_noted": 23,
    "gap_closed_at_start": 211,
    "hook_is_ahead": 124,
    "idle_where_nothing_is_set": 33,
    "inbox_apart_from_cursor": 1143,
    "inbox_gives_up": 54,
    "loser_kept_by_who_lacks_it": 55,
    "lost_commit_ignored": 16,
    "moved_before_durable": 330,
    "moved_whatever_is_there": 309,
    "no_directory_sync": 1,
    "no_file_sync": 0,
    "nobody_fills_in": 23,
    "one_epoch_for_ever": 89,
    "one_origin_covers_all": 2,
    "overwriting_removes_nothing": 3,
    "own_changes_given_back_once": 106,
    "own_changes_not_given_back": 37,
    "put_waits_for_the_log": 95,
    "reading_holds_up_nobody": 6,
    "registers_not_joined": 165,
    "relay_drops_deletes": 15,
    "removed_after_one_count": 103,
    "rows_deleted_before_entries": 110,
    "rows_skipped_by_page": 20,
    "signers_of_before": 129,
    "tie_broken_by_arrival": 13,
    "tombstone_collected_unacknowledged": 93,
    "tombstone_dropped_by_age": 19,
    "tombstone_ignored": 9,
    "tree_delta_forgotten": 2,
    "upload_completed_twice": 3,
    "upload_completed_with_old_parts": 5,
    "upload_not_remembered": 3,
    "used_tokens_forgotten": 0,
    "what_did_not_come_along_is_elsewhere": 0,
    "witnesses_asked_once": 3,
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
