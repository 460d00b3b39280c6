"""Bytes go where the rules of their bucket send them; names go everywhere."""

import asyncio
import json
import os
import sqlite3
from functools import partial
from pathlib import Path

import msgspec
import pytest
from awscrt.checksums import crc64nvme
from replica_kit import Dc, datacenters, eventually, pair, settled
from verify_kit import damage, forget, verify

from dc.names.api import BytesMissing
from dc.names.model import Bucket, Conflict, Known, Version
from dc.objects.api import BytesElsewhere
from dc.placement import REPLICATION, elsewhere, is_elsewhere
from replicator import filling, messages, wire
from replicator.compare_client import CompareClient
from replicator.errors import BodyUnavailable
from replicator.placing import Placing

LARGE = 3_000_000


def rules(**prefixes_of: list[str]) -> str:
    """The setting that sends prefixes to datacenters: by name, what goes there."""
    return json.dumps(
        {
            "Role": "",
            "Rules": [
                {
                    "ID": f"{name}{number}",
                    "Status": "Enabled",
                    "Filter": {"Prefix": prefix},
                    "Destination": {"Bucket": f"arn:farshore:dc:::{name}"},
                }
                for name, prefixes in prefixes_of.items()
                for number, prefix in enumerate(prefixes)
            ],
        }
    )


async def say(dc: Dc, bucket: Bucket, text: str) -> None:
    await dc.names.set_bucket_registers(bucket.id, {REPLICATION: text})


async def is_absent(dc: Dc, bucket: Bucket, key: str) -> bool:
    """Whether the object is known, and its bytes are in other datacenters only."""
    version = await dc.names.version(bucket.id, key, "")
    if version is None:
        return False
    if not is_elsewhere(version.extents):
        return False
    with pytest.raises(BytesElsewhere):
        await dc.get(bucket, key)
    return True


async def has(dc: Dc, bucket: Bucket, key: str, body: bytes) -> bool:
    try:
        return await dc.get(bucket, key) == body
    except BytesElsewhere:
        return False


async def known_only(dc: Dc, bucket: Bucket, key: str) -> Version:
    """An object as others know it that do not hold it."""
    version = await dc.names.version(bucket.id, key, "")
    assert version is not None
    return msgspec.structs.replace(version, extents=elsewhere(version.size))


def stored(dc: Dc) -> int:
    """The bytes in the containers of a datacenter."""
    return sum(file.stat().st_size for file in (dc.root / "containers").glob("*.fsc"))


async def test_bytes_stay_away_from_who_no_rule_names(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(tokyo=["in/"]))
        await settled(paris, tokyo)
        before = stored(tokyo)
        await paris.put(bucket, "out/small", b"s" * 5000)
        await paris.put(bucket, "out/large", os.urandom(LARGE))
        await paris.put(bucket, "out/empty", b"")
        await paris.put(bucket, "in/small", b"i" * 50)
        large = os.urandom(LARGE)
        await paris.put(bucket, "in/large", large)
        await settled(paris, tokyo)
        assert await is_absent(tokyo, bucket, "out/small")
        assert await is_absent(tokyo, bucket, "out/large")
        assert await tokyo.get(bucket, "out/empty") == b""
        assert await tokyo.get(bucket, "in/small") == b"i" * 50
        assert await tokyo.get(bucket, "in/large") == large
        assert stored(tokyo) - before < LARGE + 100_000
        # Names are alike, and so are the roots: that is IDENTICAL.
        await eventually(lambda: paris.peer(tokyo).state == "IDENTICAL")
        await eventually(lambda: tokyo.peer(paris).state == "IDENTICAL")
        found = await verify(paris, tokyo)
        assert found.identical and found.root
        absent = (await tokyo.replicator.counted_status()).absent
        assert (absent.objects, absent.bytes, absent.to_come) == (2, 5000 + LARGE, 0)
        assert (await paris.replicator.counted_status()).absent.objects == 0


