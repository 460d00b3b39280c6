"""The witness of other DCs' logs: cosigns a checkpoint that continues the last one it has cosigned.

Source: C2SP tlog-witness (`add-checkpoint`). Whether a checkpoint continues the last one, and that
it is the last one now, is one transaction, durable before the cosignature is given out.

Nothing is cosigned whose entries are not here (`fetch`): a log that loses its database before its
peers have copied it would go on from less than it has signed, and contradict itself for good.

What a log signed that does not continue what it signed before is refused and noted, with both
checkpoints, as an alarm. What is mirrored here counts like what was cosigned: what is larger than
both has to continue the larger of them. Anybody may show a checkpoint that a log signed once; so an
old one is an alarm only when the log itself shows it (`by_log`): it has forgotten what came after.
"""

from collections.abc import Awaitable, Callable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

import structlog

from dc.channel import ChannelFailed
from dc.names.model import Peer
from dc.ports import Clock
from notary import tables, tree
from notary.ahead import last as last_signed
from notary.errors import NotaryError, NoteInvalid
from notary.note import (
    Checkpoint,
    Key,
    cosign,
    hash_lines,
    is_signed,
    log_key,
    read_checkpoint,
    read_hashes,
    read_number,
)
from notary.store import Store
from tokens.identity import Identity

log = structlog.get_logger("notary")

NOT_YET = 503
"""The status of an answer to what may be asked again soon: its entries are not here."""
REQUEST_BYTES_MAX = 64 << 10
SIZE_TYPE = "text/x.tlog.size"
TEXT_TYPE = "text/plain; charset=utf-8"
FORK, ROLLBACK = "fork", "rollback"
LATE_SECONDS = 10.0
"""A request may be overtaken by the next one on its way: an older checkpoint is no rollback for so
long after the later one."""


Fetch = Callable[[Peer, Checkpoint], Awaitable[None]]
"""Copies a peer's log up to a checkpoint of it (`Mirror.fetch`)."""


class Reply(NamedTuple):
    """An answer as HTTP has it."""

    status: int
    body: str
    content_type: str = TEXT_TYPE


class Asked(NamedTuple):
    """A request to cosign."""

    old: int
    proof: list[bytes]
    checkpoint: Checkpoint


