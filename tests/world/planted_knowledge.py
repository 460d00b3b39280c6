"""Mistakes in what is known, kept, concluded and forgotten (`docs/convergence.md`), each as a patch
of the product that a simulated world must notice. See `planted_bugs.py`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec

import dc.names.service
from dc.names import conflicts, merge, start, upkeep, writer
from dc.names.coverage import Coverage
from dc.names.knowledge import Chores, Knowledge
from dc.names.model import Change, Interval, Peer, Version
from dc.stamps import Stamp, stamp_origin
from replicator.feed_stream import FeedStream
from replicator.records import is_from
from replicator.status import Inbound
from replicator.told import Told

_SECONDS_KEPT = 5
_ALL = 2**62
_NOBODY = "0" * 20


def _other_chores(**others: Any) -> Any:
    chores = Knowledge.chores

    def other(self: Knowledge, peers: Iterable[Peer]) -> Chores:
        values = {name: make(self) for name, make in others.items()}
        return msgspec.structs.replace(chores(self, peers), **values)

    return mock.patch.object(Knowledge, "chores", other)


def tombstone_dropped_by_age() -> Any:
    """A tombstone is collected some seconds after it was made, whoever has it."""

    def old(self: Knowledge) -> Stamp:
        return f"{max(0, self._wall.wall_ms() - _SECONDS_KEPT * 1000):012x}{_NOBODY}"

    return _other_chores(acked=lambda _: _ALL, stable=old)


def tombstone_collected_unacknowledged() -> Any:
    """A tombstone is collected when all that it beats is here, though not every peer has it."""
    return _other_chores(acked=lambda _: _ALL)


def stable_alone() -> Any:
    """A tombstone is collected when all that was made *here* before it is covered."""

    def own(self: Coverage, origins: Iterable[str], absent_before_ms: int) -> Stamp:
        first, *_ = origins
        return max((one.high for one in self.of(first)), default="")

    return mock.patch.object(Coverage, "stable", own)


@contextmanager
def concurrent_loser_forgotten() -> Iterator[None]:
    """The later of two concurrent writes stands, and that is all."""
    with mock.patch.object(merge, "_keep", lambda *_: None):
        with mock.patch.object(conflicts, "keep_current", lambda *_: None):
            yield


def conflict_without_bytes() -> Any:
    """Of what lost its name is kept, but not where its bytes are."""
    write = conflicts._write

    def forgets(transaction: Any, number: int, conflict: Any, *old: Any) -> None:
        loser = msgspec.structs.replace(conflict.loser, extents=[])
        write(transaction, number, msgspec.structs.replace(conflict, loser=loser), *old)

    return mock.patch.object(conflicts, "_write", forgets)


def conflict_not_seen() -> Any:
    """A write has seen what it replaces, but not the conflicts of the item."""
    with_seen = merge._with_seen

    def blind(transaction: Any, new: Any, there: Any, conflicting: Any) -> Any:
        return with_seen(transaction, new, there, ())

    return mock.patch.object(merge, "_with_seen", blind)


def everything_is_seen() -> Any:
    """A later write is taken to have seen every earlier one."""
    return mock.patch.object(merge, "saw", lambda stamp, seen, other: stamp >= other)


def covered_before_settled() -> Any:
    """What a peer covers is taken over when its feed was read so far, whatever is in the inbox."""
    settled = Inbound.settled

    def early(self: Inbound, position: int) -> Any:
        read = self.cursor.seq if self.cursor else 0
        return settled(self, max(position, read))

    return mock.patch.object(Inbound, "settled", early)


def covered_when_said() -> Any:
    """What a peer covers is taken over when it says so, before what it had then has come."""
    settled = Inbound.settled

    def at_once(self: Inbound, position: int) -> Any:
        ready = settled(self, position) + self.coverage
        self.coverage = []
        return ready

    return mock.patch.object(Inbound, "settled", at_once)


def one_origin_covers_all() -> Any:
    """As far as one DC is covered, all that a peer tells of are taken to be."""

    def cover(self: Any, intervals: Sequence[Interval]) -> None:
        high = max((one.high for one in intervals), default="")
        self.knowledge.coverage.join(Interval(one.origin, one.low, high) for one in intervals)

    return mock.patch.object(dc.names.service.SqliteNames, "cover", cover)


def gap_closed_at_start() -> Any:
    """A DC that starts takes it that it has forgotten nothing."""
    begin = Knowledge.__init__

    def begins(self: Knowledge, *args: Any) -> None:
        begin(self, *args)
        self.close_gap()

    return mock.patch.object(Knowledge, "__init__", begins)


@contextmanager
def own_changes_not_given_back() -> Iterator[None]:
    """A peer is never told what it made itself, though it may have forgotten it."""
    begin = FeedStream.__init__

    def begins(self: FeedStream, *args: Any, **named: Any) -> None:
        begin(self, *args, **named | {"give_back_until": 0})

    with mock.patch.object(FeedStream, "__init__", begins), own_changes_given_back_once():
        yield


def own_changes_given_back_once() -> Any:
    """A peer is told what it made itself as far as it was here when the peer came, and no more."""

    def knows(self: Told, epoch: str, change: Change) -> bool:
        return is_from(change, self._dc_id)

    return mock.patch.object(Told, "knows", knows)


def epochs_ignored() -> Any:
    """A cursor is recognised by its position alone."""

    def recognises(self: Knowledge, epoch: str, position: int, end: int) -> bool:
        return position <= end

    return mock.patch.object(Knowledge, "recognises", recognises)


@contextmanager
def one_epoch_for_ever() -> Iterator[None]:
    """A DC that starts goes on in the epoch that its database says."""
    begin = upkeep.begin_epoch

    def goes_on(db: Any, epoch: str, first: int) -> None:
        if not upkeep.load_epochs(db):
            begin(db, epoch, first)

    with mock.patch.object(start.upkeep, "begin_epoch", goes_on):
        yield


def missed_deletions_forgotten() -> Any:
    """That tombstones were collected before a peer's cursor does not matter to anybody."""
    met = Inbound.met

    def careless(self: Inbound, *args: Any) -> None:
        met(self, *args)
        self.missed_deletions = False

    return mock.patch.object(Inbound, "met", careless)


