"""Which containers names point into: counted a page at a time, moved, and retired."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from names_kit import OWNER, PARIS, TOKYO, opened, tombstone, version

from dc.names import inventory
from dc.names.api import BytesMissing, NamesError
from dc.names.inventory import START, Share
from dc.names.model import Conflict, Cursor, Extent, Inboxed, Meta, Peer, Upload, UploadPart
from dc.names.places import Move
from dc.names.service import SqliteNames

OLD, OTHER, COMING, NEW = (1 << 60, (1 << 60) + 1, (1 << 60) + 2, (1 << 60) + 3)


async def counted(names: SqliteNames, limit: int) -> tuple[dict[int, Share], set[int], int, int]:
    shares: dict[int, Share] = {}
    coming: set[int] = set()
    rows = bodies = 0
    place: inventory.Place | None = START
    while place is not None:
        page = await names.places.count(place, limit)
        assert page.rows <= limit
        place, rows, bodies = page.after, rows + page.rows, bodies + page.bodies
        coming |= page.coming
        for container, share in page.containers.items():
            shares.setdefault(container, Share()).add(share)
    return shares, coming, rows, bodies


async def found(names: SqliteNames, limit: int, *containers: int) -> list[inventory.Found]:
    all_of_them = []
    place: inventory.Place | None = START
    while place is not None:
        page = await names.places.find(place, limit, frozenset(containers))
        place = page.after
        all_of_them += page.found
    return all_of_them


def at(container: int, length: int, offset: int = 64) -> list[Extent]:
    return [Extent(container, offset, length)]


async def filled(names: SqliteNames) -> str:
    """Versions with and without ids, a large one, a marker's sort of nothing, a conflict, parts, an
    inbox; the bucket's id."""
    now = names.clock.now
    bucket = (await names.create_bucket("photos", OWNER, "eu")).id
    for number in range(5):
        made = version(bucket, f"key {number}", now())
        await names.put(msgspec.structs.replace(made, extents=at(OLD, 100 + number)))
    large = version(bucket, "large", now(), vid="v1")
    both = [Extent(OLD, 1000, 70_000), Extent(OTHER, 64, 5), Extent(OTHER, 99, 6)]
    await names.put(msgspec.structs.replace(large, extents=both))
    await names.put(msgspec.structs.replace(version(bucket, "empty", now()), size=0, extents=[]))
    away = version(bucket, "elsewhere", now())
    await names.put(msgspec.structs.replace(away, extents=[Extent(0, 0, 9)]))
    lost = msgspec.structs.replace(version(bucket, "lost", now()), extents=at(OTHER, 50))
    await names.apply([Conflict(loser=lost, winner=now())])
    await names.create_upload(Upload("up", bucket, "up", OWNER, now(), Meta()))
    for number in (1, 2):
        part = UploadPart(number, 7, "e", now(), 0, {}, at(OTHER, 7, 500 * number))
        await names.put_part("up", part)
    await names.add_peer(
        Peer(
            dc_id=TOKYO,
            name="tokyo",
            region="r",
            endpoints=["h:1"],
            fingerprint="f" * 64,
            signing_key=b"s",
            sealing_key=b"k",
            paired=now(),
        )
    )
    ranges = [(0, Extent(COMING, 64, 8)), (8, Extent(COMING, 99, 9))]
    entry = Inboxed(peer=TOKYO, seq=1, change=b"x", extents=ranges)
    await names.apply([], peer=TOKYO, cursor=Cursor("e", 1), inbox=[entry])
    return bucket


@pytest.mark.parametrize("limit", [1, 2, 3, 500])
async def test_a_count_is_the_same_whatever_the_pages(tmp_path: Path, limit: int) -> None:
    async with opened(tmp_path / "names.db") as names:
        await filled(names)
        shares, coming, rows, bodies = await counted(names, limit)
        assert shares.keys() == {OLD, OTHER, COMING}
        assert (shares[OLD].bodies, shares[OLD].bytes) == (6, 510 + 70_000)
        assert (shares[OTHER].bodies, shares[OTHER].bytes) == (4, 11 + 50 + 14)
        assert (shares[COMING].bodies, shares[COMING].bytes) == (1, 17)
        assert coming == {COMING}
        assert rows == 12
        assert bodies == 10, "those that have bytes, somewhere"
        assert all(share.taken > share.bytes for share in shares.values())


