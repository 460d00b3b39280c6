"""Taking in a batch of a peer's feed, whichever way it came: by the stream or in a file.

A batch is *prepared*: the clock moves past its stamps, the small bodies that came along are checked
and stored, all at once, and its records are sorted into changes and inbox entries. Then it is
*committed*: one transaction applies the changes and moves the cursor past them, with the entries of
what cannot be applied at once (its body is large or did not come along, its stamp is too far
ahead, its body is not what it should be). So nothing takes effect without its bytes, nothing is
stepped over, and nothing waits behind what fails.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from dc.names.api import NamesError, NamesFull, NoSuchPeer
from dc.names.model import Change, Cursor, Extent, Inboxed, Known, Peer
from dc.stamps import StampAhead, stamp_origin
from replicator import wire
from replicator.errors import ReplicatorError, printable
from replicator.home import Home
from replicator.limits import ERROR_CHARACTERS_MAX, RELAY_DELAY_MS, RETRY_FIRST_SECONDS
from replicator.placing import Placing
from replicator.records import (
    body_asked,
    check_body,
    ident_of,
    incoming,
    incoming_absent,
    incoming_version,
    incoming_write,
    stamps,
)
from replicator.status import Inbound
from replicator.told import Told
from tokens.errors import SecretError


class Prepared(NamedTuple):
    """A batch whose bodies are stored: what its transaction will hold."""

    cursor: Cursor
    records: list[wire.Record]
    changes: list[Change]
    """Of `records`, one by one."""
    inbox: list[Inboxed]


class Intake:
    """Of one peer's feed. `told` is noted what the peer has told of."""

    def __init__(self, home: Home, peer: Peer, inbound: Inbound, told: Told) -> None:
        self._home = home
        self._peer = peer
        self._inbound = inbound
        self._told = told
        self._placing = Placing(home)

    def begin(self) -> None:
        """Another stream or file begins: the rules that the last one told of are applied."""
        self._placing = Placing(self._home)

    async def prepare(self, epoch: str, batch: wire.Batch, *, seeding: bool) -> Prepared:
        """Store the batch's small bodies, and sort its records into changes and inbox entries.
        `seeding`: many of them may be here already."""
        held, past = await self._known(batch, seeding)
        whole: list[wire.Record] = []
        changes: list[Change] = []
        inbox: list[Inboxed] = []
        with_body: list[tuple[wire.Record, bytes]] = []
        for record in batch.records:
            self._told.note(epoch, record)
            self._placing.hear(record)
            if record.seq in past:
                continue
            try:
                for stamp in stamps(record):
                    self._home.names.clock.observe(stamp)
                wanted = body_asked(record)
                if wanted is None or record.seq in held:
                    changes.append(incoming(record, self._home.sealer))
                    whole.append(record)
                elif not self._placing.is_here(wanted):
                    changes.append(incoming_absent(record, wanted.size))
                    whole.append(record)
                elif wanted.body:
                    check_body(wanted, wanted.body)
                    with_body.append((record, wanted.body))
                else:
                    inbox.append(self._waiting(record, wanted))
            except (StampAhead, ReplicatorError, SecretError) as error:
                inbox.append(self._failed(record, error))
        changes += await self._store_bodies(with_body)
        whole += [record for record, _ in with_body]
        self._inbound.took(len(batch.records), sum(len(body) for _, body in with_body))
        return Prepared(Cursor(epoch, batch.last), whole, changes, inbox)

    async def _store_bodies(self, bodies: list[tuple[wire.Record, bytes]]) -> list[Change]:
        """Store all bodies at once: they share appends and syncs."""
        home = self._home
        wanted = [(body_asked(record), body) for record, body in bodies]
        stored: list[list[Extent]] = await asyncio.gather(
            *(
                home.objects.put(
                    ident_of(incoming_version(one, [])), body, tier=home.tier(one.bucket)
                )
                for one, body in wanted
                if one
            )
        )
        return [
            incoming_write(record, extents)
            for (record, _), extents in zip(bodies, stored, strict=True)
            if isinstance(record, wire.VersionRecord | wire.ConflictRecord)
        ]

    async def _known(self, batch: wire.Batch, seeding: bool) -> tuple[set[int], set[int]]:
        """The positions of writes whose bytes are here already, and of those that are no news.

        Asked for every version whose body would have to be fetched. Bodies that came along are
        cheap to store again; only of what was there before the stream began may many be known."""
        asked = [
            record
            for record in batch.records
            if isinstance(record, wire.VersionRecord | wire.ConflictRecord)
            and (wanted := body_asked(record)) is not None
            and (seeding or not wanted.body)
        ]
        if not asked:
            return set(), set()
        known = await self._home.names.known([incoming_write(record, []) for record in asked])
        states = [(record.seq, state) for record, state in zip(asked, known, strict=True)]
        return (
            {seq for seq, state in states if state == Known.HELD},
            {seq for seq, state in states if state == Known.PAST},
        )

    def _waiting(self, record: wire.Record, wanted: wire.VersionRecord) -> Inboxed:
        """A change whose body is to be fetched; a relayed one usually comes straight, too."""
        now = self._home.clock.wall_ms()
        straight = stamp_origin(wanted.stamp) == self._peer.dc_id
        return Inboxed(
            peer=self._peer.dc_id,
            seq=record.seq,
            change=wire.encode_record(record),
            next_try_ms=now if straight else now + RELAY_DELAY_MS,
        )

    def _failed(self, record: wire.Record, error: Exception) -> Inboxed:
        record = wire.without_body(record)
        return Inboxed(
            peer=self._peer.dc_id,
            seq=record.seq,
            change=wire.encode_record(record),
            attempts=1,
            next_try_ms=self._home.clock.wall_ms() + int(RETRY_FIRST_SECONDS * 1000),
            error=f"{type(error).__name__}: {printable(error)}"[:ERROR_CHARACTERS_MAX],
        )

    async def commit(
        self, batch: Prepared, *, moves: bool = True, done: Sequence[int] = ()
    ) -> list[Inboxed]:
        """Apply a batch; what of it went to the inbox. Not `moves`: the cursor stays. `done`: what
        leaves the inbox with it."""
        peer, apply = self._peer.dc_id, self._home.names.apply
        cursor = msgspec.structs.replace(batch.cursor, missed=self._inbound.missed_deletions)
        to = cursor if moves else None
        try:
            await apply(batch.changes, peer=peer, cursor=to, inbox=batch.inbox, done=done)
            return batch.inbox
        except (NamesFull, NoSuchPeer):
            raise
        except NamesError:
            inbox = batch.inbox + await self._one_by_one(batch)
            await apply([], peer=peer, cursor=to, inbox=inbox, done=done)
            return inbox

    async def _one_by_one(self, batch: Prepared) -> list[Inboxed]:
        """Apply what can be applied of a batch that failed as a whole, so that one bad change
        does not hold up the others; the bad ones go to the inbox. When it was not a change's
        fault, the commit after this fails as well, and nothing has moved."""
        failed = []
        for record, change in zip(batch.records, batch.changes, strict=True):
            try:
                await self._home.names.apply([change])
            except NamesError as error:
                failed.append(self._failed(record, error))
        return failed
