"""Real SQLite without threads, in memory: a unit of work runs inline after a drawn delay.

All processes of a DC, one after the other, open one database of SQLite's `memdb`: it is there as
long as one connection to it is. That commits are atomic and durable is taken as given. A process
that dies does so between units of work, before or after a commit whose caller was not told; its
connections close.
"""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dc.ports import Database

T = TypeVar("T")
_SHORTEST_S = 0.00002
_NO_LIMIT = 1 << 30


class SimConnection(sqlite3.Connection):
    """One whose `execute` can be put in another's place."""


def open_memory(path: Path) -> sqlite3.Connection:
    """A connection to the database of that name in this process."""
    return sqlite3.connect(
        f"file:{path}?vfs=memdb",
        uri=True,
        timeout=0,
        isolation_level=None,
        cached_statements=256,
        factory=SimConnection,
    )


class DatabaseFaults:
    """What is wrong with one DC's database disk."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.full = False
        self.error_rate = 0.0
        self.slow_s = 0.002


class SimDatabases:
    """`dc.ports.Databases` for one process."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, faults: DatabaseFaults, died: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.fuse = 0
        """The process dies at the n-th unit of work from now; `fuse_after`: when it is done."""
        self.fuse_after = False
        self.commit_fuse = 0
        """The n-th commit from now fails; `commit_after`: though it took effect."""
        self.commit_after = False
        self.faults = faults
        self._died = died
        self._opened: list[SimDatabase] = []

    async def open(self, path: Path) -> Database:
        connection = open_memory(path)
        database = SimDatabase(connection, self)
        self._opened.append(database)
        return database

    def burns(self, before: bool) -> bool:
        """Whether the process dies now."""
        if before and self.fuse:
            self.fuse -= 1
            if self.fuse or self.fuse_after:
                return False
        elif before or self.fuse or not self.fuse_after:
            return False
        self.fuse_after = False
        self._died()
        return True

    def crash(self) -> None:
        for database in self._opened:
            database.shut()


class SimDatabase:
    """`dc.ports.Database`: calls run one at a time, in the order in which they came."""

    def __init__(self, connection: sqlite3.Connection, all_of_them: SimDatabases) -> None:
        self._connection = connection
        self._all = all_of_them
        self._faults = all_of_them.faults
        self._free_at = 0.0
        self._open = True
        self._limited = False

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if not self._open:
            raise ValueError("no active connection")
        loop = self._all.loop
        future: asyncio.Future[T] = loop.create_future()
        rng, slow_s = self._faults.rng, self._faults.slow_s
        begin = max(self._free_at, loop.time()) + _SHORTEST_S + rng.random() * slow_s
        self._free_at = begin + _SHORTEST_S + rng.random() * slow_s
        loop.call_at(begin, self._work, work, future, self._free_at)
        return await future

    def _work(
        self, work: Callable[[sqlite3.Connection], T], future: asyncio.Future[T], at: float
    ) -> None:
        loop = self._all.loop
        if self._all.burns(before=True):
            return
        try:
            if not self._open:
                raise ValueError("no active connection")
            self._limit()
            rate = self._faults.error_rate
            if rate and self._faults.rng.random() < rate:
                raise sqlite3.OperationalError("disk I/O error")
            if self._all.commit_fuse:
                result = self._with_failing_commit(work)
            else:
                result = work(self._connection)
        except Exception as error:
            loop.call_at(at, _fail, future, error)
        else:
            if not self._all.burns(before=False):
                loop.call_at(at, _give, future, result)

    def _with_failing_commit(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection, everything = self._connection, self._all
        execute, writes = connection.execute, False

        def failing(sql: str, *values: Any) -> sqlite3.Cursor:
            nonlocal writes
            if sql == "BEGIN IMMEDIATE":
                writes = True
            if sql != "COMMIT" or not writes or not everything.commit_fuse:
                return execute(sql, *values)
            everything.commit_fuse -= 1
            if everything.commit_fuse:
                return execute(sql, *values)
            if everything.commit_after:
                execute(sql, *values)
            raise sqlite3.OperationalError("disk I/O error")

        connection.execute = failing  # type: ignore[method-assign,assignment]
        try:
            return work(connection)
        finally:
            del connection.execute

    def _limit(self) -> None:
        """A full disk: the file may not grow, by SQLite's own limit."""
        if self._faults.full != self._limited:
            self._limited = self._faults.full
            pages = 1 if self._limited else _NO_LIMIT
            self._connection.execute(f"PRAGMA max_page_count={pages}")

    async def close(self) -> None:
        """After everything that was asked for."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._free_at - loop.time()) + _SHORTEST_S)
        self.shut()

    def shut(self) -> None:
        if self._open:
            self._open = False
            self._connection.close()


def _give(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
