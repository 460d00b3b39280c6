"""Listings equal a model at every page size."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from names_kit import OWNER, opened, stamp_at, version

from dc.names.listing import after_all
from dc.names.model import Kind

TOP = chr(0x10FFFF)
letters = st.sampled_from(
    ["a", "b", "/", "//", "-", "\u00e9", "\ud7ff", "\ue000", TOP, "\x01", '"']
)
keys = st.lists(st.lists(letters, min_size=1, max_size=5).map("".join), max_size=25, unique=True)


def expected(keys, prefix, delimiter, after, limit):
    """Straight from the rule: keys in code point order, rolled up, after `after`, cut at limit."""
    items = []
    for key in sorted(keys):
        if not key.startswith(prefix):
            continue
        place = key.find(delimiter, len(prefix)) if delimiter else -1
        item = ("p", key[: place + len(delimiter)]) if place >= 0 else ("k", key)
        if item[1] <= after or (item[0] == "p" and after.startswith(item[1])):
            continue
        if not items or items[-1] != item:
            items.append(item)
    return items[:limit], len(items) > limit


async def check(found, prefix, delimiter, after, limit, markers):
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder) / "n.db") as names:
            bucket = await names.create_bucket("photos", OWNER, "eu")
            changes = []
            for number, key in enumerate(found):
                changes.append(version(bucket.id, key, stamp_at(1_000 + number)))
                if number % 3 == 0:
                    changes.append(version(bucket.id, key, stamp_at(500), f"{number:032x}"))
            for key in markers:
                marker = version(bucket.id, key, stamp_at(9_999), "0" * 32, Kind.DELETE_MARKER)
                changes.append(marker)
            await names.apply(changes)
            live = [key for key in found if key not in markers]
            while True:
                page = await names.list_objects(
                    bucket.id, prefix=prefix, delimiter=delimiter, after=after, limit=limit
                )
                items, truncated = expected(live, prefix, delimiter, after, limit)
                assert [listed.key for listed in page.objects] == [k for t, k in items if t == "k"]
                assert page.prefixes == [k for t, k in items if t == "p"]
                assert page.truncated == truncated
                if not truncated:
                    return
                assert page.last == items[-1][1]
                after = page.last


@settings(max_examples=120, deadline=None)
@given(
    keys,
    st.sampled_from(["", "a", "a/", "b//", TOP, "\u00e9"]),
    st.sampled_from(["", "/", "//", "-", "a", TOP]),
    st.one_of(st.just(""), keys.map(lambda some: some[0] if some else "")),
    st.integers(1, 7),
    st.data(),
)
def test_pages_equal_the_model(found, prefix, delimiter, after, limit, data):
    markers = data.draw(st.lists(st.sampled_from(found), unique=True)) if found else []
    asyncio.run(check(found, prefix, delimiter, after, limit, markers))


async def test_checksums_are_listed_when_there_are_any(tmp_path: Path):
    from dc.names.model import Meta

    async with opened(tmp_path / "n.db") as names:
        bucket = await names.create_bucket("photos", OWNER, "eu")
        await names.put(version(bucket.id, "a", names.clock.now()))
        meta = Meta(checksums={"crc32": "AAAAAA=="}, checksum_type="FULL_OBJECT")
        await names.put(version(bucket.id, "b", names.clock.now(), meta=meta))
        for delimiter in ("", "/"):
            page = await names.list_objects(bucket.id, delimiter=delimiter)
            assert [(item.checksums, item.checksum_type) for item in page.objects] == [
                ({}, ""),
                ({"crc32": "AAAAAA=="}, "FULL_OBJECT"),
            ]


async def test_limit_zero_is_an_empty_page(tmp_path: Path):
    async with opened(tmp_path / "n.db") as names:
        bucket = await names.create_bucket("photos", OWNER, "eu")
        await names.put(version(bucket.id, "a", names.clock.now()))
        page = await names.list_objects(bucket.id, limit=0)
        assert (page.objects, page.prefixes, page.truncated) == ([], [], False)


@given(st.text(max_size=4), st.text(max_size=4))
@example("\ud7ff", "\ud7ff\ue000")
@example(TOP, TOP)
def test_after_all_is_the_least_bound(prefix, other):
    bound = after_all(prefix)
    if other.startswith(prefix):
        assert not bound or other < bound
    elif bound and other >= prefix:
        assert other >= bound
