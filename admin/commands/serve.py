"""`farshore serve`: runs a datacenter.

The process becomes another one, with the same id, that never loads what reads the command line:
typer and pydantic would stay in a server's memory (10 MB) for nothing.
"""

import os
import sys

from admin.commands.common import Folder


def serve(folder: Folder) -> None:
    """Run the datacenter in DIR until SIGTERM or Ctrl-C.

    Messages go to standard error. The addresses that it listens on are in DIR/run.json.

    \b
    Example:
      farshore serve paris
    """
    os.execv(sys.executable, [sys.executable, "-P", "-m", "admin.serve", str(folder)])
