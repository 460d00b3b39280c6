"""The journal tells what the feed tells, at each of its steps, whatever changes meanwhile."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from compaction_kit import HALF, MovingClock, Place, opened
from journal_kit import Item, feed_of, journal_of
from object_disks import MemoryDisk

from dc.names import journal as tables
from dc.names.errors import BytesMissing
from dc.names.journal_api import Page, Segment
from dc.names.model import AccessKey, Change, Peer, User
from dc.names.upkeep import begin_epoch
from dc.objects import journal as journal_module
from dc.objects.api import OutOfSpace
from dc.objects.compaction import Ask
from dc.objects.journal import WHOLE, Journal, small_run
from dc.stamps import Stamp


def journal(place: Place) -> Journal:
    return Journal(place.names, place.store, place.clock)


async def user(place: Place, email: str) -> None:
    stamp = place.names.clock.now()
    one = User(id=email.ljust(64, "0"), email=email, stamp=stamp)
    await place.names.add_user(
        one, AccessKey(id=f"K{email}", user=one.id, secret=b"s", stamp=stamp)
    )


async def test_it_tells_what_the_feed_tells(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        await place.put("before", 10)
        one = journal(place)
        await one.open()
        await user(place, "ann")
        for number in range(20):
            await place.put(f"k{number}", 10)
        await place.put("k1", 20)
        await place.delete("k2")
        await place.names.set_registers(place.bucket.id, "k3", "", {"tags": "a=b"})
        await one.finish()
        assert journal_of(place.disk)[1] == await feed_of(place)
        assert one.status()["journal_behind"] == 0


async def test_what_is_rare_is_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        await place.put("k", 10)
        await user(place, "ann")
        await place.names.set_bucket_registers(place.bucket.id, {"policy": "{}"})
        await place.names.set_registers(place.bucket.id, "k", "", {"acl": "x"})
        told = journal_of(place.disk)[1]
        assert told == await feed_of(place)
        # And what is not rare is not.
        await place.delete("k")
        assert journal_of(place.disk)[1] == told


async def test_a_full_disk_keeps_nobody_from_changing_names(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()

        def full(_: bytes) -> Any:
            raise OutOfSpace("full")

        place.store.journal_writer = full  # type: ignore[method-assign]
        await user(place, "ann")
        with pytest.raises(OutOfSpace):
            await one.finish()
        assert one.status()["journal_behind"] == 2
        del place.store.journal_writer  # type: ignore[method-assign]
        await one.finish()
        assert journal_of(place.disk)[1] == await feed_of(place)


async def test_a_start_that_cannot_write_is_one(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:

        def full(_: bytes) -> Any:
            raise OutOfSpace("full")

        place.store.journal_writer = full  # type: ignore[method-assign]
        one = journal(place)
        await one.open()
        del place.store.journal_writer  # type: ignore[method-assign]
        await one.finish()
        assert journal_of(place.disk)[1] == await feed_of(place)


async def test_peers_are_told_with_no_position(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        end = place.names.feed_end
        peer = Peer(
            dc_id="2" * 16, name="tokyo", region="x", endpoints=[], fingerprint="f",
            signing_key=b"", sealing_key=b"", paired=place.names.clock.now(),
        )  # fmt: skip
        await place.names.add_peer(peer, "token", 1 << 40)
        assert place.names.feed_end == end
        segments = one._segments
        (last,) = await place.store.load(segments[-1].extents)
        assert isinstance(last, bytes)
        told = tables.read(last)
        assert told.peers == [peer] and [each.id for each in told.tokens] == ["token"]


async def test_segments_of_a_crash_do_not_count_where_later_ones_do(tmp_path: Path) -> None:
    """They are not in the tables, and their positions are journaled anew."""
    disk = MemoryDisk()
    async with opened(tmp_path, disk=disk) as place:
        one = journal(place)
        await one.open()
        for number in range(5):
            await place.put(f"k{number}", 10)
        await one._flush()
        lost = await feed_of(place)
        assert journal_of(disk)[1] == lost
        # It dies here, and nothing was saved.
    async with opened(tmp_path, disk=disk) as place:
        two = journal(place)
        await two.open()
        assert journal_of(disk)[1] == await feed_of(place) == lost
        for number in range(5):
            await place.put(f"k{number}", 20)
        await two.finish()
        assert journal_of(disk)[1] == await feed_of(place)


async def test_old_containers_of_the_journal_go_and_those_in_use_stay(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        for number in range(40):
            await place.put(f"k{number % 7}", 10, number)
            await one.finish()
            await place.seal()
        async with one._lock:
            await one._rewrite(one._segments)
        used = {extent.container for each in one._segments for extent in each.extents}
        await place.seal()
        before = await place.containers()
        await place.rounds(4, HALF)
        after = await place.containers()
        assert used and used <= after and len(after) < len(before) - 30
        assert await place.wrong() == []
        assert journal_of(place.disk)[1] == await feed_of(place)


async def test_the_floor_is_told_when_it_has_risen_and_only_then(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        made = await place.put("k", 10)
        await one.finish()
        assert journal_of(place.disk)[0] == WHOLE < made.stamp
        assert not await told_more(one, place)
        place.names.knowledge._committed = stamp = place.names.clock.now()
        assert await told_more(one, place)
        assert journal_of(place.disk)[0] == stamp
        place.names.knowledge._committed = place.names.clock.now()
        assert not await told_more(one, place)


async def told_more(one: Journal, place: Place) -> bool:
    """Whether there was something to write."""
    appends = place.store.stats().appends
    async with one._lock:
        await one._flush(news=one._has_news())
    return place.store.stats().appends > appends


async def test_a_floor_is_told_only_where_the_feed_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that there is more to come that was made up to it."""
    monkeypatch.setattr(journal_module, "PAGE_ROWS", 4)
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        for number in range(10):
            await place.put(f"k{number}", 10)
        place.names.knowledge._committed = stamp = place.names.clock.now()
        async with one._lock:
            assert not await one._flush(pages=2)
        assert journal_of(place.disk)[0] == WHOLE
        await one.finish()
        assert journal_of(place.disk)[0] == stamp


