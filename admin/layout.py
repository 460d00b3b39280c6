"""The files in the folder of a datacenter (DIR).

    farshore.toml     configuration; written last by `init`: with it, DIR is a datacenter
    identity          the keys that say who this datacenter is                      secret
    peer.crt          certificate of the listener for other datacenters
    peer.key          its key                                                       secret
    data.key          encrypts S3 secret keys at rest                               secret
    admin.token       what the command line shows to the admin API                  secret
    names/            the name server's database
    names.old-N/      one that `farshore names rebuild --force` has put aside
    names.rebuild/    one that is being made
    containers/       the objects' bytes
    scrub.json        how far the round of scrubbing is
    disks.json        disks and machines that were added since `init`
    farshore.lock     locked by the process that serves DIR; says its pid
    run.json          pid and bound addresses of the last process that served DIR

Secret files have mode 0600, DIR has 0700.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from admin.errors import AdminError
from dc.config import Config

PRIVATE = 0o600
PRIVATE_FOLDER = 0o700
DATA_KEY_BYTES = 32
ADMIN_TOKEN_BYTES = 32
"""Written as hex digits."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths in one DIR."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "farshore.toml"

    @property
    def identity(self) -> Path:
        return self.root / "identity"

    @property
    def certificate(self) -> Path:
        return self.root / "peer.crt"

    @property
    def certificate_key(self) -> Path:
        return self.root / "peer.key"

    @property
    def data_key(self) -> Path:
        return self.root / "data.key"

    @property
    def admin_token(self) -> Path:
        return self.root / "admin.token"

    @property
    def names(self) -> Path:
        return self.root / "names"

    @property
    def notary(self) -> Path:
        """The folder of the notary's database and of what its plug-ins keep."""
        return self.root / "notary"

    @property
    def containers(self) -> Path:
        return self.root / "containers"

    @property
    def scrub_round(self) -> Path:
        return self.root / "scrub.json"

    @property
    def disks(self) -> Path:
        return self.root / "disks.json"

    @property
    def node(self) -> Path:
        """What is there when it is a node's folder, and no datacenter's."""
        return self.root / "node.json"

    @property
    def lock(self) -> Path:
        return self.root / "farshore.lock"

    @property
    def run(self) -> Path:
        return self.root / "run.json"

    @property
    def secrets(self) -> list[Path]:
        return [self.identity, self.certificate_key, self.data_key, self.admin_token]

    @property
    def all(self) -> list[Path]:
        rest = [self.config, self.certificate, self.names, self.containers, self.disks, self.notary]
        return [*self.secrets, *rest, self.scrub_round, self.lock, self.run]


def disk_folders(layout: Layout, config: Config) -> list[Path]:
    """The folders of the disks that objects are spread over; none when they are in DIR."""
    return [layout.root / each for each in config.objects.disks]


def shown_json(value: Any) -> bytes:
    """What JSON files hold that people may look into, too."""
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


def existing(root: Path) -> Layout:
    """The layout of a folder that is a datacenter; AdminError when it is none."""
    layout = Layout(root)
    try:
        if not root.exists():
            raise AdminError(f"{root} does not exist: make it with `farshore init {root} --name X`")
        if not root.is_dir():
            raise AdminError(f"{root} is a file, not the folder of a datacenter")
        if layout.node.is_file():
            raise AdminError(
                f"{root} is a node, no datacenter: this is asked of the datacenter that it is of"
            )
        if not layout.config.is_file():
            raise AdminError(
                f"{root} is not a datacenter, it has no farshore.toml: make it with"
                f" `farshore init {root} --name X`"
            )
    except PermissionError:
        raise AdminError(f"this user may not look into {root}") from None
    return layout


class Lock:
    """Holds a folder for one process. The kernel lets go of it when the process ends, however it
    does. The pid in the file is for people; what counts is the lock.
    """

    def __init__(self, path: Path, what: str) -> None:
        """`what` is held, for the message to who comes second."""
        self._path = path
        self._what = what
        self._fd = -1

    def acquire(self) -> None:
        """AdminError, with the pid, when another process holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise AdminError(f"{self._what} is already running (pid {pid or 'unknown'})") from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def running_pid(layout: Layout) -> int:
    """The process that serves a DIR, 0 when none does, -1 when it cannot be told which.

    Tries the lock and lets go of it at once; who starts to serve tries several times, so a look
    cannot stand in its way.
    """
    try:
        fd = os.open(layout.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(fd, 32).strip()
        return int(pid) if pid.isdigit() else -1
    finally:
        os.close(fd)
    return 0


def read_run(layout: Layout) -> dict[str, Any]:
    """What is in run.json; empty when there is none that can be read."""
    try:
        found = json.loads(layout.run.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
