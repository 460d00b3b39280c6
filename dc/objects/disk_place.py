"""One of the disks that containers are spread over: where it is, and what it is called."""

from pathlib import Path
from typing import NamedTuple, Protocol

from dc.objects.marks import MARK
from dc.ports import File


class PlaceDisk(Protocol):
    """What slots need of a disk: a part of `dc.ports.Disk`. All calls block."""

    def create(self, path: Path, mode: int = 0o644) -> File: ...

    def open(self, path: Path) -> File: ...

    def read_bytes(self, path: Path) -> bytes: ...

    def list_dir(self, path: Path) -> list[str]: ...

    def make_dirs(self, path: Path, mode: int = 0o755) -> None: ...

    def remove(self, path: Path) -> None: ...

    def rename(self, path: Path, to: Path) -> None: ...

    def sync_dir(self, path: Path) -> None: ...

    def room(self, path: Path) -> int: ...


class DiskPlace(NamedTuple):
    """A folder on a disk of this machine, or of another (`dc/objects/nodes`)."""

    label: str
    """What operators call it: the folder's path, after the node's name and a colon on a node."""
    folder: Path
    disk: PlaceDisk
    """By which the folder is reached."""
    host: str = ""
    """The failure domain: slots of one container go to different ones as far as there are enough.
    "": the disk is one of its own."""

    @property
    def domain(self) -> str:
        return self.host or self.label

    @property
    def containers(self) -> Path:
        return self.folder / "containers"

    def is_here(self, mark: bytes) -> bool:
        """Whether the disk is there, and the datacenter's."""
        try:
            return self.disk.read_bytes(self.folder / MARK) == mark
        except OSError:
            return False

    def keeps(self, name: str) -> bool:
        """Whether a slot is there, can be opened, and stays there whatever happens."""
        try:
            self.disk.open(self.containers / name).close()
            self.disk.sync_dir(self.containers)
        except OSError:
            return False
        return True


def local_places(disk: PlaceDisk, folders: list[Path]) -> list[DiskPlace]:
    """Folders of this machine."""
    return [DiskPlace(str(folder), folder, disk) for folder in folders]
