"""`notary/witness.py`: every answer of tlog-witness, and what is an alarm. Proofs and trees are the
second reader's."""

import asyncio
import base64
import json
import sqlite3

import pytest
from live_kit import Dc, Died, World, played
from notary_checker import leaf, mth, proof, verify_checkpoint
from notary_samples import ALPHA, BETA, DELTA, GAMMA, SECONDS, vkeys_of

from notary import tables
from notary.note import Checkpoint, Signature, cosign, log_key, read_checkpoint, sign
from notary.publishing import decode_reply
from notary.witness import LATE_SECONDS, SIZE_TYPE, TEXT_TYPE, Reply
from tokens.identity import Identity

LEAVES = [leaf(b"entry %d" % number) for number in range(300)]
OTHERS = [leaf(b"other %d" % number) for number in range(300)]


def signed(size: int, leaves: list[bytes] = LEAVES, identity: Identity = ALPHA) -> Checkpoint:
    return sign(identity, size, mth(leaves[:size]))


def forked(at: int) -> list[bytes]:
    """Another log from that entry on."""
    return LEAVES[:at] + OTHERS[at:]


def body(old: int, checkpoint: Checkpoint | str, leaves: list[bytes] = LEAVES) -> bytes:
    """A request, with the proof that fits these leaves."""
    size = checkpoint.size if isinstance(checkpoint, Checkpoint) else 0
    path = proof(old, leaves[:size]) if 0 < old < size else []
    lines = "".join(base64.b64encode(one).decode() + "\n" for one in path)
    return f"old {old}\n{lines}\n{checkpoint}".encode()


class Asking:
    """Tokyo's witness, which knows Paris (ALPHA)."""

    def __init__(self, dc: Dc, paris: Dc) -> None:
        self.dc, self.paris = dc, paris

    async def __call__(self, request: bytes, *, by_log: bool = False) -> Reply:
        witness = self.dc.notary.witness
        peers = [self.paris.as_peer()]
        return await self.dc.do(witness.add_checkpoint(request, peers, by_log=by_log))

    async def past(self, size: int, leaves: list[bytes] = LEAVES) -> None:
        """Let it have cosigned one of that size, a while ago."""
        last = tables.witnessed(self.dc.log_file, self.paris.log_origin)
        old = last.size if last else 0
        reply = await self(body(old, signed(size, leaves), leaves), by_log=True)
        assert reply.status == 200
        await asyncio.sleep(LATE_SECONDS)

    @property
    def alarms(self) -> list[str]:
        return [one.reason for one in self.dc.alarms()]

    @property
    def last(self) -> Checkpoint | None:
        return tables.witnessed(self.dc.log_file, self.paris.log_origin)


async def asking(world: World, copied: int = 300) -> Asking:
    """`copied`: so many of the log's entries are there."""
    paris = Dc(world, "paris")
    paris.log_origin = f"farshore/{paris.dc_id}"
    world.dcs[paris.dc_id] = paris
    made = Asking(await world.dc("tokyo"), paris)
    await copy(made.dc, copied)
    return made


async def copy(dc: Dc, size: int) -> None:
    """What a log wants to have cosigned is copied before; here by hand."""

    def act(db: sqlite3.Connection) -> None:
        log = tables.begin_log(db, signed(1).origin, ALPHA.public.signing_key)
        tables.append(db, log, [b"entry %d" % number for number in range(log.size, size)])

    await dc.do(dc.store.act(act))


@played
async def test_it_cosigns_what_continues_the_last_one(world: World):
    """In any steps; the signature is durable, and is of the time it was made."""
    ask = await asking(world)
    old = 0
    for size in (1, 1, 2, 3, 7, 8, 255, 256, 257, 300):
        checkpoint = signed(size)
        reply = await ask(body(old, checkpoint))
        assert (reply.status, reply.content_type) == (200, TEXT_TYPE)
        whole = (str(checkpoint) + reply.body).encode()
        head = verify_checkpoint(whole, vkeys_of(ALPHA, BETA), 1)
        assert head.witnesses == [f"farshore/{BETA.dc_id}/witness"]
        seconds = int.from_bytes(base64.b64decode(reply.body.split()[2])[4:12], "big")
        assert SECONDS <= seconds <= SECONDS + 60
        assert str(ask.last) == whole.decode()
        old = size
    await ask.dc.start_again()
    assert (await ask(body(0, signed(300)))).body == "300\n"
    assert (await ask(body(300, signed(300)))).status == 200
    assert ask.alarms == []


@played
async def test_the_first_one_may_have_any_size(world: World):
    ask = await asking(world)
    assert (await ask(body(0, signed(0)))).status == 200
    assert (await ask(body(0, signed(77)))).status == 200


