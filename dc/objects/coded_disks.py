"""Several disks as one, for containers: each is coded, and its slots are spread over the disks.

`CodedDisks` takes the place of a `dc.ports.Disk` in a `ContainerStore`, which need not know of it:
a container is one file, `ID.fsc`, and behind that name are the files `ID-SLOT.fss`, each in the
folder `containers` of another disk.

A disk is a folder with a file `farshore-disk` in it, which says whose it is. Where that is missing,
the disk is absent (not mounted, say), and nothing is written there. A disk that fails is left out
of new containers for `BAD_SECONDS`, as long as there are enough others. A container may be begun on
fewer disks than its mode has slots, down to `Mode.slots_min`.

When a disk comes back whose slots were written anew elsewhere meanwhile, both are kept, and read
where one will not do, until the container was found whole (`dc/objects/mending.py`).
"""

import contextlib
import errno
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from dc.objects.coded_file import CodedFile, Side
from dc.objects.container import created_ms
from dc.objects.disk_place import DiskPlace
from dc.objects.disk_set import DiskSet, DisksState
from dc.objects.format import HEADER_BYTES, Header, container_of, encode_header, file_name
from dc.objects.marks import mark_of
from dc.objects.redundancy import Coder, Mode
from dc.objects.stripes import slot_name, slot_of
from dc.ports import Clock, Disk, File

log = structlog.get_logger("objects")
T = TypeVar("T")


class ContainerRemoved(Exception):
    """Somebody removed a container that was worked on, or the disk. No fault of a disk."""


