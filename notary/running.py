"""The hooks' works: each is told of what its position has not passed, and has a worker of its own.

A position is stored when a call has returned. A call that raises, or lasts longer than the hook
says, comes again after the worker's back-off. Who waits for a hook is nobody else: its calls run
apart (`hook_threads.py`), so that not even one that blocks keeps its worker from ending.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from sqlite3 import Connection
from typing import Any, TypeVar

import structlog

from dc.ports import Clock
from dc.worker import Worker, first_of
from notary import tables
from notary.certificate import TIMESTAMP_BYTES_MAX, timestamp_text
from notary.entries import Entry, read_entry
from notary.errors import HookFailed
from notary.hook_threads import Call, Calls
from notary.hooks import Hook
from notary.note import Checkpoint, log_key, signed_text
from notary.store import Store
from notary.tables import Log, Timestamp
from tokens.identity import Identity

T = TypeVar("T")
log = structlog.get_logger("notary")

BACKOFF_SECONDS_MAX = 60.0
RETRY_SECONDS_MAX = 3600.0
"""A hook's others are left alone for so long at most, whatever they say."""
CUT_SECONDS = 1.0
"""What a call that is cut off has to end in."""
CLOSE_SECONDS = 5.0
"""What a hook has for its end."""
UPGRADE_FAILURES_MAX = 3
"""Timestamps that fail to be upgraded, before the rest is left for another time."""
UPGRADES_MAX = 200
"""Timestamps that are not final that are tried again at once; then it is the next ones' turn."""
IDLE_SECONDS = 3600.0


