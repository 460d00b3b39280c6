"""`farshore disk`: the disks that objects are spread over."""

from pathlib import Path
from typing import Annotated

import typer

from admin.commands.common import family

app = family("The disks that objects are spread over.")


@app.callback()
def disk() -> None:
    """Keeps `prepare` a command of its own."""


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
