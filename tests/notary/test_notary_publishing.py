"""`notary/publishing.py`: checkpoints, and witnesses that are there, away, late, or lie."""

import asyncio
import itertools
import re
from collections.abc import Callable

import msgspec
import pytest
from live_kit import AWAY, HANGS, Dc, World, played, verified
from notary_checker import SignatureFalse, verify_checkpoint
from notary_samples import vkeys_of

from dc.names.model import Bucket
from dc.rates import Terms
from notary import tables, tree
from notary.mirror import LOGS_CALL, PULL_CALL, LogShown, Pull, Pulled
from notary.note import Checkpoint, cosign, read_checkpoint, sign
from notary.publishing import WITNESS_CALL, encode_reply
from notary.witness import SIZE_TYPE, Reply, read_request


async def paired(world: World, *names: str) -> tuple[Dc, Bucket, list[Dc]]:
    """Paris with a notarized bucket, and its peers."""
    dc = await world.dc("paris")
    others = [await world.dc(name) for name in names]
    await dc.pair(*others)
    bucket = await dc.bucket()
    for other in others:
        await other.hear(bucket)
    return dc, bucket, others


def refusal(dc: Dc, other: Dc) -> str:
    return dc.notary.publisher.refusals.get(other.dc_id, "")


def asked_of(world: World, name: str) -> int:
    return world.calls.count(("paris", name, WITNESS_CALL))


@played
async def test_a_checkpoint_comes_within_a_second_with_all_signatures(world: World):
    dc, bucket, _ = await paired(world, "tokyo", "oslo", "lima")
    begun = world.loop.time()
    version = await dc.put(bucket, "k")
    await dc.published()
    assert world.loop.time() < begun + 1
    assert dc.signers() == {"tokyo", "oslo", "lima"} and dc.verify(witnesses=3)
    assert verified(await dc.certificate(version), witnesses=3)["stamp"] == version.stamp
    status = await dc.do(dc.notary.status())
    assert {one["name"]: one["signed"] for one in status["witnesses"]} == dict.fromkeys(
        ("tokyo", "oslo", "lima"), True
    )
    assert status["checkpoint"] == str(dc.checkpoint()) and status["published"] == 2


@played
async def test_while_entries_keep_coming_there_is_one_every_five_seconds(world: World):
    dc, bucket, _ = await paired(world, "tokyo")
    sizes = set()
    for number in range(120):
        await dc.put(bucket, f"k{number}")
        sizes.add(dc.log().sealed)
        await asyncio.sleep(0.25)
    await dc.published()
    assert 5 <= len(sizes) <= 8
    assert dc.verify(witnesses=1).size == 121


@played
async def test_who_is_away_signs_the_last_one_later(world: World):
    dc, bucket, (_, oslo) = await paired(world, "tokyo", "oslo")
    world.lines["paris", "oslo"] = AWAY
    version = await dc.put(bucket, "k")
    await dc.published()
    note = dc.checkpoint()
    assert dc.signers() == {"tokyo"} and "oslo cannot be reached" in refusal(dc, oslo)
    del world.lines["paris", "oslo"]
    await world.until(lambda: dc.signers() == {"tokyo", "oslo"}, 40)
    late = dc.checkpoint()
    assert late.body == note.body and set(note.signatures) < set(late.signatures)
    assert refusal(dc, oslo) == "" and verified(await dc.certificate(version), witnesses=2)
    asked = asked_of(world, "oslo")
    await asyncio.sleep(300)
    assert asked_of(world, "oslo") == asked, "who has signed is not asked again"


@played
async def test_who_hangs_is_waited_for_once(world: World):
    """The next checkpoints come without it as fast as if it were not there; from time to time it
    is asked again."""
    dc, bucket, (tokyo, oslo) = await paired(world, "tokyo", "oslo")
    world.lines["paris", "oslo"] = HANGS
    await dc.put(bucket, "first")
    begun = world.loop.time()
    await dc.published()
    assert 4.9 < world.loop.time() - begun < 6
    assert refusal(dc, oslo) == "it did not answer in time" and dc.signers() == {"tokyo"}
    for number in range(5):
        await asyncio.sleep(5)
        await dc.put(bucket, f"k{number}")
        begun = world.loop.time()
        await dc.published()
        assert world.loop.time() - begun < 1 and dc.signers() == {"tokyo"}
    before = asked_of(world, "oslo")
    for number in range(30):
        await dc.put(bucket, f"again{number}")
        await asyncio.sleep(2)
    assert 1 <= asked_of(world, "oslo") - before <= 3
    del world.lines["paris", "oslo"]
    await world.until(lambda: dc.signers() == {"tokyo", "oslo"}, 70)
    assert tokyo.alarms() == oslo.alarms() == []


