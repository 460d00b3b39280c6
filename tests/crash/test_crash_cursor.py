"""A peer's feed, after every power cut: where the cursor is, the effect is."""

from collections.abc import Sequence

import pytest
from crash_kit import Report, explore
from crash_names import THERE, NamesOracle, Snapshot, record_names, replication
from crash_states import State
from crash_trace import Image, Trace

from dc.names.model import Change, Cursor, Inboxed, Version
from dc.names.service import SqliteNames

FOLDERS: Image = {"names": None, "containers": None}


class CursorOracle(NamesOracle):
    """Also counts the cursors that were found, and looks at what they stand for by itself: the
    snapshots could be wrong alike."""

    def __init__(self, trace: Trace, snapshots: Sequence[Snapshot]) -> None:
        super().__init__(trace, snapshots)
        self.cursors: set[int] = set()
        self._shown = [self._without_effect(snapshot) for snapshot in snapshots]

    def _without_effect(self, snapshot: Snapshot) -> list[str]:
        """Each batch brings three versions anew, and one that is late: it is in the inbox or, when
        the cursor stands behind it, was applied."""
        entries, _, _, _, peers, _ = snapshot
        problems = []
        versions = [e.change for e in entries if isinstance(e.change, Version)]
        for _peer, place, inbox in peers:
            batches = 0 if place is None else (place[1] + 1) // 10
            late = {one.seq for one in inbox}
            applied = [one for one in versions if one.key == "late"]
            if batches and len([one for one in versions if one.key.startswith("t")]) != 3:
                problems.append(f"the cursor is at {place}, and versions are missing")
            if (
                len(late) > 1
                or (batches > 1 and not applied)
                or batches * 10 < max(late, default=0)
            ):
                problems.append(f"the cursor is at {place}, the inbox has {late}")
            if batches == 1 and not applied and not late:
                problems.append("what was late is nowhere")
        return problems

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        found = super().problems(state, acked)
        for at in self.opened_as(state.image):
            found += self._shown[at]
            for _, place, _ in self.snapshots[at][4]:
                self.cursors.add(-1 if place is None else place[1])
        return found


def look(trace: Trace, snapshots: list[Snapshot], **limits: int) -> tuple[Report, CursorOracle]:
    oracle = CursorOracle(trace, snapshots)
    return explore(trace, oracle, **limits), oracle


def test_no_cursor_without_its_effect_and_no_effect_without_its_cursor() -> None:
    trace, snapshots = record_names(Trace(FOLDERS), replication)
    report, oracle = look(trace, snapshots, first_cut=trace.acks[1].after)
    assert report.losses == []
    assert oracle.cursors == {-1, 9, 19}
    assert report.tally.states > 3000
    assert report.tally.complete > 50


async def apply_in_two(
    self: SqliteNames,
    changes: Sequence[Change],
    *,
    peer: str = "",
    cursor: Cursor | None = None,
    inbox: Sequence[Inboxed] = (),
    done: Sequence[int] = (),
    cursor_first: bool = False,
) -> None:
    moves = apply(self, [], peer=peer, cursor=cursor, inbox=inbox, done=done)
    if cursor_first:
        await moves
    await apply(self, changes)
    if not cursor_first:
        await moves


apply = SqliteNames.apply


@pytest.mark.parametrize("cursor_first", [False, True])
def test_finds_a_cursor_in_a_transaction_of_its_own(
    cursor_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: SqliteNames, changes: Sequence[Change], **rest: object) -> None:
        await apply_in_two(self, changes, cursor_first=cursor_first, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteNames, "apply", broken)
    trace, snapshots = record_names(Trace(FOLDERS), replication)
    report, _ = look(trace, snapshots, bad_max=1, samples=8, loose_max=6)
    assert "half of a change of names is there" in report.losses[0]


def test_finds_a_cursor_that_moves_past_what_was_put_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In every snapshot alike, so only what a cursor stands for tells it."""

    async def broken(self: SqliteNames, changes: Sequence[Change], **rest: object) -> None:
        await apply(self, changes, **{**rest, "inbox": ()})  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteNames, "apply", broken)
    trace, snapshots = record_names(Trace(FOLDERS), replication)
    report, _ = look(trace, snapshots, bad_max=1, samples=8, loose_max=6)
    assert "what was late is nowhere" in report.losses[0]
    assert THERE in {peer.dc_id for peer, _, _ in snapshots[-1][4]}
