"""`notary/mirror.py`: copies of other datacenters' logs, from honest peers and from liars."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from live_kit import AWAY, HANGS, Dc, World, played, verified
from mirror_kit import (
    Answering,
    Liar,
    Stamper,
    chain,
    encode,
    error_of,
    head,
    lines,
    nothing_of,
    root_of,
    signers_of,
    timestamp,
)
from notary_samples import ALPHA, BETA, DELTA

from dc.names.model import Peer, Version
from dc.rates import Terms
from notary import certificate, mirror, tables
from notary.mirror import LOGS_CALL, PULL_CALL, Pull, Pulled
from notary.note import SIZE_MAX, Signature, cosign, read_checkpoint, sign
from notary.publishing import WITNESS_CALL


async def same_everywhere(world: World, of: Dc, *others: Dc, version: Version) -> None:
    """The certificate of a version is byte for byte the same."""
    own = await of.certificate(version)
    for other in others:
        await world.until(lambda other=other: other.has_all_of(of))
        assert await other.certificate(version) == own
        assert await other.do(other.notary.is_proven(version.stamp))


@played
async def test_a_log_is_relayed_with_all_that_belongs_to_it(world: World):
    bucket, paris, tokyo, oslo = await chain(world, Stamper())
    lima = await world.dc("lima")
    await paris.pair(lima)
    version = await paris.put(bucket, "k")
    await paris.published()
    assert paris.signers() == {"tokyo", "lima"}
    await asyncio.sleep(20)
    await same_everywhere(world, paris, tokyo, oslo, version=version)
    assert b"cGVuZGluZw==" in await oslo.certificate(version)
    assert oslo.signers(paris) == {"tokyo", "lima"}, "though it has never heard of Lima"
    assert verified(await oslo.certificate(version), witnesses=2)["stamp"] == version.stamp
    assert oslo.verify(of=paris, witnesses=2).entries == paris.lines()
    await asyncio.sleep(100)
    await same_everywhere(world, paris, tokyo, oslo, version=version)
    assert b"ZmluYWw=" in await oslo.certificate(version)
    assert tables.mirrored(oslo.log_file, oslo.log(paris).number, tokyo.dc_id) > 0
    names = {one[1] for one in world.calls if one[0] == "oslo" and one[2] == PULL_CALL}
    assert names == {"tokyo"}


@played
async def test_the_origin_may_be_away(world: World):
    """And may be gone, when somebody who has its log is paired with."""
    bucket, paris, tokyo, oslo = await chain(world)
    version = await paris.put(bucket, "k")
    await paris.published()
    own = await paris.certificate(version)
    await world.until(lambda: tokyo.has_all_of(paris))
    lines = paris.lines()
    await paris.stop()
    await oslo.stop()
    for table in ("entries", "tiles", "checkpoints", "mirrors", "logs", "signers"):
        oslo.log_file.execute(f"DELETE FROM {table}")
    await oslo.start()
    await world.until(lambda: oslo.lines(paris) == lines)
    assert await oslo.certificate(version) == own


@played
async def test_nothing_is_asked_where_nothing_is_notarized(world: World):
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    await paris.pair(tokyo)
    await asyncio.sleep(60)
    assert world.calls == []


@played
async def test_a_late_signature_and_a_later_timestamp_are_mirrored(world: World):
    """Whichever of them came first."""
    bucket, paris, tokyo, oslo = await chain(world, Stamper())
    lima = await world.dc("lima")
    world.lines["paris", "lima"] = AWAY
    await paris.pair(lima)
    version = await paris.put(bucket, "k")
    await paris.published()
    await asyncio.sleep(20)
    await same_everywhere(world, paris, tokyo, oslo, version=version)
    assert oslo.signers(paris) == {"tokyo"}
    del world.lines["paris", "lima"]
    await world.until(lambda: paris.signers() == {"tokyo", "lima"}, 60)
    await asyncio.sleep(20)
    await same_everywhere(world, paris, tokyo, oslo, version=version)
    assert oslo.signers(paris) == {"tokyo", "lima"}


@played
async def test_a_long_log_comes_in_pieces(world: World, monkeypatch):
    """In memory there is one piece; a new mirror has all of them, and all rows."""
    monkeypatch.setattr(tables, "SPAN_ENTRIES", 40)
    monkeypatch.setattr(mirror, "ROWS_MAX", 3)
    bucket, paris, tokyo, oslo = await chain(world, Stamper())
    for number in range(0, 300, 50):
        some = [paris.version(bucket, f"k{number + one}") for one in range(50)]
        await paris.do(gathered(*(paris.names.put(one) for one in some)))
        await asyncio.sleep(6)
    await paris.published()
    await asyncio.sleep(30)
    await same_everywhere(world, paris, tokyo, oslo, version=some[0])
    assert oslo.verify(of=paris).entries == paris.lines() and len(paris.lines()) == 301
    rows = "SELECT note FROM checkpoints c JOIN logs ON log = number WHERE origin = ?"
    origin = (f"farshore/{paris.dc_id}",)
    for one in (tokyo, oslo):
        mirrored = one.log_file.execute(f"{rows} ORDER BY c.size", origin).fetchall()
        assert mirrored == paris.log_file.execute(f"{rows} ORDER BY c.size", origin).fetchall()
    asked: list[Pulled] = []
    server = mirror.MirrorServer(paris.store)
    for first in (0, 41, 300, 301):
        ask = encode(Pull(*origin, first, 0))
        given = await paris.do(server.pull(ask, oslo.as_peer()))
        asked.append(msgspec.msgpack.decode(given, type=Pulled))
    assert all(len(one.entries) <= 40 for one in asked) and asked[-1].entries == []
    assert read_checkpoint(asked[0].checkpoints[0]).size == len(asked[0].entries) or (
        len(asked[0].checkpoints) > 1
    )


@played
async def test_a_log_that_takes_long_is_no_peer_that_does_not_answer(world: World, monkeypatch):
    """What came is kept, and goes on at the next turn; gateways wait for one page at most."""
    monkeypatch.setattr(tables, "SPAN_ENTRIES", 5)
    monkeypatch.setattr(mirror, "TURN_SECONDS", 0.1)
    _, paris, tokyo, oslo = await chain(world)
    await tokyo.stop()
    some = lines(150)
    key = paris.identity.public.signing_key

    def fill(db) -> None:
        log = tables.begin_log(db, f"farshore/{paris.dc_id}", key)
        for size in range(5, 151, 5):
            log = tables.append(db, log, some[size - 5 : size])
            log = tables.put_checkpoint(db, log, read_checkpoint(head(paris, some, size)))

    await paris.stop()
    await tokyo.start()
    await tokyo.do(tokyo.store.act(fill))
    seen = set()
    while oslo.log(paris).sealed < 150:
        await asyncio.sleep(1)
        seen.add(oslo.log(paris).sealed)
        assert "tokyo" not in await error_of(oslo)
    assert len(seen) > 3 and oslo.lines(paris) == some
    pull = tokyo.answers[PULL_CALL]
    ask = encode(Pull(f"farshore/{paris.dc_id}", 0, 0))
    pulls = [asyncio.ensure_future(tokyo.do(pull(ask, oslo.as_peer()))) for _ in range(60)]
    await asyncio.sleep(0.01)
    begun = world.loop.time()
    await tokyo.do(tokyo.notary.is_proven("0" * 32))
    assert world.loop.time() - begun < 0.03
    await asyncio.gather(*pulls)
    assert world.loop.time() - begun > 0.05


async def gathered(*work: Awaitable[Any]) -> None:
    await asyncio.gather(*work)


@played
async def test_two_peers_give_the_same_log_at_once(world: World):
    """From whomever it comes first; nothing is lost of what only one of them has."""
    bucket, paris, tokyo, oslo = await chain(world, Stamper())
    await oslo.pair(paris)
    for number in range(10):
        version = await paris.put(bucket, f"k{number}")
        await asyncio.sleep(1.7)
    await paris.published()
    await asyncio.sleep(150)
    await same_everywhere(world, paris, tokyo, oslo, version=version)
    assert oslo.verify(of=paris).entries == paris.lines() and oslo.alarms() == []
    assert {one[1] for one in world.calls if one[0] == "oslo" and one[2] == PULL_CALL} == {
        "paris",
        "tokyo",
    }


@played
async def test_what_another_peer_gave_meanwhile_is_not_taken_twice(world: World):
    """Two answers to the same question, with rows of their own, and one that is further."""
    _, paris, tokyo, _ = await chain(world)
    await tokyo.stop()
    await tokyo.start(notary=False)
    some = lines(9)
    stamp = timestamp(paris, some, 4, b"stamp")
    key = paris.identity.public.signing_key
    await tokyo.do(tokyo.store.act(lambda db: tables.begin_log(db, f"farshore/{paris.dc_id}", key)))
    asked = tokyo.log(paris)
    other = Peer(**{**msgspec.structs.asdict(paris.as_peer()), "dc_id": "f" * 16})
    take = tokyo.notary._mirror._take
    first = Pulled(some[:4], [head(paris, some, 4)], [stamp], 7)
    then = Pulled(some[:9], [head(paris, some, 4), head(paris, some, 9)], [], 3)
    back = Pulled(some[:2], [head(paris, some, 2)], [], 4)
    for pulled, peer, size in (
        (first, paris.as_peer(), 4),
        (then, other, 9),
        (back, other, 9),
        (then, paris.as_peer(), 9),
    ):
        found = await tokyo.do(tokyo.store.act(lambda db: take(asked, pulled, peer, db)))  # noqa: B023
        assert (found.size, found.sealed) == (size, size)
    assert tokyo.lines(paris) == some
    assert tables.first_timestamps(tokyo.log_file, asked.number, 0) == [stamp]
    assert tables.mirrored(tokyo.log_file, asked.number, "f" * 16) == 4


# -- liars ----------------------------------------------------------------------------------------


GOOD = lines(9)
LIES: dict[str, tuple[Callable[[Dc], object], str]] = {
    "entries without a checkpoint": (lambda _: Pulled(GOOD, [], [], 5), "without a checkpoint"),
    "entries beyond it": (lambda dc: Pulled(GOOD, [head(dc, GOOD, 7)], [], 5), "without a check"),
    "a checkpoint without entries": (
        lambda dc: Pulled(GOOD[:5], [head(dc, GOOD, 9)], [], 5),
        "came before its entries",
    ),
    "other entries": (lambda dc: Pulled(lines(9, "x"), [head(dc, GOOD, 9)], [], 5), "not those"),
    "another order": (lambda dc: Pulled(GOOD[::-1], [head(dc, GOOD, 9)], [], 5), "not those"),
    "signed by another": (
        lambda _: Pulled(GOOD, [str(sign(DELTA, 9, root_of(GOOD)))], [], 5),
        "not signed by it",
    ),
    "not signed": (
        lambda dc: Pulled(GOOD, [head(dc, GOOD, 9).replace("\n9\n", "\n8\n")], [], 5),
        "the signature of .* is false",
    ),
    "no checkpoint": (lambda _: Pulled(GOOD, ["hello"], [], 5), "no checkpoint"),
    "a huge entry": (
        lambda dc: Pulled([bytes(65_536)], [head(dc, [bytes(65_536)], 1)], [], 5),
        "more than the 65535 that can be served",
    ),
    "noise": (lambda _: b"\xc1", "answers what is none"),
    "nothing at all": (lambda _: b"", "answers what is none"),
    "depth": (lambda _: b"\x91" * 500_000, "answers what is none"),
    "no text": (lambda _: b"\x94\x90\x91\xa1\xff\x90\x05", "answers what is none"),
    "a huge serial": (lambda _: [[], [], [], SIZE_MAX + 1], "answers what is none"),
    "a negative serial": (lambda _: [[], [], [], -1], "answers what is none"),
    "another shape": (lambda _: [[1], ["x"], {}, ""], "answers what is none"),
}


@pytest.mark.parametrize("lie", LIES)
@played
async def test_nothing_of_a_lie_is_kept(world: World, lie: str):
    """It is said, is nobody's alarm, and the truth comes from another all the same."""
    bucket, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    answer, expected = LIES[lie]
    liar = Liar(world, tokyo, paris, lambda _: answer(paris))
    await oslo.start()
    await world.until(lambda: len(liar.pulls) >= 2)
    await asyncio.sleep(1)
    assert nothing_of(oslo, paris) and oslo.alarms() == []
    assert re.search(expected, await error_of(oslo)), await error_of(oslo)
    assert "tokyo" in await error_of(oslo)
    await oslo.pair(paris)
    version = await paris.put(bucket, "k")
    await paris.published()
    await same_everywhere(world, paris, oslo, version=version)
    assert oslo.alarms() == []


