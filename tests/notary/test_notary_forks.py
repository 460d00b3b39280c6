"""Logs that were rewritten or put back: who sees it, and what becomes of it."""

import asyncio

import msgspec
import pytest
from live_kit import AWAY, HANGS, Dc, World, played, verified
from mirror_kit import Liar, Stamper, chain, encode, error_of, head, lines, nothing_of, root_of

from dc.channel import ChannelFailed
from dc.names.model import Bucket, Peer
from dc.rates import Terms
from notary import mirror, tables
from notary.errors import NotaryRefused
from notary.mirror import PULL_CALL, Pull, Pulled
from notary.note import read_checkpoint, sign


def rewritten(dc: Dc) -> None:
    """By hand: the second entry is another, and the tree and checkpoints are made to fit."""
    db, log = dc.log_file, dc.log()
    some = dc.lines()
    some[1] = some[1].replace(b'"size":', b'"size":9')
    for table in ("entries", "tiles", "checkpoints"):
        db.execute(f"DELETE FROM {table} WHERE log = ?", (log.number,))
    db.execute("UPDATE logs SET size = 0, sealed = 0 WHERE number = ?", (log.number,))
    log = tables.append(db, log._replace(size=0, sealed=0), some)
    tables.put_checkpoint(db, log, sign(dc.identity, log.size, root_of(some)))


@played
async def test_a_rewritten_log_is_caught_by_its_peers(world: World):
    """What they mirrored stays; they alarm once, and do not cosign what comes."""
    bucket, paris, tokyo, oslo = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: oslo.has_all_of(paris))
    before, note = tokyo.lines(paris), str(tokyo.checkpoint(paris))
    await paris.stop()
    rewritten(paris)
    await asyncio.sleep(20)
    await paris.start()
    await world.until(lambda: tokyo.alarms())
    await paris.put(bucket, "more")
    await paris.published()
    await asyncio.sleep(60)
    assert paris.signers() == set()
    for one in (tokyo, oslo):
        assert one.lines(paris) == before and str(one.checkpoint(paris)) == note
    assert {one.reason for one in tokyo.alarms()} == {"fork"}
    assert all(one.origin == f"farshore/{paris.dc_id}" for one in tokyo.alarms())
    assert len(tokyo.alarms()) <= 3 and "not those of a checkpoint" in await error_of(tokyo)
    shown = read_checkpoint(tokyo.alarms()[0].shown)
    assert shown.root != read_checkpoint(tokyo.alarms()[0].known).root


@played
async def test_a_fork_that_a_relay_shows_is_an_alarm_only_if_it_is_signed(world: World):
    """A contradiction to what is mirrored needs the log's own signature on another tree."""
    bucket, paris, tokyo, oslo = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: oslo.has_all_of(paris))
    before, size = oslo.lines(paris), oslo.log(paris).size
    other = [*before[:-1], *lines(1, "x")]
    more = [*before, *lines(3, "x")]
    answers = [
        Pulled(more[size:], [head(paris, [*before, *lines(3)], size + 3)], [], 50),
        Pulled([], [head(paris, other, size)], [], 51),
    ]
    for serial, answer, alarms in ((50, answers[0], []), (51, answers[1], ["fork"])):
        liar = Liar(world, tokyo, paris, lambda _, a=answer: a, sealed=size + 3)
        liar.serial = serial
        await world.until(lambda: len(liar.pulls) >= 2)  # noqa: B023
        await asyncio.sleep(1)
        assert [one.reason for one in oslo.alarms()] == alarms
        assert oslo.lines(paris) == before


@played
async def test_a_log_that_shows_its_witness_another_tree_than_its_mirrors(world: World):
    """It is seen when the mirror comes to where it was witnessed."""
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    await tokyo.bucket()
    some, other = lines(9), lines(9, "x")

    def witness(db) -> None:
        tables.set_witnessed(db, read_checkpoint(head(paris, other, 5)))

    await tokyo.do(tokyo.store.act(witness))
    Liar(world, paris, paris, lambda _: Pulled(some, [head(paris, some, 9)], [], 5))
    await tokyo.pair(paris)
    await world.until(lambda: tokyo.alarms())
    [alarm] = tokyo.alarms()
    assert alarm.reason == "fork" and read_checkpoint(alarm.known).size == 5
    assert read_checkpoint(alarm.shown).size == 9 and nothing_of(tokyo, paris)