BAD = {
    "nothing": b"",
    "no old size": str(signed(7)).encode(),
    "a leading zero": body(7, signed(7)).replace(b"old 7", b"old 07"),
    "a sign": body(7, signed(7)).replace(b"old 7", b"old -7"),
    "too large an old size": body(7, signed(7)).replace(b"old 7", b"old " + b"9" * 30),
    "two words": body(7, signed(7)).replace(b"old 7", b"old 7 7"),
    "no empty line": body(7, signed(7)).replace(b"\n\n", b"\n"),
    "a proof that is no base64": body(3, signed(7)).replace(b"old 3\n", b"old 3\n*\n"),
    "a short hash": body(3, signed(7)).replace(b"old 3\n", b"old 3\nAAAA\n"),
    "a long proof": b"old 3\n" + (base64.b64encode(bytes(32)) + b"\n") * 64 + b"\n",
    "no checkpoint": b"old 3\n\nfarshore/x\n",
    "no UTF-8": body(7, signed(7)) + b"\xff",
    "another last line": body(7, signed(7)) + b"\n",
    "an old size beyond": body(8, signed(7)),
    "extension lines": body(7, str(signed(7)).replace("\n\n", "\nmore\n\n")),
}


@pytest.mark.parametrize("what", BAD)
@played
async def test_400_for_what_is_no_request(world: World, what: str):
    ask = await asking(world)
    reply = await ask(BAD[what])
    assert (reply.status, reply.content_type) == (400, TEXT_TYPE) and len(reply.body) > 10
    assert (ask.last, ask.alarms) == (None, [])


@played
async def test_404_for_a_log_that_is_not_known(world: World):
    ask = await asking(world)
    for identity in (GAMMA, BETA):
        reply = await ask(body(0, signed(7, identity=identity)))
        assert (reply.status, reply.body) == (404, "this log is not known here\n")


@played
async def test_403_for_what_the_log_has_not_signed(world: World):
    ask = await asking(world)
    false = signed(7)._replace(size=8)
    name = log_key(ALPHA.public.signing_key).name
    cases = {
        "false": false,
        "by another": signed(7)._replace(signatures=signed(7, identity=GAMMA).signatures),
        "of another key": signed(7)._replace(signatures=(Signature(name, b"abcd", bytes(64)),)),
        "a witness's": signed(7)._replace(signatures=(cosign(ALPHA, signed(7), SECONDS),)),
    }
    for what, checkpoint in cases.items():
        reply = await ask(body(0, checkpoint))
        assert reply.status == 403 and "sign" in reply.body, what
    assert (ask.last, ask.alarms) == (None, [])


@played
async def test_signatures_of_others_are_left_out(world: World):
    """And are not kept, however many there are."""
    ask = await asking(world)
    junk = [Signature(f"junk{number}", b"abcd", bytes(70)) for number in range(90)]
    reply = await ask(body(0, signed(7).with_signatures(junk)))
    assert reply.status == 200 and len(ask.last.signatures) == 2


@played
async def test_409_with_the_size_that_is_known(world: World):
    ask = await asking(world)
    assert await ask(body(3, signed(7))) == Reply(409, "0\n", SIZE_TYPE)
    await ask.past(5)
    for old in (0, 3, 6, 7):
        assert await ask(body(old, signed(7))) == Reply(409, "5\n", SIZE_TYPE)
    assert (await ask(body(5, signed(7)))).status == 200
    assert ask.alarms == []


@played
async def test_422_for_a_proof_that_is_none(world: World):
    """That is no alarm: anybody can send it."""
    ask = await asking(world)
    await ask.past(5)
    good = body(5, signed(7)).decode()
    first = good.split("\n")[1]
    for bad in (
        good.replace(first + "\n", ""),
        good.replace(first, base64.b64encode(bytes(32)).decode()),
        good.replace(first, f"{first}\n{first}"),
    ):
        reply = await ask(bad.encode())
        assert reply.status == 422 and "not shown to continue" in reply.body
    extra = body(0, signed(7)).decode().replace("old 0\n", f"old 0\n{first}\n")
    assert (await ask(extra.encode())).status == 409
    assert (ask.last.size, ask.alarms) == (5, [])


@played
async def test_422_for_a_proof_from_nothing(world: World):
    ask = await asking(world)
    line = base64.b64encode(bytes(32))
    reply = await ask(body(0, signed(7)).replace(b"old 0\n", b"old 0\n" + line + b"\n"))
    assert (reply.status, ask.last) == (422, None)


# -- what is an alarm -----------------------------------------------------------------------------


