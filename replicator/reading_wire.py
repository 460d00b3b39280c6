"""What a DC asks another one for a client of its own that waits: shapes and checks.

    GET  /v2/read      a range of bytes of a version, as `/v2/body`, but only to pass on
    POST /v2/current   what there is of one key
    POST /v2/list      a page of a listing
    POST /v2/versions  a page of a listing of versions

Bodies and answers are msgpack arrays. As everywhere, what is read was written by somebody else:
anything but exactly these shapes, within these bounds, is a `WireError`.
"""

import re
from itertools import pairwise
from typing import Annotated

import msgspec

from dc.names.model import Kind
from dc.names.news import ToldOf
from dc.names.pages import Listed, ListedVersion, Page, VersionPage
from dc.stamps import is_stamp, version_id
from replicator.compare_wire import Name, check_key, need
from replicator.limits import (
    KEY_BYTES_MAX,
    LIST_KEYS_MAX,
    LIST_TEXT_CHARACTERS_MAX,
    RECORD_BYTES_MAX,
)
from replicator.wire import Short, Size

_HEX16 = re.compile(r"[0-9a-f]{16}", re.ASCII).fullmatch
_ETAG = re.compile(r"[0-9A-Za-z_-]{0,128}", re.ASCII).fullmatch
_ALGORITHM = re.compile(r"[0-9a-z]{1,20}", re.ASCII).fullmatch
_WORD = re.compile(r"[A-Z_]{0,40}", re.ASCII).fullmatch
_ALGORITHMS_MAX = 16

Text = Annotated[str, msgspec.Meta(max_length=LIST_TEXT_CHARACTERS_MAX)]
Key = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_BYTES_MAX)]


class _Shape(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class CurrentAsk(_Shape, frozen=True):
    """The current version of a key; with `vid` that version."""

    bucket: Name
    key: Key
    vid: Name | None


class Current(_Shape, frozen=True):
    """The encoded record of a version or, where there is none, of a tombstone; None for neither."""

    record: Annotated[bytes, msgspec.Meta(max_length=RECORD_BYTES_MAX)] | None


class ListAsk(_Shape, frozen=True):
    """The arguments of `Names.list_objects`."""

    bucket: Name
    prefix: Text
    delimiter: Text
    after: Text
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIST_KEYS_MAX)]


class VersionsAsk(_Shape, frozen=True):
    """The arguments of `Names.list_versions`, with a version id for every null version."""

    bucket: Name
    prefix: Text
    delimiter: Text
    after: Text
    after_vid: Name | None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIST_KEYS_MAX)]


class Row(_Shape, frozen=True):
    """An object: `dc.names.model.Listed`, and its version id."""

    key: Key
    vid: Name
    stamp: Name
    size: Size
    etag: Short
    checksums: Annotated[dict[str, Short], msgspec.Meta(max_length=_ALGORITHMS_MAX)]
    checksum_type: Short
    storage_class: Short

    @property
    def listed(self) -> Listed:
        return Listed(
            self.key,
            self.stamp,
            self.size,
            self.etag,
            self.checksums,
            self.checksum_type,
            self.storage_class,
        )

    @property
    def told(self) -> ToldOf:
        return ToldOf(self.key, self.vid, self.stamp)


class Listing(_Shape, frozen=True):
    """A page: objects and common prefixes, each in order; and whether there are more."""

    rows: Annotated[list[Row], msgspec.Meta(max_length=LIST_KEYS_MAX)]
    prefixes: Annotated[list[Key], msgspec.Meta(max_length=LIST_KEYS_MAX)]
    truncated: bool

    @property
    def last(self) -> str:
        """The last key or common prefix."""
        keys = [row.key for row in self.rows[-1:]] + self.prefixes[-1:]
        return max(keys, default="")