@played
async def test_a_log_that_was_put_back_comes_back_from_its_peers(world: World):
    """Before anything is added to it. So it contradicts nothing, and goes on being witnessed."""
    bucket, paris, tokyo, _ = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    backup = paris.backup(paris.log_file)
    for number in range(5):
        await paris.put(bucket, f"k{number}")
    await paris.published()
    before = paris.lines()
    await asyncio.sleep(8)
    await paris.stop()
    paris.put_back(paris.log_file, backup)
    assert len(paris.lines()) < len(before)
    await paris.start()
    await paris.put(bucket, "after")
    await paris.published()
    assert paris.lines()[:-1] == before
    assert "tokyo" in paris.signers() and tokyo.alarms() == []
    paris.verify()


async def lost(world: World, paris: Dc, tokyo: Dc, bucket: Bucket) -> list[bytes]:
    """Paris has lost its notary's database, and is down. Its entries, which Tokyo has."""
    fresh = paris.backup(paris.log_file)
    for number in range(6):
        await paris.put(bucket, f"k{number}", read=number % 2 == 0)
        await paris.published()
    await world.until(lambda: tokyo.has_all_of(paris))
    await paris.stop()
    before = paris.lines()
    paris.put_back(paris.log_file, fresh)
    assert len(paris.lines()) <= 1
    return before


async def came_back(world: World, paris: Dc, tokyo: Dc, before: list[bytes]) -> None:
    await world.until(lambda: len(paris.lines()) > len(before), 300)
    await paris.published()
    assert paris.lines()[:-1] == before and tokyo.alarms() == []
    await world.until(lambda: "tokyo" in paris.signers())
    paris.verify()


@played
async def test_hooks_are_told_of_what_came_back(world: World):
    """At once: it is published, and nothing may be written for long."""
    bucket, paris, tokyo, _ = await chain(world, Stamper())
    before = await lost(world, paris, tokyo, bucket)
    await paris.start()
    await world.until(lambda: paris.lines() == before)

    def told() -> bool:
        [hook] = paris.notary._runners
        return hook.position[1] == len(before)

    await world.until(told, 10)
    assert paris.log().sealed == len(before), "nothing was added"


@played
async def test_a_long_log_comes_back_to_its_end(world: World, monkeypatch: pytest.MonkeyPatch):
    """However long that takes, if it goes on; whatever the peer has of other logs comes later."""
    monkeypatch.setattr(mirror, "ROWS_MAX", 1)
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    await tokyo.put(await tokyo.bucket("other"), "k")
    await tokyo.published()
    await paris.pair(tokyo)
    bucket = await paris.bucket()
    await tokyo.hear(bucket)
    before = await lost(world, paris, tokyo, bucket)
    asked: list[str] = []

    async def slow(body: bytes, peer: Peer) -> bytes:
        asked.append(msgspec.msgpack.decode(body, type=Pull).origin)
        await asyncio.sleep(9)
        return await tokyo.answers[PULL_CALL](body, peer)

    world.lies["tokyo", PULL_CALL] = slow
    world.lines["tokyo", "paris"] = AWAY
    await paris.start()
    await paris.put(bucket, "after")
    while paris.log().size < len(before):
        await asyncio.sleep(0.01)
        assert paris.waiting() == 1, "what comes back is not noted again"
    # When all is there, the next one is asked for at once.
    assert world.loop.time() > 60 and set(asked[:-1]) == {f"farshore/{paris.dc_id}"}
    world.lines.clear()
    await came_back(world, paris, tokyo, before)


@played
async def test_a_peer_that_comes_a_little_later_is_asked_again(world: World):
    bucket, paris, tokyo, _ = await chain(world)
    before = await lost(world, paris, tokyo, bucket)
    world.lines["paris", "tokyo"] = AWAY
    await paris.start()
    await paris.put(bucket, "after")
    await asyncio.sleep(600)
    assert len(paris.lines()) <= 1 and paris.waiting() == 1, "it knows that it had more"
    assert "no answer of tokyo" in await error_of(paris)
    world.lines.clear()
    await came_back(world, paris, tokyo, before)
    status = await paris.do(paris.notary.status())
    assert (status["restoring"], status["errors"]) == ("", {})


