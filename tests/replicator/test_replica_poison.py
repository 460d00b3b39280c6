"""One record that cannot be is set aside and shown; the feed goes on without it."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from replica_kit import eventually
from test_replica_hostile import BUCKET, Mallory, attacked

from replicator import wire


def poison(mallory: Mallory) -> dict[str, bytes]:
    """Records that a proper peer never sends, by what is wrong with them; all of position 1."""
    make = mallory.version
    bucket = wire.BucketRecord(
        seq=1,
        id=BUCKET,
        name="x",
        owner="root",
        region="",
        created="f" * 32,
        deleted="",
        revived="",
        registers={},
    )
    key = wire.AccessKeyRecord(
        seq=1, id="AK", user="a" * 64, secret=b"", stamp="0" * 32, deleted=False
    )
    return {
        "bad stamp": make(1, stamp="F" * 32),
        "short stamp": make(1, stamp="f" * 31),
        "stamp and line": make(1, stamp="f" * 32 + "\n"),
        "bad bucket": make(1, bucket="../../etc/passwd"),
        "bad vid": make(1, vid="null"),
        "no key": make(1, key=""),
        "long key": make(1, key="\u00fc" * 513),
        "etag of JSON": make(1, etag='","x":"'),
        "header of two lines": make(1, meta=wire.Meta(user={"a": "b\r\nc: d"})),
        "marker with a body": make(1, kind=1),
        "bad owner": wire.encode_record(bucket),
        "live key without a secret": wire.encode_record(key),
        "half a seen": make(1, seen="a" * 31),
        "seen of one DC twice": make(1, seen="0" * 32 + "1" + "0" * 31),
        "seen of a conclusion": make(1, seen="-"),
        "register named anyhow": make(1, registers={"A b": ("f" * 32, "")}),
        "register with a NUL": make(1, registers={"acl": ("0" * 32, "a\0")}),
        "conflict without a winner": wire.encode_record(
            wire.ConflictRecord(
                seq=1, loser=wire.decode_record(make(1, body=None)), winner="", gone=False
            )
        ),
        "site that speaks for another": wire.encode_record(
            wire.SiteRecord(seq=1, dc_id="a" * 16, name="x", region="", stamp="0" * 32)
        ),
    }


NAMES = [
    "bad stamp",
    "short stamp",
    "stamp and line",
    "bad bucket",
    "bad vid",
    "no key",
    "long key",
    "etag of JSON",
    "header of two lines",
    "marker with a body",
    "bad owner",
    "live key without a secret",
    "half a seen",
    "seen of one DC twice",
    "seen of a conclusion",
    "register named anyhow",
    "register with a NUL",
    "conflict without a winner",
    "site that speaks for another",
]


@pytest.mark.parametrize("what", NAMES)
async def test_a_poisoned_record_does_not_hold_up_the_feed(tmp_path: Path, what: str) -> None:
    async with attacked(tmp_path) as (paris, mallory):

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            if after == 0:
                record = poison(mallory)[what]
                await response.write(wire.encode_batch(0, 1, 10, [record]))
                await response.write(wire.encode_batch(1, 2, 10, [mallory.version(2)]))
            await asyncio.sleep(60)

        mallory.script = script
        await paris.start()

        async def arrived() -> bool:
            return await paris.names.version(BUCKET, "k2", "") is not None

        await eventually(arrived)
        assert await paris.names.inbox_state(mallory.dc.dc_id) == (1, 1)
        (entry,) = await paris.names.inbox(mallory.dc.dc_id)
        assert entry.attempts and entry.error
        assert paris.peer(mallory.dc).state != "FAILED"
        assert all(ack.position == 0 for ack in mallory.acks), "1 is not finished"


async def test_a_body_that_came_along_damaged_is_never_seen(tmp_path: Path) -> None:
    """Its CRC-64 is not the one the object got in its origin: it is fetched again, and again."""
    async with attacked(tmp_path) as (paris, mallory):

        async def script(response: web.StreamResponse, request: web.BaseRequest) -> None:
            after = mallory.asked[-1].after
            await response.write(mallory.hello(after=after))
            if after == 0:
                damaged = mallory.version(1, meta=wire.Meta(crc64=1))
                batch = wire.encode_batch(0, 2, 10, [damaged, mallory.version(2)])
                await response.write(batch)
            await asyncio.sleep(60)

        mallory.script = script
        await paris.start()

        async def arrived() -> bool:
            return await paris.names.version(BUCKET, "k2", "") is not None

        await eventually(arrived)
        assert await paris.names.version(BUCKET, "k1", "") is None
        (entry,) = await paris.names.inbox(mallory.dc.dc_id)
        assert entry.seq == 1 and "BodyCorrupt" in entry.error
