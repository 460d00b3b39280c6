"""The writer: everything that changes the database goes through it, one transaction at a time.

Changes that arrive while a transaction is under way wait together and share the next one, with one
fdatasync: a group commit. Two kinds of change: *records* (versions and tombstones, the hot ones)
are merged as one batch (`dc/names/merge.py`); *actions* are functions that run in the writer's
thread with a `Transaction`, each inside a savepoint, so that one that raises undoes itself alone.
Records and actions keep the order in which they came: a group is one or the other.

The transaction's feed positions and the clock's last stamp are stored with it. Nobody is told of a
change before it is durable; `committed` is called, in the event loop, before its caller goes on.

The write-ahead log is copied back into the database by a connection of its own, which does not
hold up commits; only when it falls far behind does the writer do it itself.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import structlog

from dc.names import outbox
from dc.names.api import BytesMissing, NamesClosed, NamesError, NamesFull, NoSuchBucket
from dc.names.merge import Record, merge
from dc.names.model import Event, Version
from dc.names.rows import LIVE
from dc.names.transaction import Covers, Pointed, Transaction
from dc.names.trees import Trees, log_deltas, store
from dc.ports import Database
from dc.stamps import HybridClock, stamp_origin
from dc.worker import spawn

T = TypeVar("T")
log = structlog.get_logger("names")

GROUP_RECORDS_MAX = 512
GROUP_ACTIONS_MAX = 64
CHECKPOINT_COMMITS = 1000
CHECKPOINT_RECORDS = 4000
WAL_PAGES_MAX = 32_768
"""128 MiB: past this the writer itself empties the log."""


Action = Callable[[Transaction], Any]


class _Waiting:
    __slots__ = ("action", "events", "future", "records")

    def __init__(
        self,
        future: asyncio.Future[Any],
        records: Sequence[Record] = (),
        action: Action | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        self.future = future
        self.records = records
        self.action = action
        self.events = events


class Writer:
    """One database's writer. `committed` is called in the loop after each commit."""

    def __init__(
        self,
        db: Database,
        checkpointer: Database,
        clock: HybridClock,
        seq: int,
        trees: Trees,
        covers: Covers,
        committed: Callable[[Transaction], None],
    ) -> None:
        self._db = db
        self._checkpointer = checkpointer
        self._clock = clock
        self._seq = seq
        self._trees = trees
        self._covers = covers
        self._pointed = Pointed()
        self._fold = False
        self._attempts = 0
        """Commits that were tried, to know each again."""
        self._unsure: tuple[str, Transaction] | None = None
        """A commit that failed, and perhaps took effect."""
        self._dc_id = stamp_origin(clock.last)
        self._committed = committed
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._commits = 0
        self._records = 0
        self._wal_full = False
        self._checkpoint: asyncio.Task[None] | None = None
        self._task = spawn(self._loop(), "names writer")

    async def records(self, records: Sequence[Record], events: Sequence[Event] = ()) -> None:
        """Merge records, put their events into the outbox; return when that is durable."""
        await self._enter(_Waiting(self._future(), records=records, events=events))

    async def action(self, action: Callable[[Transaction], T], events: Sequence[Event] = ()) -> T:
        """Run an action; return its result when that is durable, or raise what it raised: then
        its events are not told either."""
        waiting = _Waiting(self._future(), action=action, events=events)
        return cast("T", await self._enter(waiting))

    async def close(self) -> None:
        """Commit what has arrived, then stop."""
        self._closing = True
        self._wake.set()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._checkpoint is not None:
            await asyncio.gather(self._checkpoint, return_exceptions=True)
        try:
            await self._db.run(lambda db: db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone())
        except sqlite3.Error as error:
            # Nothing is lost: the next start reads the log.
            log.warning("a checkpoint of the name server failed", error=str(error))

    def _future(self) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().create_future()

    def _enter(self, waiting: _Waiting) -> asyncio.Future[Any]:
        if self._closing:
            raise NamesClosed("the name server is shutting down")
        self._queue.append(waiting)
        self._wake.set()
        return waiting.future

    async def _loop(self) -> None:
        while True:
            await self._wake.wait()
            while self._queue:
                await self._commit(self._take())
            self._wake.clear()
            if self._closing:
                return

    def _take(self) -> list[_Waiting]:
        """The next group: waiting ones of one kind, in order."""
        first = self._queue.popleft()
        group = [first]
        if first.action is not None:
            while self._queue and self._queue[0].action and len(group) < GROUP_ACTIONS_MAX:
                group.append(self._queue.popleft())
            return group
        size = len(first.records)
        while self._queue and not self._queue[0].action and size < GROUP_RECORDS_MAX:
            waiting = self._queue.popleft()
            group.append(waiting)
            size += len(waiting.records)
        return group

    async def _commit(self, group: list[_Waiting]) -> None:
        hlc = self._clock.last
        folded: list[tuple[int, bytes]] = []
        try:
            await self._find_out()
            folded = self._trees.take_changed() if self._fold else []
            done, results = await self._db.run(lambda db: self._transact(db, group, hlc, folded))
        except Exception as error:
            self._trees.put_back(folded)
            failure = _translated(error)
            log.error("a commit failed", error=str(failure), changes=len(group))
            for waiting in group:
                if not waiting.future.done():
                    waiting.future.set_exception(failure)
            return
        self._fold = self._fold and not folded
        self._follow(done)
        for waiting, result in zip(group, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        self._commits += 1
        if self._commits >= CHECKPOINT_COMMITS or self._records >= CHECKPOINT_RECORDS:
            self._fold = True
            self._start_checkpoint()

    def _follow(self, done: Transaction) -> None:
        """Bring what is in memory up to a commit."""
        self._records += done.seq - self._seq
        self._seq = done.seq
        self._trees.apply(done.deltas)
        self._committed(done)

    async def _find_out(self) -> None:
        """Of a commit that failed when the database could not be asked either, see now whether it
        took effect."""
        if self._unsure is None:
            return
        position, done = self._unsure
        if await self._db.run(lambda db: _took_effect(db, position)):
            self._follow(done)
        self._unsure = None

    def _transact(
        self,
        db: sqlite3.Connection,
        group: list[_Waiting],
        hlc: str,
        folded: list[tuple[int, bytes]],
    ) -> tuple[Transaction, list[Any]]:
        if self._wal_full:
            db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            self._wal_full = False
        db.execute("BEGIN IMMEDIATE")
        try:
            if folded:
                store(db, folded)
            transaction = Transaction(db, self._dc_id, self._seq, self._covers, self._pointed)
            results: list[Any]
            if group[0].action is None:
                results = _merge_live(transaction, group)
            else:
                results = [_act(transaction, waiting) for waiting in group]
            if transaction.deltas:
                log_deltas(db, transaction.deltas)
            self._attempts += 1
            position = f"{hlc} {transaction.seq} {self._attempts}"
            db.execute("UPDATE facts SET value = ? WHERE name = 'position'", (position,))
            try:
                db.execute("COMMIT")
            except sqlite3.Error as error:
                self._unsure = (position, transaction)
                took_effect = _took_effect(db, position)
                self._unsure = None
                if not took_effect:
                    raise
                # Perhaps it is not durable: nobody may be told that it worked. But it shows, and
                # what is in memory must follow.
                log.error("a commit failed, and took effect", error=str(error))
                results = [_translated(error)] * len(group)
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return transaction, results

    def _start_checkpoint(self) -> None:
        if self._checkpoint is not None and not self._checkpoint.done():
            return
        self._commits = self._records = 0
        self._checkpoint = spawn(self._run_checkpoint(), "names checkpoint")

    async def _run_checkpoint(self) -> None:
        try:
            _, pages, copied = await self._checkpointer.run(
                lambda db: db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            )
        except sqlite3.Error as error:
            # Nothing is lost: the log stays, and the next checkpoint tries again.
            log.warning("a checkpoint of the name server failed", error=str(error))
            return
        self._wal_full = pages > WAL_PAGES_MAX
        if self._wal_full:
            log.debug("the name server's log is long", pages=pages, copied=copied)


def _merge_live(transaction: Transaction, group: list[_Waiting]) -> list[Any]:
    """Merge the records of a group, but those for buckets that were deleted meanwhile."""
    numbers = {record.number for waiting in group for record in waiting.records}
    places = ",".join("?" * len(numbers))
    rows = transaction.db.execute(
        f"SELECT number FROM buckets WHERE NOT {LIVE} AND number IN ({places})",
        tuple(numbers),
    ).fetchall()
    dead = {row[0] for row in rows}
    records: list[Record] = []
    events: list[Event] = []
    results: list[Any] = []
    for waiting in group:
        if dead and any(record.number in dead for record in waiting.records):
            results.append(NoSuchBucket("the bucket was deleted meanwhile"))
        elif transaction.pointed.gone and _is_gone(transaction.pointed, waiting.records):
            results.append(BytesMissing("the bytes were removed meanwhile: send them again"))
        else:
            records.extend(waiting.records)
            events.extend(waiting.events)
            results.append(None)
    merge(transaction, records, local=True)
    if events:
        outbox.add(transaction, events)
    return results


def _is_gone(pointed: Pointed, records: Sequence[Record]) -> bool:
    """Whether one of them would point into a container that was retired."""
    changes = (one.change for one in records)
    return any(isinstance(one, Version) and pointed.is_gone(one.extents) for one in changes)


def _took_effect(db: sqlite3.Connection, position: str) -> bool:
    """After a commit that failed, whether it nevertheless is what is there."""
    if db.in_transaction:
        db.execute("ROLLBACK")
    row = db.execute("SELECT value FROM facts WHERE name = 'position'").fetchone()
    return bool(row[0] == position)


def _act(transaction: Transaction, waiting: _Waiting) -> Any:
    """Run one action inside a savepoint; its exception is its result."""
    action = waiting.action
    assert action is not None
    db = transaction.db
    mark = transaction.mark()
    db.execute("SAVEPOINT act")
    try:
        result = action(transaction)
        if waiting.events:
            outbox.add(transaction, waiting.events)
    except NamesError as error:
        db.execute("ROLLBACK TO act")
        transaction.undo(mark)
        result = error
    db.execute("RELEASE act")
    return result


def _translated(error: Exception) -> Exception:
    if isinstance(error, NamesError):
        return error
    if isinstance(error, sqlite3.OperationalError) and "full" in str(error):
        return NamesFull("the name server's disk is full")
    return NamesClosed(f"the name server could not commit: {type(error).__name__}: {error}")
