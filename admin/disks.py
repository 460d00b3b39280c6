"""Making a folder a disk of a datacenter that is there already."""

from pathlib import Path

from admin.errors import AdminError, os_reason
from admin.layout import PRIVATE_FOLDER, disk_folders, existing
from dc.config import ConfigError, load
from dc.objects.marks import MARK, mark_of
from dc.ports import Disk
from tokens.errors import IdentityError
from tokens.identity import Identity


def prepare(root: Path, folder: Path, disk: Disk) -> None:
    """Put the mark into a folder. AdminError when it is none of the datacenter's, or not empty."""
    layout = existing(root)
    try:
        config = load(layout.config)
        dc_id = Identity.load(layout.identity.read_bytes()).dc_id
    except (ConfigError, IdentityError) as error:
        raise AdminError(str(error)) from None
    wanted = folder.absolute()
    if wanted not in [known.absolute() for known in disk_folders(layout, config)]:
        raise AdminError(
            f"{folder} is none of objects.disks in {layout.config}: add it there first"
        )
    try:
        if (wanted / MARK).exists() and (wanted / MARK).read_bytes() == mark_of(dc_id):
            raise AdminError(f"{folder} is a disk of this datacenter already")
        entries = sorted(wanted.iterdir()) if wanted.exists() else []
        strange = [entry.name for entry in entries if entry.name != "lost+found"]
        if strange:
            raise AdminError(
                f"{folder} is not empty, there is {strange[0]!r} in it: a disk is prepared empty"
            )
        disk.make_dirs(wanted, PRIVATE_FOLDER)
        disk.write_atomic(wanted / MARK, mark_of(dc_id))
    except OSError as error:
        raise AdminError(os_reason(error, folder)) from None
