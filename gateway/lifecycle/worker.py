"""The worker that goes through all buckets with lifecycle rules, and lets go of what is due.

A pass goes through the buckets in the order of their ids, and through each in the order of keys. A
step is one page of versions or uploads; after each the worker rests nine times as long as it took,
so that it takes a tenth of what the name server can do, however much there is. Its place is stored
now and then, and after a restart the pass goes on there. A pass begins when the last one has begun
a 24th of a day ago, or is over.

What is let go was judged by what a page said; that it is still so is looked at again in the
transaction that lets it go (`dc/names/sweep.py`). A bucket's rules are read anew for each page.
"""

from collections.abc import Sequence

import structlog

from dc.names.api import Names, NoSuchBucket, NoSuchUpload
from dc.names.model import Bucket, Tombstone, Version
from dc.names.sweep import LetGo, Place
from dc.ports import Clock
from dc.stamps import stamp_origin
from gateway.lifecycle.configuration import LIFECYCLE
from gateway.lifecycle.due import Action, Due, KeyJudge, Times, upload_due
from gateway.lifecycle.rules import compiled
from gateway.notifications.records import What, Who, records
from gateway.settings import setting_text
from gateway.versioning import marker_at, state_of

log = structlog.get_logger("lifecycle")

NAME = "lifecycle"
PAGE = 1000
LET_GO_AT_ONCE = 50
"""Of one transaction: others wait for it."""
REST = 9.0
REST_SECONDS_MAX = 5.0
"""A page that took long, since the machine slept or the disk hung, says nothing of the next."""
PLACE_STORED_EVERY = 20
"""Pages: what is looked at again after a restart."""
PASSES_A_DAY = 24
PASS_SECONDS_MIN = 1.0

_LIST_AFTER = ("", "")
_LAST_VID = "g"
"""After every version id, which is hexadecimal."""


