"""`notary/signers.py`: whose cosignatures a mirror keeps. The log says who, no relay does."""

import asyncio

import pytest
from live_kit import World, played
from mirror_kit import Answering, Liar, chain, lines, root_of, signers_of
from notary_samples import ALPHA, BETA, DELTA, GAMMA, SECONDS

from notary import tables
from notary.mirror import Pulled
from notary.note import SIZE_MAX, Checkpoint, Signature, cosign, sign, signed_text
from notary.signers import is_signer, key_of, public_of, signer
from tokens.identity import Identity

SOME = lines(9)
HEAD = sign(ALPHA, 9, root_of(SOME))
BETA_KEY, DELTA_KEY = BETA.public.signing_key, DELTA.public.signing_key
LOG_KEY = ALPHA.public.signing_key


def test_a_signer_is_named_by_the_log_it_is_of():
    one = signer(ALPHA, BETA_KEY)
    assert is_signer(LOG_KEY, one) and public_of(one) == BETA_KEY
    assert key_of(one).name == f"farshore/{BETA.dc_id}/witness"
    stamped = BETA_KEY + signed_text(ALPHA, f"farshore notary timestamp\n{BETA_KEY.hex()}\n")
    for false in (
        b"",
        BETA_KEY,
        one[:-1],
        one + b"x",
        DELTA_KEY + one[32:],
        signer(DELTA, BETA_KEY),
        signer(BETA, BETA_KEY),
        signer(ALPHA, LOG_KEY),
        stamped,
    ):
        assert not is_signer(LOG_KEY, false)
    assert not is_signer(DELTA_KEY, one)


def relayed(by: list[Identity], *signatures: Signature, serial: int = 5) -> Answering:
    """Paris' log, as Tokyo gives it, with Tokyo and Lima named as its witnesses."""
    note = str(HEAD.with_signatures(signatures))
    named = [signer(one, key) for one in by for key in (BETA_KEY, DELTA_KEY)]
    return lambda ask: Pulled(SOME[ask.first :], [note], [], serial, named)


@played
async def test_a_signer_is_kept_with_a_cosignature_that_holds(world: World):
    _, paris, tokyo, oslo = await chain(world)
    await world.dc("lima")
    false = cosign(DELTA, HEAD._replace(size=8), SECONDS)
    Liar(world, tokyo, paris, relayed([ALPHA], false))
    await world.until(lambda: oslo.log(paris).sealed == 9)
    assert signers_of(oslo, paris) == set() == oslo.signers(paris)
    both = cosign(DELTA, HEAD, SECONDS), cosign(BETA, HEAD, SECONDS)
    liar = Liar(world, tokyo, paris, relayed([ALPHA], *both, serial=6))
    liar.serial = 6
    await world.until(lambda: oslo.signers(paris))
    assert signers_of(oslo, paris) == {"tokyo", "lima"} == oslo.signers(paris)


@played
async def test_a_relay_makes_up_no_witness(world: World):
    """Though its cosignatures hold, and its datacenters are known by name."""
    _, paris, tokyo, oslo = await chain(world)
    await oslo.meet(await world.dc("lima"))
    both = cosign(DELTA, HEAD, SECONDS), cosign(BETA, HEAD, SECONDS)
    Liar(world, tokyo, paris, relayed([BETA, DELTA], *both))
    await world.until(lambda: oslo.log(paris).sealed == 9)
    assert signers_of(oslo, paris) == set() == oslo.signers(paris)


@played
async def test_keys_are_printed_of_paired_datacenters_only(world: World):
    bucket, paris, tokyo, oslo = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: oslo.has_all_of(paris) and oslo.signers(paris) == {"tokyo"})
    known = await oslo.do(oslo.notary.public_keys())
    assert {(key.dc_id, name) for key, name in known} == {
        (oslo.dc_id, "oslo"),
        (tokyo.dc_id, "tokyo"),
    }


@pytest.mark.parametrize("by", [BETA, GAMMA], ids=["the relay", "the witness"])
@played
async def test_no_peer_says_who_is_a_witness_of_the_own_log(world: World, by: Identity):
    """Though it shows more of it than there is, and what it names has cosigned."""
    bucket, paris, tokyo, _ = await chain(world)
    await paris.put(bucket, "k")
    await paris.published()
    own: Checkpoint = paris.checkpoint()
    note = str(own.with_signatures([cosign(GAMMA, own, SECONDS)]))
    named = [signer(by, GAMMA.public.signing_key), *(bytes([n]) * 96 for n in range(63))]
    liar = Liar(world, tokyo, paris, lambda _: Pulled([], [note], [], 5, named), sealed=SIZE_MAX)
    await world.until(lambda: liar.pulls)
    await asyncio.sleep(10)
    assert signers_of(paris, paris) == {"tokyo"} and paris.checkpoint() == own
    await paris.put(bucket, "more")
    await paris.published()
    assert paris.signers() == {"tokyo"}


@played
async def test_the_own_log_comes_back_with_its_cosignatures(world: World):
    """Though the database was lost, and with it who its witnesses were."""
    bucket, paris, tokyo, _ = await chain(world)
    version = await paris.put(bucket, "k")
    await paris.published()
    before, entries = await paris.certificate(version), paris.lines()
    await world.until(lambda: tokyo.has_all_of(paris))
    await paris.stop()
    for table in ("entries", "tiles", "checkpoints", "mirrors", "logs", "signers"):
        paris.log_file.execute(f"DELETE FROM {table}")
    await paris.start()
    await world.until(lambda: paris.log().sealed == len(entries))
    assert await paris.certificate(version) == before
    assert signers_of(paris, paris) == {"tokyo"}


@played
async def test_keys_that_no_log_has_named_are_left_alone(world: World):
    """They were kept by themselves, and of any number."""
    bucket, paris, _, oslo = await chain(world)
    await oslo.stop()
    number = paris.log().number
    for n in range(tables.SIGNERS_MAX + 9):
        paris.log_file.execute("INSERT INTO signers VALUES(?, ?)", (number, bytes([n]) * 32))
    await paris.put(bucket, "k")
    await paris.published()
    await oslo.start()
    await world.until(lambda: oslo.has_all_of(paris))
    assert signers_of(oslo, paris) == signers_of(paris, paris) == {"tokyo"}
