"""The folders of disks: two that are one are refused by whatever names; modes and tiers on them."""

from pathlib import Path

import pytest

from admin.disks import note_disks, prepare
from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout
from admin.parts import fleet_of, object_disk, read_files
from dc.config import Config, Objects, TierTable, load, render
from dc.objects.coded_disks import CodedDisks
from dc.objects.format import file_name
from dc.objects.tiers import FOREIGN
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


def container(disks: CodedDisks, number: int) -> None:
    disks.create(Path(file_name(number << 16))).close()


def test_another_redundancy_than_what_is_there_was_written_with(tmp_path: Path) -> None:
    """Both are there, each as it is."""
    root, names = tmp_path / "dc", [tmp_path / name for name in "abcd"]
    init(root, config(*names[:3], redundancy="2+1"))
    disks = opened(root)
    disks.make_dirs(root)
    container(disks, 1)
    Layout(root).config.write_text(render(config(*names[:3], redundancy="1+2")))
    disks = opened(root)
    disks.make_dirs(root)
    container(disks, 2)
    assert [str(disks.form(one << 16).mode) for one in (1, 2)] == ["2+1", "1+2"]
    Layout(root).config.write_text(render(config(*names, redundancy="2+1")))
    prepare(root, names[3], SystemDisk())
    disks = opened(root)
    disks.make_dirs(root)
    assert [str(disks.form(one << 16).mode) for one in (1, 2)] == ["2+1", "1+2"]
    assert not any(disks.slots.missing(one << 16) for one in (1, 2))
    assert load(Layout(root).config).objects.disks == tuple(map(str, names))


def test_one_disk_becomes_several_and_not_one_again(tmp_path: Path) -> None:
    root, names = tmp_path / "dc", [tmp_path / name for name in "abc"]
    init(root, config(redundancy="1+0"))
    old = Layout(root).containers / file_name(5 << 16)
    old.write_bytes(b"of one disk")
    Layout(root).config.write_text(render(config(*names, redundancy="2+1")))
    for name in names:
        prepare(root, name, SystemDisk())
    disks = opened(root)
    disks.make_dirs(root)
    assert disks.list_dir(root) == [old.name] and disks.sizes() == {5 << 16: 11}
    assert disks.form(5 << 16) == FOREIGN
    file = disks.open(root / old.name)
    assert file.read(11, 0) == b"of one disk"
    file.close()
    assert disks.slots.sealed() == []
    note_disks(Layout(root), SystemDisk())
    Layout(root).config.write_text(render(config(redundancy="1+0")))
    with pytest.raises(AdminError, match="on several disks, and cannot go back"):
        opened(root)


def tiered(*disks: object, **tiers: TierTable) -> Config:
    return Config(
        name="paris",
        region="eu",
        objects=Objects(disks=tuple(map(str, disks)), redundancy="1+1", tiers=tiers),
    )


def test_a_tier_on_some_disks(tmp_path: Path) -> None:
    root, names = tmp_path / "dc", ["ssd1", "ssd2", "hdd1", "hdd2", "hdd3"]
    archive = TierTable(redundancy="2+1", disks=("*/hdd?",))
    init(root, tiered(*names))
    two = tiered(*names, archive=archive, standard=TierTable(disks=("ssd1", "ssd2")))
    Layout(root).config.write_text(render(two))
    disks = opened(root)
    disks.make_dirs(root)
    container(disks, 1)
    disks.begin(Path(file_name(2 << 16)), disks.tiers.of("archive")).close()
    where = {
        one: {disks.disks.labels([number])[0] for number in disks.slots.places[one << 16].values()}
        for one in (1, 2)
    }
    assert where[1] == {str(root / name) for name in names[:2]}
    assert where[2] == {str(root / name) for name in names[2:]}
    few = TierTable(redundancy="2+1", disks=("hdd1", "*/none"))
    Layout(root).config.write_text(render(tiered(*names, archive=few)))
    with pytest.raises(AdminError, match=r"archive\.disks: 2\+1 takes 3 disks, and these are 1"):
        opened(root)
