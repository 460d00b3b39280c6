"""A lane: one open container and the queue in front of it.

Records that arrive while the previous group is being written are gathered into the next one. A
group is one append and, when one of its records asks for it, one sync, both in one hop to a disk
thread. The futures of a group are resolved together when the hop is over. One task works the
queue; it starts with the first record and ends when the queue is empty, so an idle lane costs
nothing, and what becomes ready in one turn of the event loop shares a group.

Records of a body that is still streaming in need not be durable when they are written. To keep the
last sync short, a sync is started beside the appends each time `SYNC_EACH_BYTES` have been
written. Groups are written in order, and a sync covers everything before it.

When an append or sync fails, every record of the group gets the error, the container is given up
(`dc/objects/container.py`) and the next group begins a new one. So a full disk heals by itself.
Records of earlier groups of a given-up container that were not synced are lost too: their writer
finds out by `Appended.durable`.
"""

import asyncio
import errno
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dc.names.model import Extent
from dc.objects.api import ObjectsError, OutOfSpace
from dc.objects.budget import ByteBudget
from dc.objects.container import Append, ContainerDisk, ContainerIds, OpenContainer
from dc.objects.format import IDENT_MAX_BYTES, RECORD_HEADER_BYTES, table_bytes
from dc.objects.usage import Usage
from dc.ports import Buffer
from dc.worker import spawn

GROUP_MAX_BYTES = 4 << 20
"""The most in one append: longer groups would only make their first record wait."""

QUEUE_MAX_BYTES = 32 << 20
"""Queued and under way in one lane; beyond it, callers wait: memory is bounded."""

RECORD_COST_BYTES = 512
"""What a queued record takes beside its bytes, so that many tiny ones are bounded as well."""

SYNC_EACH_BYTES = 16 << 20
"""Unsynced bytes at which a sync is started beside the appends."""


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


class Appended:
    """A record that was written."""

    __slots__ = ("_container", "extent")

    def __init__(self, extent: Extent, container: OpenContainer) -> None:
        self.extent = extent
        self._container = container

    def check_durable(self) -> None:
        """Raises what made it impossible to sync the record."""
        if self.extent.offset + self.extent.length > self._container.durable_end:
            raise _translate(self._container.error)


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


class Lane:
    """See the head of the file."""

    def __init__(self, name: str, shared: Shared) -> None:
        self.writers = 0
        """Bodies that stream into this lane."""
        self._name = name
        self._shared = shared
        self._budget = ByteBudget(QUEUE_MAX_BYTES)
        self._queue: deque[_Entry] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._container: OpenContainer | None = None
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
        size = sum(
            RECORD_HEADER_BYTES + len(entry.ident) + table_bytes(entry.length) + entry.length
            for entry in group
        )
        counters = self._shared.counters
        try:
            container = await self._ready(size, durable)
            extents = await self._shared.disk.run(lambda: _append(container, group, durable))
        except asyncio.CancelledError:
            # The loop is being torn down; a thread may still be at it, so nothing is closed.
            self._container = None
            _fail(group, ObjectsError("the object store was stopped"))
            raise
        except Exception as error:
            # Those who wait raise it.
            _fail(group, error)
            await self._give_up(error)
        else:
            counters.appends += len(group)
            counters.syncs += durable
            counters.bytes_on_disk += size
            for entry, extent in zip(group, extents, strict=True):
                if not entry.future.done():
                    entry.future.set_result(Appended(extent, container))
            self._sync_beside(container)
        finally:
            self._budget.give(sum(entry.cost for entry in group))

    async def _ready(self, size: int, durable: bool) -> OpenContainer:
        """A container with room for `size` bytes, and no sync under way if the group is to be
        synced: an error is reported to one of two syncs only. Raises OSError."""
        if durable:
            await self._settle()
        container = self._container
        if (
            container is not None
            and container.error is None
            and not container.worn
            and container.end + size <= self._shared.container_max_bytes
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
        removed = await self._shared.disk.run(lambda: _seal(container))
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


def _seal(container: OpenContainer) -> bool:
    """In a disk thread: the end of a container. Returns whether it was removed."""
    if container.error is None and container.end > container.durable_end:
        try:
            container.sync()
        except OSError:
            # Kept in the container: writers with bytes in it ask before they acknowledge.
            pass
    return container.close()


def _fail(entries: Iterable[_Entry], error: BaseException) -> None:
    for entry in entries:
        if not entry.future.done():
            entry.future.set_exception(_translate(error))


def _translate(error: BaseException | None) -> ObjectsError:
    """A new exception for each who waits."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        translated: ObjectsError = OutOfSpace(f"the disk is full: {error}")
    else:
        translated = ObjectsError(f"the write failed: {type(error).__name__}: {error}")
    translated.__cause__ = error
    return translated
