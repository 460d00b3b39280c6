"""Mirrors: the logs of other DCs, copied from the paired ones and checked.

Every few seconds each peer is asked which logs it has, its own and those that it mirrors itself,
and for what is new in them. What comes is hashed again: entries are taken together with the
checkpoint that seals them, if they give its root and the log's DC has signed it, or not at all. So
nothing of a peer that lies is ever kept, and several may give the same log at once.

Which DC's a log is, is its origin: the id in it is the hash of the key that has to have signed it.
Of cosignatures those are kept that the key of a witness verifies which the log itself has named
(`notary/signers.py`).

A log is copied before it is cosigned (`fetch`): up to the checkpoint that it asks for, which it has
signed and not published yet. So what was cosigned can be put back, whenever the log loses it; until
it is published, nobody but the log itself is given it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from sqlite3 import Connection
from typing import Annotated

import msgspec
import structlog

from dc.channel import Channel
from dc.names.api import Names
from dc.names.model import Peer
from dc.ports import Clock
from notary import signers, tables, tree
from notary.ahead import ahead, set_ahead
from notary.ahead import last as last_signed
from notary.certificate import TIMESTAMP_BYTES_MAX, timestamp_text
from notary.errors import Forked, NotaryError, NoteInvalid
from notary.note import (
    KEY_BYTES,
    SIZE_MAX,
    Checkpoint,
    Key,
    is_signed,
    log_key,
    origin_of,
    read_checkpoint,
    verifies_text,
)
from notary.publishing import is_witness
from notary.store import Store
from notary.tables import Log, Timestamp
from notary.witness import FORK, Witness
from tokens.identity import dc_id_of

log = structlog.get_logger("notary")

LOGS_CALL = "notary-logs"
PULL_CALL = "notary-pull"
MIRROR_SECONDS = 5.0
ROWS_MAX = 200
ROWS_BYTES = 4 << 20
PULLS_MAX = 500
"""Of one log before the others of that peer are looked at."""
FETCH_SECONDS = 4.0
"""How long a log is copied that waits for a cosignature; less than it waits."""
TURN_SECONDS = 30.0
"""How long the logs of one peer are followed before it is asked again which it has."""
LOGS_MAX = 1000
KIND_CHARACTERS_MAX = 64

Count = Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)]
Signers = Annotated[list[bytes], msgspec.Meta(max_length=tables.SIGNERS_MAX)]
Entries = Annotated[list[bytes], msgspec.Meta(max_length=tables.SPAN_ENTRIES)]
Notes = Annotated[list[str], msgspec.Meta(max_length=2 * ROWS_MAX)]
Timestamps = Annotated[list[Timestamp], msgspec.Meta(max_length=ROWS_MAX)]
"""No more than `_page` gives. An answer with more is refused before it is read: one of 16 MiB can
have millions of them."""


class LogShown(msgspec.Struct, frozen=True, array_like=True):
    """A log that a DC has."""

    origin: str
    key: bytes
    sealed: Count
    serial: Count
    """Of its last row, in that DC."""
    note: str = ""
    """Its checkpoint of that size, for its own DC only."""


class Pull(msgspec.Struct, frozen=True, array_like=True):
    """What is asked for of a log: entries from `first` on, rows after `serial`. `upto`: of the own
    log of who answers also what is not published yet, this far."""

    origin: str
    first: Count
    serial: Count
    upto: Count = 0


class Pulled(msgspec.Struct, frozen=True, array_like=True):
    """The answer. The last of the entries is the last one under one of the checkpoints, or the one
    before `upto`. Rows
    (checkpoints and timestamps) have the serials of the DC that answers; `serial` is up to where
    all rows are in it."""

    entries: Entries
    checkpoints: Notes
    timestamps: Timestamps
    serial: Count
    signers: Signers = []


_encode = msgspec.msgpack.Encoder().encode
_decode_logs = msgspec.msgpack.Decoder(
    Annotated[list[LogShown], msgspec.Meta(max_length=LOGS_MAX)]
).decode
_decode_pull = msgspec.msgpack.Decoder(Pull).decode
_decode_pulled = msgspec.msgpack.Decoder(Pulled).decode


class MirrorServer:
    """Answers peers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._giving = asyncio.Lock()
        """One page after the other: gateways ask the same database, and wait for one at most."""

    async def logs(self, _body: bytes, peer: Peer) -> bytes:
        return _encode(await self._store.read(lambda db: _shown(db, origin_of(peer.dc_id))))

    async def pull(self, body: bytes, peer: Peer) -> bytes:
        try:
            asked = _decode_pull(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return _encode(Pulled([], [], [], 0))
        async with self._giving:
            is_by_log = asked.origin == origin_of(peer.dc_id)
            return _encode(await self._store.read(lambda db: _page(db, asked, is_by_log)))


def _shown(db: Connection, asking: str) -> list[LogShown]:
    """`asking`: the origin of who asks, who is shown all that is here of it."""
    found = []
    for one in tables.logs(db):
        last = last_signed(db, one) if one.origin == asking else None
        sealed = last.size if last is not None else one.sealed
        if sealed:
            serial = tables.last_serial(db, one.number)
            note = "" if last is None else str(last)
            found.append(LogShown(one.origin, one.key, sealed, serial, note))
    return found[:LOGS_MAX]


def _page(db: Connection, asked: Pull, is_by_log: bool) -> Pulled:
    """As many entries as go together, up to a checkpoint; and rows in the order of their serials,
    as far as the entries reach."""
    found = tables.log_of(db, asked.origin)
    if found is None:
        return Pulled([], [], [], asked.serial)
    # A log is given back all of it: it may have lost less than what it has not published.
    upto = found.size if is_by_log else min(asked.upto, found.size)
    if asked.first > max(found.sealed, upto):
        return Pulled([], [], [], asked.serial)
    entries: list[bytes] = []
    checkpoints: list[str] = []
    size, reached = 0, asked.first
    for end, note in _ends(db, found, asked, is_by_log):
        if end - asked.first > tables.SPAN_ENTRIES and entries:
            break
        more = tables.page(db, found.number, asked.first + len(entries), end)
        size += sum(map(len, more))
        if size > tables.SPAN_BYTES and entries:
            break
        entries += more
        if note:
            checkpoints.append(note)
            reached = end
    timestamps: list[Timestamp] = []
    serial, size = asked.serial, 0
    for number, row in tables.rows_after(db, found.number, asked.serial, ROWS_MAX):
        size += len(row.data) if isinstance(row, Timestamp) else len(row)
        if _size_of(row) > reached or (size > ROWS_BYTES and serial > asked.serial):
            break
        if isinstance(row, Timestamp):
            timestamps.append(row)
            # Its checkpoint goes with it: further signatures may have given that a later serial.
            row = str(tables.checkpoint_at(db, found.number, row.size))
        if row not in checkpoints:
            checkpoints.append(row)
        serial = number
    named = tables.signers(db, found.number)
    return Pulled(entries, checkpoints, timestamps, serial, named)


def _ends(db: Connection, log: Log, asked: Pull, is_by_log: bool) -> list[tuple[int, str]]:
    """Where entries that go together end, with the checkpoint there; "" where there is none yet."""
    some = tables.checkpoints_over(db, log.number, asked.first, ROWS_MAX)
    ends = [(one.size, str(one)) for one in some]
    if len(ends) == ROWS_MAX:
        return ends
    if is_by_log:
        last = ahead(db, log)
        if last is not None and last.size > asked.first:
            ends.append((last.size, str(last)))
    elif log.number == tables.OWN and log.sealed < asked.upto <= tables.span(db, log):
        ends.append((asked.upto, ""))
    return ends


def _size_of(row: str | Timestamp) -> int:
    return row.size if isinstance(row, Timestamp) else read_checkpoint(row).size


class Mirror:
    """`step` is to be called for each peer by itself, again and again. `own_shown` is told what
    each one that answers has of the own log (`OwnLog.shown`)."""

    def __init__(
        self,
        names: Names,
        store: Store,
        channel: Channel,
        witness: Witness,
        clock: Clock,
        own_shown: Callable[[str, Checkpoint | None], None],
    ) -> None:
        self._names = names
        self._store = store
        self._channel = channel
        self._witness = witness
        self._clock = clock
        self._own_shown = own_shown
        self._own = origin_of(names.dc_id)
        self._gave_back: set[str] | None = None
        """The peers that the own log was taken from; None when it has lacked nothing."""
        self._pulling: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)
        """Of a log, from a peer: what comes already is not asked for twice."""

    async def step(self, peer: Peer) -> float:
        """Bring the mirrors up to what a peer has; the seconds until it is to be asked again. Of
        several logs that fail the first one's error is raised when all were looked at."""
        if not is_witness(peer):
            return MIRROR_SECONDS
        shown = _decode_logs(await self._channel.call(peer.dc_id, LOGS_CALL, b""))
        # The own log goes on when it has all that it had: nothing comes before it.
        shown.sort(key=lambda one: one.origin != self._own)
        signed = [_signed(one) for one in shown if one.origin == self._own]
        self._own_shown(peer.dc_id, next(filter(None, signed), None))
        failure: NotaryError | None = None
        until = self._clock.monotonic() + TURN_SECONDS
        for one in shown:
            if await self._is_wanted(one, peer):
                try:
                    await self._follow(one, peer, until)
                except NotaryError as error:
                    failure = failure or error
                else:
                    self._followed(one, peer)
        if failure is not None:
            raise failure
        return max(MIRROR_SECONDS, float(peer.poll_seconds))

    async def _is_wanted(self, shown: LogShown, peer: Peer) -> bool:
        """Of the own log only what it has forgotten is taken, when its database was put back: its
        entries from whoever has them, and from all, once, what witnesses have signed of it."""
        if shown.origin != self._own:
            return self._is_known(shown, peer)
        own = await self._store.read(lambda db: tables.log_of(db, self._own))
        if own is None or own.key != shown.key:
            return False
        if shown.sealed > own.size:
            self._gave_back = self._gave_back or set()
            return True
        return self._gave_back is not None and peer.dc_id not in self._gave_back

    def _followed(self, shown: LogShown, peer: Peer) -> None:
        if shown.origin == self._own and self._gave_back is not None:
            self._gave_back.add(peer.dc_id)

    def _is_known(self, shown: LogShown, peer: Peer) -> bool:
        """Whether a log is that of a DC that is known here, and the key its own."""
        if not _has_its_key(shown):
            return False
        dc_id = dc_id_of(shown.key)
        for one in self._names.peers():
            if one.dc_id == dc_id:
                return one.signing_key == shown.key
        return dc_id != peer.dc_id and self._names.directory.site(dc_id) is not None

    async def fetch(self, peer: Peer, checkpoint: Checkpoint) -> None:
        """Copy a peer's own log up to a checkpoint that it has signed, and wants to have cosigned.
        ChannelFailed, NotaryError, TimeoutError when that is not to be had now."""
        if not is_witness(peer):
            raise NotaryError(f"nothing is copied from {peer.name}: it is paused, or by files")
        async with asyncio.timeout(FETCH_SECONDS), self._pulling[peer.dc_id, checkpoint.origin]:
            key = peer.signing_key
            own = await self._store.act(lambda db: tables.begin_log(db, checkpoint.origin, key))
            serial = await self._store.read(lambda db: tables.mirrored(db, own.number, peer.dc_id))
            while own.size < checkpoint.size:
                ask = Pull(own.origin, own.size, serial, checkpoint.size)
                now, serial = await self._pull(own, ask, peer, checkpoint)
                if now.size <= own.size:
                    raise NotaryError(f"{peer.name} gives no more than {now.size} entries")
                own = now

    async def _follow(self, shown: LogShown, peer: Peer, until: float) -> None:
        async with self._pulling[peer.dc_id, shown.origin]:
            own, serial = await self._store.act(partial(_begin, shown, peer))
            for _ in range(PULLS_MAX):
                is_whole = shown.serial <= serial and shown.sealed <= own.size
                if is_whole or self._clock.monotonic() >= until:
                    return
                ask = Pull(shown.origin, own.size, serial)
                now, reached = await self._pull(own, ask, peer)
                if now.size <= own.size and reached <= serial:
                    return
                own, serial = now, reached

    async def _pull(
        self, own: Log, ask: Pull, peer: Peer, last: Checkpoint | None = None
    ) -> tuple[Log, int]:
        """Take the next page. `last`: what entries that come to its size have to give."""
        answer = await self._channel.call(peer.dc_id, PULL_CALL, _encode(ask))
        try:
            pulled = _decode_pulled(answer)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise NotaryError(f"{peer.name} answers what is none: {error}") from None
        if last is not None and own.size + len(pulled.entries) != last.size:
            last = None
        try:
            now = await self._store.act(lambda db: self._take(own, pulled, peer, db, last))
        except Forked as error:
            await self._store.act(partial(self._forked, own, error, peer))
            raise
        return now, pulled.serial

    def _take(
        self,
        asked: Log,
        pulled: Pulled,
        peer: Peer,
        db: Connection,
        last: Checkpoint | None = None,
    ) -> Log:
        """Take what came, in one transaction, or nothing of it: Forked, NotaryError. `asked`: the
        log when it was asked for; another peer may have given the same meanwhile. `last`: the
        checkpoint of the last entry, signed and not published."""
        before = now = tables.the_log(db, asked.origin)
        if new := pulled.entries[now.size - asked.size :]:
            now = tables.append(db, now, new)
        key, named = log_key(now.key), _named(db, now, pulled.signers)
        witnesses = [signers.key_of(one) for one in named]
        for note in pulled.checkpoints:
            checkpoint = _kept(read_checkpoint(note), key, witnesses)
            self._check(db, now, before, checkpoint)
            now = tables.put_checkpoint(db, now, checkpoint)
            tables.put_signers(db, now.number, signers.of_checkpoint(checkpoint, named))
        if last is not None:
            self._check(db, now, before, last)
            set_ahead(db, last)
        elif now.size > max(now.sealed, before.size):
            raise NotaryError(f"{peer.name} gives entries of {now.origin} without a checkpoint")
        self._check_witnessed(db, now, before)
        is_better = not self._hears(now, peer)
        for one in pulled.timestamps:
            _take_timestamp(db, now, one, is_better=is_better)
        tables.set_mirrored(db, now.number, peer.dc_id, pulled.serial)
        return now

    def _check(self, db: Connection, now: Log, before: Log, checkpoint: Checkpoint) -> None:
        """Whether the entries give a checkpoint's root: Forked, NoteInvalid."""
        if checkpoint.size > now.size:
            raise NoteInvalid(f"a checkpoint of {now.origin} came before its entries")
        if tree.root(tables.tiles_of(db, now.number), checkpoint.size) == checkpoint.root:
            return
        known = last_signed(db, before)
        if known is not None and not 0 < checkpoint.size <= known.size:
            known = None
        raise Forked(now.origin, str(checkpoint), str(known or ""))

    def _check_witnessed(self, db: Connection, now: Log, before: Log) -> None:
        """Whether what was cosigned here is what is mirrored: Forked."""
        last = tables.witnessed(db, now.origin)
        if last is None or not before.size < last.size <= now.size:
            return
        if tree.root(tables.tiles_of(db, now.number), last.size) != last.root:
            raise Forked(now.origin, str(last_signed(db, now)), str(last))

    def _hears(self, now: Log, peer: Peer) -> bool:
        """Whether a log is heard of from its own DC, and this peer is another one."""
        dc_id = dc_id_of(now.key)
        known = any(one.dc_id == dc_id and is_witness(one) for one in self._names.peers())
        return known and peer.dc_id != dc_id

    def _forked(self, own: Log, error: Forked, peer: Peer, db: Connection) -> None:
        """An alarm, if the log's DC has signed what contradicts what it signed before, or has shown
        it itself: another one may have spoilt the entries."""
        shown = read_checkpoint(error.note)
        known: Checkpoint | None = None
        if error.known:
            known = read_checkpoint(error.known)
        elif origin_of(peer.dc_id) == own.origin:
            known = last_signed(db, tables.the_log(db, own.origin))
        if known is not None:
            self._witness.alarm(db, FORK, known, shown, log_key(own.key))