@pytest.mark.parametrize("by_log", [True, False])
@played
async def test_a_fork_of_the_same_size(world: World, by_log: bool):
    """Signed twice: an alarm whoever shows it, with both, once."""
    ask = await asking(world)
    await ask.past(7)
    fork = signed(7, forked(3))
    for old in (7, 7, 0):
        reply = await ask(body(old, fork), by_log=by_log)
        assert reply.status == 409
        assert reply.content_type == (TEXT_TYPE if old else SIZE_TYPE)
        assert ("another root" in reply.body) == (old == 7)
    [alarm] = ask.dc.alarms()
    assert (alarm.origin, alarm.reason) == (signed(7).origin, "fork")
    assert "rewritten" in alarm.text and alarm.time_ms > SECONDS * 1000
    known, shown = read_checkpoint(alarm.known), read_checkpoint(alarm.shown)
    for one in (alarm.known, alarm.shown):
        assert verify_checkpoint(one.encode(), vkeys_of(ALPHA))
    assert (known.size, shown.size) == (7, 7) and known.root != shown.root
    assert ask.last.root == signed(7).root
    await ask.dc.do(ask.dc.notary.forget_alarm(alarm.id))
    assert ask.alarms == []


@played
async def test_junk_signatures_make_no_further_alarms(world: World):
    """Nor do other checkpoints that contradict the same."""
    ask = await asking(world)
    await ask.past(7)
    name = signed(7).origin
    for number in range(5):
        junk = [Signature(name, b"%04d" % number, bytes(64)), Signature("x", b"abcd", bytes(9))]
        await ask(body(7, signed(7, forked(3)).with_signatures(junk)))
    fork = signed(7, forked(3))
    await ask(body(7, fork._replace(signatures=(*junk, *fork.signatures))))
    [alarm] = ask.dc.alarms()
    assert read_checkpoint(alarm.shown).signatures == fork.signatures
    for number in range(5):
        root = mth([leaf(b"%d" % number)])
        await ask(body(7, sign(ALPHA, 7, root)))
    assert ask.dc.alarms() == [alarm]


@pytest.mark.parametrize("by_log", [True, False])
@played
async def test_a_fork_that_has_grown(world: World, by_log: bool):
    """By a proof that fails; only the log itself is to be blamed for that."""
    ask = await asking(world)
    await ask.past(7)
    reply = await ask(body(7, signed(9, forked(3)), forked(3)), by_log=by_log)
    assert reply.status == 422 and "not shown to continue" in reply.body
    assert ask.alarms == (["fork"] if by_log else [])
    assert ask.last.size == 7
    assert (await ask(body(7, signed(9)), by_log=True)).status == 200, "the true one goes on"


@played
async def test_an_old_checkpoint_that_anybody_shows(world: World):
    ask = await asking(world)
    await ask.past(7)
    assert await ask(body(0, signed(5))) == Reply(409, "7\n", SIZE_TYPE)
    assert (await ask(body(7, signed(5)))).status == 400
    assert (ask.last.size, ask.alarms) == (7, [])


@played
async def test_an_old_checkpoint_that_the_log_shows(world: World):
    ask = await asking(world)
    await ask.past(7)
    assert await ask(body(0, signed(5)), by_log=True) == Reply(409, "7\n", SIZE_TYPE)
    [alarm] = ask.dc.alarms()
    assert alarm.reason == "rollback" and "it had 7, and shows 5" in alarm.text
    assert (ask.last.size, len(ask.dc.alarms())) == (7, 1)
    status = await ask.dc.do(ask.dc.notary.status())
    assert json.loads(json.dumps(status["alarms"]))[0]["reason"] == "rollback"


@played
async def test_an_old_request_that_was_overtaken_is_no_rollback(world: World):
    ask = await asking(world)
    await ask.past(3)
    assert (await ask(body(3, signed(7)), by_log=True)).status == 200
    await asyncio.sleep(LATE_SECONDS / 2)
    assert (await ask(body(3, signed(5)), by_log=True)).body == "7\n"
    assert ask.alarms == []
    await asyncio.sleep(LATE_SECONDS)
    await ask(body(3, signed(5)), by_log=True)
    assert ask.alarms == ["rollback"]


@played
async def test_what_is_mirrored_counts_like_what_was_cosigned(world: World):
    """The log showed its witness one tree and its mirrors another."""
    ask = await asking(world, 9)
    await ask.past(3)
    await mirrored(ask)
    for size, old in ((5, 3), (2, 3), (9, 3)):
        fork = signed(size, forked(1 if size == 2 else 3))
        reply = await ask(body(min(old, size), fork, forked(3)))
        assert reply.status == (409 if size == 2 else 422)
        assert ask.alarms == ["fork"]
        assert read_checkpoint(ask.dc.alarms()[0].known).size == 9
        await ask.dc.do(ask.dc.notary.forget_alarm(ask.dc.alarms()[0].id))
    assert (await ask(body(3, signed(5)))).status == 200 and ask.alarms == []


