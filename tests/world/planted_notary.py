"""Mistakes of the notary, each as a patch of the product that a simulated world must notice. See
`planted_bugs.py`.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec

import dc.names.service
from dc.names import merge
from dc.names.model import Version
from dc.worker import spawn
from notary import log, mirror, publishing, running, service, tables, witness
from notary.lanes import Lanes
from notary.log import LogWriter
from notary.mirror import Mirror, Pulled
from notary.running import HookRunner

_LATE_SECONDS = 1.0


def rows_deleted_before_entries() -> Any:
    """Rows leave the outbox before their entries are durable."""

    async def step(self: LogWriter) -> float:
        await self._fill()
        taken = list(self._batch)
        if not taken:
            await self._wait()
            return 0
        made = [self._entry(noted, hashed) for _, noted, hashed in taken]
        await self._names.notary_outbox.done([number for number, _, _ in taken])
        entries = [one for one in made if one is not None]
        self._leave(taken)
        await self._store.act(lambda db: self._append(db, entries))
        self.appended.set()
        return 0

    return mock.patch.object(LogWriter, "step", step)


def entries_made_twice() -> Any:
    """Entries are appended without looking for those that are there, after a crash in between."""
    return mock.patch.object(log.tables, "known", lambda *_: set())


@contextmanager
def mirror_believes_its_peer() -> Iterator[None]:
    """A mirror takes entries without looking whether they give the root that was signed."""
    with (
        mock.patch.object(Mirror, "_check", lambda *_: None),
        mock.patch.object(Mirror, "_check_witnessed", lambda *_: None),
    ):
        yield


def cosigned_before_it_is_durable() -> Any:
    """A witness answers, and stores what it has cosigned a moment later."""
    store = tables.set_witnessed

    async def later(db: Any, checkpoint: Any) -> None:
        await asyncio.sleep(_LATE_SECONDS)
        store(db, checkpoint)

    def hasty(db: Any, checkpoint: Any) -> None:
        spawn(later(db, checkpoint), "storing what was cosigned")

    return mock.patch.object(witness.tables, "set_witnessed", hasty)


def overwriting_removes_nothing() -> Any:
    """That a null version is overwritten is not noted; only what is deleted is."""
    replaces = merge._replaces

    def deletes(new: Any, there: Any) -> bool:
        return not isinstance(new, Version) and replaces(new, there)

    return mock.patch.object(merge, "_replaces", deletes)


def rows_skipped_by_page() -> Any:
    """A mirror that has some of the rows of a log that are new is taken to have all of them."""
    page = mirror._page

    def hasty(db: Any, asked: Any, is_by_log: bool) -> Pulled:
        found, own = page(db, asked, is_by_log), tables.log_of(db, asked.origin)
        return msgspec.structs.replace(found, serial=tables.last_serial(db, own.number))

    return mock.patch.object(mirror, "_page", hasty)


def hook_is_ahead() -> Any:
    """The position of a hook is stored before it is told."""
    call = HookRunner._call

    async def early(self: HookRunner, work: Any, seconds: Any = None) -> Any:
        told = inspect.getclosurevars(work).nonlocals
        if "page" in told:
            await self._move(told["entries"] + len(told["page"]), self.position[1])
        return await call(self, work, seconds)

    return mock.patch.object(running.HookRunner, "_call", early)


def reading_holds_up_nobody() -> Any:
    """What comes after a write of the same key that is still to be read is taken before it."""
    return mock.patch.object(Lanes, "__contains__", lambda *_: False)


def late_requests_are_rollbacks() -> Any:
    """A request that was overtaken on its way is taken for a log that has forgotten entries."""
    return mock.patch.object(witness.Witness, "_is_late", lambda *_: False)


def signers_of_before() -> Any:
    """Of cosignatures that come those are kept whose keys were known when the logs were listed."""
    page = mirror._page

    def without(db: Any, asked: Any, is_by_log: bool) -> Pulled:
        return msgspec.structs.replace(page(db, asked, is_by_log), signers=[])

    return mock.patch.object(mirror, "_page", without)


def idle_where_nothing_is_set() -> Any:
    """Peers are asked for logs only while some bucket has the setting."""

    @contextmanager
    def patched() -> Iterator[None]:
        with (
            mock.patch.object(service.tables, "is_used", lambda _: False),
            mock.patch.object(service.Notary, "_idle_until", _NEVER, create=True),
        ):
            yield

    return patched()


class _Never:
    """A moment that does not come, whatever it is set to."""

    def __get__(self, *_: Any) -> float:
        return 1e18

    def __set__(self, *_: Any) -> None:
        pass


_NEVER = _Never()


def witnesses_asked_once() -> Any:
    """Who did not cosign a checkpoint is not asked again."""

    def nobody(self: publishing.Publisher, db: Any) -> None:
        return None

    return mock.patch.object(publishing.Publisher, "_last", nobody)


def put_waits_for_the_log() -> Any:
    """A put is acknowledged when its entry is in the log."""
    put = dc.names.service.SqliteNames.put

    async def patient(self: Any, version: Any) -> None:
        await put(self, version)
        while await self.notary_outbox.waiting():  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    return mock.patch.object(dc.names.service.SqliteNames, "put", patient)


NOTARY: Sequence[Callable[[], Any]] = (
    rows_deleted_before_entries,
    entries_made_twice,
    mirror_believes_its_peer,
    cosigned_before_it_is_durable,
    overwriting_removes_nothing,
    rows_skipped_by_page,
    hook_is_ahead,
    reading_holds_up_nobody,
    late_requests_are_rollbacks,
    signers_of_before,
    idle_where_nothing_is_set,
    witnesses_asked_once,
    put_waits_for_the_log,
)
