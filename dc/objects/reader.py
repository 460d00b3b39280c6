"""Reading: files kept open, bytes checked before they are given out.

`FileCache` keeps the files of containers open, up to a limit. A file that is read from at the
moment is borrowed, and closed only when nobody borrows it: borrowing and giving back happen in the
thread that reads, so a caller that is cancelled cannot upset the count.

`read_piece` reads a part of one extent in a thread: the blocks that overlap it and their part of
the CRC table. `read_pieces` gives out a body piece by piece while the next piece is being read.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

from dc.names.model import Extent
from dc.objects.api import BytesElsewhere, CorruptData, MissingData, ObjectsError
from dc.objects.container import ContainerDisk
from dc.objects.format import (
    BLOCK_BYTES,
    container_seed,
    file_name,
    table_bytes,
    verify_blocks,
    verify_small,
)
from dc.objects.usage import Usage
from dc.placement import ELSEWHERE
from dc.ports import Buffer, File
from dc.worker import spawn

FILES_MAX = 256
"""Descriptors kept open for reading: one for each slot of a container."""

CACHED_MAX_BYTES = 256 << 10
"""The largest body read on the event loop: about 100 µs of copying and checking."""


class _Opened:
    """A container's file, with how many read it now."""

    __slots__ = ("borrowers", "descriptors", "dropped", "file", "seed")

    def __init__(self, file: File, seed: int) -> None:
        self.file = file
        self.seed = seed
        self.descriptors: int = getattr(file, "descriptors", 1)
        self.borrowers = 0
        self.dropped = False


class FileCache:
    """Open files of containers, the least recently used dropped first. Used from all threads."""

    def __init__(self, disk: ContainerDisk, folder: Path, files_max: int) -> None:
        self._disk = disk
        self._folder = folder
        self._files_max = files_max
        self._opened: dict[int, _Opened] = {}
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def borrow(self, container: int) -> Iterator[_Opened]:
        """The file of a container, opened if need be: blocks. Raises ObjectsError."""
        opened = self.take(container)
        if opened is None:
            opened = self._open(container)
        try:
            yield opened
        finally:
            self.give(opened)

    def take(self, container: int) -> _Opened | None:
        """The file if it is open; to be given back."""
        with self._lock:
            opened = self._opened.pop(container, None)
            if opened is not None:
                self._opened[container] = opened
                opened.borrowers += 1
            return opened

    def give(self, opened: _Opened) -> None:
        with self._lock:
            opened.borrowers -= 1
            unused = opened.dropped and not opened.borrowers
        if unused:
            opened.file.close()

    def forget(self, container: int) -> None:
        """Open the file anew when it is asked for again."""
        with self._lock:
            opened = self._opened.pop(container, None)
            unused = self._drop([] if opened is None else [opened])
        for one in unused:
            one.file.close()

    def close(self) -> None:
        """Close everything that is not being read, and the rest when it has been."""
        with self._lock:
            self._closed = True
            dropped = list(self._opened.values())
            self._opened.clear()
            unused = self._drop(dropped)
        for opened in unused:
            opened.file.close()

    def _open(self, container: int) -> _Opened:
        if container == ELSEWHERE:
            raise BytesElsewhere("other datacenters hold the bytes of this object")
        path = self._folder / file_name(container)
        try:
            file = self._disk.open(path)
        except FileNotFoundError as error:
            raise MissingData(f"container {container:016x}: {path} is not there") from error
        except OSError as error:
            raise ObjectsError(
                f"container {container:016x}: cannot open {path}: {error}"
            ) from error
        mine = _Opened(file, container_seed(container))
        dropped = []
        with self._lock:
            opened = self._opened.pop(container, None)
            if opened is not None:
                dropped.append(mine)
            opened = opened or mine
            opened.borrowers += 1
            if self._closed:
                dropped.append(opened)
            else:
                self._opened[container] = opened
                while self._descriptors() > self._files_max and len(self._opened) > 1:
                    dropped.append(self._opened.pop(next(iter(self._opened))))
            unused = self._drop(dropped)
        for one in unused:
            one.file.close()
        return opened

    def _descriptors(self) -> int:
        return sum(one.descriptors for one in self._opened.values())

    def _drop(self, dropped: Sequence[_Opened]) -> list[_Opened]:
        """Mark files as no longer in the cache. Returns those to be closed now."""
        for opened in dropped:
            opened.dropped = True
        return [opened for opened in dropped if not opened.borrowers]


@runtime_checkable
class Redundant(Protocol):
    """A file that has the same bytes twice, in some way."""

    def reread(self, length: int, offset: int) -> bytes:
        """As `File.read`, without what turned out to be wrong."""
        ...


