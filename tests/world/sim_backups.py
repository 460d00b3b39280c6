"""What a DC has forgotten whose database was put back to an old copy.

What it was told to keep since the copy, and what no other DC had taken from it, is lost, and nobody
can know: its clients were told more than is true. What somebody else has must come back.
"""

from sim_dc import Dc
from sim_model import ACKED, OPEN, Attempt, Item, Model

from dc.names.seen import saw


def forget(dcs: list[Dc], dc: Dc, model: Model) -> int:
    """Take back what `dc` was told and nobody knows any more; how many writes."""
    forgotten = 0
    # What one of them forgot, another may have known until it was put back itself.
    model.put_back.add(dc.name)
    model.attributes.clear()
    # Its clock may have been ahead of the wall clock, and has forgotten that.
    model.acked.pop(dc.name, None)
    for item, attempts in model.items.items():
        for attempt in attempts:
            may_be_gone = attempt.dc in model.put_back and attempt.fate == ACKED
            if may_be_gone and not any(_knows(one, item, attempt) for one in dcs):
                attempt.fate = OPEN
                forgotten += 1
    for bucket, life in model.buckets.items():
        query = "SELECT created, deleted, registers ->> '$.acl[0]' FROM buckets WHERE id = ?"
        rows = [row for one in dcs for row in one.tables.execute(query, (bucket,))]
        created = max((row[0] for row in rows), default="")
        deleted = max((row[1] for row in rows), default="")
        life.attribute = min(life.attribute, max((row[2] or "" for row in rows), default=""))
        life.creates = [(stamp, fate if stamp <= created else OPEN) for stamp, fate in life.creates]
        life.deletes = [(stamp, fate if stamp <= deleted else OPEN) for stamp, fate in life.deletes]
    for user, life in model.users.items():
        found = _found(dcs, "users", user)
        life.fate = life.fate if found else OPEN
        life.gone = OPEN if life.gone == ACKED and not any(found) else life.gone
    for key in list(model.keys):
        found = _found(dcs, "keys", key)
        life = model.keys[key]
        if not found:
            del model.keys[key]
        elif life.gone == ACKED and not any(found):
            life.gone = OPEN
    return forgotten


def _found(dcs: list[Dc], table: str, item: str) -> list[int]:
    """Whether each DC that has the record has it as deleted."""
    query = f"SELECT deleted FROM {table} WHERE id = ?"
    return [row[0] for one in dcs for row in one.tables.execute(query, (item,))]


def _knows(dc: Dc, item: Item, attempt: Attempt) -> bool:
    """Whether a write is in the tables of a DC, or known there to have been superseded."""
    bucket, key, vid = item
    where = "key = ? AND bucket = (SELECT number FROM buckets WHERE id = ?)"
    kept = dc.tables.execute(
        f"SELECT 1 FROM conflicts WHERE stamp = ? AND {where}", (attempt.stamp, key, bucket)
    ).fetchone()
    if kept:
        return True
    for table in ("versions", "tombstones"):
        for stamp, seen in dc.tables.execute(
            f"SELECT stamp, seen FROM {table} WHERE vid = ? AND {where}", (vid, key, bucket)
        ):
            deleted = vid and table == "tombstones"
            if deleted or stamp == attempt.stamp or saw(stamp, seen, attempt.stamp):
                return True
            if attempt.version is None and stamp > attempt.stamp:
                return True
    return dc.ready and attempt.stamp in dc.names.knowledge.coverage
