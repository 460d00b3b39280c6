"""`notary/running.py`: hooks hear of all in order, and whatever they do harms nobody else."""

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Sequence

import pytest
from live_kit import Dc, World, played, verified

from notary import running, tables
from notary.certificate import TIMESTAMP_BYTES_MAX
from notary.entries import Entry
from notary.errors import HookFailed
from notary.hooks import Hook
from notary.note import Checkpoint


class Listener(Hook):
    """Notes what it is told, and does what `trouble` does before."""

    name = "listener"
    entries_max = 4
    seconds = 10.0

    def __init__(self, name: str = "listener") -> None:
        self.name = name
        self.calls: list[tuple[float, int, int]] = []
        """(when, first, how many)"""
        self.heard: list[str] = []
        """The stamps."""
        self.sizes: list[tuple[float, int]] = []
        self.trouble: Callable[[], object] | None = None
        self.closed = 0
        self.stamp: bytes | None = None

    async def entries(self, first: int, entries: Sequence[Entry]) -> None:
        loop = asyncio.get_running_loop()
        self.calls.append((loop.time(), first, len(entries)))
        if self.trouble is not None:
            result = self.trouble()
            if asyncio.iscoroutine(result):
                await result
        assert first <= len(self.heard)
        self.heard[first:] = [one.stamp for one in entries]

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        self.sizes.append((asyncio.get_running_loop().time(), checkpoint.size))
        return self.stamp

    async def close(self) -> None:
        self.closed += 1


def raising(error: BaseException) -> Callable[[], object]:
    def trouble() -> object:
        raise error

    return trouble


async def status_of(dc: Dc, name: str = "listener") -> dict:
    status = await dc.do(dc.notary.status())
    [found] = [one for one in status["hooks"] if one["name"] == name]
    return found


def stamps(dc: Dc) -> list[str]:
    return [one["stamp"] for one in dc.entries()]


@played
async def test_it_is_told_of_all_in_order_and_in_batches(world: World):
    dc = await world.dc("paris", hook := Listener())
    bucket = await dc.bucket()
    await dc.do(puts(dc, *(dc.version(bucket, f"k{number}") for number in range(10))))
    await dc.published()
    await world.until(lambda: hook.heard == stamps(dc))
    assert all(1 <= count <= 4 for _, _, count in hook.calls)
    assert sum(count for _, _, count in hook.calls) == 11
    assert await status_of(dc) == {
        "name": "listener",
        "entries": 11,
        "behind": 0,
        "checkpoint": 0,
        "failures": 0,
        "error": "",
    }
    asked = len(world.calls)
    await asyncio.sleep(7200)
    assert sum(count for _, _, count in hook.calls) == 11 and len(world.calls) == asked


async def puts(dc: Dc, *versions) -> None:
    await asyncio.gather(*(dc.names.put(one) for one in versions))


@played
async def test_a_new_hook_begins_with_what_comes_from_then_on(world: World):
    dc = await world.dc("paris")
    bucket = await dc.bucket()
    await dc.put(bucket, "before")
    await dc.published()
    hook = Listener()
    hook.checkpoint_seconds, hook.heard = 1.0, stamps(dc)
    await dc.do(dc.notary.set_hook("listener", hook))
    await asyncio.sleep(10)
    assert hook.calls == hook.sizes == []
    await dc.put(bucket, "after")
    await dc.published()
    await world.until(lambda: hook.sizes)
    assert [(first, count) for _, first, count in hook.calls] == [(2, 1)]
    assert hook.sizes[0][1] == 3


@played
async def test_one_that_was_forgotten_begins_anew(world: World):
    """Another notary service is not told of what was written before it was set."""
    dc = await world.dc("paris", Listener())
    bucket = await dc.bucket()
    await dc.put(bucket, "of the first")
    await dc.published()
    await world.until(lambda: dc.hooks[0].heard == stamps(dc))
    await dc.do(dc.notary.forget_hook("listener"))
    await dc.put(bucket, "of nobody")
    await dc.published()
    hook = Listener()
    hook.heard = stamps(dc)
    await dc.do(dc.notary.set_hook("listener", hook))
    await asyncio.sleep(1)
    await dc.put(bucket, "of the second")
    await dc.published()
    await world.until(lambda: hook.calls)
    assert [(first, count) for _, first, count in hook.calls] == [(3, 1)]


