"""The admin API: who may, what is refused, and that it never says more than it should."""

import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from admin.api import BODY_BYTES_MAX, PUBLIC_PATH, AdminApi
from admin.buckets import BucketsApi
from admin.conflicts import ConflictsApi
from dc.accounts import Accounts
from dc.names.api import NoSuchPeer
from dc.names.model import Peer
from dc.names.service import open_names
from dc.system import SystemClock, SystemDatabases, SystemRandomness
from replicator.errors import PairingError
from replicator.pairing import IssuedToken, PairingReport
from replicator.proof import Step
from replicator.status import Absent, ReplicationStatus
from tokens.errors import TokenExpired
from tokens.place import check_endpoints
from tokens.secret_store import SecretStore

TOKEN = "0123456789abcdef" * 4
TOKYO = Peer(
    dc_id="00000000000000bb",
    name="tokyo",
    region="asia",
    endpoints=["tokyo.example.com:7000"],
    fingerprint="f" * 64,
    signing_key=b"public",
    sealing_key=b"public",
    paired="0190000000000000" + "00000000000000aa",
)


class FakeReplicator:
    """Pairs with tokyo, once."""

    def __init__(self) -> None:
        self.known: list[Peer] = []
        self.lifetimes: list[int] = []

    def peers(self) -> list[Peer]:
        return self.known

    def issue_token(self, lifetime_seconds: int) -> IssuedToken:
        self.lifetimes.append(lifetime_seconds)
        return IssuedToken("v4.public.token", 1_800_000_000)

    async def join(self, token: str, timeout_seconds: float) -> PairingReport:
        if token == "old":
            raise TokenExpired("the pairing token is over; issue a new one")
        if token == "bug":
            raise RuntimeError("a secret detail")
        if self.known:
            raise PairingError("DC tokyo is already paired with this one")
        self.known.append(TOKYO)
        return PairingReport(
            peer=TOKYO,
            short_code="123-456",
            steps=[Step("one", 0.5)],
            went=True,
            came=True,
            missing=[],
        )

    async def remove_peer(self, dc_id: str) -> None:
        if dc_id != TOKYO.dc_id or not self.known:
            raise NoSuchPeer("not paired")
        self.known.clear()

    async def move_peer(self, dc_id: str, endpoints: Sequence[str]) -> Peer:
        check_endpoints(endpoints)
        assert dc_id == TOKYO.dc_id
        return msgspec.structs.replace(TOKYO, endpoints=list(endpoints))

    async def silent_at(self, peer: Peer) -> list[str]:
        return peer.endpoints[1:]

    async def counted_status(self) -> ReplicationStatus:
        return ReplicationStatus(
            dc_id="00000000000000aa",
            name="paris",
            epoch="e",
            end=7,
            conflicts=0,
            absent=Absent(objects=0, bytes=0, to_come=0, to_come_bytes=0),
            peers=[],
        )


class Server:
    """The API on a free port, and a client that has the token unless told otherwise."""

    def __init__(self, app: web.Application, port: int, session: aiohttp.ClientSession) -> None:
        self.app = app
        self.base = f"http://127.0.0.1:{port}"
        self.session = session

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str | None
    ) -> tuple[int, Any]:
        wanted: dict[str, str | None] = {"Authorization": f"Bearer {TOKEN}", **headers}
        sent = {name: value for name, value in wanted.items() if value is not None}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body)
        async with self.session.request(
            method, self.base + path, data=data, headers=sent, allow_redirects=False
        ) as response:
            assert response.content_type == "application/json"
            return response.status, json.loads(await response.read())


@pytest.fixture
def replicator() -> FakeReplicator:
    return FakeReplicator()


