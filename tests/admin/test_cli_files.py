"""`farshore dc add --offline`, `replication export` and `import`, with real datacenters."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import typer

from admin.commands import exchanging
from admin.errors import AdminError
from tests.admin.conftest import FARSHORE, Serving, init


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Serving, Serving]]:
    """Paris and Tokyo, which cannot reach each other."""
    for name in ("paris", "tokyo"):
        init(tmp_path / name, name, "--advertise", "127.0.0.1:1")
    running = Serving(tmp_path / "paris"), Serving(tmp_path / "tokyo")
    yield running
    for one in running:
        one.stop()


class Answers:
    """An admin API whose last export lacks two bodies."""

    def download(self, *_: str, body: object) -> Iterator[bytes]:
        yield b"a file"

    def get(self, *_: str) -> dict[str, object]:
        files = {"exported_changes": 3, "exported_position": 9, "exported_unreadable": 2}
        return {"peers": [{"name": "tokyo", "dc_id": "b" * 16, "files": files}]}


def test_an_export_without_some_bodies_is_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exchanging, "client", lambda _: Answers())
    file = tmp_path / "paris-1.farshore"
    with pytest.raises(typer.Exit) as ended:
        exchanging.export(cast(typer.Context, None), str(file), "tokyo", as_json=True)
    assert ended.value.exit_code == 1 and file.read_bytes() == b"a file"
    told = capsys.readouterr()
    assert json.loads(told.out)["unreadable"] == 2 and "2 bodies could not be read" in told.err


class Breaks(Answers):
    """One that ends, in a way, after some bytes."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def download(self, *_: str, body: object) -> Iterator[bytes]:
        yield b"a fi"
        raise self._error


@pytest.mark.parametrize("error", [AdminError("it ended early"), KeyboardInterrupt()], ids=repr)
def test_an_export_that_fails_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
) -> None:
    file = tmp_path / "paris-1.farshore"
    monkeypatch.setattr(exchanging, "client", lambda _: Breaks(error))
    with pytest.raises(type(error)):
        exchanging.export(cast(typer.Context, None), str(file), "tokyo", as_json=True)
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""
    # What a kill has left is replaced, which is said.
    (tmp_path / "paris-1.farshore.part").write_bytes(b"a longer piece of a file")
    monkeypatch.setattr(exchanging, "client", lambda _: Answers())
    with pytest.raises(typer.Exit):
        exchanging.export(cast(typer.Context, None), str(file), "tokyo", as_json=True)
    assert [one.name for one in tmp_path.iterdir()] == [
        file.name
    ] and file.read_bytes() == b"a file"
    assert "paris-1.farshore.part is of an export that was interrupted" in capsys.readouterr().err


def test_by_files_alone(two: tuple[Serving, Serving], tmp_path: Path) -> None:
    paris, tokyo = two
    tokens = [one.cli("token", "issue").stdout.strip() for one in two]
    there = tokyo.facts("dc", "add", tokens[0], "--offline")
    done = paris.cli("dc", "add", tokens[1], "--offline")
    assert done.returncode == 0 and there["code"] in done.stdout and there["by_files"]
    assert paris.cli("user", "add", "ann@example.org").returncode == 0
    file = tmp_path / "paris-1.farshore"
    made = paris.facts("replication", "export", "--to", "tokyo", str(file))
    assert made["bytes"] == file.stat().st_size and file.stat().st_mode & 0o077 == 0
    again = paris.cli("replication", "export", "--to", "tokyo", str(file))
    assert again.returncode == 1 and "choose another name" in again.stderr
    altered = bytearray(file.read_bytes())
    altered[-10] ^= 1
    wrong = tmp_path / "altered.farshore"
    wrong.write_bytes(altered)
    refused = tokyo.cli("replication", "import", str(wrong))
    assert refused.returncode == 1 and "altered: chunk" in refused.stderr
    taken = tokyo.facts("replication", "import", str(file))
    assert taken["complete"] and taken["unfinished"] == 0
    assert [user["email"] for user in tokyo.facts("user", "list")] == ["ann@example.org"]
    # Through pipes, the way back.
    with subprocess.Popen(
        [*FARSHORE, "-C", str(tokyo.root), "replication", "export", "--to", "paris", "-"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as exporting:
        done = subprocess.run(
            [*FARSHORE, "-C", str(paris.root), "replication", "import", "-"],
            stdin=exporting.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "tokyo has our feed up to position" in done.stdout
    assert "both held the same when the file was made" in done.stdout
    shown = paris.cli("replication", "status").stdout
    assert "OFFLINE, by files" in shown and "to tokyo: exported" in shown
    (peer,) = paris.facts("replication", "status")["peers"]
    assert peer["our_acked"] >= made["position"] and peer["files"]["acked_ms"]
    assert paris.cli("replication", "export", "--to", "rome", "-").returncode == 1
    late = paris.cli("replication", "export", "--to", "tokyo", "--from", "9999999", "-")
    assert late.returncode == 1 and "ends at position" in late.stderr
    assert tokyo.cli("replication", "import", str(tmp_path / "none")).returncode == 1
    assert tokyo.cli("replication", "import", str(paris.root / "run.json")).returncode == 1
    # A refusal comes while the file is sent.
    large = tmp_path / "large"
    large.write_bytes(b"farshore-export\n" + bytes(40_000_000))
    refused = paris.cli("replication", "import", str(large))
    assert refused.returncode == 1 and "altered: a header cannot have 0 bytes" in refused.stderr
