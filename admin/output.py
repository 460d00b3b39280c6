"""What commands print: facts as JSON for programs, or as aligned plain text for people."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def print_json(facts: Any) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False))


def print_fields(facts: Mapping[str, Any]) -> None:
    """One fact a line, the names padded to the same width."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        print(f"{name:<{width}}  {_cell(value)}".rstrip())


def print_table(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """`columns` maps a row's field to the heading above it."""
    lines = [list(columns.values())]
    lines += [[_cell(row.get(field, "")) for field in columns] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())
    if not rows:
        print("(none)")


def print_note(text: str) -> None:
    """A remark for people, apart from the facts."""
    print(_cell(text), file=sys.stderr)


def print_line(text: str) -> None:
    """A line of what others wrote: no control characters to a terminal."""
    print(_cell(text))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    text = str(value)
    # Names and errors of other datacenters are shown too: no control characters to a terminal.
    return "".join(each if each.isprintable() else "?" for each in text)
