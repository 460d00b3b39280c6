"""Which reads are late, by the other disks of the tier, and how a slow disk is found and taken
back."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from moved_clock import MovedClock

from dc.objects import pace as pace_module
from dc.objects.pace import (
    AGAIN_SECONDS,
    LATE_MAX,
    LIMIT_SECONDS_MIN,
    READS_MAX,
    Pace,
    Paces,
    Syncs,
)

SMALL, LARGE = 4096, 1 << 20


@pytest.fixture(autouse=True)
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No thread of a test outlives it."""
    made = []

    def begun(*args: Any, **named: Any) -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(*args, **named))
        return made[-1]

    monkeypatch.setattr(pace_module, "ThreadPoolExecutor", begun)
    yield
    for one in made:
        one.shutdown()


class Hanging:
    """Reads that last until `ended`."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.asked: list[int] = []

    def __call__(self, length: int, offset: int) -> bytes:
        self.asked.append(offset)
        self.ended.wait(10)
        return b"x"


class Disks:
    """Some disks, each of which takes as long as it is told to."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.paces = Paces(self.clock)

    def of(self, number: int, tier: str = "standard") -> Pace:
        return self.paces.of(tier, number, str(number))

    def read(
        self, number: int, seconds: float, length: int = SMALL, tier: str = "standard"
    ) -> bytes | None:
        def read(length: int, offset: int) -> bytes:
            self.clock.now += seconds
            return b"x"

        return self.of(number, tier).read(read, length, 0, elsewhere=False)

    def used(
        self, number: int, seconds: float, length: int = SMALL, tier: str = "standard"
    ) -> None:
        for _ in range(20):
            self.read(number, seconds, length, tier)


def test_a_disk_that_was_always_slow_is_found() -> None:
    disks = Disks()
    for number in (0, 1, 2):
        disks.used(number, 0.01)
    disks.used(3, 0.2)
    assert disks.paces.slow() == {3}
    assert disks.read(3, 0.2) is None and disks.read(0, 0.01) == b"x"


def test_two_slow_disks_do_not_hide_each_other() -> None:
    disks = Disks()
    for number, seconds in enumerate((0.01, 0.01, 0.01, 0.5, 0.5)):
        disks.used(number, seconds)
    disks.used(3, 0.5)
    assert disks.paces.slow() == {3, 4}


def test_where_all_are_slow_nobody_is_late() -> None:
    disks = Disks()
    for _ in range(3):
        for number in range(4):
            disks.used(number, 0.5)
    assert disks.paces.slow() == set()


def test_a_disk_is_measured_by_its_own_tier_and_by_reads_of_its_size() -> None:
    disks = Disks()
    for number in (0, 1):
        disks.used(number, 0.001)
        disks.used(number, 0.1, LARGE)
    for number in (2, 3):
        disks.used(number, 0.3, tier="archive")
    # It may be in both: slow in one, and one of many in the other.
    disks.used(2, 0.3)
    assert disks.of(2).is_slow and not disks.of(2, "archive").is_slow
    assert disks.of(0).limit(SMALL) == LIMIT_SECONDS_MIN
    assert disks.of(0).limit(LARGE) == pytest.approx(0.4)


def test_nobody_is_late_as_long_as_nothing_is_known_of_others() -> None:
    disks = Disks()
    disks.used(0, 5.0)
    disks.read(1, 0.001)
    assert disks.of(0).limit(SMALL) is None and not disks.paces.slow()


def test_a_slow_disk_is_tried_again_and_taken_back() -> None:
    disks = Disks()
    for number in (0, 1):
        disks.used(number, 0.01)
    asked = 0

    def read(length: int, offset: int) -> bytes:
        nonlocal asked
        asked += 1
        disks.clock.now += seconds
        return b"x"

    def reads(count: int) -> list[bytes | None]:
        found = []
        for _ in range(count):
            found.append(disks.of(2).read(read, SMALL, 0, elsewhere=False))
            if (left := disks.of(2)._left) is not None:
                left.result()
        return found

    seconds = 0.2
    assert reads(LATE_MAX) == [b"x"] * LATE_MAX and disks.paces.slow() == {2}
    # Nothing is asked of it for a while, then one read, which nobody waits for.
    assert reads(10) == [None] * 10 and asked == LATE_MAX
    disks.clock.now += AGAIN_SECONDS
    assert reads(10) == [None] * 10 and asked == LATE_MAX + 1 and disks.paces.slow() == {2}
    disks.clock.now += AGAIN_SECONDS
    seconds = 0.01
    assert reads(3) == [None, b"x", b"x"] and disks.paces.slow() == set()