class Lifecycle:
    """`step` is the work of a `dc.worker.Worker`."""

    def __init__(
        self, names: Names, clock: Clock, *, day_ms: int, notifications: bool, host_id: str
    ) -> None:
        self._names = names
        self._clock = clock
        self._day_ms = day_ms
        self._notifications = notifications
        self._host_id = host_id
        self._dc_id = stamp_origin(names.clock.last)
        self._place: Place | None = None
        self._after = _LIST_AFTER
        self._judge: KeyJudge | None = None
        self._uploads_after: tuple[str, str] | None = None
        """Not None: the bucket's versions are done, its uploads are looked at."""
        self._pages = 0
        self.passes = 0
        """Complete ones, since the start."""
        self.expired = 0
        self.removed = 0
        self.aborted = 0

    def status(self) -> dict[str, object]:
        """For people."""
        place = self._place
        shown = self._names.directory.shown_name(place.bucket) if place and place.bucket else ""
        return {
            "passes": self.passes,
            "bucket": shown,
            "expired": self.expired,
            "removed": self.removed,
            "aborted": self.aborted,
        }

    async def step(self) -> float:
        """Look at one page; the seconds to rest."""
        if self._place is None:
            self._place = await self._names.sweeper.place(NAME)
            self._after = (self._place.key, _LAST_VID) if self._place.key else _LIST_AFTER
        began = self._clock.monotonic()
        bucket = self._bucket(self._place.bucket)
        if bucket is None:
            return await self._finish_pass()
        if bucket.id != self._place.bucket:
            self._enter(bucket.id)
        try:
            await self._look(bucket)
        except NoSuchBucket:
            self._leave(bucket.id)
        self._pages += 1
        if self._pages % PLACE_STORED_EVERY == 0:
            await self._names.sweeper.set_place(NAME, self._place)
        return min(REST * (self._clock.monotonic() - began), REST_SECONDS_MAX)

    # -- the way through ------------------------------------------------------------------------

    def _bucket(self, least: str) -> Bucket | None:
        """The first bucket with rules whose id is not before `least`."""
        found = (
            one
            for one in self._names.directory.all_buckets()
            if one.id >= least and one.live and compiled(setting_text(one, LIFECYCLE))
        )
        return min(found, key=lambda one: one.id, default=None)

    def _enter(self, bucket_id: str) -> None:
        assert self._place is not None
        began = self._place.began_ms or self._clock.wall_ms()
        self._place = Place(bucket_id, "", began)
        self._after, self._judge, self._uploads_after = _LIST_AFTER, None, None

    def _leave(self, bucket_id: str) -> None:
        """Go on with the next bucket. No id begins with another, so this is just after it."""
        self._enter(f"{bucket_id}~")

    async def _finish_pass(self) -> float:
        assert self._place is not None
        began_ms = self._place.began_ms
        if self._place.bucket:
            self.passes += 1
        self._place, self._after = Place(), _LIST_AFTER
        if began_ms:
            await self._names.sweeper.set_place(NAME, self._place)
        every = max(self._day_ms / PASSES_A_DAY / 1000, PASS_SECONDS_MIN)
        passed = (self._clock.wall_ms() - began_ms) / 1000 if began_ms else 0.0
        return min(max(every - passed, PASS_SECONDS_MIN), every)

    async def _look(self, bucket: Bucket) -> None:
        if self._uploads_after is None:
            await self._look_at_versions(bucket)
        else:
            await self._look_at_uploads(bucket, self._uploads_after)

    async def _look_at_versions(self, bucket: Bucket) -> None:
        assert self._place is not None
        rules, times = compiled(setting_text(bucket, LIFECYCLE)), self._times()
        page = await self._names.sweeper.page(bucket.id, self._after, PAGE)
        due: list[Due] = []
        for one in page:
            if self._judge is None or self._judge.key != one.key:
                due += self._judge.finish() if self._judge is not None else ()
                if self._judge is not None:
                    self._place = Place(bucket.id, self._judge.key, self._place.began_ms)
                self._judge = KeyJudge(one.key, rules, times)
            due += self._judge.feed(one)
        if page:
            self._after = (page[-1].key, page[-1].vid)
        if len(page) < PAGE:
            due += self._judge.finish() if self._judge is not None else ()
            self._judge, self._uploads_after = None, _LIST_AFTER
        await self._let_go(bucket, due)

    async def _look_at_uploads(self, bucket: Bucket, after: tuple[str, str]) -> None:
        rules, times = compiled(setting_text(bucket, LIFECYCLE)), self._times()
        page = await self._names.uploads(bucket.id, after=after, limit=PAGE)
        for one in page:
            if upload_due(one.key, one.started, rules, times):
                try:
                    await self._names.abort_upload(one.id)
                except NoSuchUpload:
                    continue
                self.aborted += 1
                log.info("upload aborted by rule", bucket=bucket.name, key=one.key, upload=one.id)
        if len(page) < PAGE:
            self._leave(bucket.id)
        else:
            self._uploads_after = (page[-1].key, page[-1].id)

    def _times(self) -> Times:
        others = tuple(sorted(peer.dc_id for peer in self._names.peers()))
        return Times(self._clock.wall_ms(), self._day_ms, self._dc_id, others)

    # -- letting go -----------------------------------------------------------------------------

    async def _let_go(self, bucket: Bucket, due: Sequence[Due]) -> None:
        for start in range(0, len(due), LET_GO_AT_ONCE):
            some = due[start : start + LET_GO_AT_ONCE]
            began = self._clock.monotonic()
            went = await self._names.sweeper.let_go(
                bucket.id, [self._item(bucket, one) for one in some]
            )
            for one, gone in zip(some, went, strict=True):
                self.expired += gone and one.action == Action.EXPIRE
                self.removed += gone and one.action == Action.REMOVE
            if any(went):
                log.info("objects went by rule", bucket=bucket.name, count=sum(went))
            took = self._clock.monotonic() - began
            await self._clock.sleep(min(took, REST_SECONDS_MAX))

    def _item(self, bucket: Bucket, due: Due) -> LetGo:
        old, stamp = due.version, self._names.clock.now()
        change: Version | Tombstone
        if due.action == Action.EXPIRE and state_of(bucket):
            change = marker_at(bucket, old.key, stamp)
            event = "LifecycleExpiration:DeleteMarkerCreated"
        else:
            change = Tombstone(bucket=bucket.id, key=old.key, vid=old.vid, stamp=stamp)
            event = "LifecycleExpiration:Delete"
        what = What(old.key, stamp, change.vid)
        told = records(bucket, event, what, Who(), self._host_id) if self._notifications else ()
        return LetGo(old, due.action == Action.EXPIRE, change, told)
