"""Whatever is where, and was deleted here: walking all pages of a merged listing gives exactly the
union less what was deleted here, in order, nothing twice."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gateway.merged_listing as merging
from dc.names.model import Change, Kind, Meta, Tombstone, Version
from dc.names.pages import Page
from dc.names.service import SqliteNames, open_names
from dc.stamps import version_id
from dc.system import SystemClock, SystemDatabases, SystemRandomness
from replicator import reading
from replicator.reading import Reading
from replicator.reading_server import ReadingServer

NAMES = ("here", "there", "far")
OWNER = "a" * 64
BEFORE, OLD, MIDDLE, NEW = (f"{1_790_000_000_000 + n:012x}0000{'e' * 16}" for n in range(4))
Where = list[tuple[str, str]]
"""(datacenter, what is done to a key there)."""
STATES: dict[str, tuple[Where, bool]] = {
    "here": ([("here", "old")], True),
    "there": ([("there", "old")], True),
    "far": ([("far", "new")], True),
    "there and far": ([("there", "old"), ("far", "new")], True),
    "an older one here": ([("here", "old"), ("there", "new")], True),
    "everywhere": ([("here", "old"), ("there", "old"), ("far", "old")], True),
    "deleted here": ([("there", "old"), ("here", "gone")], False),
    "both deleted here": ([("there", "old"), ("far", "old"), ("here", "gone")], False),
    "deleted before": ([("there", "new"), ("here", "gone")], True),
    "of two one deleted": ([("there", "old"), ("far", "new"), ("here", "gone")], True),
    "hidden by a marker": ([("there", "old"), ("here", "marker")], False),
    "a marker there": ([("there", "marker")], False),
    "a version deleted": ([("there", "version"), ("here", "version gone")], False),
    "a version, null deleted": ([("there", "version"), ("here", "gone")], True),
}
KEYS = st.text(st.sampled_from("ab/-é\U0010ffff"), min_size=1, max_size=4)
PREFIXES = st.sampled_from(["", "", "a", "a/", "/", "ab", "é"])
DELIMITERS = st.sampled_from(["", "/", "/", "a", "--", "b/", "\U0010ffff"])


def change(bucket: str, key: str, what: str) -> Change:
    if what == "gone":
        return Tombstone(bucket=bucket, key=key, vid="", stamp=MIDDLE)
    if what == "version gone":
        # A version id is never written again: its deletion counts, whatever its stamp.
        return Tombstone(bucket=bucket, key=key, vid=version_id(OLD), stamp=BEFORE)
    stamp = {"new": NEW, "marker": NEW}.get(what, OLD)
    kind = Kind.DELETE_MARKER if what == "marker" else Kind.OBJECT
    vid = version_id(stamp) if what in ("marker", "version") else ""
    return Version(bucket, key, vid, stamp, kind, 0, "d" * 32, Meta(), [])


def expected(keys: list[str], prefix: str, delimiter: str) -> list[str]:
    """What a listing shows: keys and common prefixes, in order."""
    found = set()
    for key in keys:
        if key.startswith(prefix):
            place = key.find(delimiter, len(prefix)) if delimiter else -1
            found.add(key if place < 0 else key[: place + len(delimiter)])
    return sorted(found)


class Three:
    """Name servers of three datacenters, and what reads from one the others' listings."""

    def __init__(self, opened: list[SqliteNames]) -> None:
        self.names = dict(zip(NAMES, opened, strict=True))
        self.count = 0
        self.pages: list[Page] = []
        home: Any = SimpleNamespace(names=self.names["here"])
        peers: Any = SimpleNamespace(links=lambda: [self.link(name) for name in NAMES[1:]])
        self.context: Any = SimpleNamespace(names=home.names, others=Reading(home, peers))

    def link(self, name: str) -> Any:
        home: Any = SimpleNamespace(names=self.names[name], sealer=None)
        server, asking = ReadingServer(home), SimpleNamespace(sealing_key=b"")

        async def call(route: str, body: bytes) -> bytes:
            answer: Any = await server.routes[route](body, asking)  # type: ignore[arg-type]
            return bytes(answer.body)

        peer = SimpleNamespace(name=name, dc_id=name)
        inbound, client = SimpleNamespace(connected=True), SimpleNamespace(call=call)
        return SimpleNamespace(peer=peer, inbound=inbound, client=client)

    async def fill(self, states: dict[str, str]) -> str:
        """A new bucket with this in it."""
        self.count += 1
        buckets = [
            await names.create_bucket(f"b{self.count}", OWNER, "eu")
            for names in self.names.values()
        ]
        bucket_id = buckets[0].id
        for name, names in self.names.items():
            changes = [
                change(bucket_id, key, what)
                for key, state in states.items()
                for where, what in STATES[state][0]
                if where == name
            ]
            if changes:
                await names.apply(changes)
        return bucket_id

    async def walk(self, span: merging.Span) -> list[str]:
        """What all pages show."""
        after, shown = "", []
        request: Any = SimpleNamespace(common="")
        for _ in range(200):
            page = await merging.merged_page(self.context, request, span, after)
            keys = sorted([*[one.key for one in page.objects], *page.prefixes])
            assert len(keys) <= span.limit
            assert all(after < key <= page.last for key in keys) or not page.truncated
            shown += keys
            if not page.truncated:
                return shown
            assert page.last > after
            after = page.last
        raise AssertionError("the pages never end")


@contextmanager
def three(root: Path) -> Iterator[tuple[asyncio.Runner, Three]]:
    with asyncio.Runner() as runner:

        async def opened() -> list[SqliteNames]:
            return [
                await open_names(
                    root / f"{name}.db",
                    databases=SystemDatabases(),
                    clock=SystemClock(),
                    randomness=SystemRandomness(),
                    dc_id=f"{number:016x}",
                )
                for number, name in enumerate(NAMES, 1)
            ]

        found = Three(runner.run(opened()))
        try:
            yield runner, found
        finally:
            for names in found.names.values():
                runner.run(names.close())


def test_all_pages_are_the_union_less_what_was_deleted_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "DOUBTFUL_MAX", 2)
    monkeypatch.setattr(reading, "LIST_KEYS_MAX", 2)
    with three(tmp_path) as (runner, found):

        @settings(max_examples=60, deadline=None)
        @given(
            st.dictionaries(KEYS, st.sampled_from(sorted(STATES)), max_size=12),
            st.lists(st.tuples(PREFIXES, DELIMITERS, st.integers(1, 5)), min_size=1, max_size=3),
        )
        def check(states: dict[str, str], asked: list[tuple[str, str, int]]) -> None:
            bucket_id = runner.run(found.fill(states))
            keys = [key for key, state in states.items() if STATES[state][1]]
            for prefix, delimiter, limit in asked:
                span = merging.Span(bucket_id, prefix, delimiter, limit)
                assert runner.run(found.walk(span)) == expected(keys, prefix, delimiter)

        check()


def test_a_page_ends_before_there_is_too_much_to_look_into(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(merging, "DOUBTFUL_MAX", 2)
    here = Page([], ["b/"], False, "")
    there = Page([], ["a/", "b/", "c/", "d/"], False, "")
    page, doubtful = merging.merge(here, {"there": there}, 10)
    assert (page.prefixes, page.truncated, page.last) == (["a/", "b/", "c/"], True, "c/")
    assert doubtful == {"a/": ["there"], "c/": ["there"]}
