"""`farshore token`: invitations for other datacenters."""

import sys
from typing import Annotated

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_json

app = family("Invitations for other datacenters.")


@app.callback()
def token() -> None:
    """Keeps `issue` a command of its own."""


@app.command()
def issue(
    context: typer.Context,
    hours: Annotated[
        float, typer.Option(min=0.01, max=168, help="How long the token may be used.")
    ] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Print a pairing token, one line, to hand to the operator of another datacenter.

    It can be used once. Standard output gets the token alone.

    \b
    Examples:
      farshore -C paris token issue
      farshore -C paris token issue --hours 24
    """
    issued = client(context).post("tokens", body={"lifetime_seconds": round(hours * 3600)})
    if as_json:
        print_json(issued)
        return
    print(
        f"Hand this to the other datacenter, for `farshore -C DIR dc add TOKEN` there. It works"
        f" once, until {issued['expires']}.",
        file=sys.stderr,
        flush=True,
    )
    print(issued["token"])
