"""`farshore status` and `farshore health`: how a datacenter does."""

import typer

from admin.commands.common import AsJson, client
from admin.output import print_fields, print_json


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what the datacenter is, where it listens, and what it holds.

    \b
    Examples:
      farshore -C paris status
      FARSHORE_DC=paris farshore status --json
    """
    facts = client(context).get("status")
    if as_json:
        print_json(facts)
        return
    nowhere = "not served by this process: by gateways on other machines (`farshore node list`)"
    print_fields(facts | {"s3": facts["s3"] or nowhere})


def health(context: typer.Context, as_json: AsJson = False) -> None:
    """Exit with 0 when the datacenter runs and answers, else with 1.

    \b
    Example:
      farshore -C paris health
    """
    facts = client(context).get("health")
    if as_json:
        print_json(facts)
        return
    print(facts["status"])
