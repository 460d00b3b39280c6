"""`init`: what it makes, with which rights, and that it can be interrupted anywhere."""

import errno
from collections.abc import Sequence
from pathlib import Path

import pytest

from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout, Lock
from admin.parts import read_files
from dc.config import Config, load
from dc.ports import Buffer
from dc.system import SystemClock, SystemDisk, SystemRandomness
from tokens.fingerprint import fingerprint

CONFIG = Config(name="paris", region="eu")
WRITES = 6
"""How many files an init writes."""


def make(root: Path, disk: SystemDisk | None = None) -> str:
    made = initialize(root, CONFIG, SystemClock(), disk or SystemDisk(), SystemRandomness())
    return made.dc_id


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


class FailingDisk(SystemDisk):
    """Fails at the `count`th file that is written."""

    def __init__(self, count: int, error: int) -> None:
        super().__init__()
        self.left = count
        self.error = error

    def write_atomic(self, path: Path, data: Buffer, mode: int = 0o644) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(self.error, "No space left on device", str(path))
        super().write_atomic(path, bytes(data), mode)


def test_files_and_their_rights(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "paris"
    dc_id = make(root)
    layout = Layout(root)
    assert mode(root) == 0o700
    for path in layout.secrets:
        assert mode(path) == 0o600, path
    assert len(layout.data_key.read_bytes()) == 32
    assert len(layout.admin_token.read_text().strip()) == 64
    assert len(fingerprint(layout.certificate.read_bytes())) == 64
    files = read_files(layout)
    assert files.config == CONFIG == load(layout.config)
    assert files.identity.dc_id == dc_id
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_two_datacenters_share_nothing(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    for one, other in zip(
        Layout(tmp_path / "a").secrets, Layout(tmp_path / "b").secrets, strict=True
    ):
        assert one.read_bytes() != other.read_bytes()


def test_a_datacenter_is_left_as_it_is(tmp_path: Path) -> None:
    make(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(AdminError, match="is a datacenter already"):
        make(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert before == after


@pytest.mark.parametrize("count", range(WRITES))
def test_a_full_disk_is_said_and_init_can_be_repeated(tmp_path: Path, count: int) -> None:
    root = tmp_path / "paris"
    with pytest.raises(AdminError, match="no space left"):
        make(root, FailingDisk(count, errno.ENOSPC))
    layout = Layout(root)
    assert not layout.config.exists()
    # What a power cut leaves besides.
    (root / ".identity.123.tmp").write_bytes(b"half")
    dc_id = make(root)
    assert read_files(layout).identity.dc_id == dc_id


def test_it_writes_that_many_files(tmp_path: Path) -> None:
    """So that the test above stops at each of them."""
    disk = FailingDisk(WRITES, errno.ENOSPC)
    make(tmp_path, disk)
    assert disk.left == 0


@pytest.mark.parametrize("content", [["notes.txt"], [".ssh"], ["identity", "other"]])
def test_a_folder_with_other_things_is_refused(tmp_path: Path, content: Sequence[str]) -> None:
    for name in content:
        (tmp_path / name).touch()
    with pytest.raises(AdminError, match="is not empty"):
        make(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(content)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "paris"
    path.touch()
    with pytest.raises(AdminError, match="is a file"):
        make(path)


def test_a_mounted_disk_is_taken_and_closed_to_others(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()
    tmp_path.chmod(0o755)
    make(tmp_path)
    assert mode(tmp_path) == 0o700


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    held = Lock(tmp_path / "farshore.lock", "it")
    held.acquire()
    with pytest.raises(AdminError, match="already running"):
        make(tmp_path)
    held.release()
    make(tmp_path)
