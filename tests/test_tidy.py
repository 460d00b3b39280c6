"""Habits that a machine can hold: sizes, docstrings, nothing left open, nothing generated."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINES_MAX = 500
TEST_LINES_MAX = 700
FUNCTION_LINES_MAX = 70
FILE_BYTES_MAX = 1 << 20
CHECKS = re.compile(
    r"Assert\(|raises|check|verify|expect|assert|refused|reason_of|fromstring|eventually"
)


def tracked() -> list[Path]:
    """Files of the project: those git knows, or all but the hidden ones in an unpacked copy."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found = [ROOT / name for name in done.stdout.split("\0") if name]
        return [path for path in found if path.is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


FILES = tracked()
PYTHON = [path for path in FILES if path.suffix == ".py"]


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_room(path: Path):
    text = path.read_text()
    tree = ast.parse(text)
    is_test = path.is_relative_to(ROOT / "tests")
    assert ast.get_docstring(tree), "a module says what it is for"
    assert text.count("\n") <= (TEST_LINES_MAX if is_test else LINES_MAX)
    long = [
        f"{node.name}: {lines} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long
    left_open = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
    assert not re.search(rf"\b({left_open})\b", text)


def test_every_test_checks_something():
    empty = []
    for path in PYTHON:
        if not path.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
                "test_"
            ):
                body = ast.dump(node)
                if not CHECKS.search(body):
                    empty.append(f"{path.name}: {node.name}")
    assert not empty


def test_files_of_tests_have_names_of_their_own():
    """They are imported by their bare names, and a second of the same name cannot be."""
    names = [path.name for path in PYTHON if path.is_relative_to(ROOT / "tests")]
    assert [name for name in set(names) - {"conftest.py"} if names.count(name) > 1] == []
    assert "__init__.py" not in names, "it would hide the package of the same name"


def test_nothing_large_or_generated_is_kept():
    assert not [path for path in FILES if path.stat().st_size > FILE_BYTES_MAX]
    assert not [path for path in FILES if path.suffix in {".pyc", ".so", ".db", ".whl"}]


def test_pins_hold_no_addresses():
    pins = (ROOT / "constraints.txt").read_text()
    assert "://" not in pins
    lines = [line for line in pins.splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", line) for line in lines)


def test_markdown_links_lead_somewhere():
    broken = []
    for path in FILES:
        if path.suffix == ".md":
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
                if "://" not in target and not (path.parent / target).exists():
                    broken.append(f"{path.relative_to(ROOT)}: {target}")
    assert not broken
