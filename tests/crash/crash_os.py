"""Records what goes through `os` on the files of one folder, while it really happens there.

So the real `dc/system.py` and `admin` run and every call they make is in the trace. Only the syncs
are not carried out: they are slow, and the folder itself never loses power. What would get past
this (another way to write a file) is seen when the folder is compared with the trace at the end.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from crash_trace import Trace, lay_out, read_in

from dc.ports import Buffer
from dc.system import SystemDisk

T = TypeVar("T")
SHARED_MEMORY = "-shm"
"""SQLite's index of its log: it is made anew after a crash, whatever is in it."""

DropSync = Callable[[str, int], bool]
"""Planted bugs: whether the sync of this path, the n-th of all from 1, is left out."""


class InlineDisk(SystemDisk):
    """The machine's filesystem without threads, so that a trace is the same each time."""

    async def run(self, work: Callable[[], T]) -> T:
        return work()


class OsRecorder:
    """Stands in for functions of `os`; what is not in `root` is passed on."""

    def __init__(self, trace: Trace, root: Path, drop: DropSync) -> None:
        self._trace = trace
        self._root = str(root)
        self._drop = drop
        self._syncs = 0
        self._opened: dict[int, tuple[int, str]] = {}
        """By descriptor: inode and path; the inode of a folder is 0."""
        self._real = {name: getattr(os, name) for name in self.patches()}

    def patches(self) -> dict[str, Callable[..., Any]]:
        return {
            "open": self.open,
            "close": self.close,
            "pwritev": self.pwritev,
            "pwrite": self.pwrite,
            "write": self.write,
            "ftruncate": self.ftruncate,
            "fsync": self.sync,
            "fdatasync": self.sync,
            "rename": self.rename,
            "replace": self.rename,
            "unlink": self.unlink,
            "remove": self.unlink,
            "mkdir": self.mkdir,
        }

    def path(self, path: Any) -> str | None:
        """The path in the recorded folder, None when it is not in it."""
        text = os.fspath(path)
        if text == self._root:
            return ""
        inside = isinstance(text, str) and text.startswith(self._root + "/")
        return text[len(self._root) + 1 :] if inside else None

    def open(self, path: Any, flags: int, mode: int = 0o777, **rest: Any) -> int:
        fd: int = self._real["open"](path, flags, mode, **rest)
        name = self.path(path)
        if name is None:
            return fd
        inode = self._trace.names.get(name)
        if flags & os.O_DIRECTORY or name == "":
            inode = 0
        elif inode is None:
            assert flags & os.O_CREAT, path
            inode = self._trace.create(name)
        elif flags & os.O_TRUNC:
            self._trace.truncate(inode, name, 0)
        self._opened[fd] = inode, name
        return fd

    def close(self, fd: int) -> None:
        self._opened.pop(fd, None)
        self._real["close"](fd)

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int, *flags: int) -> int:
        written: int = self._real["pwritev"](fd, buffers, offset, *flags)
        if fd in self._opened:
            data = b"".join(bytes(buffer) for buffer in buffers)
            self._trace.write(*self._opened[fd], offset, data[:written])
        return written

    def pwrite(self, fd: int, data: Buffer, offset: int) -> int:
        written: int = self._real["pwrite"](fd, data, offset)
        if fd in self._opened:
            self._trace.write(*self._opened[fd], offset, bytes(data[:written]))
        return written

    def write(self, fd: int, data: Buffer) -> int:
        assert fd not in self._opened, "writes without an offset are not recorded"
        written: int = self._real["write"](fd, data)
        return written

    def ftruncate(self, fd: int, size: int) -> None:
        self._real["ftruncate"](fd, size)
        if fd in self._opened:
            self._trace.truncate(*self._opened[fd], size)

    def sync(self, fd: int) -> None:
        if fd not in self._opened:
            return
        inode, path = self._opened[fd]
        self._syncs += 1
        if self._drop(path, self._syncs):
            return
        if inode:
            self._trace.sync(inode, path)
        else:
            self._trace.sync_dir(path)

    def rename(self, source: Any, target: Any, **rest: Any) -> None:
        self._real["rename"](source, target, **rest)
        old, new = self.path(source), self.path(target)
        assert (old is None) == (new is None), "a rename between what is recorded and what is not"
        if old is not None and new is not None:
            self._trace.rename(old, new)

    def unlink(self, path: Any, **rest: Any) -> None:
        self._real["unlink"](path, **rest)
        if (name := self.path(path)) is not None and not name.endswith(SHARED_MEMORY):
            self._trace.unlink(name)

    def mkdir(self, path: Any, mode: int = 0o777, **rest: Any) -> None:
        self._real["mkdir"](path, mode, **rest)
        if (name := self.path(path)) is not None:
            self._trace.mkdir(name)


@contextmanager
def recorded_os(
    trace: Trace, root: Path, drop: DropSync = lambda path, number: False
) -> Iterator[None]:
    """Lay out what `trace` begins with in `root`, and record what happens to it. In the end the
    folder must be what the trace says."""
    lay_out(trace.view(), root)
    with ExitStack() as stack:
        for name, function in OsRecorder(trace, root, drop).patches().items():
            stack.enter_context(mock.patch.object(os, name, function))
        yield
    assert read_in(root, (SHARED_MEMORY,)) == trace.view(), "something was not recorded"
