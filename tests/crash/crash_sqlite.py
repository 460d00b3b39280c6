"""Records what SQLite does to its files, and opens databases for it: `dc.ports.Databases`.

The very library that Python's `sqlite3` uses gets one more VFS (its layer over the operating
system), by ctypes: a copy of its own for Unix in which opening and deleting are passed on through
here, and files have a table of methods in which writing, truncating and syncing are. All else
(locks, shared memory, reads) is SQLite's own code on real files. Another binding with such a hook
would bring another SQLite with it, and not the connections that the name server is written for.

Two things are known from SQLite's `os_unix.c`, and a test compares them with the system calls of a
process: a journal's or log's first sync syncs its directory, too; and its shared memory (`-shm`)
does not count after a crash.
"""

import _sqlite3
import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any, TypeVar

from crash_os import DropSync
from crash_trace import Trace, folder_of

from dc.ports import Database

T = TypeVar("T")
VFS = "crash"
_MAIN_DB, _MAIN_JOURNAL, _WAL = 0x100, 0x800, 0x80000
_LOGS = _MAIN_JOURNAL | _WAL
_OK = 0

_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int)
_CLOSE = CFUNCTYPE(c_int, c_void_p)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """sqlite3_vfs; what stands after `sleep` is copied as it is."""

    _fields_ = [
        ("version", c_int),
        ("file_bytes", c_int),
        ("path_max", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", c_void_p),
        ("delete", c_void_p),
        ("rest", c_void_p * 14),
    ]


class _Methods(ctypes.Structure):
    """sqlite3_io_methods."""

    _fields_ = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", c_void_p),
        ("truncate", c_void_p),
        ("sync", c_void_p),
        ("rest", c_void_p * 13),
    ]


def _address(callback: Any) -> int:
    return ctypes.cast(callback, c_void_p).value or 0


class _Recorder:
    """The VFS. There is one for the process, and it records one trace at a time."""

    def __init__(self) -> None:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        base = library.sqlite3_vfs_find(b"unix")
        assert base, "SQLite has no VFS for Unix"
        self._base = ctypes.addressof(base.contents)
        self._base_open = _OPEN(base.contents.open)
        self._base_delete = _DELETE(base.contents.delete)
        self._kept = (_OPEN(self._open), _DELETE(self._delete))
        self._vfs = _Vfs.from_buffer_copy(base.contents)
        self._vfs.name = VFS.encode()
        self._vfs.next = None
        self._vfs.open, self._vfs.delete = map(_address, self._kept)
        self._tables: dict[int, tuple[_Methods, Any]] = {}
        self._files: dict[int, tuple[int, str]] = {}
        """By address of the open file: inode and path."""
        self._fresh: set[int] = set()
        """Files whose first sync syncs the directory."""
        self._trace: Trace | None = None
        self._root = ""
        self._drop: DropSync = lambda path, number: False
        self._syncs = 0
        assert library.sqlite3_vfs_register(ctypes.byref(self._vfs), 0) == _OK

    def begin(self, trace: Trace, root: Path, drop: DropSync) -> None:
        assert self._trace is None
        self._trace, self._root, self._drop, self._syncs = trace, f"{root}/", drop, 0

    def end(self) -> None:
        self._trace = None

    def _name(self, address: int) -> str | None:
        path = os.fsdecode(ctypes.string_at(address))
        return path[len(self._root) :] if path.startswith(self._root) else None

    def _open(self, _vfs: int, address: int | None, file: int, flags: int, out: Any) -> int:
        result: int = self._base_open(self._base, address, file, flags, out)
        trace = self._trace
        if result != _OK or not address or not flags & (_MAIN_DB | _LOGS) or trace is None:
            return result
        name = self._name(address)
        if name is None:
            return result
        inode = trace.names.get(name) or trace.create(name)
        self._files[file] = inode, name
        if flags & _LOGS:
            self._fresh.add(file)
        else:
            self._fresh.discard(file)
        methods = c_void_p.from_address(file)
        assert methods.value
        methods.value = ctypes.addressof(self._table(methods.value)[0])
        return result

    def _table(self, base: int) -> tuple[_Methods, Any]:
        """The methods at `base` with ours in them."""
        known = self._tables.get(base)
        if known is not None:
            return known
        original = _Methods.from_address(base)
        close, write = _CLOSE(original.close), _WRITE(original.write)
        truncate, sync = _TRUNCATE(original.truncate), _SYNC(original.sync)
        del sync  # Not carried out: a recording never loses power.

        def on_close(file: int) -> int:
            self._files.pop(file, None)
            result: int = close(file)
            return result

        def on_write(file: int, data: int, length: int, offset: int) -> int:
            result: int = write(file, data, length, offset)
            if result == _OK and self._trace is not None:
                self._trace.write(*self._files[file], offset, ctypes.string_at(data, length))
            return result

        def on_truncate(file: int, size: int) -> int:
            result: int = truncate(file, size)
            if result == _OK and self._trace is not None:
                self._trace.truncate(*self._files[file], size)
            return result

        def on_sync(file: int, _flags: int) -> int:
            self._sync(file)
            return _OK

        kept = _CLOSE(on_close), _WRITE(on_write), _TRUNCATE(on_truncate), _SYNC(on_sync)
        table = _Methods.from_buffer_copy(original)
        table.close, table.write, table.truncate, table.sync = map(_address, kept)
        self._tables[base] = table, kept
        return self._tables[base]

    def _sync(self, file: int) -> None:
        trace = self._trace
        if trace is None:
            return
        inode, path = self._files[file]
        self._syncs += 1
        if self._drop(path, self._syncs):
            return
        trace.sync(inode, path)
        if file in self._fresh:
            self._fresh.discard(file)
            if not self._drop(folder_of(path), self._syncs):
                trace.sync_dir(folder_of(path))

    def _delete(self, _vfs: int, address: int, sync_dir: int) -> int:
        result: int = self._base_delete(self._base, address, sync_dir)
        trace = self._trace
        if result == _OK and trace is not None and (name := self._name(address)) is not None:
            trace.unlink(name)
            if sync_dir:
                trace.sync_dir(folder_of(name))
        return result


_recorder: list[_Recorder] = []


@contextmanager
def recorded_sqlite(
    trace: Trace, root: Path, drop: DropSync = lambda path, number: False
) -> Iterator[None]:
    """Record databases in `root` that are opened by `InlineDatabases(VFS)`. To be used inside
    `recorded_os`, which compares the files in the end."""
    if not _recorder:
        _recorder.append(_Recorder())
    _recorder[0].begin(trace, root, drop)
    try:
        yield
    finally:
        _recorder[0].end()


class InlineDatabases:
    """Databases without threads, so that a trace is the same each time. `before` is called with
    the connection before each unit of work: to plant bugs."""

    def __init__(
        self, vfs: str = "", before: Callable[[sqlite3.Connection], None] | None = None
    ) -> None:
        self._vfs = f"?vfs={vfs}" if vfs else ""
        self._before = before
        self._opened: list[InlineDatabase] = []

    async def open(self, path: Path) -> Database:
        connection = sqlite3.connect(
            f"file:{path}{self._vfs}", uri=True, isolation_level=None, cached_statements=256
        )
        database = InlineDatabase(connection, self._before)
        self._opened.append(database)
        return database


class InlineDatabase:
    """`dc.ports.Database`."""

    def __init__(
        self, connection: sqlite3.Connection, before: Callable[[sqlite3.Connection], None] | None
    ) -> None:
        self._connection = connection
        self._before = before

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._before is not None:
            self._before(self._connection)
        return work(self._connection)

    async def close(self) -> None:
        self._connection.close()
