"""Listings of versions against a model: every order of writes, every size of page."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from names_kit import OWNER, FixedClock, opened, tombstone, version

from dc.names.model import Kind
from dc.names.pages import ListedVersion
from dc.stamps import version_id

KEYS = st.sampled_from(["a", "a/", "a/b", "a/c", "a/c/d", "b", "b/x", "c", "\U0001f600/z"])
WRITES = st.lists(
    st.tuples(KEYS, st.sampled_from(["id", "null", "marker", "nullmarker", "gone"])), max_size=30
)


def _model(there, prefix, delimiter):
    """What a whole listing shows: versions newest first by key, and common prefixes."""
    shown, seen = [], set()
    for key in sorted({key for key, _ in there}):
        if not key.startswith(prefix):
            continue
        place = key.find(delimiter, len(prefix)) if delimiter else -1
        if place >= 0:
            common = key[: place + len(delimiter)]
            if common not in seen:
                seen.add(common)
                shown.append(common)
            continue
        rows = [(stamp, vid, kind) for (k, vid), (stamp, kind) in there.items() if k == key]
        for place, (stamp, vid, kind) in enumerate(sorted(rows, reverse=True)):
            shown.append((key, vid, stamp, kind, place == 0))
    return shown


def _shown(page):
    rows = [(v.key, (v.key, v.vid, v.stamp, v.kind, v.latest)) for v in page.versions]
    rows += [(prefix, prefix) for prefix in page.prefixes]
    rows.sort(key=lambda row: row[0])
    return [row[1] for row in rows]


async def _write(names, bucket, writes):
    there = {}
    for key, what in writes:
        stamp = names.clock.now()
        vid = "" if what.startswith("null") else version_id(stamp)
        kind = Kind.DELETE_MARKER if what.endswith("marker") else Kind.OBJECT
        if what == "gone":
            vid = min((v for k, v in there if k == key), default=None)
            if vid is not None:
                await names.delete([tombstone(bucket, key, stamp, vid)])
                del there[key, vid]
            continue
        await names.put(version(bucket, key, stamp, vid, kind))
        there[key, vid] = (stamp, kind)
    return there


async def _pages(names, bucket, prefix, delimiter, limit):
    found, after = [], ("", None)
    while True:
        page = await names.list_versions(
            bucket, prefix=prefix, delimiter=delimiter, after=after, limit=limit
        )
        assert len(page.versions) + len(page.prefixes) <= limit
        found += _shown(page)
        if not page.truncated:
            return found
        after = page.last_key, page.last_vid


@given(
    writes=WRITES,
    prefix=st.sampled_from(["", "a", "a/", "b", "zz"]),
    delimiter=st.sampled_from(["", "/", "a/"]),
)
@settings(max_examples=25, deadline=None)
def test_pages_of_any_size_make_up_the_whole(tmp_path_factory, writes, prefix, delimiter):
    async def go():
        path = tmp_path_factory.mktemp("versions") / "names.db"
        async with opened(path, clock=FixedClock()) as names:
            bucket = (await names.create_bucket("photos", OWNER, "eu")).id
            there = await _write(names, bucket, writes)
            whole = _model(there, prefix, delimiter)
            for limit in (1, 2, 3, len(whole) + 1, 1000):
                assert await _pages(names, bucket, prefix, delimiter, limit) == whole

    asyncio.run(go())


@pytest.fixture
async def names(tmp_path):
    async with opened(tmp_path / "names.db", clock=FixedClock()) as found:
        yield found


async def test_a_page_begins_after_a_key_or_after_a_version_of_it(names):
    bucket = (await names.create_bucket("photos", OWNER, "eu")).id
    await _write(names, bucket, [("a", "id"), ("a", "null"), ("a", "id"), ("b", "id")])
    page = await names.list_versions(bucket)
    newest, null, oldest, _ = page.versions
    assert [one.vid for one in page.versions[:3]] == [newest.vid, "", oldest.vid]
    assert [one.latest for one in page.versions] == [True, False, False, True]

    async def after(key, vid):
        found = (await names.list_versions(bucket, after=(key, vid))).versions
        return [(one.key, one.vid, one.latest) for one in found]

    rest = [("b", page.versions[3].vid, True)]
    assert await after("a", None) == rest
    assert await after("a", newest.vid) == [("a", "", False), ("a", oldest.vid, False), *rest]
    assert await after("a", "") == [("a", oldest.vid, False), *rest]
    assert await after("a", version_id(null.stamp)) == [("a", oldest.vid, False), *rest]
    assert await after("a", oldest.vid) == rest


async def test_after_a_version_that_is_gone_the_older_ones_follow(names):
    bucket = (await names.create_bucket("photos", OWNER, "eu")).id
    await _write(names, bucket, [("a", "id"), ("a", "null"), ("a", "id")])
    newest, null, oldest = (await names.list_versions(bucket)).versions
    for gone in (newest, null):
        await names.delete([tombstone(bucket, "a", names.clock.now(), gone.vid)])
    for marker in (newest.vid, version_id(null.stamp)):
        page = await names.list_versions(bucket, after=("a", marker))
        assert page.versions == [oldest_now(oldest)]
    # Nobody knows where that null version stood: rather twice than not at all.
    assert (await names.list_versions(bucket, after=("a", ""))).versions == [oldest_now(oldest)]


def oldest_now(oldest: ListedVersion) -> ListedVersion:
    return ListedVersion(
        oldest.key, oldest.vid, oldest.stamp, oldest.kind, oldest.size, oldest.etag, latest=True
    )


async def test_common_prefixes_are_passed_by_in_one_step(names):
    bucket = (await names.create_bucket("photos", OWNER, "eu")).id
    for folder in ("a", "b"):
        await _write(names, bucket, [(f"{folder}/{number:03d}", "id") for number in range(200)])
    await _write(names, bucket, [("c", "id")])
    page = await names.list_versions(bucket, delimiter="/")
    assert page.prefixes == ["a/", "b/"]
    assert [one.key for one in page.versions] == ["c"]
