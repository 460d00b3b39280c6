"""The directory: buckets, users and keys in memory, always as committed.

Every request needs them, there are few of them, and they change seldom. It is loaded at start and
told of every change right after the commit, before the change's caller is.

Two live buckets of different owners under one name can exist after two DCs made them apart from
each other. The one created first has the name; the others are shown, to their owners, under
`NAME--conflict-` and the id of the DC that made them.
"""

from collections.abc import Iterable

import msgspec

from dc.names.model import AccessKey, Bucket, Change, Site, User
from dc.stamps import stamp_origin

_NAME_MAX = 63


class MemoryDirectory:
    """Implements `dc.names.api.Directory`."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._named: dict[str, Bucket] = {}
        self._users: dict[str, User] = {}
        self._keys: dict[str, AccessKey] = {}
        self._sites: dict[str, Site] = {}

    # -- what the name servers tell it ---------------------------------------------------------

    def number(self, bucket_id: str) -> int:
        """The bucket's number in the tables, or 0."""
        return self._numbers.get(bucket_id, 0)

    def set_number(self, bucket_id: str, number: int) -> None:
        self._numbers[bucket_id] = number
        self._ids[number] = bucket_id

    def id_of(self, number: int) -> str:
        """The id of the bucket with that number."""
        return self._ids[number]

    def everything(self) -> list[Change]:
        """All records, also of what was deleted."""
        return [
            *self._buckets.values(),
            *self._users.values(),
            *self._keys.values(),
            *self._sites.values(),
        ]

    def update(self, changes: Iterable[Change]) -> None:
        """Take over records as they now are in the tables."""
        rename = False
        for change in changes:
            if isinstance(change, Bucket):
                self._buckets[change.id] = change
                rename = True
            elif isinstance(change, User):
                self._users[change.id] = change
            elif isinstance(change, AccessKey):
                self._keys[change.id] = change
            elif isinstance(change, Site):
                self._sites[change.dc_id] = change
        if rename:
            self._named = _by_name(self._buckets.values())

    # -- what everybody asks -------------------------------------------------------------------

    def bucket(self, name: str) -> Bucket | None:
        return self._named.get(name)

    def bucket_by_id(self, bucket_id: str) -> Bucket | None:
        return self._buckets.get(bucket_id)

    def buckets_of(self, owner: str) -> list[Bucket]:
        mine = [bucket for bucket in self._named.values() if bucket.owner == owner]
        return sorted(mine, key=lambda bucket: bucket.name)

    def site(self, dc_id: str) -> Site | None:
        return self._sites.get(dc_id)

    def user(self, user_id: str) -> User | None:
        user = self._users.get(user_id)
        return None if user is None or user.deleted else user

    def user_by_email(self, email: str) -> User | None:
        found = [user for user in self._users.values() if user.email == email and not user.deleted]
        return min(found, key=lambda user: user.stamp, default=None)

    def users(self) -> list[User]:
        live = [user for user in self._users.values() if not user.deleted]
        return sorted(live, key=lambda user: (user.email, user.stamp))

    def key(self, key_id: str) -> AccessKey | None:
        key = self._keys.get(key_id)
        if key is None or key.deleted or self.user(key.user) is None:
            return None
        return key

    def keys_of(self, user_id: str) -> list[AccessKey]:
        live = [key for key in self._keys.values() if key.user == user_id and not key.deleted]
        return sorted(live, key=lambda key: (key.stamp, key.id))


def _by_name(buckets: Iterable[Bucket]) -> dict[str, Bucket]:
    """The live buckets under the names they are shown by."""
    named: dict[str, Bucket] = {}
    for bucket in sorted(buckets, key=lambda bucket: (bucket.created, bucket.id)):
        if not bucket.live:
            continue
        name = bucket.name
        if name in named:
            suffix = f"--conflict-{stamp_origin(bucket.created)[:8]}"
            name = bucket.name[: _NAME_MAX - len(suffix)] + suffix
        again, number = name, 2
        while name in named:
            name = again[: _NAME_MAX - len(str(number)) - 1] + f"-{number}"
            number += 1
        named[name] = bucket if name == bucket.name else _renamed(bucket, name)
    return named


def _renamed(bucket: Bucket, name: str) -> Bucket:
    return msgspec.structs.replace(bucket, name=name)
