"""A container on several disks as one file.

`CodedFile` is a `dc.ports.File`: what is written to it is coded and goes to all slots, and what is
read comes from the data fragments that hold it, by one short read in most cases. A slot that is
missing or cannot be read is decoded around. That what is read is what was written is checked by
who reads, as ever (`dc/objects/format.py`); if it is not, `reread` finds out which fragment is
wrong by its CRC, and decodes without it.

A slot whose disk fails while it is written to is written to no more. What was written before, and
what is written after, is durable as long as `Mode.slots_min` slots are left; the file is `worn`
then, and the next container is begun on other disks. Fragments that are missing are made anew by
a repair.

Where the stripes are is kept in memory while a file is open: a few numbers for each. It is read
from the heads of the stripes, those of a file that somebody else writes when they are needed.
"""

import contextlib
import errno
import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, Protocol

from dc.objects.format import HEADER_BYTES
from dc.objects.heads import Heads, Seen, hidden, look
from dc.objects.pace import PacedFile, Syncs
from dc.objects.redundancy import LIBRARY_HEADER_BYTES, Coder
from dc.objects.stripes import (
    HEAD_BYTES,
    STRIPE_BYTES_MAX,
    Stripe,
    decode_head,
    encode_head,
    fragment_crc,
    slot_seed,
)
from dc.ports import Buffer, File

Read = Callable[[int, int], bytes | None]


class Side(Protocol):
    """Does blocking work on several disks at once."""

    def __call__(self, work: Sequence[Callable[[], None]], /) -> list[OSError | None]:
        """Call all of `work`, and give the error of each."""
        ...


class Renewed(NamedTuple):
    """Heads and fragments by slot; whether the stripe is lost; how many fragments were read."""

    made: dict[int, tuple[bytes, bytes]]
    lost: bool
    read: int


