"""`farshore names rebuild`: what comes back of each kind of record, and what must not."""

import random
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from awscrt.checksums import crc64nvme

from admin.disks import ON_DISKS
from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout
from admin.parts import Parts, open_parts, read_files
from admin.rebuilding import Ports, Progress, Report, rebuild
from dc.config import Config, Objects
from dc.names.errors import PreconditionFailed
from dc.names.model import (
    AccessKey,
    Condition,
    Conflict,
    Extent,
    Kind,
    Meta,
    Peer,
    Register,
    Tombstone,
    User,
    Version,
)
from dc.objects import finding
from dc.objects.api import OutOfSpace
from dc.objects.compaction import Ask
from dc.objects.ident import body_ident, refusal_ident, version_ident
from dc.objects.journal import Journal
from dc.placement import is_elsewhere
from dc.stamps import version_id
from dc.system import (
    SystemClock,
    SystemDatabases,
    SystemDisk,
    SystemNetwork,
    SystemRandomness,
)

CLOCK, DISK, RANDOMNESS = SystemClock(), SystemDisk(), SystemRandomness()
PORTS = Ports(CLOCK, DISK, SystemDatabases(), RANDOMNESS)
OWNER = "a" * 64
FAR = "f" * 16


async def rebuilt(root: Path, tells: list[Progress] | None = None, **options: bool) -> Report:
    wanted = {"force": False, "dry_run": False, **options}
    tell = (tells if tells is not None else []).append
    return await rebuild(root, PORTS, force=wanted["force"], dry_run=wanted["dry_run"], tell=tell)


def lose(root: Path) -> None:
    shutil.rmtree(root / "names")


@asynccontextmanager
async def running(root: Path) -> AsyncIterator["Dc"]:
    """A datacenter whose workers do not run. Its journal is as far as `dc.journaled` made it."""
    files = read_files(Layout(root))
    parts = await open_parts(
        files, clock=CLOCK, disk=DISK, randomness=RANDOMNESS, network=SystemNetwork()
    )
    try:
        yield Dc(parts)
    finally:
        await parts.notary.stop()
        await parts.objects.close()
        await parts.names.close()


class Dc:
    """What a gateway would do."""

    def __init__(self, parts: Parts) -> None:
        self.names = parts.names
        self.objects = parts.objects
        self.journal = parts.journal
        self.compactor = parts.compactor
        self.own = parts.files.identity.dc_id

    @property
    def bucket(self) -> str:
        found = self.names.directory.bucket("photos")
        assert found is not None
        return found.id

    def version(self, key: str, data: bytes, **more: Any) -> Version:
        stamp = more.pop("stamp", None) or self.names.clock.now()
        vid = version_id(stamp) if more.pop("versioned", False) else ""
        meta = Meta(crc64=crc64nvme(data), user={"of": key})
        made = Version(
            self.bucket, key, vid, stamp, Kind.OBJECT, len(data), "e" * 32, meta, [],
            registers={"tags": Register(stamp, f"k={key}")},
        )  # fmt: skip
        return msgspec.structs.replace(made, **more)

    async def stored(self, key: str, size: int, **more: Any) -> Version:
        """Bytes that are durable, and their version, which is not committed."""
        data = noise(key, size)
        made = self.version(key, data, **more)
        if size <= 1 << 20:
            extents = await self.objects.put(version_ident(made), data)
        else:
            began = self.names.clock.now()
            writer = self.objects.writer(body_ident(made.bucket, key, "", began))
            await writer.write(data)
            extents = await writer.finish(version_ident(made, began))
        return msgspec.structs.replace(made, extents=extents)

    async def put(self, key: str, size: int, **more: Any) -> Version:
        made = await self.stored(key, size, **more)
        await self.names.put(made)
        return made

    async def delete(self, key: str, vid: str = "") -> None:
        stamp = self.names.clock.now()
        await self.names.delete([Tombstone(bucket=self.bucket, key=key, vid=vid, stamp=stamp)])

    async def settle(self) -> None:
        """The journal has all, and says that all is made that was ever to be."""
        knowledge = self.names.knowledge
        knowledge.floor = knowledge._committed = self.names.clock.now()
        self.journal._wanted = self.names.clock.now()
        await self.journal.finish()

    async def seen(self) -> dict[tuple[str, ...], Any]:
        """All items, without where their bytes are."""
        entries, _, complete = await self.names.feed(0, 100_000)
        assert complete
        return {finding.item_of(one.change): plain(one.change) for one in entries}

    async def keys(self) -> set[str]:
        """Of objects that can be read, whole."""
        entries, _, _ = await self.names.feed(0, 100_000)
        found = set()
        for one in entries:
            if isinstance(one.change, Version) and one.change.kind == Kind.OBJECT:
                assert await self.read(one.change) == noise(one.change.key, one.change.size)
                found.add(one.change.key)
        return found

    async def read(self, version: Version) -> bytes:
        pieces = self.objects.read(version.extents, 0, version.size)
        return b"".join([bytes(piece) async for piece in pieces])


