"""`farshore dc add` and `farshore replication status` with two real datacenters."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from admin.commands import replication
from admin.errors import Unconfirmed
from tests.admin.conftest import Serving, init


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Serving, Serving]]:
    """Paris and Tokyo, not paired; Tokyo says that it is reached where nobody listens."""
    init(tmp_path / "paris", "paris")
    init(tmp_path / "tokyo", "tokyo", "--advertise", "127.0.0.1:1")
    running = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    yield running
    for one in running:
        one.stop()


def until(dc: Serving, holds: Any, seconds: float = 20) -> dict[str, Any]:
    """The status of the only peer, when that holds."""
    deadline = time.monotonic() + seconds
    while True:
        (peer,) = dc.facts("replication", "status")["peers"]
        if holds(peer):
            return peer
        assert time.monotonic() < deadline, peer
        time.sleep(0.3)


def test_a_pairing_of_which_one_half_is_missing(two: tuple[Serving, Serving]) -> None:
    paris, tokyo = two
    token = paris.cli("token", "issue").stdout.strip()
    done = tokyo.cli("dc", "add", token, "--timeout", "2", "--json")
    assert done.returncode == 3
    facts = json.loads(done.stdout)
    assert (facts["went"], facts["came"], facts["complete"]) == (False, True, False)
    assert facts["steps"][0]["seconds"] <= facts["steps"][-1]["seconds"] < 2.5
    assert "paris does not take our changes yet" in done.stderr and "127.0.0.1:1" in done.stderr
    assert "The pairing stands" in done.stderr and "replication status" in done.stderr
    assert [peer["name"] for peer in tokyo.facts("dc", "list")] == ["paris"]


def test_a_whole_pairing_and_its_status(tmp_path: Path) -> None:
    for name in ("paris", "tokyo"):
        init(tmp_path / name, name)
    paris, tokyo = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    try:
        token = paris.cli("token", "issue").stdout.strip()
        done = tokyo.cli("dc", "add", token)
        assert done.returncode == 0, done.stderr
        assert re.search(r"\d\.\d\d s  a change made here took effect in paris", done.stdout)
        assert re.search(r"\d\.\d\d s  a change made in paris took effect here", done.stdout)
        peer = until(paris, lambda peer: peer["state"] == "IDENTICAL")
        again = until(tokyo, lambda peer: peer["state"] == "IDENTICAL")
        assert peer["root"] == again["root"] != ""
        assert paris.facts("replication", "status")["conflicts"] == 0
        shown = paris.cli("replication", "status").stdout
        assert f"IDENTICAL @{peer['root'][:12]}" in shown
        nowhere = paris.cli("dc", "move", "tokyo", "nowhere")
        assert nowhere.returncode == 1 and "nowhere" in nowhere.stderr
        (there,) = paris.facts("dc", "list")[0]["endpoints"]
        moved = paris.cli("dc", "move", "tokyo", "127.0.0.1:1", there)
        assert moved.stdout == f"tokyo is now reached at 127.0.0.1:1, {there}\n", moved.stderr
        assert "tokyo does not answer now at 127.0.0.1:1:" in moved.stderr
        until(paris, lambda peer: peer["state"] == "IDENTICAL" and peer["endpoint"] == there)
        tokyo.stop(signal.SIGKILL)
        peer = until(paris, lambda peer: peer["state"] == "UNREACHABLE")
        assert peer["to_take"] is None and peer["last_error"]
        # The other one is dead for good: one side alone ends it.
        assert paris.cli("dc", "remove", "tokyo").returncode == 0
        assert paris.facts("replication", "status")["peers"] == []
        assert "(none)" in paris.cli("replication", "status").stdout
    finally:
        paris.stop()
        tokyo.stop()


@pytest.mark.parametrize(
    ("went", "came", "code"), [(False, True, 3), (True, False, 4), (False, False, 5)]
)
def test_the_exit_code_says_which_half_is_missing(went: bool, came: bool, code: int) -> None:
    assert Unconfirmed("x", went, came).exit_code == code


def waiting(changes: int, size: int, at_least: bool = False) -> dict[str, Any]:
    return {"changes": changes, "bytes": size, "oldest_seconds": 5.4, "at_least": at_least}


def test_what_is_behind_is_said_in_words() -> None:
    assert replication._waiting(None) is None
    assert replication._waiting(waiting(0, 0)) == "0"
    assert replication._waiting(waiting(3, 999)) == "3 (999 B)"
    assert replication._waiting(waiting(10_000, 3_400_000, True)) == "at least 10000 (3.4 MB)"
    assert replication._size(2_500_000_000_000_000) == "2500.0 TB"
    peer = {"state": "BEHIND", "to_take": waiting(12, 5), "root": ""}
    assert replication._state(peer) == "BEHIND 12, oldest 5 s"
    assert replication._state(peer | {"to_take": None}) == "BEHIND"
    assert replication._state(peer | {"state": "IDENTICAL", "root": "ab" * 16}) == (
        "IDENTICAL @abababababab"
    )
    idle = peer | {"state": "IDLE", "root": "ab" * 16, "drawn_ms": 2**50}
    assert replication._state(idle) == "IDLE, drawn 0 s ago, identical @abababababab"


def test_what_does_not_go_by_itself_is_pointed_out() -> None:
    problem = {"what": "x", "reason": "bad\x1b", "attempts": 2, "next_try_seconds": 3.2}
    peer = {
        "name": "tokyo",
        "problems": [problem, problem | {"reason": ""}],
        "failing": 5,
        "their_problems": [{"what": "y", "reason": "worse"}],
        "files": {
            "exported_ms": 1_796_000_000_000,
            "exported_position": 7,
            "exported_bytes": 2_000,
            "imported_ms": 1_796_000_001_000,
            "imported_position": 9,
            "beyond_gap": 1,
        },
        "differs": True,
        "poll_seconds": 300,
        "doorbell": "away",
        "doorbell_error": "MqttError: not authorised\x1b",
        "next_draw_seconds": 7.4,
        "pace": {"limit_in": 300_000, "rate_in": 290_000, "limit_out": 0, "rate_out": 5},
    }
    absent = {"objects": 3, "bytes": 3000, "to_come": 2, "to_come_bytes": 20}
    facts = {"peers": [peer], "conflicts": 2, "absent": absent}
    assert replication._remarks(facts) == [
        "from tokyo: 300 KB/s at most, 283.2 KiB/s measured",
        "from tokyo: x: bad? (tried 2 times, again in 3 s)",
        "from tokyo: 4 more like these",
        "to tokyo: y: worse",
        "tokyo: the broker is away (MqttError: not authorised?); it is drawn in 7 s",
        "to tokyo: exported 2026-11-30T00:53:20Z, 2.0 kB, up to 7",
        "from tokyo: imported 2026-11-30T00:53:21Z, up to 9",
        "from tokyo: an earlier file is missing: import it",
        "tokyo does not hold the same, though nothing is on its way",
        "3 objects (3.0 kB) are held by other datacenters only, by the rules of their buckets",
        "2 of them (20 B) belong here now, and are being fetched",
        "2 conflicts are kept",
    ]
    assert replication._remarks(facts | {"peers": [], "conflicts": 1})[-1] == "1 conflict is kept"