class VersionRow(Row, frozen=True):
    """The same of a version or a delete marker: `dc.names.model.ListedVersion`."""

    kind: int

    def shown(self, *, latest: bool) -> ListedVersion:
        return ListedVersion(
            self.key,
            self.vid,
            self.stamp,
            Kind(self.kind),
            self.size,
            self.etag,
            self.checksums,
            self.checksum_type,
            self.storage_class,
            latest,
        )

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands: by key, the newest first."""
        return self.key, version_id(self.stamp)


class Versions(_Shape, frozen=True):
    """A page of versions; as `Listing`."""

    rows: Annotated[list[VersionRow], msgspec.Meta(max_length=LIST_KEYS_MAX)]
    prefixes: Annotated[list[Key], msgspec.Meta(max_length=LIST_KEYS_MAX)]
    truncated: bool

    @property
    def last(self) -> tuple[str, str | None]:
        """The last key and version id, or the last common prefix."""
        places = [row.place for row in self.rows[-1:]] + [(one, "") for one in self.prefixes[-1:]]
        key, vid = max(places, default=("", ""))
        return key, vid or None


encode = msgspec.msgpack.Encoder().encode


def check_current_ask(ask: CurrentAsk) -> None:
    need(_HEX16(ask.bucket), "bucket", ask.bucket)
    check_key(ask.key)
    need(not ask.vid or is_stamp(ask.vid), "version", ask.vid)


def check_list_ask(ask: ListAsk | VersionsAsk) -> None:
    need(_HEX16(ask.bucket), "bucket", ask.bucket)
    if isinstance(ask, VersionsAsk):
        need(ask.after_vid is None or is_stamp(ask.after_vid), "version", ask.after_vid)


def listing_of(page: Page, vids: list[str]) -> Listing:
    """What is told of a page; `vids` are the version ids of its objects."""
    rows = [
        Row(
            one.key,
            vid,
            one.stamp,
            one.size,
            one.etag,
            one.checksums,
            one.checksum_type,
            one.storage_class,
        )
        for one, vid in zip(page.objects, vids, strict=True)
    ]
    return Listing(rows, page.prefixes, page.truncated)


def versions_of(page: VersionPage) -> Versions:
    """What is told of a page of versions."""
    rows = [
        VersionRow(
            one.key,
            one.vid,
            one.stamp,
            one.size,
            one.etag,
            one.checksums,
            one.checksum_type,
            one.storage_class,
            one.kind,
        )
        for one in page.versions
    ]
    return Versions(rows, page.prefixes, page.truncated)


def check_listing(answer: Listing, ask: ListAsk) -> None:
    """WireError unless this can be the answer: what was asked for, in order, no more of it."""
    _check_page(answer, ask)
    for row in answer.rows:
        need(row.key > ask.after, "key", row.key)
    for before, key in pairwise(row.key for row in answer.rows):
        need(before < key, "order of keys", key)


def check_versions(answer: Versions, ask: VersionsAsk) -> None:
    """The same of versions."""
    _check_page(answer, ask)
    for row in answer.rows:
        after = (ask.after, ask.after_vid or "")
        need(row.place > after and (ask.after_vid or row.key > ask.after), "key", row.key)
        need(row.vid in ("", version_id(row.stamp)), "version", row.vid)
        need(row.kind in (Kind.OBJECT, Kind.DELETE_MARKER), "kind", row.kind)
        bare = row.kind == Kind.OBJECT or not (row.size or row.etag or row.checksums)
        need(bare, "delete marker", row.key)
    for before, place in pairwise(row.place for row in answer.rows):
        need(before < place, "order of versions", place)


def _check_page(answer: Listing | Versions, ask: ListAsk | VersionsAsk) -> None:
    count = len(answer.rows) + len(answer.prefixes)
    need(count <= ask.limit, "number of keys", count)
    need(count or not answer.truncated, "page", "empty")
    for row in answer.rows:
        _check_row(row)
        need(row.key.startswith(ask.prefix), "key", row.key)
        need(not ask.delimiter or _common(row.key, ask) == "", "key", row.key)
    for prefix in answer.prefixes:
        check_key(prefix)
        need(ask.delimiter and prefix.startswith(ask.prefix), "common prefix", prefix)
        need(_common(prefix, ask) == prefix, "common prefix", prefix)
        need(prefix > ask.after and not ask.after.startswith(prefix), "common prefix", prefix)
    for before, key in pairwise(answer.prefixes):
        need(before < key, "order of common prefixes", key)


def _check_row(row: Row) -> None:
    check_key(row.key)
    need(not row.vid or is_stamp(row.vid), "version", row.vid)
    need(is_stamp(row.stamp), "stamp", row.stamp)
    need(_ETAG(row.etag), "etag", row.etag)
    need(_WORD(row.checksum_type) and _WORD(row.storage_class), "class", row.storage_class)
    need(all(map(_ALGORITHM, row.checksums)), "checksums", "of an unknown kind")


def _common(key: str, ask: ListAsk | VersionsAsk) -> str:
    """The common prefix that a key has by the delimiter; "" for none."""
    place = key.find(ask.delimiter, len(ask.prefix))
    return key[: place + len(ask.delimiter)] if place >= 0 else ""