def noise(key: str, size: int) -> bytes:
    return random.Random(key).randbytes(size)


def plain(change: Any) -> Any:
    if isinstance(change, Conflict):
        return msgspec.structs.replace(change, loser=plain(change.loser))
    if isinstance(change, Version):
        return msgspec.structs.replace(change, seq=0, extents=[])
    return change


@pytest.fixture(params=["1+0", "2+1"])
async def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A datacenter with a bucket and a user."""
    disks = tuple(str(tmp_path / f"disk{n}") for n in range(3)) if request.param != "1+0" else ()
    config = Config(
        name="paris", region="eu", objects=Objects(disks=disks, redundancy=request.param)
    )
    root = tmp_path / "paris"
    initialize(root, config, CLOCK, DISK, RANDOMNESS)
    async with running(root) as dc:
        await dc.names.create_bucket("photos", OWNER, "eu")
        user = User(id=OWNER, email="ann@example.com", stamp=dc.names.clock.now())
        key = AccessKey(id="K" * 20, user=OWNER, secret=b"s", stamp=dc.names.clock.now())
        await dc.names.add_user(user, key)
    return root


async def again(root: Path) -> tuple[Report, dict[tuple[str, ...], Any], set[str]]:
    """Lose the names, make them again; what there is then."""
    lose(root)
    report = await rebuilt(root)
    async with running(root) as dc:
        return report, await dc.seen(), await dc.keys()


SIZES = {"empty": 0, "small": 10, "blocks": 70_000, "record": 1 << 20, "large": 3_000_000}


async def fill(dc: Dc) -> None:
    for key, size in SIZES.items():
        await dc.put(key, size)
    await dc.put("versioned", 10, versioned=True)
    gone = await dc.put("versioned", 20, versioned=True)
    await dc.delete("versioned", gone.vid)
    stamp = dc.names.clock.now()
    await dc.names.put(dc.version("versioned", b"", stamp=stamp, vid=version_id(stamp),
                                  kind=Kind.DELETE_MARKER, registers={}))  # fmt: skip
    await dc.put("deleted", 10)
    await dc.delete("deleted")
    await dc.put("overwritten", 10)
    await dc.put("overwritten", 20)
    await dc.names.set_registers(dc.bucket, "small", "", {"acl": "private"})
    await dc.names.set_bucket_registers(dc.bucket, {"policy": "{}"})
    far = f"{dc.names.clock.now()[:16]}{FAR}"
    await dc.put("fought over", 5)
    theirs = await dc.stored("fought over", 15, stamp=far)
    await dc.names.apply([theirs])
    assert await dc.names.conflict_count() == 1


async def test_a_journal_brings_everything_back(root: Path) -> None:
    async with running(root) as dc:
        await fill(dc)
        await dc.settle()
        before, keys, roots = await dc.seen(), await dc.keys(), dc.names.roots()
    report, after, found = await again(root)
    assert (after, found) == (before, keys)
    assert (report.lost, report.after_journal, report.conflicts, report.refused) == (0, 0, 1, 0)
    assert report.journal_until > 0
    async with running(root) as dc:
        assert dc.names.roots() == roots
        assert dc.names.clock.now() > max(_stamps(before))
    # And once more, from the journal that the rebuild has made.
    _, after, found = await again(root)
    assert (after, found) == (before, keys)


def _stamps(items: dict[tuple[str, ...], Any]) -> list[str]:
    return [getattr(one, "stamp", "") for one in items.values()]


async def test_bodies_tell_what_the_journal_has_not(root: Path) -> None:
    """All that was put since, whole, with its attributes: the order is that of the stamps."""
    async with running(root) as dc:
        far = f"{dc.names.clock.now()[:16]}{FAR}"
        await dc.names.apply([await dc.stored("theirs", 10, stamp=far)])
        await dc.settle()
        # It has seen theirs, and is in no conflict with it.
        assert (await dc.put("theirs", 20)).seen == ""
        for key, size in SIZES.items():
            await dc.put(key, size)
        await dc.put("small", 30)
        await dc.put("versioned", 10, versioned=True)
        await dc.put("versioned", 20, versioned=True)
        before, keys = await dc.seen(), await dc.keys()
        bucket = dc.bucket
        del before["version", bucket, "empty", ""]
    report, after, found = await again(root)
    # But what has no bytes.
    assert keys - found == {"empty"}
    assert after == before
    assert after["version", bucket, "theirs", ""].seen == far
    assert report.after_journal == 8


async def test_deletions_stay_deletions(root: Path) -> None:
    """Those that the journal has, also when their tombstones are long gone."""
    async with running(root) as dc:
        await dc.put("young", 10)
        await dc.put("old", 10)
        made = await dc.put("version", 10, versioned=True)
        await dc.delete("old")
        await dc.delete("version", made.vid)
        await dc.settle()
        await dc.names.upkeep()
        assert ("version", dc.bucket, "old", "") not in await dc.seen()
        await dc.delete("young")
        await dc.put("kept", 10)
        await dc.journal.finish()
        async with dc.journal._lock:
            await dc.journal._rewrite(dc.journal._segments)
    for _ in range(3):
        report, _, found = await again(root)
        assert found == {"kept"} and report.after_journal == 0


async def test_what_the_journal_has_just_deleted_is_not_brought_back_by_bodies(root: Path) -> None:
    """Their stamps are above the floor: the deletions beat them."""
    async with running(root) as dc:
        await dc.settle()
        await dc.put("null", 10)
        await dc.delete("null")
        made = await dc.put("version", 10, versioned=True)
        await dc.delete("version", made.vid)
        await dc.put("large", 2_000_000)
        await dc.delete("large")
        other = await dc.names.create_bucket("other", OWNER, "eu")
        await dc.put("in other", 10, bucket=other.id)
        stamp = dc.names.clock.now()
        await dc.names.delete([Tombstone(bucket=other.id, key="in other", vid="", stamp=stamp)])
        await dc.names.delete_bucket(other.id)
        await dc.journal.finish()
        before = await dc.seen()
    report, after, found = await again(root)
    assert after == before and not found
    assert report.buckets == 1


async def test_what_was_refused_or_never_finished_stays_away(root: Path) -> None:
    async with running(root) as dc:
        await dc.put("there", 10)
        await dc.settle()
        refused = await dc.stored("there", 20)
        with pytest.raises(PreconditionFailed):
            await dc.names.put(refused, only_if=Condition(none_match=("*",)))
        await dc.objects.put(refusal_ident(refused), b"-")
        writer = dc.objects.writer(body_ident(dc.bucket, "half", "", dc.names.clock.now()))
        await writer.write(noise("half", 2_000_000))
        await writer.finish()
        other = dc.version("elsewhere", b"x", bucket="0" * 16)
        await dc.objects.put(version_ident(other), b"x")
        theirs = f"{dc.names.clock.now()[:16]}{FAR}"
        await dc.stored("theirs", 10, stamp=theirs)
    report, _, found = await again(root)
    assert found == {"there"}
    assert (report.refused, report.after_journal) == (1, 0)


async def test_without_a_journal_nobody_knows_whose_bodies_they_are(root: Path) -> None:
    async with running(root) as dc:
        await fill(dc)
        await dc.settle()
        segments = (await dc.names.journal.load())[2]
        for container in {one.container for each in segments for one in each.extents}:
            await dc.objects.remove(container, 0)
    lose(root)
    with pytest.raises(AdminError, match="no journal"):
        await rebuilt(root)
    assert not (root / "names").exists() and not (root / "names.rebuild").exists()


async def test_what_compaction_has_moved_is_found(root: Path) -> None:
    async with running(root) as dc:
        for number in range(20):
            await dc.put(f"k{number}", 1000)
        await dc.put("large", 3_000_000)
        await dc.put("other", 3_000_000)
        await dc.settle()
        for number in range(19):
            await dc.delete(f"k{number}")
        await dc.delete("other")
        await dc.journal.finish()
        before = await dc.seen()
        await dc.objects.seal(dc.objects.unsealed())
        dc.objects.usage._last.clear()
        places = [(await dc.names.version(dc.bucket, key, "")) for key in ("k19", "large")]
        await dc.compactor.round(Ask(0.0))
        assert dc.compactor.progress()["moved_bytes"] > 3_000_000
        now = [(await dc.names.version(dc.bucket, key, "")) for key in ("k19", "large")]
        assert all(a and b and a.extents != b.extents for a, b in zip(places, now, strict=True))
        for version in places:
            assert version is not None
            for container in {one.container for one in version.extents}:
                await dc.objects.remove(container, 0)
    report, after, found = await again(root)
    assert report.lost == 0
    assert (after, found) == (before, {"k19", "large"})


async def test_bytes_that_are_nowhere_are_told_and_asked_of_peers(root: Path) -> None:
    for peers in (False, True):
        async with running(root) as dc:
            made = await dc.put("gone", 3_000_000)
            if peers:
                await dc.names.add_peer(peer(dc))
            await dc.settle()
            for container in {one.container for one in made.extents}:
                await dc.objects.remove(container, 0)
        lose(root)
        report = await rebuilt(root)
        assert [(one.bucket, one.key, one.size) for one in report.first_lost] == [
            ("photos", "gone", 3_000_000)
        ]
        assert (report.lost, report.peers) == (1, int(peers))
        async with running(root) as dc:
            version = await dc.names.version(dc.bucket, "gone", "")
            assert version is not None and is_elsewhere(version.extents) == peers
            assert [one.name for one in dc.names.peers()] == (["tokyo"] if peers else [])


def peer(dc: Dc) -> Peer:
    return Peer(
        dc_id=FAR, name="tokyo", region="x", endpoints=["127.0.0.1:1"], fingerprint="0" * 64,
        signing_key=b"k" * 32, sealing_key=b"k" * 32, paired=dc.names.clock.now(),
    )  # fmt: skip


async def test_a_database_that_is_there_is_only_replaced_by_force(root: Path) -> None:
    async with running(root) as dc:
        await dc.put("k", 10)
        await dc.settle()
        before = await dc.seen()
    with pytest.raises(AdminError, match="--force"):
        await rebuilt(root)
    assert not (root / "names.rebuild").exists()
    # A dry run neither, but it may look.
    assert (await rebuilt(root, dry_run=True)).versions == 1
    tells: list[Progress] = []
    report = await rebuilt(root, tells, force=True)
    assert report.kept_aside == str(root / "names.old-1") and tells
    assert (root / "names.old-1" / "names.db").exists()
    assert (await rebuilt(root, force=True)).kept_aside == str(root / "names.old-2")
    async with running(root) as dc:
        assert await dc.seen() == before


async def test_a_rebuild_that_came_to_nothing_does_not_count(root: Path) -> None:
    """What the old database wrote after it does."""
    async with running(root) as dc:
        await dc.put("first", 10)
        await dc.settle()
    await rebuilt(root, force=True)
    shutil.rmtree(root / "names")
    (root / "names.old-1").rename(root / "names")
    async with running(root) as dc:
        await dc.put("second", 10)
        await dc.delete("first")
        await dc.settle()
        before = await dc.seen()
    _, after, found = await again(root)
    assert (after, found) == (before, {"second"})


@pytest.mark.parametrize("whole", [False, True])
async def test_names_that_could_not_be_journaled(
    root: Path, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old journal stays in force until the new one is whole."""
    async with running(root) as dc:
        for number in range(5):
            await dc.put(f"k{number}", 10)
        await dc.settle()
        before = await dc.seen()
    lose(root)
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "finish", full)
        report = await rebuilt(root)
        assert report.not_journaled == "full"
        if not whole:
            patched.setattr("dc.objects.journal.PAGE_ROWS", 2)
        async with running(root) as dc:
            await dc.delete("k0")
            if whole:
                await dc.names.set_bucket_registers(dc.bucket, {"policy": "{}"})
                before = await dc.seen()
    _, after, _ = await again(root)
    assert after == before


