"""What a DC had acknowledged and its peers lacked when they lost it: noted, exact, and followed."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from replica_kit import Dc, datacenters, eventually, pair, settled

from dc.names import unshipped
from dc.names.errors import NamesFull
from dc.names.model import Bucket
from dc.names.unshipped import Absence
from dc.objects.api import CorruptData
from replicator import absences, messages
from replicator.absences import LossReport, LostWrite
from replicator.client import PeerClient
from replicator.limits import INLINE_BYTES_MAX, MIB


async def whole(dc: Dc, peer: Dc | None = None, since_ms: int = 0) -> LossReport:
    """All pages of the report."""
    pages: list[LossReport] = []
    after = ""
    while True:
        asked = peer.dc_id if peer else ""
        pages.append(await dc.replicator.absences.report(asked, since_ms, after))
        after = pages[-1].next
        if not after:
            break
    writes = [write for page in pages for write in page.writes]
    assert [write.stamp for write in writes] == sorted({write.stamp for write in writes})
    return LossReport(absences=pages[0].absences, writes=writes, next="")


def by_key(report: LossReport) -> dict[str, LostWrite]:
    return {write.key: write for write in report.writes}


@asynccontextmanager
async def in_step(root: Path) -> AsyncIterator[tuple[Dc, Dc, Bucket]]:
    """Paris and Tokyo, paired, with a bucket; what Tokyo has is noted."""
    async with datacenters(root, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await paris.names.upkeep()
        yield paris, tokyo, bucket


async def lost(dc: Dc) -> None:
    """It goes down, with its last round of upkeep behind it."""
    await dc.names.upkeep()
    await dc.down()


async def test_what_became_of_each_write_that_was_not_shipped(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await paris.put(bucket, "heard", b"0")
        await paris.put(bucket, "gone", b"0")
        await settled(paris, tokyo)
        await paris.names.upkeep()
        await paris.put(bucket, "shipped after upkeep", b"1")
        await settled(paris, tokyo)
        # From here on paris is cut off, and goes on for a while.
        await tokyo.down()
        await paris.put(bucket, "alone", b"22")
        await paris.put(bucket, "both", b"333")
        await paris.put(bucket, "version", b"4444", versioned=True)
        await paris.delete(bucket, "gone")
        await paris.down()
        await tokyo.up()
        await tokyo.put(bucket, "both", b"of tokyo")
        await tokyo.put(bucket, "only tokyo", b"t")
        await paris.up()
        await settled(paris, tokyo)
        await eventually(lambda: _settled(paris))
        found = await whole(paris)
        (absence,) = found.absences
        assert (absence.name, absence.exact, absence.at_least) == ("tokyo", True, False)
        assert absence.back_ms >= absence.since_ms > 0 and absence.writes == 4
        states = {key: (write.state, write.what) for key, write in by_key(found).items()}
        assert states == {
            "alone": ("shipped", "object"),
            "both": ("conflict", "object"),
            "version": ("shipped", "object"),
            "gone": ("shipped", "deletion"),
        }
        alone = by_key(found)["alone"]
        assert (alone.bucket, alone.size, alone.version) == ("photos", 2, "")
        assert (alone.lacked_by, alone.had_by) == (["tokyo"], [])
        assert by_key(found)["version"].version != ""
        # It is followed, and outlives a restart.
        await tokyo.put(bucket, "alone", b"later")
        await settled(paris, tokyo)
        await paris.down()
        await paris.up()
        again = by_key(await whole(paris, tokyo))
        assert (again["alone"].state, again["alone"].by) == ("superseded", "tokyo")
        assert [one.key for one in (await whole(paris, since_ms=alone.time_ms + 1)).writes] == [
            key for key in ("both", "version", "gone") if again[key].time_ms > alone.time_ms
        ]


async def _settled(dc: Dc) -> bool:
    report = await whole(dc)
    return all(one.exact for one in report.absences)


async def test_until_the_peer_is_back_it_is_an_upper_bound(tmp_path: Path) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await paris.put(bucket, "had", b"x")
        await settled(paris, tokyo)
        await tokyo.down()
        await paris.put(bucket, "lacked", b"x")
        for _ in range(2):
            # Each time it is restarted, the same absence goes on.
            await paris.down()
            await paris.up()
            await paris.replicator._home.meet()
        found = await whole(paris)
        (absence,) = found.absences
        assert (absence.back_ms, absence.exact, absence.writes) == (0, False, 2)
        assert {key: write.state for key, write in by_key(found).items()} == {
            "had": "to go",
            "lacked": "to go",
        }
        await tokyo.up()
        await settled(paris, tokyo)
        await eventually(lambda: _settled(paris))
        assert set(by_key(await whole(paris))) == {"lacked"}


async def test_who_is_cancelled_while_it_is_noted_leaves_one_absence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the connection of a peer breaks that was about to open the feed."""
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        await paris.put(bucket, "lacked", b"x")
        note, committed, go_on = paris.names.unshipped.note, asyncio.Event(), asyncio.Event()

        async def slow(absence: Absence, after: int, end: int) -> Absence:
            noted = await note(absence, after, end)
            committed.set()
            await go_on.wait()
            return noted

        with monkeypatch.context() as patch:
            patch.setattr(paris.names.unshipped, "note", slow)
            meeting = asyncio.create_task(paris.replicator.absences.meet())
            await committed.wait()
            meeting.cancel()
            await asyncio.gather(meeting, return_exceptions=True)
            go_on.set()
            await paris.replicator.absences.meet()
        assert [one.writes for one in (await whole(paris)).absences] == [1]
        await tokyo.up()
        await settled(paris, tokyo)
        await eventually(lambda: _settled(paris))
        assert [one.back_ms > 0 for one in (await whole(paris)).absences] == [True]


