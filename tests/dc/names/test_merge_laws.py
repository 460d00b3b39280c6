"""Merging is a join: order, repetition and grouping of records do not matter."""

import asyncio
import tempfile
from pathlib import Path

import msgspec
from dcs_kit import assert_trees, state
from hypothesis import given, settings
from hypothesis import strategies as st
from names_kit import OWNER, PARIS, TOKYO, opened, stamp_at, tombstone, version

from dc.names.model import (
    AccessKey,
    Bucket,
    Change,
    Conflict,
    Kind,
    Register,
    Site,
    Tombstone,
    User,
    Version,
    bucket_id,
)
from dc.names.service import SqliteNames
from dc.notary import NOTARY

BUCKETS = [bucket_id(OWNER, "one"), bucket_id(OWNER, "two")]
STAMPS = st.builds(
    stamp_at, st.integers(1_000, 1_008), st.integers(0, 1), st.sampled_from([PARIS, TOKYO])
)
SEEN = st.one_of(st.just(""), STAMPS)
REGISTERS = st.dictionaries(
    st.sampled_from(["acl", "tags"]),
    st.builds(lambda stamp: Register(stamp, stamp), STAMPS),
    max_size=2,
)


@st.composite
def written(draw: st.DrawFn, stamp: str) -> Version | Tombstone | Conflict:
    """A version, a tombstone or a conflict of one of a few items."""
    bucket = draw(st.sampled_from(BUCKETS))
    key, vid = draw(st.sampled_from("ab")), draw(st.sampled_from(["", "", "c" * 32]))
    seen = "" if vid else draw(SEEN)
    what = draw(st.sampled_from("vvvmttc"))
    if what == "t":
        seen = draw(st.sampled_from([seen, "-"]))
        return msgspec.structs.replace(tombstone(bucket, key, stamp, vid), seen=seen)
    kind = Kind.DELETE_MARKER if what == "m" else Kind.OBJECT
    made = version(bucket, key, stamp, vid, kind)
    registers = draw(REGISTERS)
    if draw(st.booleans()):
        at = draw(st.sampled_from([stamp, stamp, draw(STAMPS)]))
        registers[NOTARY] = Register(at, draw(st.sampled_from(["aa" * 32, "bb" * 32, "-", ""])))
    made = msgspec.structs.replace(made, seen=seen, registers=registers)
    if what == "c":
        gone = draw(st.booleans())
        return Conflict(loser=made, winner=max(stamp, draw(STAMPS)), gone=gone)
    return made


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Records with distinct stamps, few items, so that they collide; some of them again, with
    other registers."""
    count = draw(st.integers(1, 14))
    made: list[Change] = []
    for number in draw(st.permutations(range(count))):
        stamp = stamp_at(1_000 + number // 2, number % 2, draw(st.sampled_from([PARIS, TOKYO])))
        kind = draw(st.sampled_from("wwwwbuks"))
        key = draw(st.sampled_from("ab"))
        if kind == "w":
            made.append(draw(written(stamp)))
            if isinstance(made[-1], Version) and draw(st.booleans()):
                made.append(msgspec.structs.replace(made[-1], registers=draw(REGISTERS)))
        elif kind == "b":
            bucket = draw(st.sampled_from(BUCKETS))
            made.append(
                Bucket(
                    id=bucket,
                    name="one" if bucket == BUCKETS[0] else "two",
                    owner=OWNER,
                    region=key,
                    created=stamp,
                    deleted=draw(st.one_of(st.just(""), STAMPS)),
                    revived=draw(st.one_of(st.just(""), STAMPS)),
                    registers=draw(REGISTERS),
                )
            )
        elif kind == "u":
            gone = draw(st.booleans())
            made.append(User(id=key * 64, email=f"{number}@x", stamp=stamp, deleted=gone))
        elif kind == "k":
            gone = draw(st.booleans())
            secret = b"" if gone else stamp.encode()
            made.append(AccessKey(id=key, user=OWNER, secret=secret, stamp=stamp, deleted=gone))
        else:
            made.append(Site(dc_id=PARIS, name=key, region="", stamp=stamp))
    return made


def model(made: list[Change]) -> dict[tuple[str, ...], str]:
    """item -> stamp and kind of what must be there; of versions and tombstones."""
    result: dict[tuple[str, ...], tuple[bool, str, str]] = {}
    for change in made:
        if isinstance(change, Version | Tombstone):
            item = ("item", change.bucket, change.key, change.vid)
            gone = isinstance(change, Tombstone)
            # Of a version with an id the tombstone counts, whatever the stamps say.
            mark = (gone and bool(change.vid), change.stamp, "t" if gone else "v")
            result[item] = max(result.get(item, mark), mark)
    return {item: mark[1] + mark[2] for item, mark in result.items()}


def check_model(found: dict[tuple[str, ...], object], made: list[Change]) -> None:
    items = {item: one for item, one in found.items() if item[0] == "item"}
    kinds = {item: "t" if isinstance(one, Tombstone) else "v" for item, one in items.items()}
    assert {item: one.stamp + kinds[item] for item, one in items.items()} == model(made)
    gone: dict[str, bool] = {}
    for one in made:
        if isinstance(one, User | AccessKey):
            gone[one.id] = gone.get(one.id, False) or one.deleted
    for one in found.values():
        if isinstance(one, User | AccessKey):
            assert one.deleted == gone[one.id], "deleted anywhere is deleted"
        if isinstance(one, Bucket):
            assert all(register.stamp >= one.created for register in one.registers.values())


async def feed(names: SqliteNames) -> list[Change]:
    return [entry.change for entry in (await names.feed(0, 10_000))[0]]


async def check(first: list[Change], second: list[list[Change]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, two, three = (Path(folder) / f"{number}.db" for number in "123")
        async with opened(one) as a, opened(two, TOKYO) as b, opened(three, "3" * 16) as c:
            for change in first:
                await a.apply([change])
            for group in second:
                await b.apply(group)
            check_model(await state(a), first)
            check_model(await state(b), first)

            # They may still owe each other conflicts and revived buckets.
            for _ in range(2):
                await b.apply(await feed(a))
                await a.apply(await feed(b))
            assert await state(a) == await state(b)
            assert a.roots() == b.roots()

            # What was read from the feed of one is the whole of it, and again changes nothing.
            ends = a.feed_end, b.feed_end
            await a.apply(await feed(b))
            await b.apply(await feed(a))
            assert (a.feed_end, b.feed_end) == ends
            for change in reversed(await feed(a)):
                await c.apply([change])
            assert await state(c) == await state(a)
            assert c.roots() == a.roots()
            for names in (a, b, c):
                await assert_trees(names)


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