def signed_wrongly(world: World, other: Dc, change: Callable[[Checkpoint], Checkpoint]):
    """Answers with its own cosignature, of something else."""

    async def lie(body: bytes, _peer) -> bytes:
        asked = read_request(body.decode())
        line = cosign(other.identity, change(asked.checkpoint), 1_800_000_000)
        return encode_reply(Reply(200, str(line)))

    return lie


def saying(answer: bytes):
    async def lie(_body: bytes, _peer) -> bytes:
        return answer

    return lie


LIES = {
    "nothing": (b"", "asking it failed"),
    "noise": (b"\xc1\xff", "asking it failed"),
    "no text": (b"\x92\xcc\xc8\xa1\xff", "asking it failed"),
    "depth": (b"\x91" * 100_000, "asking it failed"),
    "no signature": (encode_reply(Reply(200, "")), "no signatures"),
    "a refusal": (encode_reply(Reply(403, "no" * 9999)), r"it refuses \(403\): nono"),
    "no size": (encode_reply(Reply(409, "many\n", SIZE_TYPE)), r"it refuses \(409\): many"),
    "too large a size": (encode_reply(Reply(409, "99\n", SIZE_TYPE)), "has seen 99 entries"),
    "another size": (encode_reply(Reply(409, "1\n", SIZE_TYPE)), "keeps answering"),
}


@pytest.mark.parametrize("lie", LIES)
@played
async def test_a_witness_that_lies_holds_up_nobody(world: World, lie: str):
    dc, bucket, (_, oslo) = await paired(world, "tokyo", "oslo")
    answer, expected = LIES[lie]
    world.lies["oslo", WITNESS_CALL] = saying(answer)
    await dc.put(bucket, "k")
    begun = world.loop.time()
    await dc.published()
    assert world.loop.time() - begun < 1 and dc.signers() == {"tokyo"}
    assert re.search(expected, refusal(dc, oslo)) and len(refusal(dc, oslo)) <= 500
    status = await dc.do(dc.notary.status())
    assert {one["name"]: one["reason"] != "" for one in status["witnesses"]} == {
        "tokyo": False,
        "oslo": True,
    }
    assert not any("checkpoints" in name for name in status["errors"])
    del world.lies["oslo", WITNESS_CALL]
    await world.until(lambda: dc.signers() == {"tokyo", "oslo"})


@played
async def test_a_cosignature_of_something_else_is_not_published(world: World):
    dc, bucket, (_, oslo, lima) = await paired(world, "tokyo", "oslo", "lima")
    other = lambda one: one._replace(root=bytes(32))  # noqa: E731
    world.lies["oslo", WITNESS_CALL] = signed_wrongly(world, oslo, other)
    world.lies["lima", WITNESS_CALL] = signed_wrongly(world, oslo, lambda one: one)
    await dc.put(bucket, "k")
    await dc.published()
    assert dc.signers() == {"tokyo"}
    assert "signature of" in refusal(dc, oslo) and "without its cosignature" in refusal(dc, lima)
    text = str(dc.checkpoint()).encode()
    assert verify_checkpoint(text, vkeys_of(*(one.identity for one in world.dcs.values())))
    with pytest.raises(SignatureFalse):
        bad = cosign(oslo.identity, other(dc.checkpoint()), 1)
        verify_checkpoint(
            str(dc.checkpoint().with_signatures([bad])).encode(),
            vkeys_of(*(one.identity for one in world.dcs.values())),
        )


@pytest.mark.parametrize("days", [-1.1, -0.9, 0.9, 1.1, 2**62 / 86_400])
@played
async def test_a_cosignature_of_another_day_is_not_published(world: World, days: float):
    """A clock may be wrong. What is mirrored once with a later time than it was would stay."""
    dc, bucket, (_, oslo) = await paired(world, "tokyo", "oslo")

    async def lie(body: bytes, _peer) -> bytes:
        seconds = world.clock.wall_ms() // 1000 + int(days * 86_400)
        line = cosign(oslo.identity, read_request(body.decode()).checkpoint, seconds)
        return encode_reply(Reply(200, str(line)))

    world.lies["oslo", WITNESS_CALL] = lie
    await dc.put(bucket, "k")
    await dc.published()
    is_near = abs(days) < 1
    assert dc.signers() == ({"tokyo", "oslo"} if is_near else {"tokyo"})
    assert re.search(r"^$" if is_near else "more than a day from|is false", refusal(dc, oslo))


