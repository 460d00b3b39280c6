"""`farshore init`: makes a datacenter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admin.commands.common import AsJson, Folder

if TYPE_CHECKING:
    from dc.config import Config


def init(
    folder: Folder,
    name: Annotated[
        str,
        typer.Option(help="Its name: lowercase letters, digits, hyphens, at most 32."),
    ],
    region: Annotated[
        str, typer.Option(metavar="R", help="S3 region.", show_default="the name")
    ] = "",
    s3: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where S3 clients connect.")
    ] = "127.0.0.1:8000",
    peer: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where other datacenters connect.")
    ] = "127.0.0.1:7000",
    admin: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where this command line connects.")
    ] = "127.0.0.1:9000",
    advertise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="An address at which other datacenters reach this one; may be repeated.",
            show_default="the --peer address",
        ),
    ] = None,
    disk: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="A folder on a disk for objects; repeat it for each disk.",
            show_default="one disk, that of DIR",
        ),
    ] = None,
    redundancy: Annotated[
        str, typer.Option(metavar="K+M", help="With --disk: data and parity fragments.")
    ] = "1+0",
    as_json: AsJson = False,
) -> None:
    """Make a datacenter in DIR, a new or empty folder.

    Writes its identity, keys and configuration (DIR/farshore.toml, to be edited at will). Port 0
    stands for a free port. Nothing is ever overwritten; an interrupted init can be repeated.

    \b
    Examples:
      farshore init paris --name paris
      farshore init /srv/tokyo --name tokyo --region asia --s3 0.0.0.0:8000 \\
          --peer 0.0.0.0:7000 --advertise tokyo.example.com:7000
      farshore init rome --name rome --redundancy 2+1 \\
          --disk /mnt/a/rome --disk /mnt/b/rome --disk /mnt/c/rome
    """
    from admin.errors import UsageError
    from dc import config as configuration

    wanted = configuration.Config(
        name=name,
        region=region or name,
        s3=configuration.S3(listen=s3),
        peer=configuration.Peer(listen=peer, advertise=tuple(advertise or ())),
        admin=configuration.Admin(listen=admin),
        objects=configuration.Objects(
            disks=tuple(str(Path(each).absolute()) for each in disk or ()), redundancy=redundancy
        ),
    )
    try:
        configuration.check(wanted)
    except configuration.ConfigError as error:
        raise UsageError(str(error)) from None
    _make(folder, wanted, as_json)


def _make(folder: Path, wanted: "Config", as_json: bool) -> None:
    from admin.initialize import initialize
    from admin.output import print_fields, print_json
    from dc.system import SystemClock, SystemDisk, SystemRandomness

    made = initialize(folder, wanted, SystemClock(), SystemDisk(), SystemRandomness())
    facts = {each: getattr(made, each) for each in made.__struct_fields__}
    if as_json:
        print_json(facts)
        return
    print_fields(facts)
    print(f"\nStart it with: farshore serve {folder}")
