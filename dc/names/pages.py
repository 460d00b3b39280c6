"""A page of a listing: of keys, and of versions."""

import msgspec

from dc.names.model import Kind
from dc.stamps import Stamp


class Listed(msgspec.Struct, frozen=True, array_like=True):
    """What a listing shows of a version."""

    key: str
    stamp: Stamp
    size: int
    etag: str
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    storage_class: str = ""


class Page(msgspec.Struct, frozen=True):
    """One page of a listing: keys and common prefixes together are at most the limit asked for."""

    objects: list[Listed]
    prefixes: list[str]
    truncated: bool
    last: str
    """The last key or common prefix of the page: what the next page starts after."""

    @property
    def is_empty(self) -> bool:
        return not (self.objects or self.prefixes)


class ListedVersion(msgspec.Struct, frozen=True, array_like=True):
    """What a listing of versions shows of one."""

    key: str
    vid: str
    stamp: Stamp
    kind: Kind
    size: int
    etag: str
    checksums: dict[str, str] = {}
    checksum_type: str = ""
    storage_class: str = ""
    latest: bool = False


class VersionPage(msgspec.Struct, frozen=True):
    """One page of a listing of versions: versions and common prefixes together are at most the
    limit asked for."""

    versions: list[ListedVersion]
    prefixes: list[str]
    truncated: bool
    last_key: str
    last_vid: str | None
    """What the next page starts after: the key and the version id; None after a common prefix."""

    @property
    def is_empty(self) -> bool:
        return not (self.versions or self.prefixes)
