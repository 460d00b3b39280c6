"""Compaction: the space of deleted and overwritten objects comes back.

A round: count which containers names point into, and how much of each is garbage; remove those that
nobody pointed into in an earlier count either; move what is alive out of those that are mostly
garbage (`dc/objects/moving.py`), which empties them, so that a later round removes them. A
container that holds nothing but garbage costs no more than that.

Re-coding is the same. Containers of another mode than their tier has now are emptied, too, and
single bodies are moved that are in a container of another tier than that of their bucket: all to
where their bucket wants them. So when a mode, a tier or a bucket's tier was changed, what is there
follows.

A container is removed when all of this is so:

- a count found nobody who points into it, or it was emptied; that is at least `grace` ago;
- a count that began after that found nobody, and no transaction has given a name to it since that
  count began (`Places.retire`). From then on none can;
- it is not written to, no body that streams in has bytes in it, it was not sealed and no such body
  was finished within `grace`; no read of it is under way.

The first two make it safe, whatever time anything takes; the last, and `grace`, see to it that no
client is refused. Nothing is written down: what a crash leaves is garbage in the new container or a
container that nobody points into, and the next round finds both.
"""

import asyncio
from typing import Any, NamedTuple, Protocol

import structlog

from dc.names.directory import MemoryDirectory
from dc.names.inventory import START, Place, Tiering
from dc.names.places import Places
from dc.objects.api import STANDARD
from dc.objects.counting import Count, tier_facts
from dc.objects.moving import Mover, Pace, Plan
from dc.objects.settings import BYTES_PER_SECOND, CompactionSettings
from dc.objects.store import ContainerStore
from dc.objects.tiers import tier_of
from dc.ports import Clock
from dc.worker import first_of

log = structlog.get_logger("objects")

PAGE_ROWS = 500
"""Rows looked at in one visit to the database: a millisecond or two."""
FIND_ROWS = 200
"""The same when all of them may have to be moved."""
COUNT_SHARE = 0.2
"""The part of the time that the database may be asked in."""
MOVED_BYTES_MAX = 8 << 30
"""Alive in the containers of one round: what the disk must have room for."""
OPEN_BYTES_MIN = 64 << 20
"""A container that is written to is sealed for its garbage when it is larger."""
FRESH_SECONDS = 5.0
"""How old a count may be that somebody is shown who asks; and then so many times what it took."""
FRESH_SHARE = 20
DAMAGED_SECONDS = 24 * 3600.0
"""After which a container is tried again that has bytes in it which cannot be read."""


class Ask(NamedTuple):
    """A run that somebody has asked for: of containers that were there at its first count."""

    threshold: float
    newest: int | None = None

    def means(self, container: int) -> bool:
        return self.newest is None or container <= self.newest


class Names(Protocol):
    """What compaction needs of a name server."""

    places: Places

    @property
    def directory(self) -> MemoryDirectory: ...


