"""No regular expression takes more than linear time, whatever the text.

Published as Swift CVE-2026-71190. Every expression that a module of ours keeps is tried on texts
that repeat what it is about; none may be made elsewhere.
"""

import ast
import importlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "dc", "replicator", "admin", "tokens")
OWN_FILES = {"dc.config"}
"""What only reads files of the operator."""
LENGTH = 20_000
LIMIT_S = 0.05
BEGINNINGS = (
    *("", "arn:", "arn:aws:iam::", "arn:aws:iam::1:user/", "arn:aws:sns:", "arn:aws:sns:a:b:"),
    *("farshore:", "${", "${a", "id=", 'id="', "uri=", "a@", "-", "[", "ForAllValues:", "1.", "."),
)
REPEATED = (
    *("a", "A", "0", " ", "\t", "\n", "/", "a/", "-", ".", "a.", ":", "a:", "=", "a=", ",", "a,"),
    *('"', "'", "@", "a@", "*", "?", "${", "}", "${a}", "{", "\0", "\u0663", "ü", "a b", "_", "[a"),
)
ENDS = ("", "\0", "\n", "*", "}", ",", "!")


def modules() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if not name.endswith("__main__"):
                yield name.removesuffix(".__init__")


class Kept(NamedTuple):
    """An expression, and the methods of it that its module uses."""

    pattern: re.Pattern[str]
    methods: frozenset[str]


def patterns() -> dict[str, Kept]:
    found: dict[str, Kept] = {}
    for name in set(modules()) - OWN_FILES:
        module = importlib.import_module(name)
        source = Path(module.__file__ or "").read_text()
        for key, value in vars(module).items():
            methods = re.findall(rf"\b{key}\.(match|fullmatch|search|split|sub|find\w+)\(", source)
            # Of `re.compile(...).fullmatch` only the method is kept.
            whole = getattr(value, "__self__", None)
            if isinstance(whole, re.Pattern):
                found[f"{name}.{key}"] = Kept(whole, frozenset((value.__name__,)))
            elif isinstance(value, re.Pattern) and methods:
                found[f"{name}.{key}"] = Kept(value, frozenset(methods))
    return found


def calls(source: str) -> Iterator[ast.Call]:
    """Of functions of `re`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            where = node.func.value
            if isinstance(where, ast.Name) and where.id == "re":
                yield node


def seconds(kept: Kept, text: str) -> float:
    began = time.process_time()
    for method in kept.methods:
        if method == "sub":
            kept.pattern.sub("", text)
        else:
            getattr(kept.pattern, method)(text)
    return time.process_time() - began


KEPT = patterns()


@pytest.mark.parametrize("name", sorted(KEPT))
def test_each_takes_linear_time(name: str) -> None:
    for beginning in BEGINNINGS:
        for repeated in REPEATED:
            for end in ENDS:
                text = beginning + repeated * (LENGTH // len(repeated)) + end
                took = seconds(KEPT[name], text)
                if took > LIMIT_S:  # The machine may have been busy: look again.
                    took = min(seconds(KEPT[name], text) for _ in range(3))
                assert took < LIMIT_S, (beginning, repeated, end)


def test_none_is_made_of_what_is_sent() -> None:
    """An expression is a constant of a module: clients' texts are not made into one."""
    kept = 0
    for name in modules():
        path = ROOT / (name.replace(".", "/") + ".py")
        if not path.exists() or name in OWN_FILES:
            continue
        tree = ast.parse(path.read_text())
        outside = {id(node) for one in tree.body for node in ast.walk(one)
                   if isinstance(one, ast.Assign | ast.AnnAssign)}  # fmt: skip
        for call in calls(path.read_text()):
            assert isinstance(call.func, ast.Attribute)
            if call.func.attr == "compile":
                kept += 1
            else:
                assert isinstance(call.args[0], ast.Constant), ast.unparse(call)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "re.compile":
                assert id(node) in outside, f"{name}: {ast.unparse(node)}"
    assert kept > 30


def test_the_search_finds_slow_ones() -> None:
    slow = Kept(re.compile(r"\s*="), frozenset(("search",)))
    assert seconds(slow, " " * LENGTH) > LIMIT_S
