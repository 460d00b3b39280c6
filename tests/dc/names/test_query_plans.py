"""What a statement costs depends on what it touches, not on how much there is."""

import sqlite3

import pytest

from dc.names import feed, listing, merge, reader
from dc.names.schema import BATCH, migrate

STATEMENTS = {
    "losers": (merge._DROP_LOSERS, 0),
    "unfeed versions": (merge._UNFEED_VERSIONS, 0),
    "unfeed tombstones": (merge._UNFEED_TOMBSTONES, 0),
    "drop tombstones": (merge._DROP_TOMBSTONES, 0),
    "drop versions": (merge._DROP_VERSIONS, 0),
    "current": (reader._CURRENT, 1),
    "known": (reader._KNOWN, 1),
    "page": (listing._COLUMNS, 4),
    "page of versions": (listing._NEWEST_OF_EACH, 4),
    "walk": (listing._WALK, 7),
    "feed versions": (feed._VERSIONS, 2),
    "feed tombstones": (feed._TOMBSTONES, 2),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_reads_a_whole_bucket_or_table(name):
    statement, count = STATEMENTS[name]
    db = sqlite3.connect(":memory:")
    migrate(db)
    db.executescript(BATCH)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", (1,) * count)]
    db.close()
    large = ("versions", " v", "tombstones", " t", "feed", " f", "old")
    assert not [step for step in plan if step.startswith("SCAN") and step.endswith(large)]
    assert not [step for step in plan if step.endswith("(bucket=?)")], "the whole bucket is read"
    assert any("SEARCH" in step for step in plan)