@played
async def test_a_fork_is_an_alarm_also_after_one_that_is_not_forgotten(world: World):
    """The log has gone back to what it had signed before, and forks later once more."""
    ask = await asking(world)
    await ask.past(5)
    for size in (5, 6, 7):
        await ask(body(5, signed(size, forked(3)), forked(3)), by_log=True)
        assert ask.alarms == ["fork"]
    await ask.past(9)
    for size in (9, 10):
        await ask(body(9, signed(size, forked(8)), forked(8)), by_log=True)
        assert ask.alarms == ["fork", "fork"]
    assert [read_checkpoint(one.known).size for one in ask.dc.alarms()] == [5, 9]


async def mirrored(ask: Asking) -> None:
    """Its nine entries are published."""

    def act(db: sqlite3.Connection) -> None:
        tables.put_checkpoint(db, tables.the_log(db, signed(1).origin), signed(9))

    await ask.dc.do(ask.dc.store.act(act))


@pytest.mark.parametrize("first", [0, 3])
@played
async def test_what_grows_has_to_continue_the_mirror(world: World, first: int):
    """Not only what was cosigned last, or nothing was: the mirror may be further."""
    ask = await asking(world, 9)
    if first:
        await ask.past(first)
    await mirrored(ask)
    fork = forked(5)
    for by_log, alarms in ((False, []), (True, ["fork"])):
        reply = await ask(body(first, signed(20, fork), fork), by_log=by_log)
        assert (reply.status, reply.body) == (409, "9\n")
        reply = await ask(body(9, signed(20, fork), fork), by_log=by_log)
        assert (reply.status, ask.alarms) == (422, alarms)
    [alarm] = ask.dc.alarms()
    assert [read_checkpoint(one).size for one in (alarm.known, alarm.shown)] == [9, 20]
    assert (await ask(body(first, signed(20)))).body == "9\n"
    assert (await ask(body(9, signed(20)))).status == 503
    await copy(ask.dc, 20)
    assert (await ask(body(9, signed(20)))).status == 200


@played
async def test_of_two_at_once_one_is_cosigned(world: World):
    """Looking and noting is one transaction: the last one noted is never an older one."""
    ask = await asking(world)
    await ask.past(3)
    fork = forked(4)
    replies = await asyncio.gather(
        ask(body(3, signed(9))),
        ask(body(3, signed(6))),
        ask(body(3, signed(8, fork), fork)),
        ask(body(3, signed(7))),
    )
    assert sorted(one.status for one in replies) == [200, 409, 409, 409]
    sizes = (9, 6, 8, 7)
    [won] = [size for size, one in zip(sizes, replies, strict=True) if one.status == 200]
    assert ask.last.size == won
    assert {one.body for one in replies if one.status == 409} == {f"{won}\n"}


@pytest.mark.parametrize("after", [False, True])
@played
async def test_it_cosigns_only_what_is_durable(world: World, after: bool):
    """A process that dies in between has given no cosignature, whether it was noted or not."""
    ask = await asking(world)
    await ask.past(3)
    await ask.dc.stop()
    await ask.dc.start(notary=False)
    # The first one is to look whether its entries are there.
    ask.dc.databases.fuse, ask.dc.databases.fuse_after = 2, after
    with pytest.raises(Died):
        await ask(body(3, signed(9)))
    await ask.dc.start()
    assert ask.last.size == (9 if after else 3)
    reply = await ask(body(ask.last.size, signed(9)), by_log=True)
    assert (reply.status, ask.last.size, ask.alarms) == (200, 9, [])


@played
async def test_it_gives_nothing_out_when_noting_fails(world: World):
    ask = await asking(world)
    await ask.past(3)
    await ask.dc.stop()
    await ask.dc.start(notary=False)
    ask.dc.databases.commit_fuse = 1
    with pytest.raises(sqlite3.OperationalError):
        await ask(body(3, signed(9)))
    assert ask.last.size == 3 and (await ask(body(3, signed(5)))).status == 200


@played
async def test_a_peer_asks_for_its_own_log_only(world: World):
    """A call between datacenters: nobody makes another's rollback an alarm."""
    tokyo, paris = await world.dc("tokyo"), await world.dc("paris")
    lima = Dc(world, "lima")
    await tokyo.pair(paris)
    await copy(tokyo, 7)
    answer = tokyo.answers["notary-witness"]
    for request, status in (
        (body(0, signed(7)), 200),
        (body(0, signed(7, identity=DELTA)), 404),
        (b"x" * (64 << 10), 400),
        (b"x" * (64 << 10) + b"x", 400),
    ):
        given = await tokyo.do(answer(request, paris.as_peer()))
        reply = decode_reply(given)
        assert reply.status == status
        assert (reply.body == "the request is too long\n") == (len(request) > 64 << 10)
    given = await tokyo.do(answer(body(0, signed(5)), lima.as_peer()))
    assert decode_reply(given).status == 404 and tokyo.alarms() == []
