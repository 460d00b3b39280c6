"""Listings of a bucket that is read through, over real gateways."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from gateway_kit import House
from msgspec.structs import replace
from paired_kit import house_of
from through_kit import UNASKED, put, world

from gateway import merged_listing
from replicator import reading
from replicator import reading_wire as shapes
from replicator.messages import decode_body

MERGED, NOT_MERGED = "x-farshore-merged", "x-farshore-not-merged"


def _walk(house: House, version: str, **asked: object) -> tuple[list[str], list[str]]:
    """Keys and common prefixes of all pages, as boto3 pages them."""
    pages = house.boto().get_paginator(version).paginate(Bucket="photos", **asked)
    keys, prefixes = [], []
    for page in pages:
        keys += [one["Key"] for one in page.get("Contents", ())]
        prefixes += [one["Prefix"] for one in page.get("CommonPrefixes", ())]
    return keys, prefixes


async def test_listings_show_what_others_have(tmp_path: Path) -> None:
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        paris, tokyo, oslo = (one.houses[name] for name in ("paris", "tokyo", "oslo"))
        for key in ("gone/1", "gone/2", "gone", "old", "kept/1"):
            await put(paris, key)
        await one.settled()
        for gate in one.gates.values():
            gate.shut()
        for key in ("gone/1", "gone/2", "gone"):
            assert (await tokyo.ask("DELETE", f"/photos/{key}")).status == 204
        for house, keys in (
            (paris, ("a/1", "a/2", "b", "z%20z", "old")),
            (oslo, ("a/3", "c/1", "b")),
            (tokyo, ("a/0", "d")),
        ):
            for key in keys:
                await put(house, key, b"12345")
        wanted = ["a/0", "a/1", "a/2", "a/3", "b", "c/1", "d", "kept/1", "old", "z z"]
        whole = await tokyo.ask("GET", "/photos?list-type=2")
        assert whole.texts("Key") == wanted
        assert whole.headers[MERGED] == "oslo, paris" and NOT_MERGED not in whole.headers
        assert whole.texts("Size")[1] == "5"
        for version in ("list_objects_v2", "list_objects"):
            for size in (1, 3, 1000):
                paged = {"PaginationConfig": {"PageSize": size}}
                found = await asyncio.to_thread(_walk, tokyo, version, **paged)
                assert found == (wanted, [])
                found = await asyncio.to_thread(_walk, tokyo, version, **paged, Delimiter="/")
                assert found == (["b", "d", "old", "z z"], ["a/", "c/", "kept/"])
                found = await asyncio.to_thread(_walk, tokyo, version, **paged, Prefix="a/")
                assert found == (["a/0", "a/1", "a/2", "a/3"], [])
        # All of it can be read.
        for key in ("a/3", "c/1", "z%20z"):
            assert (await tokyo.ask("GET", f"/photos/{key}")).status == 200
        # Every page of an answer that is empty says where to go on.
        first = await tokyo.ask("GET", "/photos?prefix=gone&max-keys=1")
        assert first.texts("Key") == [] and first.texts("IsTruncated") == ["false"]
        versions = await tokyo.ask("GET", "/photos?versions")
        assert (versions.texts("Key"), versions.texts("VersionId")) == (wanted, ["null"] * 10)
        assert versions.headers[MERGED] == "oslo, paris" and NOT_MERGED not in versions.headers
        none = await tokyo.ask("GET", "/photos?list-type=2&max-keys=0")
        assert none.texts("Key") == []
        names = one.dcs["tokyo"].names
        await names.set_bucket_registers(one.bucket.id, {"read-through": ""})
        off = await tokyo.ask("GET", "/photos?list-type=2")
        assert off.texts("Key") == ["a/0", "d", "kept/1", "old"] and MERGED not in off.headers


async def test_an_empty_page_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_listing, "_ROUNDS_MAX", 1)
    async with world(tmp_path) as one:
        paris, tokyo = one.houses["paris"], one.houses["tokyo"]
        for key in ("a", "b", "c"):
            await put(paris, key)
        await one.settled()
        one.gates["paris"].shut()
        for key in ("a", "b"):
            await tokyo.ask("DELETE", f"/photos/{key}")
        page = await tokyo.ask("GET", "/photos?max-keys=1")
        assert (page.texts("Key"), page.texts("NextMarker")) == ([], ["a"])
        for version in ("list_objects_v2", "list_objects"):
            paged = {"PaginationConfig": {"PageSize": 1}}
            assert await asyncio.to_thread(_walk, tokyo, version, **paged) == (["c"], [])


async def test_empty_pages_are_not_passed_over_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not answer is waited for in each of them."""
    monkeypatch.setattr(reading, "READ_NAMES_SECONDS", 0.3)
    monkeypatch.setattr(merged_listing, "_ROUNDS_S", 0.2)
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        keys = ("a", "b", "c")
        for key in keys:
            await put(one.houses["paris"], key)
        await one.settled()
        for gate in one.gates.values():
            gate.shut()
        for key in keys:
            await one.houses["tokyo"].ask("DELETE", f"/photos/{key}")

        async def never(_: web.BaseRequest) -> web.StreamResponse:
            await asyncio.sleep(60)
            return web.Response()

        for route, path, where in (
            ("list", "/photos?max-keys=1", "NextMarker"),
            ("versions", "/photos?versions&max-keys=1", "NextKeyMarker"),
        ):
            one.answer("oslo", route, never)
            page = await one.houses["tokyo"].ask("GET", path)
            assert (page.texts("Key"), page.texts(where)) == ([], ["a"])


