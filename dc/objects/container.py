"""A container that is being appended to.

Everything here blocks, and is called inside `Disk.run` by the one lane that owns the container
(`dc/objects/lane.py`), one call at a time; only `sync` may run beside `append`.

- A container is created under a name that did not exist, and its directory is fsynced before any
  record in it is acknowledged.
- `durable_end` moves only when a sync that began after the bytes were written has returned. An
  extent is durable when it ends at or before it.
- A container in which anything failed is never appended to or synced again: after a failed fsync
  the kernel may have dropped the pages and report success the next time. If no sync of it ever
  succeeded it is removed, so that a full disk is not filled further by attempts.
"""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from dc.names.model import Extent
from dc.objects.format import (
    HEADER_BYTES,
    Header,
    container_seed,
    encode_header,
    encode_record,
    file_name,
)
from dc.ports import Buffer, Clock, File, Randomness

T = TypeVar("T")

CREATE_ATTEMPTS = 16
"""Names that may be taken already before creation is given up: the chance is nil unless something
is wrong."""


class ContainerDisk(Protocol):
    """What containers need of a `dc.ports.Disk`."""

    async def run(self, work: Callable[[], T]) -> T: ...
    def create(self, path: Path, mode: int = 0o644) -> File: ...
    def open(self, path: Path) -> File: ...
    def list_dir(self, path: Path) -> list[str]: ...
    def make_dirs(self, path: Path, mode: int = 0o755) -> None: ...
    def remove(self, path: Path) -> None: ...
    def sync_dir(self, path: Path) -> None: ...


class Append:
    """A record that is to be appended: the data is `buffers`, `length` bytes in all."""

    __slots__ = ("buffers", "flags", "ident", "length", "position")

    def __init__(
        self, ident: bytes, buffers: Sequence[Buffer], length: int, position: int, flags: int
    ) -> None:
        self.ident = ident
        self.buffers = buffers
        self.length = length
        self.position = position
        self.flags = flags


class ContainerIds:
    """Ids that rise as long as the process lives, whatever the clock does."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        self._clock = clock
        self._randomness = randomness
        self._last_ms = 0
        self.unsealed: set[int] = set()
        """Those that were given out, and whose containers are not sealed yet."""

    def next(self) -> tuple[int, int]:
        """A new id, and the milliseconds since 1970 that are in it."""
        self._last_ms = max(self._clock.wall_ms(), self._last_ms + 1)
        container = self._last_ms << 16 | int.from_bytes(self._randomness.token(2))
        self.unsealed.add(container)
        return container, self._last_ms


def created_ms(container: int) -> int:
    """When a container was created, by its id."""
    return container >> 16


class OpenContainer:
    """A container file with its writing end."""

    def __init__(self, disk: ContainerDisk, path: Path, file: File, container: int) -> None:
        self.id = container
        self.end = HEADER_BYTES
        """Where the next record goes."""
        self.durable_end = 0
        self.error: BaseException | None = None
        """What made this container useless for writing."""
        self._disk = disk
        self._path = path
        self._file = file
        self._seed = container_seed(container)

    @classmethod
    def create(cls, disk: ContainerDisk, folder: Path, ids: ContainerIds) -> "OpenContainer":
        """A new container with a durable name. Raises OSError, and then leaves no file behind if
        that can be helped."""
        for _ in range(CREATE_ATTEMPTS):
            container, created_ms = ids.next()
            path = folder / file_name(container)
            try:
                file = disk.create(path)
            except FileExistsError:
                continue
            opened = cls(disk, path, file, container)
            try:
                file.writev([encode_header(Header(container, created_ms))], 0)
                disk.sync_dir(folder)
            except BaseException as error:
                opened.fail(error)
                opened.close()
                raise
            return opened
        raise FileExistsError(f"{folder}: {CREATE_ATTEMPTS} new container names were all taken")

    def append(self, records: Sequence[Append]) -> list[Extent]:
        """Write records with one call; they are not durable yet. Raises OSError."""
        self._check()
        container, seed = self.id, self._seed
        start = offset = self.end
        buffers: list[Buffer] = []
        extents = []
        for record in records:
            head, extent = encode_record(
                container,
                seed,
                offset,
                record.ident,
                record.buffers,
                record.length,
                record.position,
                record.flags,
            )
            buffers.append(head)
            buffers.extend(record.buffers)
            extents.append(extent)
            offset = extent.offset + extent.length
        try:
            self._file.writev(buffers, start)
        except BaseException as error:
            self.fail(error)
            raise
        self.end = offset
        return extents

    def sync(self) -> None:
        """Make durable what was appended before the call. Raises OSError."""
        self._check()
        end = self.end
        try:
            self._file.sync()
        except BaseException as error:
            self.fail(error)
            raise
        self.durable_end = max(self.durable_end, end)

    def read_back(self, extents: Sequence[Extent]) -> list[bytes]:
        """The data of records that were written on several disks, of which too few are left to
        write to, but perhaps enough to read from. Raises OSError."""
        file: Any = self._file
        file.settle()
        found: list[bytes] = [file.reread(one.length, one.offset) for one in extents]
        if any(len(data) != one.length for data, one in zip(found, extents, strict=True)):
            raise OSError(errno.EIO, "some of it is not there")
        return found

    @property
    def worn(self) -> bool:
        """Whether another container should be begun, though this one takes more."""
        return getattr(self._file, "worn", False)

    def fail(self, error: BaseException) -> None:
        """Give the container up."""
        self.error = self.error or error

    def close(self) -> bool:
        """Close the file, and remove it when it failed before anything in it became durable.
        Returns whether it was removed."""
        try:
            self._file.close()
            if self.error is not None and not self.durable_end:
                self._disk.remove(self._path)
                return True
        except OSError:
            # Nothing depends on it: what counts was synced, and the rest is garbage.
            pass
        return False

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
