"""`farshore init`: makes a datacenter."""

from typing import Annotated

import typer

from admin.commands.common import AsJson, Folder


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
    as_json: AsJson = False,
) -> None:
    """Make a datacenter in DIR, a new or empty folder.

    Writes its identity, keys and configuration (DIR/farshore.toml, to be edited at will). Port 0
    stands for a free port. Nothing is ever overwritten; an init that was interrupted can be
    repeated.

    \b
    Examples:
      farshore init paris --name paris
      farshore init /srv/tokyo --name tokyo --region asia --s3 0.0.0.0:8000 \\
          --peer 0.0.0.0:7000 --advertise tokyo.example.com:7000
    """
    from admin.errors import UsageError
    from admin.output import print_fields, print_json
    from dc import config as configuration

    wanted = configuration.Config(
        name=name,
        region=region or name,
        s3=configuration.S3(listen=s3),
        peer=configuration.Peer(listen=peer, advertise=tuple(advertise or ())),
        admin=configuration.Admin(listen=admin),
    )
    try:
        configuration.check(wanted)
    except configuration.ConfigError as error:
        raise UsageError(str(error)) from None
    from admin.initialize import initialize
    from dc.system import SystemClock, SystemDisk, SystemRandomness

    made = initialize(folder, wanted, SystemClock(), SystemDisk(), SystemRandomness())
    facts = {each: getattr(made, each) for each in made.__struct_fields__}
    if as_json:
        print_json(facts)
        return
    print_fields(facts)
    print(f"\nStart it with: farshore serve {folder}")