class Compactor:
    """`step` is the work of a `dc.worker.Worker`."""

    def __init__(
        self,
        names: Names,
        store: ContainerStore,
        clock: Clock,
        settings: CompactionSettings = CompactionSettings(),
    ) -> None:
        self._places = names.places
        self._directory = names.directory
        self._store = store
        self._clock = clock
        self._settings = settings
        self._empty: dict[int, float] = {}
        """Containers that nobody pointed into, and since when that is known."""
        self._damaged: set[int] = set()
        """Containers with bytes that cannot be read."""
        self._not_before: dict[int, float] = {}
        """Containers that could not be emptied, and when to try again."""
        self._last: Count | None = None
        self._counted = asyncio.Event()
        """Set when a count is done, and until another is wanted."""
        self._counted.set()
        self._count_took = 0.0
        self._wake = asyncio.Event()
        self._look_again = asyncio.Event()
        self._asked: Ask | None = None
        self._finished = 0
        self._doing = "idle"
        self._done = self._of = 0
        self._waits_until = 0.0
        self._error = ""
        self._removed = 0
        self._removed_bytes = 0
        self._moved_bytes = 0
        self._recoded_bytes = 0
        self._recoded_before = 0
        """At the last count."""

    # -- what others ask -------------------------------------------------------------------------

    def compact(self, threshold: float | None = None) -> int:
        """Begin now, with this threshold or the usual one. Returns the number that `finished` of
        the progress has when all is done that can be."""
        self._asked = Ask(self._settings.threshold if threshold is None else threshold)
        self._not_before.clear()
        self._error = ""
        self._wake.set()
        return self._finished + 1

    def look(self) -> None:
        """Something was changed that may have to be followed: begin the next round now."""
        self._wake.set()

    async def refresh(self, seconds: float) -> None:
        """Have it counted again, without anything else, where the last count is old; wait for that
        so long at most. A count that takes long is made as much more seldom."""
        age = FRESH_SECONDS + FRESH_SHARE * self._count_took
        if self._last is not None and self._clock.monotonic() < self._last.began + age:
            return
        if self._doing in ("idle", "waiting"):
            self._counted.clear()
            self._look_again.set()
        await first_of(self._counted.wait(), self._clock.sleep(seconds))

    def progress(self) -> dict[str, Any]:
        """What runs: `doing` is idle, counting, moving or waiting; `done` of `of` rows or bytes;
        `seconds_left` of this step, None when that cannot be told. `moved_bytes` and `freed_bytes`
        are since the start, redundancy left out."""
        return {
            "doing": self._doing,
            "done": self._done,
            "of": self._of,
            "seconds_left": self._seconds_left(),
            "to_remove": len(self._empty),
            "moved_bytes": self._moved_bytes,
            "removed_containers": self._removed,
            "freed_bytes": max(0, self._removed_bytes - self._moved_bytes),
            "damaged_containers": [f"{one:016x}" for one in sorted(self._damaged)],
            "asked": self._asked is not None,
            "finished": self._finished,
            "error": self._error,
        }

    def space(self) -> dict[str, Any] | None:
        """What the last count found, None before the first: objects, those of them that have all
        their fragments (at least), bytes alive, garbage, and raw, which is all that containers take
        on the disks."""
        count = self._last
        if count is None:
            return None
        lacking = self._store.lacking(count.shares)
        damaged = sum(count.shares[one].bodies for one in lacking)
        return {
            "counted_seconds_ago": round(self._clock.monotonic() - count.began, 1),
            "objects": count.bodies,
            "objects_whole": max(0, count.bodies - damaged),
            "bytes_live": sum(share.bytes for share in count.shares.values()),
            "bytes_garbage": sum(count.garbage(one) for one in count.sizes),
            "bytes_raw": sum(self._store.raw(one, size) for one, size in count.sizes.items()),
        }

    def recoding(self) -> dict[str, Any] | None:
        """What is to be moved since modes or tiers were changed, None before the first count: bytes
        in so many containers, about how long it takes (None while nothing is moved by itself), and
        how much was since the start."""
        count = self._last
        if count is None:
            return None
        left = {one: size for one in count.shares if (size := count.to_recode(one))}
        size = max(0, sum(left.values()) - (self._recoded_bytes - self._recoded_before))
        rate = self._settings.bytes_per_second
        return {
            "bytes_left": size,
            "containers_left": len(left) if size else 0,
            "seconds_left": round(2 * size / rate, 1) if rate else None,
            "bytes_done": self._recoded_bytes,
        }

    def tiers(self) -> list[dict[str, Any]]:
        """What there is of each tier, at the last count."""
        return tier_facts(self._store, self._last)

    def sizes(self) -> dict[int, int]:
        """Of the containers of the last count."""
        return {} if self._last is None else self._last.sizes

    def status(self) -> dict[str, Any]:
        """For the status page, flat."""
        progress, space = self.progress(), self.space() or {}
        return {
            **{name: space.get(name) for name in ("bytes_live", "bytes_garbage", "bytes_raw")},
            "bytes_freed": progress["freed_bytes"],
            "bytes_to_recode": (self.recoding() or {}).get("bytes_left"),
            "compaction": self._doing,
            "compaction_seconds_left": progress["seconds_left"],
            "containers_removed": self._removed,
            "containers_damaged": progress["damaged_containers"],
        }

    def _seconds_left(self) -> float | None:
        if self._doing == "waiting":
            return round(max(0.0, self._waits_until - self._clock.monotonic()), 1)
        if self._doing == "moving":
            rate = self._settings.bytes_per_second or BYTES_PER_SECOND
            return round(2 * max(0, self._of - self._done) / rate, 1)
        if self._doing == "counting" and self._done and self._of and self._last is not None:
            taken = self._clock.monotonic() - self._began
            return round(taken * max(0, self._of - self._done) / self._done, 1)
        return None

    # -- the work --------------------------------------------------------------------------------

    async def step(self) -> float:
        """One round, and the wait until the next."""
        again, asked = False, self._asked
        self._wake.clear()
        if self._settings.bytes_per_second or asked is not None:
            try:
                again = await self.round(asked or Ask(self._settings.threshold))
            except Exception as error:
                self._error = f"{type(error).__name__}: {error}"
                raise
            self._error = ""
            if asked is not None and not again and not self._wake.is_set():
                self._asked, self._finished = None, self._finished + 1
        await self._wait(self._settings.grace if again else self._settings.every, again)
        return 0.0

    async def _wait(self, seconds: float, again: bool) -> None:
        self._waits_until = self._clock.monotonic() + seconds
        while True:
            self._doing, self._done, self._of = "waiting" if again else "idle", 0, 0
            left = self._waits_until - self._clock.monotonic()
            if left <= 0 or self._wake.is_set():
                return
            await first_of(self._clock.sleep(left), self._wake.wait(), self._look_again.wait())
            if self._look_again.is_set():
                self._look_again.clear()
                await self._count()

    async def round(self, ask: Ask) -> bool:
        """Count, remove, move. Returns whether there is more to do when `grace` is over."""
        try:
            await self._places.begin()
            count = await self._count()
            await self._remove_empty(count)
            await self._places.end()
            self._note_empty(count)
            sealed = False
            if ask.newest is None:
                sealed = await self._seal(count, ask)
                if self._asked is ask:
                    ask = self._asked = ask._replace(newest=max(count.sizes, default=0))
            chosen, mixed = self._choose(count, ask)
            if chosen or mixed:
                await self._move(count, chosen, mixed)
        finally:
            self._doing = "idle"
        usage = self._store.usage
        recent = usage.recent(self._settings.grace) - self._store.unsealed()
        soon = any(self._is_worth(count, one, ask) for one in recent)
        empty = self._empty.keys() - usage.read_now() - usage.streaming()
        moved = bool(chosen or mixed)
        return bool(sealed or moved or soon or any(map(ask.means, empty)))

    async def _pause(self, began: float) -> None:
        """After a visit to the database: leave it to the others for a while."""
        took = self._clock.monotonic() - began
        await self._clock.sleep(took * (1 / COUNT_SHARE - 1))

    # -- counting --------------------------------------------------------------------------------

    async def _count(self) -> Count:
        rows = 0 if self._last is None else self._last.rows
        self._doing, self._done, self._of = "counting", 0, rows
        self._began = self._clock.monotonic()
        count = self._begun(await self._store.sizes())
        place: Place | None = START
        while place is not None:
            began = self._clock.monotonic()
            page = await self._places.count(place, PAGE_ROWS, count.tiering)
            count.add(page)
            self._done, place = count.rows, page.after
            await self._pause(began)
        self._last = count
        self._count_took = self._clock.monotonic() - count.began
        self._counted.set()
        self._recoded_before = self._recoded_bytes
        return count

    def _begun(self, sizes: dict[int, int]) -> Count:
        """A count: which containers there are, and what buckets want."""
        store, tiers = self._store, self._store.tiers
        past = frozenset(one for one in sizes if store.is_past(one))
        if len(tiers.all()) == 1:
            return Count(self._began, sizes, past)
        buckets = {
            self._directory.number(bucket.id): name
            for bucket in self._directory.all_buckets()
            if (name := tiers.of(tier_of(bucket)).name) != STANDARD
        }
        known = (one for one in sizes.keys() - past if store.is_known(one))
        containers = {one: store.form(one).tier for one in known}
        return Count(self._began, sizes, past, Tiering(STANDARD, buckets, containers))

    def _tier(self, bucket: str) -> str:
        """The tier that the bytes of a bucket are to be in."""
        return self._store.tiers.of(tier_of(self._directory.bucket_by_id(bucket))).name

    def _note_empty(self, count: Count) -> None:
        """Keep in mind what nobody points into, and when that was found first."""
        for container in [one for one in self._empty if one in count.shares]:
            del self._empty[container]  # It was given a name again.
        for container in count.sizes.keys() - count.shares.keys() - self._store.unsealed():
            self._empty.setdefault(container, count.began)
        self._damaged &= count.shares.keys()

    # -- removing --------------------------------------------------------------------------------

    async def _remove_empty(self, count: Count) -> None:
        """Remove what is empty since an earlier count, and was found so by this one."""
        grace = self._settings.grace
        known = {one for one, since in self._empty.items() if since + grace <= count.began}
        asked = (known & count.sizes.keys()) - count.shares.keys() - self._busy()
        if not asked:
            return
        for container in sorted(await self._places.retire(asked)):
            size = count.sizes[container]
            try:
                await self._store.remove(container, size)
            except FileNotFoundError:
                pass  # Somebody else has removed it.
            except OSError as error:
                name = f"{container:016x}"
                log.error("a container was not removed", container=name, error=str(error))
                continue
            self._empty.pop(container, None)
            del count.sizes[container]
            self._removed += 1
            self._removed_bytes += size
            log.info("a container was removed", container=f"{container:016x}", bytes=size)

    def _busy(self) -> set[int]:
        """Containers that somebody may be about to need."""
        usage = self._store.usage
        return (
            set(self._store.unsealed())
            | usage.streaming()
            | usage.recent(self._settings.grace)
            | usage.read_now()
        )

    # -- moving ----------------------------------------------------------------------------------

    def _is_worth(self, count: Count, container: int, ask: Ask) -> bool:
        """Whether enough of a container is garbage, or it is to be re-coded, and something is
        alive."""
        size = count.sizes.get(container, 0)
        if count.to_recode(container):
            return True
        if container not in count.shares or not size or not ask.means(container):
            return False
        return count.is_garbage(container, ask.threshold)

    async def _seal(self, count: Count, ask: Ask) -> bool:
        """Seal containers that are written to and have much garbage, or what belongs elsewhere."""
        least = 0 if self._asked is ask else OPEN_BYTES_MIN
        wanted = {
            one
            for one in self._store.unsealed() & count.sizes.keys()
            if count.to_recode(one)
            or (
                count.sizes[one] > least
                and (self._is_worth(count, one, ask) or one not in count.shares)
            )
        }
        await self._store.seal(wanted)
        return bool(wanted)

    def _choose(self, count: Count, ask: Ask) -> tuple[dict[int, int], dict[int, int]]:
        """The containers to empty now, and the bytes that are alive in each: most garbage first;
        and those out of which single bodies are to be moved to another tier, with their bytes.
        Not those that a body which is still coming from another datacenter has ranges in, or that
        the notary is to read: who does knows them by where they are."""
        now = self._clock.monotonic()
        tried = {one for one, when in self._not_before.items() if now < when}
        usable = count.sizes.keys() - self._busy() - count.coming - tried - self._empty.keys()
        worth = [one for one in usable if self._is_worth(count, one, ask)]
        worth.sort(key=lambda one: (count.shares[one].taken / max(1, count.sizes[one]), one))
        chosen: dict[int, int] = {}
        mixed: dict[int, int] = {}
        room = MOVED_BYTES_MAX
        for container in worth:
            emptied = container in count.past or count.is_garbage(container, ask.threshold)
            alive = count.shares[container].bytes if emptied else count.to_recode(container)
            if alive <= room or not (chosen or mixed):
                (chosen if emptied else mixed)[container] = alive
                room -= alive
        return chosen, mixed

    async def _move(self, count: Count, chosen: dict[int, int], mixed: dict[int, int]) -> None:
        """Empty containers; move bodies of other tiers out of others."""
        self._doing, self._done = "moving", 0
        self._of = sum(chosen.values()) + sum(mixed.values())
        pace = Pace(self._clock, self._settings.bytes_per_second or BYTES_PER_SECOND)
        tiering = count.tiering_of(mixed)
        plan = Plan(frozenset(chosen), count.past, tiering.containers, self._tier)
        mover = Mover(self._places, self._store, pace, plan, self._was_moved)
        place: Place | None = START
        try:
            while place is not None:
                began = self._clock.monotonic()
                page = await self._places.find(place, FIND_ROWS, plan.containers, tiering)
                place = page.after
                await self._pause(began)
                await mover.move(page.found)
            await mover.finish()
        finally:
            now = self._clock.monotonic()
            self._damaged |= mover.damaged
            for container in mover.left:
                wait = DAMAGED_SECONDS if container in mover.damaged else self._settings.every
                self._not_before[container] = now + wait
        for container in chosen.keys() - mover.left:
            self._empty[container] = now

    def _was_moved(self, size: int, recoded: int) -> None:
        self._moved_bytes += size
        self._recoded_bytes += recoded
        self._done += size
