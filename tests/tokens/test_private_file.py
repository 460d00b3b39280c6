"""Private files that are not private."""

import pytest

from tokens.errors import PrivateFileError
from tokens.private_file import check_private_mode


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_file_of_the_owner_alone_is_fine(tmp_path, mode):
    path = tmp_path / "identity"
    path.write_bytes(b"x")
    path.chmod(mode)
    check_private_mode(path)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path, mode):
    path = tmp_path / "identity"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(PrivateFileError, match="chmod 600"):
        check_private_mode(path)


def test_a_directory_in_its_place_is_refused(tmp_path):
    (tmp_path / "identity").mkdir(mode=0o700)
    with pytest.raises(PrivateFileError, match="not a regular file"):
        check_private_mode(tmp_path / "identity")


def test_a_link_is_as_private_as_its_target(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"x")
    target.chmod(0o644)
    link.symlink_to(target)
    with pytest.raises(PrivateFileError):
        check_private_mode(link)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        check_private_mode(tmp_path / "none")
