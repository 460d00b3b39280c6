"""What the journal in the containers tells, as a rebuild finds it."""

import sqlite3
from typing import Any

import msgspec
from compaction_kit import FOLDER, Place

from dc.names.model import Change
from dc.objects import finding
from dc.objects.format import container_of
from dc.objects.reader import FileCache, read_piece
from dc.objects.scan import scan
from dc.ports import Disk

Item = tuple[str, ...]


def found(disk: Disk) -> sqlite3.Connection:
    """All that the containers tell, the journal not yet taken in."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    finding.prepare(db)
    for name in disk.list_dir(FOLDER):
        if container_of(name) is not None:
            file = disk.open(FOLDER / name)
            finding.add(db, list(scan(file)))
            file.close()
    return db


def journal_of(disk: Disk) -> tuple[str, dict[Item, tuple[int, Change]]]:
    """The floor, and each item with its position."""
    db = found(disk)
    _, spans = finding.choose(db)
    files = FileCache(disk, FOLDER, 8)
    for span in reversed(spans):
        data = b"".join(bytes(read_piece(files, one, 0, one.length)) for one in span.extents)
        finding.take(db, span, data)
    files.close()
    finding.index(db)
    entries = finding.page(db, 0, 1_000_000)
    floor = max((one.floor for one in spans), default="")
    db.close()
    return floor, {finding.item_of(one.change): (one.seq, plain(one.change)) for one in entries}


async def feed_of(place: Place) -> dict[Item, tuple[int, Change]]:
    """What it should tell."""
    entries, _, complete = await place.names.feed(0, 1_000_000)
    assert complete
    return {finding.item_of(one.change): (one.seq, plain(one.change)) for one in entries}


def plain(change: Any) -> Any:
    """Without what only says where it was read."""
    loser = getattr(change, "loser", None)
    if loser is not None:
        return msgspec.structs.replace(change, loser=plain(loser))
    return msgspec.structs.replace(change, seq=0) if hasattr(change, "seq") else change
