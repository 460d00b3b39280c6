"""Whether a file with a secret in it is closed to everybody but its owner."""

import stat
from pathlib import Path

from tokens.errors import PrivateFileError


def check_private_mode(path: Path) -> None:
    """PrivateFileError when group or others have any right to the file, or it is no file.

    The right to write counts like the right to read: who can put another key in place is as bad
    as who can copy this one. A link is followed. A missing file is FileNotFoundError, as usual.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise PrivateFileError(f"{path} is not a regular file; put the secret's file there")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PrivateFileError(
            f"{path} holds a secret and has mode {stat.S_IMODE(mode):04o}, open to others:"
            f" run `chmod 600 {path}`, and if others use this machine, replace the secret"
        )
