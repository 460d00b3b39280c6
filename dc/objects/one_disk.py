"""Containers from the time when a datacenter had one disk, beside several now: files of their own
in its folder. They are read and removed, and never written; re-coding empties them.
"""

import contextlib
from pathlib import Path

from dc.objects.disk_place import PlaceDisk
from dc.objects.format import container_of, file_name
from dc.ports import File


class OneDisk:
    """Those in a folder. All calls block, but for `in`."""

    def __init__(self, disk: PlaceDisk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._containers: frozenset[int] = frozenset()

    def __contains__(self, container: int) -> bool:
        return container in self._containers

    def containers(self) -> list[int]:
        return sorted(self._containers)

    def look(self) -> None:
        """Find them. Raises OSError."""
        self._disk.make_dirs(self._folder, 0o700)
        found = map(container_of, self._disk.list_dir(self._folder))
        self._containers = frozenset(one for one in found if one is not None)

    def open(self, container: int) -> File:
        return self._disk.open(self._folder / file_name(container))

    def sizes(self) -> dict[int, int]:
        found = {}
        for container in self.containers():
            with contextlib.suppress(OSError):
                file = self.open(container)
                try:
                    found[container] = file.size()
                finally:
                    file.close()
        return found

    def remove(self, container: int) -> None:
        """Raises OSError."""
        self._disk.remove(self._folder / file_name(container))
        self._containers -= {container}
