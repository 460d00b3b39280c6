"""How results are shown: a table for people, a tree for JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.limits import Limit
from bench.rows import Goal, Row

QUIET_CORES = 0.1
HEADINGS = ("what", "measured", "to reach", "CPU per op", "scale", "verdict")


@dataclass
class Result:
    """What a row gave: figures, or why there are none."""

    row: Row
    figures: dict[str, float] = field(default_factory=dict)
    failure: str = ""

    @property
    def verdict(self) -> str:
        if self.failure:
            return "FAILED"
        limited = [goal for goal in self.row.goals if goal.limit is not None]
        missed = [goal for goal in limited if not goal.reached(self.figures[goal.figure])]
        if not limited:
            return "-"
        if not missed:
            return "reached"
        if len(missed) < len(limited):
            return "CPU missed" if missed[0].cpu else f"missed ({missed[0].figure})"
        return "missed"

    @property
    def noisy(self) -> bool:
        """Whether others used the machine meanwhile, so that the figure may be too low."""
        figures = self.figures
        return figures.get("other_cores", 0) + figures.get("stolen_cores", 0) > QUIET_CORES

    def tree(self) -> dict[str, Any]:
        targets = {goal.figure: goal.limit for goal in self.row.goals if goal.limit is not None}
        return {
            "name": self.row.name,
            "what": self.row.title,
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
            "to_reach": targets,
            "verdict": self.verdict,
            **({"failure": self.failure} if self.failure else {}),
        }


def number(value: float) -> str:
    """Three digits that count, as people write them."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(results: Sequence[Result]) -> str:
    lines = [HEADINGS, *(_line(result) for result in results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rows = [_pad(line, widths) for line in lines]
    rows.insert(1, "-" * (sum(widths) + 2 * len(widths) - 2))
    rows += [f"{each.row.name}: {each.failure}" for each in results if each.failure]
    noisy = [result.row.name for result in results if result.noisy]
    if noisy:
        rows.append(
            "* others used more than a tenth of a core, so these look worse than they are: "
            + ", ".join(noisy)
        )
    return "\n".join(rows)


def markdown(summary: str, limits: Sequence[Limit], results: Sequence[Result]) -> str:
    """The same for docs/performance.md."""
    lines = [f"{summary}.", ""]
    if limits:
        lines += ["| the machine's limits | |", "|---|---|"]
        lines += [f"| {limit.title} | {number(limit.value)} {limit.unit} |" for limit in limits]
        lines.append("")
    lines += [f"| {' | '.join(HEADINGS)} |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_line(result))} |" for result in results]
    return "\n".join(lines).replace("*", "\\*") + "\n"


def _pad(line: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _line(result: Result) -> tuple[str, ...]:
    row, mark = result.row, "*" if result.noisy else ""
    plain = [goal for goal in row.goals if not goal.cpu]
    cpu = [goal for goal in row.goals if goal.cpu]
    return (
        f"{row.title}{mark}",
        _measured(result, plain),
        _wanted(plain),
        " ".join(filter(None, [_measured(result, cpu), _bracketed(_wanted(cpu))])),
        row.scale,
        result.verdict,
    )


def _measured(result: Result, goals: Sequence[Goal]) -> str:
    if result.failure or not goals:
        return ""
    return f"{' / '.join(number(result.figures[goal.figure]) for goal in goals)} {goals[0].unit}"


def _wanted(goals: Sequence[Goal]) -> str:
    limits = [f"{goal.limit:,g}" for goal in goals if goal.limit is not None]
    return f"{' / '.join(limits)} {goals[0].unit}" if limits else ""


def _bracketed(text: str) -> str:
    return f"({text})" if text else ""


def details(result: Result) -> str:
    """A line about a row that has just run."""
    if result.failure:
        return f"{result.row.name}: FAILED: {result.failure}"
    shown = ", ".join(f"{name} {number(value)}" for name, value in result.figures.items())
    return f"{result.row.name}: {shown}"


def limit_line(limit: Limit) -> str:
    text = f"  {limit.title:42} {number(limit.value):>7} {limit.unit}"
    if limit.cpu_ms is not None and limit.client_cores is not None:
        text += f"  (CPU {limit.cpu_ms:.3f} ms each, client {limit.client_cores:.2f} cores)"
    return text


def write(
    path: Path,
    about: dict[str, Any],
    summary: str,
    limits: Sequence[Limit],
    results: Sequence[Result],
) -> None:
    """All of it, as JSON; the tables beside it, in Markdown."""
    tree = {
        **about,
        "limits": [asdict(limit) for limit in limits],
        "rows": [result.tree() for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=2) + "\n")
    path.with_suffix(".md").write_text(markdown(summary, limits, results))