@played
async def test_what_a_peer_proves_and_does_not_give_is_waited_for(world: World):
    """Writes go on meanwhile. An operator may give up what is lost: the witness alarms, and the log
    goes on for good without its signature."""
    bucket, paris, tokyo, _ = await chain(world)
    before = await lost(world, paris, tokyo, bucket)
    given, pull = [], tokyo.answers[PULL_CALL]

    async def nothing(body: bytes, peer: Peer) -> bytes:
        given.append(peer.name)
        asked = msgspec.msgpack.decode(body, type=Pull)
        none = encode(Pulled([], [], [], asked.serial))
        return none if peer.name == "paris" else await pull(body, peer)

    world.lies["tokyo", PULL_CALL] = nothing
    await paris.start()
    versions = [await paris.put(bucket, f"after{number}") for number in range(9)]
    await asyncio.sleep(600)
    there = paris.lines()
    assert len(there) <= 1 and paris.waiting() == 9 and "paris" in given
    status = await paris.do(paris.notary.status())
    assert f"tokyo shows that the log has signed {len(before)} entries" in status["restoring"]
    assert "waits for its entries" in status["errors"]["notary log"]
    await paris.do(paris.notary.accept_loss())
    await paris.published()
    status = await paris.do(paris.notary.status())
    assert status["restoring"] == "" and tokyo.lines(paris) == before
    assert verified(await paris.certificate(versions[-1]))["key"] == "after8"
    with pytest.raises(NotaryRefused):
        await paris.do(paris.notary.accept_loss())
    await world.until(lambda: [one.reason for one in tokyo.alarms()] == ["fork"])
    assert paris.signers() == set()
    await paris.start_again()
    await paris.put(bucket, "again")
    await paris.published(9)
    assert paris.verify().size == paris.log().size > len(versions)


@played
async def test_what_was_given_up_is_so_after_a_restart(world: World):
    """At once, before anything was added."""
    bucket, paris, tokyo, _ = await chain(world)
    await lost(world, paris, tokyo, bucket)
    world.lies["tokyo", PULL_CALL] = hanging
    await paris.start()
    await world.until(lambda: "tokyo" in paris.notary._own_log.waits_for)
    await paris.do(paris.notary.accept_loss())
    await paris.start_again()
    await paris.put(bucket, "after")
    await paris.published()
    assert "after" in {key for _, key, _ in paris.told()}


@pytest.mark.parametrize("shows", [False, True])
@played
async def test_what_a_paused_peer_may_have_is_waited_for(world: World, shows: bool):
    """It has cosigned before: it is paused when the log is lost, or when it has shown what it has.
    To pause it gives nothing up."""
    bucket, paris, tokyo, _ = await chain(world)
    before = await lost(world, paris, tokyo, bucket)
    await paris.start(notary=shows)
    if shows:
        world.lies["tokyo", PULL_CALL] = hanging
        await world.until(lambda: "tokyo shows" in paris.notary._own_log.waits_for)
    await paris.do(paris.names.set_terms(tokyo.dc_id, Terms(paused_ms=1)))
    if not shows:
        await paris.start_again()
    await paris.put(bucket, "after")
    await asyncio.sleep(60)
    assert len(paris.lines()) <= 1 and paris.waiting() == 1
    assert "tokyo (which is paused)" in await error_of(paris)
    world.lies.clear()
    await paris.do(paris.names.set_terms(tokyo.dc_id, Terms()))
    await came_back(world, paris, tokyo, before)


async def hanging(_body: bytes, _peer: Peer) -> bytes:
    await asyncio.sleep(1e6)
    return b""


