"""How comparisons are shown: progress on standard error, results on standard output."""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from admin.errors import NotCompared
from admin.output import print_fields, print_json, print_note, print_table

DIFFERS = 1
ROOT_DIGITS_SHOWN = 12
_WORDS = {
    "only_here": "only here",
    "only_there": "only there",
    "different": "different",
    "in_flight": "in flight",
}


def size(count: int) -> str:
    """Bytes, for people: 12.3 kB."""
    if count < 1000:
        return f"{count} B"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.1f} {'kMGT'[power - 1]}B"


def reports(lines: Iterator[Any], quiet: bool) -> list[dict[str, Any]]:
    """The reports in an answer; progress goes to standard error unless `quiet`."""
    found = []
    for line in lines:
        if "report" in line:
            found.append(line["report"])
        elif line["progress"] and not quiet:
            print_note(_progress(line["progress"]))
    return found


def _progress(told: dict[str, Any]) -> str:
    if "phase" not in told:
        return f"{told['looked']:,} items that are not the same, {told['seconds']:.0f} s"
    text = f"{told['peer']}: {told['phase']}, {told['looked']:,} possible differences looked into"
    text += f", {told['found']:,} found"
    if told["repaired"]:
        text += f", {told['repaired']:,} repaired"
    return f"{text}; {size(told['bytes_moved'])} moved, {told['seconds']:.0f} s"


def show_verify(found: list[dict[str, Any]], as_json: bool) -> None:
    """Print what comparisons found, and end with the exit code that says it."""
    if not found:
        raise NotCompared("no datacenter is paired with this one: there is nothing to compare with")
    if as_json:
        print_json({"peers": found})
    else:
        for report in found:
            _show_one(report)
    failed = [f"{one['name']}: {one['error']}" for one in found if one["error"]]
    if failed:
        raise NotCompared("; ".join(failed))
    if not all(one["identical"] for one in found):
        raise typer.Exit(DIFFERS)


def _show_one(report: dict[str, Any]) -> None:
    if report["error"]:
        return
    cost = f"{size(report['bytes_moved'])} moved, {report['seconds']:.1f} s"
    done = [f"{report[name]:,} {name}" for name in ("repaired", "deleted") if report[name]]
    what = f"{report['name']}, bucket {report['bucket']}" if report["bucket"] else report["name"]
    print(f"{what}: {', '.join([_verdict(report), *done])} ({cost})")
    if not report["differences"]:
        return
    rows = [
        {
            "what": _WORDS[one["what"]],
            "bucket": one["bucket"],
            "key": one["key"],
            "version": one["version"] or None,
            "here": one["here"] and f"{one['here']['kind']} {one['here']['stamp']}",
            "there": one["there"] and f"{one['there']['kind']} {one['there']['stamp']}",
        }
        for one in report["differences"]
    ]
    columns = ("what", "bucket", "key", "version", "here", "there")
    print_table(rows, {name: name.upper() for name in columns})
    total = sum(report[name] for name in _WORDS)
    if total > len(rows):
        print(f"and {total - len(rows):,} more")
    sys.stdout.flush()


def _verdict(report: dict[str, Any]) -> str:
    to_come = [
        f"{report[f'to_come_{side}']:,} bodies still to come {side}"
        for side in ("here", "there")
        if report[f"to_come_{side}"]
    ]
    found = [f"{report[name]:,} {word}" for name, word in _WORDS.items() if report[name]]
    if to_come and (report["root"] or (report["bucket"] and not found)):
        return ", ".join(["all names identical", *to_come])
    if report["root"]:
        return f"identical, root {report['root']}"
    if report["identical"] and report["bucket"]:
        return "identical"
    if report["identical"]:
        return "identical, nothing differs; no root, for they are being written to"
    return ", ".join(found + to_come)


def show_preview(found: list[dict[str, Any]], as_json: bool) -> None:
    """Print what a pairing would bring."""
    (report,) = found
    if as_json:
        print_json(report)
        return
    print(f"with {report['name']} ({report['dc_id']}); nothing was changed")
    print()
    rows = [{"what": one["name"]} | one["counts"] for one in report["buckets"]]
    rows += [{"what": "all objects"} | report["objects"]]
    rows += [{"what": "buckets, users, keys"} | report["directory"]]
    columns = {
        "what": "BUCKET",
        "equal": "EQUAL",
        "only_here": "ONLY HERE",
        "only_there": "ONLY THERE",
        "newer_here": "NEWER HERE",
        "newer_there": "NEWER THERE",
        "conflicts": "CONFLICTS",
    }
    print_table(rows, columns)
    for one in report["renamed"]:
        other = "there" if one["keeps"] == "here" else "here"
        print(f"bucket {one['name']}: the one {one['keeps']} keeps its name, the one {other} not")
    print()
    print_fields({"moved": size(report["bytes_moved"]), "took": f"{report['seconds']:.1f} s"})
