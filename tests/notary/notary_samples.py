"""Datacenters, logs and certificates for the tests of `notary`."""

import asyncio
import hashlib
import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from notary_log_checker import tile_path, tiles

from dc.stamps import version_id
from dc.system import SystemDatabases
from notary import note, tables, tree
from notary.certificate import certificate_of, timestamp_text
from notary.entries import Entry, encode
from notary.store import open_store
from notary.tables import Log, Timestamp
from tokens.identity import Identity

START_MS = 1_800_000_000_000
SECONDS = START_MS // 1000
BODY = b"what is stored"


def drawn(seed: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same in every run."""
    count = itertools.count()

    def draw(n: int) -> bytes:
        return hashlib.shake_256(f"{seed}/{next(count)}".encode()).digest(n)

    return draw


ALPHA, BETA, GAMMA, DELTA = (
    Identity.generate(drawn(name)) for name in ("alpha", "beta", "gamma", "delta")
)


def log_key(identity: Identity) -> note.Key:
    return note.log_key(identity.public.signing_key)


def witness_key(identity: Identity) -> note.Key:
    return note.witness_key(identity.public.signing_key)


def keys_of(*identities: Identity) -> list[note.Key]:
    """As `farshore notary keys` gives them."""
    return [key for one in identities for key in (log_key(one), witness_key(one))]


def vkeys_of(*identities: Identity) -> list[str]:
    return [str(key) for key in keys_of(*identities)]


def stamp_of(identity: Identity, number: int) -> str:
    return f"{START_MS + number:012x}0000{identity.dc_id}"


def entry(identity: Identity, number: int, **changes) -> bytes:
    stamp = stamp_of(identity, number)
    facts = {
        "v": 1,
        "type": "version",
        "dc": "eu-north",
        "dc_id": identity.dc_id,
        "bucket": "photos",
        "bucket_id": "b-1",
        "key": f"käse/{number}.jpg",
        "version_id": version_id(stamp),
        "stamp": stamp,
        "size": len(BODY),
        "sha256": hashlib.sha256(BODY).hexdigest(),
        "of": "object",
        "time": "2027-01-15T08:00:00.000Z",
    }
    return encode(Entry(**(facts | changes)))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The tables of a store, in a transaction that does not end: quick."""

    async def make() -> None:
        await (await open_store(path, SystemDatabases())).close()

    if not path.exists():
        asyncio.run(make())
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    try:
        yield db
    finally:
        db.execute("COMMIT")
        db.close()


def begun(db: sqlite3.Connection, identity: Identity = ALPHA, count: int = 0) -> Log:
    """A log with entries."""
    key = log_key(identity)
    log = tables.begin_log(db, key.name, key.public)
    return tables.append(db, log, [entry(identity, number) for number in range(count)])


def sealed(
    db: sqlite3.Connection, identity: Identity, log: Log, size: int, *witnesses: Identity
) -> Log:
    """The log, with a checkpoint of that size."""
    head = note.sign(identity, size, tree.root(tables.tiles_of(db, log.number), size))
    signed = [note.cosign(one, head, SECONDS + size) for one in witnesses]
    return tables.put_checkpoint(db, log, head.with_signatures(signed))


def stamped(
    db: sqlite3.Connection, identity: Identity, log: Log, size: int, kind: str, data: bytes
) -> None:
    root = tree.root(tables.tiles_of(db, log.number), size)
    text = timestamp_text(log.origin, size, root, kind, data)
    signature = note.signed_text(identity, text)
    tables.put_timestamp(db, log.number, Timestamp(kind, size, data, signature))


def served(db: sqlite3.Connection, log: Log, *sizes: int) -> dict[str, bytes]:
    """What is to be served at tlog-tiles paths of a log whose checkpoints have these sizes, the
    last one's being the checkpoint."""
    read, paths = tables.tiles_of(db, log.number), {}
    for size in sizes:
        for level in range(8):
            for number, width in tiles(size, level):
                paths[tile_path(level, number, width)] = read(level, number)[: 32 * width]
        for number, width in tiles(size, 0):
            page = tables.page(db, log.number, number * 256, number * 256 + width)
            bundle = b"".join(len(one).to_bytes(2, "big") + one for one in page)
            paths[tile_path("entries", number, width)] = bundle
        paths["checkpoint"] = str(tables.checkpoint_at(db, log.number, size)).encode()
    return paths


def standard(db: sqlite3.Connection) -> Log:
    """ALPHA's log: 5 entries under checkpoints of 3 and 5, each with a timestamp; 2 more."""
    log = sealed(db, ALPHA, begun(db, count=3), 3, BETA)
    stamped(db, ALPHA, log, 3, "rfc3161", b"a timestamp of three")
    log = tables.append(db, log, [entry(ALPHA, 3), entry(ALPHA, 4)])
    log = sealed(db, ALPHA, log, 5, BETA, GAMMA)
    stamped(db, ALPHA, log, 5, "opentimestamps", b"a timestamp of five")
    return tables.append(db, log, [entry(ALPHA, 5), entry(ALPHA, 6)])


def certificate(db: sqlite3.Connection, number: int = 1, identity: Identity = ALPHA) -> bytes:
    """Of an entry that `begun` made."""
    place = tables.place_of(db, stamp_of(identity, number))
    found = certificate_of(db, place) if place else None
    assert found is not None
    return found


def written(parts: object) -> bytes:
    """A certificate as the product writes it, so that nothing but its content is another."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
    return msgspec.json.format(text.encode(), indent=1) + b"\n"
