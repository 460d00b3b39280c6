"""What a statement costs depends on what it touches, not on how much there is."""

import sqlite3

import pytest

from dc.names import (
    applying,
    elsewhere,
    feed,
    guards,
    inventory,
    listing,
    merge,
    places,
    reader,
    rows,
    upkeep,
    version_listing,
)
from dc.names.kinds import CONFLICT
from dc.names.schema import migrate

STATEMENTS = {
    "what is there": (merge._WHAT_IS_THERE, 1),
    "unfeed": (merge._UNFEED, 1),
    "drop null versions": (merge._DROP_NULL.format(table="versions"), 2),
    "drop null tombstones": (merge._DROP_NULL.format(table="tombstones"), 2),
    "version": (rows._READ, 3),
    "collectable": (upkeep._COLLECTABLE, 3),
    "current": (reader._CURRENT, 1),
    "known": (applying._KNOWN, 1),
    "page": (listing._COLUMNS, 4),
    "page of versions": (listing._NEWEST_OF_EACH, 4),
    "walk": (listing._WALK, 7),
    "page of all versions": (version_listing._ROWS, 5),
    "newest": (version_listing._NEWEST, 2),
    "what a condition is about": (guards._THERE, 1),
    "absent versions": (elsewhere._PAGES[0], 5),
    "absent conflicts": (elsewhere._PAGES[CONFLICT], 5),
    "absent ones of a prefix": (elsewhere._COUNT_SOME, 3),
    "absent ones by bucket": (elsewhere._BY_BUCKET, 0),
    "feed versions": (feed._VERSIONS, 2),
    "feed tombstones": (feed._TOMBSTONES, 2),
    "feed conflicts": (feed._CONFLICTS, 2),
    "count versions": (inventory._PAGES[inventory.VERSIONS], 4),
    "count conflicts": (inventory._PAGES[inventory.CONFLICTS], 4),
    "move a version": (places._MOVE[inventory.VERSIONS], 1),
    "move a conflict": (places._MOVE[inventory.CONFLICTS], 1),
    "move a part": (places._MOVE[inventory.PARTS], 1),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_whole_bucket_or_table(name):
    statement, count = STATEMENTS[name]
    db = sqlite3.connect(":memory:")
    migrate(db)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * count)]
    db.close()
    large = ("versions", " v", "tombstones", " t", "feed", " f", " o", "old", " c")
    assert not [step for step in plan if step.startswith("SCAN") and step.endswith(large)]
    assert not [step for step in plan if step.endswith("(bucket=?)")], "the whole bucket is read"
    assert any("SEARCH" in step for step in plan)
