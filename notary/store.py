"""The notary's database: its file, and transactions on it. `notary/tables.py` has what is in it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dc.names.schema import bring_up
from dc.ports import Database, Databases

T = TypeVar("T")

_V1 = """
CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE logs(
    number INTEGER PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    sealed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE entries(
    log INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    stamp TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY(log, idx)
) WITHOUT ROWID;
CREATE INDEX entries_by_stamp ON entries(stamp, kind);
CREATE TABLE tiles(
    log INTEGER NOT NULL,
    level INTEGER NOT NULL,
    number INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY(log, level, number)
);
CREATE TABLE checkpoints(
    log INTEGER NOT NULL,
    size INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    witnesses INTEGER NOT NULL,
    note TEXT NOT NULL,
    PRIMARY KEY(log, size)
) WITHOUT ROWID;
CREATE INDEX checkpoints_best ON checkpoints(log, witnesses, size);
CREATE INDEX checkpoints_by_serial ON checkpoints(log, serial);
CREATE TABLE timestamps(
    log INTEGER NOT NULL,
    kind TEXT NOT NULL,
    size INTEGER NOT NULL,
    serial INTEGER NOT NULL,
    data BLOB NOT NULL,
    signature BLOB NOT NULL,
    final INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY(log, kind, size)
);
CREATE INDEX timestamps_open ON timestamps(log, kind, size) WHERE NOT final;
CREATE INDEX timestamps_by_serial ON timestamps(log, serial);
CREATE TABLE mirrors(log INTEGER NOT NULL, peer TEXT NOT NULL, serial INTEGER NOT NULL,
    PRIMARY KEY(log, peer)) WITHOUT ROWID;
CREATE TABLE witnessed(origin TEXT PRIMARY KEY, size INTEGER NOT NULL, note TEXT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE alarms(id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, origin TEXT NOT NULL,
    reason TEXT NOT NULL, text TEXT NOT NULL, known TEXT NOT NULL, shown TEXT NOT NULL);
CREATE TABLE hooks(name TEXT PRIMARY KEY, entries INTEGER NOT NULL, size INTEGER NOT NULL)
    WITHOUT ROWID;
"""
_V2 = """
CREATE TABLE signers(log INTEGER NOT NULL, key BLOB NOT NULL, PRIMARY KEY(log, key)) WITHOUT ROWID;
"""
MIGRATIONS = [_V1, _V2]


class Store:
    """The database, with a connection that writes and one that reads."""

    def __init__(self, writer: Database, reader: Database) -> None:
        self._writer = writer
        self._reader = reader
        self._is_closed = False

    async def act(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do work in a transaction; it is durable on return. sqlite3.Error, also after `close`: a
        peer may be answered still."""
        self._check_open()
        return await self._writer.run(lambda db: _transact(db, work))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Look, at one moment. sqlite3.Error."""
        self._check_open()
        return await self._reader.run(lambda db: _look(db, work))

    def _check_open(self) -> None:
        if self._is_closed:
            raise sqlite3.ProgrammingError("it is closed")

    async def close(self) -> None:
        self._is_closed = True
        await self._reader.close()
        await self._writer.close()


async def open_store(path: Path, databases: Databases) -> Store:
    """Open the database, which is made if it is not there. NamesError, sqlite3.Error."""
    opened: list[Database] = []
    try:
        for prepare in (_prepare, _set_up):
            opened.append(await databases.open(path))
            await opened[-1].run(prepare)
    except BaseException:
        for database in reversed(opened):
            await database.close()
        raise
    return Store(*opened)


def _set_up(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA temp_store=MEMORY")


def _prepare(db: sqlite3.Connection) -> None:
    _set_up(db)
    bring_up(db, MIGRATIONS, "the notary's database")


def _transact(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN IMMEDIATE")
    try:
        result = work(db)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return result


def _look(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    db.execute("BEGIN")
    try:
        return work(db)
    finally:
        db.execute("COMMIT")