async def full(_: Journal) -> None:
    raise OutOfSpace("full")


async def test_names_made_again_go_on_and_are_lost_again(root: Path) -> None:
    async with running(root) as dc:
        await dc.put("first", 10)
        await dc.settle()
    for number in range(3):
        lose(root)
        await rebuilt(root)
        async with running(root) as dc:
            await dc.put(f"again {number}", 10)
            await dc.delete("first" if not number else f"again {number - 1}")
            await dc.journal.finish()
            before = await dc.seen()
    _, after, found = await again(root)
    assert found == {"again 2"} and after == before


async def test_no_name_server_by_accident(root: Path) -> None:
    lose(root)
    with pytest.raises(AdminError, match="names rebuild"):
        async with running(root):
            pass
    assert not (root / "names" / "names.db").exists()


async def test_a_hole_in_a_container_hides_only_itself(root: Path) -> None:
    """A record whose head is damaged ends a scan; what comes after it is found all the same."""
    if (root / "containers").exists() and not any((root / "containers").glob("*.fsc")):
        pytest.skip("on several disks it is decoded around")
    async with running(root) as dc:
        for number in range(5):
            await dc.put(f"k{number}", 1000)
        await dc.settle()
        before = await dc.seen()
        segments = (await dc.names.journal.load())[2]
        first = {one.extents[0].container for one in segments}
        third = await dc.names.version(dc.bucket, "k2", "")
    assert third is not None and first
    damage(root, third.extents[0])
    # Nor does it hide those whose bodies only tell of them.
    async with running(root) as dc:
        late = [await dc.put(f"late {number}", 1000) for number in range(3)]
        assert len({one.extents[0].container for one in late}) == 1
        before = await dc.seen()
        del before["version", dc.bucket, "late 0", ""]
    damage(root, late[0].extents[0])
    report, after, found = await again(root)
    # The head of the record is not what serves the object.
    assert (report.lost, report.records_damaged) == (0, 0)
    kept = {f"k{number}" for number in range(5)}
    assert after == before and found == {*kept, "late 1", "late 2"}


async def test_a_body_that_is_not_whole_is_no_object(root: Path) -> None:
    async with running(root) as dc:
        await dc.settle()
        made = await dc.put("large", 3_000_000)
        assert len(made.extents) == 3
    first = root / "containers" / f"{made.extents[0].container:016x}.fsc"
    if not first.exists():
        pytest.skip("on several disks it is decoded around")
    data = bytearray(first.read_bytes())
    data[made.extents[0].offset + 5] ^= 1
    first.write_bytes(data)
    report, _, found = await again(root)
    assert (report.unfinished, report.records_damaged, found) == (1, 1, set())


def damage(root: Path, extent: Extent) -> None:
    path = root / "containers" / f"{extent.container:016x}.fsc"
    data = bytearray(path.read_bytes())
    head = data.rfind(b"FSHR", 0, extent.offset)
    data[head + 5] ^= 0xFF
    path.write_bytes(data)


async def test_it_is_known_afterwards_that_objects_are_on_several_disks(root: Path) -> None:
    """So that a configuration of one disk is refused."""
    mark = Layout(root).containers / ON_DISKS
    several = mark.exists()
    mark.unlink(missing_ok=True)
    lose(root)
    await rebuilt(root)
    assert mark.exists() == several
