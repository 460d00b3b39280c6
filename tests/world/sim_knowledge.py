"""What must be true of what a DC knows: hash trees, conflicts, and what became of every write."""

from typing import Any

from awscrt.checksums import crc64nvme
from sim_checks import belongs
from sim_clients import Fail
from sim_dc import Dc
from sim_model import ACKED, OPEN, Attempt, Item, Model

from dc.names import rebuild
from dc.names.seen import saw
from dc.names.trees import DIRECTORY
from dc.objects.api import BytesElsewhere, ObjectsError


def check_trees(dc: Dc, fail: Fail) -> None:
    """The trees in memory are those of what is in the tables."""
    counted = rebuild.count(dc.tables).roots()
    ids = dict(dc.tables.execute("SELECT number, id FROM buckets").fetchall())
    expected = {ids.get(number, ""): root for number, root in counted.items()}
    assert DIRECTORY not in ids
    found = dc.names.roots()
    if found != expected:
        differing = {name for name in found | expected if found.get(name) != expected.get(name)}
        fail("trees", f"{dc.name}: the trees of {sorted(differing)} are not what the tables say")


def check_roots(dcs: list[Dc], fail: Fail) -> None:
    """All DCs have the same roots."""
    first = dcs[0].names.roots()
    for dc in dcs[1:]:
        if dc.names.roots() != first:
            fail("roots", f"{dcs[0].name} has {first}, {dc.name} {dc.names.roots()}")


def check_losers(dcs: list[Dc], model: Model, fail: Fail) -> None:
    """Every acknowledged object is current, or was replaced by a write that had seen it, or is kept
    as a conflict, or was settled as one."""
    for dc in dcs:
        current = dict(_rows(dc, "SELECT b.id, key, vid, stamp FROM versions"))
        kept = set(_rows(dc, "SELECT b.id, key, vid, stamp FROM conflicts"))
        for item, attempts in model.items.items():
            if item[2] or item in model.unclear:
                continue
            for attempt in attempts:
                if attempt.version is None or attempt.fate != ACKED or attempt.settled:
                    continue
                stands = current.get(item) == attempt.stamp or (item, attempt.stamp) in kept
                if not stands and not _was_replaced(attempt, attempts):
                    fail("lost without a conflict", f"{dc.name}: {item} {attempt}")


def check_conflicts(dcs: list[Dc], model: Model, fail: Fail) -> None:
    """What is a conflict lost to a write that had not seen it: so no DC had to conclude that
    something was deleted, which it may have to when one was put back to an old state. Nor when two
    are paired later: one may have forgotten a deletion that the other has yet to hear of from a
    third."""
    if model.put_back:
        return
    for dc in dcs:
        for item, stamp in _rows(dc, "SELECT b.id, key, vid, stamp FROM conflicts"):
            later = [one for one in model.items.get(item, ()) if one.stamp > stamp]
            blind = [
                one for one in later if one.seen is None or not saw(one.stamp, one.seen, stamp)
            ]
            paired_later = any(
                one.version is None and one.pairings < len(model.pairs) for one in later
            )
            if not blind and not paired_later and item not in model.unclear:
                fail("concluded", f"{dc.name} has a conflict {stamp} of {item}, seen by {later}")


async def check_attributes(dcs: list[Dc], model: Model, fail: Fail) -> None:
    """A version that stands has the attribute that it was given last, or a later one."""
    for dc in dcs:
        for (item, stamp), told in model.attributes.items():
            version = await dc.names.version(*item)
            if version is None or version.stamp != stamp:
                continue
            if "tags" not in version.registers or version.registers["tags"].stamp < told:
                fail("attribute", f"{dc.name}: {item} {stamp} has {version.registers}, not {told}")


async def check_conflict_bytes(dcs: list[Dc], fail: Fail) -> None:
    """Of each conflict that is kept the bytes are there, in every DC."""
    for dc in dcs:
        for conflict in await dc.names.conflicts():
            loser = conflict.loser
            try:
                body = await dc.body(loser)
            except BytesElsewhere as error:
                if belongs(dc, loser):
                    fail("bytes", f"{dc.name} lacks the bytes of the conflict {loser}: {error}")
                continue
            except ObjectsError as error:
                fail("bytes", f"{dc.name} cannot read the conflict {loser}: {error}")
                continue
            if len(body) != loser.size or crc64nvme(body) != loser.meta.crc64:
                fail("bytes", f"{dc.name} gives {len(body)} other bytes for the conflict {loser}")


def _rows(dc: Dc, query: str) -> list[tuple[Item, str]]:
    rows: list[tuple[Any, ...]] = dc.tables.execute(
        f"{query} t JOIN buckets b ON b.number = t.bucket"
    ).fetchall()
    return [((bucket, key, vid), stamp) for bucket, key, vid, stamp in rows]


def _was_replaced(attempt: Attempt, attempts: list[Attempt]) -> bool:
    """Whether somebody wrote over it who had seen it, or perhaps had: of a write that was not
    answered nobody knows."""
    return any(
        other.fate == OPEN
        or (other.fate == ACKED and other.seen is None)
        or (other.fate == ACKED and saw(other.stamp, other.seen or "", attempt.stamp))
        for other in attempts
        if other is not attempt and other.stamp > attempt.stamp
    )
