"""The folders that objects are spread over: whether they will do, and making one a disk of a
datacenter that is there already."""

import itertools
from pathlib import Path

from admin.errors import AdminError, os_reason
from admin.layout import PRIVATE_FOLDER, Layout, disk_folders, existing
from dc.config import Config, ConfigError, load
from dc.objects.api import CorruptData
from dc.objects.format import HEADER_BYTES, decode_header
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import Mode, parse_mode
from dc.ports import Disk
from tokens.errors import IdentityError
from tokens.identity import Identity


def check_folders(layout: Layout, config: Config) -> None:
    """AdminError when two of the disks are one folder, by whatever names, or one is in another:
    what is on both would be lost at once."""
    folders = disk_folders(layout, config)
    own = [layout.root.resolve(), *(each.resolve() for each in layout.all)]
    for folder in folders:
        if folder.resolve() in own or any(each in folder.resolve().parents for each in own[1:]):
            raise AdminError(f"{folder} is the datacenter's own: name another folder for a disk")
    for one, two in itertools.combinations(folders, 2):
        apart(one, two)


def apart(one: Path, two: Path) -> None:
    """AdminError when two disks are one folder, or one is in the other."""
    first, second = one.resolve(), two.resolve()
    if first == second or (first.exists() and second.exists() and first.samefile(second)):
        raise AdminError(f"{one} and {two} are the same folder: each disk needs one")
    if first in second.parents or second in first.parents:
        raise AdminError(f"of {one} and {two} one is in the other: name folders beside them")


def has_mark(folder: Path, dc_id: str) -> bool:
    """Whether a folder is a disk of this datacenter. OSError."""
    mark = folder / MARK
    return mark.exists() and mark.read_bytes() == mark_of(dc_id)


def check_empty(folder: Path) -> None:
    """AdminError when there is something in a folder that is to become a disk. OSError."""
    entries = sorted(folder.iterdir()) if folder.exists() else []
    strange = [entry.name for entry in entries if entry.name != "lost+found"]
    if strange:
        raise AdminError(
            f"{folder} is not empty, there is {strange[0]!r} in it: a disk is prepared empty"
        )


def make_disk(folder: Path, dc_id: str, disk: Disk) -> None:
    """Put the mark into a folder, which is made if need be. OSError."""
    disk.make_dirs(folder, PRIVATE_FOLDER)
    disk.write_atomic(folder / MARK, mark_of(dc_id))


def check_redundancy(layout: Layout, config: Config) -> None:
    """AdminError when what is on the disks was written with another redundancy."""
    wanted = parse_mode(config.objects.redundancy)
    for folder in disk_folders(layout, config):
        for path in itertools.islice((folder / "containers").glob("*.fss"), 16):
            try:
                header = decode_header(_beginning(path))
            except (CorruptData, OSError):
                continue
            found = Mode(header.k, header.m)
            if found != wanted:
                raise AdminError(
                    f"objects.redundancy is {wanted}, and {folder} has objects written as {found},"
                    " which cannot be changed yet: make a new datacenter, pair it with this one,"
                    " and let it copy everything"
                )
            break


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER_BYTES)


def prepare(root: Path, folder: Path, disk: Disk) -> None:
    """Put the mark into a folder. AdminError when it is none of the datacenter's, or not empty."""
    layout = existing(root)
    try:
        config = load(layout.config)
        dc_id = Identity.load(layout.identity.read_bytes()).dc_id
    except (ConfigError, IdentityError) as error:
        raise AdminError(str(error)) from None
    check_folders(layout, config)
    wanted = folder.absolute()
    if wanted not in [known.absolute() for known in disk_folders(layout, config)]:
        raise AdminError(
            f"{folder} is none of objects.disks in {layout.config}: add it there first"
        )
    try:
        if has_mark(wanted, dc_id):
            raise AdminError(f"{folder} is a disk of this datacenter already")
        check_empty(folder)
        make_disk(wanted, dc_id, disk)
    except OSError as error:
        raise AdminError(os_reason(error, folder)) from None
