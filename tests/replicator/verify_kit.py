"""Comparisons for the tests: running them, and damage done to tables by hand."""

import sqlite3
from collections.abc import Callable
from typing import Any

from replica_kit import Dc

from dc.names import trees
from dc.names.rebuild import rebuild
from replicator.verify import Options, Progress, VerifyReport


async def verify(one: Dc, other: Dc, **options: Any) -> VerifyReport:
    """A comparison asked for at `one`."""
    said: list[Progress] = []
    asked = Options(**({"wait_seconds": 10.0} | options))
    return await one.replicator.verify(other.dc_id, asked, said.append)


async def damage(dc: Dc, act: Callable[[sqlite3.Connection], object]) -> None:
    """Change the tables behind the name server's back, and the trees with them."""

    def work(db: sqlite3.Connection) -> None:
        act(db)
        assert db.total_changes, "nothing was damaged"
        if db.in_transaction:
            db.execute("COMMIT")
        rebuild(db)

    await dc.names._databases[0].run(work)
    loaded = await dc.names._databases[0].run(trees.load)
    dc.names._trees._trees = loaded._trees
    changes, _ = await dc.names._scan.run(_load)
    dc.names._directory.update(changes)
    dc.names._reader._rows.clear()


def _load(db: sqlite3.Connection) -> Any:
    from dc.names import registers

    return registers.load(db)


def drop_feed(table: str, where: str) -> Callable[[sqlite3.Connection], object]:
    """Forget rows, and their places in the feed."""

    def act(db: sqlite3.Connection) -> None:
        db.execute(f"DELETE FROM feed WHERE seq IN (SELECT seq FROM {table} WHERE {where})")
        assert db.execute(f"DELETE FROM {table} WHERE {where}").rowcount

    return act