def test_one_late_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds its buffer till it ends, and the disk gets no further ones meanwhile."""
    disks = Disks()
    disks.used(0, 0.0)
    monkeypatch.setattr(pace_module, "LIMIT_SECONDS_MIN", 0.05)
    hangs = Hanging()
    for offset in range(20):
        assert disks.of(1).read(hangs, SMALL, offset, elsewhere=True) is None
    assert hangs.asked == [0]
    hangs.ended.set()
    left = disks.of(1)._left
    assert left is not None and left.result() == b"x"
    monkeypatch.setattr(pace_module, "LIMIT_SECONDS_MIN", 5.0)
    assert disks.of(1).read(hangs, SMALL, 21, elsewhere=True) == b"x"


def test_a_read_that_hangs_at_the_beginning_is_left_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is known of other disks: so it says nothing of this one."""
    disks, ended = Disks(), threading.Event()
    monkeypatch.setattr(pace_module, "UNKNOWN_SECONDS", 0.05)

    def hangs(length: int, offset: int) -> bytes:
        ended.wait(10)
        disks.clock.now += 5
        return b"x"

    for _ in range(LATE_MAX):
        ended.clear()
        assert disks.of(0).read(hangs, SMALL, 0, elsewhere=True) is None
        ended.set()
        left = disks.of(0)._left
        assert left is not None and left.result() == b"x"
    assert not disks.paces.slow()


class _JustEnded(Future[bytes]):
    """What ends at the end of the time that it is waited for."""

    def result(self, timeout: float | None = None) -> bytes:
        if timeout is not None:
            self.set_result(b"x")
            raise TimeoutError
        return super().result()


class _Readers(ThreadPoolExecutor):
    def submit(self, *args: Any, **named: Any) -> Any:
        return _JustEnded()


def test_a_read_that_ends_as_it_would_be_left_has_not_failed() -> None:
    pace = Disks().of(0)
    pace._readers = _Readers()
    assert pace.read(lambda *_: b"x", SMALL, 0, elsewhere=True) == b"x"


def test_where_no_thread_can_be_begun_others_are_read_for_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pace = Disks().of(0)
    monkeypatch.setattr(pace_module, "UNKNOWN_SECONDS", 5.0)

    def none(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(pace._readers, "submit", none)
        for _ in range(2 * READS_MAX):
            assert pace.read(lambda *_: b"x", SMALL, 0, elsewhere=True) is None
    assert pace.read(lambda *_: b"x", SMALL, 0, elsewhere=True) == b"x"


@pytest.mark.parametrize("hanging", [1, 12])
def test_reads_under_way_on_a_disk_are_bounded_and_leave_threads_for_others(
    monkeypatch: pytest.MonkeyPatch, hanging: int
) -> None:
    disks, hangs = Disks(), Hanging()
    disks.used(0, 0.0)
    monkeypatch.setattr(pace_module, "LIMIT_SECONDS_MIN", 0.5)
    found: list[bytes | None] = []

    def read(number: int) -> None:
        found.append(disks.of(number).read(hangs, SMALL, number, elsewhere=True))

    numbers = [1 + number for number in range(hanging) for _ in range(READS_MAX + 2)]
    threads = [threading.Thread(target=read, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [None] * len(threads)
    assert max(map(hangs.asked.count, hangs.asked)) == READS_MAX
    assert disks.of(0).read(lambda *_: b"y", SMALL, 0, elsewhere=True) == b"y"
    hangs.ended.set()


def test_what_fails_late_counts_and_what_fails_at_once_does_not() -> None:
    disks = Disks()
    disks.used(0, 0.01)
    seconds = 0.0

    def fails(length: int, offset: int) -> bytes:
        disks.clock.now += seconds
        raise OSError("broken")

    for seconds, slow in ((0.0, set()), (1.0, {1})):  # noqa: B007
        for _ in range(LATE_MAX):
            with pytest.raises(OSError, match="broken"):
                disks.of(1).read(fails, SMALL, 0, elsewhere=False)
        assert disks.paces.slow() == slow


@pytest.mark.parametrize(
    ("seconds", "late"),
    [
        ((0.01, 0.01, 0.9), [2]),
        ((0.9, 0.01, 0.01, 0.9, 0.01), [0, 3]),
        ((0.01, 0.01, 0.19), []),  # Not worth it.
        ((0.5, 0.5, 0.9), []),  # All are slow.
        ((0.01, 0.9), [1]),
        ((0.9,), []),
    ],
)
def test_syncs_are_late_by_those_of_the_other_slots(
    seconds: tuple[float, ...], late: list[int]
) -> None:
    syncs, took = Syncs(), dict(enumerate(seconds))
    assert [syncs.late(took) for _ in range(LATE_MAX)] == [*[[]] * (LATE_MAX - 1), late]


@pytest.mark.parametrize(("between", "is_left"), [(7, True), (10, False)])
def test_what_hangs_now_and_then_is_left(between: int, is_left: bool) -> None:
    syncs, slow, fast = Syncs(), {0: 0.01, 1: 0.9}, {0: 0.01, 1: 0.01}
    turns = ([slow] + [fast] * between) * 20
    assert ([1] in [syncs.late(took) for took in turns]) == is_left


def test_a_disk_that_was_removed_is_forgotten() -> None:
    disks = Disks()
    for number in (0, 1, 2):
        disks.used(number, 0.01)
    disks.used(3, 0.5)
    disks.paces.forget(3)
    assert disks.paces.slow() == set()
    for number in (1, 2):
        disks.paces.forget(number)
    assert disks.of(0).limit(SMALL) is None
