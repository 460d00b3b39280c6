"""What the simulated worlds found of mirrors: what was lost though everybody was honest."""

import asyncio

import msgspec
import pytest
from live_kit import World, played
from mirror_kit import chain

from dc.channel import CannotAnswer
from dc.names.model import Peer
from notary.mirror import LOGS_CALL, PULL_CALL
from notary.service import IDLE_SECONDS
from replicator.calls import Calls


@played
async def test_a_witness_that_was_new_when_its_cosignature_came(world: World):
    """Its key comes with the checkpoint."""
    bucket, paris, _, oslo = await chain(world)
    version = await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: oslo.has_all_of(paris))
    await asyncio.sleep(20)
    assert oslo.signers(paris) == {"tokyo"}
    assert await oslo.certificate(version) == await paris.certificate(version)


@played
async def test_a_log_is_mirrored_where_no_bucket_says_that_there_is_one(world: World):
    """A bucket that was deleted and made again has its settings no more."""
    paris, tokyo = await world.dc("paris"), await world.dc("tokyo")
    oslo = await world.dc("oslo")
    await paris.pair(tokyo)
    await tokyo.pair(oslo)
    await oslo.meet(paris)
    bucket = await paris.bucket()
    await paris.put(bucket, "k")
    await paris.published()
    await world.until(lambda: tokyo.has_all_of(paris), 20)
    assert not [one for one in world.calls if one[0] == "oslo" and one[2] == PULL_CALL]
    await world.until(lambda: oslo.has_all_of(paris), IDLE_SECONDS + 20)


@played
async def test_a_notary_whose_database_fails_does_not_answer(world: World):
    paris = await world.dc("paris")
    tokyo = await world.dc("tokyo")
    await paris.pair(tokyo)
    paris.faults.error_rate = 1.0
    body = msgspec.msgpack.encode((f"farshore/{paris.dc_id}", 0, 0))
    for call in (LOGS_CALL, PULL_CALL):
        with pytest.raises(CannotAnswer, match="the notary's database"):
            await paris.do(paris.answers[call](body, tokyo.as_peer()))
    paris.faults.error_rate = 0.0


@played
async def test_what_cannot_be_answered_now_is_no_error_of_the_server(world: World):
    async def cannot(_body: bytes, _peer: Peer) -> bytes:
        raise CannotAnswer("the disk is full")

    peer = (await world.dc("paris")).as_peer()
    assert (await Calls({"x": cannot}).routes["x"](b"", peer)).status == 503