@played
async def test_it_goes_on_after_a_restart_where_it_was(world: World):
    hook = Listener()
    dc = await world.dc("paris", hook)
    bucket = await dc.bucket()
    await dc.published()
    await world.until(lambda: hook.heard)
    hook.trouble = raising(HookFailed("the service is away"))
    for number in range(3):
        await dc.put(bucket, f"k{number}")
    await dc.published()
    await world.until(lambda: len(hook.calls) > 3)
    await dc.stop()
    assert hook.closed == 1
    hook.trouble, hook.calls = None, []
    await dc.start()
    await world.until(lambda: hook.heard == stamps(dc))
    assert [(first, count) for _, first, count in hook.calls] == [(1, 3)]


@played
async def test_one_that_fails_is_tried_again_after_longer_and_longer(world: World):
    """With the same, and what came meanwhile; it is seen in the status."""
    dc = await world.dc("paris", hook := Listener())
    bucket = await dc.bucket()
    hook.trouble = raising(HookFailed("the service at x is away"))
    await world.until(lambda: len(hook.calls) >= 9, 400)
    await dc.put(bucket, "k")
    await dc.published()
    waits = [after[0] - before[0] for before, after in itertools.pairwise(hook.calls)]
    assert waits[0] < 1 and waits[5] > 5 and all(one < 62 for one in waits)
    facts = await status_of(dc)
    assert facts["error"] == "HookFailed: the service at x is away" and facts["failures"] >= 9
    assert facts["behind"] == 2
    hook.trouble = None
    await world.until(lambda: hook.heard == stamps(dc), 100)
    assert hook.calls[-1][1:] == (0, 2)
    await dc.put(bucket, "again")
    await world.until(lambda: hook.heard == stamps(dc))
    await asyncio.sleep(1)  # Its position is stored when the call has returned.
    facts = await status_of(dc)
    assert (facts["error"], facts["failures"], facts["behind"]) == ("", 0, 0)


@pytest.mark.parametrize(
    "error", [ValueError("odd"), asyncio.CancelledError("not I"), TimeoutError(), AssertionError()]
)
@played
async def test_whatever_it_raises_it_is_told_again(world: World, error: BaseException):
    dc = await world.dc("paris", hook := Listener())
    await dc.bucket()
    hook.trouble = raising(error)
    await world.until(lambda: len(hook.calls) >= 3)
    assert (await status_of(dc))["failures"] >= 1
    hook.trouble = None
    await world.until(lambda: hook.heard == stamps(dc))


@played
async def test_who_asks_to_be_left_alone_is(world: World):
    dc = await world.dc("paris", hook := Listener())
    await dc.bucket()
    hook.trouble = raising(HookFailed("not now", 300))
    await world.until(lambda: hook.calls)
    await asyncio.sleep(290)
    assert len(hook.calls) == 1 and (await status_of(dc))["error"] == "HookFailed: not now"
    hook.trouble = raising(HookFailed("for ever", 1e9))
    await asyncio.sleep(20)
    assert len(hook.calls) == 2
    hook.trouble = None
    await asyncio.sleep(running.RETRY_SECONDS_MAX)
    assert hook.heard == stamps(dc)


async def deaf(until: list[bool]) -> None:
    """Will not be cancelled."""
    while not until:
        try:
            await asyncio.sleep(1e5)
        except asyncio.CancelledError:
            continue


