"""`farshore disk`: the disks that objects are spread over."""

from pathlib import Path
from typing import Annotated

import typer

from admin.commands.common import AsJson, FewerHosts, client, family
from admin.output import print_json, print_table

app = family("The disks that objects are spread over.")


@app.command()
def prepare(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="One of objects.disks in farshore.toml.")
    ],
) -> None:
    """Make a new, empty folder a disk of the datacenter: one in the place of a lost one, or one
    that was added to objects.disks.

    A running datacenter takes it within seconds, if it knew the folder when it started, and
    writes what was on the lost one onto it. `farshore status` tells how far it is.

    \b
    Examples:
      farshore -C rome disk prepare /mnt/b/rome
    """
    from admin.commands.common import directory
    from admin.disks import prepare as prepare_disk
    from dc.system import SystemDisk

    prepare_disk(directory(context), folder, SystemDisk())
    print(f"{folder} is a disk of {directory(context)} now")


Disk = Annotated[str, typer.Argument(metavar="DISK", help="As `disk list` shows it.")]


@app.command("list")
def list_disks(context: typer.Context, as_json: AsJson = False) -> None:
    """List the disks: those of this machine by their folders, those of nodes as NODE:FOLDER.

    \b
    Example:
      farshore -C rome disk list
    """
    disks = client(context).get("disks")["disks"]
    if as_json:
        print_json(disks)
        return
    columns = {"disk": "DISK", "host": "HOST", "state": "STATE", "slots": "SLOTS"}
    print_table([one | {"host": one["host"] or None} for one in disks], columns)


@app.command()
def add(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new or empty folder.")],
) -> None:
    """Make an empty folder of this machine one more disk. New containers go there at once.

    \b
    Example:
      farshore -C rome disk add /mnt/d/rome
    """
    added = client(context).post("disks", body={"path": str(folder.absolute())})
    print(f"{added['disk']} is a disk now")


@app.command()
def drain(
    context: typer.Context,
    disk: Disk,
    undo: Annotated[bool, typer.Option("--undo", help="Keep it after all.")] = False,
    fewer_hosts: FewerHosts = False,
    as_json: AsJson = False,
) -> None:
    """Let a disk become empty: what is on it is moved to the others, and nothing new goes there.
    `disk list` tells when it is drained. Refused while the others are too few, or on so few hosts
    that one of them could not be lost.

    \b
    Examples:
      farshore -C rome disk drain /mnt/a/rome
      farshore -C rome disk drain os1:/mnt/a/os1 --undo
    """
    asked = {"disks": [disk], "undo": undo, "fewer_hosts": fewer_hosts}
    disks = client(context).post("disks", "drain", body=asked)["disks"]
    if as_json:
        print_json(disks)
        return
    (found,) = [one for one in disks if one["disk"] == disk]
    print(f"{disk} is {found['state']}, with {found['slots']} slots on it")


@app.command()
def remove(
    context: typer.Context,
    disk: Disk,
    lost: Annotated[
        bool, typer.Option("--lost", help="It is not there, and will not come back.")
    ] = False,
) -> None:
    """Forget a disk that is drained; with --lost one that is gone, if the others have enough of
    every container.

    \b
    Examples:
      farshore -C rome disk remove /mnt/a/rome
      farshore -C rome disk remove os1:/mnt/a/os1 --lost
    """
    client(context).post("disks", "remove", body={"disk": disk, "lost": lost})
    print(f"{disk} is no disk of the datacenter any more")
