"""The terms of a peer in the tables: durable, kept when its record is replaced, gone with it."""

from pathlib import Path

import msgspec
import pytest
from names_kit import opened

from dc.names.api import NoSuchPeer
from dc.names.model import Peer
from dc.rates import Limit, Terms, Window

TERMS = Terms(Limit(5_000), Limit(0, (Window(60, 30, 1_000),)), 1_800_000_000_000)
TOKYO = Peer(
    dc_id="1" * 16,
    name="tokyo",
    region="asia",
    endpoints=["tokyo:7000"],
    fingerprint="0" * 64,
    signing_key=b"s",
    sealing_key=b"e",
    paired="",
)


async def test_terms_outlive_a_restart_and_a_pairing_that_is_repeated(tmp_path: Path):
    async with opened(tmp_path / "names.db") as names:
        await names.add_peer(TOKYO)
        assert names.peers()[0].terms == Terms()
        await names.set_terms(TOKYO.dc_id, TERMS)
        assert names.peers() == [msgspec.structs.replace(TOKYO, terms=TERMS)]
    async with opened(tmp_path / "names.db") as names:
        assert names.peers()[0].terms == TERMS
        await names.add_peer(msgspec.structs.replace(TOKYO, endpoints=["tokyo:7001"]))
        assert names.peers()[0].endpoints == ["tokyo:7001"]
        assert names.peers()[0].terms == TERMS


async def test_terms_end_with_the_pairing(tmp_path: Path):
    async with opened(tmp_path / "names.db") as names:
        await names.add_peer(TOKYO)
        await names.set_terms(TOKYO.dc_id, TERMS)
        await names.remove_peer(TOKYO.dc_id)
        with pytest.raises(NoSuchPeer):
            await names.set_terms(TOKYO.dc_id, TERMS)
        await names.add_peer(TOKYO)
        assert names.peers()[0].terms == Terms()


def test_a_record_from_before_there_were_terms_is_read():
    facts = msgspec.to_builtins(TOKYO, builtin_types=(bytes,))
    del facts["terms"]
    old = msgspec.msgpack.encode(facts)
    assert msgspec.msgpack.decode(old, type=Peer) == TOKYO
