"""`farshore objects`: how the bytes of objects are kept, and giving back space."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from admin.commands.common import AsJson, client, family

app = family("The bytes of objects: redundancy, space, and what is done about them.")
_TELL_EACH = 10
"""Lines of progress without anything new after which it is said again what runs."""


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show how many objects have all their fragments, how many bytes are alive, garbage, and taken
    on the disks, and what runs: scrub and repair, re-coding, compaction, and how long it still
    takes.

    \b
    Examples:
      farshore -C paris objects status
      farshore -C paris objects status --json
    """
    from admin.output import print_fields, print_json

    facts = client(context).get("objects")
    if as_json:
        print_json(facts)
    else:
        print_fields(_shown(facts))


@app.command()
def compact(
    context: typer.Context,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Which part of a container must be garbage. objects.compaction_threshold if not"
            " given; 0 takes every container with any.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give back the space of deleted and overwritten objects now, and wait until that is done.

    It takes objects.compaction_grace (a minute) twice at the least, for what is not needed any
    more is looked at twice before it is removed. Ctrl-C ends the waiting, not the work.

    \b
    Examples:
      farshore -C paris objects compact
      farshore -C paris objects compact --threshold 0.1 --json
    """
    from admin.output import print_fields, print_json

    lines = client(context).lines("objects", "compact", body={"threshold": threshold})
    facts = _report(lines)
    if as_json:
        print_json(facts)
    else:
        print_fields(facts)


def _report(lines: Iterator[Any]) -> Any:
    """The report in an answer; progress goes to standard error: each new step, and how far it is
    now and then."""
    from admin.output import print_note

    doing, silent = "", 0
    for line in lines:
        if "report" in line:
            return line["report"]
        progress, silent = line["progress"], silent + 1
        if progress["doing"] != doing or silent >= _TELL_EACH:
            doing, silent = progress["doing"], 0
            print_note(_compaction(progress))
    return None


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    """Flat, for people."""
    from admin.commands.comparing import size

    space, shown = facts["space"], {"redundancy": facts["redundancy"]}
    if space is None:
        shown["objects"] = "not counted yet"
    else:
        whole, count = space["objects_whole"], space["objects"]
        shown["objects"] = f"{whole:,} of {count:,} at full redundancy"
        for name in ("live", "garbage", "raw"):
            shown[f"bytes {name}"] = size(space[f"bytes_{name}"])
        shown["counted"] = f"{space['counted_seconds_ago']:.0f} s ago"
    shown["containers"] = facts["containers"]
    shown["to re-code"] = _recoding(facts["recoding"])
    repair = facts["repair"]
    if repair is not None:
        shown["repair"] = repair["doing"]
        if repair["containers_left"]:
            shown["repair"] += f", {repair['containers_left']} containers to go"
            shown["repair"] += f", {repair['seconds_left']:.0f} s left"
        shown["scrub"] = _scrub(repair["scrub"])
    doing = facts["compaction"]
    shown["compaction"] = _compaction(doing)
    shown["freed"] = f"{size(doing['freed_bytes'])}, {doing['removed_containers']} containers"
    shown["damaged"] = doing["damaged_containers"] or "none"
    return shown


def _scrub(scrub: dict[str, Any]) -> str:
    """How far the round of scrubbing is, in a line."""
    if scrub["state"] == "none yet":
        return "no round has begun" if scrub["bytes_per_second"] else "turned off"
    began = datetime.fromtimestamp(scrub["began_ms"] / 1000, UTC)
    text = f"round {scrub['round']}, {scrub['percent']:.0f} %, began {began:%Y-%m-%d %H:%M:%SZ}"
    if not scrub["bytes_per_second"]:
        return f"{text}, turned off"
    if scrub["state"] == "on":
        return f"{text}, {scrub['seconds_left']:.0f} s left"
    return f"{text}, the next one in {scrub['next_in_seconds']:.0f} s"


def _recoding(left: dict[str, Any] | None) -> str:
    """What is to be moved since modes or tiers were changed."""
    from admin.commands.comparing import size

    if left is None:
        return "not counted yet"
    if not left["bytes_left"]:
        return "nothing"
    text = f"{size(left['bytes_left'])} in {left['containers_left']} containers"
    seconds = left["seconds_left"]
    how = "not done by itself" if seconds is None else f"{seconds:.0f} s left"
    return f"{text}, {how}"


def _compaction(doing: dict[str, Any]) -> str:
    """What compaction does, in a line."""
    from admin.commands.comparing import size

    text: str = doing["doing"]
    if text == "counting":
        text += f", {doing['done']:,} rows"
        text += f" of about {doing['of']:,}" if doing["of"] else ""
    elif text == "moving":
        text += f", {size(doing['done'])} of {size(doing['of'])}"
    elif text == "waiting":
        text += f", {doing['to_remove']} containers to be removed"
    if doing["seconds_left"] and text != "idle":
        text += f", {doing['seconds_left']:.0f} s left"
    return text
