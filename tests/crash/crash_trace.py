"""What a process did to a disk, operation by operation, and what it had acknowledged by then.

A trace is made by the recorders (`crash_os.py` for what goes through `os`, `crash_sqlite.py` for
SQLite) while the real code runs on real files. It knows which file a name stands for at each
moment, so that a write finds its file after a rename. Paths are relative to the folder that is
recorded, which is "" and always there.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Image = dict[str, bytes | None]
"""The files of a disk by their paths; None for a folder."""

Kind = Literal["create", "mkdir", "rename", "unlink", "write", "truncate", "sync", "sync_dir"]
ENTRIES = ("create", "mkdir", "rename", "unlink")
"""Operations that are durable when the directory was synced."""
DATA = ("write", "truncate")
"""Operations that are durable when the file was synced."""


@dataclass(frozen=True, slots=True)
class Op:
    """One operation. `inode` is the file it is about, or the folder it made."""

    kind: Kind
    path: str
    inode: int = 0
    target: str = ""
    offset: int = 0
    data: bytes = b""

    def __str__(self) -> str:
        if self.kind == "write":
            return f"write {self.path} [{self.offset}, {self.offset + len(self.data)})"
        return f"{self.kind} {self.path}{f' to {self.target}' if self.target else ''}"


@dataclass(frozen=True, slots=True)
class Ack:
    """Something was acknowledged after the first `after` operations."""

    after: int
    fact: object


def folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def overlay(content: bytearray, offset: int, data: bytes) -> None:
    """A write into a file; a gap before it is zeros."""
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class Trace:
    """See the head of the file. `image` is what is on the disk, durably, at the beginning."""

    def __init__(self, image: Image | None = None) -> None:
        self.ops: list[Op] = []
        self.acks: list[Ack] = []
        self.base_names: dict[str, int] = {}
        self.base_data: dict[int, bytes] = {}
        for inode, (path, content) in enumerate(sorted((image or {}).items()), 1):
            self.base_names[path] = inode
            if content is not None:
                self.base_data[inode] = content
        self.names = dict(self.base_names)
        """As the process sees it."""
        self._data = {inode: bytearray(content) for inode, content in self.base_data.items()}
        self._last = len(self.base_names)
        self._lock = threading.RLock()

    def ack(self, fact: object) -> None:
        with self._lock:
            self.acks.append(Ack(len(self.ops), fact))

    def create(self, path: str) -> int:
        with self._lock:
            return self._made("create", path)

    def mkdir(self, path: str) -> int:
        with self._lock:
            return self._made("mkdir", path)

    def _made(self, kind: Literal["create", "mkdir"], path: str) -> int:
        assert path not in self.names, path
        self._last += 1
        self._do(Op(kind, path, self._last))
        return self._last

    def rename(self, path: str, target: str) -> None:
        with self._lock:
            assert folder_of(path) == folder_of(target), "one directory only"
            self._do(Op("rename", path, self.names[path], target))

    def unlink(self, path: str) -> None:
        with self._lock:
            self._do(Op("unlink", path, self.names[path]))

    def write(self, inode: int, path: str, offset: int, data: bytes) -> None:
        with self._lock:
            if data:
                self._do(Op("write", path, inode, offset=offset, data=data))

    def truncate(self, inode: int, path: str, size: int) -> None:
        with self._lock:
            if len(self._data[inode]) != size:
                self._do(Op("truncate", path, inode, offset=size))

    def sync(self, inode: int, path: str) -> None:
        with self._lock:
            self._do(Op("sync", path, inode))

    def sync_dir(self, path: str) -> None:
        with self._lock:
            self._do(Op("sync_dir", path))

    def _do(self, op: Op) -> None:
        self.ops.append(op)
        apply_entry(self.names, op)
        if op.kind == "create":
            self._data[op.inode] = bytearray()
        elif op.kind == "write":
            overlay(self._data[op.inode], op.offset, op.data)
        elif op.kind == "truncate":
            resize(self._data[op.inode], op.offset)

    def view(self) -> Image:
        """What processes see, whatever of it is durable."""
        return {
            path: bytes(self._data[inode]) if inode in self._data else None
            for path, inode in self.names.items()
        }

    def killed(self, after: int) -> "Trace":
        """The disk when the process, but not the machine, died after `after` operations: to be
        gone on with by another process."""
        trace = Trace()
        trace.base_names, trace.base_data = self.base_names, self.base_data
        trace.names = dict(self.base_names)
        trace._data = {inode: bytearray(content) for inode, content in self.base_data.items()}
        trace._last = self._last
        for op in self.ops[:after]:
            trace._do(op)
        trace.acks = [ack for ack in self.acks if ack.after <= after]
        return trace


def apply_entry(names: dict[str, int], op: Op) -> None:
    """What an operation does to the names, as far as they are as it found them."""
    if op.kind in ("create", "mkdir"):
        names[op.path] = op.inode
    elif op.kind == "unlink":
        if names.get(op.path) == op.inode:
            del names[op.path]
    elif op.kind == "rename":
        if names.get(op.path) == op.inode:
            del names[op.path]
        names[op.target] = op.inode


def lay_out(image: Image, folder: Path) -> None:
    """Write an image to a real folder."""
    for path, content in sorted(image.items()):
        if content is None:
            (folder / path).mkdir(parents=True, exist_ok=True)
        else:
            (folder / path).write_bytes(content)


def read_in(folder: Path, ignored: tuple[str, ...] = ()) -> Image:
    """The image of a real folder, without the files whose names end so."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
        if not path.name.endswith(ignored or ("\0",))
    }
