"""`farshore bucket`: the buckets, where their bytes go and are read, and how they are kept."""

from typing import Annotated, Any

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_json, print_table

Name = Annotated[str, typer.Argument(metavar="BUCKET", help="The bucket's name.")]

app = family("The buckets, to which datacenters their bytes go, and how they are kept.")


@app.command("list")
def list_buckets(context: typer.Context, as_json: AsJson = False) -> None:
    """List the buckets, their tiers, whether they are read through, and where their bytes go.

    \b
    Example:
      farshore -C paris bucket list
    """
    buckets = client(context).get("buckets")["buckets"]
    if as_json:
        print_json(buckets)
        return
    rows = [
        bucket | {"goes": _where(bucket), "through": "on" if bucket["read_through"] else "off"}
        for bucket in buckets
    ]
    columns = {"name": "NAME", "owner": "OWNER", "created": "CREATED", "tier": "TIER"}
    print_table(rows, columns | {"through": "READ-THROUGH", "goes": "BYTES GO"})


@app.command()
def replicate(
    context: typer.Context,
    bucket: Name,
    to: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="DC", help="A datacenter that holds the bytes; repeatable."),
    ] = None,
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only of keys that begin with this.")
    ] = "",
    everywhere: Annotated[
        bool, typer.Option("--everywhere", help="Take all rules away: all bytes go everywhere.")
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Take the rules of the prefix away.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say to which datacenters the bytes of a bucket go, or of a prefix; without options, show it.

    Without any rule they go to all paired datacenters. As soon as there is one, bytes go where
    rules say, and stay where they were written besides; names and attributes go everywhere.
    Datacenters that are named now are filled in with what they lack; from those that are not
    named any more nothing is deleted.

    \b
    Examples:
      farshore -C paris bucket replicate photos
      farshore -C paris bucket replicate photos --to paris --to tokyo
      farshore -C paris bucket replicate photos --prefix raw/ --to paris
      farshore -C paris bucket replicate photos --prefix raw/ --stop
      farshore -C paris bucket replicate photos --everywhere
    """
    asked = [bool(to), everywhere, stop]
    if sum(asked) > 1:
        raise typer.BadParameter("give one of --to, --everywhere and --stop", context)
    if everywhere and prefix:
        raise typer.BadParameter("--everywhere is for the whole bucket, without --prefix", context)
    if prefix and not any(asked):
        raise typer.BadParameter("--prefix needs --to or --stop", context)
    path = ("buckets", bucket, "replication")
    if any(asked):
        wanted = {"everywhere": True} if everywhere else {"prefix": prefix, "to": to or []}
        facts = client(context).put(*path, body=wanted)
    else:
        facts = client(context).get(*path)
    if as_json:
        print_json(facts)
        return
    if facts["everywhere"]:
        print("all bytes go to all paired datacenters")
        return
    rows = [rule | {"prefix": rule["prefix"] or "(all keys)"} for rule in facts["rules"]]
    print_table(rows, {"prefix": "PREFIX", "to": "BYTES GO TO"})
    print("What no prefix is of stays where it was written.")


@app.command()
def tier(
    context: typer.Context,
    bucket: Name,
    wanted: Annotated[
        str | None,
        typer.Argument(metavar="[TIER]", help="One of those that `farshore tier list` shows."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which tier the bytes of a bucket are kept in; without TIER, show it.

    It is the same in all paired datacenters; one that has no tier of that name takes `standard`.
    What is in the bucket already is moved there in the background: `farshore objects status` tells
    how far that is.

    \b
    Examples:
      farshore -C paris bucket tier photos
      farshore -C paris bucket tier photos archive
      farshore -C paris bucket tier photos standard
    """
    path = ("buckets", bucket, "tier")
    if wanted is None:
        facts = client(context).get(*path)
    else:
        facts = client(context).put(*path, body={"tier": wanted})
    if as_json:
        print_json(facts)
        return
    print(f"{facts['name']} is in the tier {facts['tier']}", end="")
    if facts["here"] != facts["tier"]:
        print(f", which is not here: it is kept as {facts['here']}", end="")
    print(f" ({facts['redundancy']})")


@app.command("read-through")
def read_through(
    context: typer.Context,
    bucket: Name,
    wanted: Annotated[
        str | None, typer.Argument(metavar="[on|off]", help="Off is where nothing was said.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether what is not here is read from another datacenter; without on or off, show it.

    A version whose bytes are not here, and a key that is not known here yet, are then served from a
    paired datacenter that has them, also where the rules of the bucket keep the bytes from being
    stored; listings show what only others have. It is the same in all paired datacenters.

    \b
    Examples:
      farshore -C paris bucket read-through photos
      farshore -C paris bucket read-through photos on
      farshore -C paris bucket read-through photos off
    """
    path = ("buckets", bucket, "read-through")
    if wanted is None:
        facts = client(context).get(*path)
    elif wanted in ("on", "off"):
        facts = client(context).put(*path, body={"on": wanted == "on"})
    else:
        raise typer.BadParameter("say on or off, or neither to show it", context)
    if as_json:
        print_json(facts)
        return
    print(f"read-through of {facts['name']} is {'on' if facts['read_through'] else 'off'}")


def _where(bucket: dict[str, Any]) -> str:
    if bucket["everywhere"]:
        return "everywhere"
    found = [f"{rule['prefix']}* to {', '.join(rule['to'])}" for rule in bucket["rules"]]
    return "; ".join(found) or "nowhere"