async def test_it_is_said_who_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "READ_NAMES_SECONDS", 0.3)
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        for gate in one.gates.values():
            gate.shut()
        await put(one.houses["paris"], "k")
        await put(one.houses["oslo"], "o")

        async def never(_: web.BaseRequest) -> web.StreamResponse:
            await asyncio.sleep(60)
            return web.Response()

        one.answer("oslo", "list", never)
        answer = await one.houses["tokyo"].ask("GET", "/photos?list-type=2")
        assert answer.texts("Key") == ["k"]
        assert (answer.headers[MERGED], answer.headers[NOT_MERGED]) == ("paris", "oslo")


async def test_who_may_not_list_asks_nobody(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        asked = []

        async def count(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request.path)
            return web.Response(status=500)

        one.answer("paris", "list", count)
        for user in (None, "bob"):
            answer = await one.houses["tokyo"].ask("GET", "/photos?list-type=2", user=user)
            assert (answer.status, asked) == (403, [])
        others = one.dcs["tokyo"].replicator.others
        others._asked._most = 0
        answer = await one.houses["tokyo"].ask("GET", "/photos?list-type=2")
        assert (answer.status, answer.code, asked) == (503, "SlowDown", [])


Forge = Callable[[shapes.Listing], shapes.Listing]


def _rows(**other: object) -> Forge:
    return lambda one: replace(one, rows=[replace(row, **other) for row in one.rows])


FORGED: dict[str, Forge] = {
    "a key outside the prefix": _rows(key="x"),
    "a key before the page": _rows(key="p/"),
    "a key with a line": _rows(key="p/\0"),
    "a key too long": _rows(key="p/" + "x" * 1024),
    "no stamp": _rows(stamp="x" * 32),
    "XML in the ETag": _rows(etag="<x/>"),
    "XML in the checksums": _rows(checksums={"<x/>": ""}),
    "XML in the type": _rows(checksum_type="<x/>"),
    "XML in the class": _rows(storage_class="<x/>"),
    "a negative size": _rows(size=-1),
    "a huge size": _rows(size=1 << 62),
    "twice": lambda one: replace(one, rows=one.rows * 2),
    "out of order": lambda one: replace(
        one, rows=[replace(one.rows[0], key=key) for key in ("p/z", "p/y")]
    ),
    "more than asked": lambda one: replace(
        one, rows=[replace(one.rows[0], key=f"p/{n}") for n in range(4)]
    ),
    "a common prefix without a delimiter": lambda one: replace(one, prefixes=["p/q/"]),
    "an endless page of nothing": lambda one: replace(one, rows=[], truncated=True),
}
FORGED_PREFIXES: dict[str, Forge] = {
    "of another prefix": lambda one: replace(one, rows=[], prefixes=["x/"]),
    "without the delimiter": lambda one: replace(one, rows=[], prefixes=["p/q"]),
    "of two levels": lambda one: replace(one, rows=[], prefixes=["p/q/r/"]),
    "out of order": lambda one: replace(one, rows=[], prefixes=["p/z/", "p/q/"]),
    "keys below a common prefix": _rows(key="p/q/r"),
}


async def test_forged_listings_are_not_merged(tmp_path: Path) -> None:
    async with world(tmp_path) as one:
        tokyo = one.houses["tokyo"]
        await put(tokyo, "p/here")
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "p/there")
        await one.dcs["paris"].names.feed_wait(0)
        tell = one.handler("paris", "list")
        forge: list[Forge] = []

        async def lie(request: web.BaseRequest) -> web.StreamResponse:
            peer = next(iter(one.dcs["paris"].names.peers()))
            answer = decode_body((await tell(request, peer)).body, shapes.Listing)
            there = [row for row in answer.rows if row.key == "p/there"]
            return web.Response(body=shapes.encode(forge[0](replace(answer, rows=there))))

        one.answer("paris", "list", lie)
        path = "/photos?list-type=2&prefix=p/&start-after=p/a&max-keys=3"
        forge.append(lambda answer: answer)
        assert (await tokyo.ask("GET", path)).texts("Key") == ["p/here", "p/there"]
        for kinds, delimiter in ((FORGED, ""), (FORGED_PREFIXES, "&delimiter=/")):
            for what, forge[0] in kinds.items():
                answer = await tokyo.ask("GET", path + delimiter)
                assert answer.status == 200, what
                assert answer.texts("Key") == ["p/here"], what
                assert answer.texts("Prefix")[1:] == [], what
                assert answer.headers[NOT_MERGED] == "paris", what
        # What is told of a time that has not come is left out.
        forge[0] = _rows(stamp="f" * 32)
        answer = await tokyo.ask("GET", path)
        assert answer.texts("Key") == ["p/here"]
        # A common prefix that nothing is below of.
        forge[0] = lambda answer: (
            replace(answer, rows=[], prefixes=["p/q/"]) if answer.rows else answer
        )
        answer = await tokyo.ask("GET", f"{path}&delimiter=/")
        assert (answer.texts("Key"), answer.texts("Prefix")[1:]) == (["p/here"], [])
        assert answer.headers[MERGED] == "paris"


async def test_a_gateway_that_can_ask_nobody_says_so(tmp_path: Path) -> None:
    """As one that was told of no others."""
    async with world(tmp_path) as one:
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "k")
        async with house_of(one.dcs["tokyo"], alone=True) as house:
            answer = await house.ask("GET", "/photos/k")
            assert (answer.code, answer.headers[UNASKED]) == ("NoSuchKey", "paris")
            answer = await house.ask("GET", "/photos/k", user=None)
            assert (answer.status, UNASKED in answer.headers) == (403, False)
            answer = await house.ask("GET", "/photos")
            assert (answer.texts("Key"), answer.headers[NOT_MERGED]) == ([], "paris")