def _has_its_key(shown: LogShown) -> bool:
    return len(shown.key) == KEY_BYTES and log_key(shown.key).name == shown.origin


def _signed(shown: LogShown) -> Checkpoint | None:
    """The checkpoint that a log is shown with; None when it is not its own."""
    try:
        found = read_checkpoint(shown.note)
        is_own = found.origin == shown.origin and found.size == shown.sealed
        return found if is_own and is_signed(found, log_key(shown.key)) else None
    except NoteInvalid:
        return None


def _begin(shown: LogShown, peer: Peer, db: Connection) -> tuple[Log, int]:
    """The mirror, and up to which serial the peer's rows of it were taken. One that is larger than
    the peer's last is of another database than it has now."""
    own = tables.begin_log(db, shown.origin, shown.key)
    serial = tables.mirrored(db, own.number, peer.dc_id)
    return own, serial if serial <= shown.serial else 0


def _named(db: Connection, own: Log, given: list[bytes]) -> list[bytes]:
    """The signers of a log, with those that a peer gives, each once."""
    found = {signers.public_of(one): one for one in tables.signers(db, own.number)}
    for one in given:
        if signers.public_of(one) not in found and signers.is_signer(own.key, one):
            found[signers.public_of(one)] = one
    return list(found.values())[: tables.SIGNERS_MAX]


