"""`farshore notary`: a log of what is stored that cannot be changed unseen; its certificates."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from admin.commands import notary_audit, notary_service
from admin.commands.common import AsJson, client, family
from admin.commands.notary_verifying import Keys, read_all, refusing
from admin.output import print_fields, print_json, print_line, print_note, print_table

if TYPE_CHECKING:
    from notary.certificate import Verified

app = family("Objects that are provable by anyone: the log, its certificates, their verification.")
app.add_typer(notary_service.app, name="service")
app.command()(notary_audit.audit)
AUTHORITY = "rfc3161"
"""The kind of their timestamps."""
Bucket = Annotated[str, typer.Argument(metavar="BUCKET", help="The bucket's name.")]
Uri = Annotated[
    str,
    typer.Argument(metavar="URI", help="s3://BUCKET/KEY, or s3://BUCKET/KEY?versionId=ID."),
]


@app.command()
def enable(context: typer.Context, bucket: Bucket, as_json: AsJson = False) -> None:
    """Notarize new versions in a bucket from now on, in all datacenters.

    What is there already is left as it is. `GET` and `HEAD` of new versions say
    `x-farshore-notary: pending`, and within some seconds `notarized`.

    \b
    Example:
      farshore -C paris notary enable photos
    """
    _switch(context, bucket, True, as_json)


@app.command()
def disable(context: typer.Context, bucket: Bucket, as_json: AsJson = False) -> None:
    """Notarize new versions in a bucket no more. What was notarized stays so.

    \b
    Example:
      farshore -C paris notary disable photos
    """
    _switch(context, bucket, False, as_json)


def _switch(context: typer.Context, bucket: str, on: bool, as_json: bool) -> None:
    facts = client(context).put("notary", "buckets", bucket, body={"on": on})
    if as_json:
        print_json(facts)
        return
    print_line(f"new versions in {bucket} are {'' if on else 'not '}notarized")


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the log, its checkpoints, witnesses, mirrors of other logs, hooks, and alarms.

    \b
    Example:
      farshore -C paris notary status
    """
    facts = client(context).get("notary")
    if as_json:
        print_json(facts)
        return
    shown = {
        "log": facts["origin"],
        "served at": facts["url"] or "nowhere (notary.listen)",
        "entries": f"{facts['entries']:,}, {facts['published']:,} under a checkpoint",
        "to come": f"{facts['waiting']:,}, {facts['to_read']:,} to be read first",
        "buckets": [one["name"] for one in facts["buckets"] if one["notarized"]] or "none",
    }
    if facts["restoring"]:
        shown["restoring"] = f"the log waits: {facts['restoring']}"
    if facts["unreadable"]:
        shown["unreadable"] = f"{facts['unreadable']:,}: they are tried again and again"
    if facts["lost"]:
        shown["lost"] = f"{facts['lost']:,} had gone before they were read"
    print_fields(shown)
    for one in facts["alarms"]:
        print_line(
            f"ALARM {one['id']}: {one['name'] or one['origin']}: {one['text']} ({one['time']})"
        )
    for name, columns in _TABLES.items():
        if facts[name]:
            print()
            print_table(facts[name], columns)
    for name, error in facts["errors"].items():
        print_note(f"{name}: {error}")


_TABLES = {
    "witnesses": {"name": "WITNESS", "signed": "SIGNED THE LAST", "reason": "WHY NOT"},
    "mirrors": {"name": "MIRROR OF", "entries": "ENTRIES", "published": "PROVEN", "error": "ERROR"},
    "hooks": {
        "name": "HOOK",
        "entries": "TOLD",
        "behind": "BEHIND",
        "checkpoint": "CHECKPOINT",
        "failures": "FAILURES",
        "error": "ERROR",
    },
}


