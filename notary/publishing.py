"""Checkpoints: signed by the log, cosigned by the paired DCs that answer, and published.

Entries are durable before their root is signed, so the log never signs less than before. Who does
not answer in time is waited for no longer, and is asked again after some time only; while the last
checkpoint lacks some signature, the others are asked for it meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from sqlite3 import Connection

import msgspec
import structlog

from dc.channel import Channel, ChannelFailed
from dc.names.model import Peer
from dc.ports import Clock
from dc.stamps import utc_text
from dc.worker import first_of
from notary import tables, tree
from notary.errors import NoteInvalid
from notary.note import (
    Checkpoint,
    Signature,
    is_signed,
    log_key,
    read_number,
    read_signatures,
    sign,
    time_of,
    witness_key,
)
from notary.signers import signer
from notary.store import Store
from notary.tables import Log
from notary.witness import NOT_YET, Reply, request_of
from tokens.identity import Identity

log = structlog.get_logger("notary")

WITNESS_CALL = "notary-witness"
GATHER_SECONDS = 0.2
"""After a new entry, for those that come with it."""
INTERVAL_SECONDS = 5.0
"""Between checkpoints while entries keep coming: some 17,000 of 600 bytes in a day."""
WITNESS_SECONDS = 5.0
"""It copies the entries before it cosigns."""
AGAIN_SECONDS = 30.0
"""How often those are asked again whose signature the last checkpoint lacks, and, while there are
new checkpoints, those that did not answer."""
REFUSAL_CHARACTERS_MAX = 500
APART_SECONDS_MAX = 24 * 3600
"""Between the time of a cosignature and the clock here. Of two of one witness mirrors keep the
later one, so a time that is to come would stay."""
TRIES = 3
"""Of one witness for one checkpoint: it may know another size than is thought."""


def is_witness(peer: Peer) -> bool:
    """Whether a peer can be asked: not when it is paused, or reached by files only."""
    return not peer.by_files and not peer.terms.paused_ms


class Publisher:
    """`step` is the work of a `dc.worker.Worker`. `appended`: set when there are new entries."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        channel: Channel,
        peers: Callable[[], Sequence[Peer]],
        clock: Clock,
        appended: asyncio.Event,
    ) -> None:
        self._store = store
        self._identity = identity
        self._channel = channel
        self._peers = peers
        self._clock = clock
        self._appended = appended
        self._key = log_key(identity.public.signing_key)
        self._published_at = -INTERVAL_SECONDS
        self._silent_at: dict[str, float] = {}
        """When a witness did not answer in time last."""
        self._known: dict[str, int] = {}
        """The size that each witness has cosigned last, as far as is known."""
        self._copying: set[str] = set()
        """Those that copy what they are to cosign."""
        self.refusals: dict[str, str] = {}
        """Why a witness has not cosigned last, by its DC's id."""
        self.published = asyncio.Event()
        """Set when a checkpoint was published; whoever waits clears it."""

    async def step(self) -> float:
        """Publish when there is something new, or a signature to be had."""
        self._appended.clear()
        own, next_size = await self._store.read(self._next)
        if own.size > own.sealed:
            if next_size == own.size:
                left = self._published_at + INTERVAL_SECONDS - self._clock.monotonic()
                await self._clock.sleep(max(GATHER_SECONDS, left))
            checkpoint = await self._store.read(self._sign)
            witnesses = self._witnesses()
            signatures = await self._cosigned(checkpoint, witnesses)
            await self._publish(checkpoint, signatures, witnesses)
            self._published_at = self._clock.monotonic()
            return 0
        last = await self._store.read(self._last)
        if last is not None:
            lacking = [one for one in self._witnesses() if not has_signed(last, one)]
            signatures = await self._cosigned(last, lacking) if lacking else []
            if signatures:
                await self._publish(last, signatures, lacking)
        again = INTERVAL_SECONDS if self._copying else AGAIN_SECONDS
        await first_of(self._appended.wait(), self._clock.sleep(again))
        return 0

    def _proof(self, old: int, new: int, db: Connection) -> list[bytes]:
        return tree.consistency_proof(tables.tiles_of(db, self._own(db).number), old, new)

    def _own(self, db: Connection) -> Log:
        return tables.the_log(db, self._key.name)

    def _next(self, db: Connection) -> tuple[Log, int]:
        own = self._own(db)
        return own, tables.span(db, own)

    def _sign(self, db: Connection) -> Checkpoint:
        own, size = self._next(db)
        return sign(self._identity, size, tree.root(tables.tiles_of(db, own.number), size))

    def _last(self, db: Connection) -> Checkpoint | None:
        own = self._own(db)
        return tables.checkpoint_at(db, own.number, own.sealed)

    def _witnesses(self) -> list[Peer]:
        """Those that are to be asked now."""
        now = self._clock.monotonic()
        return [
            peer
            for peer in self._peers()[: tables.SIGNERS_MAX]
            if is_witness(peer)
            and now >= self._silent_at.get(peer.dc_id, -AGAIN_SECONDS) + AGAIN_SECONDS
        ]

    async def _publish(
        self, checkpoint: Checkpoint, signatures: Sequence[Signature], asked: Sequence[Peer]
    ) -> None:
        """`asked`: whose signatures these are; one may be a peer no more by now."""
        whole = checkpoint.with_signatures(signatures)
        named = [
            signer(self._identity, peer.signing_key) for peer in asked if has_signed(whole, peer)
        ]

        def put(db: Connection) -> None:
            own = self._own(db)
            tables.put_checkpoint(db, own, whole)
            tables.put_signers(db, own.number, named)

        try:
            await self._store.act(put)
        finally:
            # A commit that fails may have taken effect.
            self.published.set()

    async def _cosigned(self, checkpoint: Checkpoint, witnesses: Sequence[Peer]) -> list[Signature]:
        found = await asyncio.gather(*(self._ask(checkpoint, one) for one in witnesses))
        return [one for one in found if one is not None]

    async def _ask(self, checkpoint: Checkpoint, peer: Peer) -> Signature | None:
        """The cosignature of a witness; None when it gives none in time, or what it answers cannot
        be used: nothing that one does keeps a checkpoint from being published."""
        try:
            async with asyncio.timeout(WITNESS_SECONDS):
                signature = await self._ask_until(checkpoint, peer)
        except TimeoutError:
            self.refusals[peer.dc_id] = "it did not answer in time"
            self._silent_at[peer.dc_id] = self._clock.monotonic()
            return None
        except Exception as error:
            known = isinstance(error, ChannelFailed | NoteInvalid)
            text = str(error) if known else f"asking it failed: {error!r}"
            self.refusals[peer.dc_id] = text[:REFUSAL_CHARACTERS_MAX]
            return None
        self.refusals.pop(peer.dc_id, None)
        self._silent_at.pop(peer.dc_id, None)
        return signature

    async def _ask_until(self, checkpoint: Checkpoint, peer: Peer) -> Signature:
        for _ in range(TRIES):
            old = self._known.get(peer.dc_id, 0)
            proof = await self._store.read(partial(self._proof, old, checkpoint.size))
            body = request_of(old, proof, checkpoint).encode()
            answer = await self._channel.call(peer.dc_id, WITNESS_CALL, body)
            reply = decode_reply(answer)
            self._copying.discard(peer.dc_id)
            if reply.status == NOT_YET:
                self._copying.add(peer.dc_id)
            if reply.status == 200:
                self._known[peer.dc_id] = checkpoint.size
                return self._in_time(_signature(checkpoint, reply.body, peer))
            size = read_number(reply.body.strip()) if reply.status == 409 else None
            if size is None:
                raise NoteInvalid(f"it refuses ({reply.status}): {reply.body.strip()[:200]}")
            if size > checkpoint.size:
                raise NoteInvalid(
                    f"it has seen {size} entries of this log, of which only {checkpoint.size} are"
                    " left here: the notary's database was put back to an older state"
                )
            self._known[peer.dc_id] = size
        raise NoteInvalid("it keeps answering that it knows another size")

    def _in_time(self, signature: Signature) -> Signature:
        seconds = time_of(signature)
        if abs(seconds - self._clock.wall_ms() // 1000) > APART_SECONDS_MAX:
            raise NoteInvalid(
                f"its clock says {utc_text(seconds * 1000)}, more than a day from what it is here:"
                " set the one that is wrong"
            )
        return signature


def has_signed(checkpoint: Checkpoint, peer: Peer) -> bool:
    """Whether a peer has cosigned a checkpoint."""
    return bool(checkpoint.by(witness_key(peer.signing_key)))


def _signature(checkpoint: Checkpoint, lines: str, peer: Peer) -> Signature:
    """The witness's own among those that it gave, verified. NoteInvalid."""
    key = witness_key(peer.signing_key)
    given = [one for one in read_signatures(lines) if one.is_by(key)]
    if not given or not is_signed(checkpoint._replace(signatures=tuple(given)), key):
        raise NoteInvalid("it answers without its cosignature")
    return given[0]


encode_reply = msgspec.msgpack.Encoder().encode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
