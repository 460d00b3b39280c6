"""`farshore node`: the machines that give a datacenter their disks, or serve its S3 clients."""

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.commands.common import AsJson, FewerHosts, client, directory, family
from admin.output import print_fields, print_json, print_note, print_table

if TYPE_CHECKING:
    from admin.client import AdminClient
    from admin.os_node import NodeConfig

Name = Annotated[str, typer.Argument(metavar="NODE", help="The node's name.")]


class Role(StrEnum):
    """What a node is to be."""

    os = "os"
    gateway = "gateway"


app = family("The machines that give a datacenter their disks, or serve its S3 clients.")


@app.command()
def add(
    context: typer.Context,
    role: Annotated[
        list[Role] | None,
        typer.Option(
            help="What it is to be: os gives disks, gateway serves S3 clients. May be repeated.",
            show_default="os",
        ),
    ] = None,
    hours: Annotated[int, typer.Option(min=1, max=168, help="How long the token can be used.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Print a token with which one machine can join the datacenter as a node. It works once.

    \b
    Examples:
      farshore -C paris node add
      farshore -C paris node add --role gateway
      farshore -C paris node add --hours 24 --json
    """
    roles = list(dict.fromkeys(one.value for one in role or [Role.os]))
    wanted = {"lifetime_seconds": hours * 3600, "roles": roles}
    facts = client(context).post("nodes", "token", body=wanted)
    if as_json:
        print_json(facts)
        return
    print(facts["token"])
    print_note(f"usable once, until {facts['expires']}: on the machine, run")
    does = {"os": "--disk DIR ...", "gateway": "--s3 HOST:PORT"}
    options = " ".join(does[one] for one in roles)
    print_note(f"  farshore node join TOKEN DIR --name NAME --listen HOST:PORT {options}")


_Disks = Annotated[
    list[Path] | None, typer.Option(metavar="DIR", help="A folder on a disk; one for each disk.")
]
_S3 = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where a gateway listens for S3 clients.")
]
_Metrics = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="Where a gateway listens for Prometheus.")
]
_LISTEN = "127.0.0.1:7100"
_Listen = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", help="Where the datacenter connects.", show_default=_LISTEN),
]
_Advertise = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT",
        help="An address at which the datacenter reaches it; may be repeated.",
        show_default="the --listen address",
    ),
]
_Host = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="The failure domain, a rack for instance: what is lost at once.",
        show_default="the node's name",
    ),
]


@app.command()
def join(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="From `farshore node add`.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new folder for the node's keys.")
    ],
    name: Annotated[str, typer.Option(help="The node's name.", show_default=False)] = "",
    disk: _Disks = None,
    s3: _S3 = "",
    metrics: _Metrics = "",
    listen: _Listen = "",
    advertise: _Advertise = None,
    host: _Host = "",
    as_json: AsJson = False,
) -> None:
    """Make this machine a node of the datacenter that made the token; or, where DIR is a node of it
    already, give it more disks.

    \b
    Examples:
      farshore node join TOKEN /srv/os1 --name os1 --listen 10.0.0.11:7100 --disk /mnt/a/os1
      farshore serve /srv/os1

      farshore node join TOKEN /srv/os1 --disk /mnt/c/os1

      farshore node join TOKEN /srv/gw1 --name gw1 --listen 10.0.0.21:7100 --s3 0.0.0.0:8000
      farshore serve /srv/gw1
    """
    from admin import os_node
    from dc.system import SystemClock, SystemDisk, SystemRandomness

    clock, system_disk, randomness = SystemClock(), SystemDisk(), SystemRandomness()
    more = os_node.is_node(folder)
    if more:
        if name or host or s3 or metrics:
            raise typer.BadParameter(
                f"{folder} is a node already: only disks and addresses can be given"
            )
        config = os_node.extend(
            folder,
            token,
            disks=disk or [],
            listen=listen,
            advertise=advertise or [],
            clock=clock,
            disk=system_disk,
            randomness=randomness,
        )
    elif not name:
        raise typer.BadParameter("say what the node is called: --name NAME")
    else:
        config = os_node.join(
            folder,
            token,
            name=name,
            listen=listen or _LISTEN,
            advertise=advertise or [],
            host=host or name,
            disks=disk or [],
            s3=s3,
            metrics=metrics,
            clock=clock,
            disk=system_disk,
            randomness=randomness,
        )
    _tell(config, folder, more, as_json)


def _tell(config: "NodeConfig", folder: Path, more: bool, as_json: bool) -> None:
    facts = {
        "name": config.name,
        "datacenter": config.dc_name,
        "dc_id": config.dc_id,
        "listen": config.listen,
        "roles": config.roles,
        "disks": config.disks,
        "s3": config.s3,
    }
    if as_json:
        print_json(facts)
        return
    print_fields(facts)
    again = " anew, so that it gives its new disks," if more else ""
    print(f"\nStart it{again} with: farshore serve {folder}")


@app.command("list")
def list_nodes(context: typer.Context, as_json: AsJson = False) -> None:
    """List the nodes: what they are, whether they answer, and how many slots are on their disks.

    \b
    Example:
      farshore -C paris node list
    """
    nodes = client(context).get("nodes")["nodes"]
    if as_json:
        print_json(nodes)
        return
    rows = [
        node | {"disks": len(node["disks"]), "roles": ",".join(node["roles"])} for node in nodes
    ]
    columns = {
        "name": "NAME",
        "roles": "ROLES",
        "host": "HOST",
        "state": "STATE",
        "disks": "DISKS",
        "slots": "SLOTS",
        "endpoints": "ENDPOINTS",
    }
    print_table(rows, columns)
    for node in nodes:
        if node["problem"]:
            print_note(f"{node['name']} is not connected: {node['problem']}")
        if Role.gateway in node["roles"] and node["gateway"] != "connected":
            print_note(f"the gateway of {node['name']} is not connected: {node['gateway']}")


@app.command()
def release(
    context: typer.Context,
    node: Name,
    lost: Annotated[
        bool, typer.Option("--lost", help="It is gone and will not come back: do not empty it.")
    ] = False,
    destroy: Annotated[
        str,
        typer.Option(
            metavar="DATACENTER",
            help="The datacenter's name, where the node has its last disks: all is destroyed.",
        ),
    ] = "",
    fewer_hosts: FewerHosts = False,
    as_json: AsJson = False,
) -> None:
    """Let a node go: move what is on its disks to the others, then forget it.

    Refused while too few disks would be left, or so few hosts that one of them could not be lost.
    Ctrl-C ends the waiting, not the moving: release it again to go on. The last node goes with all
    objects, and then the datacenter is deleted, too.

    \b
    Examples:
      farshore -C paris node release os1
      farshore -C paris node release os1 --lost
    """
    asked = client(context)
    wanted = {"node": node, "lost": lost, "destroy": destroy, "fewer_hosts": fewer_hosts}
    report = _released(asked, wanted, as_json)
    if report["destroyed"]:
        from admin.destroying import destroy as destroy_datacenter
        from dc.system import SystemClock

        asyncio.run(destroy_datacenter(directory(context), SystemClock()))
    if as_json:
        print_json(report)
    elif report["destroyed"]:
        print(f"{node} was released, and the datacenter {destroy} is no more")
    else:
        print(f"{node} was released: end it there, its folders can be deleted")


def _released(asked: "AdminClient", wanted: dict[str, Any], quiet: bool) -> dict[str, Any]:
    report: dict[str, Any] = {}
    told = -1
    for line in asked.lines("nodes", "release", body=wanted):
        if "report" in line:
            report = line["report"]
        elif not quiet and line["progress"]["slots"] != told:
            told = line["progress"]["slots"]
            print_note(f"{told:,} slots are still on it")
    return report
