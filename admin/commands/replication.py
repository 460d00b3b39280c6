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
    columns = {name: name.upper().replace("_", " ") for peer in facts["peers"] for name in peer}
    print_table(facts["peers"], columns or {"name": "NAME"})
