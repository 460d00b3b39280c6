"""What must be true of what a DC knows: hash trees, conflicts, and what became of every write."""

from typing import Any

from sim_clients import Fail
from sim_dc import Dc
from sim_model import ACKED, OPEN, Attempt, Item, Model

from dc.names import rebuild
from dc.names.seen import saw
from dc.names.trees import DIRECTORY


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
