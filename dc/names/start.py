"""What a name server reads from its database when it starts."""

import sqlite3
from typing import NamedTuple

from dc.names import coverage, rebuild, trees, upkeep
from dc.names.journal import generation
from dc.names.model import Progress
from dc.names.schema import migrate, prepare
from dc.stamps import Stamp


class State(NamedTuple):
    """What a database says at start."""

    hlc: Stamp
    seq: int
    epochs: list[tuple[str, int]]
    coverage: coverage.Coverage
    progress: dict[str, Progress]
    horizon: int
    loaded: trees.Trees


def set_up(db: sqlite3.Connection, epoch: str) -> State:
    """Bring the database up to date, made when it is new, and begin an epoch."""
    prepare(db)
    migrate(db)
    db.execute("INSERT OR IGNORE INTO facts VALUES('position', ' 0')")
    db.execute("INSERT OR IGNORE INTO facts VALUES('generation', ?)", (generation(1, epoch),))
    facts = dict(db.execute("SELECT name, value FROM facts").fetchall())
    if "rebuild" in facts:
        rebuild.rebuild(db)
    hlc, seq = facts["position"].split(" ")[:2]
    upkeep.begin_epoch(db, epoch, int(seq) + 1)
    return State(
        hlc,
        int(seq),
        upkeep.load_epochs(db),
        coverage.load(db),
        upkeep.load_progress(db),
        int(facts.get("horizon", "0")),
        trees.load(db),
    )