@pytest.mark.parametrize("how", ["hangs", "will not be cancelled"])
@played
async def test_one_that_hangs_is_cut_off_and_slows_nobody(world: World, how: str):
    """Notarizing, other hooks and writes go on as if it were not there; and so does the end."""
    hook, other, free = Listener(), Listener("other"), []
    dc = await world.dc("paris", hook, other)
    bucket = await dc.bucket()
    await dc.published()
    await world.until(lambda: other.heard == hook.heard == stamps(dc))
    hook.trouble = (lambda: asyncio.sleep(1e6)) if how == "hangs" else (lambda: deaf(free))
    for number in range(8):
        begun = world.loop.time()
        await dc.put(bucket, f"k{number}")
        written = world.loop.time()
        assert written - begun < 0.05, "a write waits for no hook"
        await dc.published()
        assert world.loop.time() - written < 6
        await world.until(lambda: other.heard == stamps(dc), 1)
    facts = await status_of(dc)
    assert facts["behind"] == 8 and facts["failures"] >= 1
    if how == "hangs":
        assert "it was cut off after 10 seconds" in facts["error"]
        assert len(hook.calls) >= 3
    else:
        assert "still not over" in facts["error"]
        assert len(hook.calls) == 2, "calls of one hook come one after the other"
    begun = world.loop.time()
    await dc.stop()
    assert world.loop.time() - begun < 3 and hook.closed == other.closed == 1
    free.append(True)
    hook.trouble = None
    await dc.start()
    await world.until(lambda: hook.heard == stamps(dc), 100)


@played
async def test_a_checkpoint_is_offered_so_often_at_most_and_only_the_newest(world: World):
    hook = Listener()
    hook.entries_max, hook.checkpoint_seconds = 0, 60.0
    dc = await world.dc("paris", hook)
    bucket = await dc.bucket()
    for number in range(60):
        await dc.put(bucket, f"k{number}")
        await asyncio.sleep(3)
    await dc.published()
    await asyncio.sleep(100)
    times = [at for at, _ in hook.sizes]
    sizes = [size for _, size in hook.sizes]
    assert hook.calls == [] and sizes == sorted(set(sizes)) and sizes[-1] == 61
    assert 4 <= len(sizes) <= 5
    assert all(after - before >= 60 for before, after in itertools.pairwise(times))
    assert (await status_of(dc))["behind"] == 0
    count = len(sizes)
    await asyncio.sleep(3600)
    assert len(hook.sizes) == count, "without anything new there is nothing to stamp"


@played
async def test_a_timestamp_goes_into_certificates_signed_by_the_log(world: World):
    """Of the entries that it is the first for."""
    hook = Listener()
    hook.checkpoint_seconds, hook.stamp = 30.0, b"a receipt"
    dc = await world.dc("paris", hook)
    bucket = await dc.bucket()
    first = await dc.put(bucket, "a")
    await dc.published()
    await world.until(lambda: hook.sizes)
    later = await dc.put(bucket, "b")
    await dc.published()
    assert b"YSByZWNlaXB0" in await dc.certificate(first)
    assert b'timestamps": []' in await dc.certificate(later)
    assert verified(await dc.certificate(first)) and verified(await dc.certificate(later))
    hook.stamp = b"another"
    await asyncio.sleep(60)
    assert b"YW5vdGhlcg==" in await dc.certificate(later)
    assert b"YW5vdGhlcg==" not in await dc.certificate(first)
    hook.stamp = bytes(TIMESTAMP_BYTES_MAX + 1)
    last = await dc.put(bucket, "c")
    await asyncio.sleep(60)
    assert "a timestamp of 262145 bytes" in (await status_of(dc))["error"]
    assert b'timestamps": []' in await dc.certificate(last)
    hook.stamp = None
    await asyncio.sleep(100)
    assert (await status_of(dc))["checkpoint"] == dc.log().sealed, "None is an answer"


class Upgrading(Hook):
    """Its timestamps become final when the test says so."""

    name = "upgrading"
    checkpoint_seconds = 1.0
    upgrade_seconds = 600.0

    def __init__(self) -> None:
        self.ready: set[int] = set()
        self.bad: set[int] = set()
        self.asked: list[tuple[float, int]] = []

    async def checkpoint(self, checkpoint: Checkpoint) -> bytes | None:
        return b"pending"

    def is_final(self, timestamp: bytes) -> bool:
        return timestamp == b"final"

    async def upgrade(self, checkpoint: Checkpoint, timestamp: bytes) -> bytes | None:
        self.asked.append((asyncio.get_running_loop().time(), checkpoint.size))
        if checkpoint.size in self.bad:
            raise HookFailed("of that no calendar knows")
        return b"final" if checkpoint.size in self.ready else None


