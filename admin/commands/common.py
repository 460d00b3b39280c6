"""What the command families share: the `--json` option, and which datacenter a command is for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from admin.client import AdminClient

AsJson = Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")]
FewerHosts = Annotated[
    bool,
    typer.Option("--fewer-hosts", help="Accept that one of the hosts left could not be lost."),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the datacenter.")]


def family(text: str) -> typer.Typer:
    """An empty command family."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def client(context: typer.Context) -> "AdminClient":
    """For the datacenter of `-C DIR` or FARSHORE_DC; wrong usage without either."""
    from admin.client import AdminClient

    return AdminClient(directory(context))


def directory(context: typer.Context) -> Path:
    """The folder of `-C DIR` or FARSHORE_DC; wrong usage without either."""
    root: Path | None = context.find_root().params.get("dir")
    if root is None:
        raise typer.BadParameter(
            "say which datacenter: farshore -C DIR ..., or set FARSHORE_DC", context
        )
    return root
