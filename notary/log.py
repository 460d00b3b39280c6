"""The log's step: what the name server has noted becomes entries of this DC's log.

Taken in the order of the commits. An object that must be read first for its SHA-256, however large,
holds up nobody but later writes of the same key: it waits with them in a lane (`notary/lanes.py`),
however many do, and `read_step` reads it.

Entries are durable before their rows leave the outbox. What was cut off in between comes again; so
does all that is noted of names that were put back to an older state or made again. What the log has
already is not read for it once more, and no second entry is made.
"""

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from sqlite3 import Connection
from typing import NamedTuple

import structlog

from dc.names.api import Names
from dc.names.model import Version
from dc.names.notary_outbox import REMOVED, WRITTEN, Noted
from dc.objects.api import ObjectsError
from dc.ports import Clock
from dc.stamps import Stamp, stamp_ms, stamp_origin, utc_text
from dc.worker import first_of
from notary import entries, tables
from notary.entries import OBJECT, STORED, VERSION, Entry, encode
from notary.lanes import Lanes
from notary.note import log_key
from notary.reading import ReadingQueue
from notary.store import Store
from tokens.identity import Identity

log = structlog.get_logger("notary")

BATCH = 500
"""Writes that become entries in one transaction: some 20 ms."""
WAITING_MAX = 1_000_000
"""Writes that wait in memory for something to be read, 300 MB; what comes later waits for them."""
READERS = 4
"""Objects that are read at once: one that is large, or hangs, does not hold up all others."""
GONE_TRIES = 20
"""How often what is deleted is tried to be read: a quarter of an hour long."""
Digest = Callable[[Version], Awaitable[tuple[str, bool]]]
"""The SHA-256 of an object by reading it, and whether that is of what clients read."""


class Hashed(NamedTuple):
    """What reading an object has given; `sha256` is "" when there is nothing left to be read."""

    sha256: str
    of: str


_Taken = tuple[int, Noted, Hashed]


def _key(noted: Noted) -> tuple[str, str]:
    return noted.bucket, noted.key


async def _nobody(_: Version) -> tuple[str, bool]:
    raise ObjectsError("nobody reads objects here")


