"""How much a peer can make of a mirror: answers that are too large, and what is kept of logs."""

import asyncio
import sqlite3
import time
from collections.abc import Callable

import msgspec
import pytest
from live_kit import Dc, World, played
from mirror_kit import Liar, chain, encode, error_of, head, lines, nothing_of, timestamp
from notary_samples import ALPHA, BETA, GAMMA

from dc.names.model import Peer
from dc.names.schema import bring_up
from notary import mirror, note, tables
from notary.certificate import TIMESTAMP_BYTES_MAX, Policy, certificate_of, verify
from notary.mirror import LOGS_CALL, LogShown, Pulled
from notary.note import Checkpoint, Key, Signature, cosign, log_key, sign, witness_key
from notary.store import MIGRATIONS

SOME = lines(9)
KEY = ALPHA.public.signing_key
TOO_MUCH: dict[str, Callable[[Dc], Pulled]] = {
    "entries": lambda _: Pulled([b""] * (tables.SPAN_ENTRIES + 1), [], [], 5),
    "checkpoints": lambda dc: Pulled(SOME, [head(dc, SOME, 9)] * 401, [], 5),
    "timestamps": lambda dc: Pulled(
        SOME, [head(dc, SOME, 9)], [timestamp(dc, SOME, 9, b"x")] * 201, 5
    ),
    "signers": lambda dc: Pulled(SOME, [head(dc, SOME, 9)], [], 5, [bytes(96)] * 65),
}


@pytest.mark.parametrize("what", TOO_MUCH)
@played
async def test_an_answer_has_no_more_than_a_page(world: World, what: str):
    _, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    answer = TOO_MUCH[what](paris)
    liar = Liar(world, tokyo, paris, lambda _: answer)
    await oslo.start()
    await world.until(lambda: len(liar.pulls) >= 2)
    assert nothing_of(oslo, paris)
    assert "Expected `array` of length <=" in await error_of(oslo)


@played
async def test_lists_of_logs_end(world: World):
    """A datacenter gives no more of them than it takes."""
    _, paris, tokyo, oslo = await chain(world)
    origin = f"farshore/{paris.dc_id}"
    liar = Liar(world, tokyo, paris, lambda _: b"")
    many_times = encode([LogShown(origin, KEY, 9, 5)] * (mirror.LOGS_MAX + 1))

    async def logs(_body: bytes, _peer: Peer) -> bytes:
        return many_times

    world.lies["tokyo", LOGS_CALL] = logs
    await asyncio.sleep(10)
    assert "Expected `array` of length <=" in await error_of(oslo)
    assert liar.pulls == []

    def many(db) -> None:
        for number in range(mirror.LOGS_MAX + 9):
            log = tables.begin_log(db, f"farshore/{number}", KEY)
            db.execute("UPDATE logs SET sealed = 1 WHERE number = ?", (log.number,))

    await paris.do(paris.store.act(many))
    given = await paris.do(paris.answers[LOGS_CALL](b"", tokyo.as_peer()))
    assert len(msgspec.msgpack.decode(given)) == mirror.LOGS_MAX


def test_what_is_too_much_is_not_read() -> None:
    """16 MiB of empty entries are eight millions."""
    count = 8_000_000
    body = b"\x94\xdd" + count.to_bytes(4, "big") + b"\xc4\x00" * count + b"\x90\x90\x05"
    begun = time.perf_counter()
    with pytest.raises(msgspec.ValidationError):
        mirror._decode_pulled(body)
    assert time.perf_counter() - begun < 0.05


def test_of_each_key_one_signature_of_a_checkpoint_is_verified(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many a peer gives: that is done while nothing else is written."""
    verified: list[str] = []
    verifies = note._verifies

    def counting(checkpoint: Checkpoint, one: Signature, key: Key) -> bool:
        verified.append(one.name)
        return verifies(checkpoint, one, key)

    monkeypatch.setattr(note, "_verifies", counting)
    checkpoint = sign(ALPHA, 9, bytes(32))
    keys = [witness_key(one.public.signing_key) for one in (BETA, GAMMA)]
    [by_beta, by_gamma] = [cosign(one, checkpoint, 1_700_000_000) for one in (BETA, GAMMA)]
    own = checkpoint.signatures[0]
    junk = Signature("x", b"abcd", bytes(64))
    many = checkpoint._replace(signatures=(junk, *[own] * 30, *[by_beta] * 30, *[by_gamma] * 30))
    kept = mirror._kept(note.read_checkpoint(str(many)), log_key(KEY), keys)
    assert kept == checkpoint.with_signatures([by_beta, by_gamma])
    assert verified == [own.name, by_beta.name, by_gamma.name]


@played
async def test_of_a_log_there_are_eight_kinds_of_timestamps(world: World):
    """So its certificates, which have one of each, can be read."""
    _, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    data = bytes(TIMESTAMP_BYTES_MAX)
    kinds = ["", *(f"{'k' * 63}{number}" for number in range(9))]
    stamps = [timestamp(paris, SOME, 9, data, kind) for kind in kinds]
    Liar(world, tokyo, paris, lambda _: Pulled(SOME, [head(paris, SOME, 9)], stamps, 5))
    await oslo.start()
    await world.until(lambda: oslo.log(paris).sealed == 9)
    found = certificate_of(oslo.log_file, tables.Place(oslo.log(paris), 0))
    assert found is not None and oslo.log_file.execute(
        "SELECT kind FROM timestamps ORDER BY kind"
    ).fetchall() == [(kind,) for kind in kinds[1:9]]
    assert len(verify(found, Policy([log_key(KEY)])).timestamps) == 8


def test_of_more_kinds_that_are_there_eight_are_in_certificates() -> None:
    db = sqlite3.connect(":memory:")
    bring_up(db, MIGRATIONS, "it")
    for number in range(20):
        db.execute(
            "INSERT INTO timestamps VALUES(1, ?, 9, ?, x'00', x'00', 0)", (str(number), number)
        )
    found = tables.first_timestamps(db, 1, 0)
    assert [one.kind for one in found] == sorted(map(str, range(20)))[:8]
