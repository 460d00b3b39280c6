"""The command line from outside: exit codes, one clear line on standard error, no traceback."""

import json
import os
import re
import resource
import shutil
import socket
import time
from pathlib import Path

import pytest

from tests.admin.conftest import ANY_PORTS, Serving, farshore, init

pytestmark = pytest.mark.process


def refused(*args: str | Path, code: int = 1, **more: object) -> str:
    """The one line that a refused command says."""
    done = farshore(*args, **more)
    assert done.returncode == code, done
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("farshore: "), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.removeprefix("farshore: ").rstrip()


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A datacenter that does not run. Tests work on copies of it."""
    root = tmp_path_factory.mktemp("stopped") / "paris"
    init(root)
    return root


@pytest.fixture
def dc(stopped: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stopped, tmp_path / "paris"))


# -- a folder that is none ----------------------------------------------------------------------


@pytest.mark.parametrize("command", [["serve", "DIR"], ["-C", "DIR", "user", "list"]])
def test_absent_or_no_datacenter(tmp_path: Path, command: list[str]) -> None:
    root = tmp_path / "paris"
    args = [str(root) if arg == "DIR" else arg for arg in command]
    assert "does not exist: make it with `farshore init" in refused(*args)
    root.mkdir()
    assert "is not a datacenter, it has no farshore.toml" in refused(*args)
    root.rmdir()
    root.touch()
    assert "is a file" in refused(*args)


def test_init_refuses_what_is_there(dc: Path, tmp_path: Path) -> None:
    assert "is a datacenter already" in refused("init", dc, "--name", "tokyo")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").touch()
    assert "is not empty" in refused("init", tmp_path / "full", "--name", "tokyo")


@pytest.mark.parametrize("name", ["Paris", "", "-a", "a" * 33, "a.b", "a b", "par\nis", "é"])
def test_init_refuses_bad_names(tmp_path: Path, name: str) -> None:
    assert "is not a valid name" in refused("init", tmp_path / "x", "--name", name, code=2)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--s3", "8000", "s3.listen: '8000' is not HOST:PORT"),
        ("--admin", "a:b", "admin.listen"),
        ("--advertise", "nowhere", "peer.advertise[0]"),
        ("--peer", "0.0.0.0:7000", "peer.advertise: must be given when peer.listen is 0.0.0.0"),
        ("--s3", "127.0.0.1:7000", "same address"),
        ("--region", "EU", "region"),
    ],
)
def test_init_refuses_bad_addresses(tmp_path: Path, option: str, value: str, words: str) -> None:
    said = refused("init", tmp_path / "x", "--name", "paris", option, value, code=2)
    assert words in said
    assert not (tmp_path / "x").exists()


def test_a_disk_without_room_is_said(tmp_path: Path) -> None:
    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    line = refused("init", tmp_path / "x", "--name", "paris", preexec_fn=no_room)
    assert "no space left to write to" in line
    init(tmp_path / "x")


# -- a datacenter that cannot start -------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[s3]", "[s3]\nport = 1", ", line 20: s3.port: unknown field"),
        ('region = "paris"', "region = 1", ", line 9: region: Expected `str`, got `int`"),
        ("[admin]", "[admin", ": not TOML"),
    ],
)
def test_serve_names_a_wrong_field_and_its_line(dc: Path, old: str, new: str, words: str) -> None:
    config = dc / "farshore.toml"
    config.write_text(config.read_text().replace(old, new))
    line = refused("serve", dc)
    assert str(config) in line
    assert words in line


@pytest.mark.parametrize("name", ["identity", "peer.key", "data.key", "admin.token"])
def test_serve_refuses_secrets_open_to_others(dc: Path, name: str) -> None:
    (dc / name).chmod(0o640)
    line = refused("serve", dc)
    assert name in line and "mode 0640" in line and "chmod 600" in line


@pytest.mark.parametrize("name", ["identity", "peer.key", "data.key", "admin.token", "peer.crt"])
@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_serve_refuses_missing_and_damaged_files(dc: Path, name: str, damage: str) -> None:
    path = dc / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"")
    assert "restore it from a backup" in refused("serve", dc)


@pytest.mark.parametrize("what", ["s3", "peer", "admin"])
def test_serve_names_a_port_that_is_taken(dc: Path, what: str) -> None:
    config = dc / "farshore.toml"
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        text = config.read_text()
        section = text.index(f"[{what}]")
        text = text[:section] + text[section:].replace("127.0.0.1:0", f"127.0.0.1:{port}", 1)
        config.write_text(text)
        line = refused("serve", dc)
    assert f"port {port} is taken" in line and f"{what}.listen" in line


def test_serve_refuses_an_address_of_another_machine(dc: Path) -> None:
    config = dc / "farshore.toml"
    config.write_text(config.read_text().replace("127.0.0.1:0", "192.0.2.1:0", 1))
    assert "192.0.2.1:0 is no address of this machine" in refused("serve", dc)


def test_commands_for_a_datacenter_that_does_not_run(dc: Path) -> None:
    expected = f"the datacenter in {dc} is not running: start it with `farshore serve {dc}`"
    for command in (
        ["user", "list"],
        ["user", "add", "ann@example.com"],
        ["token", "issue"],
        ["dc", "add", "x"],
        ["dc", "list"],
        ["replication", "status"],
        ["status"],
        ["health"],
    ):
        assert refused("-C", dc, *command) == expected
    # Also when it was ended so that run.json stayed behind, and another program has its port.
    with socket.create_server(("127.0.0.1", 0)) as held:
        run = {"pid": 1, "admin": {"host": "127.0.0.1", "port": held.getsockname()[1]}}
        (dc / "run.json").write_text(json.dumps(run))
        assert refused("-C", dc, "status") == expected


# -- wrong usage --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["nonsense"],
        ["init"],
        ["init", "x"],
        ["serve"],
        ["user"],
        ["user", "add"],
        ["user", "list", "--nonsense"],
        ["user", "list"],
        ["lab", "--dcs", "0"],
        ["lab", "--dcs", "3", "--names", "a,b"],
        ["token", "issue", "--hours", "x"],
    ],
)
def test_wrong_usage_is_2(args: list[str], tmp_path: Path) -> None:
    done = farshore(*args, cwd=tmp_path, variables={"PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 2
    assert "Usage:" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_has_an_example_for_every_command() -> None:
    commands = [
        "init", "serve", "status", "health", "lab", "user add", "user list", "user keys",
        "user delete", "user key add", "user key revoke", "token issue", "dc add", "dc list",
        "dc remove", "replication status",
    ]  # fmt: skip
    for command in commands:
        done = farshore(*command.split(), "--help")
        assert done.returncode == 0
        assert re.search(r"Examples?:\n    .*farshore ", done.stdout), done.stdout


def test_version_and_speed() -> None:
    best = 9.0
    for _ in range(5):
        started = time.perf_counter()
        done = farshore("--version")
        best = min(best, time.perf_counter() - started)
        assert re.fullmatch(r"farshore \d+\.\d+\.\d+\n", done.stdout)
    assert best < 1.0


# -- a datacenter that runs ---------------------------------------------------------------------


def test_already_running(serving: Serving) -> None:
    line = refused("serve", serving.root)
    assert line.endswith(f"is already running (pid {serving.process.pid})")
    assert serving.facts("health") == {"status": "ok"}


def test_users_and_keys_from_first_to_last(serving: Serving) -> None:
    made = serving.facts("user", "add", "ann@example.com")
    assert list(made) == ["email", "canonical_id", "access_key", "secret_key"]
    assert made["email"] == "ann@example.com"
    second = serving.cli("user", "key", "add", "ann@example.com")
    found = re.search(r"access key +(FS\w{18})\nsecret key +(\w{40})\n", second.stdout)
    assert found is not None
    dc = ["-C", serving.root]
    assert "2 keys" in refused(*dc, "user", "key", "add", "ann@example.com")
    assert "already" in refused(*dc, "user", "add", "ann@example.com")
    keys = [made["access_key"], found[1]]
    assert [key["access_key"] for key in serving.facts("user", "keys", "ann@example.com")] == keys
    listed = serving.facts("user", "list")
    (row,) = [one for one in listed if one["canonical_id"] == made["canonical_id"]]
    assert row["email"] == "ann@example.com" and row["access_keys"] == keys
    assert not row["shared_email"] and row["created"].endswith("Z")
    assert made["secret_key"] not in serving.cli("user", "list").stdout
    serving.facts("user", "key", "revoke", "ann@example.com", keys[0])
    assert "has no key" in refused(*dc, "user", "key", "revoke", "ann@example.com", keys[0])
    serving.facts("user", "delete", "ann@example.com")
    assert "no user 'ann@example.com'" in refused(*dc, "user", "keys", "ann@example.com")
    assert row not in serving.facts("user", "list")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["user", "add", "nonsense"], "'nonsense' is not an email address"),
        (["user", "delete", "eve@example.com"], "no user 'eve@example.com'"),
        (["user", "key", "add", "../../status"], "no user '../../status'"),
        (["user", "key", "revoke", "eve@example.com", "FSX"], "no user"),
        (["dc", "add", "nonsense"], ""),
        (["dc", "remove", "tokyo"], "'tokyo' is not paired"),
        (["dc", "move", "tokyo", "b:1"], "'tokyo' is not paired"),
    ],
)
def test_what_a_running_datacenter_refuses(serving: Serving, args: list[str], words: str) -> None:
    assert words in refused("-C", serving.root, *args)


def test_the_folder_may_come_from_the_environment(serving: Serving) -> None:
    done = farshore("status", "--json", variables={"FARSHORE_DC": str(serving.root)})
    facts = json.loads(done.stdout)
    assert facts["name"] == "paris"
    assert facts["pid"] == serving.process.pid
    with socket.create_connection(("127.0.0.1", int(facts["s3"].rpartition(":")[2]))):
        pass


def test_a_token_open_to_others_is_refused(serving: Serving) -> None:
    token = serving.root / "admin.token"
    token.chmod(0o644)
    try:
        assert "mode 0644" in refused("-C", serving.root, "status")
    finally:
        token.chmod(0o600)


def test_proxies_are_not_asked(serving: Serving) -> None:
    proxy = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    assert farshore("-C", serving.root, "health", variables=proxy).returncode == 0


def test_output_that_nobody_reads(serving: Serving) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = farshore_to(writer, "-C", str(serving.root), "user", "list", "--json")
    finally:
        os.close(writer)
    assert "Traceback" not in done


def farshore_to(stdout: int, *args: str) -> str:
    import subprocess

    from tests.admin.conftest import FARSHORE

    return subprocess.run(
        [*FARSHORE, *args], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    ).stderr


def test_ports_stay_the_same_as_long_as_they_are_free(tmp_path: Path) -> None:
    done = farshore("init", tmp_path / "x", "--name", "x", *ANY_PORTS, "--json")
    assert json.loads(done.stdout)["name"] == "x"
    first = Serving(tmp_path / "x")
    before = first.facts("status")
    first.stop()
    second = Serving(tmp_path / "x")
    after = second.facts("status")
    second.stop()
    for what in ("s3", "peer", "admin"):
        assert before[what] == after[what]