async def test_what_was_collected_is_told_no_more(tmp_path: Path) -> None:
    """Though a segment that has it is still there."""
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        await place.put("k", 10)
        await place.put("l", 10)
        await place.delete("k")
        await one.finish()
        assert ("version", place.bucket.id, "k", "") in journal_of(place.disk)[1]
        knowledge = place.names.knowledge
        knowledge.floor = knowledge._committed = place.names.clock.now()
        await place.names.upkeep()
        assert ("version", place.bucket.id, "k", "") not in await feed_of(place)
        async with one._lock:
            await one._rewrite(one._segments)
        floor, told = journal_of(place.disk)
        assert told == await feed_of(place)
        # So that what is left of its bytes brings nothing back.
        assert floor == knowledge.committed


async def test_segments_in_a_container_that_was_sealed_are_saved_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        await place.put("k", 10)
        await one.step()
        sealed = {each.extents[0].container for each in one._segments}
        assert len(await saved(place)) == 1
        await place.store.seal(place.store.unsealed())
        await place.put("l", 10)
        async with one._lock:
            await one._flush()
            assert one._is_save_due()
            await one._save()
            assert not one._is_save_due()
        assert sealed < {each.extents[0].container for each in await saved(place)}


async def saved(place: Place) -> list[Segment]:
    _, _, segments = await place.names.journal.load()
    return segments


async def test_the_journal_is_not_moved(tmp_path: Path) -> None:
    """Nor told of as objects are."""
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        for number in range(30):
            await place.put(f"k{number}", 10)
        await one.finish()
        async with one._lock:
            await one._rewrite(one._segments)
        await place.seal()
        used = {extent.container for each in one._segments for extent in each.extents}
        await place.rounds(4, Ask(0.0))
        assert used and used <= await place.containers()
        assert place.compactor.progress()["error"] == ""
        space = place.compactor.space()
        assert space is not None and space["objects"] == 30
        assert journal_of(place.disk)[1] == await feed_of(place)


async def test_segments_whose_container_is_gone_are_written_again(tmp_path: Path) -> None:
    """They were not saved for so long that compaction took them for garbage."""
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        await place.store.seal(place.store.unsealed())
        await place.put("k", 10)
        async with one._lock:
            await one._flush()
        await place.seal()
        await place.rounds(3)
        one._saved_at = float("-inf")
        with pytest.raises(BytesMissing):
            await one.step()
        await one.step()
        await one.finish()
        assert journal_of(place.disk)[1] == await feed_of(place)


async def test_it_does_not_grow_with_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments that are too large to be merged are written anew when most of them has moved on."""
    monkeypatch.setattr(journal_module, "PAGE_ROWS", 64)
    monkeypatch.setattr(journal_module, "SWEEP_ROWS_MIN", 100)
    async with opened(tmp_path) as place:
        one = journal(place)
        await one.open()
        for turn in range(12):
            for number in range(64):
                await place.put(f"k{number}", 10, turn)
            await one.step()
        live = len(await feed_of(place))
        assert sum(each.rows for each in one._segments) <= 4 * live
        assert journal_of(place.disk)[1] == await feed_of(place)


class NotingClock(MovingClock):
    """Goes on only in short sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(round(seconds, 3))
        await super().sleep(seconds if seconds < 1 else 0)


