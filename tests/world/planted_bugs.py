"""Well-known mistakes, each as a patch of the product that a simulated world must notice.

They show that the checks see what they are for: a simulation that never fails may be blind.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import msgspec
from planted_access import ACCESS
from planted_compaction import COMPACTION
from planted_knowledge import KNOWLEDGE
from planted_notary import NOTARY
from planted_placement import PLACEMENT
from sim_disk import SimDisk

import dc.names.registers
import dc.names.service
from dc.names import feed, merge, uploads
from dc.names.api import NamesError
from dc.names.kinds import TABLES
from dc.names.model import Change, Inboxed, Tombstone, Version
from dc.names.rows import read_version
from dc.names.uploads import _known_part
from dc.stamps import HybridClock
from dc.worker import spawn
from replicator import outbound
from replicator.feed_stream import FeedStream
from replicator.inbox import Inbox
from replicator.intake import Intake, Prepared
from replicator.records import is_from

Plant = Callable[[], Any]


def tie_broken_by_arrival() -> Any:
    """Stamps are compared by their milliseconds only: within one, what comes last stands."""
    decide = merge._decide

    def arrival(new: Any, old: Any) -> Any:
        if new.stamp != old.stamp and new.stamp[:12] == old.stamp[:12]:
            return merge.Verdict.WINS, False
        return decide(new, old)

    return mock.patch.object(merge, "_decide", arrival)


def tombstone_ignored() -> Any:
    """An older version that comes after its deletion is let in."""
    decide = merge._decide

    def ignores(new: Any, old: Any) -> Any:
        if old.kind == merge.TOMBSTONE and isinstance(new, Version):
            return merge.Verdict.WINS, False
        return decide(new, old)

    return mock.patch.object(merge, "_decide", ignores)


@contextmanager
def cursor_before_effect() -> Iterator[None]:
    """The cursor is saved in a transaction of its own, before the changes."""
    commit = Intake.commit

    async def early(self: Intake, batch: Prepared) -> list[Inboxed]:
        await self._home.names.apply([], peer=self._peer.dc_id, cursor=batch.cursor)
        return await commit(self, batch)

    with mock.patch.object(Intake, "commit", early):
        yield


@contextmanager
def failure_stepped_over() -> Iterator[None]:
    """A change that cannot be applied is logged and forgotten."""
    with mock.patch.object(Intake, "_failed", lambda *_: None):
        prepare = Intake.prepare

        async def forgetful(self: Intake, epoch: str, batch: Any, *, seeding: bool) -> Prepared:
            prepared = await prepare(self, epoch, batch, seeding=seeding)
            return prepared._replace(inbox=[one for one in prepared.inbox if one is not None])

        with mock.patch.object(Intake, "prepare", forgetful):
            yield


@contextmanager
def inbox_gives_up() -> Iterator[None]:
    """A change that could not be finished at once is dropped when it fails again."""

    async def give_up(self: Inbox, entry: Any, error: BaseException) -> None:
        with suppress(NamesError):
            await self._home.names.apply([], peer=self._peer.dc_id, done=[entry.seq])

    with mock.patch.object(Inbox, "_put_back", give_up):
        yield


def clock_goes_back() -> Any:
    """Stamps are what the wall clock says, without max(previous + 1)."""

    def now(self: HybridClock) -> str:
        self._last = self._clock.wall_ms() << 16
        return f"{self._last:016x}{self._dc_id}"

    return mock.patch.object(HybridClock, "now", now)


def clock_forgets() -> Any:
    """The clock does not pass what it has seen from elsewhere."""
    return mock.patch.object(HybridClock, "observe", HybridClock.check)


def no_directory_sync() -> Any:
    """A new container's name is not made durable."""
    return mock.patch.object(SimDisk, "sync_dir", lambda self, path: None)


def no_file_sync() -> Any:
    """Bytes are acknowledged before they are durable."""
    return mock.patch("dc.objects.container.OpenContainer.sync", _sync_nothing)


def _sync_nothing(self: Any) -> None:
    self.durable_end = self.end


def relay_drops_deletes() -> Any:
    """Deletions made in a third DC are not passed on."""
    told = FeedStream._told_us

    def drops(self: FeedStream, change: Change) -> bool:
        third = isinstance(change, Tombstone) and not is_from(change, self._home.dc_id)
        return third or told(self, change)

    return mock.patch.object(FeedStream, "_told_us", drops)


def acknowledged_before_commit() -> Any:
    """A put is acknowledged when it is queued."""
    put = dc.names.service.SqliteNames.put

    async def hasty(self: Any, version: Any) -> None:
        spawn(_quietly(put(self, version)), "hasty put")

    return mock.patch.object(dc.names.service.SqliteNames, "put", hasty)


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(NamesError):
        await work


def upload_completed_with_old_parts() -> Any:
    """A part that is sent again does not replace the first."""
    return mock.patch("dc.names.uploads._known_part", _first_part)


