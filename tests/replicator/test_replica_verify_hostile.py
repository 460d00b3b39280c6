"""A peer that answers a comparison with what cannot be: nothing of it is used, and it ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from replica_kit import Dc, datacenters, pair, settled
from verify_kit import damage, forget, verify

import replicator.compare_client
from dc.names.model import Bucket, Peer
from replicator import compare_wire as shapes
from replicator import messages, wire
from replicator.client import PeerClient
from replicator.errors import ReplicatorError, WireError
from replicator.leaves import group_hashes
from replicator.limits import COMPARE_ANSWER_BYTES_MAX, COMPARE_ITEMS_ASKED_MAX

PACK = msgspec.msgpack.encode
ROOT = "ab" * 16
STAMP = bytes(16)


@pytest.fixture
async def dcs(tmp_path: Path) -> AsyncIterator[tuple[Dc, Dc, Bucket]]:
    """Paris lost k3, so that all requests are made; tokyo will answer with what a test says."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        for number in range(6):
            await tokyo.put(bucket, f"k{number}", b"x")
        await settled(paris, tokyo)
        await damage(paris, forget("versions", "key = 'k3'"))
        await settled(paris, tokyo)
        yield paris, tokyo, bucket


def answers(dc: Dc, name: str, body: bytes | Any) -> None:
    """From now on a request is answered with that; `body` may make it of the request's."""

    async def handle(request: web.BaseRequest, _: Peer) -> web.StreamResponse:
        sent = body(await request.read()) if callable(body) else body
        return web.Response(body=sent)

    dc.replicator._server._routes["POST", name] = handle


def roots(**changed: Any) -> bytes:
    facts: dict[str, Any] = {
        "root": ROOT,
        "epoch": "e",
        "end": 1,
        "reconciling": False,
        "intervals": [],
        "roots": [],
        "more": False,
    }
    return PACK(list((facts | changed).values()))


BAD = {
    "roots": {
        "not msgpack": b"\xc1",
        "empty": b"",
        "a map": PACK({}),
        "too few": PACK([ROOT]),
        "root not hex": roots(root="xy" * 16),
        "root of a bucket not hex": roots(roots=[["a" * 16, "zz" * 16]]),
        "bucket not hex": roots(roots=[["A" * 16, ROOT]]),
        "twice": roots(roots=[["a" * 16, ROOT], ["a" * 16, ROOT]]),
        "descending": roots(roots=[["b" * 16, ROOT], ["a" * 16, ROOT]]),
        "more of nothing": roots(more=True),
        "interval of another": roots(intervals=[["a" * 16, "", "b" * 32]]),
        "too long": b"x" * (COMPARE_ANSWER_BYTES_MAX + 1),
    },
    "leaves": {
        "too few": PACK([b"x" * 16]),
        "too many": PACK([b"x" * 70_000]),
        "no bytes": PACK([3]),
    },
    "items": {
        "key of another leaf": PACK([[["elsewhere", [[0, b"", STAMP, STAMP]]]], ""]),
        "hash too short": PACK([[["k3", [[0, b"", STAMP, b"x"]]]], ""]),
        "vid of 3 bytes": PACK([[["k3", [[0, b"xxx", STAMP, STAMP]]]], ""]),
        "a user in a bucket": PACK([[["k3", [[11, b"", STAMP, STAMP]]]], ""]),
        "a tombstone": PACK([[["k3", [[2, b"", STAMP, STAMP]]]], ""]),
        "kind 99": PACK([[["k3", [[99, b"", STAMP, STAMP]]]], ""]),
        "key twice": PACK([[["k3", []], ["k3", []]], ""]),
        "key with a NUL": PACK([[["k\0", []]], ""]),
        "no key": PACK([[["", []]], ""]),
        "end before the last key": PACK([[["k3", []]], "a"]),
        "too many": PACK([[[f"k{n:06}", []] for n in range(60_001)], ""]),
    },
    "states": {
        "too few": PACK([[], "e", 1, "e", 1, False]),
        "too many": PACK([[None] * 600, "e", 1, "e", 1, False]),
        "stamp not hex": PACK([[[0, "x" * 32, ROOT, ""]], "e", 1, "e", 1, False]),
        "seen not well-formed": PACK([[[0, ROOT, ROOT, "abc"]], "e", 1, "e", 1, False]),
        "negative end": PACK([[None], "e", -1, "e", 1, False]),
    },
}


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in BAD for what in BAD[name]])
async def test_a_bad_answer_is_refused(dcs: tuple[Dc, Dc, Bucket], name: str, what: str) -> None:
    paris, tokyo, bucket = dcs
    answers(tokyo, name, BAD[name][what])
    with pytest.raises(WireError):
        await verify(paris, tokyo, repair=True)
    assert await paris.get(bucket, "k3") is None
    assert paris.peer(tokyo).state in ("STREAMING", "IDENTICAL"), "the feed goes on"


