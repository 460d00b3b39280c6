"""What the reader remembers is never older than what was committed."""

import asyncio
import sqlite3

from names_kit import stamp_at

from dc.names.reader import Reader
from dc.names.schema import migrate


class SlowDatabase:
    """Runs the query at once and hands out what it gave when the test says so."""

    def __init__(self) -> None:
        self.db = sqlite3.connect(":memory:")
        migrate(self.db)
        self.ran = asyncio.Event()
        self.gate = asyncio.Event()

    async def run(self, work):
        result = work(self.db)
        self.ran.set()
        await self.gate.wait()
        return result

    async def close(self):
        self.db.close()

    def store(self, stamp):
        self.db.execute(
            "INSERT OR REPLACE INTO versions(bucket, key, vid, stamp, seq, kind, size, etag, meta,"
            " extents) VALUES(1, 'k', '', ?, 1, 0, 0, '', '{}', '[]')",
            (stamp,),
        )


async def test_a_row_that_changes_while_it_is_read_is_not_remembered():
    database = SlowDatabase()
    database.store(stamp_at(1))
    reader = Reader(database)
    first = reader.get(1, "k")
    await database.ran.wait()
    database.store(stamp_at(2))
    reader.forget([(1, "k", "")])
    database.gate.set()
    assert (await first).stamp == stamp_at(1), "asked before the change was answered"
    assert reader.remembered(1, "k") is None
    assert (await reader.get(1, "k")).stamp == stamp_at(2)
    assert reader.remembered(1, "k").stamp == stamp_at(2)
    reader.forget([(1, "k", "")])
    assert reader.remembered(1, "k") is None
    await reader.close()
    await database.close()
