"""Making a datacenter: the files of `farshore init`.

The configuration is written last. Until it is there nothing counts, so an `init` that was
interrupted, by a full disk or by a power cut, is simply run again: it makes all files anew. Once
it is there, `init` refuses to touch anything. A folder with files in it that `init` did not make
is refused as well.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from admin.disks import check_folders, make_disk
from admin.errors import AdminError, os_reason
from admin.layout import (
    ADMIN_TOKEN_BYTES,
    DATA_KEY_BYTES,
    PRIVATE,
    PRIVATE_FOLDER,
    Layout,
    Lock,
    disk_folders,
)
from dc import config as configuration
from dc.config import Config
from dc.objects.marks import MARK, mark_of
from dc.ports import Clock, Disk, Randomness
from tokens.errors import IdentityError
from tokens.identity import Identity

_LEFT_OVER = re.compile(r"\.[a-z.]+\.\d+\.tmp|lost\+found")


class Initialized(msgspec.Struct, frozen=True):
    """What was made."""

    name: str
    region: str
    dc_id: str
    dir: str
    s3: str
    peer: str
    advertise: list[str]
    admin: str


def initialize(
    root: Path, config: Config, clock: Clock, disk: Disk, randomness: Randomness
) -> Initialized:
    """Make the datacenter `config` in `root`. AdminError when that is refused or fails."""
    layout = Layout(root)
    try:
        _check_free(layout, config)
        disk.make_dirs(root, PRIVATE_FOLDER)
        root.chmod(PRIVATE_FOLDER)
        lock = Lock(layout.lock, f"an init or a serve of {root}")
        lock.acquire()
        try:
            _check_free(layout, config)
            _check_disks(layout, config)
            identity = _write_files(layout, config, clock, disk, randomness)
        finally:
            lock.release()
    except OSError as error:
        raise AdminError(os_reason(error, root)) from None
    return Initialized(
        name=config.name,
        region=config.region,
        dc_id=identity.dc_id,
        dir=str(root),
        s3=config.s3.listen,
        peer=config.peer.listen,
        advertise=list(config.peer.advertise) or [config.peer.listen],
        admin=config.admin.listen,
    )


def _check_free(layout: Layout, config: Config) -> None:
    root = layout.root
    if not root.exists() and not root.is_symlink():
        return
    if not root.is_dir():
        raise AdminError(f"{root} is a file: name a folder for the datacenter")
    if layout.config.exists():
        raise AdminError(f"{root} is a datacenter already: it is left as it is")
    own = {path.name for path in layout.all}
    for folder in disk_folders(layout, config):
        if root.resolve() in folder.resolve().parents:
            own.add(folder.resolve().relative_to(root.resolve()).parts[0])
    for entry in sorted(root.iterdir()):
        if entry.name not in own and not _LEFT_OVER.fullmatch(entry.name):
            raise AdminError(
                f"{root} is not empty, there is {entry.name!r} in it: name a new or empty folder"
            )


def _check_disks(layout: Layout, config: Config) -> None:
    """Folders for objects must be new or empty, but for what an init of DIR left that was
    interrupted."""
    check_folders(layout, config)
    mine = _interrupted(layout)
    for folder in disk_folders(layout, config):
        if folder.exists() and not folder.is_dir():
            raise AdminError(f"{folder} is a file: name a folder for a disk")
        mark = folder / MARK
        if mark.exists() and mark.read_bytes() != mine:
            raise AdminError(f"{folder} is {mark.read_text().strip()}: name another folder")
        for entry in sorted(folder.iterdir()) if folder.exists() else ():
            if entry.name != MARK and not _LEFT_OVER.fullmatch(entry.name):
                raise AdminError(
                    f"{folder} is not empty, there is {entry.name!r} in it: name a new or empty"
                    " folder for each disk"
                )


def _interrupted(layout: Layout) -> bytes:
    """The mark of the disks of an init before this one; b"" when there was none."""
    try:
        return mark_of(Identity.load(layout.identity.read_bytes()).dc_id)
    except (OSError, IdentityError):
        return b""


def _write_files(
    layout: Layout, config: Config, clock: Clock, disk: Disk, randomness: Randomness
) -> Identity:
    from tokens.certificate import make_certificate  # it loads a large library

    identity = Identity.generate(randomness.token)
    yesterday = datetime.fromtimestamp(clock.wall_ms() / 1000, UTC) - timedelta(days=1)
    certificate, certificate_key = make_certificate(identity.dc_id, yesterday)
    disk.make_dirs(layout.names, PRIVATE_FOLDER)
    disk.make_dirs(layout.containers, PRIVATE_FOLDER)
    disk.write_atomic(layout.identity, identity.dump(), PRIVATE)
    disk.write_atomic(layout.certificate_key, certificate_key, PRIVATE)
    disk.write_atomic(layout.certificate, certificate)
    disk.write_atomic(layout.data_key, randomness.token(DATA_KEY_BYTES), PRIVATE)
    for folder in disk_folders(layout, config):
        make_disk(folder, identity.dc_id, disk)
    token = randomness.token(ADMIN_TOKEN_BYTES).hex()
    disk.write_atomic(layout.admin_token, f"{token}\n".encode(), PRIVATE)
    disk.write_atomic(layout.config, configuration.render(config).encode())
    return identity