@played
async def test_a_witness_that_knows_another_size_than_is_thought(world: World):
    """After a start nothing is thought, and a witness may have gone on without this being known."""
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    await dc.put(bucket, "a")
    await dc.published()
    await dc.start_again()
    before = asked_of(world, "tokyo")
    await dc.put(bucket, "b")
    await dc.published()
    assert asked_of(world, "tokyo") == before + 2 and dc.signers() == {"tokyo"}
    before = asked_of(world, "tokyo")
    await dc.put(bucket, "c")
    await dc.published()
    assert asked_of(world, "tokyo") == before + 1
    tokyo.log_file.execute("UPDATE witnessed SET size = 1, note = ?", (str(sign_of(dc, 1)),))
    await dc.put(bucket, "d")
    await dc.published()
    assert dc.signers() == {"tokyo"} and tokyo.alarms() == []


def sign_of(dc: Dc, size: int) -> Checkpoint:
    """The checkpoint that the log would have signed at that size."""
    read = tables.tiles_of(dc.log_file, dc.log().number)
    return sign(dc.identity, size, tree.root(read, size))


@played
async def test_a_log_that_was_put_back_is_said_to_be_so(world: World):
    """By its own status, and as an alarm where it was witnessed."""
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    await dc.published()
    backups = [(file, dc.backup(file)) for file in (dc.log_file, dc.names_file)]
    for number in range(4):
        await dc.switch(bucket, number % 2 == 1)
    await dc.published()
    seen = dc.checkpoint()
    await dc.stop()
    for file, backup in backups:
        dc.put_back(file, backup)
    # Nobody can be asked for what is lacking, which it does not know of.
    world.lines["paris", "tokyo"] = AWAY
    await asyncio.sleep(20)
    await dc.start()
    await asyncio.sleep(15)
    del world.lines["paris", "tokyo"]
    await dc.put(bucket, "after")
    await dc.published()
    assert dc.signers() == set() and "put back to an older state" in refusal(dc, tokyo)
    [alarm] = tokyo.alarms()
    assert (alarm.origin, alarm.reason) == (f"farshore/{dc.dc_id}", "fork")
    assert read_checkpoint(alarm.known).size == seen.size == 5
    assert read_checkpoint(alarm.shown).size == 2
    status = await tokyo.do(tokyo.notary.status())
    assert [one["name"] for one in status["alarms"]] == ["paris"]
    for number in range(9):
        await dc.put(bucket, f"more{number}")
    await dc.published()
    assert [one.reason for one in tokyo.alarms()] == ["fork"], "it contradicts the same"
    assert "not shown to continue" in refusal(dc, tokyo) or "another root" in refusal(dc, tokyo)


@played
async def test_who_is_paused_or_reached_by_files_is_not_asked(world: World):
    dc, bucket, (tokyo, oslo) = await paired(world, "tokyo", "oslo")
    await dc.do(dc.names.set_terms(tokyo.dc_id, Terms(paused_ms=1)))
    await dc.do(dc.names.remove_peer(oslo.dc_id))
    await dc.do(dc.names.add_peer(msgspec.structs.replace(oslo.as_peer(), by_files=True)))
    await dc.put(bucket, "k")
    await dc.published()
    await asyncio.sleep(120)
    assert dc.signers() == set() and [one for one in world.calls if one[0] == "paris"] == []
    status = await dc.do(dc.notary.status())
    assert {one["name"]: (one["signed"], one["reason"]) for one in status["witnesses"]} == {
        "tokyo": (False, "it is paused"),
        "oslo": (False, "it is reached by files only"),
    }
    await dc.do(dc.names.set_terms(tokyo.dc_id, Terms()))
    await world.until(lambda: dc.signers() == {"tokyo"}, 40)


@played
async def test_what_waits_is_published_in_spans_at_once(world: World, monkeypatch):
    """So that a mirror can take each of them whole."""
    monkeypatch.setattr(tables, "SPAN_ENTRIES", 100)
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    await dc.published()
    some = [dc.version(bucket, f"k{number}") for number in range(350)]
    await asyncio.sleep(6)
    begun = world.loop.time()
    await dc.do(gathered(*(dc.names.put(one) for one in some)))
    await dc.published()
    assert world.loop.time() - begun < 8
    sizes = [row[0] for row in dc.log_file.execute("SELECT size FROM checkpoints ORDER BY size")]
    assert sizes[-1] == 351 and len(sizes) >= 5
    assert all(new - old <= 100 for old, new in itertools.pairwise(sizes))
    assert dc.verify(witnesses=1)
    await world.until(lambda: tokyo.has_all_of(dc))


