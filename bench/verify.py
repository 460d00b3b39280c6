"""The row about comparing: two datacenters with the same objects, but for a few.

Both are filled through their tables while they are down: the same rows, the trees that belong to
them, and cursors that say that each has all of the other. Then ten objects are taken out or
changed, here and there, as damage would do it.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.datacenter import Datacenter
from bench.errors import BenchError
from bench.small import Figures
from bench.world import World
from dc.names import trees
from dc.names.merge import record
from dc.names.model import Extent, Kind, Meta, Version

OBJECTS, OBJECTS_QUICK = 1_000_000, 100_000
BUCKET = "compared"
LOST_NORTH, LOST_SOUTH, CHANGED = 3, 4, 3
TURNS = 3
CONNECT_SECONDS_MAX = 30
_COLUMNS = "bucket, key, vid, stamp, kind, size, etag, meta, seen, registers, extents, leaf, seq"
_Row = tuple[Any, ...]


def verify(world: World) -> Figures:
    """Of the fastest of three comparisons, asked for at one of the two."""
    count = world.settings.count(OBJECTS, OBJECTS_QUICK)
    north, south = Datacenter(world.folder, "east"), Datacenter(world.folder, "west")
    world.datacenters += [north, south]
    north.add_user()
    world.new_bucket(north, BUCKET)
    south.pair_with(north)
    _wait_until_streaming(south)
    print(f"    (first {count:,} objects are put into the tables of two DCs)", flush=True)
    north.stop()
    south.stop()
    planted = _fill(north, south, count)
    for each in (north, south):
        each.start()
    _wait_until_streaming(south)
    found = []
    with world.measured(north, south) as meter:
        for _ in range(TURNS):
            said = json.loads(south.cli("replication", "verify", "--json", codes=(1,)))
            found.append(said["peers"][0])
    for report in found:
        named = {one["key"] for one in report["differences"]}
        if named != planted or report["in_flight"]:
            raise BenchError(f"planted {sorted(planted)}, found {sorted(named)}")
    best = min(found, key=lambda report: float(report["seconds"]))
    return {
        "seconds": best["seconds"],
        "megabytes": best["bytes_moved"] / 1e6,
        "found": len(best["differences"]),
        "objects": count,
        "cpu_seconds_each": sum(meter.cpu_seconds.values()) / TURNS,
    }


def _wait_until_streaming(dc: Datacenter) -> None:
    deadline = time.monotonic() + CONNECT_SECONDS_MAX
    while True:
        (peer,) = json.loads(dc.cli("replication", "status", "--json"))["peers"]
        if peer["streaming_to"] and peer["behind"] == 0 and peer["our_behind"] == 0:
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{dc.name} is not connected: {peer}")
        time.sleep(0.1)


def _fill(north: Datacenter, south: Datacenter, count: int) -> set[str]:
    """Fill both; the keys of the objects that differ afterwards."""
    databases = [_open(each.folder) for each in (north, south)]
    ids = [each.execute("SELECT id FROM sites ORDER BY id").fetchall() for each in databases]
    if ids[0] != ids[1] or len(ids[0]) != 2:
        raise BenchError("the two do not know each other")
    every = count // (LOST_NORTH + LOST_SOUTH + CHANGED)
    keys = [_key(number) for number in range(every // 2, count, every)]
    lost_north, rest = set(keys[:LOST_NORTH]), keys[LOST_NORTH:]
    lost_south, changed = set(rest[:LOST_SOUTH]), set(rest[LOST_SOUTH:])
    _insert(databases[0], count, lost_north, set())
    _insert(databases[1], count, lost_south, changed)
    facts = [_feed(each) for each in databases]
    for db, (epoch, end) in zip(databases, reversed(facts), strict=True):
        db.execute("UPDATE cursors SET epoch = ?, seq = ?", (epoch, end))
        db.execute("DELETE FROM progress")
        db.execute("COMMIT")
        db.close()
    return {*lost_north, *lost_south, *changed}


def _open(folder: Path) -> sqlite3.Connection:
    db = sqlite3.connect(folder / "names" / "names.db", isolation_level=None)
    db.execute("BEGIN")
    return db


def _key(number: int) -> str:
    return f"photos/2026/{number:08d}.jpg"


def _insert(db: sqlite3.Connection, count: int, lost: set[str], changed: set[str]) -> None:
    """The rows of all objects but the lost, their places in the feed, their tree."""
    number, bucket = db.execute(
        "SELECT number, id FROM buckets WHERE name = ?", (BUCKET,)
    ).fetchone()
    (made,) = db.execute("SELECT min(id) FROM sites").fetchone()
    (position,) = db.execute("SELECT value FROM facts WHERE name = 'position'").fetchone()
    hlc, last, *others = position.split(" ")
    tree = trees.Trees({})
    first = seq = int(last)
    for group in _groups(number, bucket, made, count, lost, changed):
        rows = []
        for row, leaf in group:
            seq += 1
            rows.append((*row, leaf, seq))
            tree.apply([trees.delta(number, row[1], "", leaf)])
        places = ", ".join("?" * 13)
        db.executemany(f"INSERT INTO versions({_COLUMNS}) VALUES({places})", rows)
    db.execute(
        "INSERT INTO feed SELECT seq, kind, bucket, key, vid FROM versions WHERE seq > ?", (first,)
    )
    for known, data in tree.take_changed():
        db.execute("INSERT OR REPLACE INTO trees VALUES(?, ?)", (known, data))
    db.execute(
        "UPDATE facts SET value = ? WHERE name = 'position'", (" ".join([hlc, str(seq), *others]),)
    )


def _groups(
    number: int, bucket: str, made: str, count: int, lost: set[str], changed: set[str]
) -> Iterator[Sequence[tuple[_Row, str]]]:
    """(the columns up to extents, hash) of objects, 10,000 at a time."""
    encode = msgspec.json.Encoder().encode
    meta = Meta(content_type="image/jpeg", crc64=1 << 60)
    extents = [Extent(1, 64, 4096)]
    texts = encode(meta).decode(), encode(extents).decode()
    group: list[tuple[_Row, str]] = []
    for at in range(count):
        key = _key(at)
        if key in lost:
            continue
        stamp = f"{1_790_000_000_000 + at:012x}0000{made}"
        etag = f"{at:032x}" if key not in changed else "f" * 32
        version = Version(bucket, key, "", stamp, Kind.OBJECT, 4096, etag, meta, extents)
        row = (number, key, "", stamp, 0, 4096, etag, texts[0], "", "{}", texts[1])
        group.append((row, record(number, version).hash))
        if len(group) == 10_000:
            yield group
            group = []
    yield group


def _feed(db: sqlite3.Connection) -> tuple[str, int]:
    """The last epoch of a feed, and its end."""
    (epoch,) = db.execute("SELECT id FROM epochs ORDER BY rowid DESC LIMIT 1").fetchone()
    (position,) = db.execute("SELECT value FROM facts WHERE name = 'position'").fetchone()
    return epoch, int(position.split(" ")[1])