async def test_a_wider_rule_fills_in_and_a_narrower_one_deletes_nothing(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        bodies = {f"k{number}": os.urandom(1000) for number in range(1200)}
        bodies["large"] = os.urandom(LARGE)
        for key, body in bodies.items():
            await paris.put(bucket, key, body)
        await settled(paris, tokyo)
        assert await is_absent(tokyo, bucket, "k0") and await is_absent(tokyo, bucket, "large")

        await say(tokyo, bucket, rules(tokyo=["k"]))

        async def filled() -> bool:
            return (await tokyo.names.elsewhere.count())[0] == 1

        await eventually(filled)
        for key, body in bodies.items():
            assert key == "large" or await tokyo.get(bucket, key) == body
        assert await is_absent(tokyo, bucket, "large")
        await say(paris, bucket, "")
        await eventually(lambda: has(tokyo, bucket, "large", bodies["large"]))
        await settled(paris, tokyo)
        assert (await verify(paris, tokyo)).identical

        await say(tokyo, bucket, rules(paris=[""]))
        await settled(paris, tokyo)
        await paris.put(bucket, "k1", b"new")
        await settled(paris, tokyo)
        assert await is_absent(tokyo, bucket, "k1")
        assert await tokyo.get(bucket, "k2") == bodies["k2"]


async def test_nothing_is_identical_while_bytes_are_to_come(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        await paris.put(bucket, "k", b"bytes")
        await settled(paris, tokyo)
        # The only copy is damaged: it cannot be given.
        for file in (paris.root / "containers").glob("*.fsc"):
            file.write_bytes(b"\0" * file.stat().st_size)
        paris.objects._files.close()
        await say(paris, bucket, "")
        await eventually(lambda: bool(tokyo.replicator._filling.to_come()))
        found = await verify(paris, tokyo)
        assert not found.differs and not found.identical
        assert (found.to_come_here, found.to_come_there) == (0, 1)
        found = await verify(tokyo, paris)
        assert (found.to_come_here, found.to_come_there) == (1, 0)
        other = await paris.bucket("other")
        await paris.put(other, "k", b"bytes")
        for one, to_come in ((bucket, (0, 1)), (other, (0, 0))):
            found = await verify(paris, tokyo, bucket=one.id)
            assert (found.to_come_here, found.to_come_there) == to_come
            assert (found.bucket, found.identical) == (one.name, one is other)
        absent = (await tokyo.replicator.counted_status()).absent
        assert (absent.objects, absent.to_come, absent.to_come_bytes) == (1, 1, 5)
        assert "IDENTICAL" not in (paris.peer(tokyo).state, tokyo.peer(paris).state)
        # Nor is it acknowledged; and why it does not come is shown.
        await eventually(lambda: tokyo.peer(paris).failing == 1)
        version = await paris.names.version(bucket.id, "k", "")
        assert version is not None
        await eventually(lambda: paris.replicator.mark(version) == "FAILED")
        assert "cannot read its bytes" in tokyo.peer(paris).problems[0].reason


async def test_a_new_datacenter_is_not_sent_what_it_is_not_to_hold(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        for number in range(300):
            await paris.put(bucket, f"k{number}", b"x" * 1000)
        # Its place in the feed comes after the objects.
        await say(paris, bucket, rules(tokyo=["k29"]))
        await pair(paris, tokyo)
        await settled(paris, tokyo)

        async def filled() -> bool:
            return await tokyo.names.elsewhere.count() == (289, 289_000)

        await eventually(filled)
        assert tokyo.peer(paris).failing == 0
        assert await tokyo.get(bucket, "k29") == await tokyo.get(bucket, "k299") == b"x" * 1000
        assert stored(tokyo) < 50_000


async def test_who_holds_rules_does_not_give_what_they_keep_back(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(tokyo=["in/"]))
        out = await paris.put(bucket, "out", b"secret")
        inside = await paris.put(bucket, "in/k", b"public")
        await settled(paris, tokyo)
        client = tokyo.replicator._peers.link(paris.dc_id).client
        for version, given in ((inside, True), (out, False)):
            ask = messages.BodyAsk(bucket.id, version.key, "", version.stamp, 0, 6)
            try:
                async with client.body(ask) as content:
                    assert given and (await content.readexactly(6)) == b"public"
            except BodyUnavailable as error:
                assert not given and "409" in str(error)
            there = await paris.names.version(bucket.id, version.key, "")
            assert there is not None
            [record] = await CompareClient(client).records([(bucket.id, 0, version.key, "")])
            assert type(record) is wire.VersionRecord
            assert record.body == (None if given else wire.WITHHELD)
            entry = await client.entry(messages.EntryAsk(paris.names.epoch, there.seq))
            assert type(entry) is wire.VersionRecord
            assert entry.body == (None if given else wire.WITHHELD)


@pytest.mark.parametrize("size", [50, LARGE])
async def test_who_follows_no_rules_gets_nothing_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A datacenter that takes all it can get: from the feed, and by asking for it."""
    monkeypatch.setattr(Placing, "is_here", lambda *_: True)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(tokyo=["in/"]))
        await settled(paris, tokyo)
        before = stored(tokyo)
        lost = await paris.put(bucket, "out", os.urandom(size))

        def refused() -> int:
            return sum("409" in one.reason for one in tokyo.peer(paris).problems)

        await eventually(lambda: refused() == 1)
        # As the loser of a conflict it is no different.
        winner = msgspec.structs.replace(lost, stamp=paris.names.clock.now())
        await paris.names.apply([Conflict(loser=lost, winner=winner.stamp)])
        await eventually(lambda: refused() == 2)
        assert await tokyo.names.version(bucket.id, "out", "") is None
        assert stored(tokyo) - before < 100


async def test_a_relay_that_holds_no_bytes_is_passed_by(tmp_path: Path) -> None:
    """A-B-C with C paired with A as well: what B has no bytes of comes from A."""
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        await pair(a, b)
        await pair(b, c)
        bucket = await a.bucket()
        await say(a, bucket, rules(a=[""], c=[""]))
        body = os.urandom(2000)
        await a.put(bucket, "k", body)
        await eventually(lambda: is_absent(b, bucket, "k"))
        # C wants it and B cannot give it: that is shown, and not acknowledged.
        await eventually(lambda: c.peer(b).failing == 1)
        assert await c.names.version(bucket.id, "k", "") is None
        await pair(a, c)
        await eventually(lambda: has(c, bucket, "k", body))
        await settled(a, b, c)
        assert (await verify(c, b)).identical


async def test_who_has_no_bytes_is_asked_in_vain_and_others_next(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        for one, other in ((a, b), (b, c), (a, c)):
            await pair(one, other)
        bucket = await a.bucket()
        await say(a, bucket, rules(a=[""]))
        body = os.urandom(2000)
        await a.put(bucket, "k", body)
        await settled(a, b, c)
        await a.down()
        await say(b, bucket, rules(a=[""], b=["k"], c=["k"]))
        asked = c.replicator._filling._asked
        await eventually(lambda: any(b.dc_id in one.tried for one in asked.values()))
        await asyncio.sleep(0.2)
        assert c.peer(b).inbox == 0 and await is_absent(c, bucket, "k")
        await a.up()
        for dc in (b, c):
            await eventually(partial(has, dc, bucket, "k", body))


async def test_what_is_known_only_is_repaired_without_its_bytes(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        await paris.put(bucket, "k", b"bytes")
        await settled(paris, tokyo)
        await damage(tokyo, forget("versions", "TRUE"))
        await eventually(lambda: tokyo.peer(paris).streaming_to)
        found = await verify(tokyo, paris, repair=True)
        assert found.identical and found.repaired == 1
        assert await is_absent(tokyo, bucket, "k")


async def test_conflicts_keep_to_the_rules_too(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "oslo") as (paris, tokyo, oslo):
        await pair(paris, tokyo)
        await pair(paris, oslo)
        await pair(tokyo, oslo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""], tokyo=[""]))
        await settled(paris, tokyo, oslo)
        await tokyo.down()
        lost = await paris.put(bucket, "k", b"of paris")
        await paris.down()
        await tokyo.up()
        await tokyo.put(bucket, "k", b"of tokyo")
        await paris.up()
        await settled(paris, tokyo, oslo)
        await settled(paris, tokyo, oslo)
        for dc in (paris, tokyo):
            assert await dc.get(bucket, "k") == b"of tokyo"
        [kept] = await oslo.names.conflicts()
        assert kept.loser.stamp == lost.stamp and is_elsewhere(kept.loser.extents)
        assert await is_absent(oslo, bucket, "k")
        with pytest.raises(BytesMissing):
            await oslo.names.restore_conflict(bucket.id, "k", lost.stamp)
        assert [one.gone for one in await oslo.names.conflicts()] == [False]
        await say(oslo, bucket, rules(oslo=[""]))

        async def filled() -> bool:
            return await oslo.names.elsewhere.count() == (0, 0)

        await eventually(filled)
        assert await oslo.get(bucket, "k") == b"of tokyo"
        again = await oslo.names.restore_conflict(bucket.id, "k", lost.stamp)
        assert await oslo.get(bucket, "k") == b"of paris" and again.stamp > lost.stamp


async def test_attributes_and_deletions_of_absent_bodies(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        written = await paris.put(bucket, "k", b"bytes")
        await paris.put(bucket, "gone", b"bytes")
        await settled(paris, tokyo)
        await tokyo.names.set_registers(bucket.id, "k", "", {"tags": "of tokyo"})
        await tokyo.delete(bucket, "gone")
        await settled(paris, tokyo)
        there = await paris.names.version(bucket.id, "k", "")
        assert there is not None and there.registers["tags"].value == "of tokyo"
        assert await paris.get(bucket, "k") == b"bytes"
        assert await paris.get(bucket, "gone") is None
        assert await is_absent(tokyo, bucket, "k")
        assert await tokyo.names.known([written]) == [Known.HELD]
        # What is written here stays here, whatever the rules say.
        await tokyo.put(bucket, "mine", b"of tokyo")
        await settled(paris, tokyo)
        assert await tokyo.get(bucket, "mine") == await paris.get(bucket, "mine") == b"of tokyo"
        assert (await verify(paris, tokyo)).identical


async def test_filling_in_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        for number in range(20):
            await paris.put(bucket, f"k{number}", b"x" * 1000)
        await settled(paris, tokyo)
        await paris.down()
        await say(tokyo, bucket, "")
        await tokyo.down()
        await tokyo.up()
        await eventually(lambda: bool(tokyo.replicator._filling.to_come()))
        assert await is_absent(tokyo, bucket, "k0")
        await paris.up()

        async def filled() -> bool:
            return await tokyo.names.elsewhere.count() == (0, 0)

        await eventually(filled)
        assert await tokyo.get(bucket, "k19") == b"x" * 1000
        assert (await verify(paris, tokyo)).identical


async def test_filling_in_takes_no_bytes_that_are_not_the_ones(tmp_path: Path) -> None:
    """Who did not write an object, and has other bytes under its stamp, does not get them in."""
    async with datacenters(tmp_path, "paris", "oslo", "tokyo") as (paris, oslo, tokyo):
        await pair(paris, oslo)
        await pair(oslo, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""], oslo=[""]))
        await paris.put(bucket, "k", b"right")
        await settled(paris, oslo, tokyo)
        await eventually(lambda: is_absent(tokyo, bucket, "k"))
        [extent] = await oslo.objects.put(b"ident", b"WRONG")
        meta = json.dumps({"crc64": crc64nvme(b"WRONG")})
        extents = json.dumps([[extent.container, extent.offset, 5]])
        await paris.down()
        await oslo.down()
        db = sqlite3.connect(oslo.root / "names.db", isolation_level=None)
        db.execute("UPDATE versions SET meta = ?, extents = ?", (meta, extents))
        db.close()
        await oslo.up()
        await say(tokyo, bucket, "")
        # Its body came and was let go, so the entry is finished.
        link = tokyo.replicator._peers.link(oslo.dc_id)
        await eventually(lambda: link is not None and link.inbound.bytes >= 5)
        await eventually(lambda: tokyo.peer(oslo).behind == 0)
        assert await is_absent(tokyo, bucket, "k")
        await paris.up()


async def test_bytes_come_when_rules_are_void(tmp_path: Path) -> None:
    """A bucket that was made in two datacenters has the attributes of the later one. Rules that
    were older are gone, not changed."""
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        await paris.put(bucket, "k", b"bytes")
        await asyncio.sleep(0.01)
        assert (await tokyo.bucket()).id == bucket.id
        await tokyo.names.apply([await known_only(paris, bucket, "k")])
        assert await is_absent(tokyo, bucket, "k")
        await pair(paris, tokyo)
        await eventually(lambda: has(tokyo, bucket, "k", b"bytes"))
        for dc in (paris, tokyo):
            found = dc.names.directory.bucket_by_id(bucket.id)
            assert found is not None and REPLICATION not in found.registers


async def test_what_is_written_to_all_the_time_can_be_verified(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket, busy = await paris.bucket(), await paris.bucket("busy")
        await say(paris, bucket, rules(paris=[""]))
        await paris.put(bucket, "k", b"bytes")
        await settled(paris, tokyo)

        async def write() -> None:
            while True:
                await paris.put(busy, "k", b"a")
                await tokyo.put(busy, "l", b"b")
                await asyncio.sleep(0.01)

        writing = asyncio.create_task(write())
        try:
            for one, other in ((paris, tokyo), (tokyo, paris)):
                found = await verify(one, other, bucket=bucket.id)
                assert found.identical, found
        finally:
            writing.cancel()


async def test_many_bodies_that_fail_do_not_hold_up_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor are more asked for at once than a peer has room for, or remembered than is bearable."""
    monkeypatch.setattr(filling, "FILL_INBOX_MAX", 20)
    monkeypatch.setattr(filling, "COMPARE_ITEMS_ASKED_MAX", 20)
    monkeypatch.setattr(filling, "FILL_SECONDS", 0.1)
    monkeypatch.setattr(filling, "FILL_ASKED_MAX", 60)
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await say(paris, bucket, rules(paris=[""]))
        for number in range(60):
            await paris.put(bucket, f"bad{number}", b"x" * 1000)
        await settled(paris, tokyo)
        for file in (paris.root / "containers").glob("*.fsc"):
            file.write_bytes(b"\0" * file.stat().st_size)
        paris.objects._files.close()
        await paris.down()
        await paris.up()
        for number in range(90):
            await paris.put(bucket, f"good{number}", b"y" * 1000)
        await say(paris, bucket, rules(tokyo=["bad", "good"]))

        async def filled() -> bool:
            return (await tokyo.names.elsewhere.count())[0] == 60

        await eventually(filled)
        assert await tokyo.get(bucket, "good89") == b"y" * 1000
        assert len(tokyo.replicator._filling._asked) <= 60
        await eventually(lambda: tokyo.replicator._filling.known("")[0] == 60)


async def test_who_is_slow_is_waited_for_and_who_is_lost_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "FILL_AGAIN_SECONDS", 0.2)
    monkeypatch.setattr(filling, "FILL_SECONDS", 0.05)
    async with datacenters(tmp_path, "a", "b", "c") as (a, b, c):
        for one, other in ((a, b), (b, c), (a, c)):
            await pair(one, other)
        bucket = await a.bucket()
        await say(a, bucket, rules(a=[""], b=["k"]))
        body = os.urandom(2000)
        await a.put(bucket, "k", body)
        await settled(a, b, c)
        never, routes = asyncio.Event(), a.replicator._server._routes

        async def slow(request: object, peer: object) -> None:
            await never.wait()
            raise ConnectionResetError

        monkeypatch.setitem(routes, ("GET", "body"), slow)
        await say(a, bucket, rules(a=[""], b=["k"], c=["k"]))
        asked = c.replicator._filling._asked
        try:
            await eventually(lambda: any(a.dc_id in one.tried for one in asked.values()))
            await asyncio.sleep(1)
            assert [one.tried for one in asked.values()] == [{a.dc_id}]
            assert (c.peer(a).inbox, c.peer(b).inbox) == (1, 0)
        finally:
            never.set()
        await a.down()
        await eventually(partial(has, c, bucket, "k", body))
        await a.up()