@pytest.mark.parametrize(
    "shown",
    [
        b"\xc1",
        encode([["farshore/x", b"", 1, 1, []]]),
        encode([[f"farshore/{ALPHA.dc_id}", BETA.public.signing_key, 1, 1, []]]),
        encode([[f"farshore/{DELTA.dc_id}", BETA.public.signing_key, 1, 1, []]]),
        encode([[f"farshore/{ALPHA.dc_id}", b"short", 1, 1, []]]),
        encode([[f"farshore/{DELTA.dc_id}", DELTA.public.signing_key, 1, 1, []]]),
        encode([[f"farshore/{ALPHA.dc_id}", ALPHA.public.signing_key, -1, 1, []]]),
        encode([[f"farshore/{ALPHA.dc_id}", ALPHA.public.signing_key, 2**63, 1, []]]),
        b"\x91" * 500_000,
    ],
    ids=range(9),
)
@played
async def test_logs_that_are_shown_under_a_false_name(world: World, shown: bytes):
    """Or of a datacenter that nobody knows, or in no shape: nothing is asked for."""
    _, paris, tokyo, oslo = await chain(world)
    await world.until(lambda: oslo.has_all_of(paris))
    liar = Liar(world, tokyo, paris, lambda _: b"")

    async def logs(_body: bytes, _peer: Peer) -> bytes:
        return shown

    world.lies["tokyo", LOGS_CALL] = logs
    before = oslo.log_file.execute("SELECT count(*) FROM logs").fetchone()
    await asyncio.sleep(30)
    assert liar.pulls == [] and oslo.verify(of=paris)
    assert oslo.log_file.execute("SELECT count(*) FROM logs").fetchone() == before


