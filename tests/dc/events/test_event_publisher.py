"""The publisher against a broker of the test: nothing is stepped over, whatever breaks when."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dc.broker import Connection, Message, Will
from dc.events.kinds import KINDS
from dc.events.publisher import EventsRefused, Publisher
from dc.events.records import Records
from dc.names.service import SqliteNames
from dc.system import SystemClock
from dc.worker import Worker
from tests.dc.names.dcs_kit import TickingClock
from tests.dc.names.names_kit import OWNER, PARIS, opened, tombstone, version


class Broker:
    """Takes messages while `up`; the connection breaks at the `fuse`-th from now."""

    def __init__(self) -> None:
        self.up = True
        self.fuse = 0
        self.taken: list[dict[str, object]] = []
        self.asked = 0
        self.broken = asyncio.Event()

    @asynccontextmanager
    async def connect(self, will: Will | None = None) -> AsyncIterator[Connection]:
        assert will is None
        if not self.up:
            raise ConnectionError("the broker is away")
        self.broken = asyncio.Event()
        yield self

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        assert topic.startswith("e/paris/") and not retain
        self.asked += 1
        await asyncio.sleep(0)
        self.fuse -= 1
        if not self.up or self.fuse == 0 or self.broken.is_set():
            self.broken.set()
            raise ConnectionError("the connection broke")
        self.taken.append(json.loads(payload))

    async def subscribe(self, topics: Sequence[str]) -> None:
        raise AssertionError(topics)

    async def messages(self) -> AsyncIterator[Message]:
        await self.broken.wait()
        raise ConnectionError("the connection broke")
        yield Message("", b"")

    def keys(self) -> list[str]:
        return [str(one["key"]) for one in self.taken if one["kind"] in ("object", "deletion")]


@asynccontextmanager
async def publishing(
    names: SqliteNames, broker: Broker | None, kinds: Sequence[str] = KINDS
) -> AsyncIterator[Publisher]:
    records = Records(names.directory, "paris", PARIS, "e/")
    publisher = Publisher(names, SystemClock(), broker, records, kinds)
    worker = Worker("events", SystemClock(), publisher.step, 0.05)
    worker.start()
    try:
        yield publisher
    finally:
        await worker.stop()


async def put(names: SqliteNames, key: str) -> None:
    found = names.directory.bucket("photos")
    bucket = found or await names.create_bucket("photos", OWNER, "eu")
    await names.put(version(bucket.id, key, names.clock.now()))


async def eventually(check: object, seconds: float = 10.0) -> None:
    assert callable(check)
    for _ in range(int(seconds / 0.005)):
        if check():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to be in time")


async def test_all_is_told_in_order_from_when_it_was_turned_on(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path / "n.db") as names, publishing(names, broker) as publisher:
        await put(names, "before")
        await publisher.turn_on()
        for number in range(200):
            await put(names, f"{number:03}")
        await eventually(lambda: len(broker.taken) >= 200)
        assert broker.keys() == [f"{number:03}" for number in range(200)]
        positions = [one["position"] for one in broker.taken]
        assert positions == sorted(positions, key=int)  # type: ignore[call-overload]
        assert (await publisher.status())["state"] == "connected"
        await publisher.replay(0)
        await eventually(lambda: broker.keys()[200:201] == ["before"])
        await eventually(lambda: broker.keys()[201:] == [f"{number:03}" for number in range(200)])


async def test_a_connection_that_breaks_at_any_message_loses_none(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path / "n.db") as names, publishing(names, broker) as publisher:
        await put(names, "first")
        await publisher.turn_on()
        for fuse in range(1, 12):
            broker.fuse = fuse
            await asyncio.gather(*(put(names, f"{fuse:02}-{n}") for n in range(10)))
            await eventually(lambda fuse=fuse: len({*broker.keys()}) == fuse * 10)
        seen = list(dict.fromkeys(int(str(one["position"])) for one in broker.taken))
        assert seen == sorted(seen)


async def test_an_outage_costs_nothing_and_superseded_states_are_not_told(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path / "n.db") as names, publishing(names, broker) as publisher:
        await put(names, "a")
        await publisher.turn_on()
        broker.up = False
        broker.broken.set()
        for _ in range(20):
            await put(names, "a")
        await put(names, "b")
        found = await publisher.status()
        assert (found["state"], found["behind"]) == ("failing", 21)
        assert "broker is away" in found["last_error"] or "broke" in found["last_error"]
        assert found["lag_seconds"] < 60
        broker.up = True
        await eventually(lambda: len(broker.keys()) == 2)
        assert broker.keys() == ["a", "b"]
        assert (await publisher.status())["last_error"] == ""


async def test_a_connection_that_breaks_while_idle_is_seen(tmp_path: Path) -> None:
    broker = Broker()
    async with opened(tmp_path / "n.db") as names, publishing(names, broker) as publisher:
        await publisher.turn_on()
        await eventually(lambda: publisher.connected)
        broker.up = False
        broker.broken.set()
        await eventually(lambda: not publisher.connected and publisher.last_error)


async def test_the_position_is_durable_and_is_passed_over_kinds_that_are_not_told(
    tmp_path: Path,
) -> None:
    broker = Broker()
    async with opened(tmp_path / "n.db") as names:
        async with publishing(names, broker, ["deletion"]) as publisher:
            await put(names, "a")
            await publisher.turn_on(0)
            bucket = names.directory.bucket("photos")
            assert bucket is not None
            await names.delete([tombstone(bucket.id, "gone", names.clock.now())])
            await put(names, "b")
            await eventually(lambda: broker.keys() == ["gone"])
            await eventually(lambda: names.event_cursor.state.position == names.feed_end)
    async with opened(tmp_path / "n.db") as names:
        assert names.event_cursor.state.on
        async with publishing(names, broker) as publisher:
            await put(names, "c")
            await eventually(lambda: len(broker.taken) > 1)
            assert broker.keys() == ["gone", "c"]
            await publisher.turn_off()
            await put(names, "d")
            await eventually(lambda: not publisher.connected)
            assert (await publisher.status())["state"] == "off"
            await publisher.turn_on()
            await eventually(lambda: broker.keys()[-1] == "d")
            assert broker.keys().count("c") <= 2


async def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "n.db") as names:
        async with publishing(names, None) as publisher:
            with pytest.raises(EventsRefused, match=r"mqtt\.host"):
                await publisher.turn_on()
            assert (await publisher.status())["state"] == "none"
        async with publishing(names, Broker()) as publisher:
            with pytest.raises(EventsRefused, match="off"):
                await publisher.replay(0)
            with pytest.raises(EventsRefused, match="no position"):
                await publisher.turn_on(names.feed_end + 1)


async def test_a_deletion_is_kept_until_it_was_told(tmp_path: Path) -> None:
    clock = TickingClock()

    async def round_of_upkeep(names: SqliteNames) -> int:
        for _ in range(3):
            clock.ms += 31_000
            names.knowledge._sample = None
            names.knowledge.floor = names.clock.now()
            names.knowledge.close_gap()
            await names.upkeep()
        entries, _, _ = await names.feed(0, 100)
        return sum(1 for one in entries if type(one.change).__name__ == "Tombstone")

    async with opened(tmp_path / "n.db", clock=clock) as names:
        await put(names, "a")
        bucket = names.directory.bucket("photos")
        assert bucket is not None
        position = names.feed_end
        await names.event_cursor.store(on=True, position=position, heard_ms=clock.ms)
        await names.delete([tombstone(bucket.id, "a", names.clock.now())])
        assert await round_of_upkeep(names) == 1
        await names.event_cursor.store(position=names.feed_end)
        assert await round_of_upkeep(names) == 0
        await put(names, "b")
        await names.delete([tombstone(bucket.id, "b", names.clock.now())])
        assert await round_of_upkeep(names) == 1
        clock.ms += names.knowledge.peer_absence_ms_max - 1_000_000
        assert await round_of_upkeep(names) == 1
        clock.ms += 1_000_000
        assert await round_of_upkeep(names) == 0, "a broker that is gone for good"