async def test_pages_that_never_end(
    dcs: tuple[Dc, Dc, Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    paris, tokyo, _ = dcs
    monkeypatch.setattr(replicator.compare_client, "COMPARE_PAGES_MAX", 200)
    asked = 0

    def page(body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        after = messages.decode_body(body, shapes.ItemsAsk).after
        return PACK([[], after[:900] + "a"])

    answers(tokyo, "items", page)
    with pytest.raises(WireError, match="never end"):
        await verify(paris, tokyo)
    assert 100 < asked < 250


async def test_roots_that_never_end(
    dcs: tuple[Dc, Dc, Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is looked into before the next is asked for: they are not gathered."""
    paris, tokyo, _ = dcs
    monkeypatch.setattr(replicator.compare_client, "COMPARE_PAGES_MAX", 200)
    asked: list[str] = []

    def page(body: bytes) -> bytes:
        ask = messages.decode_body(body, shapes.RootsAsk)
        asked.append("roots")
        bucket = f"{int(ask.after or '0', 16) + 1:016x}"
        return roots(roots=[[bucket, ROOT]], more=True)

    def leaves(body: bytes) -> bytes:
        bucket = messages.decode_body(body, shapes.LeavesAsk).bucket
        asked.append("leaves of a bucket" if bucket else "leaves of the directory")
        return PACK([group_hashes(paris.names.leaves(bucket))])

    answers(tokyo, "roots", page)
    answers(tokyo, "leaves", leaves)
    with pytest.raises(WireError, match="never end"):
        await verify(paris, tokyo)
    head, first, *then = asked
    assert head == first == "roots" and then.pop(0) == "leaves of the directory"
    assert then[:6] == ["leaves of a bucket", "roots"] * 3


async def test_buckets_that_never_end(
    dcs: tuple[Dc, Dc, Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    paris, tokyo, _ = dcs
    monkeypatch.setattr(replicator.compare_client, "COMPARE_BUCKETS_MORE_MAX", 50)
    monkeypatch.setattr(replicator.compare_client, "COMPARE_PAGES_MAX", 1000)
    asked = 0

    def page(body: bytes) -> bytes:
        nonlocal asked
        asked += 1
        after = messages.decode_body(body, shapes.BucketsAsk).after
        bucket = f"{int(after or '0', 16) + 1:016x}"
        return PACK([[[bucket, "name", "a" * 32, True]], True])

    answers(tokyo, "buckets", page)
    (peer,) = paris.names.peers()
    client = PeerClient(paris.replicator._home, peer)
    try:
        with pytest.raises(WireError, match="at most 50 more"):
            await replicator.compare_client.CompareClient(client).buckets(7)
    finally:
        await client.close()
    assert asked == 58


async def test_a_page_that_goes_back(dcs: tuple[Dc, Dc, Bucket]) -> None:
    paris, tokyo, _ = dcs
    answers(tokyo, "items", PACK([[], "a"]))
    with pytest.raises(WireError, match="end of a page"):
        await verify(paris, tokyo)


async def test_a_record_of_another_item_is_not_taken(dcs: tuple[Dc, Dc, Bucket]) -> None:
    paris, tokyo, bucket = dcs
    record = wire.TombstoneRecord(
        seq=1, bucket=bucket.id, key="k1", vid="", stamp="f" * 16 + tokyo.dc_id, seen=""
    )
    answers(tokyo, "records", PACK([1, [wire.encode_record(record)]]))
    with pytest.raises(WireError, match="another item"):
        await verify(paris, tokyo, repair=True)
    assert await paris.get(bucket, "k1") == b"x"
    answers(tokyo, "records", PACK([0, []]))
    with pytest.raises(WireError):
        await verify(paris, tokyo, repair=True)


async def test_a_peer_that_says_it_has_nothing(dcs: tuple[Dc, Dc, Bucket]) -> None:
    """A root that differs and no record to fetch: it ends, and says that it differs."""
    paris, tokyo, bucket = dcs
    answers(tokyo, "records", PACK([1, []]))
    report = await verify(paris, tokyo, repair=True, wait_seconds=0.5)
    assert report.only_there == 1 and report.repaired == 0
    assert await paris.get(bucket, "k3") is None


ASKS = {
    "items": [
        PACK(["A" * 16, bytes(512), ""]),
        PACK(["a" * 16, bytes(511), ""]),
        PACK(["a" * 16, bytes(512), "x" * 1025]),
    ],
    "leaves": [PACK(["a" * 16, [64]]), PACK(["a" * 16, [-1]]), PACK(["a" * 16, [0] * 65])],
    "states": [
        PACK([[["a" * 16, 0, "k", ""]] * (COMPARE_ITEMS_ASKED_MAX + 1)]),
        PACK([[["a" * 16, 11, "k", ""]]]),
        PACK([[["", 0, "k", ""]]]),
        PACK([[["a" * 16, 0, "k", "x"]]]),
        PACK([[["a" * 16, 0, "k\0", ""]]]),
        b"x" * 1_000_000,
    ],
    "records": [PACK([[["a" * 16, 5, "k", ""]]])],
    "pull": [PACK([[["a" * 16, 5, "k", ""]]]), PACK(["k"])],
    "roots": [PACK([None, "x" * 65, True]), PACK([])],
    "buckets": [PACK([1])],
    "current": [
        PACK(["A" * 16, "k", None]),
        PACK(["", "k", None]),
        PACK(["a" * 16, "", None]),
        PACK(["a" * 16, "k\0", None]),
        PACK(["a" * 16, "k", "x"]),
        PACK(["a" * 16, "x" * 1025, None]),
    ],
    "list": [
        PACK(["A" * 16, "", "", "", 1]),
        PACK(["", "", "", "", 1]),
        PACK(["a" * 16, "", "", "", 0]),
        PACK(["a" * 16, "", "", "", 1001]),
        PACK(["a" * 16, "x" * 3000, "", "", 1]),
        PACK(["a" * 16, "", "", "x" * 3000, 1]),
    ],
}


async def test_a_bad_request_is_refused(dcs: tuple[Dc, Dc, Bucket]) -> None:
    paris, _, _ = dcs
    (peer,) = paris.names.peers()
    client = PeerClient(paris.replicator._home, peer)
    try:
        for name, bodies in ASKS.items():
            for body in bodies:
                with pytest.raises(ReplicatorError):
                    await client.call(name, body)
        assert await client.call("buckets", PACK([""]))
    finally:
        await client.close()


async def test_unknown_buckets_and_items_are_nothing(dcs: tuple[Dc, Dc, Bucket]) -> None:
    paris, _, _ = dcs
    (peer,) = paris.names.peers()
    client = PeerClient(paris.replicator._home, peer)
    compare = replicator.compare_client.CompareClient(client)
    try:
        nowhere = "c" * 16
        assert await compare.leaves(nowhere, [0, 5]) == bytes(2048)
        assert await compare.items(nowhere, frozenset(range(4096)), "") == ([], "")
        items: list[shapes.Item] = [(nowhere, 0, "k", ""), ("", 11, "a" * 64, "")]
        assert (await compare.states(items))[0] == [None, None]
        assert await compare.records(items) == [] and await compare.pull(items) == 0
    finally:
        await client.close()
