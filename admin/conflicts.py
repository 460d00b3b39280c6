"""The conflicts in the admin API: what two datacenters did without having seen each other, and what
the merge did not decide for good.

    GET  /conflicts?bucket=NAME&after=NEXT&limit=N      the first page says how many objects
    GET  /conflicts/{id}
    POST /conflicts/restore {"ids"}     write losers again; they replace what is current
    POST /conflicts/drop {"ids"}        keep losers no longer

Three kinds. An *object* is a write that lost; its id is that of the bucket and the stamp of the
write. A *bucket-name* is a bucket that is shown by another name, because its own went to an older
bucket of another owner; its id is the bucket's. A *user-email* is one of several users with one
email address; its id is the user's. The last two end when somebody deletes one of the two, so
restore and drop are of objects only. Of several ids, each is done or not by itself.
"""

import base64
import binascii
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
from aiohttp import web
from msgspec import Meta

from admin.reply import answer, body
from dc.names.api import BytesMissing, Names, NoSuchBucket, NoSuchConflict
from dc.names.model import Bucket, Conflict, Kind, User, Version
from dc.stamps import Stamp, stamp_ms, stamp_origin, utc_text

PAGE_MAX = 1000
IDS_MAX = 1000
_OBJECT_ID = re.compile(r"([0-9a-f]{16})-([0-9a-f]{32})", re.ASCII)
_OTHER_ID = re.compile(r"[0-9a-f]{16}|[0-9a-f]{64}", re.ASCII)
_NOT_OBJECTS = "is no object: only the losing write of an object can be restored or dropped"

Position = tuple[str, str, str]


Id = Annotated[str, Meta(max_length=100)]


class Ids(msgspec.Struct, forbid_unknown_fields=True):
    ids: Annotated[list[Id], Meta(min_length=1, max_length=IDS_MAX)]


class _Found(NamedTuple):
    """An id that was asked for, and what it stands for."""

    id: str
    conflict: Conflict | None