class LogWriter:
    """`step` is the work of a `dc.worker.Worker`, `read_step` that of `READERS` others."""

    def __init__(
        self,
        names: Names,
        store: Store,
        identity: Identity,
        name: str,
        clock: Clock,
    ) -> None:
        self._names = names
        self._store = store
        self.digest: Digest = _nobody
        """To be set before the works start."""
        self._key = log_key(identity.public.signing_key)
        self._dc_id = identity.dc_id
        self._name = name
        self._lanes = Lanes()
        self._cursor = 0
        """Up to where the outbox was looked through; what is left of that is in the lanes. Its
        numbers never come again."""
        self._is_more = False
        self._batch: list[_Taken] = []
        """What becomes entries next. It stays until that was done."""
        self._reading: set[int] = set()
        self.to_read = ReadingQueue(clock)
        self._hashed: dict[int, tuple[Stamp, Hashed]] = {}
        self._something = asyncio.Event()
        self.appended = asyncio.Event()
        """Set when entries were appended; whoever waits clears it."""
        self.lost = 0
        """Writes since the start whose bytes had gone before they were read."""

    @property
    def aside(self) -> int:
        """Writes that wait for being read."""
        return len(self._reading)

    async def open(self) -> None:
        """Begin the log if there is none. NotaryError when it is another DC's."""
        key = self._key
        await self._store.act(lambda db: tables.begin_log(db, key.name, key.public))

    async def step(self) -> float:
        """Make entries of what there is."""
        if not self._batch:
            await self._fill()
        if not self._batch:
            if not self._is_more:
                await self._wait()
            return 0
        taken = list(self._batch)
        made = [
            entry for _, noted, hashed in taken if (entry := self._entry(noted, hashed)) is not None
        ]
        size = 0
        if made:
            size = await self._store.act(lambda db: self._append(db, made))
        await self._names.notary_outbox.done([number for number, _, _ in taken], size)
        if made:
            # Not before the names know how large the log is: what is told now may be signed.
            self.appended.set()
        self._leave(taken)
        return 0

    def _leave(self, taken: Sequence[_Taken]) -> None:
        """There are entries of these, and their rows have left the outbox."""
        for number, noted, _ in taken:
            self._lanes.leave(_key(noted), number)
            self._hashed.pop(number, None)
        self._batch.clear()

    async def _wait(self) -> None:
        told = self._names.notary_outbox.wait()
        await first_of(told, self._something.wait())
        self._something.clear()

    async def _fill(self) -> None:
        """Take those that can become entries now: first what has waited, then what is new."""
        outbox = self._names.notary_outbox
        while (key := self._lanes.ready()) is not None and len(self._batch) < BATCH:
            rows = await outbox.rows(self._lanes.first(key, BATCH - len(self._batch)))
            there = await self._there(rows)
            self._lanes.looked_at(key)
            self._take_ready(rows, there)
        limit = BATCH - len(self._batch)
        if len(self._lanes) + limit > WAITING_MAX:
            limit = 0
        rows = await outbox.page(limit, self._cursor) if limit else []
        self._take_new(rows, await self._there(rows))
        self._is_more = bool(limit) and len(rows) == limit

    async def _there(self, rows: Sequence[tuple[int, Noted]]) -> set[tuple[Stamp, int]]:
        """Those that would be read, though the log has them."""
        asked = [(noted.stamp, entries.WRITTEN) for _, noted in rows if self._is_to_be_read(noted)]
        if not asked:
            return set()
        return await self._store.read(lambda db: tables.known(db, self._own(db).number, asked))

    def _is_to_be_read(self, noted: Noted) -> bool:
        return noted.version is not None and stamp_origin(noted.stamp) == self._dc_id

    def _known(
        self, number: int, noted: Noted, there: Container[tuple[Stamp, int]]
    ) -> Hashed | None:
        """What a write's bytes give; None while they are to be read."""
        if not self._is_to_be_read(noted):
            return Hashed(noted.sha256, OBJECT)
        if (noted.stamp, entries.WRITTEN) in there:
            return Hashed("", "")
        stamp, hashed = self._hashed.get(number, ("", None))
        return hashed if stamp == noted.stamp else None

    def _take_ready(
        self, rows: Iterable[tuple[int, Noted]], there: Container[tuple[Stamp, int]]
    ) -> None:
        """The first ones of a lane, up to one that is to be read."""
        for number, noted in rows:
            hashed = self._known(number, noted, there)
            if hashed is None:
                self._let_read(number)
                return
            self._batch.append((number, noted, hashed))

    def _take_new(
        self, rows: Iterable[tuple[int, Noted]], there: Container[tuple[Stamp, int]]
    ) -> None:
        """Those that are to be read wait, and so does what comes later of the same key."""
        for number, noted in rows:
            self._cursor = number
            key, hashed = _key(noted), self._known(number, noted, there)
            if key in self._lanes:
                self._lanes.add(key, number)
            elif hashed is None:
                self._lanes.add(key, number)
                self._let_read(number)
            else:
                self._batch.append((number, noted, hashed))

    def _let_read(self, number: int) -> None:
        if number not in self._reading:
            self._reading.add(number)
            self.to_read.add(number)

    async def read_step(self) -> float:
        """Read the next object that waits for it; `READERS` may do so at once."""
        number = await self.to_read.next()
        try:
            rows = await self._names.notary_outbox.rows([number])
            for _, noted in rows:
                if noted.version is not None:
                    hashed = await self._read(noted.version, number)
                    self._hashed[number] = (noted.stamp, hashed)
        except Exception as error:
            self.to_read.failed(number, error)
            return 0
        except BaseException:
            self.to_read.add(number)
            raise
        self.to_read.done(number)
        self._reading.discard(number)
        for _, noted in rows:
            self._lanes.set_ready(_key(noted))
        self._something.set()
        return 0

    async def _read(self, version: Version, number: int) -> Hashed:
        """The bytes stay where they are until then, whatever becomes of the version; but disks are
        lost, and keys."""
        try:
            sha256, is_plain = await self.digest(version)
        except Exception:
            now = await self._names.version(version.bucket, version.key, version.vid)
            if now is not None and now.stamp == version.stamp:
                if now.extents == version.extents:
                    raise
                # Compaction has moved its bytes.
                sha256, is_plain = await self.digest(now)
            elif self.to_read.tries(number) + 1 < GONE_TRIES:
                raise
            else:
                log.warning("an object was deleted, and the notary cannot read it", key=version.key)
                self.lost += 1
                return Hashed("", "")
        return Hashed(sha256, OBJECT if is_plain else STORED)

    def _entry(self, noted: Noted, hashed: Hashed) -> Entry | None:
        """None when there is to be none: of what another DC has written or replaced, which names
        that are made again show once more, and of bytes that had gone."""
        is_version = noted.type == WRITTEN
        if stamp_origin(noted.at) != self._dc_id or (is_version and not hashed.sha256):
            return None
        directory = self._names.directory
        bucket = directory.bucket_by_id(noted.bucket)
        name = directory.shown_name(noted.bucket) or (bucket.name if bucket else "")
        of_version = is_version or noted.type == REMOVED
        return Entry(
            v=VERSION,
            type=noted.type,  # type: ignore[arg-type]
            dc=self._name,
            dc_id=self._dc_id,
            bucket=name,
            bucket_id=noted.bucket,
            key=noted.key if of_version else None,
            version_id=(noted.vid or "null") if of_version else None,
            stamp=noted.stamp,
            size=noted.size if is_version else None,
            sha256=hashed.sha256 if is_version else None,
            of=hashed.of if is_version else None,
            time=utc_text(stamp_ms(noted.at)),
        )

    def _own(self, db: Connection) -> tables.Log:
        return tables.the_log(db, self._key.name)

    def _append(self, db: Connection, made: list[Entry]) -> int:
        """Append those that are not in the log yet; its size."""
        own = self._own(db)
        there = tables.known(db, own.number, [(one.stamp, one.kind) for one in made])
        new = []
        for one in made:
            if (one.stamp, one.kind) not in there:
                there.add((one.stamp, one.kind))
                new.append(encode(one))
        return tables.append(db, own, new).size if new else own.size
