"""Every command, option and field of the configuration is named by its page."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from admin.cli import app
from dc import config as configuration

DOCS = Path(__file__).parents[2] / "docs"


def commands(command: Any, path: str = "farshore") -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", {})
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}")
    if not inner:
        yield path, command


def test_every_command_and_option_is_documented() -> None:
    page = (DOCS / "cli.md").read_text()
    found = list(commands(typer.main.get_command(app)))
    assert len(found) >= 16
    for path, command in found:
        heading = f"\n### {path}"
        assert heading in page, f"docs/cli.md has no heading for {path}"
        section = page.partition(heading)[2].partition("\n### ")[0]
        words = path.removeprefix("farshore ")
        assert f" {words}" in section.partition("\n")[2], f"docs/cli.md: no example of {path}"
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option not in ("--help", "--json"):
                    assert option in section, f"docs/cli.md: {path} has no word on {option}"
    for option in ("-C", "FARSHORE_DC", "--json", "--version", "--help"):
        assert f"`{option}" in page


def test_every_reason_of_a_refused_certificate_is_documented() -> None:
    page = (DOCS / "notary.md").read_text()
    table = page.partition("\n## Verifying\n")[2].partition("\n## ")[0]
    for name in ("certificate", "auditing"):
        text = (DOCS.parent / "notary" / f"{name}.py").read_text()
        reasons = set(re.findall(r'CertificateRefused\(\s*f?"([^"]+)"', text))
        reasons |= set(re.findall(r'_unbase64\([^,()]+, "([^"]+)"', text))
        assert len(reasons) > 5
        for reason in reasons - {"other-{what}"}:
            assert f"`{reason}`" in table, f"docs/notary.md has no word on {reason}"


def test_every_field_is_documented() -> None:
    page = (DOCS / "configuration.md").read_text()
    for path, description, default in configuration.fields():
        assert f"| `{path}` |" in page, f"docs/configuration.md does not name {path}"
        row = page.partition(f"| `{path}` |")[2].partition("\n")[0]
        assert description.split(".")[0].split(":")[0][:30] in row.replace("`", ""), path
        if isinstance(default, str):
            assert (f"`{default}`" if default else "empty") in row, path
