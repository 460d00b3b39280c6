"""`farshore names`: the name server's database."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from admin.commands.common import AsJson, Folder, family

if TYPE_CHECKING:
    from admin.rebuilding import Progress, Report

app = family("The name server's database.")
_SHOWN_MAX = 20


@app.callback()
def names() -> None:
    """Keeps `rebuild` a command of its own."""


@app.command()
def rebuild(
    folder: Folder,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing: only say what would come back.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also when there is a database; it is kept in DIR/names.old-1."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the name server of DIR again from its containers: buckets, objects with all their
    versions and attributes, users and access keys, pairings.

    For when DIR/names is lost. The datacenter must be stopped; all that its containers hold is read
    once. Uploads that were not completed do not come back. What was changed in the last fraction of
    a second before the loss may be missing; paired datacenters give back what they have.

    The exit code is 1 when it cannot be done, or the bytes of some objects are in no container.

    \b
    Examples:
      farshore names rebuild paris --dry-run
      farshore names rebuild paris
      farshore names rebuild paris --force --json
    """
    import msgspec

    from admin import logs, rebuilding
    from admin.output import print_json
    from dc.config import Log
    from dc.system import SystemClock, SystemDatabases, SystemDisk, SystemRandomness

    logs.configure(Log(level="warning"))
    ports = rebuilding.Ports(SystemClock(), SystemDisk(), SystemDatabases(), SystemRandomness())
    report = asyncio.run(
        rebuilding.rebuild(folder, ports, force=force, dry_run=dry_run, tell=_tell)
    )
    if as_json:
        print_json(msgspec.to_builtins(report))
    else:
        _print(report)
    if report.lost:
        raise typer.Exit(1)


def _tell(progress: "Progress") -> None:
    of = f" of {progress.of:,}" if progress.of else ""
    print(f"{progress.doing}: {progress.done:,}{of}", file=sys.stderr)


def _print(report: "Report") -> None:
    from admin.output import print_fields, print_table

    facts = {name: getattr(report, name) for name in report.__struct_fields__}
    first = facts.pop("first_lost")
    print_fields(facts)
    if first:
        print()
        columns = {name: name.upper() for name in ("bucket", "key", "vid", "size")}
        rows = [{name: getattr(one, name) for name in columns} for one in first[:_SHOWN_MAX]]
        print_table(rows, columns)
    if len(first) > _SHOWN_MAX:
        print(f"and {report.lost - _SHOWN_MAX} more: see --json", file=sys.stderr)
