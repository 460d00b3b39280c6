"""Several disks as one, for containers: each is coded, and its slots are spread over the disks.

`CodedDisks` takes the place of a `dc.ports.Disk` in a `ContainerStore`, which need not know of it:
a container is one file, `ID.fsc`, and behind that name are the files `ID-SLOT.fss`, each in the
folder `containers` of another disk.

A disk is a folder with a file `farshore-disk` in it, which says whose it is. Where that is missing,
the disk is absent (not mounted, say), and nothing is written there. A disk that fails is left out
of new containers for `BAD_SECONDS`. A container may be begun on fewer disks than its mode has
slots, down to `Mode.slots_min`.
"""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog

from dc.objects.coded_file import CodedFile, Side
from dc.objects.container import created_ms
from dc.objects.format import Header, container_of, encode_header, file_name
from dc.objects.marks import MARK, mark_of
from dc.objects.redundancy import Coder, Mode
from dc.objects.stripes import slot_name, slot_of
from dc.ports import Clock, Disk, File

log = structlog.get_logger("objects")
T = TypeVar("T")

BAD_SECONDS = 60.0


class DisksState(NamedTuple):
    """For the status page: the mode, how many disks there are, and the folders of those that were
    missing at the start, and that are left out since they failed."""

    redundancy: str
    disks: int
    disks_missing: list[str]
    disks_failing: list[str]


class CodedDisks:
    """See the head of the file. All calls but `run` block."""

    def __init__(
        self,
        disk: Disk,
        folders: Sequence[Path],
        dc_id: str,
        mode: Mode,
        *,
        clock: Clock,
        side: Side,
    ) -> None:
        self._disk = disk
        self._folders = [folder / "containers" for folder in folders]
        self._mark = mark_of(dc_id)
        self._coder = Coder(mode)
        self._clock = clock
        self._side = side
        self._slots: dict[int, dict[int, int]] = {}
        """Of each container: the disk of each slot."""
        self._absent: set[int] = set()
        self._bad_until: dict[int, float] = {}
        self._used = [0] * len(folders)
        """Slots on each disk."""

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """Find what is on the disks; `path` is nothing here."""
        for number, folder in enumerate(self._folders):
            try:
                if self._disk.read_bytes(folder.parent / MARK) != self._mark:
                    raise OSError(errno.EINVAL, "it is of another datacenter")
                self._disk.make_dirs(folder, mode)
                names = self._disk.list_dir(folder)
            except OSError as error:
                self._absent.add(number)
                log.error("a disk is missing", disk=str(folder.parent), error=str(error))
                continue
            for name in names:
                if (found := slot_of(name)) is not None:
                    self._note(*found, number)

    def _note(self, container: int, slot: int, number: int) -> None:
        # A container may be made and read in two threads: what is there is never changed.
        self._slots[container] = {**self._slots.get(container, {}), slot: number}
        self._used[number] += 1

    def list_dir(self, path: Path) -> list[str]:
        return sorted(map(file_name, self._slots))

    def create(self, path: Path, mode: int = 0o644) -> File:
        container = _container(path)
        if container in self._slots:
            raise FileExistsError(errno.EEXIST, "there is such a container", str(path))
        code = self._coder.mode
        files: list[File | None] = [None] * code.slots
        places: dict[int, int] = {}
        try:
            for number in self._candidates():
                slot = next((slot for slot, file in enumerate(files) if file is None), None)
                if slot is None:
                    break
                file = self._create(container, slot, number, mode)
                if file is not None:
                    files[slot], places[slot] = file, number
            if len(places) < code.slots_min:
                raise OSError(
                    errno.EIO,
                    f"{len(places)} of {len(self._folders)} disks can be written, and a container "
                    f"of {code} takes {code.slots_min}",
                )
        except BaseException:
            self._remove(container, places, files)
            raise
        for slot, number in places.items():
            self._note(container, slot, number)
        if len(places) < code.slots:
            log.warning("a container has missing slots", container=path.name, slots=len(places))
        return self._file(container, files)

    def _candidates(self) -> list[int]:
        """The disks that may be written, those with the fewest slots first."""
        now = self._clock.monotonic()
        good = [
            number
            for number in range(len(self._folders))
            if number not in self._absent and self._bad_until.get(number, now) <= now
        ]
        return sorted(good, key=lambda number: self._used[number])

    def _create(self, container: int, slot: int, number: int, mode: int) -> File | None:
        code = self._coder.mode
        header = Header(container, created_ms(container), code.k, code.m, slot)
        try:
            file = self._disk.create(self._folders[number] / slot_name(container, slot), mode)
        except OSError as error:
            self._failed(number, error)
            return None
        try:
            file.writev([encode_header(header)], 0)
        except OSError as error:
            self._failed(number, error)
            self._remove(container, {slot: number}, [file])
            return None
        return file

    def _remove(self, container: int, places: dict[int, int], files: Sequence[File | None]) -> None:
        for file in files:
            if file is not None:
                file.close()
        for slot, number in places.items():
            try:
                self._disk.remove(self._folders[number] / slot_name(container, slot))
            except OSError as error:
                log.warning("a slot was not removed", container=container, error=str(error))

    def _failed(self, number: int, error: OSError) -> None:
        self._bad_until[number] = self._clock.monotonic() + BAD_SECONDS
        log.error("a disk failed", disk=str(self._folders[number].parent), error=str(error))

    def open(self, path: Path) -> File:
        container = _container(path)
        places = self._slots.get(container)
        if places is None:
            raise FileNotFoundError(errno.ENOENT, "there is no such container", str(path))
        files: list[File | None] = [None] * self._coder.mode.slots
        for slot, number in places.items():
            try:
                files[slot] = self._disk.open(self._folders[number] / slot_name(container, slot))
            except OSError as error:
                log.warning("a slot cannot be read", container=path.name, error=str(error))
        return self._file(container, files)

    def state(self) -> DisksState:
        now = self._clock.monotonic()
        failing = {number for number, until in self._bad_until.items() if until > now}
        return DisksState(
            str(self._coder.mode),
            len(self._folders),
            [str(self._folders[number].parent) for number in sorted(self._absent)],
            [str(self._folders[number].parent) for number in sorted(failing - self._absent)],
        )

    def _file(self, container: int, files: Sequence[File | None]) -> CodedFile:
        places = self._slots[container]
        return CodedFile(
            self._coder,
            container,
            files,
            self._side,
            lambda slot, error: self._failed(places[slot], error),
        )

    def remove(self, path: Path) -> None:
        container = _container(path)
        for slot, number in self._slots.pop(container, {}).items():
            self._used[number] -= 1
            self._disk.remove(self._folders[number] / slot_name(container, slot))

    def sync_dir(self, path: Path) -> None:
        """Make the names of containers durable on all disks that can be written. OSError when some
        disk fails: the next container is begun without it."""
        numbers = self._candidates()
        errors = self._side(
            [lambda folder=self._folders[number]: self._disk.sync_dir(folder) for number in numbers]  # type: ignore[misc]
        )
        for number, error in zip(numbers, errors, strict=True):
            if error is not None:
                self._failed(number, error)
        if first := next((error for error in errors if error is not None), None):
            raise first


def _container(path: Path) -> int:
    container = container_of(path.name)
    if container is None:
        raise FileNotFoundError(errno.ENOENT, "only containers are kept on coded disks", str(path))
    return container
