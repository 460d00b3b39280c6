"""Mirrors for tests: a chain of datacenters, logs that are made up, and peers that lie."""

from collections.abc import Callable, Sequence

import msgspec
from live_kit import Dc, World
from notary_samples import ALPHA, entry

from dc.names.model import Bucket, Peer
from notary import tables, tree
from notary.certificate import timestamp_text
from notary.hooks import Hook
from notary.mirror import LOGS_CALL, PULL_CALL, LogShown, Pull
from notary.note import Checkpoint, Signature, sign, signed_text
from notary.signers import public_of
from notary.tables import Timestamp

encode = msgspec.msgpack.encode


class Stamper(Hook):
    """Gives a timestamp at once, and a better one later."""

    name = "stamper"
    checkpoint_seconds = 1.0
    upgrade_seconds = 60.0

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        return b"pending"

    def is_final(self, timestamp: bytes) -> bool:
        return timestamp == b"final"

    async def upgrade(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes | None:
        return b"final"


async def chain(world: World, *hooks: Hook) -> tuple[Bucket, Dc, Dc, Dc]:
    """Paris - Tokyo - Oslo: Oslo knows Paris by name only."""
    paris = await world.dc("paris", *hooks)
    tokyo, oslo = await world.dc("tokyo"), await world.dc("oslo")
    await paris.pair(tokyo)
    await tokyo.pair(oslo)
    await oslo.meet(paris)
    await paris.meet(oslo)
    bucket = await paris.bucket()
    for dc in (tokyo, oslo):
        await dc.hear(bucket)
    return bucket, paris, tokyo, oslo


def lines(count: int, dc: str = "paris", first: int = 0) -> list[bytes]:
    return [entry(ALPHA, number, dc=dc) for number in range(first, first + count)]


def root_of(some: Sequence[bytes]) -> bytes:
    tiles = tree.grown(lambda _level, _number: b"", 0, [tree.leaf_hash(one) for one in some])
    return tree.root(lambda level, number: tiles.get((level, number), b""), len(some))


def head(dc: Dc, some: Sequence[bytes], size: int, *more: Signature) -> str:
    """A checkpoint that a DC has signed."""
    return str(sign(dc.identity, size, root_of(some[:size])).with_signatures(more))


def signers_of(dc: Dc, of: Dc) -> set[str]:
    """The names of the DCs that it knows as witnesses of a log."""
    names = {one.identity.public.signing_key: one.name for one in dc.world.dcs.values()}
    found = tables.signers(dc.log_file, dc.log(of).number)
    return {names.get(public_of(one), "?") for one in found}


def timestamp(dc: Dc, some: Sequence[bytes], size: int, data: bytes, kind: str = "t") -> Timestamp:
    text = timestamp_text(f"farshore/{dc.dc_id}", size, root_of(some[:size]), kind, data)
    return Timestamp(kind, size, data, signed_text(dc.identity, text))


Answering = Callable[[Pull], object]


class Liar:
    """Tokyo answers for Paris' log, or Paris for its own, as the test wants."""

    def __init__(self, world: World, dc: Dc, of: Dc, answer: Answering, sealed: int = 9) -> None:
        self.pulls: list[Pull] = []
        self.serial = 5
        self.note = ""
        self._answer = answer
        self._of = of
        self.sealed = sealed
        world.lies[dc.name, LOGS_CALL] = self.logs
        world.lies[dc.name, PULL_CALL] = self.pull

    async def logs(self, _body: bytes, _peer: Peer) -> bytes:
        key = self._of.identity.public.signing_key
        origin = f"farshore/{self._of.dc_id}"
        return encode([LogShown(origin, key, self.sealed, self.serial, self.note)])

    async def pull(self, body: bytes, _peer: Peer) -> bytes:
        asked = msgspec.msgpack.decode(body, type=Pull)
        self.pulls.append(asked)
        answer = self._answer(asked)
        return answer if isinstance(answer, bytes) else encode(answer)


def nothing_of(dc: Dc, of: Dc) -> bool:
    log = dc.log(of)
    count = dc.log_file.execute(
        "SELECT (SELECT count(*) FROM entries WHERE log = ?1),"
        " (SELECT count(*) FROM tiles WHERE log = ?1)",
        (log.number,),
    ).fetchone()
    return (log.size, log.sealed, *count) == (0, 0, 0, 0)


async def error_of(dc: Dc) -> str:
    status = await dc.do(dc.notary.status())
    return str(status["errors"])