class HookRunner:
    """Runs one hook."""

    def __init__(
        self, hook: Hook, calls: Calls, store: Store, identity: Identity, clock: Clock
    ) -> None:
        self.hook = hook
        self._calls = calls
        self._store = store
        self._identity = identity
        self._clock = clock
        self._origin = log_key(identity.public.signing_key).name
        self._something = asyncio.Event()
        self._stamped_at: float | None = None
        self._upgraded_at: float | None = None
        self._upgraded_to = 0
        """The last checkpoint whose timestamp had its turn: it goes on with the next ones."""
        self._failed: set[int] = set()
        """The checkpoints whose timestamps failed to be upgraded last."""
        self._not_before = 0.0
        self._call_made: Call | None = None
        self.position = (0, 0)
        """The entries that it was told of, and the size of the last checkpoint."""
        self.worker = Worker(f"notary hook {hook.name}", clock, self.step, BACKOFF_SECONDS_MAX)

    def tell(self) -> None:
        """There are new entries, or a new checkpoint."""
        self._something.set()

    async def stop(self) -> None:
        """End its work, then the hook itself; what that raises is in the log."""
        await self.worker.stop()
        seconds = min(self.hook.seconds, CLOSE_SECONDS)
        if (last := self._call_made) is not None:
            await asyncio.wait({last.over}, timeout=CUT_SECONDS)
            if not last.over.done():
                self._call_made, seconds = None, CUT_SECONDS
        try:
            await self._call(self.hook.close, seconds)
        except Exception as error:
            log.warning("a hook did not close", hook=self.hook.name, error=repr(error))
        finally:
            self._calls.end()

    async def _call(self, work: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
        """What a call gives, within the hook's seconds. HookFailed when it was cut off. Also what
        `work` does before it gives something to wait for is done where the hook's calls run."""
        if self._call_made is not None and not self._call_made.over.done():
            raise HookFailed("the call that was cut off is still not over")

        async def run() -> T:
            return await work()

        seconds = self.hook.seconds if seconds is None else seconds
        call = self._call_made = self._calls.begin(run())
        call.over.add_done_callback(_heard)
        is_late = True
        try:
            await asyncio.wait({call.over}, timeout=seconds)
            is_late = not call.over.done()
        finally:
            if is_late:
                call.cancel()
        if is_late:
            await asyncio.wait({call.over}, timeout=CUT_SECONDS)
            raise HookFailed(f"it was cut off after {seconds:g} seconds")
        if call.over.cancelled():
            raise HookFailed("it was cancelled by itself")
        try:
            result: T = call.over.result()
            return result
        except HookFailed as error:
            alone = min(error.retry_seconds, RETRY_SECONDS_MAX)
            self._not_before = self._clock.monotonic() + alone
            raise

    async def step(self) -> float:
        """Tell the hook what there is, or wait."""
        alone = self._not_before - self._clock.monotonic()
        if alone > 0:
            await self._clock.sleep(alone)
        self._something.clear()
        own, (entries, size) = await self._store.act(self._where)
        self.position = (entries, size)
        hook = self.hook
        if hook.entries_max and own.size > entries:
            stop = min(own.size, entries + hook.entries_max)
            page = await self._store.read(lambda db: self._entries(db, own, entries, stop))
            await self._call(lambda: hook.entries(entries, page))
            await self._move(stop, size)
            return 0
        if own.sealed > size and self._is_due(self._stamped_at, hook.checkpoint_seconds):
            await self._stamp(own, entries)
            return 0
        is_due = self._is_due(self._upgraded_at, hook.upgrade_seconds)
        if is_due or self._failed:
            await self._upgrade(own, None if is_due else set(self._failed))
        await first_of(self._something.wait(), self._clock.sleep(self._until_due(own, size)))
        return 0

    def _where(self, db: Connection) -> tuple[Log, tuple[int, int]]:
        """A hook that is new begins with what comes from now on."""
        own = tables.the_log(db, self._origin)
        position = hook_at(db, self.hook.name)
        if position is None:
            position = (own.size, own.sealed)
            set_hook(db, self.hook.name, *position)
        return own, position

    def _entries(self, db: Connection, own: Log, first: int, stop: int) -> list[Entry]:
        return [read_entry(data) for data in tables.page(db, own.number, first, stop)]

    async def _move(self, entries: int, size: int) -> None:
        await self._store.act(lambda db: set_hook(db, self.hook.name, entries, size))
        self.position = (entries, size)

    def _is_due(self, last: float | None, every: float | None) -> bool:
        if every is None:
            return False
        return last is None or self._clock.monotonic() >= last + every

    def _until_due(self, own: Log, size: int) -> float:
        now, hook, stamped = self._clock.monotonic(), self.hook, self._stamped_at
        waits = [IDLE_SECONDS]
        if hook.upgrade_seconds is not None and self._upgraded_at is not None:
            waits.append(self._upgraded_at + hook.upgrade_seconds - now)
        if own.sealed > size and hook.checkpoint_seconds is not None and stamped is not None:
            waits.append(stamped + hook.checkpoint_seconds - now)
        return max(0.0, min(waits))

    async def _stamp(self, own: Log, entries: int) -> None:
        checkpoint = await self._store.read(
            lambda db: tables.checkpoint_at(db, own.number, own.sealed)
        )
        assert checkpoint is not None
        data = await self._call(lambda: self.hook.checkpoint(checkpoint))
        self._stamped_at = self._clock.monotonic()
        if data:
            await self._keep(own, checkpoint, data)
        await self._move(entries, checkpoint.size)

    async def _upgrade(self, own: Log, only: set[int] | None) -> None:
        """Try those that are not final, the next `UPGRADES_MAX`, or those of some checkpoints; what
        failed is raised at last, so that it is tried again after the back-off, and holds up none
        of the others."""
        after = self._upgraded_to if only is None else min(only) - 1
        held = await self._store.read(
            lambda db: self._open(db, own, after) or self._open(db, own, 0)
        )
        if only is None:
            self._upgraded_at = self._clock.monotonic()
            self._upgraded_to = held[-1][0].size if len(held) == UPGRADES_MAX else 0
        self._failed.clear()
        failure: Exception | None = None
        for checkpoint, data in held:
            if len(self._failed) >= UPGRADE_FAILURES_MAX:
                if only is None:
                    self._upgraded_to = max(self._failed)
                break
            if only is not None and checkpoint.size not in only:
                continue
            try:
                await self._upgrade_one(own, checkpoint, data)
            except Exception as error:
                self._failed.add(checkpoint.size)
                failure = failure or error
        if failure is not None:
            raise failure

    def _open(self, db: Connection, own: Log, after: int) -> list[tuple[Checkpoint, bytes]]:
        return tables.open_timestamps(db, own.number, self.hook.name, after, UPGRADES_MAX)

    async def _upgrade_one(self, own: Log, checkpoint: Checkpoint, data: bytes) -> None:
        if not await self._is_final(data):
            better = await self._call(lambda: self.hook.upgrade(checkpoint, data))
            if not better:
                return
            await self._keep(own, checkpoint, better)
            data = better
        if await self._is_final(data):
            kind, size = self.hook.name, checkpoint.size
            await self._store.act(lambda db: tables.set_final(db, own.number, kind, size))

    async def _is_final(self, data: bytes) -> bool:
        async def asked() -> bool:
            return self.hook.is_final(data)

        return await self._call(asked)

    async def _keep(self, own: Log, checkpoint: Checkpoint, data: bytes) -> None:
        """Keep a timestamp, signed by the log."""
        if len(data) > TIMESTAMP_BYTES_MAX:
            raise HookFailed(
                f"it gives a timestamp of {len(data)} bytes: {TIMESTAMP_BYTES_MAX} can be kept"
            )
        kind, size = self.hook.name, checkpoint.size
        text = timestamp_text(self._origin, size, checkpoint.root, kind, data)
        made = Timestamp(kind, size, data, signed_text(self._identity, text))
        await self._store.act(lambda db: tables.put_timestamp(db, own.number, made))


def _heard(over: asyncio.Future[Any]) -> None:
    """Whatever a call that was cut off ends with, nobody asks for it any more."""
    with suppress(asyncio.CancelledError):
        over.exception()


def hook_at(db: Connection, name: str) -> tuple[int, int] | None:
    """Up to which entry, and which size of a checkpoint, a hook was told; None: never."""
    row = db.execute("SELECT entries, size FROM hooks WHERE name = ?", (name,)).fetchone()
    return (int(row[0]), int(row[1])) if row else None


def set_hook(db: Connection, name: str, entries: int, size: int) -> None:
    db.execute("INSERT OR REPLACE INTO hooks VALUES(?, ?, ?)", (name, entries, size))


def forget_hook(db: Connection, name: str) -> None:
    db.execute("DELETE FROM hooks WHERE name = ?", (name,))
