"""`farshore serve`: runs a datacenter."""

from admin.commands.common import Folder


def serve(folder: Folder) -> None:
    """Run the datacenter in DIR until SIGTERM or Ctrl-C.

    Messages go to standard error. The addresses that it listens on are in DIR/run.json.

    \b
    Example:
      farshore serve paris
    """
    from admin.serve import run

    run(folder)
