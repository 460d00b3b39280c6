"""`farshore lab`: several paired datacenters on this machine, to try things out."""

from pathlib import Path
from typing import Annotated

import typer


def lab(
    dcs: Annotated[
        int | None,
        typer.Option(
            "--dcs", min=1, max=16, help="How many datacenters.", show_default="as before, or 2"
        ),
    ] = None,
    names: Annotated[
        str,
        typer.Option(
            metavar="A,B,C", help="Their names.", show_default="paris,tokyo,austin and so on"
        ),
    ] = "",
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where their data is kept.")
    ] = Path("lab-data"),
    nodes: Annotated[
        int | None,
        typer.Option(
            min=0, max=24, help="Nodes of each datacenter, a disk each.", show_default="as before"
        ),
    ] = None,
    redundancy: Annotated[
        str, typer.Option(metavar="K+M", help="With --nodes: data and parity fragments.")
    ] = "",
    gateways: Annotated[
        int | None,
        typer.Option(
            min=0, max=16, help="Gateway nodes of each datacenter.", show_default="as before"
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="With nodes: kill some under your eyes, empty a disk, read and mend all, and end.",
        ),
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Written, as JSON, once all are paired and answer."),
    ] = None,
) -> None:
    """Run paired datacenters and a demo user on this machine until Ctrl-C.

    Run it again to go on with the same data; remove the folder to start afresh.

    \b
    Examples:
      farshore lab
      farshore lab --dcs 3 --dir /tmp/lab
      farshore lab --names berlin,osaka,lima --ready-file ready.json
      farshore lab --nodes 6 --redundancy 4+2
      farshore lab --nodes 6 --redundancy 4+2 --demo
      farshore lab --dcs 1 --gateways 2
    """
    from admin.lab.run import Wish, run

    given = [name.strip() for name in names.split(",")] if names else []
    if given and dcs not in (None, len(given)):
        raise typer.BadParameter(f"--dcs {dcs}, but --names has {len(given)}")
    run(folder, Wish(given, dcs, nodes, redundancy, gateways, demo), ready_file)
