"""`farshore dc`: the other datacenters."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from admin.commands.common import AsJson, client, family
from admin.commands.comparing import reports, show_preview
from admin.commands.limiting import show_limits
from admin.errors import Unconfirmed
from admin.output import print_fields, print_json, print_note, print_table

if TYPE_CHECKING:
    from admin.client import AdminClient

PAIRING_SECONDS_MAX = 60.0
"""What asking the other datacenter may take before the wait for changes begins."""


class Doorbell(StrEnum):
    """How changes come."""

    MQTT = "mqtt"
    STREAM = "stream"


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
    offline: Annotated[
        bool,
        typer.Option("--offline", help="There is no link: the other one must do this, too."),
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
      farshore -C tokyo dc add v4.public.eyJwdXJwb3Nl... --offline
    """
    if dry_run and offline:
        raise typer.BadParameter("either --dry-run or --offline", context)
    if dry_run:
        lines = client(context).lines("datacenters", "preview", body={"token": token})
        show_preview(reports(lines, as_json), as_json)
        return
    if offline:
        _add_offline(client(context), token, as_json)
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


def _add_offline(admin: "AdminClient", token: str, as_json: bool) -> None:
    paired = admin.post("datacenters", body={"token": token, "offline": True})
    if as_json:
        print_json(paired)
        return
    print_fields({"paired with": paired["name"], "its id": paired["dc_id"], "code": paired["code"]})
    print(
        f"Nobody was asked: {paired['name']} must add this datacenter by a token of it, with"
        " --offline, and show the same code. Then see `farshore replication export --help`"
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
        "link": "LINK",
        "endpoints": "ENDPOINTS",
    }
    print_table(found, columns)


@app.command()
def move(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    endpoints: Annotated[
        list[str],
        typer.Argument(metavar="ENDPOINT...", help="HOST:PORT of its peer listener, best first."),
    ],
    as_json: AsJson = False,
) -> None:
    """Reach a datacenter at other endpoints than those of the pairing, as when it has moved.

    Of several the first one that works is used, and gone back to when it works again. Whoever
    answers there must still have the key of the pairing. Only this side is changed.

    \b
    Examples:
      farshore -C paris dc move tokyo 203.0.113.7:9001
      farshore -C paris dc move tokyo 10.0.0.7:9001 tokyo.example.com:9001
    """
    moved = client(context).put("datacenters", name, "endpoints", body={"endpoints": endpoints})
    if as_json:
        print_json(moved)
        return
    print(f"{moved['name']} is now reached at {', '.join(moved['endpoints'])}")
    if moved["silent"]:
        print_note(
            f"{moved['name']} does not answer now at {', '.join(moved['silent'])}:"
            " see `farshore replication status`"
        )


@app.command()
def link(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    doorbell: Annotated[
        Doorbell,
        typer.Option(
            "--doorbell",
            help="stream: its feed is kept open. mqtt: it is drawn when it rings at the broker.",
        ),
    ],
    poll: Annotated[
        str,
        typer.Option(
            "--poll",
            metavar="TIME",
            help="With mqtt: how often it is drawn in any case, 1s to 1d. At most a minute counts"
            " while the broker is away.",
        ),
    ] = "5m",
    as_json: AsJson = False,
) -> None:
    """Choose how the changes of a paired datacenter come here: by a stream that is kept open, or
    drawn when its doorbell rings, for idle and metered links. What goes there is set there.

    \b
    Examples:
      farshore -C ship dc link harbour --doorbell mqtt --poll 15m
      farshore -C ship dc link harbour --doorbell stream
    """
    from dc.durations import parse_duration

    try:
        seconds = parse_duration(poll) // 1000
    except ValueError as error:
        raise typer.BadParameter(str(error), context) from None
    if not 1 <= seconds <= 86_400:
        raise typer.BadParameter(f"--poll {poll}: from 1s to 1d", context)
    wanted = {"poll_seconds": seconds if doorbell is Doorbell.MQTT else 0}
    facts = client(context).put("datacenters", name, "link", body=wanted)
    if as_json:
        print_json(facts)
    elif facts["poll_seconds"]:
        print(
            f"the changes of {facts['name']} are drawn when it rings, and every"
            f" {facts['poll_seconds']} s"
        )
    else:
        print(f"the stream of {facts['name']} is kept open")


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


@app.command()
def limit(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    rate: Annotated[
        str,
        typer.Argument(
            metavar="[RATE]",
            help="The most that may go, as 2MB/s, 300KiB/s or 20Mbit/s; or none. Only shown"
            " unless given.",
        ),
    ] = "",
    inward: Annotated[bool, typer.Option("--in", help="Only what comes from there.")] = False,
    outward: Annotated[bool, typer.Option("--out", help="Only what goes there.")] = False,
    between: Annotated[
        list[str] | None,
        typer.Option(
            "--between",
            metavar="HH:MM-HH:MM",
            help="For this time of the day; may be given several times, and go over midnight.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Limit how fast bytes go between here and a paired datacenter, or show what limits it.

    RATE is for each direction, and all connections with that datacenter share it: KB, MB and GB are
    thousands, KiB, MiB and GiB 1,024s, and kbit, Mbit and Gbit bits. It counts at once, and over
    restarts. With --between it is for windows of the day, which then come before the rate for the
    rest of the day; `none` takes all of a direction away, windows too, but with --between it lets
    everything through in these windows.

    \b
    Examples:
      farshore -C paris dc limit tokyo
      farshore -C paris dc limit tokyo 2MB/s --between 08:00-18:00
      farshore -C paris dc limit tokyo 300KiB/s --out
      farshore -C paris dc limit tokyo none --between 22:00-06:00
      farshore -C paris dc limit tokyo none
    """
    if not rate:
        if inward or outward or between:
            raise typer.BadParameter("give a RATE too, as 2MB/s, or none", context)
        facts = client(context).get("datacenters", name, "limit")
    else:
        chosen = [one for one, wanted in (("in", inward), ("out", outward)) if wanted]
        asked = {"rate": rate, "directions": chosen, "between": between or []}
        facts = client(context).put("datacenters", name, "limit", body=asked)
    show_limits(facts, as_json)


@app.command()
def pause(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    as_json: AsJson = False,
) -> None:
    """Let nothing go to a paired datacenter, or come from it, until `farshore dc resume`.

    The pairing stays, and so does the pause over restarts. Clients of both notice nothing. What is
    written meanwhile goes there afterwards.

    \b
    Example:
      farshore -C paris dc pause tokyo
    """
    facts = client(context).post("datacenters", name, "pause")
    if as_json:
        print_json(facts)
    else:
        print(f"{facts['name']} is paused since {facts['paused']}: `farshore dc resume` ends that")


@app.command()
def resume(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the paired datacenter.")],
    as_json: AsJson = False,
) -> None:
    """Go on with a datacenter that was paused, from where it was left.

    \b
    Example:
      farshore -C paris dc resume tokyo
    """
    facts = client(context).post("datacenters", name, "resume")
    if as_json:
        print_json(facts)
    else:
        print(f"{facts['name']} is not paused: see `farshore replication status`")
