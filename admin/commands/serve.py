"""`farshore serve`: runs a datacenter.

The process becomes another one, with the same id, that never loads what reads the command line:
typer and pydantic would stay in a server's memory (10 MB) for nothing.
"""

import os
import sys
from typing import Annotated

import typer

from admin.commands.common import Folder


def serve(
    folder: Folder,
    role: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE[,ROLE...]",
            help="Do no more than this: gateway, os, ns, replicator; of a node gateway, os.",
            show_default="all that DIR can be",
        ),
    ] = None,
) -> None:
    """Run the datacenter or the node in DIR until SIGTERM or Ctrl-C.

    Messages go to standard error. The addresses that it listens on are in DIR/run.json. Names
    (ns), the writing of objects (os) and replication are one process, with or without a gateway.

    \b
    Examples:
      farshore serve paris
      farshore serve paris --role ns,os,replicator
      farshore serve /srv/node1 --role gateway
    """
    roles = [one.strip() for text in role or [] for one in text.split(",") if one.strip()]
    command = [sys.executable, "-P", "-m", "admin.serve", str(folder), *roles]
    os.execv(sys.executable, command)
