"""An event: what an item of the change feed is now, as JSON, and the topic that it is told to.

The page docs/events.md has the shape. It holds no secret: of access keys the id and the user, of
buckets and objects the names of attributes and when each was set, but not their values, which may
be policies. Data keys (`dc/keyring.py`) are not told at all.

MQTT topics are levels joined by `/`; `+` and `#` are wildcards, and NUL is forbidden. So a bucket's
name stands in one level, with every character but letters, digits and `._-` percent-encoded. Keys
of objects may have any characters and any length: they are in the JSON only.

Source: MQTT 3.1.1, section 4.7 (topic names).
"""

from typing import NamedTuple
from urllib.parse import quote

import msgspec

from dc.names.directory_api import Directory
from dc.names.model import (
    DATA_KEYS,
    AccessKey,
    Bucket,
    Change,
    Conflict,
    FeedEntry,
    Kind,
    Registers,
    Site,
    Tombstone,
    User,
    Version,
)
from dc.stamps import NO_DC, Stamp, stamp_ms, stamp_origin, utc_text

VERSION = 1

_encode = msgspec.json.Encoder().encode


class Told(NamedTuple):
    """An event, ready to be published."""

    topic: str
    payload: bytes


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The JSON. Fields that an event does not have are left out."""

    v: int
    kind: str
    dc: str
    """Who tells it: name and id."""
    dc_id: str
    epoch: str
    position: int
    """In that one's feed."""
    stamp: Stamp
    """Of the item's last change."""
    time: str
    """The same as a date in UTC, by the clock of the DC that made it."""
    origin: str
    """Which DC made that change: name and id; "" when none alone did."""
    origin_id: str
    local: bool
    """That is the one that tells."""
    bucket: str = ""
    bucket_id: str = ""
    key: str = ""
    version_id: str = ""
    """"" of the null version."""
    size: int | None = None
    """Bytes."""
    etag: str = ""
    content_type: str = ""
    attributes: dict[str, Stamp] = {}
    """When each was set or taken away last."""
    deleted: bool | None = None
    owner: str = ""
    region: str = ""
    user: str = ""
    """A canonical id."""
    email: str = ""
    access_key: str = ""
    name: str = ""
    loser: Stamp = ""
    """Of a conflict: the write that lost. `stamp` is the one that it lost to."""
    settled: bool | None = None
    """Of a conflict: it was restored, dropped, or kept for long enough."""


class Records:
    """Makes events of one DC."""

    def __init__(self, directory: Directory, name: str, dc_id: str, prefix: str) -> None:
        self._directory = directory
        self._name = name
        self._dc_id = dc_id
        self._prefix = f"{prefix}{quote(name, safe='._-')}"

    def told(self, epoch: str, entry: FeedEntry, kinds: frozenset[str]) -> Told | None:
        """The event of an entry; None when it is of none of these kinds."""
        change = entry.change
        kind = _kind(change)
        if kind not in kinds:
            return None
        stamp = _latest(change)
        origin = stamp_origin(stamp)
        record = Record(
            v=VERSION,
            kind=kind,
            dc=self._name,
            dc_id=self._dc_id,
            epoch=epoch,
            position=entry.seq,
            stamp=stamp,
            time=_date(stamp),
            origin=self._site(origin),
            origin_id="" if origin == NO_DC else origin,
            local=origin == self._dc_id,
            **self._about(change),  # type: ignore[arg-type]
        )
        levels = [self._prefix, kind]
        if record.bucket_id:
            levels.append(quote(record.bucket or record.bucket_id, safe="._-"))
        return Told("/".join(levels), _encode(record))

    def _about(self, change: Change) -> dict[str, object]:
        """The fields of a kind."""
        match change:
            case Version():
                return self._of_version(change)
            case Tombstone():
                return self._at(change.bucket, change.key, change.vid)
            case Conflict():
                of_loser = self._of_version(change.loser)
                return of_loser | {"loser": change.loser.stamp, "settled": change.gone}
            case Bucket():
                facts = {"owner": change.owner, "region": change.region}
                shown = self._at(change.id) | {"attributes": _set(change.registers)}
                return facts | shown | {"deleted": not change.live}
            case User():
                return {"user": change.id, "email": change.email, "deleted": change.deleted}
            case AccessKey():
                facts = {"access_key": change.id, "user": change.user}
                return facts | {"deleted": change.deleted}
            case Site():
                return {"name": change.name, "region": change.region}

    def _of_version(self, version: Version) -> dict[str, object]:
        at = self._at(version.bucket, version.key, version.vid)
        at |= {"attributes": _set(version.registers)}
        if version.kind == Kind.DELETE_MARKER:
            return at
        content_type = version.meta.content_type
        return at | {"size": version.size, "etag": version.etag, "content_type": content_type}

    def _at(self, bucket_id: str, key: str = "", vid: str = "") -> dict[str, object]:
        """A bucket is called what it is found by here; one that was deleted, what it was called."""
        bucket = self._directory.bucket_by_id(bucket_id)
        name = self._directory.shown_name(bucket_id) or (bucket.name if bucket else "")
        return {"bucket": name, "bucket_id": bucket_id, "key": key, "version_id": vid}

    def _site(self, dc_id: str) -> str:
        if dc_id == self._dc_id:
            return self._name
        site = self._directory.site(dc_id)
        return site.name if site else ""


def _kind(change: Change) -> str:
    """One of `dc.events.kinds.KINDS`; "" of what is not told."""
    match change:
        case Version():
            return "marker" if change.kind == Kind.DELETE_MARKER else "object"
        case Tombstone():
            return "deletion"
        case Conflict():
            return "conflict"
        case Bucket():
            return "bucket"
        case User():
            return "user"
        case AccessKey():
            return "" if change.user == DATA_KEYS else "key"
        case Site():
            return "datacenter"


def _latest(change: Change) -> Stamp:
    """The stamp of the last change of an item or of its attributes."""
    stamps = [change.stamp]
    if isinstance(change, Version | Bucket):
        stamps += [one.stamp for one in change.registers.values()]
    return max(stamps)


def _set(registers: Registers) -> dict[str, Stamp]:
    return {name: one.stamp for name, one in registers.items()}


def _date(stamp: Stamp) -> str:
    """As 2026-11-30T10:15:30.123Z; "" of what was never stamped."""
    try:
        return utc_text(stamp_ms(stamp)) if stamp else ""
    except (ValueError, OverflowError, OSError):
        return ""
