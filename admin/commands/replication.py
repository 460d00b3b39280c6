"""`farshore replication`: how far the datacenters are apart."""

from typing import Any

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_json, print_table

app = family("How the changes travel between datacenters.")

ROOT_DIGITS_SHOWN = 12


@app.callback()
def replication() -> None:
    """Keeps `status` a command of its own."""


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


def _row(peer: dict[str, Any]) -> dict[str, Any]:
    return peer | {
        "state": _state(peer),
        "to_take": _waiting(peer["to_take"]),
        "to_give": _waiting(peer["to_give"]),
    }


def _state(peer: dict[str, Any]) -> str:
    """The state, with what belongs to it."""
    word: str = peer["state"]
    if word == "IDENTICAL":
        return f"{word} @{peer['root'][:ROOT_DIGITS_SHOWN]}"
    if word == "BEHIND" and peer["to_take"]:
        found = peer["to_take"]
        return f"{word} {found['changes']}, oldest {found['oldest_seconds']:.0f} s"
    return word


def _waiting(found: dict[str, Any] | None) -> str | None:
    """How many changes, of how many bytes."""
    if found is None:
        return None
    if not found["changes"]:
        return "0"
    text = f"{found['changes']} ({_size(found['bytes'])})"
    return f"at least {text}" if found["at_least"] else text


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    power = min((len(str(count)) - 1) // 3, 4)
    return f"{count / 1000**power:.1f} {'kMGT'[power - 1]}B"


def _remarks(facts: dict[str, Any]) -> list[str]:
    """What does not go by itself, one line each."""
    lines = []
    for peer in facts["peers"]:
        name = peer["name"]
        for one in peer["problems"]:
            if one["reason"]:
                again = f"tried {one['attempts']} times, again in {one['next_try_seconds']:.0f} s"
                lines.append(f"from {name}: {one['what']}: {one['reason']} ({again})")
        unseen = peer["failing"] - sum(1 for one in peer["problems"] if one["reason"])
        if unseen > 0:
            lines.append(f"from {name}: {unseen} more like these")
        for one in peer["their_problems"]:
            lines.append(f"to {name}: {one['what']}: {one['reason']}")
        if peer["differs"]:
            lines.append(f"{name} does not hold the same, though nothing is on its way")
    if facts["conflicts"]:
        lines.append(f"{facts['conflicts']} conflicts are kept")
    # They quote what other datacenters say: no control characters to a terminal.
    return ["".join(each if each.isprintable() else "?" for each in line) for line in lines]