def tree_delta_forgotten() -> Any:
    """An overwrite adds its hash to the tree, and leaves that of what it replaces."""
    delta = merge.delta

    def adds(bucket: int, key: str, old: str, new: str) -> Any:
        return delta(bucket, key, "" if new else old, new)

    return mock.patch.object(merge, "delta", adds)


def registers_not_joined() -> Any:
    """Of two states of one version's attributes the one that comes last stands."""
    return mock.patch.object(merge, "join_of_version", lambda here, new, _: new)


def attribute_lost_on_merge() -> Any:
    """An attribute that was set elsewhere is left out when its version is here already."""
    merge_record = merge._joined

    def keeps(transaction: Any, new: Any, old: Any) -> Any:
        late = {
            name: one
            for name, one in new.change.registers.items()
            if stamp_origin(one.stamp) == transaction.dc_id
        }
        change = msgspec.structs.replace(new.change, registers=late)
        return merge_record(transaction, new._replace(change=change), old)

    return mock.patch.object(merge, "_joined", keeps)


def change_of_the_wrong_origin() -> Any:
    """A version is taken to come from the DC that made it, whoever has set its attributes since."""
    knows = Told.knows

    def by_stamp(self: Told, epoch: str, change: Change) -> bool:
        if isinstance(change, Version) and stamp_origin(change.stamp) == self._dc_id:
            return True
        return knows(self, epoch, change)

    return mock.patch.object(Told, "knows", by_stamp)


def lost_commit_ignored() -> Any:
    """A commit that failed is taken to have had no effect."""

    def ignores(db: Any, position: str) -> bool:
        if db.in_transaction:
            db.execute("ROLLBACK")
        return False

    return mock.patch.object(writer, "_took_effect", ignores)


def used_tokens_forgotten() -> Any:
    """Which pairing tokens were used is known until the next start."""
    begin = upkeep.begin_epoch

    def forgets(db: Any, epoch: str, first: int) -> None:
        begin(db, epoch, first)
        db.execute("DELETE FROM used_tokens")

    return mock.patch.object(start.upkeep, "begin_epoch", forgets)


KNOWLEDGE = (
    tombstone_dropped_by_age,
    tombstone_collected_unacknowledged,
    stable_alone,
    concurrent_loser_forgotten,
    conflict_without_bytes,
    conflict_not_seen,
    everything_is_seen,
    covered_before_settled,
    covered_when_said,
    one_origin_covers_all,
    gap_closed_at_start,
    own_changes_not_given_back,
    own_changes_given_back_once,
    epochs_ignored,
    one_epoch_for_ever,
    missed_deletions_forgotten,
    tree_delta_forgotten,
    registers_not_joined,
    attribute_lost_on_merge,
    change_of_the_wrong_origin,
    lost_commit_ignored,
    used_tokens_forgotten,
)
