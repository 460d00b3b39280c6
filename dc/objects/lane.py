"""A lane: one open container and the queue in front of it.

Records that arrive while the previous group is being written are gathered into the next one. A
group is one append and, when one of its records asks for it, one sync, both in one hop to a disk
thread. The futures of a group are resolved together when the hop is over. One task works the
queue; it starts with the first record and ends when the queue is empty, so an idle lane costs
nothing, and what becomes ready in one turn of the event loop shares a group.

Records of a body that is still streaming in need not be durable when they are written. To keep the
last sync short, a sync is started beside the appends each time `SYNC_EACH_BYTES` have been
written. Groups are written in order, and a sync covers everything before it.

When an append or sync fails, the container is given up (`dc/objects/container.py`). With several
disks, and as long as enough of them have not failed for another container, the group is written
again there, and nobody hears of it; `TRIES_MAX` times in all. Records of earlier groups that were
not synced are in nobody's memory any more: they are read back from the slots that are left, and go
before the group (`_Loose`). So they get all of their fragments, rather than being durable in as
few slots as were left.

Otherwise every record of the group gets the error, and the next group begins a new container. So a
full disk heals by itself. Earlier records that were not synced are lost then: their writer finds
out by `Appended.check_durable`.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from dc.names.model import Extent
from dc.objects.api import ObjectsError, OutOfSpace, TooFewDisks
from dc.objects.budget import ByteBudget
from dc.objects.container import Append, ContainerDisk, ContainerIds, OpenContainer
from dc.objects.format import IDENT_MAX_BYTES, RECORD_HEADER_BYTES, table_bytes
from dc.objects.usage import Usage
from dc.ports import Buffer
from dc.worker import spawn

log = structlog.get_logger("objects")

GROUP_MAX_BYTES = 4 << 20
"""The most in one append: longer groups would only make their first record wait."""

QUEUE_MAX_BYTES = 32 << 20
"""Queued and under way in one lane; beyond it, callers wait: memory is bounded."""

RECORD_COST_BYTES = 512
"""What a queued record takes beside its bytes, so that many tiny ones are bounded as well."""

SYNC_EACH_BYTES = 16 << 20
"""Unsynced bytes at which a sync is started beside the appends."""

LOOSE_MAX_BYTES = 4 * SYNC_EACH_BYTES
"""Unsynced bytes at which the sync is waited for: what may have to be read back is bounded."""

TRIES_MAX = 3
"""Containers that a group is written to at most: disks that fail together are found by the first
attempt, mostly, and by the beginning of the second."""


@dataclass
class Counters:
    """For the status page. Changed on the event loop only."""

    containers: int = 0
    bytes_on_disk: int = 0
    appends: int = 0
    syncs: int = 0


@dataclass(frozen=True)
class Shared:
    """What all lanes of a store have in common."""

    disk: ContainerDisk
    folder: Path
    ids: ContainerIds
    container_max_bytes: int
    counters: Counters
    usage: Usage
    elsewhere: Callable[[], bool] = lambda: False
    """Whether enough disks that have not failed are left for another container."""


class Appended:
    """A record that was written."""

    __slots__ = ("_container", "extent")

    def __init__(self, extent: Extent, container: OpenContainer) -> None:
        self.extent = extent
        self._container = container

    @property
    def is_durable(self) -> bool:
        return self.extent.offset + self.extent.length <= self._container.durable_end

    def check_durable(self) -> None:
        """Raises what made it impossible to sync the record."""
        if not self.is_durable:
            raise _translate(self._container.error)

    def moved(self, extent: Extent, container: OpenContainer) -> None:
        """It was written again."""
        self.extent, self._container = extent, container


class _Entry(Append):
    """A queued record: who waits for it, and for what."""

    __slots__ = ("cost", "durable", "future")

    def __init__(
        self,
        ident: bytes,
        buffers: Sequence[Buffer],
        length: int,
        position: int,
        flags: int,
        durable: bool,
        future: "asyncio.Future[Appended]",
    ) -> None:
        self.ident = ident
        self.buffers = buffers
        self.length = length
        self.position = position
        self.flags = flags
        self.durable = durable
        self.future = future
        self.cost = length + len(ident) + RECORD_COST_BYTES


class _Loose:
    """A record that was written, and is not durable: what it takes to write it again."""

    __slots__ = ("appended", "flags", "ident", "position")

    def __init__(self, appended: Appended, record: Append) -> None:
        self.appended = appended
        self.ident = record.ident
        self.position = record.position
        self.flags = record.flags


class _Saved(Append):
    """Such a record, read back."""

    __slots__ = ("appended",)

    def __init__(self, loose: _Loose, data: bytes) -> None:
        super().__init__(loose.ident, (data,), len(data), loose.position, loose.flags)
        self.appended = loose.appended


class Lane:
    """See the head of the file."""

    def __init__(self, name: str, shared: Shared) -> None:
        self.writers = 0
        """Bodies that stream into this lane, or are moved by it."""
        self._name = name
        self._shared = shared
        self._budget = ByteBudget(QUEUE_MAX_BYTES)
        self._queue: deque[_Entry] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._container: OpenContainer | None = None
        self._loose: list[_Loose] = []
        """Records in the container that are not durable."""
        self._saved: list[_Saved] = []
        """Records of containers that were given up, to be written with the next group."""
        self._syncing: asyncio.Task[None] | None = None
        self._sealing = False
        self._closed = False

    async def append(
        self,
        ident: bytes,
        buffers: Sequence[Buffer],
        length: int,
        position: int,
        flags: int,
        durable: bool,
    ) -> "asyncio.Future[Appended]":
        """Queue a record, after waiting for room. The future is resolved when the record is
        written, and synced if `durable`; cancelling it harms nobody else. Raises ObjectsError."""
        if len(ident) > IDENT_MAX_BYTES:
            raise ValueError(f"an ident of {len(ident)} bytes; at most {IDENT_MAX_BYTES}")
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        entry = _Entry(ident, buffers, length, position, flags, durable, future)
        if not self._budget.try_take(entry.cost):
            await self._budget.take(entry.cost)
        if self._closed:
            self._budget.give(entry.cost)
            raise ObjectsError("the object store is closed")
        self._queue.append(entry)
        if self._pump is None:
            self._pump = spawn(self._work(), f"objects {self._name}")
        return future

    def leave(self) -> None:
        """A body has ended."""
        self.writers -= 1
        self._forget_saved()

    def _forget_saved(self) -> None:
        """What was read back is kept as long as somebody may wait for it."""
        if not self.writers:
            self._saved.clear()

    @property
    def open_container(self) -> tuple[int, int] | None:
        """The container that is written to, and its length."""
        container = self._container
        return None if container is None else (container.id, container.end)

    async def seal(self) -> None:
        """Begin another container with the next group; seal this one, when what is under way is
        written."""
        self._sealing = True
        if self._pump is None:
            self._pump = spawn(self._work(), f"objects {self._name}")
        while self._sealing and (pump := self._pump) is not None:
            await asyncio.wait([pump])

    async def close(self) -> None:
        """Write what is queued, refuse what comes later, sync and close the container."""
        self._closed = True
        while (pump := self._pump) is not None:
            await asyncio.wait([pump])
        await self._settle()
        await self._retire()

    async def _work(self) -> None:
        """Write groups until the queue is empty."""
        try:
            while self._queue or self._sealing:
                if self._sealing:
                    await self._settle()
                    await self._retire()
                    self._forget_saved()
                    self._sealing = False
                if group := self._gather():
                    await self._write(group)
        finally:
            # Reached with a queue only when the loop is being torn down.
            self._pump = None
            _fail(self._queue, ObjectsError("the object store was stopped"))
            self._budget.give(sum(entry.cost for entry in self._queue))
            self._queue.clear()

    def _gather(self) -> list[_Entry]:
        """The next group: at least one record, without those that nobody waits for any more."""
        group: list[_Entry] = []
        size = 0
        queue = self._queue
        while queue and (size + queue[0].cost <= GROUP_MAX_BYTES or not group):
            entry = queue.popleft()
            if entry.future.done():
                self._budget.give(entry.cost)
                continue
            group.append(entry)
            size += entry.cost
        return group

    async def _write(self, group: list[_Entry]) -> None:
        """One group: write it, sync it if need be, and tell those who wait."""
        durable = any(entry.durable for entry in group)
        try:
            for tries_left in reversed(range(TRIES_MAX)):
                try:
                    return await self._write_once(group, durable)
                except Exception as error:
                    again = tries_left > 0 and self._shared.elsewhere()
                    if not again:
                        # Those who wait raise it.
                        _fail(group, error)
                    await self._give_up(error)
                    if not again:
                        return self._saved.clear()
                    log.warning("a group is written again", lane=self._name, error=str(error))
        except asyncio.CancelledError:
            # The loop is being torn down; a thread may still be at it, so nothing is closed.
            self._container = None
            _fail(group, ObjectsError("the object store was stopped"))
            raise
        finally:
            self._budget.give(sum(entry.cost for entry in group))

    async def _write_once(self, group: list[_Entry], durable: bool) -> None:
        """Raises OSError."""
        size = _size(group)
        container = await self._ready(size, durable)
        # Read back from containers that were given up, the last one just now perhaps.
        saved = self._saved.copy()
        records = [*saved, *group] if saved else group
        extents = await self._shared.disk.run(lambda: _append(container, records, durable))
        if saved:
            self._saved.clear()
            size += _size(saved)
        counters = self._shared.counters
        counters.appends += len(group)
        counters.syncs += durable
        counters.bytes_on_disk += size
        for one, extent in zip(saved, extents, strict=False):
            one.appended.moved(extent, container)
        made = [Appended(extent, container) for extent in extents[len(saved) :]]
        if durable:
            self._loose.clear()
        else:
            self._loose = [one for one in self._loose if not one.appended.is_durable]
            self._loose += [_Loose(one.appended, one) for one in saved]
            self._loose += [_Loose(*pair) for pair in zip(made, group, strict=True)]
        for entry, appended in zip(group, made, strict=True):
            if not entry.future.done():
                entry.future.set_result(appended)
        self._sync_beside(container)

    async def _ready(self, size: int, durable: bool) -> OpenContainer:
        """A container with room for `size` bytes, and no sync under way if the group is to be
        synced: an error is reported to one of two syncs only. Raises OSError."""
        container = self._container
        if durable or (container and container.end - container.durable_end >= LOOSE_MAX_BYTES):
            await self._settle()
        if (
            container is not None
            and container.error is None
            and not container.worn
            and container.end + size + _size(self._saved) <= self._shared.container_max_bytes
        ):
            return container
        await self._settle()
        await self._retire()
        shared = self._shared
        container = await shared.disk.run(
            lambda: OpenContainer.create(shared.disk, shared.folder, shared.ids)
        )
        self._container = container
        shared.counters.containers += 1
        shared.counters.bytes_on_disk += container.end
        return container

    async def _give_up(self, error: Exception) -> None:
        """Never write to this container again; there need not be one."""
        if self._container is not None:
            self._container.fail(error)
            await self._settle()
            await self._retire()

    async def _retire(self) -> None:
        """Sync and close the container; the next group opens another."""
        container, self._container = self._container, None
        if container is None:
            return
        loose, self._loose = self._loose, []
        elsewhere = self._shared.elsewhere
        removed, saved = await self._shared.disk.run(lambda: _seal(container, loose, elsewhere))
        self._saved += saved
        self._shared.usage.handed_out([container.id])
        self._shared.ids.unsealed.discard(container.id)
        if removed:
            self._shared.counters.containers -= 1
            self._shared.counters.bytes_on_disk -= container.end

    def _sync_beside(self, container: OpenContainer) -> None:
        """Start a sync when much has been written since the last one."""
        if self._syncing is None and container.end - container.durable_end >= SYNC_EACH_BYTES:
            self._syncing = spawn(self._sync(container), f"objects {self._name} sync")

    async def _sync(self, container: OpenContainer) -> None:
        try:
            await self._shared.disk.run(container.sync)
            self._shared.counters.syncs += 1
        except OSError as error:
            # Kept in the container, for everyone whose bytes are in it.
            container.fail(error)
        finally:
            self._syncing = None

    async def _settle(self) -> None:
        """Wait until no sync is under way."""
        while (syncing := self._syncing) is not None:
            await asyncio.wait([syncing])


def _append(container: OpenContainer, group: Sequence[Append], durable: bool) -> list[Extent]:
    """In a disk thread: a group."""
    extents = container.append(group)
    if durable:
        container.sync()
    return extents


def _seal(
    container: OpenContainer, loose: Sequence[_Loose], elsewhere: Callable[[], bool]
) -> tuple[bool, list[_Saved]]:
    """In a disk thread: the end of a container. Returns whether it was removed, and the records
    that did not become durable, if they can be elsewhere."""
    if container.error is None and container.end > container.durable_end:
        try:
            container.sync()
        except OSError:
            # Kept in the container: writers with bytes in it ask before they acknowledge.
            pass
    saved = []
    left = [one for one in loose if not one.appended.is_durable]
    if left and container.error is not None and elsewhere():
        try:
            found = container.read_back([one.appended.extent for one in left])
            saved = [_Saved(*pair) for pair in zip(left, found, strict=True)]
        except OSError as error:
            log.warning("records cannot be read back", error=str(error))
    return container.close(), saved


def _size(records: Iterable[Append]) -> int:
    """What records take in a container."""
    return sum(
        RECORD_HEADER_BYTES + len(one.ident) + table_bytes(one.length) + one.length
        for one in records
    )


def _fail(entries: Iterable[_Entry], error: BaseException) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(_translate(error))


def _translate(error: BaseException | None) -> ObjectsError:
    """A new exception for each who waits."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        translated: ObjectsError = OutOfSpace(f"the disk is full: {error}")
    elif isinstance(error, OSError) and error.errno == errno.ENODEV:
        translated = TooFewDisks(f"{error}")
    else:
        translated = ObjectsError(f"the write failed: {type(error).__name__}: {error}")
    translated.__cause__ = error
    return translated
