"""What `farshore notary verify` and `audit` share: the public keys that are trusted, and how it is
said that what is verified is not right."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from admin.output import print_json

if TYPE_CHECKING:
    from notary.note import Key

Keys = Annotated[
    list[Path],
    typer.Option(
        "--keys",
        metavar="FILE",
        help="Public keys that are trusted, as `farshore notary keys` prints them; repeatable.",
        exists=True,
        dir_okay=False,
    ),
]


def read_all(keys: list[Path]) -> list["Key"]:
    """NoteInvalid, UnicodeDecodeError."""
    from notary.note import read_keys

    return [one for path in keys for one in read_keys(path.read_text("utf-8"))]


@contextmanager
def refusing(word: str, read: str, as_json: bool) -> Iterator[None]:
    """Ends the command with exit code 1 when what is verified inside is not `word`, or `read`
    cannot be read."""
    from admin.errors import AdminError
    from notary.errors import CertificateRefused, NoteInvalid

    try:
        yield
    except CertificateRefused as error:
        if as_json:
            print_json({word: False, "reason": error.reason, "text": str(error)})
            raise typer.Exit(1) from None
        raise AdminError(f"NOT {word}: {error}") from None
    except (NoteInvalid, UnicodeDecodeError) as error:
        raise AdminError(f"{read} cannot be read: {error}") from None
