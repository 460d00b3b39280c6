"""A disk in memory that fails when told to and knows every state a power cut may leave it in.

What was synced stays. Of the writes and names that were not, any subset may have reached the disk,
and a write may have reached it in part: its first half or its second half. After a failed sync the
unsynced bytes never become durable, and the next sync says that all is well, as Linux does.
"""

import asyncio
import errno
import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from dc.ports import Buffer, File

T = TypeVar("T")
ROOT = Path("/disk")
Image = dict[Path, bytes]


class FixedClock:
    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def wall_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class SeededRandomness:
    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def token(self, count: int) -> bytes:
        return self._random.randbytes(count)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)


class Inode:
    """The content as this machine sees it, as a power cut leaves it at least, and the writes
    between the two."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.durable = bytearray(content)
        self.loose: list[tuple[int, bytes]] = []


def overwrite(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class MemoryFile:
    def __init__(self, disk: "MemoryDisk", inode: Inode) -> None:
        self._disk = disk
        self._inode = inode
        self.closed = False

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        assert not self.closed
        data = b"".join(bytes(buffer) for buffer in buffers)
        fault = self._disk.fault("write")
        if fault is not None:
            data = data[: len(data) // 2] if self._disk.short_writes else b""
        if data:
            overwrite(self._inode.content, offset, data)
            self._inode.loose.append((offset, data))
        if fault is not None:
            raise fault
        self._disk.happened()

    def read(self, length: int, offset: int) -> bytes:
        assert not self.closed
        if (fault := self._disk.fault("read")) is not None:
            raise fault
        return bytes(self._inode.content[offset : offset + length])

    def read_cached(self, length: int, offset: int) -> bytes | None:
        assert not self.closed
        data = bytes(self._inode.content[offset : offset + length])
        return data if len(data) == length and self._disk.cached else None

    def sync(self) -> None:
        assert not self.closed
        self._disk.syncs += 1
        if (fault := self._disk.fault("sync")) is not None:
            self._inode.loose.clear()
            raise fault
        for offset, data in self._inode.loose:
            overwrite(self._inode.durable, offset, data)
        self._inode.loose.clear()
        self._disk.happened()

    def size(self) -> int:
        return len(self._inode.content)

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self._disk.open_files -= 1


class MemoryDisk:
    """`fail(call, error, ...)` plans errors; `watch` is called after each change."""

    def __init__(self, image: Image | None = None) -> None:
        self.names = {path: Inode(content) for path, content in (image or {}).items()}
        self.durable_names = dict(self.names)
        self.watch: Callable[[], None] | None = None
        self.calls = 0
        self.syncs = 0
        self.open_files = 0
        self.cached = True
        self.short_writes = True
        self.full = False
        self.room_of: dict[Path, int] = {}
        """Where there is less than enough."""
        self._fail_at: dict[int, int] = {}
        self._fail_kinds: set[str] = set()

    def fail(self, number: int, code: int, kinds: Sequence[str] = ("write", "sync")) -> None:
        """Let the `number`th (from 1, counted from now) call of these kinds fail."""
        self._fail_kinds = set(kinds)
        self.calls = 0
        self._fail_at = {number: code}

    def fault(self, kind: str) -> OSError | None:
        if self.full and kind in ("write", "create"):
            return OSError(errno.ENOSPC, "no space left on device")
        if kind not in self._fail_kinds:
            return None
        self.calls += 1
        code = self._fail_at.get(self.calls)
        return None if code is None else OSError(code, "injected")

    def happened(self) -> None:
        if self.watch is not None:
            self.watch()

    async def run(self, work: Callable[[], T]) -> T:
        await asyncio.sleep(0)
        return work()

    def create(self, path: Path, mode: int = 0o644) -> File:
        if path in self.names:
            raise FileExistsError(path)
        if (fault := self.fault("create")) is not None:
            raise fault
        inode = self.names[path] = Inode()
        self.happened()
        return self._opened(inode)

    def open(self, path: Path) -> File:
        if path not in self.names:
            raise FileNotFoundError(path)
        return self._opened(self.names[path])

    def _opened(self, inode: Inode) -> MemoryFile:
        self.open_files += 1
        return MemoryFile(self, inode)

    def read_bytes(self, path: Path) -> bytes:
        if path not in self.names:
            raise FileNotFoundError(path)
        return bytes(self.names[path].content)

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        raise AssertionError("the containers never do this")

    def list_dir(self, path: Path) -> list[str]:
        return sorted(name.name for name in self.names if name.parent == path)

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        pass

    def remove(self, path: Path) -> None:
        if path not in self.names:
            raise FileNotFoundError(path)
        del self.names[path]
        self.happened()

    def rename(self, path: Path, to: Path) -> None:
        self.names[to] = self.names.pop(path)
        self.happened()

    def room(self, path: Path) -> int:
        return self.room_of.get(path, 1 << 60)

    def sync_dir(self, path: Path) -> None:
        if (fault := self.fault("sync_dir")) is not None:
            raise fault
        for name in {*self.names, *self.durable_names}:
            if name.parent == path:
                if name in self.names:
                    self.durable_names[name] = self.names[name]
                else:
                    self.durable_names.pop(name)
        self.happened()

    def image(self) -> Image:
        """What this machine sees."""
        return {path: bytes(inode.content) for path, inode in self.names.items()}

    def power_cuts(self, states_max: int = 4096, seed: int = 0) -> Iterator[Image]:
        """Every state a power cut may leave now; a random choice when there are too many, with
        the one that lost everything loose and the one that lost nothing."""
        paths = sorted({*self.names, *self.durable_names})
        choices: list[list[tuple[Path, bytes | None]]] = []
        for path in paths:
            options: list[tuple[Path, bytes | None]] = []
            for inode in dict.fromkeys((self.durable_names.get(path), self.names.get(path))):
                if inode is None:
                    options.append((path, None))
                else:
                    options.extend((path, content) for content in survivals(inode, seed))
            choices.append(options)
        count = 1
        for options in choices:
            count *= len(options)
        if count <= states_max:
            states: Iterator[Sequence[tuple[Path, bytes | None]]] = itertools.product(*choices)
        else:
            chance = random.Random(seed)
            states = iter(
                [[options[0] for options in choices], [options[-1] for options in choices]]
                + [[chance.choice(options) for options in choices] for _ in range(states_max - 2)]
            )
        for state in states:
            yield {path: content for path, content in state if content is not None}


def survivals(inode: Inode, seed: int, loose_max: int = 4) -> list[bytes]:
    """What may be left of a file: of each loose write nothing, all, or one half. First the least
    that may be left, last the most."""
    parts = []
    for offset, data in inode.loose:
        half = len(data) // 2
        parts.append([None, (offset, data[:half]), (offset + half, data[half:]), (offset, data)])
    if len(parts) <= loose_max:
        picks: list[Sequence[tuple[int, bytes] | None]] = list(itertools.product(*parts))
    else:
        chance = random.Random(seed)
        picks = [[part[0] for part in parts]]
        picks += [[chance.choice(part) for part in parts] for _ in range(4**loose_max)]
        picks.append([part[-1] for part in parts])
    found = {}
    for pick in picks:
        content = bytearray(inode.durable)
        for write in pick:
            if write is not None:
                overwrite(content, *write)
        found[bytes(content)] = None
    return list(found)
