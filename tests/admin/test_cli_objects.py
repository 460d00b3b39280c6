"""`farshore objects`, against a real datacenter."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.conftest import Serving, farshore, init


@pytest.fixture
def paris(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "paris"
    init(root)
    config = root / "farshore.toml"
    text = config.read_text().replace('compaction_grace = "1m"', 'compaction_grace = "1s"')
    config.write_text(text)
    served = Serving(root)
    yield root
    served.stop()


def test_status(paris: Path) -> None:
    shown = farshore("-C", paris, "objects", "status")
    assert shown.returncode == 0, shown.stderr
    assert "redundancy" in shown.stdout and "1+0" in shown.stdout
    facts = json.loads(farshore("-C", paris, "objects", "status", "--json").stdout)
    assert facts["repair"] is None
    assert set(facts) == {"redundancy", "containers", "space", "repair", "recoding", "compaction"}
    for name in ("doing", "done", "of", "seconds_left", "to_remove", "finished", "error"):
        assert name in facts["compaction"]
    flat = json.loads(farshore("-C", paris, "status", "--json").stdout)
    assert flat["bytes_freed"] == 0 and flat["containers_damaged"] == []


def test_compact_when_there_is_nothing_to_do(paris: Path) -> None:
    done = farshore("-C", paris, "objects", "compact", "--threshold", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "moved_bytes": 0,
        "removed_containers": 0,
        "freed_bytes": 0,
        "damaged_containers": [],
    }


@pytest.mark.parametrize("threshold", ["1.5", "-1", "much"])
def test_a_threshold_that_is_none(paris: Path, threshold: str) -> None:
    done = farshore("-C", paris, "objects", "compact", "--threshold", threshold)
    assert done.returncode == 2
    assert "threshold" in done.stderr


def test_help_has_examples() -> None:
    for command in ("status", "compact"):
        told = farshore("objects", command, "--help").stdout
        assert f"farshore -C paris objects {command}" in told


def test_without_a_datacenter(tmp_path: Path) -> None:
    root = tmp_path / "rome"
    init(root, "rome")
    done = farshore("-C", root, "objects", "status")
    assert done.returncode == 1 and "not running" in done.stderr
