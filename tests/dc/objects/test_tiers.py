"""Tiers: containers of all modes beside each other, and what is re-coded when modes, disks and
tiers are changed."""

import errno
import itertools
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from compaction_kit import HALF, Place, noise
from journal_kit import feed_of, plain
from object_checks import whole
from object_disks import ROOT, MemoryDisk
from test_disks_come_and_go import mender_on
from tier_kit import DISKS, choose, disks_on, forms, lose, recode, tier, tiered

from dc.objects import finding, moving
from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import DiskPlace
from dc.objects.format import HEADER_BYTES, Header, decode_header, encode_header
from dc.objects.journal import Journal
from dc.objects.redundancy import Coder, Mode, parse_mode
from dc.objects.scan import scan
from dc.objects.stripes import slot_of
from dc.objects.tiers import Form, Tier, Tiers

ARCHIVE = tier("archive", "4+2")
FAST = tier("fast", "1+1", 0, 1)


async def filled(place: Place, mark: str = "") -> None:
    for number in range(6):
        await place.put(f"{mark}small {number}", 2000 + number)
    await place.upload(f"{mark}large", 3_000_000)


def coded(place: Place) -> CodedDisks:
    disk = place.store._disk
    assert isinstance(disk, CodedDisks)
    return disk


# -- what a container says of itself --------------------------------------------------------------


def test_the_tier_is_in_the_header() -> None:
    """In bytes that were 0 before there were tiers."""
    old = encode_header(Header(77, 5, 4, 2, 3))
    assert old[36:60] == bytes(24)
    longest = Header(77, 5, 4, 2, 3, "a" * 24)
    for header in (Header(77, 5, 4, 2, 3, "archive"), longest, Header(77, 5, 4, 2, 3)):
        raw = encode_header(header)
        assert len(raw) == HEADER_BYTES and decode_header(raw) == header
    assert decode_header(old).tier == "standard"


def test_one_fragment_alone() -> None:
    coder = Coder(Mode(1, 0))
    (fragment,) = coder.encode(b"bytes")
    assert coder.decode({0: fragment}, 5) == b"bytes" and len(fragment) == coder.fragment_bytes(5)


@pytest.mark.parametrize(
    ("pattern", "label", "host", "takes"),
    [
        ("/mnt/a", "/mnt/a", "", True),
        ("/mnt/a", "/mnt/ab", "", False),
        ("/mnt/[a]", "/mnt/[a]", "", True),
        ("/mnt/ssd*", "/mnt/ssd7/paris", "", True),
        ("os1", "os1:/mnt/a", "rack", True),
        ("os1:/mnt/a", "os1:/mnt/a", "os1", True),
        ("rack", "os1:/mnt/a", "rack", True),
        ("os", "os1:/mnt/a", "os1", False),
        ("os?:/mnt/ssd*", "os2:/mnt/ssd1", "os2", True),
        ("", "/mnt/a", "", False),
    ],
)
def test_which_disks_a_tier_takes(pattern: str, label: str, host: str, takes: bool) -> None:
    place = DiskPlace(label, Path("/x"), MemoryDisk(), host)
    assert Tier("a", Mode(1, 1), (pattern,)).takes(place) == takes
    assert Tier("a", Mode(1, 1)).takes(place)


def test_what_is_as_it_should_be() -> None:
    tiers = Tiers(Mode(2, 1), [ARCHIVE])
    assert tiers.has(Form(Mode(2, 1), "standard")) and tiers.has(Form(Mode(4, 2), "archive"))
    assert not tiers.has(Form(Mode(4, 2), "standard")) and not tiers.has(Form(Mode(2, 1), "gone"))
    assert tiers.of("gone") == tiers.standard


