"""Comparisons for the tests: running them, and damage done to tables by hand."""

import sqlite3
from collections.abc import Callable
from typing import Any

from replica_kit import Dc

from dc.names.rebuild import rebuild
from replicator.verify import Options, Progress, VerifyReport

Act = Callable[[sqlite3.Connection], object]


async def verify(one: Dc, other: Dc, **options: Any) -> VerifyReport:
    """A comparison asked for at `one`."""
    said: list[Progress] = []
    asked = Options(**({"wait_seconds": 10.0} | options))
    return await one.replicator.verify(other.dc_id, asked, said.append)


async def damage(dc: Dc, *acts: Act) -> None:
    """Change the tables while the DC is down, and the trees with them."""
    await dc.down()
    db = sqlite3.connect(dc.root / "names.db", isolation_level=None)
    try:
        for act in acts:
            before = db.total_changes
            act(db)
            assert db.total_changes > before, "nothing was damaged"
        rebuild(db)
    finally:
        db.close()
    await dc.up()


def forget(table: str, where: str) -> Act:
    """Take rows out, and their places in the feed."""

    def act(db: sqlite3.Connection) -> None:
        db.execute(f"DELETE FROM feed WHERE seq IN (SELECT seq FROM {table} WHERE {where})")
        db.execute(f"DELETE FROM {table} WHERE {where}")

    return act


def change(statement: str, *values: object) -> Act:
    return lambda db: db.execute(statement, values)


def rows(dc: Dc, query: str) -> list[tuple[Any, ...]]:
    """What is in the tables of a running DC."""
    db = sqlite3.connect(dc.root / "names.db")
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def named(report: VerifyReport) -> list[tuple[str, str]]:
    """(what, key) of all differences."""
    return sorted((one.what, one.key) for one in report.differences)
