"""`farshore notary audit`: whether a whole log is what its checkpoint says."""

import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admin.commands.common import AsJson
from admin.commands.notary_verifying import Keys, read_all, refusing
from admin.output import print_fields, print_json

if TYPE_CHECKING:
    from notary.auditing import Fetch

_SECONDS = 30
_TELL_ENTRIES = 256 * 100


def audit(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="Of the log, as http://HOST:PORT/farshore/ID: without /checkpoint."
        ),
    ],
    keys: Keys,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="The checkpoint of the last audit, which the log must continue; the new one is"
            " written there. It is made if it is not there.",
            dir_okay=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a whole log and verify it: each entry is in it, and none of before was changed.

    The exit code is 1 when that is not so. It needs no account: whoever can read the log can do it.

    \b
    Example:
      farshore notary audit http://paris.example.com:8080/farshore/ID --keys paris.keys \\
          --checkpoint paris.checkpoint
    """
    from notary.auditing import audit as audit_log
    from notary.note import read_checkpoint

    with refusing("whole", "the keys or the earlier checkpoint", as_json):
        known = read_all(keys)
        before = None
        if checkpoint is not None and checkpoint.exists():
            before = read_checkpoint(checkpoint.read_text())
        found = audit_log(_fetch_from(url), known, before, _tell)
    if checkpoint is not None:
        checkpoint.write_text(str(found.checkpoint))
    facts = {
        "whole": True,
        "origin": found.checkpoint.origin,
        "entries": found.checkpoint.size,
        "since": before.size if before is not None else 0,
        "witnesses": found.witnesses,
    }
    if as_json:
        print_json(facts)
    else:
        print_fields(facts)


def _tell(done: int, of: int) -> None:
    if done % _TELL_ENTRIES == 0:
        print(f"{done:,} of {of:,} entries", file=sys.stderr)


def _fetch_from(url: str) -> "Fetch":
    from admin.errors import AdminError

    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r} is no URL of HTTP")
    base = url.removesuffix("/checkpoint").rstrip("/")

    def fetch(path: str, limit: int) -> bytes | None:
        try:
            with urllib.request.urlopen(f"{base}/{path}", timeout=_SECONDS) as answer:
                data: bytes = answer.read(limit + 1)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
            raise AdminError(f"{base}/{path} was answered {error.code}") from None
        except (OSError, ValueError) as error:
            raise AdminError(f"{base}/{path} cannot be read: {error}") from None
        if len(data) > limit:
            raise AdminError(f"{base}/{path} has more than {limit} bytes")
        return data

    return fetch
