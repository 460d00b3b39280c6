"""`farshore replication export` and `import`: changes that travel in files."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from admin.commands.common import AsJson, client
from admin.commands.comparing import size
from admin.errors import AdminError
from admin.output import print_fields, print_json, print_note

if TYPE_CHECKING:
    from dc.ports import File

STDIO = "-"
READ_BYTES = 1 << 20
NOTE_BYTES = 256 << 20
"""After each so many bytes a line on standard error says how far it is."""


def export(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A new file, or - for standard output.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="PEER", help="Whom it is for.")],
    start: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="POSITION",
            min=0,
            help="After this position, not after what the peer has acknowledged.",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="From the beginning, and what the peer made, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write what a paired datacenter lacks into FILE, signed, and encrypted for it alone.

    An export that was interrupted is run again, and begins anew: FILE is there only when it is
    whole, until then it is FILE.part. The exit code is 1 also when bodies could not be read, and
    the file lacks them.

    \b
    Examples:
      farshore -C paris replication export --to tokyo /media/disk/paris-7.farshore
      farshore -C paris replication export --to tokyo - | ssh tokyo farshore ... import -
    """
    if everything and start is not None:
        raise typer.BadParameter("either --from or --all", context)
    asked = {"to": to, "from_position": start, "everything": everything}
    admin = client(context)
    pieces = admin.download("replication", "export", body=asked)
    written = _to_stdout(pieces) if file == STDIO else _to_file(pieces, Path(file))
    peers = admin.get("replication")["peers"]
    (files,) = [one["files"] for one in peers if to in (one["name"], one["dc_id"])]
    facts = {
        "file": file,
        "peer": to,
        "bytes": written,
        "changes": files["exported_changes"],
        "position": files["exported_position"],
        "unreadable": files["exported_unreadable"],
    }
    if file == STDIO:
        print_note(f"{facts['changes']:,} changes, {size(written)}, up to {facts['position']}")
    elif as_json:
        print_json(facts)
    else:
        print_fields(facts | {"bytes": f"{written} ({size(written)})"})
    if facts["unreadable"]:
        print_note(
            f"{facts['unreadable']:,} bodies could not be read and are not in the file, which can"
            " be imported all the same: see the log and `farshore check`, then export once more"
        )
        raise typer.Exit(1)


def take(
    context: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What a paired datacenter has exported, or -.")
    ],
    as_json: AsJson = False,
) -> None:
    """Take the changes in FILE. It may be repeated, and files may come in any order.

    An import that was interrupted goes on where it was when it is run again.

    \b
    Example:
      farshore -C tokyo replication import /media/disk/paris-7.farshore
    """
    if file == STDIO:
        report = client(context).upload("replication", "import", pieces=_pieces(sys.stdin.buffer))
    else:
        with Path(file).open("rb") as source:
            report = client(context).upload("replication", "import", pieces=_pieces(source))
    if as_json:
        print_json(report)
        return
    for line in _told(report):
        print(line)


def _told(report: dict[str, Any]) -> list[str]:
    name = report["name"]
    lines = [
        f"{name}: {report['changes']:,} changes, {report['known']:,} of them known;"
        f" {report['bodies']:,} large bodies; {size(report['bytes'])} in {report['seconds']:.1f} s",
        f"the feed of {name} is taken up to position {report['position']}",
    ]
    if report["gap"]:
        lines.append(
            f"the file begins after position {report['after']}: one that comes before it is"
            " missing. What is in this one has taken effect; nothing after the gap is"
            " acknowledged until the other file comes"
        )
    if report["unfinished"]:
        lines.append(
            f"{report['unfinished']:,} changes are not finished, {report['failing']:,} of them"
            " failed: see `farshore replication status`"
        )
    if report["missed_deletions"]:
        lines.append(f"deletions of {name} were missed: they are found when there is a link")
    if report["acked"] is not None:
        lines.append(f"{name} has our feed up to position {report['acked']}")
    if report["ack_ignored"]:
        lines.append(
            f"what the file says of that was not listened to: something newer of {name} has come"
            " (by its clock), or it speaks of a history that was given up here"
        )
    if report["identical"]:
        lines.append("both held the same when the file was made")
    return lines


def _pieces(source: BinaryIO) -> Iterator[bytes]:
    read = noted = 0
    while piece := source.read(READ_BYTES):
        yield piece
        read += len(piece)
        if read - noted >= NOTE_BYTES:
            noted = read
            print_note(f"{size(read)} taken")


def _to_stdout(pieces: Iterator[bytes]) -> int:
    written = 0
    for piece in pieces:
        sys.stdout.buffer.write(piece)
        written += len(piece)
    sys.stdout.buffer.flush()
    return written


def _to_file(pieces: Iterator[bytes], path: Path) -> int:
    """Under another name until it is whole and durable; how many bytes. What does not become whole
    is taken away; a kill leaves it, and it is replaced."""
    from dc.system import SystemDisk

    if path.exists():
        raise AdminError(f"{path} is there already: choose another name")
    disk, part = SystemDisk(), path.with_name(f"{path.name}.part")
    if part.exists():
        print_note(f"{part} is of an export that was interrupted: it is made anew")
        disk.remove(part)
    output = disk.create(part, mode=0o600)
    try:
        try:
            written = _write(pieces, output)
        finally:
            output.close()
        disk.rename(part, path)
    except BaseException:
        with suppress(OSError):
            disk.remove(part)
        raise
    disk.sync_dir(path.parent)
    return written


def _write(pieces: Iterator[bytes], output: "File") -> int:
    written = noted = 0
    for piece in pieces:
        output.writev([piece], written)
        written += len(piece)
        if written - noted >= NOTE_BYTES:
            noted = written
            print_note(f"{size(written)} written")
    output.sync()
    return written
