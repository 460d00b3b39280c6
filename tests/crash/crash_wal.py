"""What a database holds after SQLite's recovery, worked out without SQLite.

A trace of a database has many states that differ only in bytes that SQLite does not look at: log
frames after the first that does not hold, pages of the database that the log has anew. To open
each by the name server would take hours. So the pages that SQLite would see are found here, as its
file format says (https://www.sqlite.org/fileformat2.html#the_write_ahead_log), and each different
database is opened once. That this is what SQLite sees is checked on a part of all states.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

Pages = tuple[bytes, ...]
_HEADER_BYTES = 32
_FRAME_BYTES = 24


@lru_cache(maxsize=8192)
def checksum(data: bytes, first: int, second: int, big: bool) -> tuple[int, int]:
    """The checksum of a log, gone on with over `data`."""
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for at in range(0, len(words), 2):
        first = (first + words[at] + second) & 0xFFFFFFFF
        second = (second + words[at + 1] + first) & 0xFFFFFFFF
    return first, second


class Frame(NamedTuple):
    """A frame that holds; `commit` is the size of the database in pages when it ends a
    transaction, `sums` the checksum up to here."""

    number: int
    commit: int
    page: bytes
    sums: tuple[int, int]


class Log:
    """Reads logs. From the one before it takes the frames that both begin with: the states of a
    trace have most in common."""

    def __init__(self) -> None:
        self._log = b""
        self._frames: list[Frame] = []

    def pages(self, log: bytes) -> tuple[dict[int, bytes], int]:
        """The pages that the last whole transaction leaves, by their number, and the size of the
        database in pages; 0 when there is no transaction."""
        pages: dict[int, bytes] = {}
        since: dict[int, bytes] = {}
        size = 0
        for frame in self._read(log):
            since[frame.number] = frame.page
            if frame.commit:
                pages.update(since)
                since, size = {}, frame.commit
        return pages, size

    def _read(self, log: bytes) -> list[Frame]:
        if log == self._log:
            return self._frames
        frames: list[Frame] = []
        before, self._log = self._log, log
        known, self._frames = self._frames, frames
        if len(log) < _HEADER_BYTES:
            return frames
        magic, _, page_bytes, _, *salts, first, second = struct.unpack(">8I", log[:_HEADER_BYTES])
        big = bool(magic & 1)
        if magic & ~1 != 0x377F0682 or checksum(log[:24], 0, 0, big) != (first, second):
            return frames
        step = _FRAME_BYTES + page_bytes
        if log[:_HEADER_BYTES] == before[:_HEADER_BYTES]:
            low, high = 0, len(known)
            while low < high:
                middle = (low + high + 1) // 2
                start, end = _HEADER_BYTES + low * step, _HEADER_BYTES + middle * step
                if log[start:end] == before[start:end]:
                    low = middle
                else:
                    high = middle - 1
            frames += known[:low]
        sums = frames[-1].sums if frames else (first, second)
        for at in range(_HEADER_BYTES + len(frames) * step, len(log) - step + 1, step):
            number, commit, *rest = struct.unpack(">6I", log[at : at + _FRAME_BYTES])
            page = log[at + _FRAME_BYTES : at + step]
            if rest[:2] != salts or not number:
                break
            sums = checksum(page, *checksum(log[at : at + 8], *sums, big), big)
            if rest[2:] != [*sums]:
                break
            frames.append(Frame(number, commit, page, sums))
        return frames


@lru_cache(maxsize=64)
def pages_of(database: bytes) -> Pages:
    """A database file, cut up."""
    size = int.from_bytes(database[16:18], "big")
    size = 65536 if size == 1 else size
    return tuple(database[at : at + size] for at in range(0, len(database), size))


def recovered(
    reader: Log, database: bytes | None, log: bytes | None, journal: bytes | None
) -> Pages | None:
    """The pages of a database after recovery; None when only SQLite can tell: there is a rollback
    journal, or no log is in use."""
    if database is None or journal or len(database) < 100 or database[18] != 2:
        return None
    pages, size = reader.pages(log or b"")
    if size == 0:
        return pages_of(database)
    found = list(pages_of(database)[:size])
    found += [b""] * (size - len(found))
    for number, page in pages.items():
        if number <= size:
            found[number - 1] = page
    return tuple(found)
