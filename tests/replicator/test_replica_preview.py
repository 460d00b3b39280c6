"""`dc add --dry-run`: what a pairing would bring is counted, and nothing changes."""

from pathlib import Path
from typing import Any

import pytest
from replica_kit import Dc, datacenters, pair, settled
from verify_kit import rows

from dc.names.model import Bucket, bucket_id
from replicator import compare_wire as shapes
from replicator import messages
from replicator.client import PeerClient
from replicator.errors import PairingError, Refused
from replicator.preview import Counts, PreviewReport
from tokens import exchange, pairing
from tokens.errors import TokenError

TABLES = ("versions", "tombstones", "buckets", "users", "keys", "peers", "feed", "used_tokens")


async def preview(joiner: Dc, token: str) -> PreviewReport:
    return await joiner.replicator.preview(token, lambda _: None)


def everything(dc: Dc) -> list[list[tuple[Any, ...]]]:
    return [rows(dc, f"SELECT * FROM {table}") for table in TABLES]


async def both_filled(paris: Dc, tokyo: Dc) -> Bucket:
    bucket = await paris.bucket()
    assert (await tokyo.bucket()).id == bucket.id
    for number in range(30):
        await paris.put(bucket, f"p{number}", b"p")
    for number in range(20):
        await tokyo.put(bucket, f"t{number}", b"t")
    for number in range(5):
        await paris.put(bucket, f"both{number}", b"p")
        await tokyo.put(bucket, f"both{number}", b"t")
    return bucket


async def test_all_is_counted_and_nothing_changes(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await both_filled(paris, tokyo)
        token = paris.replicator.issue_token().token
        before = everything(paris), everything(tokyo)
        report = await preview(tokyo, token)
        assert report.name == "paris" and report.dc_id == paris.dc_id
        assert report.objects == Counts(only_here=20, only_there=30, conflicts=5)
        (shown,) = report.buckets
        assert shown.name == "photos" and shown.counts == report.objects
        assert report.renamed == []
        assert (everything(paris), everything(tokyo)) == before
        assert paris.replicator.status().peers == tokyo.replicator.status().peers == []
        joined = await tokyo.replicator.join(token)
        assert joined.complete, "the token was not used up"
        await settled(paris, tokyo)
        assert await paris.names.conflict_count() == 5


async def test_what_both_have_is_equal(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        for number in range(10):
            await paris.put(bucket, f"k{number}", b"x")
        await paris.accounts.add_user("ann@example.com")
        await settled(paris, tokyo)
        await tokyo.replicator.remove_peer(paris.dc_id)
        await paris.replicator.remove_peer(tokyo.dc_id)
        await tokyo.put(bucket, "k3", b"newer, and knows of the other")
        await paris.put(bucket, "k4", b"newer there")
        report = await preview(tokyo, paris.replicator.issue_token().token)
        assert report.objects == Counts(equal=8, newer_here=1, newer_there=1)
        assert report.directory.equal >= 3 and report.directory.conflicts == 0


async def test_names_that_two_buckets_have_are_told(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        other = "b" * 64
        await paris.bucket("shared")
        await tokyo.names.create_bucket("shared", other, "eu")
        report = await preview(tokyo, paris.replicator.issue_token().token)
        (renamed,) = report.renamed
        assert (renamed.name, renamed.keeps) == ("shared", "there")
        assert bucket_id(other, "shared") in {one.id for one in tokyo.names.directory.all_buckets()}


async def test_a_guest_reads_trees_and_nothing_else(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await both_filled(paris, tokyo)
        token = paris.replicator.issue_token().token
        offer = pairing.read(token, paris.clock.wall_ms() // 1000)
        peer = tokyo.replicator._pairing.checked(offer.peer, offer.place, offer.jti)
        client = PeerClient(tokyo.replicator._home, peer)
        item = shapes.encode(shapes.ItemsAsked([(bucket.id, 0, "p1", "")]))
        try:
            with pytest.raises(Refused):
                await client.call("states", item)
            await preview(tokyo, token)
            assert await client.call("states", item)
            for name in ("records", "pull", "ack", "feed", "body", "read", "current", "list"):
                with pytest.raises(Refused):
                    await client.call(name, item)
            with pytest.raises(Refused):
                await client.state()
            paris.replicator._server.guests._guests[tokyo.dc_id] = (peer, 0.0)
            with pytest.raises(Refused):
                await client.call("states", item)
        finally:
            await client.close()


async def test_a_used_token_or_one_of_another_is_refused(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "lima") as (paris, tokyo, lima):
        token = paris.replicator.issue_token().token
        with pytest.raises(PairingError, match="issued by this DC"):
            await preview(paris, token)
        assert (await tokyo.replicator.join(token)).complete
        with pytest.raises(PairingError, match="used already"):
            await preview(lima, token)
        with pytest.raises(PairingError, match="already paired"):
            await preview(tokyo, paris.replicator.issue_token().token)
        with pytest.raises(TokenError):
            await preview(lima, token[:-4] + "AAAA")


async def test_a_preview_request_pairs_nobody(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        token = paris.replicator.issue_token().token
        offer = pairing.read(token, paris.clock.wall_ms() // 1000)
        pairs = tokyo.replicator._pairing
        peer = pairs.checked(offer.peer, offer.place, offer.jti)
        sent: list[Any] = []
        client = PeerClient(tokyo.replicator._home, peer)
        for preview_first in (True, False):
            request = exchange.issue_request(
                tokyo.identity,
                tokyo.replicator._home.place,
                offer,
                now=paris.clock.wall_ms() // 1000,
                preview=preview_first,
            )
            call = messages.PairCall(offer=token, request=request)
            wrong = client.pair if preview_first else client.preview
            sent.append(await wrong(call))
        await client.close()
        assert sent == [None, None]
        assert paris.replicator.status().peers == []
