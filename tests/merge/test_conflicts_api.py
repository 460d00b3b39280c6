"""The admin API of conflicts: what it lists, shows, restores and drops; and what it refuses."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import aiohttp
import msgspec
import pytest
from aiohttp import web
from merge_kit import OTHER_OWNER, Stage, stage

from admin.api import AdminApi
from admin.conflicts import ConflictsApi
from dc.accounts import Accounts
from dc.names.model import Conflict, Version
from dc.placement import elsewhere
from dc.stamps import stamp_ms
from dc.system import SystemRandomness
from tokens.secret_store import SecretStore

TOKEN = "0123456789abcdef" * 4
DAY_MS = 86_400_000
WEIRD = 'a/b c\n"é\\\u202e%2F?'

Ask = Callable[..., Awaitable[tuple[int, Any]]]


class Seat(NamedTuple):
    """Three datacenters, and the API of the one that only listens."""

    stage: Stage
    ask: Ask

    async def conflict(self, key: str = "k") -> Version:
        """Made and known everywhere; the loser."""
        t = self.stage
        loser = await t.first.put(key, bucket=t.bucket)
        await t.second.put(key, bucket=t.bucket)
        await t.share()
        return loser

    async def listed(self, query: str = "") -> list[dict[str, Any]]:
        status, answer = await self.ask("GET", f"/conflicts{query}")
        assert status == 200, answer
        found: list[dict[str, Any]] = answer["conflicts"]
        return found


@pytest.fixture
async def seat(tmp_path: Path) -> AsyncIterator[Seat]:
    async with stage(tmp_path, first="paris", second="tokyo", seen=False) as t:
        names, randomness = t.third.names, SystemRandomness()
        accounts = Accounts(names, SecretStore(bytes(32), randomness.token), randomness)
        routes = ConflictsApi(names).routes()
        api = AdminApi(
            TOKEN, frozenset(), accounts, cast(Any, None), names.peers, cast(Any, None), routes
        )
        runner = web.AppRunner(api.app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                async with session.request(method, base + path, json=body) as response:
                    return response.status, await response.json()

            yield Seat(t, ask)
        await runner.cleanup()


async def test_nothing_is_listed_when_there_is_nothing(seat: Seat) -> None:
    assert await seat.ask("GET", "/conflicts") == (200, {"conflicts": [], "objects": 0, "next": ""})


async def test_a_lost_object_is_listed_with_who_when_and_where(seat: Seat) -> None:
    loser = await seat.conflict(WEIRD)
    (found,) = await seat.listed()
    assert found["id"] == f"{loser.bucket}-{loser.stamp}"
    assert (found["kind"], found["bucket"], found["key"]) == ("object", "photos", WEIRD)
    assert (found["size"], found["etag"]) == (loser.size, loser.etag)
    assert (found["site"], found["lost_to"]["site"]) == ("paris", "tokyo")
    assert found["written"] < found["lost_to"]["written"] < found["kept_until"]
    assert not found["bucket_deleted"]


async def test_what_lost_and_what_is_current_are_shown(seat: Seat) -> None:
    t = seat.stage
    loser = await t.first.put("k", bucket=t.bucket)
    await t.first.tag("k", bucket=t.bucket, tags="of the loser")
    winner = await t.second.put("k", bucket=t.bucket)
    await t.share()
    where = f"/conflicts/{t.bucket}-{loser.stamp}"
    status, shown = await seat.ask("GET", where)
    assert status == 200 and shown["state"] == "kept"
    assert shown["content_type"] == "text/plain" and shown["same_bytes"] is False
    assert shown["attributes"]["tags"]["value"] == "of the loser"
    assert shown["attributes"]["tags"]["site"] == "paris"
    assert (shown["current"]["kind"], shown["current"]["etag"]) == ("object", winner.etag)
    await t.second.delete("k", bucket=t.bucket)
    await t.share()
    assert (await seat.ask("GET", where))[1]["current"] == {"kind": "deleted"}


async def test_pages_are_whole(seat: Seat) -> None:
    losers = [await seat.conflict(key) for key in ("a", WEIRD, "b", "c")]
    found, after, pages = [], "", 0
    while pages == 0 or after:
        query = {"limit": "2"} | ({"after": after} if after else {})
        text = "&".join(f"{name}={value}" for name, value in query.items())
        status, answer = await seat.ask("GET", f"/conflicts?{text}")
        assert status == 200 and answer.get("objects") == (None if after else 4)
        found += [one["key"] for one in answer["conflicts"]]
        after, pages = answer["next"], pages + 1
    assert sorted(found) == sorted(one.key for one in losers)


async def test_restored_or_dropped_everywhere(seat: Seat) -> None:
    t = seat.stage
    one, two = await seat.conflict("one"), await seat.conflict("two")
    ids = {key.key: f"{t.bucket}-{key.stamp}" for key in (one, two)}
    nobody = f"{t.bucket}-{'0' * 32}"
    t.third.stamp()
    wanted = {"ids": [ids["one"], nobody, t.bucket, ids["one"]]}
    status, done = await seat.ask("POST", "/conflicts/restore", wanted)
    assert status == 200
    (restored,) = done["done"]
    assert (restored["key"], restored["etag"], restored["site"]) == ("one", one.etag, "austin")
    assert restored["replaced"]["site"] == "tokyo"
    assert [one["id"] for one in done["failed"]] == [nobody, t.bucket]
    assert "no object" in done["failed"][1]["reason"]
    status, done = await seat.ask("POST", "/conflicts/drop", {"ids": [ids["two"]]})
    assert [one["key"] for one in done["done"]] == ["two"] and not done["failed"]
    await t.share()
    for place in (t.first, t.second, t.third):
        current = await place.names.current(t.bucket, "one")
        assert current is not None and current.etag == one.etag
        assert await place.names.conflicts() == []
    for action in ("restore", "drop"):
        _, again = await seat.ask("POST", f"/conflicts/{action}", {"ids": [*ids.values()]})
        assert len(again["failed"]) == 2 and not again["done"]
    assert (await seat.ask("GET", f"/conflicts/{ids['two']}"))[1]["state"] == "gone"


async def test_what_other_datacenters_hold_cannot_be_restored_here(seat: Seat) -> None:
    """The others that were named are."""
    t = seat.stage
    here = await seat.conflict("here")
    lost = await t.first.put("away", bucket=t.bucket)
    away = msgspec.structs.replace(lost, extents=elsewhere(lost.size))
    await t.third.names.apply([Conflict(loser=away, winner=t.second.stamp())])
    wanted = {"ids": [f"{t.bucket}-{one.stamp}" for one in (away, here)]}
    status, answer = await seat.ask("POST", "/conflicts/restore", wanted)
    assert status == 200 and [one["key"] for one in answer["done"]] == ["here"]
    assert "other datacenters hold the bytes" in answer["failed"][0]["reason"]


async def test_a_conflict_of_a_deleted_bucket_waits_for_it(seat: Seat) -> None:
    t = seat.stage
    loser = await seat.conflict()
    await t.first.delete("k", bucket=t.bucket)
    await t.first.delete_bucket(t.bucket)
    await t.share()
    (found,) = await seat.listed()
    assert found["bucket_deleted"] and found["bucket"] == "photos"
    assert await seat.listed(f"?bucket={t.bucket}") == [found]
    assert (await seat.ask("GET", "/conflicts?bucket=photos"))[0] == 404
    _, answer = await seat.ask("POST", "/conflicts/restore", {"ids": [found["id"]]})
    assert "bucket was deleted" in answer["failed"][0]["reason"]
    await t.second.create("photos")
    await t.share()
    _, answer = await seat.ask("POST", "/conflicts/restore", {"ids": [found["id"]]})
    assert [one["key"] for one in answer["done"]] == ["k"]
    current = await t.third.names.current(t.bucket, "k")
    assert current is not None and current.etag == loser.etag


async def test_a_conflict_is_kept_as_long_as_configured(seat: Seat) -> None:
    t = seat.stage
    await seat.conflict()
    t.third.names.knowledge.conflict_retention_ms = 2 * DAY_MS
    (found,) = await seat.listed()
    (conflict,) = await t.third.names.conflicts()
    assert stamp_ms(conflict.winner) + 2 * DAY_MS > t.third.clock.ms
    assert found["kept_until"][:10] > found["lost_to"]["written"][:10]
    t.third.clock.ms = stamp_ms(conflict.winner) + 2 * DAY_MS
    await t.third.names.upkeep()
    assert await seat.listed() == [found]
    t.third.clock.ms += 1
    await t.third.names.upkeep()
    assert await seat.listed() == []
    await t.share()
    assert await t.first.names.conflicts() == []


async def test_names_and_emails_are_in_the_list(seat: Seat) -> None:
    t = seat.stage
    mine = await t.first.create("new")
    theirs = await t.second.create("new", OTHER_OWNER)
    one, two = await t.first.add_user("c"), await t.second.add_user("d")
    await t.first.add_user("e", "bob@example.com")
    await t.share()
    name, *users = await seat.listed()
    assert (name["kind"], name["id"]) == ("bucket-name", theirs.id)
    assert (name["bucket"], name["name"]) == ("new--conflict-tokyo", "new")
    assert (name["owner"], name["owner_email"], name["site"]) == (OTHER_OWNER, None, "tokyo")
    assert (name["lost_to"]["bucket_id"], name["lost_to"]["site"]) == (mine.id, "paris")
    assert [(one["kind"], one["id"], one["site"]) for one in users] == [
        ("user-email", one.id, "paris"),
        ("user-email", two.id, "tokyo"),
    ]
    for wanted in (name["id"], one.id):
        status, shown = await seat.ask("GET", f"/conflicts/{wanted}")
        assert status == 200 and shown["id"] == wanted
    assert await seat.listed("?bucket=new") == await seat.listed("?bucket=new--conflict-tokyo")
    assert await seat.listed("?bucket=photos") == []

    status, listed = await seat.ask("GET", "/users")
    shared = {user["canonical_id"]: user["shared_email"] for user in listed["users"]}
    assert shared == {one.id: True, two.id: True, "e" * 64: False}
    status, refused = await seat.ask("DELETE", "/users/ann@example.com")
    assert status == 409 and one.id in refused["message"] and two.id in refused["message"]
    t.third.stamp()
    assert (await seat.ask("DELETE", f"/users/{two.id}"))[0] == 200
    assert [found["kind"] for found in await seat.listed()] == ["bucket-name"]
    status, keys = await seat.ask("GET", "/users/ann@example.com/keys")
    assert status == 200 and keys["canonical_id"] == one.id


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/conflicts?bucket=nothing", None, 404),
        ("GET", "/conflicts?limit=0", None, 400),
        ("GET", "/conflicts?limit=1001", None, 400),
        ("GET", "/conflicts?limit=x", None, 400),
        ("GET", "/conflicts?after=x", None, 400),
        ("GET", "/conflicts?after=WzEsMl0=", None, 400),
        ("GET", "/conflicts/x", None, 400),
        ("GET", f"/conflicts/{'0' * 16}", None, 404),
        ("GET", f"/conflicts/{'0' * 16}-{'0' * 32}", None, 404),
        ("GET", f"/conflicts/{'0' * 16}-{'0' * 31}%0A", None, 400),
        ("POST", "/conflicts/restore", {}, 400),
        ("POST", "/conflicts/restore", {"ids": []}, 400),
        ("POST", "/conflicts/restore", {"ids": ["x"]}, 400),
        ("POST", "/conflicts/drop", {"ids": ["0" * 16] * 1001}, 400),
        ("POST", "/conflicts/drop", {"ids": ["0" * 16], "all": True}, 400),
        ("POST", "/conflicts/drop", ["0" * 16], 400),
    ],
)
async def test_what_cannot_be_is_refused(
    seat: Seat, method: str, path: str, body: Any, status: int
) -> None:
    await seat.conflict()
    got, answer = await seat.ask(method, path, body)
    assert got == status and answer["message"]
    assert len(await seat.listed()) == 1