@pytest.fixture
async def server(tmp_path: Path, replicator: FakeReplicator) -> AsyncIterator[Server]:
    randomness = SystemRandomness()
    names = await open_names(
        tmp_path / "names.db",
        databases=SystemDatabases(),
        clock=SystemClock(),
        randomness=randomness,
        dc_id="00000000000000aa",
    )
    accounts = Accounts(names, SecretStore(bytes(32), randomness.token), randomness)
    hosts = frozenset({"admin.internal"})
    more = ConflictsApi(names).routes() + BucketsApi(names, "paris").routes()
    await names.create_bucket("photos", "a" * 64, "eu")

    async def status() -> dict[str, Any]:
        return {"name": "paris"}

    api = AdminApi(TOKEN, hosts, accounts, replicator, replicator.peers, status, more)
    app = api.app()
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert runner.addresses
    async with aiohttp.ClientSession() as session:
        yield Server(app, runner.addresses[0][1], session)
    await runner.cleanup()
    await names.close()


def routes(app: web.Application) -> list[tuple[str, str]]:
    """Every method and path there is."""
    found = []
    for route in app.router.routes():
        assert route.resource is not None
        path = route.resource.canonical.replace("{email}", "ann@example.com")
        found.append((route.method, path.replace("{key}", "FSX").replace("{name}", "tokyo")))
    return found


WRONG = [
    None,
    "",
    "Bearer",
    "Bearer ",
    f"Bearer {TOKEN[:-1]}",
    f"Bearer {TOKEN}0",
    f"Bearer {TOKEN.upper()}",
    f"Basic {TOKEN}",
    TOKEN,
    "Bearer \u00e9",
]


@pytest.mark.parametrize("given", WRONG)
async def test_every_route_but_health_demands_the_token(server: Server, given: str | None) -> None:
    answers = set()
    others = [("GET", "/"), ("GET", "/nothing"), ("PATCH", "/users"), ("POST", "/health/x")]
    found = routes(server.app)
    assert len(found) >= 17
    for method, path in found + others:
        if path == PUBLIC_PATH:
            continue
        if method == "HEAD":
            continue
        status, answer = await server.call(method, path, {"x": 1}, Authorization=given)
        answers.add((status, json.dumps(answer)))
    assert len(answers) == 1
    status, text = answers.pop()
    assert status == 401 and json.loads(text)["error"] == "unauthorized"


async def test_health_says_nothing_else_to_strangers(server: Server) -> None:
    assert await server.call("GET", "/health", Authorization=None) == (200, {"status": "ok"})


async def test_the_scheme_is_spelled_in_any_case(server: Server) -> None:
    assert (await server.call("GET", "/status", Authorization=f"bearer {TOKEN}"))[0] == 200


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:9000", "", "127.0.0.1.x"])
async def test_a_page_of_another_name_cannot_reach_it(server: Server, host: str) -> None:
    for path in ("/status", "/health"):
        assert (await server.call("GET", path, Host=host))[0] == 421


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:9000", "Admin.Internal:9000"])
async def test_own_names_and_addresses_are_served(server: Server, host: str) -> None:
    assert (await server.call("GET", "/status", Host=host))[0] == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {"email": "ann@example.com", "admin": True}),
        ("/users", {}),
        ("/users", {"email": 7}),
        ("/users", {"email": None}),
        ("/users", ["ann@example.com"]),
        ("/users", b"{"),
        ("/users", b"\xff"),
        ("/users", b"[" * 50_000),
        ("/tokens", {"lifetime_seconds": 0}),
        ("/tokens", {"lifetime_seconds": 10**30}),
        ("/tokens", {"lifetime_seconds": 1.5}),
        ("/tokens", {"lifetime": 5}),
        ("/datacenters", {"token": "x" * 20_000}),
        ("/datacenters", {"token": "x", "trust": "all"}),
    ],
)
async def test_a_request_of_another_shape_is_refused(server: Server, path: str, body: Any) -> None:
    status, answer = await server.call("POST", path, body)
    assert (status, answer["error"]) == (400, "invalid_request")
    assert set(answer) == {"error", "message"}
    assert (await server.call("GET", "/users"))[1] == {"users": []}


async def test_large_bodies_are_refused(server: Server) -> None:
    status, answer = await server.call("POST", "/users", b" " * (BODY_BYTES_MAX + 1))
    assert status == 413 and set(answer) == {"error", "message"}


async def test_absent_paths_and_methods(server: Server) -> None:
    assert (await server.call("GET", "/nothing"))[0] == 404
    assert (await server.call("PATCH", "/users"))[0] == 405
    assert (await server.call("GET", "/users/../status"))[0] in (200, 404)


