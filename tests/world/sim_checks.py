"""What must be true once everything is repaired and quiet."""

import json
from typing import Any

from sim_clients import Clients, Fail
from sim_dc import Dc
from sim_model import ACKED, REFUSED, Attempt, Model

from dc.names.kinds import (
    CONFLICT,
    FEED_BUCKET,
    FEED_KEY,
    FEED_SITE,
    FEED_USER,
    TOMBSTONE,
)
from dc.names.model import Kind, Version
from dc.names.seen import INFERRED
from dc.objects.api import BytesElsewhere, ObjectsError
from dc.placement import placement

_STATE = {
    "versions": "SELECT b.id, v.key, v.vid, v.stamp, v.kind, v.size, v.etag, v.meta,"
    " v.seen, v.registers, v.leaf FROM versions v JOIN buckets b ON b.number = v.bucket"
    " ORDER BY 1, 2, 3",
    "conflicts": "SELECT b.id, c.key, c.stamp, c.winner, c.vid, c.size, c.etag, c.meta, c.seen,"
    " c.registers, c.leaf FROM conflicts c JOIN buckets b ON b.number = c.bucket"
    " WHERE NOT c.gone ORDER BY 1, 2, 3",
    "buckets": "SELECT id, name, owner, region, created, deleted, revived, registers"
    " FROM buckets WHERE created != '' ORDER BY 1",
    "sites": "SELECT id, name, region, stamp FROM sites ORDER BY 1",
    "users": "SELECT id, email, stamp, deleted FROM users ORDER BY 1",
    "keys": "SELECT id, user, stamp, deleted FROM keys ORDER BY 1",
}
_REGISTERS = {"versions": 9, "conflicts": 9, "buckets": 7}
"""The columns with registers, whose order says nothing."""
_ITEMS = {
    "versions": f"SELECT v.seq, min(v.kind, {TOMBSTONE - 1}), v.bucket, v.key, v.vid"
    " FROM versions v",
    "tombstones": f"SELECT seq, {TOMBSTONE}, bucket, key, vid FROM tombstones",
    "buckets": f"SELECT seq, {FEED_BUCKET}, 0, id, '' FROM buckets WHERE created != ''",
    "conflicts": f"SELECT seq, {CONFLICT}, bucket, key, stamp FROM conflicts",
    "sites": f"SELECT seq, {FEED_SITE}, 0, id, '' FROM sites",
    "users": f"SELECT seq, {FEED_USER}, 0, id, '' FROM users",
    "keys": f"SELECT seq, {FEED_KEY}, 0, id, '' FROM keys",
}
_TOMBSTONES = (
    "SELECT b.id, t.key, t.vid, t.stamp, t.seen"
    " FROM tombstones t JOIN buckets b ON b.number = t.bucket ORDER BY 1, 2, 3"
)
"""Each DC collects its own when it may: they need not be the same."""
State = dict[str, list[tuple[Any, ...]]]


def state_of(dc: Dc) -> State:
    """All that is equal in all DCs: everything but where bytes are, positions and ciphertexts."""
    state = {table: dc.tables.execute(query).fetchall() for table, query in _STATE.items()}
    for table, column in _REGISTERS.items():
        state[table] = [_in_order(row, column) for row in state[table]]
    return state


def _in_order(row: tuple[Any, ...], column: int) -> tuple[Any, ...]:
    if row[column].count("[") < 2:
        return row
    text = json.dumps(json.loads(row[column]), sort_keys=True, separators=(",", ":"))
    return (*row[:column], text, *row[column + 1 :])


def difference(one: State, other: State) -> tuple[str, str]:
    """The first table that differs, and the first rows that do."""
    for table, rows in one.items():
        here, there = set(rows) - set(other[table]), set(other[table]) - set(rows)
        if here or there:
            return table, f"{sorted(here)[:2]} against {sorted(there)[:2]}"
    return "", ""