@played
async def test_a_peer_that_lies_about_the_own_log_changes_nothing(world: World):
    bucket, paris, tokyo, _ = await chain(world)
    await paris.meet(paris)
    await paris.put(bucket, "k")
    await paris.published()
    before = paris.lines()
    Liar(world, tokyo, paris, lambda _: Pulled(GOOD, [head(paris, GOOD, 9)], [], 5))
    await asyncio.sleep(30)
    assert ("paris", "tokyo", LOGS_CALL) in world.calls
    assert ("paris", "tokyo", PULL_CALL) in world.calls and paris.lines() == before


EMPTY = sign(ALPHA, 0, root_of([]))
ENDLESS: dict[str, tuple[Answering, int]] = {
    "nothing": (lambda _: Pulled([], [], [], 5), 2),
    "no end of nothing": (lambda _: Pulled([], [], [], 0), 2),
    "back and forth": (lambda ask: Pulled([], [], [], ask.serial ^ 1), 3),
    "one after the other": (lambda ask: Pulled([], [], [], ask.serial + 1), 10),
    "with rows": (lambda ask: Pulled([], [str(EMPTY)], [], ask.serial + 1), 10),
}


@pytest.mark.parametrize("answer", ENDLESS)
@played
async def test_a_peer_without_an_end_is_left_alone_in_time(world: World, monkeypatch, answer: str):
    """It says that there is more, and gives the same, or goes on for ever; others are mirrored."""
    monkeypatch.setattr(mirror, "PULLS_MAX", 10)
    bucket, paris, tokyo, oslo = await chain(world)
    await oslo.pair(paris)
    endless, pulls_of_a_turn = ENDLESS[answer]
    liar = Liar(world, tokyo, paris, endless, sealed=SIZE_MAX)
    liar.serial = SIZE_MAX
    version = await paris.put(bucket, "k")
    await paris.published()
    await same_everywhere(world, paris, oslo, version=version)
    before = world.calls.count(("oslo", "tokyo", PULL_CALL))
    await asyncio.sleep(20)
    pulls = world.calls.count(("oslo", "tokyo", PULL_CALL)) - before
    assert 3 <= pulls <= 5 * pulls_of_a_turn
    assert oslo.verify(of=paris).entries == paris.lines()


