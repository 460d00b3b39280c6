"""Several disks as one, for containers: each is coded, and its slots are spread over the disks.

`CodedDisks` takes the place of a `dc.ports.Disk` in a `ContainerStore`, which need not know of it:
a container is one file, `ID.fsc`, and behind that name are the files `ID-SLOT.fss`, each in the
folder `containers` of another disk.

A disk is a folder with a file `farshore-disk` in it, which says whose it is. Where that is missing,
the disk is absent (not mounted, say), and nothing is written there. A disk that fails is left out
of new containers for `BAD_SECONDS`. A container may be begun on fewer disks than its mode has
slots, down to `Mode.slots_min`.
"""

import contextlib
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
        self._writing: set[int] = set()
        self._unfinished: dict[int, set[int]] = {}
        """Of containers: the slots whose disk failed while they were written."""
        self.mode = mode

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """Find what is on the disks; `path` is nothing here."""
        self._absent = set(range(len(self._folders)))
        self.look()
        for number in sorted(self._absent):
            log.error("a disk is missing", disk=str(self._folders[number].parent))

    def look(self) -> None:
        """Take the disks that were missing and are there, and know of those that have gone."""
        for number, folder in enumerate(self._folders):
            here = self._is_here(folder)
            if here and number in self._absent:
                self._take(number)
            elif not here and number not in self._absent:
                log.error("a disk has gone", disk=str(folder.parent))
                self._drop(number)

    def _is_here(self, folder: Path) -> bool:
        try:
            return self._disk.read_bytes(folder.parent / MARK) == self._mark
        except OSError:
            return False

    def _take(self, number: int) -> None:
        folder = self._folders[number]
        try:
            self._disk.make_dirs(folder)
            names = self._disk.list_dir(folder)
        except OSError as error:
            log.error("a disk cannot be used", disk=str(folder.parent), error=str(error))
            return
        for name in names:
            found = slot_of(name)
            if found is not None and found[1] in self._slots.get(found[0], {}):
                log.warning("a slot is on two disks", slot=name, ignored=str(folder.parent))
            elif found is not None:
                self._note(*found, number)
            elif name.endswith(".new"):
                self._disk.remove(folder / name)  # A repair was interrupted.
        self._absent.discard(number)

    def _drop(self, number: int) -> None:
        self._absent.add(number)
        self._used[number] = 0
        for container, places in list(self._slots.items()):
            if number in places.values():
                left = {slot: place for slot, place in places.items() if place != number}
                self._slots[container] = left

    def _note(self, container: int, slot: int, number: int) -> None:
        # Containers are made, read and mended in several threads: a dictionary that is in use is
        # never changed.
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
        self._writing.add(container)
        return self._file(container, files, lambda: self._writing.discard(container))

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
        return self.coded(_container(path))

    def coded(self, container: int) -> CodedFile:
        """A container, to be read."""
        places = self._slots.get(container)
        if places is None:
            name = file_name(container)
            raise FileNotFoundError(errno.ENOENT, "there is no such container", name)
        files: list[File | None] = [None] * self._coder.mode.slots
        for slot, number in places.items():
            try:
                files[slot] = self._disk.open(self._folders[number] / slot_name(container, slot))
            except OSError as error:
                log.warning(
                    "a slot cannot be read", container=file_name(container), error=str(error)
                )
        return self._file(container, files)

    # -- for scrub and repair ---------------------------------------------------------------------

    def containers(self) -> list[int]:
        return sorted(self._slots)

    def sealed(self) -> list[int]:
        """Those that nobody writes to."""
        return sorted(self._slots.keys() - self._writing)

    def missing(self, container: int) -> frozenset[int]:
        """The slots that are on no disk, or whose disk failed while they were written."""
        absent = set(range(self.mode.slots)) - self._slots.get(container, {}).keys()
        return frozenset(absent | self._unfinished.get(container, set()))

    def usable(self) -> frozenset[int]:
        """The disks that can be written."""
        return frozenset(self._candidates())

    def place_for(
        self, container: int, slot: int, taken: frozenset[int] = frozenset()
    ) -> int | None:
        """The disk to write a slot anew on: its own, or one that has none of the container. None
        when there is none that can be written."""
        places, good = self._slots.get(container, {}), self._candidates()
        if places.get(slot) in good:
            return places[slot]
        free = (one for one in good if one not in places.values() and one not in taken)
        return next(free, None)

    def begin_slot(self, container: int, slot: int, number: int) -> File:
        """A new file that is to become a slot, with its header."""
        path = self._temporary(container, slot, number)
        with contextlib.suppress(FileNotFoundError):
            self._disk.remove(path)
        file = self._disk.create(path)
        code = self.mode
        header = Header(container, created_ms(container), code.k, code.m, slot)
        file.writev([encode_header(header)], 0)
        return file

    def end_slot(self, container: int, slot: int, number: int, file: File) -> None:
        """Make it durable, and put it in the place of the slot that was there."""
        folder, name = self._folders[number], slot_name(container, slot)
        file.sync()
        self._disk.rename(self._temporary(container, slot, number), folder / name)
        self._disk.sync_dir(folder)
        self._unfinished.get(container, set()).discard(slot)
        if self._slots.get(container, {}).get(slot) != number:
            self._note(container, slot, number)

    def _temporary(self, container: int, slot: int, number: int) -> Path:
        return self._folders[number] / f".{slot_name(container, slot)}.new"

    def state(self) -> DisksState:
        now = self._clock.monotonic()
        failing = {number for number, until in self._bad_until.items() if until > now}
        return DisksState(
            str(self._coder.mode),
            len(self._folders),
            [str(self._folders[number].parent) for number in sorted(self._absent)],
            [str(self._folders[number].parent) for number in sorted(failing - self._absent)],
        )

    def _file(
        self,
        container: int,
        files: Sequence[File | None],
        closed: Callable[[], None] = lambda: None,
    ) -> CodedFile:
        places = self._slots[container]
        return CodedFile(
            self._coder,
            container,
            files,
            self._side,
            lambda slot, error: self._slot_failed(container, slot, places[slot], error),
            closed,
        )

    def _slot_failed(self, container: int, slot: int, number: int, error: OSError) -> None:
        self._unfinished.setdefault(container, set()).add(slot)
        self._failed(number, error)

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