class ConflictsApi:
    """Of one datacenter."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/conflicts", self._list),
            web.get("/conflicts/{id}", self._show),
            web.post("/conflicts/restore", self._restore),
            web.post("/conflicts/drop", self._drop),
        ]

    # -- reading ------------------------------------------------------------------------------

    async def _list(self, request: web.Request) -> web.Response:
        name, next_one = request.query.get("bucket", ""), request.query.get("after", "")
        limit = msgspec.convert(request.query.get("limit", PAGE_MAX), int, strict=False)
        if not 1 <= limit <= PAGE_MAX:
            raise msgspec.ValidationError(f"limit must be from 1 to {PAGE_MAX}")
        bucket_id = self._bucket_id(name) if name else ""
        shown: list[dict[str, Any]] = []
        if not next_one:
            shown += self._of_names(bucket_id)
            shown += [] if name else self._of_emails()
        after = _decode_position(next_one) if next_one else ("", "", "")
        found = await self._names.conflicts(bucket_id=bucket_id, after=after, limit=limit)
        last = found[-1].loser if len(found) == limit else None
        facts: dict[str, Any] = {
            "conflicts": shown + [self._object(one) for one in found],
            "next": _encode_position((last.bucket, last.key, last.stamp)) if last else "",
        }
        if not next_one:
            facts["objects"] = await self._names.conflict_count()
        return answer(facts)

    async def _show(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        for one in [*self._of_names(""), *self._of_emails()]:
            if one["id"] == wanted:
                return answer(one)
        (found,) = await self._find([wanted])
        if found.conflict is None:
            raise NoSuchConflict(f"there is no conflict {wanted[:80]!r}")
        loser = found.conflict.loser
        facts = self._object(found.conflict)
        facts |= {"state": "gone" if found.conflict.gone else "kept"} | _content(loser)
        facts["attributes"] = {
            name: {"value": one.value, **self._made(one.stamp)}
            for name, one in sorted(loser.registers.items())
        }
        current = await self._names.version(loser.bucket, loser.key, loser.vid)
        facts["current"] = self._current(current)
        if current is not None:
            facts["current"] |= _content(current)
            facts["same_bytes"] = (current.size, current.etag) == (loser.size, loser.etag)
        return answer(facts)

    # -- changing -----------------------------------------------------------------------------

    async def _restore(self, request: web.Request) -> web.Response:
        async def restore(conflict: Conflict) -> dict[str, Any]:
            loser = conflict.loser
            item = (loser.bucket, loser.key)
            before = await self._names.version(*item, loser.vid)
            again = await self._names.restore_conflict(*item, loser.stamp)
            return {
                "bucket": self._shown_name(loser.bucket),
                "key": again.key,
                "version_id": again.vid or "null",
                "size": again.size,
                "etag": again.etag,
                **self._made(again.stamp),
                "replaced": self._current(before),
            }

        return await self._each(await body(request, Ids), restore)

    async def _drop(self, request: web.Request) -> web.Response:
        async def drop(conflict: Conflict) -> dict[str, Any]:
            loser = conflict.loser
            await self._names.drop_conflict(loser.bucket, loser.key, loser.stamp)
            return {"bucket": self._shown_name(loser.bucket), "key": loser.key}

        return await self._each(await body(request, Ids), drop)

    async def _each(
        self, wanted: Ids, act: Callable[[Conflict], Awaitable[dict[str, Any]]]
    ) -> web.Response:
        done, failed = [], []
        for found in await self._find(wanted.ids):
            try:
                if found.conflict is None or found.conflict.gone:
                    raise NoSuchConflict(_why_not(found.id))
                done.append({"id": found.id, **await act(found.conflict)})
            except (NoSuchConflict, BytesMissing) as error:
                failed.append({"id": found.id, "reason": str(error)})
            except NoSuchBucket:
                reason = "its bucket was deleted: let its owner make it again, under the same name"
                failed.append({"id": found.id, "reason": reason})
        return answer({"done": done, "failed": failed})

    async def _find(self, ids: Sequence[str]) -> list[_Found]:
        """What each id stands for, with one query for each bucket."""
        stamps: dict[str, list[Stamp]] = {}
        for one in ids:
            if parsed := _OBJECT_ID.fullmatch(one):
                stamps.setdefault(parsed[1], []).append(parsed[2])
            elif not _OTHER_ID.fullmatch(one):
                raise msgspec.ValidationError(f"{one!r} is no id of a conflict")
        known: dict[str, Conflict] = {}
        for bucket_id, wanted in stamps.items():
            for conflict in await self._names.conflicts_of(bucket_id, wanted):
                known[_id_of(conflict)] = conflict
        return [_Found(one, known.get(one)) for one in dict.fromkeys(ids)]

    # -- what is shown ------------------------------------------------------------------------

    def _object(self, conflict: Conflict) -> dict[str, Any]:
        loser = conflict.loser
        bucket = self._names.directory.bucket_by_id(loser.bucket)
        kept_ms = stamp_ms(conflict.winner) + self._names.knowledge.conflict_retention_ms
        return {
            "id": _id_of(conflict),
            "kind": "object",
            "bucket": self._shown_name(loser.bucket),
            "bucket_id": loser.bucket,
            "bucket_deleted": bucket is None or not bucket.live,
            "key": loser.key,
            "version_id": loser.vid or "null",
            "size": loser.size,
            "etag": loser.etag,
            **self._made(loser.stamp),
            "lost_to": self._made(conflict.winner),
            "kept_until": utc_text(kept_ms),
        }

    def _current(self, version: Version | None) -> dict[str, Any]:
        if version is None:
            return {"kind": "deleted"}
        is_object = version.kind == Kind.OBJECT
        return {
            "kind": "object" if is_object else "delete marker",
            "version_id": version.vid or "null",
            **self._made(version.stamp),
        }

    def _of_names(self, bucket_id: str) -> Iterable[dict[str, Any]]:
        directory = self._names.directory
        for bucket in directory.renamed_buckets():
            winner = directory.bucket(bucket.name)
            assert winner is not None
            if bucket_id in ("", bucket.id, winner.id):
                yield {
                    "id": bucket.id,
                    "kind": "bucket-name",
                    "bucket": self._shown_name(bucket.id),
                    "name": bucket.name,
                    **self._owned(bucket),
                    "lost_to": {"bucket_id": winner.id, **self._owned(winner)},
                }

    def _owned(self, bucket: Bucket) -> dict[str, Any]:
        user = self._names.directory.user(bucket.owner)
        return {
            "owner": bucket.owner,
            "owner_email": user.email if user else None,
            **self._made(bucket.created),
        }

    def _of_emails(self) -> Iterable[dict[str, Any]]:
        directory = self._names.directory
        for user in twins(directory.users()):
            yield {
                "id": user.id,
                "kind": "user-email",
                "email": user.email,
                "access_keys": [key.id for key in directory.keys_of(user.id)],
                "buckets": len(directory.buckets_of(user.id)),
                **self._made(user.stamp),
            }

    def _made(self, stamp: Stamp) -> dict[str, str]:
        """When and where."""
        dc_id = stamp_origin(stamp)
        site = self._names.directory.site(dc_id)
        return {"written": utc_text(stamp_ms(stamp)), "site": site.name if site else dc_id}

    def _shown_name(self, bucket_id: str) -> str:
        bucket = self._names.directory.bucket_by_id(bucket_id)
        return self._names.directory.shown_name(bucket_id) or (bucket.name if bucket else "")

    def _bucket_id(self, name: str) -> str:
        """Of the bucket found by that name, or of a deleted one with that id."""
        directory = self._names.directory
        bucket = directory.bucket(name) or directory.bucket_by_id(name)
        if bucket is None:
            raise NoSuchBucket(f"there is no bucket {name[:80]!r}")
        return bucket.id


def twins(users: Sequence[User]) -> list[User]:
    """Those who share an email address with another."""
    counted = Counter(user.email for user in users)
    return [user for user in users if counted[user.email] > 1]


def _content(version: Version) -> dict[str, Any]:
    meta = version.meta
    return {
        "size": version.size,
        "etag": version.etag,
        "content_type": meta.content_type,
        "headers": meta.headers,
        "user_metadata": meta.user,
        "checksums": meta.checksums,
        "parts": len(meta.parts),
    }


def _id_of(conflict: Conflict) -> str:
    return f"{conflict.loser.bucket}-{conflict.loser.stamp}"


def _why_not(wanted: str) -> str:
    if _OTHER_ID.fullmatch(wanted):
        return _NOT_OBJECTS
    return "there is no such conflict, or it has been settled already"


def _encode_position(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def _decode_position(text: str) -> Position:
    try:
        position: Position = msgspec.json.decode(base64.urlsafe_b64decode(text), type=Position)
        return position
    except (binascii.Error, ValueError) as error:
        raise msgspec.ValidationError(f"after must be what `next` was: {error}") from None
