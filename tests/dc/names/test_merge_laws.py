"""Merging is a join: order, repetition and grouping of records do not matter."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, tombstone, version

from dc.names.model import AccessKey, Bucket, Change, Tombstone, User, Version, bucket_id

BUCKETS = [bucket_id(OWNER, "one"), bucket_id(OWNER, "two")]


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Records with distinct stamps, few items, so that they collide."""
    count = draw(st.integers(1, 14))
    order = draw(st.permutations(range(count)))
    made: list[Change] = []
    for number in order:
        stamp = stamp_at(1_000 + number // 2, number % 2, draw(st.sampled_from([PARIS, TOKYO])))
        bucket = draw(st.sampled_from(BUCKETS))
        kind = draw(st.sampled_from("vvvttbuk"))
        key, vid = draw(st.sampled_from("ab")), draw(st.sampled_from(["", "c" * 32]))
        if kind == "v":
            made.append(version(bucket, key, stamp, vid))
        elif kind == "t":
            made.append(tombstone(bucket, key, stamp, vid))
        elif kind == "b":
            deleted = draw(st.sampled_from(["", stamp_at(1_003), stamp_at(1_009)]))
            name = "one" if bucket == BUCKETS[0] else "two"
            made.append(
                Bucket(
                    id=bucket, name=name, owner=OWNER, region="r", created=stamp, deleted=deleted
                )
            )
        elif kind == "u":
            gone = draw(st.booleans())
            made.append(User(id=key * 64, email=f"{number}@x", stamp=stamp, deleted=gone))
        else:
            made.append(AccessKey(id=key, user=OWNER, secret=stamp.encode(), stamp=stamp))
    return made


def model(made: list[Change]) -> dict[tuple[str, ...], str]:
    """item -> winning stamp, with "v" or "t" for what it is; of versions and tombstones."""
    state: dict[tuple[str, ...], str] = {}
    for change in made:
        if isinstance(change, Version | Tombstone):
            item = (change.bucket, change.key, change.vid)
            mark = change.stamp + ("v" if isinstance(change, Version) else "t")
            state[item] = max(state.get(item, ""), mark)
    return state


async def dump(names) -> tuple[dict, dict, list]:
    """The feed's whole content: versions and tombstones, registers, positions."""
    entries, _, _ = await names.feed(0, 10_000)
    state, registers = {}, {}
    for entry in entries:
        change = entry.change
        if isinstance(change, Version):
            state[change.bucket, change.key, change.vid] = change.stamp + "v"
            assert change == version(change.bucket, change.key, change.stamp, change.vid)
        elif isinstance(change, Tombstone):
            state[change.bucket, change.key, change.vid] = change.stamp + "t"
        else:
            registers[type(change).__name__, change.id] = change
    seqs = [entry.seq for entry in entries]
    assert len(seqs) == len(set(seqs)) == len(state) + len(registers), "one row per item"
    return state, registers, seqs


async def check(first: list[Change], second: list[list[Change]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two, three = (Path(folder) / f"{number}.db" for number in "123")
        async with opened(one) as a, opened(two, TOKYO) as b, opened(three, "3" * 16) as c:
            for change in first:
                await a.apply([change])
            for group in second:
                await b.apply(group)
            state, registers, _ = await dump(a)
            assert state == model(first)
            other, other_registers, _ = await dump(b)
            assert other == state

            # The two may still owe each other revived buckets; after an exchange they agree.
            for _ in range(2):
                await b.apply([entry.change for entry in (await a.feed(0, 10_000))[0]])
                await a.apply([entry.change for entry in (await b.feed(0, 10_000))[0]])
            assert (await dump(a))[:2] == (await dump(b))[:2]

            # What was read from the feed of one is the whole of it, and again changes nothing.
            end = a.feed_end
            await a.apply([entry.change for entry in (await b.feed(0, 10_000))[0]])
            assert a.feed_end == end
            await c.apply([entry.change for entry in (await a.feed(0, 10_000))[0]])
            copied, copied_registers, _ = await dump(c)
            state, registers, _ = await dump(a)
            assert (copied, copied_registers) == (state, registers)
            assert other_registers.keys() <= registers.keys()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_order_any_grouping_any_repetition_gives_one_state(data):
    made = data.draw(changes())
    again = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made)))))
    groups, rest = [], list(again)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        groups.append(rest[:size])
        rest = rest[size:]
    asyncio.run(check(made, groups))


async def test_reading_the_feed_by_pages_misses_nothing_while_it_changes(tmp_path: Path):
    async with opened(tmp_path / "n.db") as names:
        bucket = await names.create_bucket("photos", OWNER, "eu")
        seen: dict[str, str] = {}
        after = 0
        for turn in range(40):
            for number in range(7):
                key = f"k{(turn * 5 + number) % 23}"
                await names.put(version(bucket.id, key, names.clock.now()))
            entries, after, _ = await names.feed(after, 5)
            assert [entry.seq for entry in entries] == sorted({entry.seq for entry in entries})
            seen.update(
                (entry.change.key, entry.change.stamp)
                for entry in entries
                if isinstance(entry.change, Version)
            )
        while after < names.feed_end:
            entries, after, _ = await names.feed(after, 5)
            seen.update((entry.change.key, entry.change.stamp) for entry in entries)
        page = await names.list_objects(bucket.id)
        assert seen == {listed.key: listed.stamp for listed in page.objects}
