"""How connections to the database are set up."""

import sqlite3
from pathlib import Path

from dc.names.schema import prepare


def test_every_commit_is_synced(tmp_path: Path) -> None:
    """NORMAL would sync at checkpoints only, and a power cut take what was acknowledged."""
    db = sqlite3.connect(tmp_path / "names.db")
    prepare(db)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()