def read_cached(files: FileCache, extent: Extent) -> bytes | None:
    """The data of an extent without waiting for the disk, checked."""
    opened = files.take(extent.container)
    if opened is None:
        return None
    try:
        return _cached(opened, extent)
    except CorruptData:
        if isinstance(opened.file, Redundant):
            return None  # To be read again in a thread, where it may take longer.
        raise
    finally:
        files.give(opened)


def _cached(opened: _Opened, extent: Extent) -> bytes | None:
    container, offset, length = extent.container, extent.offset, extent.length
    size = table_bytes(length)
    if length <= BLOCK_BYTES:
        raw = opened.file.read_cached(size + length, offset - size)
        if raw is None or len(raw) != size + length:
            return None
        return verify_small(raw, container, opened.seed, offset)
    # Two reads, because cutting one in two would copy the data once more.
    table = opened.file.read_cached(size, offset - size)
    data = opened.file.read_cached(length, offset)
    if table is None or data is None or len(table) != size or len(data) != length:
        return None
    verify_blocks(table, memoryview(data), container, opened.seed, offset)
    return data


def read_piece(files: FileCache, extent: Extent, start: int, stop: int) -> memoryview:
    """In a disk thread: the bytes [start, stop) of an extent's data, checked."""
    with files.borrow(extent.container) as opened:
        file = opened.file
        try:
            return _piece(file.read, opened.seed, extent, start, stop)
        except ObjectsError:
            if not isinstance(file, Redundant):
                raise
        with suppress(ObjectsError):
            return _piece(file.reread, opened.seed, extent, start, stop)
    # Since it was opened, a disk may have come back, or what is wrong may have been mended.
    files.forget(extent.container)
    with files.borrow(extent.container) as opened:
        assert isinstance(opened.file, Redundant)
        return _piece(opened.file.reread, opened.seed, extent, start, stop)


def _piece(
    read: Callable[[int, int], bytes], seed: int, extent: Extent, start: int, stop: int
) -> memoryview:
    container, offset, length = extent.container, extent.offset, extent.length
    first = start // BLOCK_BYTES
    low, high = first * BLOCK_BYTES, min(length, -(-stop // BLOCK_BYTES) * BLOCK_BYTES)
    table_at = offset - table_bytes(length)
    wanted = table_bytes(high - low)
    if low == 0:
        gap = offset - table_at
        raw = memoryview(_read(read, container, gap + high, table_at))
        table, data = raw[:wanted], raw[gap:]
    else:
        table = memoryview(_read(read, container, wanted, table_at + first * 4))
        data = memoryview(_read(read, container, high - low, offset + low))
    verify_blocks(table, data, container, seed, offset + low)
    return data[start - low : stop - low]


def _read(read: Callable[[int, int], bytes], container: int, length: int, offset: int) -> bytes:
    try:
        data = read(length, offset)
    except OSError as error:
        raise ObjectsError(
            f"container {container:016x}: cannot read {length} bytes at {offset}: {error}"
        ) from error
    if len(data) != length:
        raise MissingData(
            f"container {container:016x}: {length} bytes wanted at offset {offset}, the file has "
            f"only {len(data)} of them"
        )
    return data


def pieces(extents: Sequence[Extent], start: int, stop: int) -> list[tuple[Extent, int, int]]:
    """Which part of which extent makes up the bytes [start, stop) of a body."""
    found = []
    at = 0
    for extent in extents:
        low, high = max(start - at, 0), min(stop - at, extent.length)
        if low < high:
            found.append((extent, low, high))
        at += extent.length
    if not 0 <= start <= stop <= at:
        raise ValueError(f"the range [{start}, {stop}) is not within a body of {at} bytes")
    return found


async def read_pieces(
    disk: ContainerDisk,
    files: FileCache,
    usage: Usage,
    extents: Sequence[Extent],
    start: int,
    stop: int,
) -> AsyncIterator[Buffer]:
    """The bytes [start, stop) of a body, one piece ahead of the consumer."""
    plan = pieces(extents, start, stop)
    ahead: asyncio.Task[memoryview | Exception] | None = None
    number = usage.begin_read(extents)
    try:
        for index in range(len(plan)):
            if ahead is None:
                piece = await _attempt(disk, _job(files, plan[index]))
            else:
                piece, ahead = await ahead, None
            if isinstance(piece, Exception):
                raise piece
            if index + 1 < len(plan):
                ahead = spawn(_attempt(disk, _job(files, plan[index + 1])), "objects read ahead")
            yield piece
    finally:
        usage.end_read(number)
        if ahead is not None:
            ahead.cancel()


def _job(files: FileCache, piece: tuple[Extent, int, int]) -> Callable[[], memoryview]:
    return lambda: read_piece(files, *piece)


async def _attempt(disk: ContainerDisk, job: Callable[[], memoryview]) -> memoryview | Exception:
    """An error is a result here: a piece read ahead may never be asked for."""
    try:
        return await disk.run(job)
    except Exception as error:
        return error
