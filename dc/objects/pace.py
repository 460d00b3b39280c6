"""How long reads take on each disk, and which disks are not to be waited for.

A read is *late* when it takes much longer than reads of the same tier do on the other disks: four
times what nine of ten of them take there, by the median of these disks. So a disk that was slow
from the beginning is found as well as one that becomes slow; where all are slow nobody is late; and
the slow disks of one tier are not measured by the fast ones of another. Reads of a few bytes and
of many are measured apart.

Who reads does not wait for a late read: `Pace.read` gives None, and what is wanted is decoded from
other slots (`dc/objects/coded_file.py`). The read itself goes on, as it cannot be called back, and
as long as it does nothing else is read from that disk: so a slow disk has one late read at a time,
or a few that were under way together. After `LATE_MAX` late ones in a row the disk is *slow*, and
only tried once a second, with a read that nobody waits for, till one is in time.

Syncs are compared with those of the other slots of the same container at the same moment
(`Syncs`), and a container of which one is late for some time is left for one on other disks.

Reads of a disk on another machine are done by threads of that disk's own, so that they can be left.
Those of this machine's disks are not left while they last, but a disk that is slow is avoided, too.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from dc.ports import Buffer, Clock, File

log = structlog.get_logger("objects")

LIMIT_SECONDS_MIN = 0.03
"""No read is late before."""
UNKNOWN_SECONDS = 1.0
"""How long a read is waited for as long as nothing is known of other disks."""
TIMES = 4.0
LATE_MAX = 4
AGAIN_SECONDS = 1.0
SYNC_SECONDS_MIN = 0.2
"""No sync is late before."""
SYNC_TIMES = 8.0
SYNCS = 32
"""Of so many in a row `LATE_MAX` may not be late: a disk may hang now and then only."""
READS_MAX = 8
"""Reads under way at once from a disk of another machine. Others wait for these."""
_LARGE_BYTES = 64 << 10
_REMEMBERED, _EVERY = 64, 8
Read = Callable[[int, int], bytes]


class _Times:
    """Seconds that the last reads took. Used from all threads."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=_REMEMBERED)
        self._count = 0
        self.most: float | None = None
        """What nine of ten took at most; None as long as there were few."""

    def add(self, seconds: float) -> None:
        self._last.append(seconds)
        self._count += 1
        if self._count % _EVERY == 0:
            last = sorted(self._last.copy())
            self.most = last[len(last) * 9 // 10]


class Pace:
    """That of one disk in one tier."""

    def __init__(self, clock: Clock, label: str, others: Callable[[], Sequence["Pace"]]) -> None:
        """`others`: the other disks of the tier."""
        self.clock = clock
        self._label = label
        self._others = others
        self._times = (_Times(), _Times())
        self._free = threading.BoundedSemaphore(READS_MAX)
        # Of its own: disks that hang must not take the threads of others.
        self._readers = ThreadPoolExecutor(READS_MAX + 1, thread_name_prefix=f"reads {label}")
        self._lock = threading.Lock()
        self._left: Future[bytes] | None = None
        """The last read that was not waited for."""
        self._late = 0
        self._again_at = 0.0
        self.is_slow = False

    def limit(self, length: int) -> float | None:
        """After how many seconds a read of so many bytes is late; None as long as nothing is known
        of other disks."""
        size = length > _LARGE_BYTES
        known = sorted(
            most for one in self._others() if (most := one._times[size].most) is not None
        )
        if not known:
            return None
        return max(LIMIT_SECONDS_MIN, TIMES * known[(len(known) - 1) // 2])

    def read(self, read: Read, length: int, offset: int, elsewhere: bool) -> bytes | None:
        """What `read` gives; None when it is late, or would be. `elsewhere`: it is done by another
        thread, and left when it is late. OSError when it fails in time."""
        if self._left is not None and not self._left.done():
            return None
        limit = self.limit(length)

        def work() -> bytes:
            return self._measured(read, length, offset, limit)

        if self.is_slow:
            self._try_again(work)
            return None
        if not elsewhere:
            return work()
        wait = UNKNOWN_SECONDS if limit is None else limit
        if not self._free.acquire(timeout=wait):
            return None
        try:
            future = self._readers.submit(work)
        except RuntimeError:  # There are as many threads as there may be.
            self._free.release()
            return None
        future.add_done_callback(lambda _: self._free.release())
        try:
            return future.result(wait)
        except TimeoutError:
            if future.done():
                # It has ended meanwhile, or this is its own error.
                return future.result()
            self._left = future
            return None

    def _try_again(self, work: Callable[[], bytes]) -> None:
        with self._lock:
            now = self.clock.monotonic()
            if now >= self._again_at:
                self._again_at = now + AGAIN_SECONDS
                with contextlib.suppress(RuntimeError):  # As above.
                    self._left = self._readers.submit(work)

    def _measured(self, read: Read, length: int, offset: int, limit: float | None) -> bytes:
        began = self.clock.monotonic()
        try:
            data = read(length, offset)
        except OSError:
            if self._is_late(began, limit):
                self._was_late()
            raise
        self._times[length > _LARGE_BYTES].add(self.clock.monotonic() - began)
        if self._is_late(began, limit):
            self._was_late()
        else:
            self._was_in_time()
        return data

    def _is_late(self, began: float, limit: float | None) -> bool:
        return limit is not None and self.clock.monotonic() - began > limit

    def _was_late(self) -> None:
        with self._lock:
            self._late += 1
            if self._late >= LATE_MAX and not self.is_slow:
                self.is_slow = True
                self._again_at = self.clock.monotonic() + AGAIN_SECONDS
                log.warning("a disk is slow: others are read", disk=self._label)

    def _was_in_time(self) -> None:
        if not self._late:
            return
        with self._lock:
            self._late = 0
            if self.is_slow:
                self.is_slow = False
                log.info("a disk is not slow any more", disk=self._label)


class Paces:
    """Those of all disks, by tier."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tiers: dict[str, dict[int, Pace]] = {}
        self._lock = threading.Lock()

    def of(self, tier: str, number: int, label: str) -> Pace:
        with self._lock:
            there = self._tiers.setdefault(tier, {})
            if number not in there:
                others = _Others(there, number)
                there[number] = Pace(self._clock, label, others)
            return there[number]

    def slow(self) -> set[int]:
        """The disks that are slow in any tier."""
        with self._lock:
            paces = [one for there in self._tiers.values() for one in there.items()]
        return {number for number, pace in paces if pace.is_slow}

    def forget(self, number: int) -> None:
        """A disk that is none any more."""
        with self._lock:
            for there in self._tiers.values():
                there.pop(number, None)


class _Others:
    """The paces of a tier but for one."""

    def __init__(self, there: dict[int, Pace], number: int) -> None:
        self._there = there
        self._number = number

    def __call__(self) -> Sequence[Pace]:
        return [pace for one, pace in self._there.copy().items() if one != self._number]


class Syncs:
    """How long the slots of one container take to be synced."""

    def __init__(self) -> None:
        self._late: dict[int, deque[bool]] = {}

    def late(self, seconds: Mapping[int, float]) -> list[int]:
        """Given what each slot took this time: those that took much longer than the others do (by
        their median), `LATE_MAX` times of the last `SYNCS`."""
        for slot, took in seconds.items():
            others = sorted(one for other, one in seconds.items() if other != slot)
            limit = SYNC_TIMES * others[(len(others) - 1) // 2] if others else took
            is_late = took > max(SYNC_SECONDS_MIN, limit)
            self._late.setdefault(slot, deque(maxlen=SYNCS)).append(is_late)
        return [slot for slot in seconds if sum(self._late[slot]) >= LATE_MAX]


class PacedFile:
    """A slot (`dc.ports.File`) that can also be read without waiting for it: `read_soon`."""

    def __init__(self, file: File, pace: Pace) -> None:
        self._file = file
        self._pace = pace
        self._elsewhere: bool = getattr(file, "is_elsewhere", False)
        self.sync_seconds = 0.0
        """What the last sync took."""

    def read_soon(self, length: int, offset: int) -> bytes | None:
        """None when the disk is slow. OSError."""
        return self._pace.read(self._file.read, length, offset, self._elsewhere)

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        self._file.writev(buffers, offset)

    def sync(self) -> None:
        began = self._pace.clock.monotonic()
        self._file.sync()
        self.sync_seconds = self._pace.clock.monotonic() - began

    def read(self, length: int, offset: int) -> bytes:
        return self._file.read(length, offset)

    def read_cached(self, length: int, offset: int) -> bytes | None:
        return self._file.read_cached(length, offset)

    def size(self) -> int:
        return self._file.size()

    def close(self) -> None:
        self._file.close()