@played
async def test_large_entries_make_short_spans(world: World, monkeypatch):
    monkeypatch.setattr(tables, "SPAN_BYTES", 1000)
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    for number in range(6):
        await dc.put(bucket, f"{number}" * 700)
    await dc.published()
    sizes = [row[0] for row in dc.log_file.execute("SELECT size FROM checkpoints ORDER BY size")]
    assert len(sizes) >= 6 and dc.verify(witnesses=1).size == 7
    await world.until(lambda: tokyo.has_all_of(dc))


async def gathered(*work) -> None:
    await asyncio.gather(*work)


@played
async def test_it_stops_in_the_middle_of_asking(world: World):
    dc, bucket, _ = await paired(world, "tokyo")
    world.lines["paris", "tokyo"] = HANGS
    version = await dc.put(bucket, "k")
    await asyncio.sleep(1)
    assert dc.log().size == 2 and dc.log().sealed == 0
    begun = world.loop.time()
    await dc.stop()
    assert world.loop.time() - begun < 1
    del world.lines["paris", "tokyo"]
    await dc.start()
    await dc.published()
    assert dc.signers() == {"tokyo"} and verified(await dc.certificate(version), witnesses=1)


@played
async def test_what_was_cosigned_can_be_put_back_at_once(world: World):
    """A log that loses its database after any cosignature, before it publishes or is mirrored."""
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    await dc.published()
    backup = dc.backup(dc.log_file)

    async def cosigns_and_the_log_is_lost(body: bytes, peer) -> bytes:
        given = await tokyo.answers[WITNESS_CALL](body, peer)
        world.loop.call_soon(dc.kill)
        return given

    world.lies["tokyo", WITNESS_CALL] = cosigns_and_the_log_is_lost
    for number in range(5):
        await dc.put(bucket, f"k{number}")
    await world.until(lambda: dc.node is None)
    del world.lies["tokyo", WITNESS_CALL]
    before = dc.lines()
    cosigned = tables.witnessed(tokyo.log_file, f"farshore/{dc.dc_id}")
    assert cosigned is not None and cosigned.size > 1
    dc.put_back(dc.log_file, backup)
    await dc.start()
    await dc.switch(bucket, False)
    await dc.published()
    assert dc.lines()[: cosigned.size] == before[: cosigned.size]
    await asyncio.sleep(40)
    assert dc.signers() == {"tokyo"} and tokyo.alarms() == []
    assert dc.verify(witnesses=1).size == dc.log().size


@played
async def test_nothing_is_cosigned_that_is_not_copied(world: World):
    """It is asked again soon, and signs when it has the entries; nobody waits for that."""
    dc, bucket, (tokyo,) = await paired(world, "tokyo")
    await dc.published()
    world.lines["tokyo", "paris"] = AWAY
    await dc.put(bucket, "k")
    begun = world.loop.time()
    await dc.published()
    assert world.loop.time() - begun < 6 and dc.signers() == set()
    assert "not copied yet: paris cannot be reached" in refusal(dc, tokyo)
    assert tokyo.log(dc).size == 1
    del world.lines["tokyo", "paris"]
    await world.until(lambda: dc.signers() == {"tokyo"}, 8)
    assert tokyo.log(dc).size == 2 and tokyo.alarms() == []


@played
async def test_what_is_not_published_is_given_to_its_own_log_only(world: World):
    """Whoever else asks the witness is not shown what was copied to be cosigned."""
    dc, bucket, (tokyo, oslo) = await paired(world, "tokyo", "oslo")
    await dc.published()
    world.lines["paris", "oslo"] = HANGS
    await dc.put(bucket, "k")
    await world.until(lambda: tokyo.log(dc).size == 2, 8)
    log = tokyo.log(dc)
    assert (log.size, log.sealed, dc.log().sealed) == (2, 1, 1)
    for asking, sizes in ((oslo, (1, 0)), (dc, (2, 1))):
        shown = msgspec.msgpack.decode(
            await tokyo.do(tokyo.answers[LOGS_CALL](b"", asking.as_peer())), type=list[LogShown]
        )
        pull = msgspec.msgpack.encode(Pull(log.origin, 1, 0, 2))
        pulled = msgspec.msgpack.decode(
            await tokyo.do(tokyo.answers[PULL_CALL](pull, asking.as_peer())), type=Pulled
        )
        sealed = {one.origin: one.sealed for one in shown}[log.origin]
        assert (sealed, len(pulled.entries)) == sizes
    del world.lines["paris", "oslo"]
    await dc.published()
    await world.until(lambda: tokyo.has_all_of(dc))
    assert tokyo.verify(of=dc, witnesses=1)
