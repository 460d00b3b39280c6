"""Listings of versions of a bucket that is read through, over real gateways."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from gateway_kit import House
from msgspec.structs import replace
from through_kit import THROUGH, put, world

from dc.stamps import version_id
from replicator import reading
from replicator import reading_wire as shapes
from replicator.messages import decode_body

MERGED, NOT_MERGED = "x-farshore-merged", "x-farshore-not-merged"
Shown = list[tuple[str, str, bool]]


def _walk(house: House, size: int, **asked: object) -> tuple[Shown, Shown, list[str]]:
    """Versions, delete markers and common prefixes of all pages, as boto3 pages them."""
    paging = house.boto().get_paginator("list_object_versions")
    found: tuple[Shown, Shown, list[str]] = [], [], []
    for page in paging.paginate(Bucket="photos", PaginationConfig={"PageSize": size}, **asked):
        for rows, name in zip(found[:2], ("Versions", "DeleteMarkers"), strict=True):
            rows += [(one["Key"], one["VersionId"], one["IsLatest"]) for one in page.get(name, ())]
        found[2].extend(one["Prefix"] for one in page.get("CommonPrefixes", ()))
    return found


async def test_versions_that_others_have_are_listed(tmp_path: Path) -> None:
    async with world(tmp_path, "paris", "tokyo", "oslo") as one:
        paris, tokyo, oslo = (one.houses[name] for name in ("paris", "tokyo", "oslo"))
        for key in ("null", "other", "z/gone"):
            await put(paris, key)
        await one.set(versioning="Enabled")

        async def write(house: House, key: str) -> tuple[str, str]:
            return key, (await put(house, key))["x-amz-version-id"]

        old = await write(paris, "both")
        deleted = await write(paris, "both")
        await one.settled()
        for gate in one.gates.values():
            gate.shut()
        for path in (f"both?versionId={deleted[1]}", "z/gone?versionId=null"):
            assert (await tokyo.ask("DELETE", f"/photos/{path}")).status == 204
        # Newer than what is here, and what is here stays the latest.
        newer = await write(oslo, "both")
        first, second = await write(paris, "there"), await write(oslo, "there")
        below = await write(paris, "y/k")
        own = await write(tokyo, "null")
        gone = await paris.ask("DELETE", "/photos/a/marker")
        marker = ("a/marker", gone.headers["x-amz-version-id"], True)
        wanted = [
            (*newer, False),
            (*old, True),
            (*own, True),
            ("null", "null", False),
            ("other", "null", True),
            (*second, True),
            (*first, False),
        ]
        for size in (1, 2, 3, 1000):
            found = await asyncio.to_thread(_walk, tokyo, size)
            assert found == ([*wanted, (*below, True)], [marker], [])
            found = await asyncio.to_thread(_walk, tokyo, size, Delimiter="/")
            assert found == (wanted, [], ["a/", "y/"])
            found = await asyncio.to_thread(_walk, tokyo, size, Prefix="th")
            assert found == (wanted[-2:], [], [])
        whole = await tokyo.ask("GET", "/photos?versions")
        assert whole.headers[MERGED] == "oslo, paris" and NOT_MERGED not in whole.headers
        # All of it can be read by what it is named.
        for key, vid, _ in [*wanted, (*below, True)]:
            got = await tokyo.ask("GET", f"/photos/{key}?versionId={vid}")
            assert (got.status, got.body) == (200, b"body")
        assert (await tokyo.ask("GET", "/photos/both")).headers.get(THROUGH) is None
        assert (await tokyo.ask("GET", "/photos/there")).headers["x-amz-version-id"] == second[1]
        # A null version as the marker: that of the key stands where it stands.
        after = "/photos?versions&prefix=null&key-marker=null&version-id-marker=null"
        assert (await tokyo.ask("GET", after)).texts("VersionId") == []
        # Where it is not known here the key begins again, as it does when it is gone.
        again = await tokyo.ask("GET", f"{after.replace('null&key', 'y/k&key')}")
        assert again.texts("VersionId") == [below[1]]
        await one.dcs["tokyo"].names.set_bucket_registers(one.bucket.id, {"read-through": ""})
        off = await tokyo.ask("GET", "/photos?versions&prefix=there")
        assert off.texts("Key") == [] and MERGED not in off.headers


async def test_who_does_not_list_versions_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older release does not know the request."""
    monkeypatch.setattr(reading, "READ_NAMES_SECONDS", 0.3)
    async with world(tmp_path, "paris", "tokyo", "oslo", "rome") as one:
        tokyo, asked = one.houses["tokyo"], []
        for gate in one.gates.values():
            gate.shut()
        for name in ("paris", "oslo", "rome"):
            await put(one.houses[name], name)

        async def never(request: web.BaseRequest) -> web.StreamResponse:
            asked.append(request.path)
            await asyncio.sleep(60)
            return web.Response()

        one.answer("oslo", "versions", never)
        del one.dcs["rome"].replicator._server._routes["POST", "versions"]
        answer = await tokyo.ask("GET", "/photos?versions")
        assert answer.texts("Key") == ["paris"]
        assert (answer.headers[MERGED], answer.headers[NOT_MERGED]) == ("paris", "oslo, rome")
        asked.clear()
        for user in (None, "bob"):
            answer = await tokyo.ask("GET", "/photos?versions", user=user)
            assert (answer.status, asked) == (403, [])
        one.dcs["tokyo"].replicator.others._asked._most = 0
        answer = await tokyo.ask("GET", "/photos?versions")
        assert (answer.status, answer.code, asked) == (503, "SlowDown", [])


