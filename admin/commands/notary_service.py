"""`farshore notary service`: a notary service elsewhere that is told of each entry, over HTTPS."""

from pathlib import Path
from typing import Annotated, Any

import typer

from admin.commands.common import AsJson, client, family
from admin.output import print_fields, print_json

app = family("A notary service elsewhere that is told of each entry, over HTTPS.")


@app.command("set")
def set_service(
    context: typer.Context,
    dns: Annotated[str, typer.Option(metavar="NAME", help="The service's DNS name.")],
    key: Annotated[
        str, typer.Option(metavar="KEY", help="The user's key there. See --key-file.")
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            metavar="FILE",
            help="A file with the key: other users of this machine see command lines.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Its HTTPS port.")] = 443,
    ca: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="A PEM file with the only CAs that its certificate may be under. Without it those"
            " of the system.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Tell a notary service of each entry from now on, and of checkpoints. It counts at once.

    \b
    Examples:
      farshore -C paris notary service set --dns notary.example.com --key KEY
      farshore -C paris notary service set --dns notary.example.com --key-file key.txt
    """
    if bool(key) == (key_file is not None):
        raise typer.BadParameter("give one of --key and --key-file", context)
    given = key if key_file is None else key_file.read_text("utf-8", "replace").strip()
    path = str(Path(ca).absolute()) if ca else ""
    body = {"dns": dns, "key": given, "port": port, "ca": path}
    _show(client(context).put("notary", "service", body=body), as_json)


@app.command()
def show(context: typer.Context, as_json: AsJson = False) -> None:
    """Show which service is told. The key is not shown.

    \b
    Example:
      farshore -C paris notary service show
    """
    _show(client(context).get("notary", "service"), as_json)


@app.command()
def remove(context: typer.Context, as_json: AsJson = False) -> None:
    """Tell the service nothing more, and forget its key.

    \b
    Example:
      farshore -C paris notary service remove
    """
    _show(client(context).delete("notary", "service"), as_json)


def _show(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(facts)
    elif not facts["dns"]:
        print("no notary service is set")
    else:
        ca = facts["ca"] or "those of the system"
        print_fields({"service": f"https://{facts['dns']}:{facts['port']}", "CAs": ca})
