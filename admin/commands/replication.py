"""`farshore replication`: how far the datacenters are apart."""

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_json, print_table

app = family("How the changes travel between datacenters.")


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
        "behind": "TO TAKE",
        "our_behind": "TO GIVE",
        "lag_seconds": "LAG S",
        "changes_in": "TAKEN",
        "changes_out": "GIVEN",
        "last_error": "LAST ERROR",
    }
    print_table(facts["peers"], columns)
    for peer in facts["peers"]:
        for problem in peer["problems"]:
            if problem["reason"]:
                print(f"{peer['name']}: {problem['what']}: {problem['reason']}")
