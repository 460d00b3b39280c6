"""The token that Prometheus shows, if one is wanted (`metrics.token_file`)."""

from pathlib import Path

from admin.errors import AdminError
from tokens.private_file import check_private_mode

TOKEN_CHARACTERS_MIN = 16
"""A shorter one can be guessed."""


def read_token(path: Path) -> str:
    """AdminError, PrivateFileError, OSError."""
    check_private_mode(path)
    token = path.read_text(errors="replace").strip()
    if len(token) < TOKEN_CHARACTERS_MIN:
        raise AdminError(
            f"{path} has {len(token)} characters, and a token at least {TOKEN_CHARACTERS_MIN}: the"
            " output of `openssl rand -hex 32` is a good one"
        )
    return token