@played
async def test_a_peer_that_hangs_holds_up_no_other(world: World):
    bucket, paris, tokyo, oslo = await chain(world)
    await oslo.pair(paris)
    world.lines["oslo", "tokyo"] = HANGS
    for number in range(10):
        await paris.put(bucket, f"k{number}")
        await paris.published()
        await world.until(lambda: oslo.has_all_of(paris), 12)
    await asyncio.sleep(60)
    assert "mirroring from tokyo': 'it did not answer in time" in await error_of(oslo)
    asked = [one for one in world.calls if one[:2] == ("oslo", "tokyo") and one[2] != WITNESS_CALL]
    assert len(asked) <= 2 + world.loop.time() / 60, "once at a time"
    begun = world.loop.time()
    await oslo.stop()
    assert world.loop.time() < begun + 1
    del world.lines["oslo", "tokyo"]
    await oslo.start()
    await asyncio.sleep(20)
    assert await error_of(oslo) == "{}"
    await tokyo.do(tokyo.names.set_terms(oslo.dc_id, Terms(paused_ms=1)))
    before = len(world.calls)
    await asyncio.sleep(20)
    assert not [one for one in world.calls[before:] if one[:2] == ("tokyo", "oslo")]


@played
async def test_junk_signatures_are_left_out(world: World):
    """Of names that nobody has, false ones, and true ones under a key that is not theirs."""
    bucket, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    version = await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: tokyo.has_all_of(paris))
    own = paris.checkpoint()
    junk = [Signature(f"junk{number}", b"abcd", bytes(72)) for number in range(60)]
    name = f"farshore/{tokyo.dc_id}/witness"
    junk += [Signature(name, b"abcd", bytes(72)), cosign(DELTA, own, 1_800_000_000)]
    false = cosign(BETA, own._replace(size=99), 1_800_000_000)
    only_false = own._replace(signatures=own.signatures[:1]).with_signatures([false, *junk])
    honest = [await tokyo.answers[PULL_CALL](encode(Pull(own.origin, 0, 0)), oslo.as_peer())]
    pulled = msgspec.msgpack.decode(honest[0], type=Pulled)
    given = [str(only_false), *pulled.checkpoints]
    named = [b"short", BETA.public.signing_key, *(bytes([n]) * 96 for n in range(60))]
    answer = Pulled(pulled.entries, given, [], 5, [*named, *pulled.signers])
    Liar(world, tokyo, paris, lambda _: answer, sealed=own.size)
    await oslo.start()
    await world.until(lambda: oslo.log(paris).sealed == own.size)
    assert str(oslo.checkpoint(paris)) == str(own)
    assert await oslo.certificate(version) == await paris.certificate(version)
    assert signers_of(oslo, paris) == {"tokyo"}