@app.command()
def keys(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the public keys of this datacenter's log and of its witnesses, for who is to verify.

    Hand them over in a way that cannot be tampered with: they are what certificates are
    verified with.

    \b
    Example:
      farshore -C paris notary keys > paris.keys
    """
    found = client(context).get("notary", "keys")["keys"]
    if as_json:
        print_json(found)
        return
    for one in found:
        print_line(f"{one['key']}  # {one['name']}")


@app.command()
def certificate(
    context: typer.Context,
    uri: Uri,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page of it, for people, there."),
    ] = None,
) -> None:
    """Get the certificate of an object: one file that shows what was stored, when, and by whom.

    \b
    Examples:
      farshore -C paris notary certificate s3://photos/a.jpg --out a.cert
      farshore -C paris notary certificate "s3://photos/a.jpg?versionId=ID" --html a.html
    """
    from admin.errors import AdminError
    from notary.errors import CertificateRefused
    from notary.note import read_key

    bucket, key, version = _parts(uri)
    query = {"bucket": bucket, "key": key} | ({"version": version} if version else {})
    asking = client(context)
    text: str = asking.get("notary", "certificate", query=query)["certificate"]
    if out is not None:
        out.write_text(text, encoding="utf-8")
    elif html is None:
        print(text, end="")
    if html is not None:
        known = [read_key(one["key"]) for one in asking.get("notary", "keys")["keys"]]
        try:
            _write_page(text.encode(), known, html)
        except CertificateRefused as error:
            raise AdminError(f"there is no page: {error}") from None


@app.command()
def verify(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="The object.")
    ],
    certificate: Annotated[
        Path,
        typer.Argument(metavar="CERTIFICATE", exists=True, dir_okay=False, help="Its certificate."),
    ],
    keys: Keys,
    witnesses: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="How many datacenters besides the first must have cosigned."
        ),
    ] = 0,
    uri: Annotated[
        str,
        typer.Option(
            "--object", metavar="URI", help="It must be of that: s3://BUCKET/KEY[?versionId=ID]."
        ),
    ] = "",
    roots: Annotated[
        Path | None,
        typer.Option(
            "--tsa-roots",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="PEM certificates that timestamping authorities must be under.",
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page of it, for people, there."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify that a file is what a certificate says, offline. The exit code is 1 when it is not.

    \b
    Examples:
      farshore notary verify a.jpg a.cert --keys paris.keys
      farshore notary verify a.jpg a.cert --keys paris.keys --witnesses 1 --object s3://photos/a.jpg
      farshore notary verify a.jpg a.cert --keys paris.keys --tsa-roots roots.pem
    """
    from notary.certificate import Policy, check_file
    from notary.certificate import verify as verify_certificate

    data = _read(certificate)
    bucket, key, version = _parts(uri) if uri else ("", "", "")
    with refusing("verified", "the keys", as_json):
        known = read_all(keys)
        found = verify_certificate(data, Policy(known, witnesses, bucket, key, version))
        check_file(found.entry, file)
        timestamps = _timestamps(found, roots)
    if html is not None:
        _write_page(data, known, html, roots)
    _say(found, file, timestamps, as_json)


def _read(certificate: Path) -> bytes:
    """Not more than one byte too much: what is given may be the object, of any size."""
    from notary.certificate import CERTIFICATE_BYTES_MAX

    with certificate.open("rb") as file:
        return file.read(CERTIFICATE_BYTES_MAX + 1)


def _say(found: "Verified", file: Path, timestamps: list[str], as_json: bool) -> None:
    from dc.stamps import utc_text

    entry = found.entry
    witnesses = [(one.name, utc_text(one.seconds * 1000)) for one in found.witnesses]
    if as_json:
        print_json(
            {
                "verified": True,
                "file": str(file),
                "bucket": entry.bucket,
                "key": entry.key,
                "version_id": entry.version_id,
                "size": entry.size,
                "sha256": entry.sha256,
                "time": entry.time,
                "dc": entry.dc,
                "origin": found.origin,
                "index": found.position,
                "witnesses": [{"name": name, "time": time} for name, time in witnesses],
                "unknown": found.unknown,
                "timestamps": timestamps,
            }
        )
        return
    print_line(f"verified: {file} is s3://{entry.bucket}/{entry.key}")
    facts: dict[str, Any] = {
        "version": entry.version_id,
        "written": f"{entry.time}, in {entry.dc} ({entry.dc_id})",
        "size": f"{entry.size:,} bytes",
        "sha256": entry.sha256,
        "log": f"{found.origin}, entry {found.position:,} of {found.size:,}",
    }
    print_fields(facts)
    for name, time in witnesses:
        print_line(f"witnessed by {name} at {time}")
    for name in found.unknown:
        print_note(f"signed also by {name}, of whom no key was given: not looked into")
    for line in timestamps:
        print_line(f"timestamp: {line}")


def _timestamps(found: "Verified", roots: Path | None) -> list[str]:
    """A line on each timestamp, by its plug-in if that is installed. CertificateRefused for what
    is of another checkpoint than it should be, or not under `roots`, and when there is none that
    could be."""
    from dc.system import SystemClock, SystemRandomness
    from notary.errors import CertificateRefused, NotaryError
    from notary.hooks import explained

    outside = SystemClock(), SystemRandomness()
    options: dict[str, dict[str, Any]] = {}
    if roots is not None:
        _read_roots(roots)
        options[AUTHORITY] = {"certificates": str(roots)}
        if all(one.kind != AUTHORITY for one in found.timestamps):
            raise CertificateRefused("no-timestamp", "no authority has stamped it yet")
    lines = []
    for one in found.timestamps:
        try:
            line = explained(one.kind, one.body, one.root, one.data, *outside, options)
        except ValueError as error:
            raise CertificateRefused("timestamp", f"the {one.kind} timestamp: {error}") from None
        except NotaryError as error:
            line = f"it was not looked into: {error}"
        lines.append(f"{one.kind}: {line}")
    return lines


def _read_roots(path: Path) -> None:
    """AdminError when they are none."""
    from admin.errors import AdminError
    from notary.plugins.tsp import read_roots

    try:
        read_roots(path.read_bytes())
    except ValueError as error:
        raise AdminError(f"{path} cannot be used: {error}") from None


def _write_page(data: bytes, known: list[Any], path: Path, roots: Path | None = None) -> None:
    from notary.certificate import Policy
    from notary.certificate import verify as verify_certificate
    from notary.page import page

    found = verify_certificate(data, Policy(known))
    path.write_text(page(found, data, _timestamps(found, roots)), encoding="utf-8")


def _parts(uri: str) -> tuple[str, str, str]:
    """Bucket, key and version id, "" for the current one."""
    rest = uri.removeprefix("s3://")
    path, mark, version = rest.rpartition("?versionId=")
    bucket, _, key = (path if mark else rest).partition("/")
    version = version if mark else ""
    if rest == uri or not bucket or not key or (mark and not version):
        raise typer.BadParameter(f"{uri!r} is not s3://BUCKET/KEY or s3://BUCKET/KEY?versionId=ID")
    return bucket, key, version


@app.command("forget-alarm")
def forget_alarm(
    context: typer.Context,
    number: Annotated[
        int, typer.Argument(metavar="ID", min=1, help="As `farshore notary status` shows it.")
    ],
) -> None:
    """Take an alarm out of the status, when it was looked into.

    What was shown is gone with it: `farshore notary status --json` has both checkpoints.

    \b
    Example:
      farshore -C paris notary forget-alarm 1
    """
    client(context).delete("notary", "alarms", str(number))
    print(f"alarm {number} is forgotten")


@app.command("accept-loss")
def accept_loss(
    context: typer.Context,
    yes: Annotated[
        str | None,
        typer.Option("--yes", metavar="NAME", help="The datacenter's name: do not ask for it."),
    ] = None,
) -> None:
    """Let the log go on without entries that it has signed and that no peer gives back.

    For good: peers that have these entries raise an alarm, and never cosign this log again.
    `farshore notary status` shows what the log waits for.

    \b
    Examples:
      farshore -C paris notary accept-loss
      farshore -C paris notary accept-loss --yes paris
    """
    name = yes if yes is not None else typer.prompt("The name of the datacenter", err=True)
    client(context).post("notary", "accept-loss", body={"name": name})
    print("the log goes on without these entries")
