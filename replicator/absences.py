"""What peers lacked of this DC's writes when they lost it (`docs/failover.md`).

Before anything can supersede what they lack, it is noted: when this DC starts, before clients are
served, and whenever a stream opens, in either direction, for each peer that does not have our feed
open. What is overwritten before it is noted, here, by a later write that is noted itself, is not in
the list; where that may be so the list says so (`replaced`). That peer's
cursor, which it brings when it opens the feed, and its first acknowledgement then say what it
really lacked: positions after the cursor, and those before it whose bodies it did not have yet.

A peer that draws the feed now and then is away when it has not come again for twice that time.
Nothing is noted of a peer that never acknowledged anything, and of one whose changes go in files.
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import structlog

from dc.names.api import Names, NamesError
from dc.names.kinds import TOMBSTONE
from dc.names.model import Kind
from dc.names.unshipped import Absence, Write
from dc.ports import Clock
from dc.stamps import Stamp, stamp_ms, stamp_origin
from dc.worker import spawn
from replicator import messages
from replicator.outbound import Outbound

log = structlog.get_logger("failover")
SHIPPED = "shipped"
TO_GO = "to go"
CONFLICT = "conflict"
SUPERSEDED = "superseded"
DELETED = "deleted"
PAGE = 500


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A time in which a peer lacked something."""

    id: int
    peer: str
    name: str
    since_ms: int
    back_ms: int
    cursor: int | None
    exact: bool
    at_least: bool
    replaced: bool
    """Some that it lacked may have been replaced here before they were noted."""
    writes: int
    bytes: int


class LostWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A write that was acknowledged here, and that some peer lacked."""

    bucket: str
    key: str
    version: str
    """"" of a bucket without versions."""
    what: str
    """object, delete marker, or deletion"""
    size: int
    time_ms: int
    stamp: str
    lacked_by: list[str]
    """Names of peers."""
    had_by: list[str]
    """Those that had it; empty: nobody had."""
    state: str
    """One of the words above."""
    by: str
    """The DC whose later write stands, when it is superseded or deleted."""


class LossReport(msgspec.Struct, frozen=True, kw_only=True):
    """A page of it."""

    absences: list[Lost]
    writes: list[LostWrite]
    next: str
    """What to go on after; "" at the end."""


class _Peer:
    def __init__(self) -> None:
        self.is_away = True
        self.looked = False
        self.noted = self.gap = 0
        self.absence: Absence | None = None
        self.came_with: int | None = None


class Absences:
    """Of one DC."""

    def __init__(self, names: Names, clock: Clock, outbound: Callable[[str], Outbound]) -> None:
        self._names = names
        self._clock = clock
        self._outbound = outbound
        self._peers: dict[str, _Peer] = {}
        self._noting = asyncio.Lock()

    def _of(self, dc_id: str) -> _Peer:
        return self._peers.setdefault(dc_id, _Peer())

    # -- noting -----------------------------------------------------------------------------------

    async def meet(self) -> None:
        """A stream is about to open: note what peers lack that are away. A caller that is cancelled
        does not stop this in the middle, where an absence is recorded that nobody knows of."""
        await asyncio.shield(spawn(self._meet(), "noting what peers lack"))

    async def _meet(self) -> None:
        async with self._noting:
            for peer in self._names.peers():
                try:
                    if not peer.by_files:
                        await self._note(peer.dc_id)
                except NamesError as error:
                    # Changes must travel all the same: the list will be short of some.
                    log.warning("not noted what a peer lacks", peer=peer.name, error=str(error))

    async def _note(self, dc_id: str) -> None:
        progress = self._names.knowledge.progress(dc_id)
        if progress is None or self._outbound(dc_id).in_touch(self._clock):
            return
        known = self._of(dc_id)
        if not known.is_away:
            # It drew our feed now and then, and has not come again.
            known = self._peers[dc_id] = _Peer()
        if not known.looked:
            # It may have been away when this DC was stopped.
            kept = await self._names.unshipped.absences()
            there = (one for one, _, _ in kept if one.peer == dc_id and not one.back_ms)
            known.absence, known.looked = next(there, None), True
            known.noted = known.absence.end if known.absence else 0
        end = self._names.feed_end
        absence = known.absence or Absence(
            peer=dc_id, since_ms=progress.heard_ms, acked=progress.acked, gap=known.gap
        )
        after = max(known.noted, progress.acked)
        if after < end:
            absence = await self._names.unshipped.note(absence, after, end)
        known.noted = end
        known.gap = absence.gap
        known.absence = absence if absence.id else None

    async def opened(self, dc_id: str, after: int, recognised: bool) -> None:
        """A peer has our feed open, from its cursor on."""
        known = self._of(dc_id)
        if not known.is_away:
            return
        known.is_away = False
        known.came_with = after if recognised else None
        if known.absence is not None:
            now = self._clock.wall_ms()
            known.absence = msgspec.structs.replace(known.absence, back_ms=now)
            try:
                await self._names.unshipped.back(known.absence)
            except NamesError as error:
                # The feed must go on; the first acknowledgement has this recorded, too.
                log.warning("not noted that a peer is back", peer=dc_id, error=str(error))

    async def acknowledged(self, dc_id: str, ack: messages.Ack) -> None:
        """The first one since a peer came back says what it had not finished."""
        known = self._of(dc_id)
        absence, cursor = known.absence, known.came_with
        if known.is_away or absence is None:
            return
        known.absence = None
        if cursor is not None:
            taken = max(ack.taken, ack.position)
            try:
                await self._names.unshipped.settle(absence, cursor, ack.unfinished, taken)
            except NamesError as error:
                # The acknowledgement counts all the same: the list stays the most there can be.
                log.warning("not noted what a peer lacked", peer=dc_id, error=str(error))

    def ended(self, dc_id: str) -> None:
        """A peer has our feed open no more."""
        self._peers.pop(dc_id, None)

    # -- telling ----------------------------------------------------------------------------------

    async def report(self, peer: str, since_ms: int, after: Stamp) -> LossReport:
        """A page of the writes that were made at `since_ms` or later and that a peer lacked: one,
        by its id, or any."""
        names = {one.dc_id: one.name for one in self._names.peers()}
        known = await self._names.unshipped.absences()
        by_id = {absence.id: absence for absence, _, _ in known}
        kept = [one for one in known if peer in ("", one[0].peer)]
        first = max(after, f"{since_ms << 16:016x}")
        asked = [absence.id for absence, _, _ in kept]
        writes, then = await self._names.unshipped.writes(asked, first, PAGE)
        groups: dict[Stamp, list[Write]] = {}
        for write in writes:
            groups.setdefault(write.stamp, []).append(write)
        return LossReport(
            absences=[
                Lost(
                    id=one.id,
                    peer=one.peer,
                    name=names.get(one.peer, one.peer),
                    since_ms=one.since_ms,
                    back_ms=one.back_ms,
                    cursor=one.cursor,
                    exact=one.exact,
                    at_least=one.at_least,
                    replaced=one.replaced,
                    writes=count,
                    bytes=size,
                )
                for one, count, size in kept
            ],
            writes=[
                self._told(group, [by_id[one.absence].peer for one in group], names)
                for group in groups.values()
            ],
            next=then,
        )

    def _told(
        self, group: Sequence[Write], lacking: Sequence[str], names: dict[str, str]
    ) -> LostWrite:
        write = group[0]
        state, by = self._now(write, lacking)
        what = {Kind.OBJECT: "object", Kind.DELETE_MARKER: "delete marker"}
        site = self._names.directory.site(by) if by else None
        return LostWrite(
            bucket=write.bucket,
            key=write.key,
            version=write.vid,
            what="deletion" if write.kind == TOMBSTONE else what[Kind(write.kind)],
            size=write.size,
            time_ms=stamp_ms(write.stamp),
            stamp=write.stamp,
            lacked_by=sorted({names.get(one, one) for one in lacking}),
            had_by=sorted(
                name
                for dc_id, name in names.items()
                if dc_id not in lacking and self._has_feed(dc_id)
            ),
            state=state,
            by=site.name if site else by,
        )

    def _has_feed(self, dc_id: str) -> bool:
        return self._names.knowledge.progress(dc_id) is not None

    def _now(self, write: Write, lacking: Sequence[str]) -> tuple[str, str]:
        """What has become of a write, and by whom."""
        if write.gone == 0:
            return CONFLICT, ""
        for stamp, seq in (
            (write.version, write.version_seq),
            (write.tombstone, write.tombstone_seq),
        ):
            if stamp == write.stamp and seq is not None:
                there = all(self._outbound(peer).has(seq) for peer in lacking)
                return SHIPPED if there else TO_GO, ""
        if write.kind == TOMBSTONE and write.version is None and write.tombstone is None:
            # It was collected, which needs that everybody has it.
            return SHIPPED, ""
        if write.version is not None:
            return SUPERSEDED, stamp_origin(write.version)
        return DELETED, stamp_origin(write.tombstone) if write.tombstone else ""
