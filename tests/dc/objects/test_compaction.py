"""Compaction: space comes back, and nothing else changes; and what it leaves alone."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from compaction_kit import FOLDER, GRACE, HALF, Place, noise, opened
from object_checks import scan_image
from object_disks import MemoryDisk

from dc.names.api import BytesMissing
from dc.names.inventory import START
from dc.names.inventory import Place as At
from dc.names.model import Conflict, Cursor, Extent, Inboxed, Peer, Register
from dc.names.notary_outbox import REMOVED, WRITTEN
from dc.names.places import Move
from dc.notary import NOTARY, TO_BE_READ
from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.compaction import Ask, Compactor
from dc.objects.format import file_name

MODES = ["1+0", "2+1", "4+2"]
KEYS = [f"key {number}" for number in range(10)]


async def half_garbage(place: Place, size: int = 1000) -> int:
    """Ten bodies in one container, six of them deleted; the container."""
    for seed, key in enumerate(KEYS):
        await place.put(key, size, seed)
    container = await place.container_of(KEYS[0])
    await place.delete(*KEYS[:6])
    await place.seal()
    return container


def tables(tmp_path: Path) -> list[Any]:
    """All that compaction must leave as it is."""
    db = sqlite3.connect(tmp_path / "names.db")
    queries = (
        "SELECT bucket, key, vid, stamp, seq, kind, size, etag, meta, seen, registers, leaf"
        " FROM versions ORDER BY 1, 2, 3",
        "SELECT * FROM feed ORDER BY 1",
        "SELECT * FROM tombstones ORDER BY 1, 2, 3",
        "SELECT bucket, key, stamp, seq, leaf, winner FROM conflicts ORDER BY 1, 2, 3",
    )
    found = [db.execute(query).fetchall() for query in queries]
    db.close()
    return found


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_alive_is_moved_and_the_container_is_removed(
    tmp_path: Path, mode: str
) -> None:
    async with opened(tmp_path, mode) as place:
        old = await half_garbage(place)
        before, roots, end = tables(tmp_path), place.names.roots(), place.names.feed_end
        assert await place.compactor.round(HALF)
        assert old in await place.containers(), "it was removed after one count"
        assert await place.container_of(KEYS[9]) != old
        assert await place.wrong() == []
        place.clock.now += GRACE
        await place.compactor.round(HALF)
        assert old not in await place.containers()
        assert not [path for path in place.disk.names if f"{old:016x}" in path.name]
        assert await place.wrong() == []
        assert tables(tmp_path) == before
        assert (place.names.roots(), place.names.feed_end) == (roots, end)
        told = place.compactor.progress()
        assert told["removed_containers"] == 1
        assert told["freed_bytes"] > 6 * 1000 if mode == "1+0" else told["freed_bytes"] > 0


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_but_garbage_is_removed_after_two_counts(tmp_path: Path, mode: str) -> None:
    async with opened(tmp_path, mode) as place:
        await place.put("gone", 5000)
        old = await place.container_of("gone")
        await place.delete("gone")
        await place.seal()
        assert await place.compactor.round(HALF)
        assert await place.compactor.round(HALF)
        assert old in await place.containers(), "within the grace"
        place.clock.now += GRACE
        assert not await place.compactor.round(HALF)
        assert old not in await place.containers()
        assert place.compactor.progress()["moved_bytes"] == 0
        assert place.store.stats().bytes_on_disk >= 0


async def test_little_garbage_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        await place.rounds(3, Ask(0.9))
        assert await place.containers() == {old}
        await place.rounds(3, Ask(0.5))
        assert old not in await place.containers()


async def test_tiny_bodies_are_not_moved_again_and_again(tmp_path: Path) -> None:
    """What stands beside them in a container is no garbage."""
    async with opened(tmp_path) as place:
        for number in range(50):
            await place.put(f"a rather long key of number {number}", 1)
        await place.seal()
        before = await place.containers()
        assert not await place.compactor.round(Ask(0.05))
        assert await place.containers() == before


async def test_a_body_of_many_records(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await place.upload("large", 3_500_000)
        await place.upload("gone", 9_000_000)
        await place.delete("gone")
        await place.seal()
        await place.rounds()
        assert await place.wrong() == []
        version = await place.names.current(place.bucket.id, "large")
        assert version is not None
        (container,) = await place.containers()
        records = scan_image(place.disk.image(), container)
        assert [record.extent for record in records] == version.extents
        assert [record.position for record in records] == [0, 1 << 20, 2 << 20, 3 << 20]
        assert [record.last for record in records] == [False] * 3 + [True]


async def test_the_ident_is_what_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        records = scan_image(place.disk.image(), old)
        await place.rounds()
        (new,) = await place.containers()
        moved = scan_image(place.disk.image(), new)
        assert [one.ident for one in moved] == [one.ident for one in records[6:]]
        assert all(one.last and one.intact and one.position == 0 for one in moved)


async def test_who_has_read_a_version_before_reads_it_where_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        kept = await place.names.current(place.bucket.id, KEYS[9])
        assert kept is not None
        await place.compactor.round(HALF)
        assert await place.container_of(KEYS[9]) != old
        assert await place.read(kept.extents) == place.bodies[KEYS[9]], "a read that is late"


async def test_conflicts_and_parts_are_moved(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        names, lost = place.names, noise(700, 1)
        loser = await place.stored("fought over", lost)
        winner = msgspec.structs.replace(loser, stamp=names.clock.now())
        await names.apply([Conflict(loser=loser, winner=winner.stamp)])
        await place.begin_upload("up")
        piece = noise(800, 2)
        part = await place.part("up", 1, piece)
        old = await half_garbage(place)
        await place.rounds()
        assert old not in await place.containers()
        (conflict,) = await names.conflicts()
        assert conflict.loser.extents != loser.extents
        assert await place.read(conflict.loser.extents) == lost
        (now,) = await names.parts("up")
        assert now.extents != part.extents
        assert await place.read(now.extents) == piece
        assert msgspec.structs.replace(now, extents=[]) == msgspec.structs.replace(part, extents=[])


# -- what is left alone ---------------------------------------------------------------------------


async def test_a_container_that_is_written_to(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await place.put("gone", 5000)
        await place.delete("gone")
        place.clock.now += GRACE
        before = await place.containers()
        await place.rounds(4)
        assert await place.containers() == before
        # Somebody asks: then it is sealed.
        run = place.compactor.compact()
        for _ in range(4):
            assert place.compactor._asked is not None
            await place.compactor.round(place.compactor._asked)
            place.clock.now += GRACE
        assert await place.containers() == set()
        assert run == 1


async def test_a_body_that_streams_in(tmp_path: Path) -> None:
    """Its first records are in a container that was sealed long ago."""
    async with opened(tmp_path, max_bytes=3 << 20) as place:
        data = noise(6 << 20)
        async with place.store.writer(b"slow") as writer:
            await writer.write(data[: 5 << 20])
            for _ in range(50):
                await asyncio.sleep(0)
            place.clock.now += 100 * GRACE
            await place.rounds(4)
            await writer.write(data[5 << 20 :])
            extents = await writer.finish()
        assert len({one.container for one in extents}) > 1
        await place.rounds(1)
        await place.names.put(place.version("slow", data, extents))
        assert await place.read(extents) == data


async def test_a_body_whose_name_is_on_its_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        made = await place.stored("late", noise(500))
        await place.store.seal(place.store.unsealed())
        await place.compactor.round(HALF)
        place.clock.now += GRACE - 1
        await place.compactor.round(HALF)
        await place.names.put(made)
        await place.rounds(4)
        assert await place.read(made.extents) == noise(500)


async def test_a_read_that_is_under_way(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await place.upload("gone", 3_000_000)
        version = await place.names.current(place.bucket.id, "gone")
        assert version is not None
        reader: Any = place.store.read(version.extents, 0, version.size)
        got = bytes(await anext(reader))
        await place.delete("gone")
        await place.seal()
        await place.rounds(4)
        got += b"".join([bytes(piece) async for piece in reader])
        assert got == noise(3_000_000)
        assert await place.containers()
        await place.rounds(2)
        assert await place.containers() == set()


async def test_ranges_that_an_inbox_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        names = place.names
        await names.add_peer(peer())
        made = await place.stored("coming", noise(900))
        entry = Inboxed(peer="2" * 16, seq=1, change=b"x", extents=[(0, made.extents[0])])
        await names.apply([], peer="2" * 16, cursor=Cursor("e", 1), inbox=[entry])
        old = await half_garbage(place)
        await place.rounds(4)
        assert old in await place.containers()
        assert place.compactor.progress()["moved_bytes"] == 0, "it cannot be emptied"
        (kept,) = await names.inbox("2" * 16)
        assert await place.read([extent for _, extent in kept.extents]) == noise(900)
        await names.apply([], peer="2" * 16, done=[1])
        await place.rounds(3)
        assert old not in await place.containers()


async def test_what_the_notary_is_to_read(tmp_path: Path) -> None:
    """Stays, overwritten as it is, for as long as there is no entry of it."""
    async with opened(tmp_path) as place:
        outbox = place.names.notary_outbox
        first = await place.stored("proven", noise(900, 1))
        noted = {NOTARY: Register(first.stamp, TO_BE_READ)}
        await place.names.put(msgspec.structs.replace(first, registers=noted))
        await place.put("proven", 900, 2)
        await place.delete("proven")
        await place.seal()
        await place.rounds(4)
        rows = await outbox.page(10)
        assert [one.type for _, one in rows] == [WRITTEN, REMOVED]
        one = rows[0][1]
        assert one.version is not None and one.version.extents == first.extents
        assert await place.read(one.version.extents) == noise(900, 1)
        space = place.compactor.space()
        assert space is not None and space["bytes_live"] == 0
        await outbox.done([number for number, _ in rows])
        await place.rounds(3)
        assert await place.containers() == set()


async def test_what_the_notary_is_to_read_is_not_moved(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        first = await place.stored("proven", noise(900, 1))
        noted = {NOTARY: Register(first.stamp, TO_BE_READ)}
        await place.names.put(msgspec.structs.replace(first, registers=noted))
        old = await half_garbage(place)
        await place.rounds(4)
        assert old in await place.containers()
        assert place.compactor.progress()["moved_bytes"] == 0
        ((number, _),) = await place.names.notary_outbox.page(10)
        await place.names.notary_outbox.done([number])
        await place.rounds(3)
        assert old not in await place.containers()
        assert await place.wrong() == []


def peer() -> Peer:
    return Peer(
        dc_id="2" * 16, name="tokyo", region="r", endpoints=["h:1"], fingerprint="f" * 64,
        signing_key=b"s", sealing_key=b"k", paired="",
    )  # fmt: skip


async def test_a_damaged_slot_is_decoded_around(tmp_path: Path) -> None:
    async with opened(tmp_path, "2+1") as place:
        old = await half_garbage(place)
        for path, inode in place.disk.names.items():
            if path.name == f"{old:016x}-00.fss":
                inode.content[len(inode.content) // 2 :] = bytes(len(inode.content) // 2)
        await place.rounds()
        assert old not in await place.containers()
        assert await place.wrong() == []


async def test_damaged_bytes_stay_and_are_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        for path, inode in place.disk.names.items():
            if f"{old:016x}" in path.name:
                inode.content[-200] ^= 1
        await place.rounds(5)
        assert old in await place.containers()
        assert place.compactor.progress()["damaged_containers"] == [f"{old:016x}"]
        assert not await place.compactor.round(HALF), "it is tried again and again"
        with pytest.raises(ObjectsError):
            await place.wrong()
        # Those that can be read are read where they are now.
        for key in KEYS[6:9]:
            version = await place.names.current(place.bucket.id, key)
            assert version is not None
            assert await place.read(version.extents) == place.bodies[key]
        await place.delete(KEYS[9])
        await place.rounds()
        assert old not in await place.containers()
        assert place.compactor.progress()["damaged_containers"] == []


async def test_bytes_that_are_elsewhere_are_no_container(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        made = place.version("elsewhere", b"x" * 10, [Extent(0, 0, 10)])
        await place.names.put(made)
        old = await half_garbage(place)
        await place.rounds()
        assert old not in await place.containers()
        version = await place.names.current(place.bucket.id, "elsewhere")
        assert version is not None and version.extents == made.extents
        space = place.compactor.space()
        assert space is not None and space["bytes_live"] == 4000


async def test_a_full_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        place.disk.full = True
        with pytest.raises(OutOfSpace):
            await place.compactor.round(HALF)
        assert await place.wrong() == []
        place.disk.full = False
        await place.rounds()
        assert old not in await place.containers()
        assert await place.wrong() == []


async def test_a_container_that_was_removed_by_somebody_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await place.put("gone", 5000)
        old = await place.container_of("gone")
        await place.delete("gone")
        await place.seal()
        await place.compactor.round(HALF)
        place.clock.now += GRACE
        retire = place.names.places.retire

        async def and_remove(containers: Any) -> set[int]:
            place.disk.remove(FOLDER / file_name(old))
            return await retire(containers)

        place.names.places.retire = and_remove  # type: ignore[method-assign]
        await place.compactor.round(HALF)
        assert old not in place.compactor._empty


# -- names that come while it counts --------------------------------------------------------------


class Between:
    """Does something when a count is at a place."""

    def __init__(self, place: Place, when: Callable[[At], bool], work: Callable[[], Any]) -> None:
        self.happened = 0
        count = place.names.places.count

        async def counted(after: At, limit: int, tiering: Any) -> Any:
            if when(after):
                self.happened += 1
                await work()
            return await count(after, limit, tiering)

        place.names.places.count = counted  # type: ignore[method-assign]


async def test_a_name_that_is_given_behind_the_count(tmp_path: Path) -> None:
    """A body that nobody has named for long gets its name where the count has been already."""
    async with opened(tmp_path) as place:
        made = await place.stored("a late one", noise(500))
        await place.seal()
        await place.compactor.round(HALF)
        place.clock.now += GRACE
        between = Between(place, lambda at: at[0] == 2, lambda: place.names.put(made))
        await place.compactor.round(HALF)
        assert between.happened == 1
        place.bodies["a late one"] = noise(500)
        assert await place.wrong() == []


async def test_a_conflict_that_is_restored_behind_the_count(tmp_path: Path) -> None:
    """Its name goes from where the count has not been yet to where it has been."""
    async with opened(tmp_path) as place:
        names, lost = place.names, noise(700, 1)
        loser = await place.stored("fought over", lost)
        await place.seal()
        await place.compactor.round(HALF)  # Nobody points to it yet.
        place.clock.now += GRACE
        await names.apply([Conflict(loser=loser, winner=names.clock.now())])
        where = (place.bucket.id, "fought over", loser.stamp)
        between = Between(place, lambda at: at[0] == 1, lambda: names.restore_conflict(*where))
        await place.compactor.round(HALF)
        assert between.happened == 1
        place.bodies["fought over"] = lost
        assert await place.wrong() == []


async def test_what_comes_when_it_was_retired_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        names = place.names
        await names.add_peer(peer())
        await place.begin_upload("up")
        late = await place.stored("late", noise(500))
        await place.put("other", 100)
        await place.seal()
        container = late.extents[0].container
        await place.delete("other")
        await place.rounds(3)
        assert await place.containers() == set()
        beside = await place.stored("beside", noise(100))
        outcomes = await asyncio.gather(names.put(late), names.put(beside), return_exceptions=True)
        assert [type(one) for one in outcomes] == [BytesMissing, type(None)]
        with pytest.raises(BytesMissing):
            await names.apply([late])
        with pytest.raises(BytesMissing):
            await names.apply([Conflict(loser=late, winner=names.clock.now())])
        with pytest.raises(BytesMissing):
            await names.complete_upload("up", late)
        assert await names.upload("up") is not None
        ranges = [(0, late.extents[0]), (500, beside.extents[0])]
        entry = Inboxed(peer="2" * 16, seq=1, change=b"x", extents=ranges)
        await names.apply([], peer="2" * 16, cursor=Cursor("e", 1), inbox=[entry])
        (kept,) = await names.inbox("2" * 16)
        assert kept.extents == ranges[1:], "a range that has gone is fetched again"
        await names.inbox_update([entry])
        (kept,) = await names.inbox("2" * 16)
        assert kept.extents == ranges[1:]
        assert container not in await place.containers()


async def test_an_upload_that_is_completed_with_what_its_parts_were(tmp_path: Path) -> None:
    """A gateway has read the parts before they are moved, and completes afterwards."""
    async with opened(tmp_path) as place:
        names = place.names
        await place.begin_upload("up")
        piece = noise(800, 2)
        await place.part("up", 1, piece)
        old = await half_garbage(place)
        (read,) = await names.parts("up")
        await place.compactor.round(HALF)
        (now,) = await names.parts("up")
        assert now.extents != read.extents
        made = place.version("up", piece, list(read.extents))
        await names.complete_upload("up", made)
        place.bodies["up"] = piece
        place.clock.now += GRACE
        await place.compactor.round(HALF)
        assert old in await place.containers(), "it was given a name again"
        assert await place.wrong() == []
        await place.rounds(4)
        assert old not in await place.containers()
        assert await place.wrong() == []


async def test_a_move_is_for_what_is_still_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        found = (await place.names.places.find(START, 100, frozenset([old]))).found
        assert len(found) == 4
        new = await place.put(KEYS[9], 50, 77)
        moves = [
            Move(one.table, one.key, one.text, "[[1,2,3]]") for one in found if one.name == KEYS[9]
        ]
        assert await place.names.places.move(moves) == 0
        version = await place.names.current(place.bucket.id, KEYS[9])
        assert version is not None and version.extents == new.extents


async def test_an_overwrite_while_it_moves(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        old = await half_garbage(place)
        stored = place.store.store_moved

        async def and_overwrite(records: Any, tier: str) -> list[Extent]:
            await place.put(KEYS[9], 333, 5)
            return await stored(records, tier)

        place.store.store_moved = and_overwrite  # type: ignore[method-assign]
        await place.compactor.round(HALF)
        assert await place.wrong() == []
        place.clock.now += GRACE
        await place.compactor.round(HALF)
        assert await place.wrong() == []
        assert old not in await place.containers()


# -- in the large ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_random_work_with_restarts(tmp_path: Path, seed: int) -> None:
    """Puts, overwrites, deletions, uploads, rounds and restarts in some order: all that is current
    reads back, and in the end nothing but that takes space."""
    import random

    chance = random.Random(seed)
    disk = MemoryDisk()
    bodies: dict[str, bytes] = {}
    mode = "1+0" if seed % 2 else "2+1"
    for _ in range(3):
        async with opened(tmp_path, mode, disk, max_bytes=64 << 10) as place:
            place.bodies = bodies
            for step in range(60):
                key = f"key {chance.randrange(12)}"
                what = chance.random()
                if what < 0.5:
                    await place.put(key, chance.randrange(1, 9000), step)
                elif what < 0.75 and key in bodies:
                    await place.delete(key)
                elif what < 0.8:
                    await place.upload(f"large {chance.randrange(3)}", 1_500_000, step)
                elif what < 0.9:
                    await place.compactor.round(Ask(chance.choice([0.05, 0.3])))
                place.clock.now += chance.choice([0, 1, GRACE])
            assert await place.wrong() == []
    async with opened(tmp_path, mode, disk, max_bytes=64 << 10) as place:
        place.bodies = bodies
        place.clock.now += GRACE
        await place.rounds(5, Ask(0.05))
        assert await place.wrong() == []
        alive = sum(map(len, bodies.values()))
        sizes = await place.store.sizes()
        assert sum(sizes.values()) < 1.06 * alive + 30_000, (sizes, alive)


async def test_the_worker_does_what_is_asked(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await half_garbage(place)
        compactor = Compactor(place.names, place.store, place.clock)
        run = compactor.compact(0.2)
        while compactor.progress()["finished"] < run:
            await compactor.step()
        assert compactor.progress()["removed_containers"] == 1
        assert not compactor.progress()["asked"]
        space = compactor.space()
        assert space is not None
        assert (space["objects"], space["objects_whole"], space["bytes_live"]) == (4, 4, 4000)
        assert await place.wrong() == []
