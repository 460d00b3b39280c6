"""What a peer lacks of the feed, measured in the tables: the same as by the feed's entries."""

import sqlite3
from pathlib import Path

import msgspec
import pytest
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, tombstone, version

from dc.names import backlog
from dc.names.model import (
    AccessKey,
    Backlog,
    Bucket,
    Change,
    Conflict,
    Cursor,
    Extent,
    Inboxed,
    Peer,
    Register,
    Site,
    User,
    Version,
    bucket_id,
)
from dc.names.schema import migrate
from dc.names.service import SqliteNames
from dc.stamps import stamp_ms

BUCKET = bucket_id(OWNER, "one")
AUSTIN = "3333333333333333"
TOKYO_PEER = Peer(
    dc_id=TOKYO,
    name="tokyo",
    region="r",
    endpoints=["x:1"],
    fingerprint="f",
    signing_key=b"",
    sealing_key=b"",
    paired=stamp_at(1),
)


def sample() -> list[Change]:
    made = [
        version(BUCKET, f"{origin[0]}{number}", stamp_at(1_000 + number, 0, origin))
        for origin in (PARIS, TOKYO, AUSTIN)
        for number in range(5)
    ]
    acl = msgspec.structs.replace(
        version(BUCKET, "attributes", stamp_at(1_010, 0, TOKYO)),
        registers={"acl": Register(stamp_at(1_090, 0, PARIS), "x")},
    )
    lost = version(BUCKET, "lost", stamp_at(1_020, 0, TOKYO))
    return [
        *made,
        acl,
        tombstone(BUCKET, "gone", stamp_at(1_030, 0, TOKYO)),
        tombstone(BUCKET, "gone too", stamp_at(1_030, 1, PARIS)),
        Conflict(loser=lost, winner=stamp_at(1_040, 0, TOKYO)),
        Bucket(id=BUCKET, name="one", owner=OWNER, region="r", created=stamp_at(900, 0, TOKYO)),
        User(id=OWNER, email="a@x", stamp=stamp_at(901, 0, TOKYO)),
        AccessKey(id="K", user=OWNER, secret=b"s", stamp=stamp_at(902, 0, PARIS)),
        Site(dc_id=TOKYO, name="tokyo", region="r", stamp=stamp_at(903, 0, TOKYO)),
    ]


async def counted(names: SqliteNames, peer: str, after: int) -> tuple[int, int, int, int]:
    """The same by the feed itself: changes, bytes, the oldest, the position of the first."""
    entries, _, _ = await names.feed(after, 10_000)
    business = [one for one in entries if backlog.made_by(one.change) != peer]
    size, made = 0, []
    for change in (one.change for one in business):
        stamps = [change.stamp]
        if isinstance(change, Bucket | Version):
            stamps += [one.stamp for one in change.registers.values()]
        body = change.loser if isinstance(change, Conflict) else change
        size += body.size if isinstance(body, Version) else 0
        made.append(stamp_ms(max(stamps)))
    return len(business), size, min(made, default=0), business[0].seq if business else 0


@pytest.mark.parametrize("peer", [PARIS, TOKYO, AUSTIN])
async def test_it_is_what_the_feed_holds_for_the_peer(tmp_path: Path, peer: str) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.apply(sample())
        for after in range(names.feed_end + 1):
            found = await names.backlog(peer, after, 1_000)
            said = (found.changes, found.bytes, found.oldest_ms, found.first)
            assert said == await counted(names, peer, after)
            assert found.complete and found.looked == names.feed_end


async def test_a_stretch_at_a_time_adds_up(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.apply(sample())
        whole = await names.backlog(TOKYO, 0, 1_000)
        changes = size = looked = 0
        complete = False
        while not complete:
            part = await names.backlog(TOKYO, looked, 3)
            assert part.looked > looked or part.complete
            looked, complete = part.looked, part.complete
            changes, size = changes + part.changes, size + part.bytes
        assert (changes, size) == (whole.changes, whole.bytes)


async def test_single_positions(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.apply([version(BUCKET, key, stamp_at(2_000)) for key in ("a", "bb", "ccc")])
        one, two, three = [entry.seq for entry in (await names.feed(0, 9))[0]][:3]
        assert await names.backlog_at(TOKYO, [one, three, 999]) == Backlog(
            changes=2, bytes=4, oldest_ms=2_000, first=one
        )
        # What was overwritten has another position.
        await names.apply([version(BUCKET, "bb", stamp_at(2_001))])
        assert (await names.backlog_at(TOKYO, [two])).changes == 0


async def test_what_fails_is_found_behind_many_that_wait(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.add_peer(TOKYO_PEER)
        waiting = [Inboxed(peer=TOKYO, seq=seq, change=b"c") for seq in range(1, 200)]
        waiting += [Inboxed(peer=TOKYO, seq=s, change=b"c", error="bad") for s in (300, 400)]
        await names.apply([], peer=TOKYO, cursor=Cursor("e", 500), inbox=waiting)
        open_positions, failing, count = await names.inbox_open(TOKYO, 10, 1)
        assert open_positions == list(range(1, 11))
        assert failing == [(300, "bad")] and count == 2
        found = await names.inbox(TOKYO, failing=True)
        assert [one.seq for one in found] == [300, 400]


async def test_a_change_that_is_fetched_again_keeps_what_is_here_of_its_body(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "names.db") as names:
        await names.add_peer(TOKYO_PEER)
        extents = [(0, Extent(1, 0, 10)), (10, Extent(1, 10, 10))]
        entry = Inboxed(peer=TOKYO, seq=7, change=b"c", next_try_ms=9_000, attempts=3, error="bad")
        await names.apply([], peer=TOKYO, inbox=[entry])
        await names.inbox_update([msgspec.structs.replace(entry, extents=extents)])
        again = Inboxed(peer=TOKYO, seq=7, change=b"c", next_try_ms=5_000, restoring=True)
        await names.apply([], peer=TOKYO, inbox=[again])
        [found] = await names.inbox(TOKYO)
        assert found == msgspec.structs.replace(again, extents=extents, attempts=3, error="bad")
        # Of another change nothing is here.
        other = Inboxed(peer=TOKYO, seq=7, change=b"other")
        await names.apply([], peer=TOKYO, inbox=[other])
        [found] = await names.inbox(TOKYO)
        assert found == msgspec.structs.replace(other, restoring=True)


@pytest.mark.parametrize(
    ("statement", "given"), [(backlog.STRETCH, (1, 2)), (backlog.POSITIONS, ("[1]",))]
)
def test_it_reads_the_stretch_alone(statement: str, given: tuple[object, ...]) -> None:
    db = sqlite3.connect(":memory:")
    migrate(db)
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}", given)]
    db.close()
    assert any("SEARCH feed USING INTEGER PRIMARY KEY" in step for step in plan)
    for table in ("v", "t", "c"):
        (step,) = [step for step in plan if step.startswith(f"SEARCH {table} ")]
        assert "bucket=? AND key=?" in step
