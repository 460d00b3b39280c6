"""The command line: `farshore`.

Exit codes: 0 done; 1 refused or failed, with one line on standard error; 2 wrong usage. No
traceback reaches a person, unless FARSHORE_DEBUG is set.

This module and the command families import only what it takes to read the arguments. What a
command needs besides is imported when it runs, so that commands start quickly.
"""

from pathlib import Path
from typing import Annotated

import typer

from admin.commands import (
    bucket,
    conflicts,
    dc,
    disk,
    events,
    failover,
    names,
    node,
    notary,
    objects,
    replication,
    status,
    tier,
    token,
    user,
)
from admin.commands.check import check
from admin.commands.init import init
from admin.commands.lab import lab
from admin.commands.serve import serve
from admin.errors import exit_code

app = typer.Typer(
    name="farshore",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(init)
app.command()(serve)
app.command()(check)
app.command()(status.status)
app.command()(status.health)
app.add_typer(user.app, name="user")
app.add_typer(bucket.app, name="bucket")
app.add_typer(token.app, name="token")
app.add_typer(dc.app, name="dc")
app.add_typer(disk.app, name="disk")
app.add_typer(node.app, name="node")
app.add_typer(objects.app, name="objects")
app.add_typer(tier.app, name="tier")
app.add_typer(names.app, name="names")
app.add_typer(replication.app, name="replication")
app.add_typer(failover.app, name="failover")
app.add_typer(conflicts.app, name="conflicts")
app.add_typer(events.app, name="events")
app.add_typer(notary.app, name="notary")
app.command()(lab)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"farshore {version('farshore')}")
        raise typer.Exit


@app.callback()
def farshore(
    dir: Annotated[
        Path | None,
        typer.Option(
            "-C",
            metavar="DIR",
            envvar="FARSHORE_DC",
            help="The folder of the datacenter that the command is for.",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """S3 storage that lives in several datacenters at once.

    \b
    Examples:
      farshore init paris --name paris
      farshore serve paris
      farshore -C paris user add ann@example.com
      farshore lab
    """


def main() -> int:
    """Run the command in sys.argv and return the exit code."""
    return exit_code(app)