@pytest.mark.parametrize("limit", [1, 500])
async def test_who_points_into_a_container(tmp_path: Path, limit: int) -> None:
    async with opened(tmp_path / "names.db") as names:
        bucket = await filled(names)
        rows = await found(names, limit, OTHER)
        assert [one.name for one in rows] == ["large", "lost", "up", "up"]
        assert {one.bucket for one in rows} == {bucket}
        large, lost, part, _ = rows
        assert large.version == await names.version(bucket, "large", "v1")
        (conflict,) = await names.conflicts()
        assert lost.version == conflict.loser
        assert part.part == (await names.parts("up"))[0]
        assert await found(names, limit, COMING) == [], "what an inbox has is not moved"
        assert await found(names, limit, NEW) == []


async def test_rows_are_moved_if_they_are_what_they_were(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        bucket = await filled(names)
        before = await names.current(bucket, "key 0")
        roots, end = names.roots(), names.feed_end
        rows = await found(names, 500, OLD, OTHER)
        moves = [_to_new(row) for row in rows]
        await names.delete([tombstone(bucket, "key 1", names.clock.now())])
        end += 1
        assert await names.places.move(moves) == len(moves) - 1
        assert await names.places.move(moves) == 0
        assert (await counted(names, 500))[0].keys() == {NEW, COMING}
        after = await names.current(bucket, "key 0")
        assert before is not None and after is not None
        assert after.extents == at(NEW, 100)
        assert msgspec.structs.replace(after, extents=before.extents) == before
        assert names.feed_end == end
        assert names.roots().keys() == roots.keys()


def _to_new(row: inventory.Found) -> Move:
    extents = [Extent(NEW, one.offset, one.length) for one in row.extents]
    value = extents if row.part is None else msgspec.structs.replace(row.part, extents=extents)
    return Move(row.table, row.key, row.text, msgspec.json.encode(value).decode())


async def test_what_is_named_since_a_count_began_is_not_retired(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        bucket = await filled(names)
        new = version(bucket, "new", names.clock.now())
        await names.places.begin()
        assert await names.places.retire([NEW]) == {NEW}
        with pytest.raises(BytesMissing):
            await names.put(msgspec.structs.replace(new, extents=at(NEW, 3)))
        await names.put(msgspec.structs.replace(new, extents=at(NEW + 1, 3)))
        assert await names.places.retire([NEW + 1, NEW + 2]) == {NEW + 2}
        await names.delete([tombstone(bucket, "new", names.clock.now())])
        assert await names.places.retire([NEW + 1]) == set(), "it may have been seen by somebody"
        await names.places.begin()
        assert await names.places.retire([NEW + 1]) == {NEW + 1}
        await names.places.end()
        later = msgspec.structs.replace(new, stamp=names.clock.now(), extents=at(NEW + 1, 3))
        with pytest.raises(BytesMissing):
            await names.apply([later])


async def test_every_way_of_naming_is_noted(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db") as names:
        bucket = await filled(names)
        now = names.clock.now
        made = [
            msgspec.structs.replace(version(bucket, f"w{n}", now()), extents=at(NEW + n, 2))
            for n in range(5)
        ]
        part = UploadPart(3, 2, "e", now(), 0, {}, at(NEW + 5, 2))
        entry = Inboxed(peer=TOKYO, seq=1, change=b"x", extents=[(0, at(NEW + 6, 2)[0])])
        await names.places.begin()
        await names.put(made[0])
        await names.apply([made[1]])
        await names.apply([Conflict(loser=made[2], winner=now())])
        await names.put_part("up", part)
        await names.inbox_update([entry])
        await names.complete_upload("up", made[3])
        await names.set_registers(bucket, "w0", "", {"tags": "x"})
        free = await names.places.retire(range(NEW, NEW + 8))
        assert free == {NEW + 4, NEW + 7}


async def test_one_that_is_refused_harms_nobody_else(tmp_path: Path) -> None:
    async with opened(tmp_path / "names.db", PARIS) as names:
        bucket = await filled(names)
        await names.places.begin()
        await names.places.retire([NEW])
        made = [
            msgspec.structs.replace(
                version(bucket, f"w{n}", names.clock.now()), extents=at(NEW + n % 2, 2)
            )
            for n in range(6)
        ]
        done = await asyncio.gather(*(names.put(one) for one in made), return_exceptions=True)
        assert [isinstance(one, NamesError) for one in done] == [True, False] * 3
        for n, one in enumerate(made):
            there = await names.current(bucket, one.key)
            assert (there is not None) == bool(n % 2)
