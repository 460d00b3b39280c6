"""Containers on several disks under power cuts, all of them at once: what is written and repaired
there, and what must be there afterwards though as many disks are lost as may be.

Told by a state and what was acknowledged:

- every acknowledged body is there, byte for byte, without any of the disks that may be lost;
- so it is again when all has been repaired and other disks are lost then;
- the store opens, and takes a new body.
"""

import asyncio
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from crash_containers import CONTAINER_BYTES, Stored, Workload, small_frames
from crash_kit import FixedClock, SeededRandomness, SlowDisk, noise, recorded, scratch
from crash_os import DropSync, InlineDisk
from crash_states import State
from crash_trace import Image, Trace, lay_out

from dc.objects.api import ObjectsError
from dc.objects.coded_disks import CodedDisks
from dc.objects.disk_place import local_places
from dc.objects.marks import MARK, mark_of
from dc.objects.mending import Mender
from dc.objects.redundancy import parse_mode
from dc.objects.settings import UNBOUNDED
from dc.objects.store import ContainerStore
from dc.ports import Disk

MODE = parse_mode("2+1")
NAMES = ("disk0", "disk1", "disk2", "disk3")
REPAIRED = "all is repaired"
"""Acknowledged when no slot is missing any more."""
REPAIR_EACH = 16
"""Everything is repaired on each n-th state."""


def in_turn(work: Sequence[Callable[[], None]]) -> list[OSError | None]:
    """So that a trace is the same each time."""
    errors: list[OSError | None] = []
    for one in work:
        try:
            one()
            errors.append(None)
        except OSError as error:
            errors.append(error)
    return errors


def disks_on(root: Path, disk: Disk) -> CodedDisks:
    places = local_places(disk, [root / name for name in NAMES])
    return CodedDisks(disk, places, "dc", MODE, clock=FixedClock(), side=in_turn)


def store_on(root: Path, disk: Disk, seed: str) -> ContainerStore:
    return ContainerStore(
        root,
        disk=disks_on(root, disk),
        clock=FixedClock(),
        randomness=SeededRandomness(seed),
        container_max_bytes=CONTAINER_BYTES,
    )


def empty() -> Image:
    marks = {f"{name}/{MARK}": mark_of("dc") for name in NAMES}
    return {**dict.fromkeys(NAMES), **marks}


def record_coded(
    trace: Trace, seed: int = 0, rounds: int = 2, drop: DropSync = lambda path, number: False
) -> Trace:
    with (
        small_frames(),
        recorded(trace, drop) as root,
        mock.patch("crash_containers.open_store", store_on),
    ):
        asyncio.run(Workload(trace, seed, rounds).run(root, SlowDisk()))
    return trace


def record_repair(first: Trace, lost: str, drop: DropSync = lambda path, number: False) -> Trace:
    """An empty disk has come in the place of a lost one."""
    image = {
        path: content
        for path, content in first.view().items()
        if not path.startswith(f"{lost}/containers/")
    }
    trace = Trace(image)
    for ack in first.acks:
        trace.ack(ack.fact)
    with recorded(trace, drop) as root:
        asyncio.run(mend(root, InlineDisk()))
        trace.ack(REPAIRED)
    return trace


async def mend(root: Path, disk: Disk) -> None:
    disks = disks_on(root, disk)
    disks.make_dirs(root)
    mender = Mender(disks, FixedClock(), lambda _: None, UNBOUNDED)
    while not await mender.step():
        pass


class CodedOracle:
    """See the head of the file."""

    def __init__(self, may_be_lost: int = MODE.m) -> None:
        self.repaired = 0
        self._may_be_lost = may_be_lost
        """Before all is repaired."""
        self._states = 0

    def problems(self, state: State, acked: Sequence[object]) -> list[str]:
        self._states += 1
        count = MODE.m if REPAIRED in acked else self._may_be_lost
        choices = list(itertools.combinations(NAMES, count))
        gone = choices[self._states % len(choices)]
        stored = [fact for fact in acked if isinstance(fact, Stored)]
        with self._without(state.image, gone) as root:
            problems = asyncio.run(self._look(root, stored))
            if self._states % REPAIR_EACH == 0:
                self.repaired += 1
                asyncio.run(mend(root, InlineDisk()))
                others = [name for name in NAMES if name not in gone]
                for name in others[: MODE.m]:
                    shutil.rmtree(root / name)
                problems += [
                    f"repaired, without {others[: MODE.m]}: {problem}"
                    for problem in asyncio.run(self._look(root, stored, writes=False))
                ]
        return [f"without {gone}: {problem}" for problem in problems]

    @contextmanager
    def _without(self, image: Image, gone: Sequence[str]) -> Iterator[Path]:
        left = {
            path: content for path, content in image.items() if path.partition("/")[0] not in gone
        }
        with scratch() as root:
            lay_out(left, root)
            yield root

    async def _look(self, root: Path, stored: Sequence[Stored], writes: bool = True) -> list[str]:
        problems = []
        store = store_on(root, InlineDisk(), f"again {self._states}")
        try:
            await store.open()
            for ident, extents, data in stored:
                try:
                    read = [bytes(one) async for one in store.read(extents, 0, len(data))]
                    if b"".join(read) != data:
                        problems.append(f"{ident!r}: wrong bytes")
                except ObjectsError as error:
                    problems.append(f"{ident!r} is lost: {error}")
            if writes:
                await store.put(b"again", noise(2000, 7))
        except (OSError, ObjectsError) as error:
            problems.append(f"the store cannot be used again: {error}")
        finally:
            await store.close()
        return problems
