"""`farshore failover`: what a datacenter had acknowledged and not shipped when it was lost."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.commands.common import AsJson, client, family
from admin.commands.comparing import size
from admin.output import print_json, print_table

if TYPE_CHECKING:
    from admin.client import AdminClient

app = family("What clients wrote here before this datacenter was lost.")


@app.callback()
def failover() -> None:
    """Keeps `report` a command of its own."""


@app.command()
def report(
    context: typer.Context,
    peer: Annotated[
        str, typer.Argument(metavar="[PEER]", help="A paired datacenter; all of them unless given.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only writes made since; UTC, ISO 8601.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List the writes that were acknowledged here, and that others lacked when they lost this one.

    \b
    Examples:
      farshore -C paris failover report
      farshore -C paris failover report tokyo --since 2026-11-30T08:00
    """
    asked = {"peer": peer, "since_ms": str(_milliseconds(since))}
    pages = _pages(client(context), asked)
    if as_json:
        found = list(pages)
        writes = [write for page in found for write in page["writes"]]
        print_json({"absences": found[0]["absences"], "writes": writes})
        return
    for number, page in enumerate(pages):
        if number == 0:
            for absence in page["absences"]:
                print(_absence(absence))
        if page["writes"]:
            print_table([_row(write) for write in page["writes"]], COLUMNS)
        elif number == 0:
            then = f" since {since}" if since else ""
            print(f"nothing was acknowledged here{then} that others lacked")


COLUMNS = {
    "time": "TIME",
    "bucket": "BUCKET",
    "key": "KEY",
    "version": "VERSION",
    "what": "WHAT",
    "size": "SIZE",
    "lacked_by": "LACKED BY",
    "had_by": "HAD BY",
    "now": "NOW",
}


def _pages(admin: "AdminClient", asked: dict[str, str]) -> Iterator[Any]:
    after = ""
    while True:
        page = admin.get("failover", query=asked | {"after": after})
        yield page
        after = page["next"]
        if not after:
            return


def _absence(one: dict[str, Any]) -> str:
    until = _utc(one["back_ms"]) if one["back_ms"] else "now"
    count = f"{one['writes']:,} write{'' if one['writes'] == 1 else 's'} ({size(one['bytes'])})"
    if one["at_least"]:
        count = f"at least {count}"
    elif not one["exact"] and not (one["replaced"] and one["back_ms"]):
        count = f"at most {count}"
    if one["replaced"]:
        count += ", and perhaps some that later writes here had replaced"
    return f"{one['name']} was away from {_utc(one['since_ms'])} to {until}, and lacked {count}"


def _row(write: dict[str, Any]) -> dict[str, Any]:
    by = f" by {write['by']}" if write["by"] else ""
    return write | {
        "time": _utc(write["time_ms"]),
        "version": write["version"] or None,
        "size": size(write["size"]),
        "had_by": write["had_by"] or "nobody",
        "now": f"{write['state']}{by}",
    }


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(text: str) -> int:
    """Of a time; without a zone it is UTC."""
    if not text:
        return 0
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time like 2026-11-30T08:00") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return max(0, int(found.timestamp() * 1000))