def kept(dc: Dc) -> dict[int, bytes]:
    return dict(dc.log_file.execute("SELECT size, data FROM timestamps").fetchall())


@played
async def test_a_timestamp_is_upgraded_until_it_is_final(world: World):
    dc = await world.dc("paris", hook := Upgrading())
    bucket = await dc.bucket()
    for number in range(3):
        await dc.put(bucket, f"k{number}")
        await asyncio.sleep(20)
    assert kept(dc) == {2: b"pending", 3: b"pending", 4: b"pending"}
    await asyncio.sleep(1300)
    assert kept(dc) == {2: b"pending", 3: b"pending", 4: b"pending"}
    assert 6 <= len(hook.asked) <= 12
    hook.ready = {2, 4}
    await asyncio.sleep(700)
    assert kept(dc) == {2: b"final", 3: b"pending", 4: b"final"}
    hook.asked.clear()
    await asyncio.sleep(1300)
    assert {size for _, size in hook.asked} == {3} and len(hook.asked) <= 3
    hook.ready = {3}
    await asyncio.sleep(700)
    assert set(kept(dc).values()) == {b"final"}
    hook.asked.clear()
    await asyncio.sleep(5000)
    assert hook.asked == []


@played
async def test_one_that_fails_to_be_upgraded_holds_up_no_other(world: World):
    """It alone is tried again before it is the others' turn."""
    dc = await world.dc("paris", hook := Upgrading())
    bucket = await dc.bucket()
    for number in range(3):
        await dc.put(bucket, f"k{number}")
        await asyncio.sleep(20)
    hook.ready, hook.bad = {2, 3}, {4}
    await asyncio.sleep(620)
    assert kept(dc) == {2: b"final", 3: b"final", 4: b"pending"}
    assert (await status_of(dc, "upgrading"))["error"] == "HookFailed: of that no calendar knows"
    await dc.put(bucket, "new")
    await world.until(lambda: 5 in kept(dc), 100)
    hook.asked.clear()
    await asyncio.sleep(200)
    assert {size for _, size in hook.asked} == {4} and len(hook.asked) >= 3
    hook.bad, hook.ready = set(), {4, 5}
    await asyncio.sleep(700)
    assert set(kept(dc).values()) == {b"final"}
    assert (await status_of(dc, "upgrading"))["error"] == ""


@played
async def test_all_that_are_not_final_have_their_turn(world: World, monkeypatch):
    """However many are newer, final or not; a restart changes nothing of it."""
    monkeypatch.setattr(running, "UPGRADES_MAX", 3)
    dc = await world.dc("paris", hook := Upgrading())
    bucket = await dc.bucket()
    for number in range(12):
        await dc.put(bucket, f"k{number}")
        await asyncio.sleep(20)
    sizes = sorted(kept(dc))
    assert len(sizes) == 12
    await asyncio.sleep(4 * 600)
    assert {size for _, size in hook.asked} == set(sizes)
    hook.asked.clear()
    await asyncio.sleep(600)
    assert len(hook.asked) == 3, "so many at once"
    for number in range(5):
        await dc.put(bucket, f"new{number}")
        await asyncio.sleep(600)
    assert {size for _, size in hook.asked} >= set(sizes), "new ones take no turn from the old"
    sizes = sorted(kept(dc))
    hook.bad = set(sizes[:3])
    hook.ready = set(sizes[3:])
    await asyncio.sleep(6 * 600)
    assert {size for size, data in kept(dc).items() if data == b"final"} == hook.ready
    await dc.start_again()
    hook.bad, hook.ready, hook.asked = set(), set(sizes), []
    await world.until(lambda: set(kept(dc).values()) == {b"final"}, 700)
    assert {size for _, size in hook.asked} == set(sizes[:3])
    hook.asked.clear()
    await asyncio.sleep(5000)
    assert hook.asked == []


