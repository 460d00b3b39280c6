"""Making the hash trees from what is in the tables: after a migration, and to check them.

The trees are otherwise only ever changed by differences (`dc/names/trees.py`).
"""

import sqlite3
from collections.abc import Iterator

from dc.names import conflicts, registers, trees
from dc.names.merge import record
from dc.names.rows import ROW, decode_row
from dc.names.trees import DIRECTORY, Trees, delta

_PAGE = 1000


def rebuild(db: sqlite3.Connection) -> None:
    """Give all versions their hashes, and store the trees, in a transaction of its own."""
    db.execute("BEGIN IMMEDIATE")
    try:
        for number, key, vid, leaf in list(_versions(db)):
            db.execute(
                "UPDATE versions SET leaf = ? WHERE bucket = ? AND key = ? AND vid = ?",
                (leaf, number, key, vid),
            )
        trees.store(db, count(db).take_changed())
        db.execute("DELETE FROM facts WHERE name = 'rebuild'")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def count(db: sqlite3.Connection) -> Trees:
    """The trees as they must be."""
    result = Trees({})
    for number, key, _, leaf in _versions(db):
        result.apply([delta(number, key, "", leaf)])
    for number, key, leaf in conflicts.hashes(db):
        result.apply([delta(number, key, "", leaf)])
    for item, leaf in registers.hashes(db):
        result.apply([delta(DIRECTORY, item, "", leaf)])
    return result


def _versions(db: sqlite3.Connection) -> Iterator[tuple[int, str, str, str]]:
    """(bucket number, key, vid, hash) of all versions, the hashes made anew."""
    rows = db.execute(f"SELECT v.bucket, v.key, {ROW} FROM versions v")
    while page := rows.fetchmany(_PAGE):
        for number, key, text in page:
            version = decode_row(text).version("", key)
            yield number, key, version.vid, record(number, version).hash