def check_feed(dc: Dc, gone: set[str], fail: Fail) -> None:
    """Each item stands in the feed once, at its position; positions do not pass the end."""
    db = dc.tables
    feed = set(db.execute("SELECT seq, kind, bucket, key, vid FROM feed").fetchall())
    items = set()
    for query in _ITEMS.values():
        items |= set(db.execute(query).fetchall())
    if feed != items:
        extra, missing = sorted(feed - items)[:3], sorted(items - feed)[:3]
        fail("feed", f"{dc.name}: rows of nothing {extra}, items without a row {missing}")
    last = max((row[0] for row in feed), default=0)
    if last > dc.names.feed_end:
        fail("feed", f"{dc.name}: position {last} is past the end {dc.names.feed_end}")
    left = [row for row in db.execute("SELECT peer, seq, error FROM inbox") if row[0] not in gone]
    if left:
        fail("inbox", f"{dc.name}: {left[:3]}")


def check_memory(dc: Dc, state: State, fail: Fail) -> None:
    """The directory says what the tables say."""
    directory = dc.names.directory
    for row in state["buckets"]:
        known = directory.bucket_by_id(row[0])
        if known is None or (known.created, known.deleted, known.revived) != row[4:7]:
            fail("directory", f"{dc.name}: bucket {row}, in memory {known}")
    users = sorted((user.id, user.email, user.stamp) for user in directory.users())
    if users != [row[:3] for row in state["users"] if not row[3]]:
        fail("directory", f"{dc.name}: users {users}")


async def check_items(dcs: list[Dc], model: Model, clients: Clients, fail: Fail) -> None:
    """Of each item the latest write stands, or a later one that may have happened. Of a version
    id, which is never written again, a deletion stands whenever it was made."""
    for dc in dcs:
        versions = {row[:3]: row[3] for row in state_of(dc)["versions"]}
        tombstones = {row[:3]: row[3:] for row in dc.tables.execute(_TOMBSTONES)}
        for item in (versions.keys() | tombstones.keys()) - model.items.keys():
            fail("invented", f"{dc.name} has {item}, which nobody wrote")
        for item, attempts in model.items.items():
            if item in model.unclear:
                continue
            possible = _may_stand(item, attempts)
            if item in versions:
                standing = model.find(item, versions[item])
                if standing not in possible or standing is None or standing.version is None:
                    fail(
                        "lost",
                        f"{dc.name} has {standing} at {versions[item]}, which cannot stand:"
                        f" {_told(attempts)}",
                    )
                else:
                    await _check_standing(dc, item, standing, clients, fail)
            elif all(one.version is not None for one in possible) and _was_told(attempts):
                fail("lost", f"{dc.name} has {tombstones.get(item)}: {_told(attempts)}")
            elif (
                item in tombstones
                and tombstones[item][1] != INFERRED
                and model.find(item, tombstones[item][0]) not in possible
                # Who was put back may bring an earlier deletion when the last one was collected.
                and not (model.put_back and any(one.version is None for one in possible))
            ):
                fail("lost", f"{dc.name} has {tombstones[item]}: {_told(attempts)}")


def _may_stand(item: tuple[str, str, str], attempts: list[Attempt]) -> list[Attempt]:
    """The writes of an item that may be the last."""
    real = [one for one in attempts if one.fate != REFUSED]
    gone = [one for one in real if one.version is None]
    if item[2] and gone:
        makers = {one.dc for one in real if one.version is not None}
        binding = any(one.fate == ACKED and makers <= one.knows for one in gone)
        return gone if binding else real
    return [
        one
        for one in real
        if not any(
            later.fate == ACKED
            and later.stamp > one.stamp
            # A deletion may be forgotten for DCs that come later, and with it all before it.
            and all(one.dc in last.knows for last in gone if last.stamp >= later.stamp)
            for later in real
        )
    ]


def _was_told(attempts: list[Attempt]) -> bool:
    return any(one.fate == ACKED for one in attempts)