@played
async def test_false_timestamps_are_left_out(world: World):
    _, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    some = lines(9)
    good = timestamp(paris, some, 9, b"good")
    stamps = [
        good,
        timestamp(paris, some, 5, b"of no checkpoint"),
        good._replace(size=2**63),
        timestamp(tokyo, some, 9, b"by another", "a"),
        good._replace(data=b"changed", kind="b"),
        good._replace(kind="c"),
        timestamp(paris, some, 9, bytes(certificate.TIMESTAMP_BYTES_MAX + 1), "d"),
        timestamp(paris, some, 9, b"x", "e" * 65),
    ]
    Liar(world, tokyo, paris, lambda _: Pulled(some, [head(paris, some, 9)], stamps, 5))
    await oslo.start()
    await world.until(lambda: oslo.log(paris).sealed == 9)
    assert tables.first_timestamps(oslo.log_file, oslo.log(paris).number, 0) == [good]


@played
async def test_a_relay_does_not_put_an_older_timestamp_back(world: World):
    """Where the log's own datacenter can be asked, what it gives counts."""
    some = lines(9)
    paris, tokyo, oslo = await world.dc("paris"), await world.dc("tokyo"), await world.dc("oslo")
    await oslo.pair(paris, tokyo)
    await oslo.bucket()
    stamps = {"paris": b"final", "tokyo": b"pending"}
    for dc in (paris, tokyo):
        stamp = timestamp(paris, some, 9, stamps[dc.name])
        Liar(world, dc, paris, lambda _, s=stamp: Pulled(some, [head(paris, some, 9)], [s], 5))
    await asyncio.sleep(30)
    [found] = tables.first_timestamps(oslo.log_file, oslo.log(paris).number, 0)
    assert found.data == b"final"


# -- questions ------------------------------------------------------------------------------------


@played
async def test_a_peer_whose_database_was_put_back_is_asked_for_all_rows(world: World):
    """Its serials began again; what it has since would else be taken for known."""
    _, paris, tokyo, oslo = await chain(world)
    await oslo.stop()
    some = lines(9)
    liar = Liar(world, tokyo, paris, lambda _: Pulled(some, [head(paris, some, 9)], [], 50))
    liar.serial = 50
    await oslo.start()
    await world.until(lambda: oslo.log(paris).sealed == 9)
    stamp = timestamp(paris, some, 9, b"late")
    liar._answer = lambda ask: Pulled([], [], [stamp] if ask.serial < 3 else [], 3)
    liar.serial = 3
    await asyncio.sleep(10)
    assert tables.first_timestamps(oslo.log_file, oslo.log(paris).number, 0) == [stamp]


@played
async def test_what_nobody_asks_for_is_answered(world: World):
    """Pages of logs that are not there, beyond their ends, and what is no question."""
    bucket, paris, tokyo, _ = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    origin, pull = f"farshore/{paris.dc_id}", paris.answers[PULL_CALL]
    for body in (
        b"",
        b"\xc1",
        b"\x91" * 500_000,
        encode([origin, -1, 0]),
        encode([origin, 2**63, 0]),
        encode([origin, 0, 2**64 - 1]),
        encode(["farshore/none", 0, 0]),
        encode([origin, paris.log().sealed + 1, 0]),
        encode([origin, SIZE_MAX, SIZE_MAX]),
    ):
        given = await paris.do(pull(body, tokyo.as_peer()))
        found = msgspec.msgpack.decode(given, type=Pulled)
        assert (found.entries, found.checkpoints, found.timestamps) == ([], [], [])