async def test_containers_of_all_modes_beside_each_other(tmp_path: Path) -> None:
    """Written, read, scrubbed and repaired, each in its own mode, whatever is configured now."""
    disk, before = MemoryDisk(), None
    for mode in ("2+1", "1+2", "4+2"):
        async with tiered(tmp_path, disk, mode, before=before) as place:
            await filled(place, mode)
            before = place
    async with tiered(tmp_path, disk, "1+1", ARCHIVE, tier("raw", "1+0"), before=before) as place:
        await choose(place, "archive")
        await filled(place, "archive")
        await choose(place, "raw")
        await filled(place, "raw")
        await choose(place, "")
        modes = {"2+1 standard", "1+2 standard", "4+2 standard", "4+2 archive", "1+0 raw"}
        assert await forms(place) == modes and await place.wrong() == []
        # Each by its own mode: two containers of about three million bytes in all.
        sizes: dict[str, int] = {}
        for container, size in (await place.store.sizes()).items():
            form = place.store.form(container)
            sizes[str(form)] = sizes.get(str(form), 0) + size
        assert all(3_010_000 < size < 3_030_000 for size in sizes.values())
        await place.seal()
        mender = mender_on(coded(place))
        for _ in await place.containers():
            await mender.step()
        assert mender.status()["containers_checked"] == 10 and mender.status()["slots_mended"] == 0
        assert place.store.missing() == frozenset()
        place.bodies = {key: one for key, one in place.bodies.items() if key[:3] != "raw"}
        keys = {slot_of(path.name) for path in disk.names if path.suffix == ".fss"} - {None}
        before = place
    lose(disk, 3)
    async with tiered(tmp_path, disk, "1+1", ARCHIVE, tier("raw", "1+0"), before=before) as place:
        assert await place.wrong() == []
        lacking = {place.store.form(one).mode for one in place.store.missing()}
        assert lacking <= {parse_mode(one) for one in ("2+1", "1+2", "4+2")} and lacking
        mender = mender_on(coded(place))
        for _ in range(30):
            await mender.step()
        assert await place.wrong() == []
        left = {place.store.form(one).mode for one in place.store.missing()}
        # Five disks: there is none for a sixth slot.
        assert left == {parse_mode("4+2")}
    assert keys


async def test_a_container_is_known_by_any_of_its_headers(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "4+2") as place:
        await filled(place)
    slots = [path for path in disk.names if path.suffix == ".fss"]
    for path in slots:
        if slot_of(path.name)[1] < 2:  # type: ignore[index]
            disk.names[path].content[10] ^= 1
    async with tiered(tmp_path, disk, "2+1", before=place) as again:
        assert await forms(again) == {"4+2 standard"} and await again.wrong() == []
    for path in slots:
        if slot_of(path.name)[1] >= 2:  # type: ignore[index]
            disk.names[path].content[10] ^= 1
    async with tiered(tmp_path, disk, "2+1", before=place) as again:
        # Nobody knows: nothing is decoded, nothing is changed.
        image = disk.image()
        with pytest.raises(ObjectsError):
            await again.wrong()
        mender = mender_on(coded(again))
        for _ in range(5):
            await mender.step()
        assert disk.image() == image
        for path in slots:
            disk.names[path].content[10] ^= 1
        for container in await again.containers():
            again.store._files.forget(container)
        assert await again.wrong() == []


async def test_a_disk_that_fails_is_asked_once(tmp_path: Path) -> None:
    """The others are asked for the rest: a machine that does not answer takes seconds each time."""
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+2", max_bytes=6000) as place:
        for number in range(30):
            await place.put(f"key {number}", 4000)
        assert len(await place.containers()) >= 15
    disks, asked = disks_on(disk, "4+2"), []
    real = disk.open

    def slow(path: Path):  # type: ignore[no-untyped-def]
        if DISKS[2] in path.parents:
            asked.append(path)
            raise OSError(errno.ETIMEDOUT, "no answer")
        return real(path)

    disk.open = slow  # type: ignore[method-assign]
    disks.make_dirs(ROOT)
    assert len(asked) == 1
    assert {str(disks.form(one).mode) for one in disks.slots.containers()} == {"1+2"}


# -- the disks of a tier --------------------------------------------------------------------------


