"""Gathers log lines in memory, and writes them into target buckets, each bucket's some time after
its first one came.

A line is kept for the bucket it is about; where it goes is decided when it is written, by the
bucket's configuration and the target's permission then. Lines take `LINES_BYTES_MAX` of memory
together at most: past half of it they are written at once, past all of it they are counted and
dropped. What is not written when the process is killed is lost, as S3 promises no more of its logs;
a datacenter that is stopped writes them first.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import structlog
from awscrt.checksums import crc64nvme
from msgspec.structs import replace

from dc.names.api import GatewayNames, NamesClosed, NamesError
from dc.names.model import Bucket, Kind, Meta, Version
from dc.notary import born, notarizes
from dc.objects.api import ObjectsError, ObjectStore
from dc.objects.ident import version_ident
from dc.objects.tiers import tier_of
from dc.ports import Clock, Randomness
from gateway.access_logs.lines import Times, batch_lines, log_line
from gateway.access_logs.permission import may_deliver
from gateway.dates import iso_second
from gateway.errors import S3Error
from gateway.limits import SMALL_BYTES_MAX
from gateway.notifications.records import Who, of, records
from gateway.request import Request
from gateway.settings import setting, setting_text
from gateway.versioning import vid_at

log = structlog.get_logger("access_logs")

LOGGING = "logging"
"""The name of the register."""
LINES_BYTES_MAX = 16 << 20
OBJECT_BYTES_MAX = SMALL_BYTES_MAX
"""Of one log object."""
TICK_SECONDS_MAX = 1.0
TICKS = 20
"""A bucket's time is noticed with an error of this part of it."""


class Line(NamedTuple):
    """A line, and when the request came."""

    at_ms: int
    text: str


class _Pending(NamedTuple):
    """Lines of a bucket, and when they are to be written: some time after the first one came, so
    that buckets that are asked little make few log objects."""

    due: float
    lines: list[Line]


