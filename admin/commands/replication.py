"""`farshore replication`: how far the datacenters are apart."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from admin.commands import exchanging
from admin.commands.common import AsJson, client, family
from admin.commands.comparing import reports, show_verify
from admin.commands.comparing import size as _size
from admin.commands.limiting import pace_remarks, paused_since
from admin.output import print_json, print_table

app = family("How the changes travel between datacenters.")
app.command("export")(exchanging.export)
app.command("import")(exchanging.take)

ROOT_DIGITS_SHOWN = 12


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show, for each paired datacenter, whether it is connected and how far behind.

    \b
    Example:
      farshore -C paris replication status
    """
    facts = client(context).get("replication")
    if as_json:
        print_json(facts)
        return
    columns = {
        "name": "NAME",
        "state": "STATE",
        "to_take": "TO TAKE",
        "to_give": "TO GIVE",
        "lag_seconds": "LAG S",
        "changes_in": "TAKEN",
        "changes_out": "GIVEN",
        "last_error": "LAST ERROR",
    }
    print_table([_row(peer) for peer in facts["peers"]], columns)
    for line in _remarks(facts):
        print(line)


@app.command()
def verify(
    context: typer.Context,
    peer: Annotated[
        str, typer.Argument(metavar="[PEER]", help="A paired datacenter; all of them unless given.")
    ] = "",
    bucket: Annotated[str, typer.Option(metavar="NAME", help="Compare this bucket alone.")] = "",
    repair: Annotated[
        bool, typer.Option("--repair", help="Bring together what differs, and only that.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option(
            "--wait", min=0, max=3600, help="Seconds to wait, at most, for what is on its way."
        ),
    ] = 30.0,
    as_json: AsJson = False,
) -> None:
    """Compare with paired datacenters: say `identical`, or exactly what differs.

    \b
    Examples:
      farshore -C paris replication verify
      farshore -C paris replication verify tokyo --bucket photos --repair
    """
    asked = {"peer": peer, "bucket": bucket, "repair": repair, "wait_seconds": wait}
    lines = client(context).lines("replication", "verify", body=asked)
    show_verify(reports(lines, as_json), as_json)


def _row(peer: dict[str, Any]) -> dict[str, Any]:
    return peer | {
        "state": _state(peer),
        "to_take": _waiting(peer["to_take"]),
        "to_give": _waiting(peer["to_give"]),
    }


def _state(peer: dict[str, Any]) -> str:
    """The state, with what belongs to it."""
    word: str = peer["state"]
    if word == "PAUSED":
        return f"{word} {paused_since(peer['pace'])}"
    if word == "IDENTICAL":
        return f"{word} @{peer['root'][:ROOT_DIGITS_SHOWN]}"
    if word == "IDLE":
        equal = f", identical @{peer['root'][:ROOT_DIGITS_SHOWN]}" if peer["root"] else ""
        return f"{word}, drawn {_ago(peer['drawn_ms'])} ago{equal}"
    if word == "OFFLINE":
        return f"{word}, by files"
    if word == "BEHIND" and peer["to_take"]:
        found = peer["to_take"]
        return f"{word} {found['changes']}, oldest {found['oldest_seconds']:.0f} s"
    return word


def _ago(then_ms: int) -> str:
    from dc.system import SystemClock

    return f"{max(0, SystemClock().wall_ms() - then_ms) / 1000:.0f} s"


def _silent(peer: dict[str, Any]) -> str:
    """Why its doorbell is not to be relied on."""
    if peer["doorbell"] == "silent":
        return "it is not at the broker, and does not ring"
    if peer["doorbell"] == "none":
        return "no MQTT broker is configured, so it cannot ring"
    return f"the broker is away ({peer['doorbell_error'] or 'no answer yet'})"


def _waiting(found: dict[str, Any] | None) -> str | None:
    """How many changes, of how many bytes."""
    if found is None:
        return None
    if not found["changes"]:
        return "0"
    text = f"{found['changes']} ({_size(found['bytes'])})"
    return f"at least {text}" if found["at_least"] else text


def _files(name: str, files: dict[str, Any] | None) -> list[str]:
    """What went and came in files."""
    if files is None:
        return []
    lines = []
    if files["exported_ms"]:
        position, size = files["exported_position"], _size(files["exported_bytes"])
        lines.append(f"to {name}: exported {_utc(files['exported_ms'])}, {size}, up to {position}")
    if files["imported_ms"]:
        when, position = _utc(files["imported_ms"]), files["imported_position"]
        lines.append(f"from {name}: imported {when}, up to {position}")
    if files["beyond_gap"]:
        lines.append(f"from {name}: an earlier file is missing: import it")
    return lines


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _remarks(facts: dict[str, Any]) -> list[str]:
    """What does not go by itself, one line each."""
    lines = []
    for peer in facts["peers"]:
        name = peer["name"]
        lines += pace_remarks(peer)
        for one in peer["problems"]:
            if one["reason"]:
                again = f"tried {one['attempts']} times, again in {one['next_try_seconds']:.0f} s"
                lines.append(f"from {name}: {one['what']}: {one['reason']} ({again})")
        unseen = peer["failing"] - sum(1 for one in peer["problems"] if one["reason"])
        if unseen > 0:
            lines.append(f"from {name}: {unseen} more like these")
        for one in peer["their_problems"]:
            lines.append(f"to {name}: {one['what']}: {one['reason']}")
        if peer["poll_seconds"] and peer["doorbell"] != "live":
            again = f"it is drawn in {peer['next_draw_seconds']:.0f} s"
            lines.append(f"{name}: {_silent(peer)}; {again}")
        lines += _files(name, peer["files"])
        if peer["differs"]:
            lines.append(f"{name} does not hold the same, though nothing is on its way")
    absent = facts["absent"]
    if absent["objects"]:
        kept = f"{absent['objects']} objects ({_size(absent['bytes'])})"
        lines.append(f"{kept} are held by other datacenters only, by the rules of their buckets")
    if absent["to_come"]:
        coming = f"{absent['to_come']} of them ({_size(absent['to_come_bytes'])})"
        lines.append(f"{coming} belong here now, and are being fetched")
    if facts["conflicts"]:
        one = facts["conflicts"] == 1
        lines.append("1 conflict is kept" if one else f"{facts['conflicts']} conflicts are kept")
    # They quote what other datacenters say: no control characters to a terminal.
    return ["".join(each if each.isprintable() else "?" for each in line) for line in lines]