class CodedDisks:
    """See the head of the file. All calls but `run` block."""

    def __init__(
        self,
        disk: Disk,
        places: Sequence[DiskPlace],
        dc_id: str,
        mode: Mode,
        *,
        clock: Clock,
        side: Side,
    ) -> None:
        self._disk = disk
        self.disks = DiskSet(places, clock)
        self._mark = mark_of(dc_id)
        self._coder = Coder(mode)
        self._side = side
        self._lock = threading.Lock()
        """Held by who changes what follows."""
        self._slots: dict[int, dict[int, int]] = {}
        """Of each container: the disk of each slot."""
        self._others: dict[int, frozenset[tuple[int, int]]] = {}
        """Of containers: slots that are on a second disk as well, with that disk."""
        self._writing: set[int] = set()
        self._unfinished: dict[int, set[int]] = {}
        """Of containers: the slots whose disk failed while they were written."""
        self.mode = mode

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """Find what is on the disks; `path` is nothing here."""
        self.disks.absent = set(numbers := self.disks.numbers())
        # Side by side: each machine that does not answer takes seconds.
        self._side([partial(self._begin_disk, number) for number in numbers])
        for label in self.disks.labels(self.disks.absent):
            log.error("a disk is missing", disk=label)

    def _begin_disk(self, number: int) -> None:
        self._take(number)

    def look(self) -> set[int]:
        """Take the disks that were missing and are there, and know of those that have gone, and of
        slots that have. Returns the containers with slots on them."""
        changed: set[int] = set()
        for number in self.disks.numbers():
            place = self._place(number)
            if number in self.disks.absent:
                changed |= self._take(number)
                continue
            known = self._on(number)
            try:
                here = place.is_here(self._mark)
                names = set(place.disk.list_dir(place.containers)) if here else None
            except OSError:
                names = None
            if names is None:
                log.error("a disk has gone", disk=place.label)
                changed |= self._drop(number, known)
            elif gone := {one for one in known if slot_name(*one) not in names} & self._on(number):
                log.error("slots have gone", disk=place.label, slots=len(gone))
                changed |= self._drop(number, gone, absent=False)
        return changed

    def _on(self, number: int) -> set[tuple[int, int]]:
        """The slots that are known to be on a disk, with their containers."""
        with self._lock:
            return {
                (container, slot)
                for container, places in self._slots.items()
                for slot, place in places.items()
                if place == number
            }

    def _take(self, number: int) -> set[int]:
        place, folder = self._place(number), self._place(number).containers
        if not place.is_here(self._mark):
            return set()
        try:
            place.disk.make_dirs(folder)
            names = place.disk.list_dir(folder)
        except OSError as error:
            log.error("a disk cannot be used", disk=place.label, error=str(error))
            return set()
        taken = set()
        for name in names:
            found = slot_of(name)
            if name.endswith(".new"):
                with contextlib.suppress(OSError):
                    place.disk.remove(folder / name)  # A repair was interrupted.
            elif found is not None and found[1] < self.mode.slots:
                container, slot = found
                taken.add(container)
                with self._lock:
                    if self.disks.is_removed(number):
                        return taken
                    if slot in self._slots.get(container, {}):
                        self._keep_other(container, slot, number)
                    else:
                        self._note(container, slot, number)
        self.disks.good_again(number)
        self.disks.absent.discard(number)
        return taken

    def _drop(self, number: int, gone: Iterable[tuple[int, int]], absent: bool = True) -> set[int]:
        """Forget slots on a disk, or all of the disk."""
        with self._lock:
            for container, slot in gone:
                places = self._slots.get(container, {})
                if places.get(slot) == number:
                    left = {one: place for one, place in places.items() if one != slot}
                    self._slots[container] = left
                    self.disks.used[number] -= 1
            if absent:
                self.disks.absent.add(number)
                for container, others in list(self._others.items()):
                    self._others[container] = frozenset(
                        other for other in others if other[1] != number
                    )
        return {container for container, _ in gone}

    def _note(self, container: int, slot: int, number: int) -> None:
        # With the lock. Others read without it: a dictionary that is in use is never changed.
        places = self._slots.get(container, {})
        if slot in places:
            self.disks.used[places[slot]] -= 1
        self._slots[container] = {**places, slot: number}
        self.disks.used[number] += 1

    def _keep_other(self, container: int, slot: int, number: int) -> None:
        self._others[container] = self._others.get(container, frozenset()) | {(slot, number)}

    def list_dir(self, path: Path) -> list[str]:
        return [file_name(container) for container in self.containers()]

    def sizes(self) -> dict[int, int]:
        """Of each container, about, without looking for its stripes: by the size of one slot."""
        found = {}
        for container in self.containers():
            sizes = [0]
            for slot, number in self._slots.get(container, {}).items():
                with contextlib.suppress(OSError):
                    file = self._place(number).disk.open(self._path(container, slot, number))
                    try:
                        sizes.append((file.size() - HEADER_BYTES) * self.mode.k)
                    finally:
                        file.close()
                    break
            found[container] = max(sizes)
        return found

    def create(self, path: Path, mode: int = 0o644) -> File:
        """A container whose name is durable."""
        container = _container(path)
        with self._lock:
            if container in self._slots or container in self._writing:
                raise FileExistsError(errno.EEXIST, "there is such a container", str(path))
            self._writing.add(container)
        files: dict[int, File] = {}
        try:
            places = self._begin(container, files, mode)
        except BaseException:
            self._writing.discard(container)
            raise
        with self._lock:
            for slot, number in places.items():
                self._note(container, slot, number)
                if self.disks.is_removed(number):
                    self._unfinished.setdefault(container, set()).add(slot)
        if len(places) < self.mode.slots:
            log.warning("a container has missing slots", container=path.name, slots=len(places))
        slots = [files.get(slot) for slot in range(self.mode.slots)]
        return self._file(container, places, slots, lambda: self._writing.discard(container))

    def _begin(self, container: int, files: dict[int, File], mode: int) -> dict[int, int]:
        """Begin the slots of a container on as many disks as it should be on; OSError when there
        are fewer than it must be on."""
        code, numbers = self.mode, self.disks.spread(self.disks.candidates())
        if len(numbers) < code.slots_min:
            numbers += [one for one in self.disks.by_use() if one not in numbers]
        places: dict[int, int] = {}
        full: OSError | None = None
        while numbers and len(places) < code.slots:
            free = [slot for slot in range(code.slots) if slot not in places]
            jobs = list(zip(free, numbers, strict=False))
            del numbers[: len(jobs)]
            errors = self._side(
                [
                    partial(self._create, container, slot, number, files, mode)
                    for slot, number in jobs
                ]
            )
            for (slot, number), error in zip(jobs, errors, strict=True):
                if error is None:
                    places[slot] = number
                else:
                    self.failed(number, error)
                    full = error if error.errno in (errno.ENOSPC, errno.EDQUOT) else full
        if len(places) >= code.slots_min:
            return places
        for slot, number in places.items():
            self._discard(container, slot, number, files.pop(slot))
        raise OSError(
            errno.EIO if full is None else full.errno,
            f"{len(places)} of {len(self.disks.numbers())} disks can be written, and a container "
            f"of {code} takes {code.slots_min}",
        )

    def _create(
        self, container: int, slot: int, number: int, files: dict[int, File], mode: int
    ) -> None:
        """Begin a slot. Its name is made durable here and now: who came back to it later might
        take another view of which disks there are."""
        place = self._place(number)
        file = place.disk.create(self._path(container, slot, number), mode)
        try:
            file.writev([self._header(container, slot)], 0)
            place.disk.sync_dir(place.containers)
        except BaseException:
            self._discard(container, slot, number, file)
            raise
        files[slot] = file

    def _header(self, container: int, slot: int) -> bytes:
        code = self.mode
        return encode_header(Header(container, created_ms(container), code.k, code.m, slot))

    def _discard(self, container: int, slot: int, number: int, file: File) -> None:
        try:
            file.close()
            self._place(number).disk.remove(self._path(container, slot, number))
        except OSError as error:
            log.warning("a slot was not removed", container=container, error=str(error))

    def failed(self, number: int, error: OSError) -> None:
        """A disk could not be written."""
        self.disks.failed(number, error)

    def open(self, path: Path) -> File:
        return self.coded(_container(path))

    def coded(self, container: int) -> CodedFile:
        """A container, to be read."""
        places = self._slots.get(container)
        if places is None:
            name = file_name(container)
            raise FileNotFoundError(errno.ENOENT, "there is no such container", name)
        files: list[File | None] = [None] * self.mode.slots
        for slot, number in places.items():
            files[slot] = self._open(container, slot, number)
        others = [
            (slot, file)
            for slot, number in self._others.get(container, ())
            if (file := self._open(container, slot, number)) is not None
        ]
        return self._file(container, places, files, others=others)

    def _open(self, container: int, slot: int, number: int) -> File | None:
        try:
            return self._place(number).disk.open(self._path(container, slot, number))
        except OSError as error:
            log.warning("a slot cannot be read", container=file_name(container), error=str(error))
            return None

    # -- for scrub and repair ---------------------------------------------------------------------

    def containers(self) -> list[int]:
        return sorted(self._slots)

    def sealed(self) -> list[int]:
        """Those that nobody writes to."""
        return sorted(self._slots.keys() - self._writing)

    def missing(self, container: int) -> frozenset[int]:
        """The slots that are on no disk, or whose disk failed while they were written."""
        places, unfinished = self._slots.get(container, {}), self._unfinished.get(container, ())
        if len(places) == self.mode.slots and not unfinished:
            return frozenset()  # Nearly always, and the status page asks of all containers.
        return frozenset(range(self.mode.slots)).difference(places).union(unfinished)

    def leaving(self, container: int) -> frozenset[int]:
        """The slots on disks that are to become empty."""
        places, draining = self._slots.get(container, {}), self.disks.draining
        return frozenset(slot for slot, number in places.items() if number in draining)

    def on(self, numbers: Collection[int]) -> set[int]:
        """The containers that have slots on any of these disks."""
        return {container for number in numbers for container, _ in self._on(number)}

    def left_on(self, number: int) -> int:
        """How many slots are on a disk, second ones as well."""
        others = sum(other[1] == number for some in self._others.copy().values() for other in some)
        return self.disks.used[number] + others

    def others(self, container: int) -> frozenset[tuple[int, int]]:
        """Slots that are on a second disk as well, with that disk: what is there is not needed
        when the container is whole."""
        return self._others.get(container, frozenset())

    def remove_others(self, container: int) -> None:
        for slot, number in self.others(container):
            self.remove_other(container, slot, number)

    def remove_other(self, container: int, slot: int, number: int) -> None:
        """Remove a second copy, if the first one is another file. They are the same where one disk
        goes by two names, or is given by two nodes."""
        place, first = self._place(number), self.place_of(container, slot)
        path, aside = self._path(container, slot, number), self._temporary(container, slot, number)
        try:
            with contextlib.suppress(FileNotFoundError):
                place.disk.rename(path, aside)
                if first is None or not self._place(first).has(slot_name(container, slot)):
                    place.disk.rename(aside, path)
                    log.error("a copy is left: is a disk there twice?", disk=place.label)
                else:
                    place.disk.remove(aside)
        except OSError as error:
            self.failed(number, error)
            return
        with self._lock:
            self._others[container] = self.others(container) - {(slot, number)}
            if not self._others[container]:
                del self._others[container]

    def add_place(self, place: DiskPlace) -> None:
        """A further disk, to be looked at soon."""
        with self._lock:
            self.disks.add(place)

    def remove_place(self, number: int) -> None:
        """A disk that is empty, or is not there and will not come back."""
        with self._lock:
            self.disks.remove(number)
        self._drop(number, self._on(number))
        with self._lock:
            self.disks.absent.discard(number)

    def place_of(self, container: int, slot: int) -> int | None:
        return self._slots.get(container, {}).get(slot)

    def usable(self) -> frozenset[int]:
        """The disks that can be written."""
        return frozenset(self.disks.candidates())

    def place_for(
        self, container: int, slot: int, taken: frozenset[int] = frozenset()
    ) -> int | None:
        """The disk to write a slot anew on: its own, or one that has none of the container. None
        when there is none that can be written."""
        places, good = self._slots.get(container, {}), self.disks.candidates()
        if places.get(slot) in good:
            return places[slot]
        has = {number for one, number in places.items() if one != slot} | taken
        free = [one for one in good if one not in places.values() and one not in taken]
        return next(iter(self.disks.spread(free, has)), None)

    def begin_slot(self, container: int, slot: int, number: int) -> File:
        """A new file that is to become a slot, with its header."""
        path, disk = self._temporary(container, slot, number), self._place(number).disk
        with contextlib.suppress(FileNotFoundError):
            disk.remove(path)
        file = disk.create(path)
        try:
            file.writev([self._header(container, slot)], 0)
        except BaseException:
            self.drop_slot(container, slot, number, file)
            raise
        return file

    def end_slot(self, container: int, slot: int, number: int, file: File) -> None:
        """Make it durable, and put it in the place of the slot that was there."""
        place, name = self._place(number), slot_name(container, slot)
        file.sync()
        # Without the lock: the disk may be on a machine that does not answer.
        place.disk.rename(self._temporary(container, slot, number), place.containers / name)
        with self._lock:
            needed = container in self._slots and not self.disks.is_removed(number)
            if needed:
                before = self._slots[container].get(slot)
                self._others[container] = self.others(container) - {(slot, number)}
                if before is not None and before != number:
                    self._keep_other(container, slot, before)
                self._note(container, slot, number)
        if not needed:
            with contextlib.suppress(OSError):
                place.disk.remove(place.containers / name)
            raise ContainerRemoved(name)
        place.disk.sync_dir(place.containers)
        with self._lock:
            self._unfinished.get(container, set()).discard(slot)

    def drop_slot(self, container: int, slot: int, number: int, file: File) -> None:
        """The end of a new file that did not become a slot."""
        file.close()
        with contextlib.suppress(OSError):
            self._place(number).disk.remove(self._temporary(container, slot, number))

    def _temporary(self, container: int, slot: int, number: int) -> Path:
        return self._place(number).containers / f".{slot_name(container, slot)}.new"

    def _place(self, number: int) -> DiskPlace:
        return self.disks.places[number]

    def _path(self, container: int, slot: int, number: int) -> Path:
        return self._place(number).containers / slot_name(container, slot)

    def state(self) -> DisksState:
        return self.disks.state(str(self.mode))

    def _file(
        self,
        container: int,
        places: dict[int, int],
        files: Sequence[File | None],
        closed: Callable[[], None] = lambda: None,
        others: Sequence[tuple[int, File]] = (),
    ) -> CodedFile:
        return CodedFile(
            self._coder,
            container,
            files,
            self._side,
            lambda slot, error: self._slot_failed(container, slot, places[slot], error),
            closed,
            others,
        )

    def _slot_failed(self, container: int, slot: int, number: int, error: OSError) -> None:
        with self._lock:
            self._unfinished.setdefault(container, set()).add(slot)
        self.failed(number, error)

    def remove(self, path: Path) -> None:
        container = _container(path)
        with self._lock:
            places = self._slots.pop(container, {})
            others = self._others.pop(container, frozenset())
            self._unfinished.pop(container, None)
            for number in places.values():
                self.disks.used[number] -= 1
        for slot, number in {*places.items(), *others}:
            try:
                self._place(number).disk.remove(self._path(container, slot, number))
            except OSError as error:
                log.warning("a slot was not removed", container=path.name, error=str(error))

    def sync_dir(self, path: Path) -> None:
        """The names of containers are durable as soon as they are created."""


def _container(path: Path) -> int:
    container = container_of(path.name)
    if container is None:
        raise FileNotFoundError(errno.ENOENT, "only containers are kept on coded disks", str(path))
    return container
