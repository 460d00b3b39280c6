"""A disk in memory that loses at a crash what a real one may lose.

A write counts from the moment it is made, and is durable when a sync of its file has returned. A
name counts when it is made, and is durable when its directory was synced. A crash keeps what is
durable; of everything else it keeps, loses or (writes) tears each by itself, as the seed says.

A process holds the disk by a `SimDisk`; once it has crashed the disk does nothing for it any more.
A fuse kills the process in the middle of its n-th call from now, before or after the effect.
"""

import asyncio
import errno
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from sim_loop import NODE

from dc.ports import Buffer, File

T = TypeVar("T")


class Crashed(BaseException):
    """The process that called has died in this call. Nothing catches it and goes on."""


class Inode:
    """A file's bytes; `loose` are the writes since the last sync: (offset, before, after)."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.loose: list[tuple[int, bytes, bytes]] = []

    def write(self, data: bytes, offset: int) -> None:
        end = offset + len(data)
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.loose.append((offset, bytes(self.data[offset:end]), data))
        self.data[offset:end] = data

    def crash(self, rng: random.Random) -> None:
        loose, self.loose = self.loose, []
        for offset, before, after in reversed(loose):
            self.data[offset : offset + len(after)] = before
        for offset, _, after in loose:
            fate = rng.random()
            if fate < 0.4:
                continue
            kept = after if fate < 0.75 else after[: rng.randrange(len(after) + 1)]
            if len(self.data) < offset:
                self.data.extend(bytes(offset - len(self.data)))
            self.data[offset : offset + len(kept)] = kept


class DiskState:
    """What is on one DC's disk, whichever process uses it."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.full = False
        self.error_rate = 0.0
        self.names: dict[Path, Inode] = {}
        self.durable: dict[Path, Inode] = {}
        self.folders: set[Path] = set()
        self.calls = 0

    def crash(self) -> None:
        """The power goes: decide for everything that is not durable."""
        for path in sorted(self.names.keys() | self.durable.keys()):
            now, before = self.names.get(path), self.durable.get(path)
            if now is not before and self.rng.random() < 0.5:
                now = before
            if now is None:
                self.names.pop(path, None)
            else:
                self.names[path] = now
        for path in sorted(self.names):
            self.names[path].crash(self.rng)
        self.durable = dict(self.names)


class SimDisk:
    """`dc.ports.Disk` for one process."""

    def __init__(self, state: DiskState, died: Callable[[], None]) -> None:
        self.state = state
        self.dead = False
        self.fuse = 0
        self.fuse_after = False
        self._died = died

    async def run(self, work: Callable[[], T]) -> T:
        def guarded() -> T | Crashed:
            try:
                return work()
            except Crashed as crash:
                return crash

        if self.dead:
            raise OSError(errno.EIO, "this process is dead")
        result = await asyncio.get_running_loop().run_in_executor(None, guarded)
        if isinstance(result, Crashed):
            await asyncio.Event().wait()
        return result  # type: ignore[return-value]

    def call(self, effect: Callable[[], T], writes: bool = False) -> T:
        """One call of a process: its fuse may burn down, the disk may be full or fail."""
        state = self.state
        if self.dead:
            raise Crashed
        state.calls += 1
        if self.fuse:
            self.fuse -= 1
            if not self.fuse:
                if self.fuse_after:
                    effect()
                self.dead = True
                self._died()
                raise Crashed
        if writes and state.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if state.error_rate and state.rng.random() < state.error_rate:
            raise OSError(errno.EIO, "Input/output error")
        return effect()

    def create(self, path: Path, mode: int = 0o644) -> File:
        def effect() -> File:
            if path in self.state.names:
                raise FileExistsError(errno.EEXIST, "File exists", str(path))
            inode = self.state.names[path] = Inode()
            return SimFile(self, inode)

        return self.call(effect, writes=True)

    def open(self, path: Path) -> File:
        return self.call(lambda: SimFile(self, self._inode(path)))

    def read_bytes(self, path: Path) -> bytes:
        return self.call(lambda: bytes(self._inode(path).data))

    def write_atomic(self, path: Path, data: bytes, mode: int = 0o644) -> None:
        def effect() -> None:
            inode = Inode()
            inode.data[:] = data
            self.state.names[path] = self.state.durable[path] = inode

        self.call(effect, writes=True)

    def list_dir(self, path: Path) -> list[str]:
        return self.call(lambda: sorted(one.name for one in self.state.names if one.parent == path))

    def make_dirs(self, path: Path, mode: int = 0o755) -> None:
        self.call(lambda: self.state.folders.update((path, *path.parents)))

    def remove(self, path: Path) -> None:
        def effect() -> None:
            self._inode(path)
            del self.state.names[path]

        self.call(effect)

    def room(self, path: Path) -> int:
        return 1 << 60

    def sync_dir(self, path: Path) -> None:
        def effect() -> None:
            state = self.state
            for one in [one for one in state.durable if one.parent == path]:
                if one not in state.names:
                    del state.durable[one]
            for one, inode in state.names.items():
                if one.parent == path:
                    state.durable[one] = inode

        self.call(effect)

    def _inode(self, path: Path) -> Inode:
        inode = self.state.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return inode


class SimFile:
    """`dc.ports.File`."""

    def __init__(self, disk: SimDisk, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        data = b"".join(buffers)
        self._disk.call(lambda: self._inode.write(data, offset), writes=True)

    def read(self, length: int, offset: int) -> bytes:
        return self._disk.call(lambda: bytes(self._inode.data[offset : offset + length]))

    def read_cached(self, length: int, offset: int) -> bytes | None:
        # Called on the event loop, so no process dies in it.
        if self._disk.dead or NODE.get() is None or self._disk.state.rng.random() < 0.3:
            return None
        return bytes(self._inode.data[offset : offset + length])

    def sync(self) -> None:
        self._disk.call(self._inode.loose.clear)

    def size(self) -> int:
        return self._disk.call(lambda: len(self._inode.data))

    def close(self) -> None:
        pass
