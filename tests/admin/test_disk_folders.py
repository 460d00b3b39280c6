"""The folders of disks: two that are one are refused by whatever names, and so is another mode."""

from pathlib import Path

import pytest

from admin.disks import prepare
from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout
from admin.parts import fleet_of, object_disk, read_files
from dc.config import Config, Objects, load, render
from dc.objects.coded_disks import CodedDisks
from dc.objects.format import file_name
from dc.system import SystemClock, SystemDisk, SystemRandomness


def config(*disks: object, redundancy: str = "1+1") -> Config:
    return Config(
        name="paris",
        region="eu",
        objects=Objects(disks=tuple(map(str, disks)), redundancy=redundancy),
    )


def init(root: Path, wanted: Config) -> None:
    initialize(root, wanted, SystemClock(), SystemDisk(), SystemRandomness())


def opened(root: Path) -> CodedDisks:
    files, disk, clock = read_files(Layout(root)), SystemDisk(), SystemClock()
    disks = object_disk(files, disk, clock, fleet_of(files, clock, disk, SystemRandomness()))
    assert isinstance(disks, CodedDisks)
    return disks


@pytest.mark.parametrize(
    ("one", "two", "why"),
    [
        ("a", "./b/../a", "same folder"),
        ("a", "link", "same folder"),
        ("a", "a/b", "in the other"),
        ("link/b/c", "a", "in the other"),
        ("a", "dc", "the datacenter's own"),
        ("a", "dc/containers", "the datacenter's own"),
        ("a", "dc/names/deep", "the datacenter's own"),
    ],
)
def test_folders_that_are_no_two_disks_are_refused(
    tmp_path: Path, one: str, two: str, why: str
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    wanted = config(f"{tmp_path}/{one}", f"{tmp_path}/{two}")
    with pytest.raises(AdminError, match=why):
        init(tmp_path / "dc", wanted)
    init(tmp_path / "dc", config(tmp_path / "x", tmp_path / "y"))
    Layout(tmp_path / "dc").config.write_text(render(wanted))
    with pytest.raises(AdminError, match=why):
        opened(tmp_path / "dc")


def test_disks_in_the_folder_of_the_datacenter(tmp_path: Path) -> None:
    """Also when an init was interrupted that had made them."""
    root = tmp_path / "dc"
    init(root, config("one", "deep/two"))
    Layout(root).config.unlink()
    init(root, config("one", "deep/two"))
    disks = opened(root)
    disks.make_dirs(root)
    assert disks.state().disks_missing == []
    (root / "strange").mkdir()
    Layout(root).config.unlink()
    with pytest.raises(AdminError, match="strange"):
        init(root, config("one", "deep/two"))


def test_another_redundancy_than_what_is_there_was_written_with_is_refused(tmp_path: Path) -> None:
    root, names = tmp_path / "dc", [tmp_path / name for name in "abcd"]
    init(root, config(*names[:3], redundancy="2+1"))
    disks = opened(root)
    disks.make_dirs(root)
    disks.create(root / "containers" / file_name(1 << 16)).close()
    Layout(root).config.write_text(render(config(*names[:3], redundancy="1+2")))
    with pytest.raises(AdminError, match=r"redundancy is 1\+2, .* written as 2\+1"):
        opened(root)
    Layout(root).config.write_text(render(config(*names, redundancy="2+1")))
    prepare(root, names[3], SystemDisk())
    opened(root)
    assert load(Layout(root).config).objects.disks == tuple(map(str, names))
