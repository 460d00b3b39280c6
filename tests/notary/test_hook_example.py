"""The example of docs/notary-hooks.md is run, and what the page says of the shipped plug-ins is
held."""

import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from plugin_kit import entry, settings

from notary import hooks
from notary.entries import encode
from notary.errors import NotaryRefused
from notary.plugins import opentimestamps, rfc3161, service

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/notary_file_hook"
PAGE = (ROOT / "docs/notary-hooks.md").read_text()
SHIPPED = {"rfc3161": rfc3161, "opentimestamps": opentimestamps, "service": service}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The module that the example's entry point names."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][hooks.GROUP] == {"file": "notary_file_hook:make"}
    spec = importlib.util.spec_from_file_location(
        "notary_file_hook", EXAMPLE / "notary_file_hook.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_entries_are_appended_once_each(example: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    each = [entry(number) for number in range(10)]
    hook = example.make(settings(tmp_path, {"path": "entries.jsonl"}))
    assert hook.name == "file" and hook.entries_max > 0
    await hook.entries(0, each[:4])
    await hook.entries(2, each[2:6])
    again = example.make(settings(tmp_path, {"path": "entries.jsonl"}))
    await again.entries(0, each[:3])
    with path.open("ab") as file:
        file.write(b'{"index":6,"ent')
    await again.entries(6, each[6:])
    found = lines(path)
    assert [one["index"] for one in found] == list(range(10))
    assert [one["entry"] for one in found] == [json.loads(encode(one)) for one in each]


async def test_a_crash_in_the_first_line(example: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "entries.jsonl"
    path.write_bytes(b'{"index":0')
    hook = example.make(settings(tmp_path, {"path": "entries.jsonl"}))
    await hook.entries(0, [entry(0)])
    assert [one["index"] for one in lines(path)] == [0]


def test_it_is_not_set_up_without_options(example: ModuleType, tmp_path: Path) -> None:
    assert example.make(settings(tmp_path, None)) is None
    for options in ({}, {"path": ""}, {"path": 1}, {"path": "x", "other": 1}):
        with pytest.raises(NotaryRefused):
            example.make(settings(tmp_path, options))


def test_the_shipped_plug_ins_are_entry_points() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][hooks.GROUP] == {
        name: f"{module.__name__}:make" for name, module in SHIPPED.items()
    }
    for name, module in SHIPPED.items():
        assert name == module.NAME
        assert f"\n## {name}\n" in PAGE


def test_the_page_has_all_options_and_all_of_the_interface() -> None:
    for name, module in SHIPPED.items():
        section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for option in module.Options.__struct_fields__:
            assert f"\n| `{option}` |" in section, f"{name}: {option}"
    section = PAGE.partition("\n## Writing one\n")[2]
    for name in vars(hooks.Hook):
        if not name.startswith("_") and name != "name":
            assert f"\n| `{name}" in section, name
    for name in hooks.Settings._fields:
        assert f"`{name}`" in section, name