async def test_it_is_quick_after_a_pause_and_gathers_otherwise(tmp_path: Path) -> None:
    async with opened(tmp_path) as place:
        clock = NotingClock()
        one = Journal(place.names, place.store, clock)
        await one.open()
        for pause, waits in ((0, 0.01), (0, 0.2), (5, 0.01), (0, 0.2)):
            clock.now += pause
            await place.put("k", 10)
            clock.sleeps.clear()
            await one.step()
            assert [each for each in clock.sleeps if each < 1] == [waits]
            assert journal_of(place.disk)[1] == await feed_of(place)


def segment(serial: int, rows: int) -> Segment:
    return Segment(serial, serial, serial + 1, rows, "", True, [])


def test_small_segments_become_one() -> None:
    few = [segment(number, 1) for number in range(7)]
    assert small_run(few) == []
    assert small_run([*few, segment(7, 1)]) == [*few, segment(7, 1)]
    large = segment(0, 500)
    assert small_run([large, *few, segment(7, 3)]) == [*few, segment(7, 3)]
    assert small_run([segment(number, 400) for number in range(30)]) == []
    mixed = [segment(0, 60), *[segment(number, 2) for number in range(1, 8)]]
    assert small_run(mixed) == mixed


# -- every step ---------------------------------------------------------------------------------


class Watched(Journal):
    """After each of its durable steps what is told is looked at."""

    look: Callable[[], Awaitable[None]]

    async def _write(self, page: Page, first: int, floor: Stamp) -> Segment:
        made = await super()._write(page, first, floor)
        await self.look()
        return made


class World:
    """Changes things at random, and knows all that ever was."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.chance = random.Random(seed)
        self.states: dict[Item, list[Change]] = {}
        self.told: dict[Item, int] = {}
        self.looks = 0

    async def change(self) -> None:
        place, key = self.place, f"k{self.chance.randrange(12)}"
        roll = self.chance.random()
        there = key in place.bodies
        if roll < 0.5:
            await place.put(key, self.chance.randrange(1, 50), self.chance.randrange(100))
        elif roll < 0.75 and there:
            await place.delete(key)
        elif roll < 0.9 and there:
            registers = {"tags": str(self.chance.random())}
            await place.names.set_registers(place.bucket.id, key, "", registers)
        elif roll < 0.95:
            await place.names.set_bucket_registers(
                place.bucket.id, {"policy": str(self.chance.random())}
            )
        await self.note()

    async def note(self) -> None:
        for item, (_, change) in (await feed_of(self.place)).items():
            known = self.states.setdefault(item, [])
            if change not in known:
                known.append(change)

    async def look(self) -> None:
        """Nothing is told that never was, nothing goes back, and nothing is missing."""
        self.looks += 1
        await self.note()
        told = journal_of(self.place.disk)[1]
        for item in self.told:
            assert item in told, f"{item} was in the journal, and is in it no more"
        for item, (_, change) in told.items():
            state = self.states[item].index(change)
            assert state >= self.told.get(item, 0), f"{item} went back"
            self.told[item] = state


@pytest.mark.parametrize("seed", range(12))
async def test_each_step_tells_no_less_than_the_one_before(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when something changes between the reading and the writing of a page."""
    monkeypatch.setattr(journal_module, "PAGE_ROWS", 16)
    monkeypatch.setattr(journal_module, "RUN", 3)
    monkeypatch.setattr(journal_module, "SWEEP_ROWS_MIN", 30)
    async with opened(tmp_path) as place:
        world = World(place, seed)
        one = Watched(place.names, place.store, place.clock)
        one.look = world.look
        read = one._tables.page

        async def page(after: int, limit: int, stop: int | None = None) -> Page:
            found = await read(after, limit, stop)
            await world.note()
            if world.chance.random() < 0.3:
                settled, one._tables.settled = one._tables.settled, at_once
                await world.change()
                one._tables.settled = settled
            return found

        one._tables.page = page  # type: ignore[method-assign]
        await world.note()
        await one.open()
        for _ in range(60):
            for _ in range(world.chance.randrange(4)):
                await world.change()
            await one.step()
            if world.chance.random() < 0.1:
                await one.finish()
            if world.chance.random() < 0.1:
                # It dies; what it had not saved is journaled again.
                epoch = f"{world.chance.random()}"
                await place.names.journal._act(  # type: ignore[attr-defined]
                    lambda transaction, epoch=epoch: begin_epoch(
                        transaction.db, epoch, transaction.seq + 1
                    )
                )
                one = Watched(place.names, place.store, place.clock)
                one.look = world.look
                await one.open()
        one._tables.page = read  # type: ignore[method-assign]
        await one.finish()
        assert journal_of(place.disk)[1] == await feed_of(place)
        assert world.looks > 60
        rows = sum(each.rows for each in one._segments)
        assert rows <= 3 * len(await feed_of(place)) + 60


async def at_once() -> None:
    pass
