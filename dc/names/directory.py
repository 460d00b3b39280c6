"""The directory: buckets, users and keys in memory, always as committed.

Every request needs them, there are few of them, and they change seldom. It is loaded at start and
told of every change right after the commit, before the change's caller is.

Two live buckets of different owners under one name can exist after two DCs made them apart from
each other. The one created first has the name; the others are shown, to their owners, under
`NAME--conflict-` and the name of the DC that made them: what that DC says of itself, or eight
digits of its id while it is not known, or where the name cannot end a bucket's name. It follows
from the records alone, so all DCs that have the same records show the same. A bucket that was made
under such a name keeps it: the others are numbered. When the bucket with the name is deleted, the
next has it.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from dc.names.model import AccessKey, Bucket, Change, Site, User
from dc.stamps import stamp_origin

_NAME_MAX = 63
_USABLE = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
"""What may follow `--conflict-`: as the name of a DC, but for what S3 reserves or refuses."""
_RESERVED = ("s3alias", "-s3")


class MemoryDirectory:
    """Implements `dc.names.api.Directory`."""

    def __init__(self) -> None:
        self._buckets: dict[str, Bucket] = {}
        self._numbers: dict[str, int] = {}
        self._ids: dict[int, str] = {}
        self._named: dict[str, Bucket] = {}
        self._shown: dict[str, str] = {}
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
                rename = True
        if rename:
            self._named = _by_name(self._buckets.values(), self._sites)
            self._shown = {bucket.id: name for name, bucket in self._named.items()}

    # -- what everybody asks -------------------------------------------------------------------

    def bucket(self, name: str) -> Bucket | None:
        return self._named.get(name)

    def bucket_by_id(self, bucket_id: str) -> Bucket | None:
        return self._buckets.get(bucket_id)

    def shown_name(self, bucket_id: str) -> str:
        return self._shown.get(bucket_id, "")

    def renamed_buckets(self) -> list[Bucket]:
        renamed = [
            self._buckets[bucket.id]
            for name, bucket in self._named.items()
            if self._buckets[bucket.id].name != name
        ]
        return sorted(renamed, key=lambda bucket: (bucket.name, bucket.created))

    def all_buckets(self) -> list[Bucket]:
        return list(self._buckets.values())

    def record_count(self) -> int:
        made = sum(1 for bucket in self._buckets.values() if bucket.created)
        return made + len(self._users) + len(self._keys) + len(self._sites)

    def buckets_of(self, owner: str) -> list[Bucket]:
        mine = [bucket for bucket in self._named.values() if bucket.owner == owner]
        return sorted(mine, key=lambda bucket: bucket.name)

    def site(self, dc_id: str) -> Site | None:
        return self._sites.get(dc_id)

    def sites(self) -> list[Site]:
        return sorted(self._sites.values(), key=lambda site: (site.name, site.dc_id))

    def user(self, user_id: str) -> User | None:
        user = self._users.get(user_id)
        return None if user is None or user.deleted else user

    def users_of_email(self, email: str) -> list[User]:
        return [user for user in self._users.values() if user.email == email and not user.deleted]

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


def _by_name(buckets: Iterable[Bucket], sites: Mapping[str, Site]) -> dict[str, Bucket]:
    """The live buckets under the names they are shown by."""
    named: dict[str, Bucket] = {}
    others: list[Bucket] = []
    for bucket in sorted(buckets, key=lambda bucket: (bucket.created, bucket.id)):
        if bucket.live and named.setdefault(bucket.name, bucket) is not bucket:
            others.append(bucket)
    for bucket in others:
        suffix = f"--conflict-{_site_mark(stamp_origin(bucket.created), sites)}"
        name, number = _ending(bucket.name, suffix), 2
        while name in named:
            name, number = _ending(bucket.name, f"{suffix}-{number}"), number + 1
        named[name] = msgspec.structs.replace(bucket, name=name)
    return named


def _ending(name: str, suffix: str) -> str:
    return name[: _NAME_MAX - len(suffix)].rstrip("-.") + suffix


def _site_mark(dc_id: str, sites: Mapping[str, Site]) -> str:
    """What names a DC at the end of a bucket's name."""
    site = sites.get(dc_id)
    if site is None or not _USABLE.fullmatch(site.name) or site.name.endswith(_RESERVED):
        return dc_id[:8]
    return site.name
