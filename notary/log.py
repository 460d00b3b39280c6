"""The log's step: what the name server has noted becomes entries of this DC's log.

Taken in the order of the commits. An object that must be read first for its SHA-256, however large,
holds up nobody but later writes of the same key: it is set aside, and `read_step` reads it.

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
from notary.note import log_key
from notary.reading import ReadingQueue
from notary.store import Store
from tokens.identity import Identity

log = structlog.get_logger("notary")

BATCH = 500
"""Writes that become entries in one transaction: some 20 ms."""
ASIDE_MAX = 500
"""Writes that wait for being read while others go on; more of those that fail again and again."""
READERS = 4
"""Objects that are read at once: one that is large, or hangs, does not hold up all others."""
GONE_TRIES = 20
"""How often what is deleted is tried to be read: a quarter of an hour long."""
SCAN_MAX = 20 * BATCH
"""Writes that are looked through for some that can be taken; the others wait for what is read."""

Digest = Callable[[Version], Awaitable[tuple[str, bool]]]
"""The SHA-256 of an object by reading it, and whether that is of what clients read."""


class Hashed(NamedTuple):
    """What reading an object has given; `sha256` is "" when there is nothing left to be read."""

    sha256: str
    of: str


_Taken = tuple[int, Noted, Hashed]


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
        self._aside: dict[int, Noted] = {}
        self._known_aside: set[Stamp] = set()
        """Of these: a write that is noted twice is read once."""
        self.to_read = ReadingQueue(clock)
        self._hashed: dict[int, Hashed] = {}
        self._something = asyncio.Event()
        self.appended = asyncio.Event()
        """Set when entries were appended; whoever waits clears it."""
        self.lost = 0
        """Writes since the start whose bytes had gone before they were read."""

    @property
    def aside(self) -> int:
        """Writes that wait for being read."""
        return len(self._aside)

    async def open(self) -> None:
        """Begin the log if there is none. NotaryError when it is another DC's."""
        key = self._key
        await self._store.act(lambda db: tables.begin_log(db, key.name, key.public))

    async def step(self) -> float:
        """Make entries of what there is."""
        taken = await self._taken()
        if not taken:
            await self._wait()
            return 0
        made = [
            entry for _, noted, hashed in taken if (entry := self._entry(noted, hashed)) is not None
        ]
        size = 0
        if made:
            size = await self._store.act(lambda db: self._append(db, made))
            self.appended.set()
        ids = [number for number, _, _ in taken]
        await self._names.notary_outbox.done(ids, size)
        for number in ids:
            if (aside := self._aside.pop(number, None)) is not None:
                self._known_aside.discard(aside.stamp)
            self._hashed.pop(number, None)
        return 0

    async def _wait(self) -> None:
        told = self._names.notary_outbox.wait()
        await first_of(told, self._something.wait())
        self._something.clear()

    async def _taken(self) -> list[_Taken]:
        """Those that can become entries now, the oldest first."""
        taken: list[_Taken] = []
        held: set[tuple[str, str]] = set()
        after = scanned = 0
        while len(taken) < BATCH and scanned < SCAN_MAX:
            rows = await self._names.notary_outbox.page(BATCH, after)
            self._take(rows, await self._there(rows), taken, held)
            if len(rows) < BATCH:
                break
            after, scanned = rows[-1][0], scanned + len(rows)
        return taken

    async def _there(self, rows: Sequence[tuple[int, Noted]]) -> set[tuple[Stamp, int]]:
        """Those that would be read, though the log has them."""
        asked = [
            (noted.stamp, entries.WRITTEN)
            for number, noted in rows
            if noted.version is not None and number not in self._aside
        ]
        if not asked:
            return set()
        return await self._store.read(lambda db: tables.known(db, self._own(db).number, asked))

    def _take(
        self,
        rows: Iterable[tuple[int, Noted]],
        there: Container[tuple[Stamp, int]],
        taken: list[_Taken],
        held: set[tuple[str, str]],
    ) -> None:
        """Take what can be. Those that are to be read are set aside, and so (`held`) is what comes
        later of the same key."""
        for number, noted in rows:
            if len(taken) >= BATCH:
                return
            key = (noted.bucket, noted.key)
            hashed = Hashed(noted.sha256, OBJECT)
            if noted.version is not None and stamp_origin(noted.stamp) == self._dc_id:
                if (noted.stamp, entries.WRITTEN) in there:
                    taken.append((number, noted, Hashed("", "")))
                    continue
                is_new = number not in self._aside and noted.stamp not in self._known_aside
                if is_new and len(self._aside) - self.to_read.stubborn < ASIDE_MAX:
                    self._aside[number] = noted
                    self._known_aside.add(noted.stamp)
                    self.to_read.add(number)
                if number not in self._hashed:
                    held.add(key)
                    continue
                hashed = self._hashed[number]
            if key not in held:
                taken.append((number, noted, hashed))

    async def read_step(self) -> float:
        """Read the next object that was set aside; `READERS` may do so at once."""
        number = await self.to_read.next()
        noted = self._aside[number]
        assert noted.version is not None
        try:
            self._hashed[number] = await self._read(noted.version, number)
        except Exception as error:
            if self.to_read.failed(number, error):
                self._something.set()
            return 0
        except BaseException:
            self.to_read.add(number)
            raise
        self.to_read.done(number)
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