async def test_users(server: Server) -> None:
    status, made = await server.call("POST", "/users", {"email": "ann+x@example.com"})
    assert status == 201
    status, second = await server.call("POST", "/users/ann%2Bx@example.com/keys")
    assert status == 201 and second["access_key"] != made["access_key"]
    status, third = await server.call("POST", "/users/ann%2Bx@example.com/keys")
    assert (status, third["error"]) == (409, "too_many_keys")
    status, again = await server.call("POST", "/users", {"email": "ann+x@example.com"})
    assert (status, again["error"]) == (409, "user_exists")
    status, keys = await server.call("GET", "/users/ann%2Bx@example.com/keys")
    assert [key["access_key"] for key in keys["keys"]] == [
        made["access_key"],
        second["access_key"],
    ]
    assert made["secret_key"] not in json.dumps(keys)
    path = f"/users/ann%2Bx@example.com/keys/{made['access_key']}"
    assert (await server.call("DELETE", path))[0] == 200
    assert (await server.call("DELETE", path))[0] == 404
    assert (await server.call("DELETE", "/users/ann%2Bx@example.com"))[0] == 200
    assert (await server.call("DELETE", "/users/ann%2Bx@example.com"))[0] == 404
    status, bad = await server.call("POST", "/users", {"email": "nobody"})
    assert (status, bad["error"]) == (400, "invalid_email")


async def test_datacenters(server: Server, replicator: FakeReplicator) -> None:
    status, issued = await server.call("POST", "/tokens", {"lifetime_seconds": 60})
    assert status == 201
    assert issued == {"token": "v4.public.token", "expires": "2027-01-15T08:00:00Z"}
    assert (await server.call("POST", "/tokens"))[0] == 201
    assert replicator.lifetimes == [60, 3600]
    status, old = await server.call("POST", "/datacenters", {"token": "old"})
    assert (status, old["error"]) == (400, "token_refused")
    status, paired = await server.call("POST", "/datacenters", {"token": "new"})
    assert status == 201 and paired["name"] == "tokyo" and paired["code"] == "123-456"
    status, again = await server.call("POST", "/datacenters", {"token": "new"})
    assert (status, again["error"]) == (409, "pairing_refused")
    status, listed = await server.call("GET", "/datacenters")
    assert [each["dc_id"] for each in listed["datacenters"]] == [TOKYO.dc_id]
    path, wanted = "/datacenters/tokyo/endpoints", {"endpoints": ["b.example.com:2", "[::1]:3"]}
    status, moved = await server.call("PUT", path, wanted)
    assert status == 200 and moved["endpoints"] == wanted["endpoints"]
    assert moved["silent"] == wanted["endpoints"][1:]
    for bad in (["b"], [], ["a:1", "a:1"], ["a:1"] * 9, "a:1", [1]):
        assert (await server.call("PUT", path, {"endpoints": bad}))[0] == 400, bad
    assert (await server.call("PUT", "/datacenters/osaka/endpoints", wanted))[0] == 404
    assert (await server.call("DELETE", "/datacenters/osaka"))[0] == 404
    assert (await server.call("DELETE", "/datacenters/tokyo"))[0] == 200
    assert (await server.call("DELETE", "/datacenters/tokyo"))[0] == 404
    status, shown = await server.call("GET", "/replication")
    assert status == 200 and shown["end"] == 7


async def test_what_is_unforeseen_is_told_without_detail(server: Server) -> None:
    status, answer = await server.call("POST", "/datacenters", {"token": "bug"})
    assert (status, answer["error"]) == (500, "internal")
    assert "secret detail" not in json.dumps(answer)


async def test_rules_that_could_not_travel_are_refused(server: Server) -> None:
    """Other datacenters would refuse the record, and all that comes after it."""
    path = "/buckets/photos/replication"
    for number in range(1000):
        asked = {"prefix": f"{number:01000}", "to": ["paris"]}
        status, found = await server.call("PUT", path, asked)
        if status != 200:
            break
    assert status == 400 and "262144 bytes" in found["message"] and number > 150
    status, found = await server.call("GET", path)
    assert status == 200 and len(found["rules"]) == number