@played
async def test_a_peer_that_breaks_off_goes_on_when_it_is_back(world: World, monkeypatch):
    """More of the log is known to be there."""
    monkeypatch.setattr(mirror, "ROWS_MAX", 1)
    bucket, paris, tokyo, _ = await chain(world)
    before = await lost(world, paris, tokyo, bucket)
    pulls = 0

    async def breaking(body: bytes, peer: Peer) -> bytes:
        nonlocal pulls
        pulls += 1
        if pulls == 3:
            world.lines["paris", "tokyo"] = AWAY
            raise ChannelFailed("it went away")
        return await tokyo.answers[PULL_CALL](body, peer)

    world.lies["tokyo", PULL_CALL] = breaking
    await paris.start()
    await paris.put(bucket, "after")
    await asyncio.sleep(40)
    assert 0 < len(paris.lines()) < len(before)
    world.lines.clear()
    await came_back(world, paris, tokyo, before)


@pytest.mark.parametrize("trouble", [HANGS, AWAY])
@played
async def test_peers_that_are_away_hold_up_the_own_log_for_a_while_only(world: World, trouble: str):
    bucket, paris, _, _ = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    await paris.stop()
    world.lines["paris", "tokyo"] = trouble
    await paris.start()
    began = world.loop.time()
    await paris.put(bucket, "after")
    await paris.published()
    assert 9 < world.loop.time() - began < 16


@pytest.mark.parametrize(
    "answer",
    [Pulled([], [], [], 5), Pulled(lines(9), [], [], 5)],
    ids=["nothing", "no checkpoint"],
)
@pytest.mark.parametrize("note", ["", "no checkpoint", "of another", "of another size", "false"])
@played
async def test_who_says_that_more_is_there_and_does_not_prove_it_holds_up_nobody(
    world: World, answer: Pulled, note: str
):
    """What the log has not signed is no reason to wait."""
    bucket, paris, tokyo, _ = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    await paris.stop()
    liar = Liar(world, tokyo, paris, lambda _: answer, sealed=1000)
    liar.note = {
        "of another": str(sign(tokyo.identity, 1000, bytes(32))),
        "of another size": str(paris.checkpoint()),
        "false": str(sign(paris.identity, 999, bytes(32))).replace("\n999\n", "\n1000\n"),
    }.get(note, note)
    await paris.start()
    began = world.loop.time()
    await paris.put(bucket, "after")
    await paris.published()
    assert world.loop.time() - began < 8


@played
async def test_of_a_log_that_was_put_back_all_have_the_same_checkpoints(world: World):
    """It asks for a cosignature once more that it had forgotten, and gets another one. That is news
    to its mirror, though there were as many rows before."""
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    await paris.pair(tokyo)
    bucket = await paris.bucket()
    await tokyo.hear(bucket)
    await paris.put(bucket, "k")
    world.lines["paris", "tokyo"] = AWAY
    await paris.published()
    backup = paris.backup(paris.log_file)
    world.lines.clear()
    await world.until(lambda: paris.signers() == {"tokyo"} == tokyo.signers(paris))
    await paris.stop()
    paris.put_back(paris.log_file, backup)
    await asyncio.sleep(20)
    await paris.start()
    await world.until(lambda: paris.signers() == {"tokyo"})
    await world.until(lambda: paris.checkpoint() == tokyo.checkpoint(paris))
    assert not tokyo.alarms()


@played
async def test_a_backup_of_a_history_that_was_given_up(world: World):
    """Its entries were published by nobody, and were lost before. Without it all comes back."""
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    await paris.pair(tokyo)
    empty = paris.backup(paris.log_file)
    bucket = await paris.bucket()
    await tokyo.hear(bucket)
    await paris.switch(bucket, False)
    await world.until(lambda: paris.log().size == 2, every=0.001)
    given_up = paris.backup(paris.log_file)
    assert paris.log().sealed == 0
    await paris.stop()
    paris.put_back(paris.log_file, empty)
    await paris.start()
    await paris.switch(bucket, True)
    for number in range(3):
        await paris.put(bucket, f"k{number}")
    await paris.published()
    await world.until(lambda: tokyo.has_all_of(paris))
    before = paris.lines()
    for backup, comes_back in ((given_up, False), (empty, True)):
        await paris.stop()
        paris.put_back(paris.log_file, backup)
        await paris.start()
        await asyncio.sleep(60)
        assert (paris.lines() == before) == comes_back
        assert ("are not those of a checkpoint" in await error_of(paris)) != comes_back
    await paris.put(bucket, "after")
    await came_back(world, paris, tokyo, before)
