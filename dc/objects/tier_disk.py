"""The disk that containers of one tier are begun on: `CodedDisks`, which is told the tier."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dc.objects.coded_disks import CodedDisks
from dc.objects.tiers import Tier
from dc.ports import File

T = TypeVar("T")


class TierDisk:
    """A `ContainerDisk` for lanes of a tier."""

    def __init__(self, disks: CodedDisks, tier: Tier) -> None:
        self._disks = disks
        self._tier = tier

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disks.run(work)

    def create(self, path: Path, mode: int = 0o644) -> File:
        return self._disks.begin(path, self._tier, mode)

    def open(self, path: Path) -> File:
        return self._disks.open(path)

    def list_dir(self, path: Path) -> list[str]:
        return self._disks.list_dir(path)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        self._disks.make_dirs(path, mode)

    def remove(self, path: Path) -> None:
        self._disks.remove(path)

    def sync_dir(self, path: Path) -> None:
        self._disks.sync_dir(path)
