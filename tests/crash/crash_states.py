"""Every state that a power cut may leave on a disk.

The power may go after each operation of a trace. What was synced by then is there: what was
written to a file before its last sync, and the names in a directory before its last sync. All
other operations are *loose*: each write may have reached the disk, or not, or have been torn at a
sector; each name may have been made, changed or removed, or not; and all that independently.

At a cut with up to `LOOSE_MAX` loose operations every subset of them is looked at; with up to
`TORN_MAX` also each of these with each of its writes torn. Beyond that a sample is drawn from the
seed, which always has each prefix, and some in which one operation alone is lost or kept.

What comes out is counted (`Tally`), and equal states come once. Two kinds of states need not be
made, as they were before: those without the newest operation, and those of a cut after a sync,
unless something was acknowledged since. For the same reason the sample is large at the widest cut
of each row of loose operations, and small at those on the way to it.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from crash_trace import DATA, ENTRIES, Image, Op, Trace, apply_entry, folder_of, overlay, resize

SECTOR_BYTES = 512
LOOSE_MAX = 12
TORN_MAX = 6
SAMPLES = 48
"""States drawn at random at a cut that is too wide."""
SINGLES = 16
"""Operations that are lost alone, and kept alone, there."""
ON_THE_WAY = 2
"""States drawn at random at a cut that is on the way to a wider one."""

LOST, KEPT, HEAD, TAIL = 0, 1, 2, 3
"""Fates of a loose operation. HEAD and TAIL: the half of a write that is there."""


Named = tuple[str, int]
"""A path, and a hash of what is there."""

FOLDER_HASH = 0
CONTENTS_KEPT = 128
"""Contents of files that are kept while the states of a cut are made."""


@dataclass
class Tally:
    """What was looked at. `faced` are the choices of fates, `states` what differs of them."""

    cuts: int = 0
    complete: int = 0
    sampled: int = 0
    loose: Counter[int] = field(default_factory=Counter)
    faced: int = 0
    torn: int = 0
    states: int = 0
    acks: int = 0

    def add(self, other: "Tally") -> None:
        self.cuts += other.cuts
        self.complete += other.complete
        self.sampled += other.sampled
        self.loose.update(other.loose)
        self.faced += other.faced
        self.torn += other.torn
        self.states += other.states
        self.acks += other.acks

    def __str__(self) -> str:
        return (
            f"{self.states:,} states of {self.faced:,} ({self.torn:,} torn) at {self.cuts:,} cuts,"
            f" {self.complete:,} complete and {self.sampled:,} sampled,"
            f" up to {max(self.loose, default=0)} loose, {self.acks:,} acknowledged"
        )


@dataclass(frozen=True)
class State:
    """A disk after a power cut. `acks` is how many facts had been acknowledged."""

    image: Image
    cut: int
    acks: int
    key: tuple["Named", ...]
    fates: tuple[int, ...]
    loose: tuple[Op, ...]

    def __str__(self) -> str:
        told = zip(self.loose, self.fates, strict=True)
        fates = ("lost", "kept", "its head kept", "its tail kept")
        return f"cut after operation {self.cut}: " + "; ".join(
            f"{op} {fates[fate]}" for op, fate in told
        )


class PowerCuts:
    """Iterate over it for the states of a trace; `tally` counts them."""

    def __init__(
        self,
        trace: Trace,
        *,
        seed: int = 0,
        samples: int = SAMPLES,
        loose_max: int = LOOSE_MAX,
        torn_max: int = TORN_MAX,
        first_cut: int = 0,
    ) -> None:
        """`first_cut`: the power does not go before."""
        self.tally = Tally()
        self._trace = trace
        self._random = random.Random(seed)
        self._samples = samples
        self._loose_max = loose_max
        self._torn_max = torn_max
        self._first_cut = first_cut
        self._names = dict(trace.base_names)
        self._data = dict(trace.base_data)
        self._loose: list[Op] = []
        self._seen: dict[int, int] = {}
        """How much was acknowledged when a state, by its hash, was last looked at."""

    def __iter__(self) -> Iterator[State]:
        trace, tally = self._trace, self.tally
        before, acks, complete = -1, 0, False
        for cut in range(len(trace.ops) + 1):
            newest = trace.ops[cut - 1] if cut else None
            if newest is not None:
                self._happened(newest)
            while acks < len(trace.acks) and trace.acks[acks].after <= cut:
                acks += 1
            if cut < self._first_cut:
                continue
            told, before = acks != before, acks
            loose = self._loose
            tally.cuts += 1
            tally.loose[len(loose)] += 1
            known = complete and not told
            complete = len(loose) <= self._loose_max
            if complete:
                tally.complete += 1
                if known and newest is not None and newest.kind not in (*ENTRIES, *DATA):
                    continue
                fates = self._all_fates(only_newest=known)
            else:
                tally.sampled += 1
                last = cut == len(trace.ops) or trace.ops[cut].kind not in (*ENTRIES, *DATA)
                acknowledged = acks < len(trace.acks) and trace.acks[acks].after <= cut + 1
                fates = self._some_fates(widest=last or told or acknowledged)
            yield from self._states(cut, acks, fates)
        tally.acks = acks

    # -- what is durable ------------------------------------------------------------------------

    def _happened(self, op: Op) -> None:
        if op.kind == "sync":
            loose = [one for one in self._loose if one.inode == op.inode and one.kind in DATA]
            self._data[op.inode] = self._left(op.inode, loose, (KEPT,) * len(loose))
            self._loose = [one for one in self._loose if one not in loose]
        elif op.kind == "sync_dir":
            rest = []
            for one in self._loose:
                if one.kind in ENTRIES and folder_of(one.path) == op.path:
                    apply_entry(self._names, one)
                else:
                    rest.append(one)
            self._loose = rest
        else:
            if op.kind == "create":
                self._data[op.inode] = b""
            self._loose.append(op)

    # -- choices --------------------------------------------------------------------------------

    def _tearable(self) -> list[int]:
        return [at for at, op in enumerate(self._loose) if op.kind == "write" and _seam(op)]

    def _all_fates(self, only_newest: bool) -> Iterator[tuple[int, ...]]:
        count = len(self._loose)
        tearable = self._tearable()
        options: list[Sequence[int]] = [(LOST, KEPT)] * count
        if only_newest and count:
            options[-1] = (KEPT,)
        for fates in itertools.product(*options):
            yield fates
            if count <= self._torn_max:
                for at in tearable:
                    if fates[at]:
                        yield (*fates[:at], HEAD, *fates[at + 1 :])
                        yield (*fates[:at], TAIL, *fates[at + 1 :])
        if count > self._torn_max and tearable:
            yield from self._random_fates(tearable, self._samples)

    def _some_fates(self, widest: bool) -> Iterator[tuple[int, ...]]:
        count = len(self._loose)
        tearable = self._tearable()
        places = range(count) if widest else range(count - 1, count)
        for at in places:
            before, after = (KEPT,) * at, (LOST,) * (count - at - 1)
            yield (*before, LOST, *after)
            if at in tearable:
                yield (*before, HEAD, *after)
                yield (*before, TAIL, *after)
        yield (KEPT,) * count
        for at in self._random.sample(places, min(len(places), SINGLES)):
            yield (*(KEPT,) * at, LOST, *(KEPT,) * (count - at - 1))
            yield (*(LOST,) * at, KEPT, *(LOST,) * (count - at - 1))
        yield from self._random_fates(tearable, self._samples if widest else ON_THE_WAY)

    def _random_fates(self, tearable: Sequence[int], many: int) -> Iterator[tuple[int, ...]]:
        chance = self._random
        for _ in range(many):
            kept, torn = chance.choice((0.1, 0.5, 0.9)), chance.choice((0, 0.1, 0.5))
            fates = [int(chance.random() < kept) for _ in self._loose]
            for at in tearable:
                if fates[at] and chance.random() < torn:
                    fates[at] = chance.choice((HEAD, TAIL))
            yield tuple(fates)

    # -- states ---------------------------------------------------------------------------------

    def _states(self, cut: int, acks: int, choices: Iterator[tuple[int, ...]]) -> Iterator[State]:
        loose, tally = tuple(self._loose), self.tally
        entries = [at for at, op in enumerate(loose) if op.kind in ENTRIES]
        inodes: dict[int, list[int]] = {}
        for at, op in enumerate(loose):
            if op.kind in DATA:
                inodes.setdefault(op.inode, []).append(at)
        names: dict[tuple[int, ...], list[tuple[str, int]]] = {}
        contents: dict[tuple[int, tuple[int, ...]], bytes] = {}
        for fates in choices:
            tally.faced += 1
            tally.torn += max(fates, default=0) > KEPT
            chosen = tuple(fates[at] for at in entries)
            named = names.get(chosen)
            if named is None:
                named = names[chosen] = self._named([loose[at] for at in entries], chosen)
            image: Image = {}
            for path, inode in named:
                places = inodes.get(inode)
                if places is None:
                    image[path] = self._data.get(inode)
                    continue
                part = (inode, tuple(fates[at] for at in places))
                content = contents.get(part)
                if content is None:
                    if len(contents) >= CONTENTS_KEPT:
                        contents.clear()
                    ops = [loose[at] for at in places]
                    content = contents[part] = self._left(inode, ops, part[1])
                image[path] = content
            key = tuple(
                (path, FOLDER_HASH if content is None else hash(content))
                for path, content in image.items()
            )
            found = hash(key)
            known = self._seen.get(found)
            if known == acks:
                continue
            tally.states += known is None
            self._seen[found] = acks
            yield State(image, cut, acks, key, fates, loose)

    def _named(self, ops: Sequence[Op], fates: Sequence[int]) -> list[tuple[str, int]]:
        """The names that there are, without those in folders that are not."""
        names = dict(self._names)
        for op, fate in zip(ops, fates, strict=True):
            if fate:
                apply_entry(names, op)
        found: dict[str, int] = {}
        for path in sorted(names):
            folder = folder_of(path)
            if not folder or folder in found:
                found[path] = names[path]
        return list(found.items())

    def _left(self, inode: int, ops: Sequence[Op], fates: Sequence[int]) -> bytes:
        """What is left of a file. Its parts are put together in one go where they stand one after
        the other, as they mostly do: files are large and states are many."""
        base = self._data[inode]
        parts: list[bytes] = []
        end = 0
        for op, fate in zip(ops, fates, strict=True):
            if not fate:
                continue
            offset, data = _torn(op, fate)
            if op.kind == "truncate" or offset < end:
                return self._left_slowly(base, ops, fates)
            gap = bytes(max(0, offset - max(end, len(base))))
            parts += (base[end:offset], gap, data)
            end = offset + len(data)
        parts.append(base[end:])
        return b"".join(parts)

    def _left_slowly(self, base: bytes, ops: Sequence[Op], fates: Sequence[int]) -> bytes:
        content = bytearray(base)
        for op, fate in zip(ops, fates, strict=True):
            if fate and op.kind == "truncate":
                resize(content, op.offset)
            elif fate:
                overlay(content, *_torn(op, fate))
        return bytes(content)


def _torn(op: Op, fate: int) -> tuple[int, bytes]:
    """(offset, data) of what is left of a write."""
    if fate == KEPT:
        return op.offset, op.data
    seam = _seam(op)
    if fate == HEAD:
        return op.offset, op.data[:seam]
    return op.offset + seam, op.data[seam:]


def _seam(op: Op) -> int:
    """Where a write is torn: at the sector boundary nearest to its middle. 0 when it lies within
    one sector, which is written whole or not."""
    end = op.offset + len(op.data)
    first = (op.offset // SECTOR_BYTES + 1) * SECTOR_BYTES
    last = (end - 1) // SECTOR_BYTES * SECTOR_BYTES
    if first > last:
        return 0
    middle = (op.offset + end + SECTOR_BYTES) // (2 * SECTOR_BYTES) * SECTOR_BYTES
    return min(max(middle, first), last) - op.offset