def request_of(old: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> str:
    """The body of an `add-checkpoint`."""
    return f"old {old}\n" + hash_lines(proof) + "\n" + str(checkpoint)


def read_request(text: str) -> Asked:
    """NoteInvalid."""
    head, _, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    old = read_number(first.removeprefix("old ")) if first.startswith("old ") else None
    if old is None:
        raise NoteInvalid("the request does not begin with the old size")
    if len(lines) > tree.PROOF_HASHES_MAX:
        raise NoteInvalid("the proof has too many lines")
    return Asked(old, read_hashes(lines), read_checkpoint(note))


async def _nowhere(_peer: Peer, _checkpoint: Checkpoint) -> None:
    raise NotaryError("logs are not copied here")


class Witness:
    """Of this DC."""

    def __init__(self, store: Store, identity: Identity, clock: Clock) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self.fetch: Fetch = _nowhere
        """To be set before the first request."""
        self._cosigned_at: dict[str, float] = {}

    async def add_checkpoint(self, body: bytes, peers: Sequence[Peer], *, by_log: bool) -> Reply:
        """Answer a request. `peers`: whose logs are cosigned. `by_log`: it comes from the DC whose
        log it is, and of no other."""
        keys = {(key := log_key(peer.signing_key)).name: (key, peer) for peer in peers}
        try:
            asked = read_request(body.decode())
        except (NoteInvalid, UnicodeDecodeError) as error:
            return Reply(400, f"{error}\n")
        checkpoint = asked.checkpoint
        if checkpoint.origin not in keys:
            return Reply(404, "this log is not known here\n")
        key, peer = keys[checkpoint.origin]
        try:
            if not is_signed(checkpoint, key):
                return Reply(403, "the checkpoint is not signed by the log\n")
        except NoteInvalid as error:
            return Reply(403, f"{error}\n")
        if asked.old > checkpoint.size:
            return Reply(400, "the old size is larger than the checkpoint's\n")
        lacking = ""
        try:
            if not await self._store.read(lambda db: _is_here(db, checkpoint)):
                await self.fetch(peer, checkpoint)
        except TimeoutError:
            lacking = "they did not come in time"
        except (ChannelFailed, NotaryError) as error:
            lacking = str(error)
        return await self._store.act(lambda db: self._decide(db, asked, key, by_log, lacking))

    def _decide(self, db: Connection, asked: Asked, key: Key, by_log: bool, lacking: str) -> Reply:
        """`lacking`: why entries under the checkpoint are not here."""
        checkpoint = asked.checkpoint
        cosigned = tables.witnessed(db, checkpoint.origin)
        last = _continued(db, checkpoint, cosigned)
        size = last.size if last is not None else 0
        known = _contradicted(db, checkpoint, cosigned)
        if known is not None:
            self.alarm(db, FORK, known, checkpoint, key)
        elif by_log and last is not None and checkpoint.size < size and not self._is_late(last):
            self.alarm(db, ROLLBACK, last, checkpoint, key)
        if asked.old != size:
            return Reply(409, f"{size}\n", SIZE_TYPE)
        if known is not None:
            status = 409 if known.size == asked.old == checkpoint.size else 422
            return Reply(status, "the log had another root at this size\n")
        root = last.root if last is not None else tree.EMPTY_ROOT
        proven = tree.verify_consistency(size, checkpoint.size, root, checkpoint.root, asked.proof)
        if not proven:
            if by_log and last is not None:
                self.alarm(db, FORK, last, checkpoint, key)
            return Reply(422, "the checkpoint is not shown to continue the last one\n")
        if not _is_here(db, checkpoint) or not _is_root(db, checkpoint):
            return Reply(NOT_YET, f"its entries were not copied yet: {lacking}\n")
        line = cosign(self._identity, checkpoint, self._clock.wall_ms() // 1000)
        by_key = checkpoint.by(key)
        tables.set_witnessed(db, checkpoint._replace(signatures=by_key).with_signatures([line]))
        self._cosigned_at[checkpoint.origin] = self._clock.monotonic()
        return Reply(200, str(line))

    def _is_late(self, last: Checkpoint) -> bool:
        """Whether what is older may have been overtaken."""
        at = self._cosigned_at.get(last.origin)
        return at is not None and self._clock.monotonic() < at + LATE_SECONDS

    def alarm(
        self, db: Connection, reason: str, known: Checkpoint, shown: Checkpoint, key: Key
    ) -> None:
        """Note what a log, with that key, has signed against what it signed before."""
        if reason == ROLLBACK:
            text = f"the log has forgotten entries: it had {known.size}, and shows {shown.size}"
        else:
            text = f"the log was rewritten: its {shown.size} entries are not those of before"
        now_ms = self._clock.wall_ms()
        notes = (_bare(known, key), _bare(shown, key))
        if tables.alarm(db, now_ms, shown.origin, reason, text, *notes):
            log.error("a log contradicts itself", log=shown.origin, reason=reason, text=text)


def _is_here(db: Connection, checkpoint: Checkpoint) -> bool:
    """Whether the log is mirrored as far as that."""
    mirror = tables.log_of(db, checkpoint.origin)
    return mirror is not None and mirror.size >= checkpoint.size


def _is_root(db: Connection, checkpoint: Checkpoint) -> bool:
    """Whether the entries that are here give its root."""
    mirror = tables.the_log(db, checkpoint.origin)
    return tree.root(tables.tiles_of(db, mirror.number), checkpoint.size) == checkpoint.root


def _bare(checkpoint: Checkpoint, key: Key) -> str:
    """With the signature of its log alone: others can be had by anybody in any number."""
    signed = checkpoint.by(key)
    return str(checkpoint._replace(signatures=signed[:1]))


def _continued(
    db: Connection, checkpoint: Checkpoint, last: Checkpoint | None
) -> Checkpoint | None:
    """What a checkpoint has to be shown to continue: the last one that was cosigned, or the last
    one of the mirror if that is between the two."""
    mirror = tables.log_of(db, checkpoint.origin)
    size = last.size if last is not None else 0
    if mirror is None or not size < mirror.sealed < checkpoint.size:
        return last
    return tables.checkpoint_at(db, mirror.number, mirror.sealed)


def _contradicted(
    db: Connection, checkpoint: Checkpoint, last: Checkpoint | None
) -> Checkpoint | None:
    """What a log has signed that is known here and that a checkpoint contradicts, as far as that is
    seen without a proof."""
    if last is not None and checkpoint.size == last.size and checkpoint.root != last.root:
        return last
    mirror = tables.log_of(db, checkpoint.origin)
    signed = last_signed(db, mirror) if mirror is not None else None
    if signed is None or not 0 < checkpoint.size <= signed.size or _is_root(db, checkpoint):
        return None
    return signed
