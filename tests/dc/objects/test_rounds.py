"""How far a round of scrubbing is: over restarts, and with files that are none."""

from pathlib import Path

import msgspec
import pytest
from object_disks import ROOT, FixedClock
from test_coded_store import coded, fill, store_on
from test_mending import some_bodies

from dc.objects.format import file_name
from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.rounds import SAVE_SECONDS, RoundFile, Rounds
from dc.objects.settings import UNBOUNDED, ScrubSettings
from dc.system import SystemDisk

DAY = 24 * 3600.0
SEALED = list(range(1, 11))


def rounds(clock: FixedClock, path: Path, dc_id: str = "dc", every: float = DAY) -> Rounds:
    return Rounds(clock, every, RoundFile(SystemDisk(), path, dc_id))


def looked_at(rounds: Rounds, clock: FixedClock, count: int) -> list[int | None]:
    found = []
    for _ in range(count):
        found.append(rounds.next(SEALED))
        clock.now_ms += int(SAVE_SECONDS * 1000)
    return found


def test_a_round_goes_on_after_restarts(tmp_path: Path) -> None:
    """What was being looked at when it ended is looked at again, and nothing else."""
    clock, path, found = FixedClock(), tmp_path / "scrub.json", []
    for _ in range(5):
        found += looked_at(rounds(clock, path), clock, 3)
    assert found == [10, 9, 8, 8, 7, 6, 6, 5, 4, 4, 3, 2, 2, 1, None]
    again = rounds(clock, path)
    assert again.next(SEALED) is None
    shown = again.shown(0)
    assert (shown["round"], shown["state"], shown["percent"]) == (1, "ended", 100.0)
    assert shown["containers_checked"] == 10
    assert shown["next_in_seconds"] == DAY - 15 * SAVE_SECONDS


def test_how_far_it_is(tmp_path: Path) -> None:
    clock, path = FixedClock(), tmp_path / "scrub.json"
    one = rounds(clock, path)
    assert one.shown(0)["state"] == "none yet" and one.shown(0)["percent"] == 0
    began_ms = clock.now_ms
    looked_at(one, clock, 4)
    for each in (one, rounds(clock, path)):
        if each is not one:
            each.next(SEALED)
        left = each.left(SEALED)
        assert left == SEALED[:7]
        shown = each.shown(len(left))
        assert (shown["state"], shown["percent"]) == ("on", 30.0)
        assert (shown["began_ms"], shown["round"]) == (began_ms, 1)


def test_it_is_not_written_for_each_container(tmp_path: Path) -> None:
    clock, path = FixedClock(), tmp_path / "scrub.json"
    one, before = rounds(clock, path), b""
    for number in range(10):
        assert one.next(SEALED) == 10 - number
        before = before or path.read_bytes()
        assert path.read_bytes() == before
    assert one.next(SEALED) is None
    assert path.read_bytes() != before


def test_the_next_round_begins_when_it_is_time(tmp_path: Path) -> None:
    clock, path = FixedClock(), tmp_path / "scrub.json"
    one = rounds(clock, path, every=3600)
    looked_at(one, clock, 11)
    clock.now_ms += 3_000_000
    assert one.next(SEALED) is None
    clock.now_ms += 600_000
    assert rounds(clock, path, every=3600).next(SEALED) == 10
    assert one.next(SEALED) == 10
    assert one.shown(10)["round"] == 2


def test_a_clock_that_went_back_does_not_keep_it_from_beginning(tmp_path: Path) -> None:
    clock, path = FixedClock(), tmp_path / "scrub.json"
    looked_at(rounds(clock, path), clock, 11)
    clock.now_ms -= 1_000_000_000_000
    assert rounds(clock, path).next(SEALED) == 10


GOOD = {"dc": "dc", "number": 3, "began_ms": 1_700_000_000_000, "last": file_name(5)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 40,
        msgspec.json.encode(GOOD)[:-9],
        msgspec.json.encode({**GOOD, "dc": "another", "ended": False}),
        msgspec.json.encode({**GOOD, "last": "../etc", "ended": False}),
        msgspec.json.encode({**GOOD, "number": "3", "ended": False}),
        msgspec.json.encode({**GOOD, "what": 1, "ended": False}),
    ],
)
def test_a_file_that_is_none_begins_anew(tmp_path: Path, data: bytes) -> None:
    clock, path = FixedClock(), tmp_path / "scrub.json"
    path.write_bytes(data)
    one = rounds(clock, path)
    assert one.next(SEALED) == 10
    assert one.shown(10)["round"] == 1


def test_a_disk_that_fails_does_not_end_it(tmp_path: Path) -> None:
    clock = FixedClock()
    one = rounds(clock, tmp_path / "nowhere" / "scrub.json")
    assert looked_at(one, clock, 12) == [*reversed(SEALED), None, None]


async def test_a_mender_that_is_started_often_sees_all_containers(tmp_path: Path) -> None:
    mode, clock = parse_mode("2+1"), FixedClock()
    disk, _ = await some_bodies(mode)
    for seed in range(2, 5):
        store = await store_on(disk, mode)
        await fill(store, seed)
        await store.close()
    checked = starts = 0
    while starts < 50:
        disks = coded(disk, mode)
        disks.make_dirs(ROOT)
        file = RoundFile(SystemDisk(), tmp_path / "scrub.json", "dc")
        mender = Mender(disks, clock, lambda _: None, UNBOUNDED, file=file)
        starts += 1
        for _ in range(2):  # Killed while it is at the second.
            await mender.step()
            clock.now_ms += int(SAVE_SECONDS * 1000)
        checked += mender.checked
        if mender.round()[0]["state"] == "ended":
            break
    count = len(disks.slots.containers())
    assert 2 < count <= starts + 1
    assert mender.round()[0]["containers_checked"] == count


async def test_no_round_begins_at_no_rate() -> None:
    mode = parse_mode("2+1")
    disk, _ = await some_bodies(mode)
    disks = coded(disk, mode)
    disks.make_dirs(ROOT)
    mender = Mender(disks, FixedClock(), lambda _: None, ScrubSettings(scrub_rate=0))
    assert await mender.step() > 0
    assert mender.checked == 0
    assert mender.left() == ("idle", [])
