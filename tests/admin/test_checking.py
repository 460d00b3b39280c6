"""`farshore check`: it finds what is not there and what is not right, and nothing else."""

import sqlite3
from pathlib import Path

import pytest

from admin.checking import Progress, Report, check
from admin.errors import AdminError
from admin.initialize import initialize
from admin.layout import Layout, Lock
from admin.parts import open_parts, read_files
from dc.config import Config, Objects
from dc.names.model import Kind, Meta, Version
from dc.system import (
    SystemClock,
    SystemDatabases,
    SystemDisk,
    SystemNetwork,
    SystemRandomness,
)

CLOCK, DISK, RANDOMNESS = SystemClock(), SystemDisk(), SystemRandomness()


async def checked(
    root: Path,
    read: bool = True,
    tells: list[Progress] | None = None,
    repair: bool = False,
) -> Report:
    return await check(
        root,
        read=read,
        repair=repair,
        tell=(tells if tells is not None else []).append,
        clock=CLOCK,
        disk=DISK,
        databases=SystemDatabases(),
        randomness=RANDOMNESS,
    )


@pytest.fixture(params=["1+0", "2+1"])
async def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A datacenter with an object of each size, and a part of an upload."""
    disks = tuple(str(tmp_path / f"disk{n}") for n in range(3)) if request.param != "1+0" else ()
    objects = Objects(disks=disks, redundancy=request.param)
    config = Config(name="paris", region="eu", objects=objects)
    root = tmp_path / "paris"
    initialize(root, config, CLOCK, DISK, RANDOMNESS)
    files = read_files(Layout(root))
    parts = await open_parts(
        files, clock=CLOCK, disk=DISK, randomness=RANDOMNESS, network=SystemNetwork()
    )
    names = parts.names
    bucket = await names.create_bucket("photos", "a" * 64, "eu")
    for size in (0, 10, 70_000, 1_000_000):
        data = bytes([size % 251]) * size
        extents = await parts.objects.put(b"x", data)
        meta = Meta(crc64=crc64(data))
        stamp = names.clock.now()
        await names.put(
            Version(bucket.id, f"k{size}", "", stamp, Kind.OBJECT, size, "e", meta, extents)
        )
    await parts.notary.stop()
    await parts.objects.close()
    await names.close()
    return root


def crc64(data: bytes) -> int:
    from awscrt.checksums import crc64nvme

    found: int = crc64nvme(data)
    return found


def container_files(root: Path) -> list[Path]:
    return sorted([*root.parent.rglob("*.fsc"), *root.parent.rglob("*.fss")])


async def test_a_sound_datacenter_has_no_defects(root: Path) -> None:
    for read in (True, False):
        report = await checked(root, read)
        assert (report.bodies, report.defects, report.bytes_live) == (4, 0, 1_070_010)
        # One of them has the journal.
        assert report.is_clean and report.damages == []
        assert report.containers == 2 and report.bytes_on_disk > report.bytes_live


async def test_a_flipped_bit_is_found_or_decoded_around(root: Path) -> None:
    path = max(container_files(root), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    report = await checked(root)
    coded = path.suffix == ".fss"
    assert report.defects == (0 if coded else 1)
    if not coded:
        assert report.found[0].key == "k1000000"
        assert "not those that were written" in report.found[0].problem
    assert (await checked(root, read=False)).defects == 0
    assert not report.is_clean
    found = [(one.container, one.slot, one.disk, one.mended) for one in report.damages]
    container, _, slot = path.stem.partition("-")
    disk = str(path.parent.parent)
    assert found == ([(container, int(slot), disk, False)] if coded else [])


async def test_what_can_be_decoded_is_listed_and_mended(root: Path) -> None:
    """Every kind of damage that a disk may have, on one of three."""
    paths = sorted(root.parent.glob("disk0/containers/*.fss"))
    if not paths:
        return
    assert len(paths) == 2
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    copy = next(root.parent.glob(f"disk1/containers/{paths[1].name[:16]}-*.fss"))
    twice = root.parent / "disk2" / "containers" / copy.name
    twice.write_bytes(copy.read_bytes())
    header = next(root.parent.glob(f"disk2/containers/{paths[0].name[:16]}-*.fss"))
    report = await checked(root)
    assert report.defects == 0 and not report.is_clean
    told = {(one.container, one.slot, one.problem.split(",")[0]) for one in report.damages}
    gone, cut = (path.stem.partition("-") for path in paths)
    assert len(told) == len(report.damages) == report.damages_left == 3
    assert (gone[0], int(gone[2]), "it is on no disk") in told
    assert (cut[0], int(copy.stem[17:]), "it is there twice: this is the second copy") in told
    assert any(one.slot == int(cut[2]) and "damaged" in one.problem for one in report.damages)
    report = await checked(root, repair=True)
    assert len(report.damages) == 3 and report.is_clean
    assert all(one.mended for one in report.damages)
    header.write_bytes(b"\1" + header.read_bytes()[1:])
    report = await checked(root, repair=True)
    assert [one.problem for one in report.damages] == ["its header is damaged"]
    assert report.is_clean
    report = await checked(root)
    assert report.is_clean and report.damages == []


async def test_what_cannot_be_mended_is_left(root: Path) -> None:
    break_containers(root)
    report = await checked(root, repair=True)
    coded = any(root.parent.glob("disk0/containers/*.fss"))
    assert bool(report.damages_left) == coded and not report.is_clean


async def test_what_is_not_there_is_found(root: Path) -> None:
    for path in container_files(root):
        path.unlink()
    for read in (True, False):
        report = await checked(root, read)
        assert {one.key for one in report.found} == {"k10", "k70000", "k1000000"}
        assert all("is not there" in one.problem for one in report.found)


async def test_containers_that_were_cut_off(root: Path) -> None:
    for path in container_files(root):
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
    # How long a container on several disks is, its heads say: only reading tells that it ends.
    report = await checked(root, read=path.suffix == ".fss")
    assert [one.key for one in report.found] == ["k1000000"]


async def test_wrong_bytes_of_the_right_form(root: Path) -> None:
    """Whole in its container, and not what the client sent."""
    database = await SystemDatabases().open(root / "names" / "names.db")
    await database.run(
        lambda db: db.execute(
            "UPDATE versions SET meta = json_set(meta, '$.crc64', 7) WHERE key = 'k10'"
        ).fetchall()
    )
    await database.run(
        lambda db: db.execute("UPDATE versions SET size = 5 WHERE key = 'k70000'").fetchall()
    )
    await database.close()
    report = await checked(root)
    problems = {one.key: one.problem for one in report.found}
    assert problems.keys() == {"k10", "k70000"}
    assert "CRC-64" in problems["k10"]
    assert "70000 are written down" in problems["k70000"]


async def test_it_does_not_check_what_runs(root: Path) -> None:
    lock = Lock(Layout(root).lock, "it")
    lock.acquire()
    with pytest.raises(AdminError, match="already running"):
        await checked(root)
    lock.release()
    assert (await checked(root)).defects == 0


async def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AdminError):
        await checked(tmp_path / "none")


def break_containers(root: Path) -> None:
    """All bytes of all containers are wrong, on all disks."""
    found = [*root.rglob("*.fsc"), *root.parent.glob("disk*/containers/*.fss")]
    assert found
    for path in found:
        path.write_bytes(b"\0" * path.stat().st_size)


async def test_a_repair_writes_slots_anew(root: Path) -> None:
    slots = sorted(root.parent.glob("disk0/containers/*.fss"))
    if not slots:
        # One disk has nothing to mend with.
        assert (await checked(root, repair=True)).slots_mended == 0
        return
    bad = slots[0].read_bytes()
    slots[0].write_bytes(bad[:200] + bytes([bad[200] ^ 1]) + bad[201:])
    report = await checked(root, repair=True)
    assert (report.defects, report.given_up) == (0, 0) and report.slots_mended >= 1
    assert slots[0].read_bytes() == bad
    assert (await checked(root, repair=True)).slots_mended == 0


async def test_what_nobody_else_has_is_not_given_up(root: Path) -> None:
    break_containers(root)
    report = await checked(root, repair=True)
    assert report.defects == 3 and report.given_up == 0
    assert (await checked(root)).defects == 3


async def test_what_others_may_have_is_to_be_fetched(root: Path) -> None:
    db = sqlite3.connect(root / "names" / "names.db", isolation_level=None)
    db.execute("INSERT INTO peers VALUES('d', 'tokyo', x'00')")
    db.close()
    break_containers(root)
    report = await checked(root)
    assert (report.defects, report.elsewhere) == (3, 0)
    report = await checked(root, repair=True)
    assert (report.defects, report.given_up) == (3, 3)
    report = await checked(root)
    assert (report.defects, report.elsewhere) == (0, 3)
