"""What may have been noted and is not any more: after the names were made again from the containers
(`farshore names rebuild`), the notary's outbox is empty; what it had has gone from the log when
that was put back to an older state. So versions that carry the register and
have no entry are noted once more, from a look through the whole feed. Their bytes are read, for
what the register says may be what another DC has made of it.

The log makes no entry twice, so what is in the outbox as well does no harm. Which generation of the
names was looked through is a fact of the notary's database.
"""

from collections.abc import Sequence
from functools import partial
from sqlite3 import Connection

from dc.names.api import Names
from dc.names.model import FeedEntry, Kind, Version
from dc.names.notary_outbox import Noted, written
from dc.notary import NOTARY
from dc.stamps import Stamp, stamp_origin
from notary import tables
from notary.entries import WRITTEN
from notary.note import origin_of
from notary.store import Store

PAGE = 500
REST_SECONDS = 0.01
"""Between pages: requests come first."""
DONE_SECONDS = 3600.0
_FACT = "generation"


def is_used(names: Names) -> bool:
    """Whether any bucket that is known here is notarized, or was."""
    return any(NOTARY in one.registers for one in names.directory.all_buckets())


class CatchUp:
    """`step` is the work of a `dc.worker.Worker`."""

    def __init__(self, names: Names, store: Store) -> None:
        self._names = names
        self._store = store
        self._after: int | None = None
        self._begun: Stamp = ""

    async def open(self) -> None:
        """Before other works are begun: what is written from now on is noted. If the log was put
        back, the names have noted what it lacks, and all is looked through."""
        self._begun = await self._names.stamp()
        size = await self._names.notary_outbox.log_size()
        await self._store.act(partial(_forget_if_behind, size, self._names.dc_id))

    async def step(self) -> float:
        """Look through the next page, if this generation was not looked through yet."""
        generation, _, _ = await self._names.journal.load()
        if self._after is None:
            if await self._store.read(lambda db: tables.fact(db, _FACT)) == generation:
                return DONE_SECONDS
            if not is_used(self._names):
                return await self._done(generation)
            self._after = 0
        entries, self._after, is_end = await self._names.feed(self._after, PAGE)
        if missing := await self._missing(entries):
            await self._names.notary_outbox.add(missing)
        if not is_end:
            return REST_SECONDS
        return await self._done(generation)

    async def _done(self, generation: str) -> float:
        await self._store.act(lambda db: tables.set_fact(db, _FACT, generation))
        self._after = None
        return DONE_SECONDS

    async def _missing(self, entries: Sequence[FeedEntry]) -> list[Noted]:
        """What is to be noted of versions that were made here and have no entry."""
        own = self._names.dc_id
        noted = [
            one
            for entry in entries
            if isinstance(version := entry.change, Version)
            and version.kind == Kind.OBJECT
            and stamp_origin(version.stamp) == own
            and version.stamp < self._begun
            and (one := written(version, is_certain=False)) is not None
        ]
        return await self._store.read(partial(_without_entry, noted, own)) if noted else []


def _forget_if_behind(size: int, own: str, db: Connection) -> None:
    if tables.the_log(db, origin_of(own)).size < size:
        tables.set_fact(db, _FACT, "")


def _without_entry(noted: Sequence[Noted], own: str, db: Connection) -> list[Noted]:
    log = tables.the_log(db, origin_of(own))
    there = tables.known(db, log.number, [(one.stamp, WRITTEN) for one in noted])
    return [one for one in noted if (one.stamp, WRITTEN) not in there]
