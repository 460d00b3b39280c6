"""Mistakes about where bytes go (`dc/placement.py`), for `planted_bugs.py`."""

from typing import Any
from unittest import mock

from dc.names import conflicts, merge
from dc.names.model import Kind, Tombstone
from replicator import wire
from replicator.filling import Filling
from replicator.placing import Placing


def nobody_fills_in() -> Any:
    """What belongs here after a change of the rules is looked for, and never asked for."""

    async def nothing(*_: Any) -> None:
        pass

    return mock.patch.object(Filling, "_ask", nothing)


def filled_in_is_not_noted() -> Any:
    """Bytes that were filled in are stored, and the name server goes on without them."""
    return mock.patch.object(merge, "_fill", lambda *_: None)


def what_did_not_come_along_is_elsewhere() -> Any:
    """An object without its body is taken for one that does not belong here, though nobody said
    so."""
    is_here = Placing.is_here

    def mistaken(self: Placing, wanted: wire.VersionRecord) -> bool:
        return bool(wanted.body) and is_here(self, wanted)

    return mock.patch.object(Placing, "is_here", mistaken)


def loser_kept_by_who_lacks_it() -> Any:
    """A conflict is made of a loser whose bytes are in other DCs."""

    def keep(transaction: Any, new: Any, winner: str) -> None:
        lost = new.change
        if isinstance(lost, Tombstone) or lost.kind != Kind.OBJECT:
            return
        if lost.size and not lost.extents:
            return
        conflict = conflicts.Conflict(loser=lost, winner=winner)
        conflicts.merge_conflict(transaction, new.number, conflict)

    return mock.patch.object(merge, "_keep", keep)


PLACEMENT = (
    nobody_fills_in,
    filled_in_is_not_noted,
    what_did_not_come_along_is_elsewhere,
    loser_kept_by_who_lacks_it,
)
