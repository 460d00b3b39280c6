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

Each container has a form of its own, its mode and its tier, which its slots say
(`dc/objects/learning.py`). Containers from the time when there was one disk may be there as well
(`dc/objects/one_disk.py`).
"""

import contextlib
import errno
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from dc.objects.coded_file import CodedFile, Side
from dc.objects.container import created_ms
from dc.objects.disk_place import DiskPlace
from dc.objects.disk_set import DiskSet, DisksState
from dc.objects.format import HEADER_BYTES, Header, container_of, encode_header, file_name
from dc.objects.learning import learn
from dc.objects.marks import mark_of
from dc.objects.one_disk import OneDisk
from dc.objects.redundancy import SLOTS_MAX, Coder, Mode
from dc.objects.slot_map import SlotMap
from dc.objects.stripes import STRIPE_BYTES_MAX, slot_name, slot_of
from dc.objects.tiers import FOREIGN, Form, Tier, Tiers
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
        tiers: Iterable[Tier] = (),
        before: OneDisk | None = None,
    ) -> None:
        """`mode` is that of the tier `standard`; `tiers` are others, or say more of that one.
        `before`: containers from the time when there was one disk."""
        self._disk = disk
        self.disks = DiskSet(places, clock)
        self.tiers = Tiers(mode, tiers)
        self.slots = SlotMap(self.disks, self.tiers)
        self._lock = self.slots.lock
        self._mark = mark_of(dc_id)
        self._coders = {one.mode: Coder(one.mode) for one in self.tiers.all()}
        self._side = side
        self._before = before

    @property
    def mode(self) -> Mode:
        """That of the tier `standard`."""
        return self.tiers.standard.mode

    def form(self, container: int) -> Form:
        """What a container is."""
        return FOREIGN if self._is_before(container) else self.slots.form(container)

    def is_known(self, container: int) -> bool:
        """Whether that could be read."""
        return self._is_before(container) or self.slots.is_known(container)

    def has(self, container: int) -> bool:
        """Whether there is such a container."""
        return self._is_before(container) or container in self.slots.places

    def _is_before(self, container: int) -> bool:
        """Whether it is from the time when there was one disk."""
        return self._before is not None and container in self._before

    async def run(self, work: Callable[[], T]) -> T:
        return await self._disk.run(work)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        """Find what is on the disks; `path` is nothing here."""
        self.disks.absent = set(numbers := self.disks.numbers())
        # Side by side: each machine that does not answer takes seconds.
        self._side([partial(self._begin_disk, number) for number in numbers])
        for label in self.disks.labels(self.disks.absent):
            log.error("a disk is missing", disk=label)
        learn(self.slots, self.disks, self._side)
        if self._before is not None:
            self._before.look()

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
            known = self.slots.slots_on(number)
            try:
                here = place.is_here(self._mark)
                names = set(place.disk.list_dir(place.containers)) if here else None
            except OSError:
                names = None
            if names is None:
                log.error("a disk has gone", disk=place.label)
                changed |= self.slots.drop(number, known)
            elif gone := self.slots.gone_from(number, known, names):
                log.error("slots have gone", disk=place.label, slots=len(gone))
                changed |= self.slots.drop(number, gone, absent=False)
        return changed | learn(self.slots, self.disks, self._side)

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
            elif found is not None and found[1] < SLOTS_MAX:
                container, slot = found
                taken.add(container)
                with self._lock:
                    if self.disks.is_removed(number):
                        return taken
                    if self.slots.place_of(container, slot) is not None:
                        self.slots.keep_other(container, slot, number)
                    else:
                        self.slots.note(container, slot, number)
        self.disks.good_again(number)
        self.disks.absent.discard(number)
        return taken

    def list_dir(self, path: Path) -> list[str]:
        before = [] if self._before is None else self._before.containers()
        return [file_name(container) for container in (*self.slots.containers(), *before)]

    def sizes(self) -> dict[int, int]:
        """Of each container, about, without looking for its stripes: by the size of one slot."""
        found = {} if self._before is None else self._before.sizes()
        for container in self.slots.containers():
            sizes, k = [0], self.slots.form(container).mode.k
            for slot, number in self.slots.places.get(container, {}).items():
                with contextlib.suppress(OSError):
                    file = self._place(number).disk.open(self._path(container, slot, number))
                    try:
                        sizes.append((file.size() - HEADER_BYTES) * k)
                    finally:
                        file.close()
                    break
            found[container] = max(sizes)
        return found

    def create(self, path: Path, mode: int = 0o644) -> File:
        """A container of `standard`, whose name is durable."""
        return self.begin(path, self.tiers.standard, mode)

    def begin(self, path: Path, tier: Tier, mode: int = 0o644) -> File:
        """A container of a tier, whose name is durable."""
        container, slots = _container(path), self.slots
        with self._lock:
            if (
                container in slots.places
                or container in slots.writing
                or self._is_before(container)
            ):
                raise FileExistsError(errno.EEXIST, "there is such a container", str(path))
            slots.writing.add(container)
            slots.learned(container, tier.form)
        files: dict[int, File] = {}
        try:
            places = self._begin(container, tier, files, mode)
        except BaseException:
            slots.writing.discard(container)
            slots.remove(container)
            raise
        with self._lock:
            for slot, number in places.items():
                slots.note(container, slot, number)
                if self.disks.is_removed(number):
                    slots.unfinished.setdefault(container, set()).add(slot)
        if len(places) < tier.mode.slots:
            log.warning("a container has missing slots", container=path.name, slots=len(places))
        opened = [files.get(slot) for slot in range(tier.mode.slots)]
        return self._file(container, places, opened, lambda: slots.writing.discard(container))

    def _begin(
        self, container: int, tier: Tier, files: dict[int, File], mode: int
    ) -> dict[int, int]:
        """Begin the slots of a container on as many disks as it should be on; OSError when there
        are fewer than it must be on."""
        code, numbers = tier.mode, self.disks.spread(self.disks.candidates(tier))
        if len(numbers) < code.slots_min:
            numbers += [one for one in self.disks.by_use(tier) if one not in numbers]
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
            errno.ENODEV if full is None else full.errno,
            f"{len(places)} of {len(self.disks.of_tier(tier))} disks can be written, and a"
            f" container of the tier {tier.name} ({code}) takes {code.slots_min}",
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
        files[slot] = self.disks.paced(file, self.form(container).tier, number)

    def _header(self, container: int, slot: int) -> bytes:
        if not self.slots.is_known(container):
            assert container not in self.slots.places, "a header is not guessed"
            raise ContainerRemoved(slot_name(container, slot))
        (k, m), tier = self.slots.form(container)
        return encode_header(Header(container, created_ms(container), k, m, slot, tier))

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
        container = _container(path)
        if self._before is not None and container in self._before:
            return self._before.open(container)
        return self.coded(container)

    def coded(self, container: int) -> CodedFile:
        """A container, to be read. Raises OSError as long as nobody knows what it is."""
        places = self.slots.places.get(container)
        if places is None:
            name = file_name(container)
            raise FileNotFoundError(errno.ENOENT, "there is no such container", name)
        if not self.slots.is_known(container):
            learn(self.slots, self.disks, self._side, lambda: [container])
        if not self.slots.is_known(container):
            raise OSError(errno.EIO, "what it is cannot be read", file_name(container))
        files: list[File | None] = [None] * self.form(container).mode.slots
        for slot, number in places.items():
            if slot < len(files):
                files[slot] = self._open(container, slot, number)
        others = [
            (slot, file)
            for slot, number in self.slots.others(container)
            if slot < len(files) and (file := self._open(container, slot, number)) is not None
        ]
        return self._file(container, places, files, others=others)

    def _open(self, container: int, slot: int, number: int) -> File | None:
        try:
            file = self._place(number).disk.open(self._path(container, slot, number))
            return self.disks.paced(file, self.form(container).tier, number)
        except OSError as error:
            log.warning("a slot cannot be read", container=file_name(container), error=str(error))
            return None

    # -- for scrub and repair ---------------------------------------------------------------------

    def remove_others(self, container: int) -> None:
        for slot, number in self.slots.others(container):
            self.remove_other(container, slot, number)

    def remove_other(self, container: int, slot: int, number: int) -> None:
        """Remove a second copy, if the first one is another file. They are the same where one disk
        goes by two names, or is given by two nodes."""
        place, first = self._place(number), self.slots.place_of(container, slot)
        path, aside = self._path(container, slot, number), self._temporary(container, slot, number)
        try:
            with contextlib.suppress(FileNotFoundError):
                place.disk.rename(path, aside)
                if first is None and container not in self.slots.places:
                    place.disk.remove(aside)
                elif first is None or not self._place(first).keeps(slot_name(container, slot)):
                    place.disk.rename(aside, path)
                    log.error("a copy is left: is a disk there twice?", disk=place.label)
                else:
                    place.disk.remove(aside)
        except OSError as error:
            self.failed(number, error)
            return
        with self._lock:
            self.slots.drop_other(container, slot, number)

    def add_place(self, place: DiskPlace) -> None:
        """A further disk, to be looked at soon."""
        with self._lock:
            self.disks.add(place)

    def remove_place(self, number: int) -> None:
        """A disk that is empty, or is not there and will not come back."""
        with self._lock:
            self.disks.remove(number)
        self.slots.drop(number, self.slots.slots_on(number))
        with self._lock:
            self.disks.absent.discard(number)

    def usable(self) -> frozenset[int]:
        """The disks that can be written."""
        return frozenset(self.disks.candidates())

    def place_for(
        self, container: int, slot: int, taken: frozenset[int] = frozenset()
    ) -> int | None:
        """The disk to write a slot anew on: its own, or one that has none of the container, of
        those of its tier. None when there is none that can be written. What is of no tier as they
        are now is soon moved, and may be on any disk till then."""
        places = self.slots.places.get(container, {})
        good = self.disks.candidates(self.slots.tier_of(container))
        move = self.slots.moves.get(container)
        if move is not None and move[0] == slot:
            return move[1] if move[1] in good and move[1] not in places.values() else None
        if places.get(slot) in good:
            return places[slot]
        has = {number for one, number in places.items() if one != slot} | taken
        free = [one for one in good if one not in places.values() and one not in taken]
        return next(iter(self.disks.spread(free, has)), None)

    def begin_slot(self, container: int, slot: int, number: int, header: bool = True) -> File:
        """A new file that is to become a slot, with its header, or empty."""
        path, disk = self._temporary(container, slot, number), self._place(number).disk
        with contextlib.suppress(FileNotFoundError):
            disk.remove(path)
        file = disk.create(path)
        try:
            if header:
                file.writev([self._header(container, slot)], 0)
        except BaseException:
            self.drop_slot(container, slot, number, file)
            raise
        return file

    def raw(self, container: int, slot: int) -> Generator[tuple[int, bytes]]:
        """All of a slot as it is, with its place, whatever it may be. Raises OSError."""
        number = self.slots.place_of(container, slot)
        if number is None:
            raise FileNotFoundError(errno.ENOENT, "it has gone", slot_name(container, slot))
        file = self._place(number).disk.open(self._path(container, slot, number))
        try:
            place = 0
            while raw := file.read(STRIPE_BYTES_MAX, place):
                yield place, raw
                place += len(raw)
        finally:
            file.close()

    def end_slot(self, container: int, slot: int, number: int, file: File) -> None:
        """Make it durable, and put it in the place of the slot that was there."""
        place, name = self._place(number), slot_name(container, slot)
        file.sync()
        # Without the lock: the disk may be on a machine that does not answer.
        place.disk.rename(self._temporary(container, slot, number), place.containers / name)
        with self._lock:
            needed = container in self.slots.places and not self.disks.is_removed(number)
            if needed:
                before = self.slots.place_of(container, slot)
                self.slots.drop_other(container, slot, number)
                if before is not None and before != number:
                    self.slots.keep_other(container, slot, before)
                self.slots.note(container, slot, number)
        if not needed:
            with contextlib.suppress(OSError):
                place.disk.remove(place.containers / name)
            raise ContainerRemoved(name)
        place.disk.sync_dir(place.containers)
        with self._lock:
            self.slots.unfinished.get(container, set()).discard(slot)

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
        mode = self.slots.form(container).mode
        coder = self._coders.get(mode) or self._coders.setdefault(mode, Coder(mode))
        return CodedFile(
            coder,
            container,
            files,
            self._side,
            lambda slot, error: self._slot_failed(container, slot, places[slot], error),
            closed,
            others,
            lambda slot: self.disks.leave_slow(places[slot], self.slots.tier_of(container)),
        )

    def _slot_failed(self, container: int, slot: int, number: int, error: OSError) -> None:
        with self._lock:
            self.slots.unfinished.setdefault(container, set()).add(slot)
        self.failed(number, error)

    def remove(self, path: Path) -> None:
        container = _container(path)
        if self._before is not None and container in self._before:
            self._before.remove(container)
            return
        for slot, number in self.slots.remove(container):
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
