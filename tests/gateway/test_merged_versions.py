"""Whatever is where, and was deleted here: walking all pages of a merged listing of versions gives
exactly the union less what was deleted here, in order, nothing twice."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_merged_listing import DELIMITERS, KEYS, NAMES, PREFIXES, Three, expected, three

import gateway.merged_listing as merging
from dc.names.model import Change, Kind, Meta, Tombstone, Version
from dc.stamps import version_id
from gateway.merged_versions import merged_versions
from replicator import reading

WRITES = 4


class Write(NamedTuple):
    """One of a key: what, where it is, and whether it was deleted here."""

    kind: str
    where: frozenset[str]
    gone: bool


def write(kind: str, *where: str) -> Write:
    return Write(kind, frozenset(where), False)


WRITTEN = st.builds(
    Write,
    st.sampled_from(["version", "version", "null", "marker"]),
    st.frozensets(st.sampled_from(NAMES), min_size=1),
    st.booleans(),
)
Key = list[Write]


def stamp(number: int) -> str:
    return f"{1_790_000_000_000 + number:012x}0000{'e' * 16}"


def shown(key: Key) -> list[tuple[int, bool]]:
    """The numbers of the writes that a listing shows, newest first, and which is the latest."""
    numbered = list(enumerate(key))
    nulls = [(n, one) for n, one in numbered if one.kind == "null"]
    here = {n for n, one in numbered if one.kind != "null" and "here" in one.where and not one.gone}
    others = {n for n, one in numbered if one.kind != "null" and not one.gone} - here
    deleted = max((n for n, one in nulls if one.gone), default=-1)
    own = [n for n, one in nulls if "here" in one.where and n > deleted]
    if own:
        here.add(max(own))
    else:
        # Each of the others has the latest that was written there.
        told = [n for n, one in nulls if one.where & {"there", "far"} and n > deleted]
        others |= {max(told)} if told else set()
    latest = max(here or others, default=-1)
    return [(n, n == latest) for n in sorted(here | others, reverse=True)]


def newest_is_gone(key: Key) -> bool:
    """Whether a page may begin behind what others have and was deleted here: then it is not known
    that nothing of the key was shown before."""
    return any(one.gone and one.where & {"there", "far"} for one in key)


def changes(bucket_id: str, name: str, key: str, writes: Key) -> list[Change]:
    """What was done to a key in a datacenter."""
    found: list[Change] = []
    for number, one in enumerate(writes):
        at = stamp(number)
        vid = "" if one.kind == "null" else version_id(at)
        kind = Kind.DELETE_MARKER if one.kind == "marker" else Kind.OBJECT
        etag = "" if one.kind == "marker" else "d" * 32
        if name == "here" and one.gone:
            found.append(Tombstone(bucket=bucket_id, key=key, vid=vid, stamp=at))
        elif name in one.where:
            found.append(Version(bucket_id, key, vid, at, kind, 0, etag, Meta(), []))
    return found


async def fill(three: Three, keys: dict[str, Key]) -> str:
    """A new bucket with these keys."""
    bucket_id = await three.fill({})
    for name, names in three.names.items():
        told = [
            one for key, writes in keys.items() for one in changes(bucket_id, name, key, writes)
        ]
        if told:
            await names.apply(told)
    return bucket_id


async def walk(three: Three, span: merging.Span) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """Versions and common prefixes of all pages."""
    after: tuple[str, str | None] = ("", None)
    versions, prefixes = [], []
    request: Any = SimpleNamespace(common="")
    for _ in range(300):
        page = await merged_versions(three.context, request, span, after)
        assert len(page.versions) + len(page.prefixes) <= span.limit
        versions += [(one.key, one.stamp, one.latest) for one in page.versions]
        prefixes += page.prefixes
        if not page.truncated:
            return versions, prefixes
        last = (page.last_key, page.last_vid or "")
        assert last > (after[0], after[1] or "")
        after = page.last_key, page.last_vid
    raise AssertionError("the pages never end")


def test_all_pages_of_versions_are_the_union_less_what_was_deleted_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "DOUBTFUL_MAX", 2)
    monkeypatch.setattr(reading, "LIST_KEYS_MAX", 2)
    with three(tmp_path) as (runner, found):

        @settings(max_examples=80, deadline=None)
        @given(
            st.dictionaries(KEYS, st.lists(WRITTEN, min_size=1, max_size=WRITES), max_size=8),
            st.lists(st.tuples(PREFIXES, DELIMITERS, st.integers(1, 5)), min_size=1, max_size=3),
        )
        @example({"a": [write("version", "there")] * 2}, [("", "", 1)])
        @example({"a": [write("version", "here"), write("version", "far")]}, [("", "", 1)])
        @example({"a": [write("null", "there"), write("null", "far")]}, [("", "", 1)])
        @example({"a": [write("null", "here"), write("null", "far")]}, [("", "", 1)])
        @example({"a": [write("null", "there", "far"), write("null", "far")] * 2}, [("", "", 1)])
        @example(
            {"a": [write("null", "there"), write("version", "far"), write("null", "far")]},
            [("", "", 1)],
        )
        @example({"a/b": [write("marker", "there")], "b": []}, [("", "/", 1)])
        def check(keys: dict[str, Key], asked: list[tuple[str, str, int]]) -> None:
            bucket_id = runner.run(fill(found, keys))
            whole = {key: shown(writes) for key, writes in keys.items()}
            for prefix, delimiter, limit in asked:
                places = expected([key for key in whole if whole[key]], prefix, delimiter)
                span = merging.Span(bucket_id, prefix, delimiter, limit)
                versions, prefixes = runner.run(walk(found, span))
                alone = [one for one in places if one not in prefixes]
                wanted = [
                    (key, stamp(number), latest) for key in alone for number, latest in whole[key]
                ]
                assert [one[:2] for one in versions] == [one[:2] for one in wanted]
                for one, want in zip(versions, wanted, strict=True):
                    assert one == want or (not one[2] and newest_is_gone(keys[one[0]]))
                assert sorted([*alone, *prefixes]) == places

        check()