async def test_a_tier_stays_on_its_disks(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1", FAST) as place:
        await choose(place, "fast")
        await filled(place)
        assert numbers(place, "fast") == {0, 1}
        before = place
    lose(disk, 1)
    async with tiered(tmp_path, disk, "2+1", FAST, before=before) as place:
        await place.put("more", 500)
        for _ in range(8):
            await mender_on(coded(place)).step()
        # Repairs do not go elsewhere, and nor does what is new.
        assert numbers(place, "fast") == {0} and await place.wrong() == []
        disk.full = False
        real = disk.create

        def full(path: Path, mode: int = 0o644):  # type: ignore[no-untyped-def]
            if DISKS[0] in path.parents:
                raise OSError(errno.ENOSPC, "no space left on device")
            return real(path, mode)

        disk.create = full  # type: ignore[method-assign]
        await place.store.seal_all()
        with pytest.raises(OutOfSpace, match=r"0 of 2 disks .* tier fast"):
            await place.store.put(b"i", b"x", tier="fast")
        assert await place.store.put(b"i", b"x")


async def test_slots_go_to_the_disks_that_a_tier_has_now(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1", FAST) as place:
        await choose(place, "fast")
        await filled(place)
    moved = tier("fast", "1+1", 1, 4, 5)
    async with tiered(tmp_path, disk, "2+1", moved, before=place) as again:
        mender = mender_on(coded(again))
        for _ in range(20):
            await mender.step()
        assert numbers(again, "fast") <= {1, 4, 5} and await again.wrong() == []
        assert again.store.missing() == frozenset()


def numbers(place: Place, name: str) -> set[int]:
    """The disks that slots of a tier are on."""
    disks = coded(place)
    some = [one for one in disks.slots.containers() if disks.form(one).tier == name]
    return {number for one in some for number in disks.slots.places[one].values()}


async def test_a_tier_that_is_not_here_is_standard(tmp_path: Path) -> None:
    async with tiered(tmp_path, MemoryDisk(), "2+1") as place:
        await choose(place, "glacier")
        await filled(place)
        assert await forms(place) == {"2+1 standard"}
        await recode(place)
        assert place.compactor.recoding()["bytes_done"] == 0  # type: ignore[index]


# -- re-coding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [("2+1", "4+2"), ("4+2", "1+1"), ("1+0", "2+1")])
async def test_another_mode(tmp_path: Path, old: str, new: str) -> None:
    """Also of several disks instead of one."""
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, old) as place:
        await filled(place)
        await place.begin_upload("up")
        part = noise(5000, 9)
        await place.part("up", 1, part)
        kept = place.names
    async with tiered(tmp_path, disk, new, before=place) as again:
        assert await again.wrong() == []
        assert await again.compactor.round(HALF)
        left = again.compactor.recoding()
        assert left is not None and left["bytes_done"] == 3_000_000 + 6 * 2000 + 15 + 5000
        assert left["bytes_left"] == 0
        assert await again.wrong() == []
        await recode(again)
        assert await forms(again) == {f"{new} standard"} and await again.wrong() == []
        (one,) = await again.names.parts("up")
        assert await whole(again.store, one.extents, 0, 5000) == part
        assert not [path for path in disk.names if path.suffix == ".fsc"]
        assert again.compactor.recoding()["bytes_left"] == 0  # type: ignore[index]
        assert again.compactor.space()["bytes_garbage"] < 100_000  # type: ignore[index]
    assert kept


async def test_a_bucket_in_another_tier(tmp_path: Path) -> None:
    """Its bodies are moved out of the containers that they share with others, also of one that is
    written to."""
    async with tiered(tmp_path, MemoryDisk(), "2+1", ARCHIVE, FAST) as place:
        await filled(place)
        other = place.bucket
        place.bucket = await place.names.create_bucket("other", other.owner, "eu")
        for number in range(9):
            await place.put(f"other {number}", 4000)
        place.bucket = other
        await place.begin_upload("up")
        await place.part("up", 1, noise(7000))
        await choose(place, "archive")
        facts = {one["name"]: one for one in place.compactor.tiers()}
        assert facts["archive"]["containers"] == 0 and len(facts["fast"]["disks"]) == 2
        await recode(place)
        size = 3_000_000 + 6 * 2000 + 15 + 7000
        found = {one["name"]: one for one in place.compactor.tiers()}
        assert found["archive"]["bytes_live"] == size and found["standard"]["bytes_live"] == 36_000
        assert found["archive"]["bytes_raw"] >= size * 6 // 4
        assert place.compactor.recoding()["bytes_done"] == size  # type: ignore[index]
        for key in place.bodies:
            bucket = "other" if key.startswith("other") else "photos"
            record = place.names.directory.bucket(bucket)
            version = await place.names.current(record.id, key)  # type: ignore[union-attr]
            (tier_now,) = {place.store.form(one.container).tier for one in version.extents}  # type: ignore[union-attr]
            assert tier_now == ("archive" if bucket == "photos" else "standard")
            assert await place.read(version.extents) == place.bodies[key]  # type: ignore[union-attr]
        # And back.
        await choose(place, "")
        await recode(place)
        assert "4+2 archive" not in await forms(place)


async def test_a_body_that_is_in_two_tiers(tmp_path: Path) -> None:
    """As one whose parts were stored before and after the change: only what is wrong is moved."""
    async with tiered(tmp_path, MemoryDisk(), "2+1", ARCHIVE) as place:
        data = noise(9000)
        extents = await place.store.put(b"i", data[:4000], tier="archive")
        extents += await place.store.put(b"i", data[4000:])
        await place.names.put(place.version("both", data, extents))
        await filled(place)
        place.bodies["both"] = data
        await choose(place, "archive")
        await recode(place)
        version = await place.names.current(place.bucket.id, "both")
        assert version is not None and await place.wrong() == []
        assert version.extents[0] == extents[0] and version.extents[1] != extents[1]
        assert place.store.form(version.extents[1].container).tier == "archive"


async def test_a_tier_that_is_full_keeps_others_from_nothing(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1", FAST) as place:
        other = await place.names.create_bucket("other", place.bucket.owner, "eu")
        await filled(place)
        mine, place.bucket = place.bucket, other
        await place.put("other", 5000)
        place.bucket = mine
        await choose(place, "fast")
    real, full = disk.create, True

    def create(path: Path, mode: int = 0o644) -> Any:
        if full and DISKS[0] in path.parents:
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(path, mode)

    disk.create = create  # type: ignore[method-assign]
    lose(disk, 1)
    async with tiered(tmp_path, disk, "1+2", FAST, before=place) as again:
        again.bodies = {}
        with pytest.raises(OutOfSpace):
            await again.compactor.round(HALF)
        (there,) = (await again.names.current(other.id, "other")).extents  # type: ignore[union-attr]
        assert str(again.store.form(there.container).mode) == "1+2"
        full = False
        again.compactor.compact()
        await recode(again)
        assert await forms(again) == {"1+1 fast", "1+2 standard"}
        assert await again.read([there]) == noise(5000)


async def test_a_change_while_nothing_is_moved_by_itself(tmp_path: Path) -> None:
    async with tiered(tmp_path, MemoryDisk(), "2+1", ARCHIVE) as place:
        await filled(place)
        await choose(place, "archive")
        place.compactor._settings = place.compactor._settings._replace(bytes_per_second=0)
        place.compactor.look()
        before = place.clock.now
        await place.compactor.step()
        assert place.clock.now > before and not place.compactor._wake.is_set()
        assert await forms(place) == {"2+1 standard"}


async def test_a_tier_that_is_configured_no_more(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "2+1", ARCHIVE) as place:
        await choose(place, "archive")
        await filled(place)
    async with tiered(tmp_path, disk, "2+1", before=place) as again:
        assert await again.wrong() == []
        again.compactor._settings = again.compactor._settings._replace(bytes_per_second=1 << 20)
        await again.compactor._count()
        left = again.compactor.recoding()
        assert left is not None and left["bytes_left"] == 3_012_015 and left["seconds_left"] > 5
        past = {one["name"]: one for one in again.compactor.tiers()}["archive"]
        assert not past["configured"] and past["bytes_to_recode"] == 3_012_015
        await recode(again)
        assert await forms(again) == {"2+1 standard"} and await again.wrong() == []


@pytest.mark.parametrize("gone", [(0, 1), (2, 5), (3, 4)])
async def test_disks_are_lost_in_the_middle_of_it(
    tmp_path: Path, gone: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as both modes can do without. It is begun anew after it was ended."""
    monkeypatch.setattr(moving, "BATCH_BYTES", 300_000)
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+2", max_bytes=400_000) as place:
        await filled(place)
    async with tiered(tmp_path, disk, "2+2", before=place, max_bytes=400_000) as again:
        again.store.store_moved = after(3, again.store.store_moved)  # type: ignore[method-assign]
        with pytest.raises(ObjectsError):
            await again.compactor.round(HALF)
        assert {"1+2 standard", "2+2 standard"} == await forms(again)
    lose(disk, *gone)
    async with tiered(tmp_path, disk, "2+2", before=place, max_bytes=400_000) as again:
        assert await again.wrong() == []
        await recode(again)
        assert await forms(again) == {"2+2 standard"} and await again.wrong() == []


def after(count: int, real: Any) -> Any:
    """Works so many times."""
    calls = itertools.count()

    async def work(*args: Any) -> Any:
        if next(calls) >= count:
            raise ObjectsError("ended")
        return await real(*args)

    return work


async def test_bytes_that_cannot_be_read_stay_where_they_are(tmp_path: Path) -> None:
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+0") as place:
        await filled(place)
        bad = await place.container_of("small 3")
    inode = disk.names[ROOT / "containers" / f"{bad:016x}.fsc"]
    at = inode.content.find(noise(2003))
    inode.content[at] ^= 1
    async with tiered(tmp_path, disk, "2+1", before=place) as again:
        await recode(again)
        assert await forms(again) == {"1+0 ", "2+1 standard"}
        assert again.compactor.progress()["damaged_containers"] == [f"{bad:016x}"]
        inode.content[at] ^= 1
        again.compactor.compact()
        await recode(again)
        assert await forms(again) == {"2+1 standard"} and await again.wrong() == []


# -- the journal ----------------------------------------------------------------------------------


async def test_the_journal_is_written_anew_in_the_present_mode(tmp_path: Path) -> None:
    """A span at a time, and what it tells is the same. Its old containers leave."""
    disk = MemoryDisk()
    async with tiered(tmp_path, disk, "1+0") as place:
        journal = Journal(place.names, place.store, place.clock)
        await journal.open()
        for number in range(3):
            await place.put(f"key {number}", 100)
            await journal.settled()
        await journal.finish()
    async with tiered(tmp_path, disk, "2+1", before=place) as again:
        journal = Journal(again.names, again.store, again.clock)
        await journal.open()
        for _ in range(5):
            await journal.step()
        where = {extent.container for one in journal._segments for extent in one.extents}
        assert {again.store.form(one).tier for one in where} == {"standard"}
        loaded = await again.names.journal.load()
        assert loaded[2] == journal._segments
        assert await told(again) == await feed_of(again)
        await recode(again)
        assert await forms(again) == {"2+1 standard"} and await again.wrong() == []
        # Where bytes have been moved to is in no journal.
        now, feed = await told(again), await feed_of(again)
        assert {item: one[0] for item, one in now.items()} == {
            item: one[0] for item, one in feed.items()
        }


async def told(place: Place) -> Any:
    """What the journal tells of each item, as a rebuild finds it."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    finding.prepare(db)
    disks = coded(place)
    for name in disks.list_dir(ROOT):
        file = disks.open(ROOT / name)
        finding.add(db, list(scan(file)))
        file.close()
    _, spans = finding.choose(db)
    for span in reversed(spans):
        pieces = await place.store.load(span.extents)
        finding.take(db, span, b"".join(one for one in pieces if isinstance(one, bytes)))
    finding.index(db)
    entries = finding.page(db, 0, 1_000_000)
    return {finding.item_of(one.change): (one.seq, plain(one.change)) for one in entries}
