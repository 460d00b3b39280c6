"""`farshore check`: whether all bytes are there and right."""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.commands.common import AsJson, Folder

if TYPE_CHECKING:
    from admin.checking import Progress, Report


def check(
    folder: Folder,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no bytes: only whether containers are there.")
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Mend what can be, and have the rest fetched from other datacenters."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check that every object, kept conflict and part of an upload in DIR can be read, and is what
    was sent, and, with several disks, that every fragment is right. Everything that is wrong is
    listed. The datacenter must be stopped. Nothing is changed without --repair.

    The exit code is 1 when something is wrong, and with --repair when it could not be mended.

    \b
    Examples:
      farshore check paris
      farshore check paris --quick --json
      farshore check paris --repair
    """
    import msgspec

    from admin import checking, logs
    from admin.output import print_json
    from dc.config import Log
    from dc.system import SystemClock, SystemDatabases, SystemDisk, SystemRandomness

    logs.configure(Log(level="warning"))
    report = asyncio.run(
        checking.check(
            folder,
            read=not quick,
            repair=repair,
            tell=_tell,
            clock=SystemClock(),
            disk=SystemDisk(),
            databases=SystemDatabases(),
            randomness=SystemRandomness(),
        )
    )
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print(report)
    if not report.is_clean:
        raise typer.Exit(1)


def _tell(progress: "Progress") -> None:
    print(
        f"{progress.done:,} of {progress.of:,} bodies, {progress.bytes / 1e9:.2f} GB",
        file=sys.stderr,
    )


def _print(report: "Report") -> None:
    from admin.output import print_fields, print_table

    facts = {name: getattr(report, name) for name in report.__struct_fields__}
    found, damages = facts.pop("found"), facts.pop("damages")
    facts["damages"] = len(damages)
    print_fields(facts)
    _table(found, ("what", "bucket", "key", "id", "problem"), print_table)
    _table(damages, ("container", "slot", "disk", "problem", "mended"), print_table)


def _table(items: list[Any], names: tuple[str, ...], show: Callable[..., None]) -> None:
    """All of them; nothing when there are none."""
    if items:
        print()
        rows = [{name: getattr(one, name) for name in names} for one in items]
        show(rows, {name: name.upper() for name in names})
