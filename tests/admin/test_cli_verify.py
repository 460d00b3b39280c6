"""`farshore replication verify` and `dc add --dry-run` from outside: words and exit codes."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from dc.names.rebuild import rebuild
from tests.admin.conftest import Serving, init

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Serving]]:
    """Paris and tokyo run; they are paired by the first test."""
    root = tmp_path_factory.mktemp("dcs")
    running = []
    for name in ("paris", "tokyo"):
        init(root / name, name)
        running.append(Serving(root / name))
    yield running
    for one in running:
        one.stop()


def lose_users(root: Path, email: str) -> None:
    """What no command does: a row is gone while its datacenter is down."""
    db = sqlite3.connect(root / "names" / "names.db", isolation_level=None)
    db.execute("DELETE FROM feed WHERE seq IN (SELECT seq FROM users WHERE email = ?)", (email,))
    assert db.execute("DELETE FROM users WHERE email = ?", (email,)).rowcount == 1
    rebuild(db)
    db.close()


def test_dry_run_then_pairing_then_identical(pair: list[Serving]) -> None:
    paris, tokyo = pair
    done = paris.cli("replication", "verify")
    assert done.returncode == 3 and "no datacenter is paired" in done.stderr
    for dc, email in ((paris, "ann@example.com"), (paris, "bob@example.com"), (tokyo, "eve@x.eu")):
        assert dc.cli("user", "add", email).returncode == 0
    token = paris.cli("token", "issue").stdout.strip()
    done = tokyo.cli("dc", "add", token, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("with paris (") and "nothing was changed" in done.stdout
    facts = tokyo.facts("dc", "add", token, "--dry-run")
    assert facts["directory"]["only_there"] >= 4 and facts["directory"]["only_here"] >= 2
    assert facts["objects"]["conflicts"] == 0
    assert tokyo.facts("dc", "list") == [] and paris.facts("dc", "list") == []
    assert tokyo.cli("dc", "add", token).returncode == 0
    again = tokyo.cli("dc", "add", token, "--dry-run")
    assert again.returncode == 1 and "already paired" in again.stderr
    done = tokyo.cli("replication", "verify", "paris")
    assert done.returncode == 0, done
    assert done.stdout.startswith("paris: identical, root ")


def test_a_lost_row_is_named_and_repaired(pair: list[Serving]) -> None:
    paris, root = pair[0], pair[1].root
    pair[1].stop()
    lose_users(root, "bob@example.com")
    pair[1] = tokyo = Serving(root)
    done = tokyo.cli("replication", "verify", "--json")
    assert done.returncode == 1, done
    (report,) = json.loads(done.stdout)["peers"]
    assert (report["name"], report["identical"], report["differs"]) == ("paris", False, True)
    (found,) = report["differences"]
    assert found["what"] == "only_there" and found["there"]["kind"] == "user"
    done = tokyo.cli("replication", "verify")
    assert done.returncode == 1 and "1 only there (" in done.stdout and found["key"] in done.stdout
    done = paris.cli("replication", "verify", "tokyo", "--repair")
    assert done.returncode == 0, done
    assert "identical, root" in done.stdout and "1 repaired" in done.stdout
    assert "tokyo: repairing" in done.stderr or "tokyo: comparing" in done.stderr or not done.stderr
    emails = [user["email"] for user in tokyo.facts("user", "list")]
    assert "bob@example.com" in emails


def test_what_cannot_be_compared_says_why(pair: list[Serving]) -> None:
    paris, tokyo = pair
    done = paris.cli("replication", "verify", "lima")
    assert done.returncode == 1 and "'lima' is not paired with this datacenter" in done.stderr
    done = paris.cli("replication", "verify", "--bucket", "nowhere")
    assert done.returncode == 1 and "no bucket 'nowhere'" in done.stderr
    tokyo.stop()
    for _ in range(100):
        done = paris.cli("replication", "verify", "tokyo")
        if done.returncode == 3:
            break
    assert done.returncode == 3 and "tokyo is not connected" in done.stderr
    assert "Traceback" not in done.stderr