@played
async def test_a_final_timestamp_that_came_back_is_known_to_be_so(world: World):
    """It was taken from a mirror."""
    dc = await world.dc("paris", hook := Upgrading())
    await dc.put(await dc.bucket(), "k")
    await world.until(lambda: kept(dc))
    hook.ready = set(kept(dc))
    await world.until(lambda: set(kept(dc).values()) == {b"final"}, 700)
    dc.log_file.execute("UPDATE timestamps SET final = 0")
    hook.asked.clear()
    await asyncio.sleep(700)
    assert hook.asked == []
    assert dc.log_file.execute("SELECT DISTINCT final FROM timestamps").fetchall() == [(1,)]


# -- hooks that come and go -----------------------------------------------------------------------


@played
async def test_a_hook_is_put_in_place_of_another_while_all_runs(world: World):
    """The new one goes on where the old one was, even in the middle of its call."""
    old, new = Listener(), Listener()
    dc = await world.dc("paris", old)
    bucket = await dc.bucket()
    await dc.published()
    await world.until(lambda: old.heard == stamps(dc))
    old.trouble = lambda: asyncio.sleep(1e6)
    await dc.put(bucket, "k")
    await world.until(lambda: len(old.calls) == 2)
    new.heard = list(old.heard)
    await dc.do(dc.notary.set_hook("listener", new))
    assert old.closed == 1
    await world.until(lambda: new.heard == stamps(dc))
    assert [(first, count) for _, first, count in new.calls] == [(1, 1)]
    calls = len(old.calls)
    await dc.do(dc.notary.set_hook("listener", None))
    await dc.put(bucket, "more")
    await asyncio.sleep(30)
    assert len(old.calls) == calls and len(new.calls) == 1 and new.closed == 1
    assert (await dc.do(dc.notary.status()))["hooks"] == []


@played
async def test_of_several_that_are_set_at_once_one_runs(world: World):
    dc = await world.dc("paris", first := Listener())
    bucket = await dc.bucket()
    some = [Listener() for _ in range(4)]
    await asyncio.gather(*(dc.do(dc.notary.set_hook("listener", one)) for one in some))
    await dc.put(bucket, "k")
    await dc.published()
    await asyncio.sleep(5)
    assert len((await dc.do(dc.notary.status()))["hooks"]) == 1
    assert [one.closed for one in (first, *some)] == [1, 1, 1, 1, 0]
    assert some[-1].calls and not any(one.calls for one in some[:-1])


@pytest.mark.parametrize("how", ["raises", "hangs"])
@played
async def test_one_that_does_not_close_is_replaced_all_the_same(world: World, how: str):
    class Sticky(Listener):
        async def close(self) -> None:
            self.closed += 1
            if how == "hangs":
                await asyncio.sleep(1e6)
            raise RuntimeError("it sticks")

    dc = await world.dc("paris", sticky := Sticky(), other := Listener("other"))
    bucket = await dc.bucket()
    new = Listener()
    new.heard = ["?"]
    await dc.do(dc.notary.set_hook("listener", new))
    await dc.put(bucket, "k")
    await world.until(lambda: new.calls)
    again = Sticky()
    await dc.do(dc.notary.set_hook("listener", again))
    await dc.stop()
    assert (sticky.closed, again.closed, other.closed, new.closed) == (1, 1, 1, 1)
    with pytest.raises(sqlite3.ProgrammingError):
        await dc.store.read(lambda db: tables.logs(db))


@played
async def test_a_hook_that_is_set_after_the_end_does_not_run(world: World):
    dc = await world.dc("paris", hook := Listener())
    hook.trouble = raising(HookFailed("away"))
    await dc.bucket()
    await world.until(lambda: hook.calls)
    await dc.stop()
    dc.hooks = ()
    await dc.start(notary=False)
    hook = Listener()
    await dc.do(dc.notary.set_hook("listener", hook))
    await asyncio.sleep(20)
    assert hook.calls == []
    await dc.stop()
    assert hook.closed == 1
    await dc.start()
    hook = Listener()
    await dc.do(dc.notary.set_hook("listener", hook))
    await world.until(lambda: hook.heard == stamps(dc))
    await dc.stop()
    assert hook.closed == 1