class AccessLogs:
    """`note` is called for each request; `step` is the work of a `dc.worker.Worker`."""

    def __init__(
        self,
        *,
        names: GatewayNames,
        objects: ObjectStore,
        clock: Clock,
        randomness: Randomness,
        every_ms: int,
        host_id: str,
        notifications: bool,
    ) -> None:
        self._names = names
        self._directory = names.directory
        self._objects = objects
        self._clock = clock
        self._randomness = randomness
        self._every_s = every_ms / 1000
        self._host_id = host_id
        self._notifications = notifications
        self._pending: dict[str, _Pending] = {}
        """By bucket id."""
        self._size = 0
        self.dropped = 0
        """Lines, since the start."""

    def note(self, request: Request, code: str, began_ms: int) -> None:
        """A request was answered, with an error's code or ""."""
        target = getattr(request, "target", None)
        bucket = self._directory.bucket(target.bucket) if target is not None else None
        if bucket is None or not bucket.registers or not setting_text(bucket, LOGGING):
            return
        times = Times(began_ms, max(0, self._clock.wall_ms() - began_ms))
        self._add(
            bucket, began_ms, log_line(bucket, request, request.reply, code, times, self._host_id)
        )
        for text in batch_lines(bucket, request, began_ms, self._host_id):
            self._add(bucket, began_ms, text)

    def _add(self, bucket: Bucket, began_ms: int, text: str) -> None:
        if self._size + len(text) > LINES_BYTES_MAX:
            self.dropped += 1
            return
        self._size += len(text)
        pending = self._pending.get(bucket.id)
        if pending is None:
            due = self._clock.monotonic() + self._every_s
            pending = self._pending[bucket.id] = _Pending(due, [])
        pending.lines.append(Line(began_ms, text))

    def _keep(self, bucket_id: str, lines: list[Line]) -> None:
        """Put lines back that were not written."""
        since = self._pending.get(bucket_id)
        later = since.lines if since is not None else []
        self._pending[bucket_id] = _Pending(self._clock.monotonic(), lines + later)
        self._size += sum(len(line.text) for line in lines)

    def adopt(self, before: "AccessLogs") -> None:
        """Take over the lines that another one has not written."""
        for bucket_id, pending in before._pending.items():
            mine = self._pending.setdefault(bucket_id, pending)
            if mine is not pending:
                mine.lines.extend(pending.lines)
        self._size += before._size
        self.dropped += before.dropped
        before._pending, before._size = {}, 0

    async def step(self) -> float:
        """Write what is due, or all when memory is short; the seconds to wait."""
        full, now = self._size > LINES_BYTES_MAX // 2, self._clock.monotonic()
        await self._write([key for key, one in self._pending.items() if full or one.due <= now])
        return min(TICK_SECONDS_MAX, self._every_s / TICKS)

    async def flush(self) -> None:
        """Write all lines there are."""
        await self._write(list(self._pending))

    async def _write(self, bucket_ids: Sequence[str]) -> None:
        """Lines that cannot be written are dropped, and counted: to keep them would fill the
        memory. But those that were being written when this was ended, or the datacenter of a
        gateway on another machine was lost, are kept: perhaps they are written twice then."""
        for bucket_id in bucket_ids:
            lines = self._pending.pop(bucket_id).lines
            self._size -= sum(len(line.text) for line in lines)
            try:
                written = await self._deliver(bucket_id, lines)
            except (NamesClosed, asyncio.CancelledError):
                self._keep(bucket_id, lines)
                raise
            except (NamesError, ObjectsError, S3Error) as error:
                written = False
                reason = f"{type(error).__name__}: {error}"
                log.warning("access logs were not written", bucket=bucket_id, error=reason)
            self.dropped += 0 if written else len(lines)

    async def _deliver(self, bucket_id: str, lines: Sequence[Line]) -> bool:
        bucket = self._directory.bucket_by_id(bucket_id)
        configured = None if bucket is None else setting(bucket, LOGGING)
        if bucket is None or configured is None:
            return False
        wanted = configured.LoggingEnabled
        target = self._directory.bucket(wanted.TargetBucket)
        if target is None:
            log.warning("access logs have no place to go", bucket=bucket.name)
            return False
        if setting_text(target, "encryption"):
            log.warning("access logs cannot be encrypted", bucket=bucket.name, target=target.name)
            return False
        for some in _bounded(lines):
            by_event = _by_event(wanted)
            parts = _by_day(some) if by_event else [some]
            for part in parts:
                at_ms = part[0].at_ms if by_event else self._clock.wall_ms()
                key = wanted.TargetPrefix + self._key(bucket, wanted, at_ms)
                if not may_deliver(self._directory, bucket, target, key):
                    log.warning("access logs may not be written", bucket=bucket.name, key=key)
                    return False
                await self._put(target, key, "".join(f"{line.text}\n" for line in part).encode())
        return True

    def _key(self, bucket: Bucket, wanted: Any, at_ms: int) -> str:
        """The key behind the prefix."""
        second = iso_second(at_ms // 1000)[:-1].replace("T", "-").replace(":", "-")
        name = f"{second}-{self._randomness.token(8).hex().upper()}"
        if wanted.TargetObjectKeyFormat.PartitionedPrefix is None:
            return name
        year, month, day = second.split("-")[:3]
        return f"{bucket.owner}/{bucket.region}/{bucket.name}/{year}/{month}/{day}/{name}"

    async def _put(self, target: Bucket, key: str, body: bytes) -> None:
        stamp = await self._names.stamp()
        version = Version(
            target.id,
            key,
            vid_at(target, stamp),
            stamp,
            Kind.OBJECT,
            len(body),
            hashlib.md5(body, usedforsecurity=False).hexdigest(),
            Meta(content_type="text/plain", crc64=crc64nvme(body)),
            [],
            registers=born(target, stamp, hashlib.sha256(body).hexdigest())
            if notarizes(target)
            else {},
        )
        extents = await self._objects.put(version_ident(version), body, tier=tier_of(target))
        events = (
            records(target, "ObjectCreated:Put", of(version), Who(), self._host_id)
            if self._notifications
            else ()
        )
        await self._names.put(replace(version, extents=extents), events=events)


def _bounded(lines: Sequence[Line]) -> Iterable[list[Line]]:
    """The lines in pieces that fit into an object each."""
    piece: list[Line] = []
    size = 0
    for line in lines:
        length = len(line.text) + 1
        if size + length > OBJECT_BYTES_MAX:
            yield piece
            piece, size = [], 0
        piece.append(line)
        size += length
    if piece:
        yield piece


def _by_day(lines: Sequence[Line]) -> Iterable[list[Line]]:
    days: defaultdict[int, list[Line]] = defaultdict(list)
    for line in lines:
        days[line.at_ms // 86_400_000].append(line)
    return days.values()


def _by_event(wanted: Any) -> bool:
    partitioned = wanted.TargetObjectKeyFormat.PartitionedPrefix
    return partitioned is not None and partitioned.PartitionDateSource == "EventTime"
