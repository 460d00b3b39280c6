"""Limits and pauses by the admin API and the command line: what is taken, shown and refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from conftest import Serving, init
from test_api import TOKEN, TOKYO, Server

from admin.api import AdminApi
from admin.limits import LimitsApi
from dc.names.model import Peer
from dc.rates import Limit, Terms, Window
from replicator.service import Alter


class FakePacing:
    """A replicator with one peer, at 12:00."""

    minute = 720
    their_in, their_out, takes_at, sends_at = 0, 4_000, 4_000, 0

    def __init__(self) -> None:
        self.terms = Terms()

    def peers(self) -> list[Peer]:
        return [msgspec.structs.replace(TOKYO, terms=self.terms)]

    def pace(self, dc_id: str) -> Any:
        assert dc_id == TOKYO.dc_id
        return self

    def measured(self) -> tuple[float, float]:
        return 1234.56, 0.0

    async def limit(self, dc_id: str, into: Alter | None, out: Alter | None) -> None:
        assert dc_id == TOKYO.dc_id
        new_in = into(self.terms.into) if into else self.terms.into
        new_out = out(self.terms.out) if out else self.terms.out
        self.terms = Terms(new_in, new_out, self.terms.paused_ms)

    async def pause(self, dc_id: str) -> None:
        self.terms = msgspec.structs.replace(self.terms, paused_ms=1_800_000_000_000)

    async def resume(self, dc_id: str) -> None:
        self.terms = msgspec.structs.replace(self.terms, paused_ms=0)


@pytest.fixture
def pacing() -> FakePacing:
    return FakePacing()


@pytest.fixture
async def server(pacing: FakePacing) -> AsyncIterator[Server]:
    more = LimitsApi(pacing, pacing.peers).routes()
    nothing: Any = None
    api = AdminApi(TOKEN, frozenset(), nothing, nothing, pacing.peers, nothing, more)
    runner = web.AppRunner(api.app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Server(runner.app, runner.addresses[0][1], session)
    await runner.cleanup()


async def test_what_is_set_is_shown(server: Server, pacing: FakePacing):
    body = {"rate": "2MB/s", "directions": ["out"], "between": ["08:00-18:00", "22:00-06:00"]}
    status, answer = await server.call("PUT", "/datacenters/tokyo/limit", body)
    assert status == 200
    windows = (Window(480, 1_080, 2_000_000), Window(1_320, 360, 2_000_000))
    assert pacing.terms == Terms(Limit(), Limit(0, windows))
    assert await server.call("GET", f"/datacenters/{TOKYO.dc_id}/limit") == (200, answer)
    assert [one["holds"] for one in answer["out"]["windows"]] == [True, False]
    assert answer["in"] == {
        "rate": 0,
        "text": "none",
        "windows": [],
        "theirs": 4_000,
        "now": 4_000,
        "measured": 1234.6,
    }


async def test_both_directions_are_meant_when_none_is_named(server: Server, pacing: FakePacing):
    await server.call("PUT", "/datacenters/tokyo/limit", {"rate": "10KB"})
    assert pacing.terms == Terms(Limit(10_000), Limit(10_000))
    body = {"rate": "none", "directions": ["in"]}
    await server.call("PUT", "/datacenters/tokyo/limit", body)
    assert pacing.terms == Terms(Limit(), Limit(10_000))


async def test_pause_and_resume(server: Server):
    _, paused = await server.call("POST", "/datacenters/tokyo/pause")
    assert paused["paused"] == "2027-01-15T08:00:00Z"
    _, resumed = await server.call("POST", "/datacenters/tokyo/resume")
    assert resumed["paused"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rate": 5_000},
        {"rate": "5"},
        {"rate": "1B/s"},
        {"rate": "x" * 60_000},
        {"rate": "2MB/s", "directions": ["sideways"]},
        {"rate": "2MB/s", "directions": ["in", "out", "in"]},
        {"rate": "2MB/s", "directions": "in"},
        {"rate": "2MB/s", "between": ["08:00"]},
        {"rate": "2MB/s", "between": ["08:00-08:00"]},
        {"rate": "2MB/s", "between": [["08:00-18:00"]]},
        {"rate": "2MB/s", "between": [f"00:{n:02}-01:{n:02}" for n in range(17)]},
        {"rate": "2MB/s", "between": None},
        {"rate": "2MB/s", "weekday": "monday"},
        b"\xff",
        b"[" * 5_000,
    ],
    ids=range(16),
)
async def test_what_is_no_limit_is_refused(server: Server, pacing: FakePacing, body: Any):
    status, answer = await server.call("PUT", "/datacenters/tokyo/limit", body)
    assert status == 400
    assert answer["error"] in ("invalid_rate", "invalid_request")
    assert len(answer["message"]) < 400
    assert pacing.terms == Terms()


async def test_windows_do_not_pile_up(server: Server, pacing: FakePacing):
    for hour in range(16):
        body = {"rate": "2MB/s", "between": [f"{hour:02}:00-{hour:02}:30"]}
        assert (await server.call("PUT", "/datacenters/tokyo/limit", body))[0] == 200
    body = {"rate": "2MB/s", "between": ["23:00-23:30"]}
    status, answer = await server.call("PUT", "/datacenters/tokyo/limit", body)
    assert (status, answer["error"]) == (400, "invalid_rate")
    assert len(pacing.terms.out.windows) == 16


@pytest.mark.parametrize("what", ["limit", "pause", "resume"])
async def test_who_is_not_paired_has_none(server: Server, what: str):
    method = "GET" if what == "limit" else "POST"
    status, answer = await server.call(method, f"/datacenters/osaka/{what}")
    assert (status, answer["error"]) == (404, "no_such_datacenter")


@pytest.mark.process
def test_the_command_line(tmp_path: Path):
    for name in ("paris", "tokyo"):
        init(tmp_path / name, name)
    paris, tokyo = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    try:
        token = paris.cli("token", "issue").stdout.splitlines()[-1]
        assert tokyo.cli("dc", "add", token).returncode == 0
        done = tokyo.cli("dc", "limit", "paris")
        assert done.returncode == 0, done.stderr
        assert "no limit" in done.stdout
        halves = ("--between", "0:00-12:00", "--between", "12:00-24:00")
        limited = tokyo.facts("dc", "limit", "paris", "300KiB/s", "--in", *halves)
        assert (limited["in"]["now"], limited["out"]["now"]) == (307_200, 0)
        shown = tokyo.cli("dc", "limit", "paris").stdout
        assert "300 KiB/s at most" in shown and "12:00-24:00" in shown
        assert "from paris: 300 KiB/s at most" in tokyo.cli("replication", "status").stdout
        wrong = tokyo.cli("dc", "limit", "paris", "2Mb/s")
        assert wrong.returncode != 0 and "2MB/s" in wrong.stderr
        assert tokyo.cli("dc", "limit", "paris", "--in").returncode == 2
        assert tokyo.cli("dc", "limit", "osaka").returncode != 0
        assert "paused since" in tokyo.cli("dc", "pause", "paris").stdout
        assert "PAUSED here since" in tokyo.cli("replication", "status").stdout
        assert tokyo.facts("dc", "resume", "paris")["paused"] is None
        freed = tokyo.facts("dc", "limit", "paris", "none")
        assert freed["in"]["windows"] == [] and freed["in"]["now"] == 0
    finally:
        paris.stop()
        tokyo.stop()