async def test_a_stream_that_breaks_as_it_opens_is_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        await settled(paris, tokyo)
        await tokyo.down()
        server, asked = paris.replicator._server, asyncio.Event()
        await eventually(lambda: server.outbound(tokyo.dc_id).streams == 0)

        async def slow(*_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(server.absences, "opened", slow)
            await tokyo.up()
            await asked.wait()
            assert server.outbound(tokyo.dc_id).streams > 0
            await tokyo.down()
            await eventually(lambda: server.outbound(tokyo.dc_id).streams == 0, 5)
        await tokyo.up()
        await settled(paris, tokyo)


async def test_the_feed_goes_on_when_it_cannot_be_noted_who_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        await paris.put(bucket, "lacked", b"x")
        await paris.replicator.absences.meet()
        tried: list[str] = []

        def full(name: str) -> Any:
            async def fail(*_: object) -> None:
                tried.append(name)
                raise NamesFull("the disk is full")

            return fail

        monkeypatch.setattr(paris.names.unshipped, "back", full("back"))
        monkeypatch.setattr(paris.names.unshipped, "settle", full("settle"))
        failed: list[str] = []
        real = PeerClient.ack

        async def ack(client: PeerClient, said: messages.Ack) -> None:
            try:
                await real(client, said)
            except Exception as error:
                failed.append(str(error))
                raise

        monkeypatch.setattr(PeerClient, "ack", ack)
        await tokyo.up()
        await settled(paris, tokyo)
        link = tokyo.replicator._peers.link(paris.dc_id)
        assert link is not None
        assert (tried, failed, link._inbox.ups) == (["back", "settle"], [], 1)
        assert await tokyo.get(bucket, "lacked") == b"x"
        assert [one.exact for one in (await whole(paris)).absences] == [False]


async def put_unreadable(paris: Dc, tokyo: Dc, bucket: Bucket) -> None:
    """Two objects: of the large one Tokyo has the record, and cannot have the bytes."""
    real = paris.objects.read

    async def read(extents: Any, start: int, stop: int) -> AsyncIterator[bytes]:
        if stop > INLINE_BYTES_MAX:
            raise CorruptData("not now")
        async for piece in real(extents, start, stop):
            yield piece

    paris.objects.read = read  # type: ignore[method-assign]
    await paris.put(bucket, "large", os.urandom(MIB))
    await paris.put(bucket, "small", b"x")
    await eventually(lambda: _has(tokyo, bucket.id, "small"))


async def test_a_body_that_was_still_to_come_was_lacked(tmp_path: Path) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await put_unreadable(paris, tokyo, bucket)
        await paris.down()
        await paris.up()
        await eventually(lambda: _settled_with_one(paris))
        found = await whole(paris)
        assert set(by_key(found)) == {"large"}, "its record had come, its bytes had not"


async def test_a_body_that_was_still_to_come_and_was_replaced_makes_the_list_not_exact(
    tmp_path: Path,
) -> None:
    """Its position is before the cursor: no gap after that tells of it."""
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await put_unreadable(paris, tokyo, bucket)
        await tokyo.down()
        await paris.put(bucket, "large", b"later")
        await paris.down()
        await paris.up()
        await tokyo.up()
        await settled(paris, tokyo)

        async def is_back() -> bool:
            return any(one.back_ms and one.cursor for one in (await whole(paris)).absences)

        await eventually(is_back)
        found = await whole(paris)
        (absence,) = found.absences
        assert (absence.replaced, absence.exact, absence.writes) == (True, False, 1)


async def _has(dc: Dc, bucket_id: str, key: str) -> bool:
    return await dc.get_any(bucket_id, key) is not None


async def _settled_with_one(dc: Dc) -> bool:
    report = await whole(dc)
    return len(report.absences) == 1 and report.absences[0].exact


async def test_it_is_noted_before_a_stream_from_the_peer_brings_anything(tmp_path: Path) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        await paris.put(bucket, "both", b"x")
        await paris.down()
        await tokyo.up()
        await tokyo.put(bucket, "both", b"of tokyo")
        async with tokyo.replicator._peers.held(paris.dc_id):
            # Tokyo does not open the feed of paris; paris takes that of tokyo.
            await paris.up()
            await eventually(lambda: _is(paris, bucket.id, b"of tokyo"))
        await settled(paris, tokyo)
        await eventually(lambda: _settled_with_one(paris))
        assert by_key(await whole(paris))["both"].state == "conflict"


async def _is(dc: Dc, bucket_id: str, body: bytes) -> bool:
    return await dc.get_any(bucket_id, "both") == body


async def test_with_several_peers_it_says_who_had_it(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo", "rome") as (paris, tokyo, rome):
        await pair(paris, tokyo)
        await pair(paris, rome)
        bucket = await paris.bucket()
        await settled(paris, tokyo, rome)
        await paris.names.upkeep()
        await tokyo.down()
        await paris.put(bucket, "rome has it", b"x")
        await settled(rome)
        await eventually(lambda: _has(rome, bucket.id, "rome has it"))
        await eventually(lambda: paris.peer(rome).our_behind == 0)
        await rome.down()
        await paris.put(bucket, "nobody has it", b"x")
        await paris.down()
        for dc in (tokyo, rome, paris):
            await dc.up()
        await settled(paris, tokyo, rome)
        await eventually(lambda: _settled(paris))
        found = by_key(await whole(paris))
        assert found["rome has it"].lacked_by == ["tokyo"]
        assert found["rome has it"].had_by == ["rome"]
        assert found["nobody has it"].lacked_by == ["rome", "tokyo"]
        assert found["nobody has it"].had_by == []
        only = await whole(paris, rome)
        assert set(by_key(only)) == {"nobody has it"}
        assert only.writes[0].lacked_by == ["rome", "tokyo"]
        assert [one.name for one in only.absences] == ["rome"]
        await paris.replicator.remove_peer(rome.dc_id)
        assert [one.name for one in (await whole(paris)).absences] == ["tokyo"]


async def test_it_is_bounded_and_paged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unshipped, "PAGE", 4)
    monkeypatch.setattr(unshipped, "WRITES_MAX", 12)
    monkeypatch.setattr(absences, "PAGE", 5)
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        for number in range(30):
            await paris.put(bucket, f"{number:02}", b"x")
        await tokyo.up()
        await settled(paris, tokyo)
        await eventually(lambda: _settled(paris))
        found = await whole(paris)
        assert found.absences[0].at_least and found.absences[0].writes == 12
        assert list(by_key(found)) == [f"{number:02}" for number in range(12)]


async def test_absences_without_a_loss_are_not_kept(tmp_path: Path) -> None:
    async with datacenters(tmp_path, "paris", "tokyo") as (paris, tokyo):
        await pair(paris, tokyo)
        bucket = await paris.bucket()
        await settled(paris, tokyo)
        await lost(paris)
        await paris.up()
        await settled(paris, tokyo)
        await paris.put(bucket, "key", b"x")
        await settled(paris, tokyo)
        await eventually(lambda: _settled(paris))
        assert await whole(paris) == LossReport(absences=[], writes=[], next="")


async def test_what_is_overwritten_after_a_start_was_noted_at_the_start(tmp_path: Path) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        await paris.put(bucket, "lacked", b"1")
        await paris.down()
        await paris.up()
        await paris.put(bucket, "lacked", b"22")
        await tokyo.up()
        await settled(paris, tokyo)
        await eventually(lambda: _settled_with_one(paris))
        found = await whole(paris)
        assert [(write.key, write.size, write.state) for write in found.writes] == [
            ("lacked", 1, "superseded"),
            ("lacked", 2, "shipped"),
        ]


async def test_what_was_replaced_before_it_was_noted_makes_the_list_not_exact(
    tmp_path: Path,
) -> None:
    async with in_step(tmp_path) as (paris, tokyo, bucket):
        await tokyo.down()
        await paris.down()
        await paris.up()
        for number in range(3):
            await paris.put(bucket, "lacked", bytes(number))
        await tokyo.up()
        await settled(paris, tokyo)

        async def is_back() -> bool:
            return all(one.back_ms and one.cursor for one in (await whole(paris)).absences)

        await eventually(is_back)
        found = await whole(paris)
        (absence,) = found.absences
        assert (absence.replaced, absence.exact, absence.writes) == (True, False, 1)