def _first_part(*_: Any) -> Any:
    class Later:
        stamp = "~"

    part = _known_part(*_)
    return Later if part else None


def etag_of_the_last_part() -> Any:
    """A completed upload gets the ETag of its last part."""
    complete = dc.names.service.SqliteNames.complete_upload

    async def last(self: Any, upload_id: str, version: Version) -> None:
        parts = await self.parts(upload_id)
        await complete(self, upload_id, msgspec.structs.replace(version, etag=parts[-1].etag))

    return mock.patch.object(dc.names.service.SqliteNames, "complete_upload", last)


def etag_kept_on_overwrite() -> Any:
    """A completed upload that replaces an object leaves that one's ETag and parts."""
    complete = uploads.complete

    def keeps(transaction: Any, upload: str, bucket: str, new: merge.Record, *others: Any) -> None:
        change = new.change
        there = read_version(transaction.db, new.number, change.key, change.vid, bucket)
        if there is not None:
            assert isinstance(new.change, Version)
            meta = msgspec.structs.replace(new.change.meta, parts=there.meta.parts)
            change = msgspec.structs.replace(new.change, etag=there.etag, meta=meta)
            new = merge.record(new.number, change)
        complete(transaction, upload, bucket, new, *others)

    return mock.patch.object(uploads, "complete", keeps)


def upload_completed_twice() -> Any:
    """A completed upload stays, for a client that was not answered to complete it again."""
    complete = uploads.complete

    def stays(transaction: Any, upload: str, *args: Any) -> None:
        with mock.patch.object(uploads, "abort", uploads._require):
            transaction.db.execute("DELETE FROM completed WHERE upload = ?", (upload,))
            complete(transaction, upload, *args)

    return mock.patch.object(uploads, "complete", stays)


def upload_not_remembered() -> Any:
    """Of a completed upload nothing is left to answer who asks again."""
    return mock.patch.object(uploads, "COMPLETED_KEPT_MS", -1000)


def cursor_by_page() -> Any:
    """After a full page of the feed the reader goes on one position too far."""
    read = feed.read_feed

    def too_far(db: Any, after: int, limit: int) -> Any:
        entries, end, complete = read(db, after, limit)
        return entries, end if complete else end + 1, complete

    return mock.patch.object(dc.names.service.feed, "read_feed", too_far)


def empty_bucket_stays_dead() -> Any:
    """A deleted bucket does not come back for an object that was written later."""
    return mock.patch.object(dc.names.registers, "_holds_objects", lambda *_: False)


def feed_row_left() -> Any:
    """The feed keeps the row of an item's earlier change."""
    return mock.patch.object(merge, "_UNFEED", "DELETE FROM feed WHERE ?1 IS NULL")


@contextmanager
def inbox_apart_from_cursor() -> Iterator[None]:
    """What is unfinished is noted after the cursor has passed it."""

    async def commit(self: Intake, batch: Prepared) -> list[Inboxed]:
        names, peer = self._home.names, self._peer.dc_id
        await names.apply(batch.changes, peer=peer, cursor=batch.cursor)
        if batch.inbox:
            await names.apply([], peer=peer, inbox=batch.inbox)
        return batch.inbox

    with mock.patch.object(Intake, "commit", commit):
        yield


@contextmanager
def revival_not_told() -> Iterator[None]:
    """A bucket that comes back for a later object keeps its old position in the feed."""
    registers = dc.names.registers
    revive = registers.revive_buckets

    def position(transaction: Any, kind: int, item: str) -> int:
        query = f"SELECT seq FROM {TABLES[kind]} WHERE id = ?"
        return int(transaction.db.execute(query, (item,)).fetchone()[0])

    def quietly(transaction: Any, numbers: set[int]) -> None:
        with mock.patch.object(registers, "_feed", position):
            revive(transaction, numbers)

    with mock.patch.object(registers, "revive_buckets", quietly):
        yield


def late_acknowledgement_counts() -> Any:
    """Of two acknowledgements the one that comes last counts, whichever is of more."""
    return mock.patch.object(outbound, "max", lambda *positions: positions[-1], create=True)


PLANTED: dict[str, Plant] = {
    plant.__name__: plant
    for plant in (
        tie_broken_by_arrival,
        tombstone_ignored,
        cursor_before_effect,
        failure_stepped_over,
        inbox_gives_up,
        clock_goes_back,
        clock_forgets,
        no_directory_sync,
        no_file_sync,
        relay_drops_deletes,
        acknowledged_before_commit,
        upload_completed_with_old_parts,
        etag_of_the_last_part,
        etag_kept_on_overwrite,
        upload_completed_twice,
        upload_not_remembered,
        cursor_by_page,
        empty_bucket_stays_dead,
        feed_row_left,
        inbox_apart_from_cursor,
        revival_not_told,
        late_acknowledgement_counts,
        *ACCESS,
        *KNOWLEDGE,
        *PLACEMENT,
        *COMPACTION,
        *NOTARY,
    )
}
