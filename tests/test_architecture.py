"""The import rules of docs/architecture.md: one way, no circles, ports instead of the outside."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).parent.parent
PACKAGES = ("tokens", "dc", "gateway", "notary", "replicator", "admin")
ALLOWED = {
    "tokens": set(),
    "dc": {"tokens"},
    "gateway": {"dc", "tokens"},
    "notary": {"dc", "tokens"},
    "replicator": {"dc", "tokens"},
    "admin": {"dc", "tokens", "gateway", "notary", "replicator"},
}

THREADED = {
    "dc/objects/coded_disks.py": {"threading"},
    "dc/objects/slot_map.py": {"threading"},
    "dc/objects/coded_file.py": {"threading"},
    "dc/objects/nodes/client.py": {"threading"},
    "dc/objects/pace.py": {"threading"},
    "dc/objects/nodes/server.py": {"threading"},
    "dc/objects/reader.py": {"threading"},
    "notary/hook_threads.py": {"threading"},
}
"""Their open files are used in the disk's threads, so they lock; hooks are others' code."""


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_packages_import_one_way():
    graph = grimp.build_graph(*PACKAGES)
    wrong = [
        f"{module} imports {imported}"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if (source := module.split(".")[0]) != (target := imported.split(".")[0])
        and target not in ALLOWED[source]
    ]
    assert not wrong


def test_no_file_is_part_of_a_circle():
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False)
    circles = [
        f"{module} <-> {imported}"
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
        if graph.find_shortest_chain(importer=imported, imported=module)
    ]
    assert not circles


def test_every_module_is_imported_by_something():
    graph = grimp.build_graph(*PACKAGES)
    # admin.serve is what `farshore serve` turns into; dc.objects.scan is for tests so far.
    # Plug-ins are entry points of the project.
    entrances = {"admin.cli", "admin.__main__", "admin.serve", "dc.objects.scan"}
    points = project()["project"]["entry-points"]["farshore.notary"]
    entrances |= {each.partition(":")[0] for each in points.values()}
    orphans = [
        module
        for module in graph.modules
        if not graph.find_modules_that_directly_import(module)
        and not module.endswith("__init__")
        and not graph.find_children(module)
        and module not in entrances
    ]
    assert not orphans


def test_the_wheel_holds_the_packages():
    assert set(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(PACKAGES)
    assert project()["project"]["scripts"] == {"farshore": "admin.cli:main"}


def test_import_linter_agrees():
    """The same layers, as `make check` holds them; both must be kept in step."""
    command = [Path(sys.executable).parent / "lint-imports", "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_nothing_blocks_or_reaches_around_the_ports():
    """`open`, sockets, subprocesses and threads belong to dc/system.py and to admin."""
    wrong = []
    for package in ("tokens", "dc", "gateway", "notary", "replicator"):
        for path in (ROOT / package).rglob("*.py"):
            if path == ROOT / "dc/system.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names = {node.module or ""}
                else:
                    continue
                names -= THREADED.get(str(path.relative_to(ROOT)), set())
                for name in names & {"socket", "subprocess", "threading", "pickle", "marshal"}:
                    wrong.append(f"{path.relative_to(ROOT)}: {name}")
    assert not wrong
