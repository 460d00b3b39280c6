"""The directory as others see it: buckets, users and keys (`dc/names/directory.py` is it)."""

from collections.abc import Iterable
from typing import Protocol

from dc.names.model import AccessKey, Bucket, Change, Peer, Site, User


class Directory(Protocol):
    """Buckets, users and keys, from memory."""

    def bucket(self, name: str) -> Bucket | None:
        """The live bucket of that name."""
        ...

    def bucket_by_id(self, bucket_id: str) -> Bucket | None:
        """The bucket with that identity, live or deleted."""
        ...

    def shown_name(self, bucket_id: str) -> str:
        """The name that a live bucket is found by here; "" of any other."""
        ...

    def renamed_buckets(self) -> list[Bucket]:
        """The live buckets that are shown by another name than their own, with their own."""
        ...

    def all_buckets(self) -> list[Bucket]:
        """All that were ever made, under the names they were made with."""
        ...

    def record_count(self) -> int:
        """How many records are in the directory's tree."""
        ...

    def buckets_of(self, owner: str) -> list[Bucket]:
        """The live buckets of a user, by name."""
        ...

    def site(self, dc_id: str) -> Site | None:
        """What a DC says of itself."""
        ...

    def sites(self) -> list[Site]:
        """All DCs that are known of, by name."""
        ...

    def user(self, user_id: str) -> User | None: ...

    def users_of_email(self, email: str) -> list[User]:
        """Those who have an email address, in no order."""
        ...

    def users(self) -> list[User]:
        """All that are not deleted, by email."""
        ...

    def key(self, key_id: str) -> AccessKey | None:
        """A key that is not deleted, of a user that is not deleted."""
        ...

    def keys_of(self, user_id: str) -> list[AccessKey]: ...


class DirectoryCopies(Protocol):
    """The copies of a directory that others have (`dc/remote/copies.py`)."""

    def changed(self, changes: Iterable[Change], peers: list[Peer] | None) -> None:
        """These records are committed; `peers` are all there are, None when they are as before."""
        ...

    async def settled(self) -> None:
        """Return when nobody uses a copy that lacks what was committed before the call."""
        ...


class NoCopies:
    """There are none."""

    def changed(self, changes: Iterable[Change], peers: list[Peer] | None) -> None:
        pass

    async def settled(self) -> None:
        pass
