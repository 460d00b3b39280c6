"""`farshore events`: every committed change, told to the MQTT broker."""

from typing import Annotated, Any

import typer

from admin.commands.common import AsJson, client, directory, family
from admin.output import print_fields, print_json

app = family("Every committed change, told to the MQTT broker.")
Position = Annotated[
    int, typer.Option("--from", metavar="POSITION", min=0, help="0 tells everything there is.")
]


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show whether events are on, up to which position of the feed all is told, and why not.

    \b
    Example:
      farshore -C paris events status
    """
    _show(client(context).get("events"), as_json)


@app.command()
def enable(
    context: typer.Context,
    position: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="POSITION",
            min=0,
            help="Tell what changed after this position of the feed; 0 tells everything there is."
            " Without it: from where it was told up to, or from now on if it never was.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell the broker of every change from now on, or from a position of the feed on.

    \b
    Examples:
      farshore -C paris events enable
      farshore -C paris events enable --from 0
    """
    _show(client(context).post("events", "enable", body={"position": position}), as_json)


@app.command()
def disable(context: typer.Context, as_json: AsJson = False) -> None:
    """Tell nothing more. `enable` goes on from there.

    \b
    Example:
      farshore -C paris events disable
    """
    _show(client(context).post("events", "disable"), as_json)


@app.command()
def replay(context: typer.Context, position: Position, as_json: AsJson = False) -> None:
    """Tell again what changed after a position of the feed, as it is now; then go on.

    \b
    Example:
      farshore -C paris events replay --from 0
    """
    _show(client(context).post("events", "replay", body={"position": position}), as_json)


@app.command()
def tail(
    context: typer.Context,
    topic: Annotated[
        str,
        typer.Argument(
            metavar="[TOPIC]", help="A filter of topics, as `+/object/photos`, after the prefix."
        ),
    ] = "#",
    count: Annotated[
        int, typer.Option("--count", min=0, help="End after so many events; 0: never.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Subscribe at the broker, and print events as they come, a line each; Ctrl-C ends it.

    With --json the lines are what the broker was told.

    \b
    Examples:
      farshore -C paris events tail
      farshore -C paris events tail 'paris/object/photos' --json
    """
    from admin.tailing import tail_events

    tail_events(directory(context), topic, count, as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    behind = f"{facts['behind']} positions"
    if facts["behind"]:
        least = "at least " if facts["at_least"] else ""
        behind += f", the oldest change {least}{facts['lag_seconds']:.0f} s old"
    position = facts["position"]
    shown = {
        "events": facts["state"],
        "told up to": None if position is None else f"{position} of {facts['end']}",
        "behind": behind,
        "acknowledged": facts["acknowledged"],
        "told since the start": facts["published"],
        "kinds": facts["kinds"],
        "last error": facts["last_error"],
    }
    print_fields(shown)