class CodedFile:
    """See the head of the file. `slots` are the files by the number of the slot, None where there
    is none, `others` more files of slots, to be read where those will not do; `failed` is told of
    a slot that cannot be written, `closed` of the end; `leave` says whether a slot that is much
    slower than the others can be left for other disks. One thread writes, and one may sync beside
    it; any may read."""

    def __init__(
        self,
        coder: Coder,
        container: int,
        slots: Sequence[File | None],
        side: Side,
        failed: Callable[[int, OSError], None],
        closed: Callable[[], None] = lambda: None,
        others: Sequence[tuple[int, File]] = (),
        leave: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self._coder = coder
        self._container = container
        self._slots = list(slots)
        self._sources = [(slot, file) for slot, file in enumerate(slots) if file is not None]
        self._sources += others
        self._soon = [None if file is None else _soon(file) for file in slots]
        self._side = side
        self._on_failure = failed
        self._on_close = closed
        self._leave = leave
        self._syncs = Syncs()
        self._seeds = [slot_seed(container, slot) for slot in range(coder.mode.slots)]
        self._failed = {slot for slot, file in enumerate(slots) if file is None}
        self._error = OSError(errno.EIO, "too few slots can be written")
        self._starts = array("Q")
        self._offsets = array("Q")
        self._fragments = array("Q")
        self._end = 0
        """Of the stream, as far as its stripes are known."""
        self._next = HEADER_BYTES
        """Where the next stripe stands in the slots."""
        self._lock = threading.Lock()
        self.worn = False
        """Whether some slot has failed since the file was opened, or is much slower than others."""
        self.unsure = False
        """Whether it was not to be told, at the last look, where the stripes end."""

    @property
    def descriptors(self) -> int:
        """How many files are open."""
        return len(self._sources)

    # -- writing ----------------------------------------------------------------------------------

    def writev(self, buffers: Sequence[Buffer], offset: int) -> None:
        """Append: `offset` is the end."""
        assert offset == self._end, "a container is written from beginning to end"
        data = b"".join(buffers)
        pieces: list[list[Buffer]] = [[] for _ in self._slots]
        stripes = []
        at, start = self._next, offset
        for place in range(0, len(data), STRIPE_BYTES_MAX):
            piece = data[place : place + STRIPE_BYTES_MAX]
            fragments = self._coder.encode(piece)
            stripe = Stripe(start, len(piece), at, len(fragments[0]))
            for slot, fragment in enumerate(fragments):
                pieces[slot] += (encode_head(stripe, slot, self._seeds[slot], fragment), fragment)
            stripes.append(stripe)
            at, start = stripe.end, start + len(piece)
        self._on_all(lambda file, slot: file.writev(pieces[slot], self._next))
        with self._lock:
            for stripe in stripes:
                self._add(stripe)

    def sync(self) -> None:
        self._on_all(lambda file, _: file.sync())
        if not self.worn:
            seconds = {
                slot: file.sync_seconds
                for slot, file in enumerate(self._slots)
                if isinstance(file, PacedFile) and slot not in self._failed
            }
            for slot in self._syncs.late(seconds):
                if self._leave(slot):
                    # All of it is durable: only what comes next goes elsewhere.
                    self.worn = True

    def settle(self) -> None:
        """What was written arrives in all slots that are left, which may be too few to count as
        written: so that it can be read. A disk of a node answers no write before a sync."""
        with contextlib.suppress(OSError):
            self.sync()

    def _on_all(self, work: Callable[[File, int], None]) -> None:
        """Do something to all slots that have not failed. Raises OSError when too few are left."""
        slots = [slot for slot in range(len(self._slots)) if slot not in self._failed]

        def one(slot: int) -> Callable[[], None]:
            file = self._slots[slot]
            assert file is not None
            return lambda: work(file, slot)

        errors = self._side([one(slot) for slot in slots])
        failed = {slot: error for slot, error in zip(slots, errors, strict=True) if error}
        for slot, error in failed.items():
            self._error = error
            self._failed.add(slot)
            self.worn = True
            self._on_failure(slot, error)
        # Those that failed another thread count as well: they were left out here.
        if len(self._slots) - len(self._failed) < self._coder.mode.slots_min:
            full = self._error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise OSError(self._error.errno if full else errno.ENODEV, self._error.strerror)

    # -- reading ----------------------------------------------------------------------------------

    def read(self, length: int, offset: int) -> bytes:
        return self._read(length, offset, self._direct)

    def reread(self, length: int, offset: int) -> bytes:
        """The same, of fragments that are what was written only. OSError when there are too few."""
        return self._read(length, offset, self._decoded)

    def read_cached(self, length: int, offset: int) -> bytes | None:
        if offset + length > self._end:
            return None
        # Another thread may be looking for stripes, which waits for the disk.
        if not self._lock.acquire(blocking=False):
            return None
        try:
            parts = self._parts(length, offset)
        finally:
            self._lock.release()
        pieces = []
        for stripe, low, high in parts:
            for slot, first, last in self._spans(stripe, low, high):
                file = self._slots[slot]
                if file is None:
                    return None
                piece = file.read_cached(last - first, _place(stripe, first))
                if piece is None:
                    return None
                pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self) -> int:
        with self._lock:
            self._look()
            return self._end

    def close(self) -> None:
        """Raises the last error of a slot, when all is closed."""
        failed = None
        for _, file in self._sources:
            try:
                file.close()
            except OSError as error:
                failed = error
        self._on_close()
        if failed is not None:
            raise failed

    def _read(self, length: int, offset: int, part: Callable[[Stripe, int, int], bytes]) -> bytes:
        if offset + length > self._end:
            with self._lock:
                self._look()
        length = min(length, self._end - offset)
        if length <= 0:
            return b""
        with self._lock:
            parts = self._parts(length, offset)
        pieces = [part(stripe, low, high) for stripe, low, high in parts]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _parts(self, length: int, offset: int) -> list[tuple[Stripe, int, int]]:
        """Which bytes [low, high) of which stripes make up these of the stream. With the lock."""
        found = []
        number = bisect_right(self._starts, offset) - 1
        stop = offset + length
        while offset < stop:
            stripe = self._stripe(number)
            low = offset - stripe.start
            high = min(stop - stripe.start, stripe.length)
            found.append((stripe, low, high))
            offset, number = stripe.start + high, number + 1
        return found

    def _spans(self, stripe: Stripe, low: int, high: int) -> list[tuple[int, int, int]]:
        """Which bytes [first, last) of which data fragments are these of the stripe."""
        size = stripe.fragment - LIBRARY_HEADER_BYTES
        spans = []
        for slot in range(low // size, (high - 1) // size + 1):
            first, last = max(low - slot * size, 0), min(high - slot * size, size)
            spans.append((slot, first, last))
        return spans

    def _direct(self, stripe: Stripe, low: int, high: int) -> bytes:
        pieces = []
        for slot, first, last in self._spans(stripe, low, high):
            read = self._soon[slot]
            if read is None:
                return self._decoded(stripe, low, high)
            try:
                piece = read(last - first, _place(stripe, first))
            except OSError:
                return self._decoded(stripe, low, high)
            if piece is None or len(piece) != last - first:
                return self._decoded(stripe, low, high)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _decoded(self, stripe: Stripe, low: int, high: int) -> bytes:
        good = self.good(stripe)
        if len(good) < self._coder.mode.k:
            raise OSError(
                errno.EIO,
                f"container {self._container:016x}: of the stripe at {stripe.offset} only "
                f"{len(good)} of the {self._coder.mode.k} fragments are left that it takes",
            )
        return self._coder.decode(good, stripe.length)[low:high]

    def good(self, stripe: Stripe, at_once: bool = False) -> dict[int, bytes]:
        """Fragments that are what was written, by slot: as many as it takes, or all there are.
        Disks that are slow are waited for only when the others will not do, and those that fail are
        tried once more then. `at_once`: they are read beside each other, which is worth it where
        they come from the disks."""
        found: dict[int, bytes] = {}
        late: list[tuple[int, File]] = []
        length, offset = HEAD_BYTES + stripe.fragment, stripe.offset
        first = [_soon(file) for _, file in self._sources[: self._coder.mode.k]]
        begun = self._at_once(first, length, offset) if at_once else []
        for number, (slot, file) in enumerate(self._sources):
            if slot in found:
                continue
            raw = begun[number] if number < len(begun) else _tried(_soon(file), length, offset)
            if raw is None:
                late.append((slot, file))
            elif (fragment := self._good(raw, stripe, slot)) is not None:
                found[slot] = fragment
            if len(found) == self._coder.mode.k:
                return found
        for slot, file in late:
            if slot not in found and (fragment := self._checked(file, stripe, slot)) is not None:
                found[slot] = fragment
            if len(found) == self._coder.mode.k:
                break
        return found

    def _checked(self, file: File, stripe: Stripe, slot: int) -> bytes | None:
        raw = _tried(file.read, HEAD_BYTES + stripe.fragment, stripe.offset)
        return None if raw is None else self._good(raw, stripe, slot)

    def _good(self, raw: bytes, stripe: Stripe, slot: int) -> bytes | None:
        """The fragment in what was read, if it is what was written."""
        seed = self._seeds[slot]
        head, fragment = decode_head(raw, slot, seed, stripe.offset), raw[HEAD_BYTES:]
        if head is None or head.stripe != stripe or len(fragment) != stripe.fragment:
            return None
        return fragment if fragment_crc(fragment, seed, stripe.offset) == head.crc else None

    # -- for scrub and repair ---------------------------------------------------------------------

    def stripes(self) -> Iterator[Stripe]:
        """All that as many slots have as it takes to decode one, in order: fewer have one that was
        never acknowledged. At the end it is known whether that is `unsure`."""
        heads, number = self._heads(), 0
        while True:
            with self._lock:
                if number == len(self._starts):
                    found = self._found(heads, self._coder.mode.k)
                    if found is None:
                        return
                    self._add(found)
                stripe = self._stripe(number)
            number += 1
            yield stripe

    def _at_once(self, reads: Sequence[Read], length: int, offset: int) -> list[bytes | None]:
        """As `_tried`, of each."""
        found: list[bytes | None] = [None] * len(reads)

        def work(number: int) -> Callable[[], None]:
            def read() -> None:
                found[number] = _tried(reads[number], length, offset)

            return read

        self._side([work(number) for number in range(len(reads))])
        return found

    def fragments(self, stripe: Stripe) -> dict[int, bytes]:
        """Those that are what was written, by slot, of all slots: read beside each other."""
        there = [(slot, file) for slot, file in enumerate(self._slots) if file is not None]
        reads = [file.read for _, file in there]
        raws = self._at_once(reads, HEAD_BYTES + stripe.fragment, stripe.offset)
        found = {}
        for (slot, _), raw in zip(there, raws, strict=True):
            if raw is not None and (fragment := self._good(raw, stripe, slot)) is not None:
                found[slot] = fragment
        return found

    def fragment(self, stripe: Stripe, slot: int) -> bytes | None:
        """The fragment in a slot, None when it is not what was written."""
        file = self._slots[slot]
        return None if file is None else self._checked(file, stripe, slot)

    def headers(self) -> Iterator[tuple[int, bytes]]:
        """What each file that is there begins with, with its slot."""
        for slot, file in self._sources:
            with contextlib.suppress(OSError):
                yield slot, file.read(HEADER_BYTES, 0)

    def renewed(
        self, stripe: Stripe, slots: Collection[int], replaced: Collection[int]
    ) -> "Renewed":
        """Head and fragment for slots that are written anew: those that are what was written, or
        made of the others. Where there are too few of these, the place is kept, by what is there
        or else by a head whose fragment is wrong. Raises OSError when that cannot be read in a slot
        that is about to be `replaced`."""
        own = {slot: self.fragment(stripe, slot) for slot in slots}
        good = self.good(stripe, at_once=True) if None in own.values() else {}
        lost, made = False, {}
        for slot, fragment in own.items():
            fragment = fragment or good.get(slot)
            if fragment is None and len(good) == self._coder.mode.k:
                fragment = self._coder.rebuild(list(good.values()), slot)
            if fragment is not None:
                head = encode_head(stripe, slot, self._seeds[slot], fragment)
                made[slot] = head, fragment
            else:
                made[slot], lost = self._kept(stripe, slot, slot in replaced), True
        there = sum(fragment is not None for fragment in own.values())
        return Renewed(made, lost, there + len(good))

    def _kept(self, stripe: Stripe, slot: int, replaced: bool) -> tuple[bytes, bytes]:
        file, seed = self._slots[slot], self._seeds[slot]
        if replaced and file is not None:
            raw = file.read(HEAD_BYTES + stripe.fragment, stripe.offset)
            head = decode_head(raw, slot, seed, stripe.offset)
            if head is not None and head.stripe == stripe:
                return raw[:HEAD_BYTES], raw[HEAD_BYTES:]
        nothing = bytes(stripe.fragment)
        return encode_head(stripe, slot, seed, nothing, wrong=True), nothing

    def rest(self, slot: int) -> Iterator[tuple[int, bytes]]:
        """What a slot has behind the last stripe, with its place: what a power cut tore, or what
        cannot be made out at the moment. Raises OSError."""
        file, place = self._slots[slot], self._next
        while file is not None and (raw := file.read(STRIPE_BYTES_MAX, place)):
            yield place, raw
            place += len(raw)

    # -- where the stripes are --------------------------------------------------------------------

    def _add(self, stripe: Stripe) -> None:
        self._starts.append(stripe.start)
        self._offsets.append(stripe.offset)
        self._fragments.append(stripe.fragment)
        self._end, self._next = stripe.start + stripe.length, stripe.end

    def _stripe(self, number: int) -> Stripe:
        start = self._starts[number]
        last = number + 1 == len(self._starts)
        end = self._end if last else self._starts[number + 1]
        return Stripe(start, end - start, self._offsets[number], self._fragments[number])

    def _look(self) -> None:
        """Find the stripes that were written since the last look."""
        heads = self._heads()
        while (stripe := self._found(heads)) is not None:
            self._add(stripe)

    def _heads(self) -> list[Heads]:
        return [Heads(file, slot, self._seeds[slot]) for slot, file in self._sources]

    def _found(self, heads: Sequence[Heads], least: int = 1) -> Stripe | None:
        """The next stripe, if at least so many slots have it. All heads of a stripe say the same,
        so that one will do, unless it matters whether the stripe may have been acknowledged: it may
        if so many have one behind it, as writing went on then."""
        found = seen = self._seen(heads, self._next, self._end, least)
        while seen.stripe is not None and seen.slots < least and not seen.unsure:
            end = seen.stripe.start + seen.stripe.length
            seen = self._seen(heads, seen.stripe.end, end, least)
        if seen.slots >= least:
            return found.stripe
        self.unsure = seen.unsure
        return None

    def _seen(self, heads: Sequence[Heads], offset: int, start: int, least: int) -> Seen:
        seen = look(heads, offset, start, least, self._coder.mode.k)
        if seen.stripe is None and not seen.unsure:
            return seen._replace(stripe=hidden(heads, offset, start, self._coder))
        return seen


def _soon(file: File) -> Read:
    """How to read from a file that is not to be waited for: of one that is never slow, as ever."""
    found: Read = getattr(file, "read_soon", file.read)
    return found


def _tried(read: Read, length: int, offset: int) -> bytes | None:
    """What a read gives; None when it fails, or is late: it may do if it is tried again."""
    try:
        return read(length, offset)
    except OSError:
        return None


def _place(stripe: Stripe, first: int) -> int:
    """Where a byte of a fragment's data stands in the slot."""
    return stripe.offset + HEAD_BYTES + LIBRARY_HEADER_BYTES + first