def _told(attempts: list[Attempt]) -> str:
    return "; ".join(map(str, attempts))


def belongs(dc: Dc, version: Version) -> bool:
    """Whether the bytes of a version are to be in a DC."""
    rules = placement(dc.names.directory.bucket_by_id(version.bucket))
    return rules is None or rules.holds(dc.name, version.key)


async def _check_standing(
    dc: Dc, item: tuple[str, str, str], attempt: Attempt, clients: Clients, fail: Fail
) -> None:
    version: Version | None = await dc.names.version(*item)
    if version is None:
        fail("deleted", f"{dc.name} shows nothing, though what stands is the {attempt}")
        return
    try:
        await clients.check_version(dc, version)
        current = await dc.names.current(item[0], item[1])
        if current is not None and current.kind == Kind.OBJECT:
            await clients.check_version(dc, current)
    except BytesElsewhere as error:
        if belongs(dc, version):
            fail("bytes", f"{dc.name} lacks the bytes of the {attempt}: {error}")
    except ObjectsError as error:
        fail("bytes", f"{dc.name} cannot read the {attempt}: {error}")


def check_registers(dc: Dc, state: State, model: Model, fail: Fail) -> None:
    """Buckets, users and keys that were made are there; those that were deleted are gone."""
    buckets = {row[0]: row for row in state["buckets"]}
    latest: dict[str, str] = {}
    for bucket, _, _, stamp, kind, *_ in state["versions"]:
        if kind == 0:
            latest[bucket] = max(latest.get(bucket, ""), stamp)
    for bucket, life in model.buckets.items():
        made = max((stamp for stamp, fate in life.creates if fate == ACKED), default="")
        gone = max((stamp for stamp, fate in life.deletes if fate == ACKED), default="")
        _, _, _, _, created, deleted, revived, _ = buckets.get(bucket, ("",) * 8)
        if created < made or deleted < gone:
            fail("bucket", f"{dc.name}: {bucket} is {created}/{deleted}, told {made}/{gone}")
        if life.attribute > max(created, _attribute(dc, bucket)):
            fail("bucket", f"{dc.name}: {bucket} has no attribute of {life.attribute}")
        if created and latest.get(bucket, "") > deleted and max(created, revived) <= deleted:
            fail("bucket", f"{dc.name}: {bucket} is gone with a later object in it")
    users = {row[0]: row for row in state["users"]}
    for user, life in model.users.items():
        row = users.get(user)
        if life.fate == ACKED and row is None:
            fail("user", f"{dc.name}: {life.email} is not there")
        if row is not None and (life.gone == ACKED) > bool(row[3]):
            fail("user", f"{dc.name}: {life.email} was deleted and is there")
        if row is not None and not life.gone and row[3]:
            fail("user", f"{dc.name}: {life.email} is deleted, by nobody")
    for key, life in model.keys.items():
        owner = model.users.get(life.user)
        found = dc.accounts.lookup(key)
        if life.gone == ACKED or (owner is not None and owner.gone == ACKED):
            if found is not None:
                fail("key", f"{dc.name}: {key} was revoked and opens")
        elif (
            not life.gone
            and life.secret
            and (owner is None or not owner.gone)
            and (found is None or (found.user, found.secret) != (life.user, life.secret))
        ):
            fail("key", f"{dc.name}: {key} does not open: {found}")


def _attribute(dc: Dc, bucket_id: str) -> str:
    """When the bucket's attribute was set."""
    bucket = dc.names.directory.bucket_by_id(bucket_id)
    register = bucket.registers.get("acl") if bucket else None
    return register.stamp if register else ""


def orphans(state: State) -> list[tuple[Any, ...]]:
    """Objects in a bucket that is deleted: nobody reaches them, and nobody deleted them."""
    dead = {row[0] for row in state["buckets"] if max(row[4], row[6]) <= row[5]}
    return [row for row in state["versions"] if row[0] in dead and row[4] == Kind.OBJECT]
