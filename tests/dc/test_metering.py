"""Limits over many connections, on a clock that a test moves."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from moved_clock import MovedClock

from dc.metering import (
    OUT_BURST_SECONDS,
    SLICE_BYTES_MIN,
    Bucket,
    Flow,
    Lane,
    wire_bytes,
)

RATE = 300 << 10


class Sink:
    """A flow of a lane, and when its bytes went."""

    def __init__(self, clock: MovedClock, lane: Lane, bulk: bool = False) -> None:
        self.got: list[tuple[float, bytes]] = []
        self.failed = False
        self._clock = clock
        self.flow = Flow(self._take, self._fail)
        self.flow.lane = lane
        self.flow.bulk = bulk

    def _take(self, data: bytes | bytearray | memoryview) -> None:
        self.got.append((self._clock.now, bytes(data)))

    def _fail(self) -> None:
        self.failed = True

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.got)

    def wire(self, start: float = 0.0, stop: float = 1e9) -> int:
        return sum(wire_bytes(len(data)) for at, data in self.got if start <= at < stop)


@pytest.fixture
def clock() -> Iterator[MovedClock]:
    yield MovedClock()


def lane_of(clock: MovedClock, rate: int) -> Lane:
    lane = Lane(clock, OUT_BURST_SECONDS)
    lane.set_rate(rate)
    return lane


def most_in_any_stretch(times: list[tuple[float, int]], rate: int) -> float:
    """The most by which bytes were more than the rate allows, over all stretches of time."""
    worst = lowest = passed = 0.0
    for at, count in times:
        lowest = min(lowest, passed - rate * at)
        passed += count
        worst = max(worst, passed - rate * at - lowest)
    return worst


def test_a_bucket_gives_what_has_come_and_never_more_than_the_burst():
    bucket = Bucket(0.05)
    bucket.set(100_000, 0.0)
    assert bucket.wait(1_000, 0.0) == pytest.approx(0.01)
    assert bucket.wait(1_000, 0.01) == 0.0
    bucket.take(1_000)
    assert bucket.wait(5_000, 1000.0) == 0.0, "50 ms worth"
    assert bucket.wait(5_001, 1000.0) == pytest.approx(1 / 100_000)


def test_a_lower_rate_takes_away_what_had_been_saved():
    bucket = Bucket(0.05)
    bucket.set(1_000_000, 0.0)
    bucket.set(20_000, 10.0)
    assert bucket.wait(2_000, 10.0) == pytest.approx((2_000 - 1_000) / 20_000)


async def test_a_limit_is_held_to_the_byte_in_any_stretch_of_time(clock: MovedClock):
    lane = lane_of(clock, RATE)
    sinks = [Sink(clock, lane, bulk) for bulk in (False, True, True, False)]
    for sink in sinks:
        sink.flow.offer(bytes(4_000_000))
    await clock.run(10.0)
    times = sorted((at, wire_bytes(len(data))) for sink in sinks for at, data in sink.got)
    passed = sum(count for _, count in times)
    assert lane.passed == passed
    assert most_in_any_stretch(times, RATE) <= RATE * OUT_BURST_SECONDS + 1
    assert passed == pytest.approx(10 * RATE, rel=0.002)


async def test_wakings_that_are_late_cost_nothing(clock: MovedClock):
    lane, clock.late = lane_of(clock, RATE), 0.03
    sink = Sink(clock, lane)
    sink.flow.offer(bytes(10_000_000))
    await clock.run(10.0)
    assert sink.wire() == pytest.approx(10 * RATE, rel=0.005)
    times = [(at, wire_bytes(len(data))) for at, data in sink.got]
    assert most_in_any_stretch(times, RATE) <= RATE * OUT_BURST_SECONDS + 1


async def test_no_time_is_saved_up_while_nothing_goes(clock: MovedClock):
    lane = lane_of(clock, RATE)
    sink = Sink(clock, lane)
    await clock.run(60.0)
    sink.flow.offer(bytes(10_000_000))
    await clock.run(1.0)
    assert sink.wire() <= RATE * (1.0 + OUT_BURST_SECONDS)


async def test_what_waits_arrives_in_order_and_whole(clock: MovedClock):
    lane = lane_of(clock, RATE)
    sink = Sink(clock, lane)
    pieces = [bytes([number]) * (number * 97 + 1) for number in range(200)]
    for piece in pieces:
        sink.flow.offer(bytearray(piece))
    await clock.run(60.0)
    assert sink.data == b"".join(pieces)
    assert sink.flow.size == 0


async def test_small_messages_do_not_wait_for_large_bodies(clock: MovedClock):
    lane = lane_of(clock, RATE)
    bulk = [Sink(clock, lane, bulk=True) for _ in range(6)]
    for sink in bulk:
        sink.flow.offer(bytes(8 << 20))
    await clock.run(1.0)
    small, began = Sink(clock, lane), clock.now
    small.flow.offer(bytes(4_096))
    await clock.run(1.0)
    assert len(small.data) == 4_096
    assert small.got[-1][0] - began < 0.05


async def test_neither_starves_the_other(clock: MovedClock):
    lane = lane_of(clock, RATE)
    bulk, others = Sink(clock, lane, bulk=True), Sink(clock, lane)
    for sink in (bulk, others):
        sink.flow.offer(bytes(8 << 20))
    await clock.run(8.0)
    assert others.wire() / bulk.wire() == pytest.approx(3.0, rel=0.05)


async def test_flows_take_turns(clock: MovedClock):
    lane = lane_of(clock, RATE)
    sinks = [Sink(clock, lane, bulk=True) for _ in range(5)]
    for sink in sinks:
        sink.flow.offer(bytes(8 << 20))
    await clock.run(5.0)
    shares = [sink.wire() for sink in sinks]
    assert max(shares) - min(shares) <= 2 * wire_bytes(RATE // 100)


async def test_who_comes_later_does_not_go_first(clock: MovedClock):
    lane = lane_of(clock, RATE)
    waiting, later = Sink(clock, lane), Sink(clock, lane)
    waiting.flow.offer(bytes(RATE))
    await clock.run(0.001)
    for _ in range(2_000):
        # So little that there are always tokens enough for it.
        later.flow.offer(bytes(RATE // 2_000 - 23))
        await clock.run(0.0005)
    assert waiting.wire() == pytest.approx(RATE / 2, rel=0.2)


async def test_who_cannot_take_more_does_not_hold_up_others(clock: MovedClock):
    lane = lane_of(clock, RATE)
    stuck, other = Sink(clock, lane), Sink(clock, lane)
    stuck.flow.block(True)
    stuck.flow.offer(bytes(100_000))
    other.flow.offer(bytes(100_000))
    await clock.run(1.0)
    assert (len(stuck.data), len(other.data)) == (0, 100_000)
    stuck.flow.block(False)
    await clock.run(1.0)
    assert len(stuck.data) == 100_000


async def test_a_changed_rate_counts_at_once(clock: MovedClock):
    lane = lane_of(clock, 2_000)
    sink = Sink(clock, lane)
    sink.flow.offer(bytes(10_000_000))
    await clock.run(5.0)
    assert sink.wire() == pytest.approx(10_000, rel=0.1)
    lane.set_rate(RATE)
    changed = clock.now
    await clock.run(2.0)
    assert sink.wire(changed) == pytest.approx(2 * RATE, rel=0.04)
    lane.set_rate(0)
    await clock.run(0.1)
    assert len(sink.data) == 10_000_000


async def test_at_the_lowest_rate_there_is_progress_all_the_time(clock: MovedClock):
    lane = lane_of(clock, 1_000)
    sinks = [Sink(clock, lane, bulk=True) for _ in range(6)]
    sinks.append(Sink(clock, lane))
    for sink in sinks:
        sink.flow.offer(bytes(1 << 20))
    await clock.run(300.0)
    for sink in sinks:
        times = [clock.now - 300.0, *(at for at, _ in sink.got), clock.now]
        assert max(later - one for one, later in pairwise(times)) < 20, "or it would seem dead"
        assert all(len(data) <= SLICE_BYTES_MIN for _, data in sink.got)


async def test_without_a_limit_nothing_waits_and_all_is_counted(clock: MovedClock):
    lane = Lane(clock, OUT_BURST_SECONDS)
    sink = Sink(clock, lane)
    for size in (1, 16_384, 16_385):
        sink.flow.offer(bytes(size))
    assert len(sink.data) == 32_770
    assert lane.passed == 32_770 + 4 * 22


async def test_a_connection_that_fails_does_not_stop_the_others(clock: MovedClock):
    lane = lane_of(clock, RATE)
    bad, good = Sink(clock, lane), Sink(clock, lane)

    def refuse(_: object) -> None:
        raise ValueError("no")

    bad.flow = Flow(refuse, bad._fail)
    bad.flow.lane = lane
    for sink in (bad, good):
        sink.flow.offer(bytes(50_000))
    await clock.run(1.0)
    assert bad.failed
    assert len(good.data) == 50_000
