"""`farshore tier`: how the bytes of buckets are kept."""

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_json, print_table

app = family("The tiers: redundancy and disks, which buckets choose from.")


@app.command("list")
def list_tiers(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tiers: redundancy, how many disks, containers, bytes alive and taken on the disks,
    and how many bytes are still to be re-coded into what they should be.

    farshore.toml says which there are: objects.redundancy is that of `standard`, and
    [objects.tiers.NAME] makes others. What is of none of them any more is listed too.

    \b
    Examples:
      farshore -C paris tier list
      farshore -C paris tier list --json
    """
    from admin.commands.comparing import size

    tiers = client(context).get("tiers")["tiers"]
    if as_json:
        print_json(tiers)
        return
    rows = [
        {
            "name": tier["name"] if tier["configured"] else f"{tier['name']} (past)",
            "redundancy": tier["redundancy"],
            "disks": len(tier["disks"]),
            "containers": tier["containers"],
            **{each: size(tier[f"bytes_{each}"]) for each in ("live", "raw", "to_recode")},
        }
        for tier in tiers
    ]
    columns = {"name": "TIER", "redundancy": "REDUNDANCY", "disks": "DISKS"}
    columns |= {
        "containers": "CONTAINERS",
        "live": "ALIVE",
        "raw": "RAW",
        "to_recode": "TO RE-CODE",
    }
    print_table(rows, columns)
