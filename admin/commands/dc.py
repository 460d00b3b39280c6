"""`farshore dc`: the other datacenters."""

from typing import Annotated

import typer

from admin.commands.common import AsJson, client, family
from admin.commands.comparing import reports, show_preview
from admin.errors import Unconfirmed
from admin.output import print_fields, print_json, print_table

PAIRING_SECONDS_MAX = 60.0
"""What asking the other datacenter may take before the wait for changes begins."""

app = family("The other datacenters.")


@app.command()
def add(
    context: typer.Context,
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="What `farshore token issue` printed there.")
    ],
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", min=0, max=3600, help="Seconds to wait until changes travel both ways."
        ),
    ] = 30.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only count what pairing would bring.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Pair with the datacenter that issued TOKEN, in both directions at once.

    Both must be running. It ends when a change made here took effect there, and one made there took
    effect here. Compare the id, or at least the code, with the operator of the other one, to whom
    `farshore dc list` shows them.

    \b
    Examples:
      farshore -C tokyo dc add v4.public.eyJwdXJwb3Nl... --dry-run
      farshore -C tokyo dc add v4.public.eyJwdXJwb3Nl...
    """
    if dry_run:
        lines = client(context).lines("datacenters", "preview", body={"token": token})
        show_preview(reports(lines, as_json), as_json)
        return
    paired = client(context).post(
        "datacenters",
        body={"token": token, "timeout_seconds": timeout},
        timeout_seconds=timeout + PAIRING_SECONDS_MAX,
    )
    if as_json:
        print_json(paired)
    else:
        for step in paired["steps"]:
            print(f"{step['seconds']:8.2f} s  {step['text']}")
        print()
        print_fields(
            {"paired with": paired["name"], "its id": paired["dc_id"], "code": paired["code"]}
        )
    if not paired["complete"]:
        raise Unconfirmed(
            f"paired, but after {timeout:g} s: {'; '.join(paired['missing'])}. The pairing stands"
            " and this is tried again and again: see `farshore replication status`",
            paired["went"],
            paired["came"],
        )


@app.command("list")
def list_dcs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the paired datacenters, with the id and the code to compare with their operators.

    \b
    Example:
      farshore -C paris dc list
    """
    found = client(context).get("datacenters")["datacenters"]
    if as_json:
        print_json(found)
        return
    columns = {
        "name": "NAME",
        "region": "REGION",
        "dc_id": "ID",
        "code": "CODE",
        "endpoints": "ENDPOINTS",
    }
    print_table(found, columns)


@app.command()
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    as_json: AsJson = False,
) -> None:
    """End the pairing with a datacenter, which need not be reachable. What it sent stays.

    \b
    Example:
      farshore -C paris dc remove tokyo
    """
    removed = client(context).delete("datacenters", name)
    if as_json:
        print_json(removed)
        return
    print(f"removed {removed['name']}: no changes go there or come from there any more")
    print("Over there, `farshore dc remove` does the same; to pair again, both must have done it.")