Forge = Callable[[shapes.Versions], shapes.Versions]


def _rows(**other: object) -> Forge:
    return lambda one: replace(one, rows=[replace(row, **other) for row in one.rows])


def _two(*stamps: str) -> Forge:
    return lambda one: replace(
        one, rows=[replace(one.rows[0], vid="", stamp=stamp) for stamp in stamps]
    )


OLD, NEW = "0" * 32, "0" * 31 + "1"
FORGED: dict[str, Forge] = {
    "a key outside the prefix": _rows(key="x"),
    "a key before the page": _rows(key="p/"),
    "the key that is behind": _rows(key="p/a"),
    "a key with a line": _rows(key="p/\0"),
    "no stamp": _rows(stamp="x" * 32),
    "the id of another stamp": _rows(vid=version_id(OLD)),
    "XML in the ETag": _rows(etag="<x/>"),
    "no kind": _rows(kind=7),
    "a delete marker with a size": _rows(kind=1, size=1),
    "twice": lambda one: replace(one, rows=one.rows * 2),
    "the oldest first": _two(OLD, NEW),
    "more than asked": _two(*(f"{9 - n:032x}" for n in range(4))),
    "a common prefix without a delimiter": lambda one: replace(one, prefixes=["p/q/"]),
    "an endless page of nothing": lambda one: replace(one, rows=[], truncated=True),
}


async def test_forged_listings_of_versions_are_not_merged(tmp_path: Path) -> None:
    async with world(tmp_path, versioning="Enabled") as one:
        tokyo = one.houses["tokyo"]
        await put(tokyo, "p/here")
        one.gates["tokyo"].shut()
        await put(one.houses["paris"], "p/there")
        tell = one.handler("paris", "versions")
        forge: list[Forge] = [lambda answer: answer]

        async def lie(request: web.BaseRequest) -> web.StreamResponse:
            peer = next(iter(one.dcs["paris"].names.peers()))
            answer = decode_body((await tell(request, peer)).body, shapes.Versions)
            there = [row for row in answer.rows if row.key == "p/there"]
            return web.Response(body=shapes.encode(forge[0](replace(answer, rows=there))))

        one.answer("paris", "versions", lie)
        path = "/photos?versions&prefix=p/&key-marker=p/a&max-keys=3"
        assert (await tokyo.ask("GET", path)).texts("Key") == ["p/here", "p/there"]
        for what, forge[0] in FORGED.items():
            answer = await tokyo.ask("GET", path)
            assert answer.texts("Key") == ["p/here"], what
            assert answer.headers[NOT_MERGED] == "paris", what
        # In the middle of a key: nothing that stands before.
        (vid,) = (await tokyo.ask("GET", path)).texts("VersionId")
        inside = f"/photos?versions&key-marker=p/here&version-id-marker={vid}"
        for stamp, merged in (("e" * 32, False), (OLD, True)):
            forge[0] = _rows(key="p/here", vid=version_id(stamp), stamp=stamp)
            answer = await tokyo.ask("GET", inside)
            assert answer.texts("Key") == (["p/here"] if merged else [])
            assert (NOT_MERGED in answer.headers) is not merged
        # What is told of a time that has not come is left out.
        forge[0] = _rows(stamp="f" * 32, vid="0" * 32)
        assert (await tokyo.ask("GET", path)).texts("Key") == ["p/here"]