def _kept(checkpoint: Checkpoint, key: Key, witnesses: list[Key]) -> Checkpoint:
    """A checkpoint with the signatures that hold, of the log and of witnesses. NoteInvalid when it
    is not signed by the log. Of each key the first one is verified: who gives more of them lies,
    and that takes time while nothing else is written."""
    bare = checkpoint._replace(signatures=checkpoint.by(key)[:1])
    if checkpoint.origin != key.name or not is_signed(bare, key):
        raise NoteInvalid(f"a checkpoint of {key.name} is not signed by it")
    left = {(one.name, one.id): one for one in witnesses}
    good = []
    for one in checkpoint.signatures:
        by = left.pop((one.name, one.id), None)
        if by is not None and _holds(checkpoint._replace(signatures=(one,)), by):
            good.append(one)
    return bare.with_signatures(good)


def _holds(checkpoint: Checkpoint, key: Key) -> bool:
    try:
        return is_signed(checkpoint, key)
    except NoteInvalid:
        return False


def _take_timestamp(db: Connection, own: Log, one: Timestamp, *, is_better: bool) -> None:
    if not 0 < len(one.kind) <= KIND_CHARACTERS_MAX or len(one.data) > TIMESTAMP_BYTES_MAX:
        return
    if not 0 < one.size <= own.size:
        return
    checkpoint = tables.checkpoint_at(db, own.number, one.size)
    if checkpoint is None:
        return
    text = timestamp_text(own.origin, one.size, checkpoint.root, one.kind, one.data)
    if verifies_text(own.key, text, one.signature):
        tables.put_timestamp(db, own.number, one, is_better=is_better)
