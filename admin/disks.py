"""The folders that objects are spread over: whether they will do, and making one a disk of a
datacenter that is there already."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import structlog

from admin.errors import AdminError, os_reason
from admin.layout import PRIVATE_FOLDER, Layout, disk_folders, existing
from dc.config import Config, ConfigError, load
from dc.objects.disk_place import DiskPlace
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import parse_mode
from dc.objects.tiers import Tier
from dc.ports import Disk
from tokens.errors import IdentityError
from tokens.identity import Identity

log = structlog.get_logger("disks")
ON_DISKS = "on-disks"
"""In the folder for containers of a datacenter whose objects are on several disks."""


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


def tiers_of(layout: Layout, config: Config) -> list[Tier]:
    """What the configuration says of tiers, with disks by their labels."""
    labels = {each: str(layout.root / each) for each in config.objects.disks}
    standard = parse_mode(config.objects.redundancy)
    return [
        Tier(
            name,
            parse_mode(tier.redundancy) if tier.redundancy else standard,
            tuple(labels.get(each, each) for each in tier.disks),
        )
        for name, tier in config.objects.tiers.items()
    ]


def check_tiers(tiers: Sequence[Tier], places: Sequence[DiskPlace], may_change: bool) -> None:
    """AdminError when a tier names too few of the disks. Where disks come and go (`may_change`),
    a datacenter must start all the same: then it is told."""
    for tier in tiers:
        mine = [place.label for place in places if tier.takes(place)]
        if tier.disks and len(mine) < tier.mode.slots:
            there = ", ".join(mine) or f"none of {', '.join(one.label for one in places)}"
            text = (
                f"objects.tiers.{tier.name}.disks: {tier.mode} takes {tier.mode.slots} disks, and"
                f" these are {len(mine)}: {there}"
            )
            if not may_change:
                raise AdminError(text)
            log.warning("a tier has too few disks", tier=tier.name, problem=text)


def check_one_disk(layout: Layout) -> None:
    """AdminError when the objects are on several disks."""
    if (layout.containers / ON_DISKS).exists():
        raise AdminError(
            "the objects of this datacenter are on several disks, and cannot go back to one:"
            f" objects.redundancy in {layout.config} must say how, for instance 2+1"
            " (and objects.disks where)"
        )


def note_disks(layout: Layout, disk: Disk) -> None:
    """Write down that objects are on several disks. OSError."""
    if not (layout.containers / ON_DISKS).exists():
        disk.make_dirs(layout.containers, PRIVATE_FOLDER)
        disk.write_atomic(layout.containers / ON_DISKS, b"see objects.disks in farshore.toml\n")


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
