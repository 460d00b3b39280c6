"""What can go wrong in administration: one error whose text is the line that a person reads, and
the exit codes of a process: 0 done, 1 refused or failed, 2 wrong usage, 3 to 5 see `Unconfirmed`
and `NotCompared`.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AdminError(Exception):
    """Refused or failed. The text is one line: what, which value, and what to do. Exit code 1."""

    exit_code = 1


class UsageError(AdminError):
    """An option or argument with a value that cannot be. Exit code 2."""

    exit_code = 2


class Unconfirmed(AdminError):
    """A pairing was made, and changes were not seen to travel. Exit code 3: they do not go there;
    4: they do not come from there; 5: neither."""

    def __init__(self, text: str, went: bool, came: bool) -> None:
        assert not (went and came)
        super().__init__(text)
        self.exit_code = {(False, True): 3, (True, False): 4}.get((went, came), 5)


class NotCompared(AdminError):
    """Datacenters could not be compared. Exit code 3."""

    exit_code = 3


def os_reason(error: OSError, path: Path | None = None) -> str:
    """An OSError as one line; a full disk is said plainly. `path` stands in for a missing one."""
    named = error.filename or path
    where = f"{named}: " if named else ""
    if error.errno in _FULL:
        return f"{where}no space left to write to: make room on the disk, then run it again"
    return f"{where}{error.strerror or error}"


def taken(what: str, host: str, port: int, error: OSError) -> AdminError:
    """A listener that cannot be opened, with the field to change."""
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return AdminError(
            f"port {port} is taken: another program listens on {where}; end it, or choose another"
            f" {what}.listen in farshore.toml"
        )
    if error.errno == errno.EACCES:
        return AdminError(f"this user may not listen on {where}; choose another {what}.listen")
    if error.errno == errno.EADDRNOTAVAIL:
        return AdminError(f"{where} is no address of this machine; choose another {what}.listen")
    return AdminError(f"cannot listen on {where} ({what}.listen): {error.strerror or error}")


def exit_code(command: Callable[[], object]) -> int:
    """Run a command. What it raises is one line on standard error, never a traceback, unless
    FARSHORE_DEBUG is set and it is a mistake of ours."""
    try:
        command()
    except AdminError as error:
        return _failed(str(error), error.exit_code)
    except OSError as error:
        return _failed(os_reason(error))
    except KeyboardInterrupt:
        return _failed("interrupted")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:
        if os.environ.get("FARSHORE_DEBUG"):
            raise
        return _failed(f"unexpected {type(error).__name__}: {error} (FARSHORE_DEBUG=1 shows more)")
    return 0


def _failed(reason: str, code: int = 1) -> int:
    print(f"farshore: {' '.join(reason.split())}", file=sys.stderr)
    return code
