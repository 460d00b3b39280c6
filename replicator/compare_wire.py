"""What two DCs say to each other to find out how they differ: shapes and checks.

    POST /v2/roots     the roots of all trees; feed, coverage
    POST /v2/leaves    a tree's leaves, in two levels: 64 hashes over 64 leaves each, then leaves
    POST /v2/items     the items in some leaves of a bucket, page by page
    POST /v2/states    what items are now
    POST /v2/records   the records of items, as they would come by the feed
    POST /v2/pull      be asked to fetch the records of items
    POST /v2/buckets   the names of buckets

Bodies and answers are msgpack arrays. As everywhere, what is read was written by somebody else:
anything but exactly these shapes, within these bounds, is a `WireError`.
"""

import re
from typing import Annotated

import msgspec

from dc.names.coverage import Coverage
from dc.names.kinds import CONFLICT, TABLES, TOMBSTONE
from dc.names.model import Interval, ItemState, Kind, LeafItem
from dc.names.seen import is_seen
from dc.names.trees import HASH_BYTES, LEAVES, leaf_of
from replicator.errors import WireError, printable
from replicator.limits import (
    COMPARE_BUCKETS_MAX,
    COMPARE_ITEMS_ASKED_MAX,
    COMPARE_VERSIONS_MAX,
    INTERVALS_MAX,
    KEY_BYTES_MAX,
    NAME_CHARACTERS_MAX,
)
from replicator.wire import Count

GROUPS = 64
GROUP_LEAVES = LEAVES // GROUPS
BITMAP_BYTES = LEAVES // 8
KINDS = frozenset({*Kind, TOMBSTONE, CONFLICT, *TABLES})
_HEX16 = re.compile(r"[0-9a-f]{16}", re.ASCII).fullmatch
_HEX32 = re.compile(r"[0-9a-f]{32}", re.ASCII).fullmatch

Id16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Short = Annotated[str, msgspec.Meta(max_length=NAME_CHARACTERS_MAX)]
Name = Annotated[str, msgspec.Meta(max_length=64)]
Item = tuple[Name, int, Annotated[str, msgspec.Meta(max_length=KEY_BYTES_MAX)], Name]
"""(bucket id, kind, key, vid): the bucket "" is the directory. See `dc.names.model.LeafItem`."""
Items = Annotated[list[Item], msgspec.Meta(max_length=COMPARE_ITEMS_ASKED_MAX)]


class _Shape(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    pass


class RootsAsk(_Shape, frozen=True):
    """After which bucket id (None: from the beginning); the root of all that the asker has: when it
    is ours, no more is said; and whether the coverage is wanted."""

    after: Name | None
    root: Name
    coverage: bool


class Roots(_Shape, frozen=True):
    """`root` of everything; the feed's epoch and end; `reconciling`: this DC is about to find out
    what it missed of the asker's deletions; coverage; (bucket id, root) by id; whether there are
    more."""

    root: Name
    epoch: Name
    end: Count
    reconciling: bool
    intervals: Annotated[list[tuple[Name, Name, Name]], msgspec.Meta(max_length=INTERVALS_MAX)]
    roots: Annotated[list[tuple[Name, Name]], msgspec.Meta(max_length=COMPARE_BUCKETS_MAX)]
    more: bool


class LeavesAsk(_Shape, frozen=True):
    """Which groups of which tree; none: the hashes of all groups."""

    bucket: Name
    groups: Annotated[
        list[Annotated[int, msgspec.Meta(ge=0, lt=GROUPS)]], msgspec.Meta(max_length=GROUPS)
    ]


class Leaves(_Shape, frozen=True):
    """16 bytes each: the groups' hashes, or the leaves of the groups asked for."""

    hashes: Annotated[bytes, msgspec.Meta(max_length=LEAVES * HASH_BYTES)]


class ItemsAsk(_Shape, frozen=True):
    """The items of those leaves (a bit for each) whose keys are after `after`."""

    bucket: Name
    leaves: Annotated[bytes, msgspec.Meta(min_length=BITMAP_BYTES, max_length=BITMAP_BYTES)]
    after: Annotated[str, msgspec.Meta(max_length=KEY_BYTES_MAX)]


Member = tuple[int, Annotated[bytes, msgspec.Meta(max_length=HASH_BYTES)], Id16, Id16]
"""(kind, vid, stamp, hash); the vid is empty or of 16 bytes."""


class ItemsPage(_Shape, frozen=True):
    """Items by key; and what to go on after, "" at the end."""

    keys: Annotated[
        list[
            tuple[
                Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_BYTES_MAX)],
                Annotated[list[Member], msgspec.Meta(max_length=COMPARE_VERSIONS_MAX)],
            ]
        ],
        msgspec.Meta(max_length=COMPARE_VERSIONS_MAX),
    ]
    last: Annotated[str, msgspec.Meta(max_length=KEY_BYTES_MAX)]


class ItemsAsked(_Shape, frozen=True):
    """For states, records and pulls."""

    items: Items


State = tuple[int, Name, Name, str]
"""`dc.names.model.ItemState`."""


class States(_Shape, frozen=True):
    """Of each item asked for, in order; None: it is not there. `epoch` and `end` of the feed after
    they were read; then, up to where all of the asker's feed has taken effect there."""

    states: Annotated[list[State | None], msgspec.Meta(max_length=COMPARE_ITEMS_ASKED_MAX)]
    epoch: Name
    end: Count
    taken_epoch: Name
    taken: Count
    reconciling: bool


class Records(_Shape, frozen=True):
    """The encoded records of the first `looked` items asked for, those that are there."""

    looked: Count
    records: Annotated[list[bytes], msgspec.Meta(max_length=COMPARE_ITEMS_ASKED_MAX)]


class Pulled(_Shape, frozen=True):
    """How many records were put into the inbox."""

    count: Count


class BucketsAsk(_Shape, frozen=True):
    """After which bucket id."""

    after: Name


class Buckets(_Shape, frozen=True):
    """(id, name, when created, whether it lives), by id; and whether there are more."""

    buckets: Annotated[
        list[tuple[Name, Short, Name, bool]], msgspec.Meta(max_length=COMPARE_BUCKETS_MAX)
    ]
    more: bool


encode = msgspec.msgpack.Encoder().encode


def need(right: object, what: str, value: object) -> None:
    """WireError unless it is right."""
    if not right:
        raise WireError(f"a comparison's {what} cannot be {printable(value)}")


def check_bucket(bucket: str) -> None:
    need(not bucket or _HEX16(bucket), "bucket", bucket)


def check_items(items: list[Item]) -> None:
    for bucket, kind, key, vid in items:
        check_bucket(bucket)
        need(kind in KINDS and (kind in TABLES) == (not bucket), "kind", kind)
        check_key(key)
        need(not vid or _HEX32(vid), "version", vid)


def check_key(key: str) -> None:
    length = len(key) if key.isascii() else len(key.encode("utf-8", "surrogatepass"))
    need(1 <= length <= KEY_BYTES_MAX and "\0" not in key, "key", key)


def check_roots(answer: Roots, after: str | None) -> None:
    """Ids ascend, or there would be no end."""
    need(_HEX32(answer.root), "root", answer.root)
    before = after
    for bucket, root in answer.roots:
        check_bucket(bucket)
        need(_HEX32(root), "root", root)
        need(before is None or bucket > before, "order", bucket)
        before = bucket
    need(answer.roots or not answer.more, "page", "empty")
    for origin, low, high in answer.intervals:
        need(_HEX16(origin), "origin", origin)
        need(not low or (_HEX32(low) and low.endswith(origin)), "interval", low)
        need(_HEX32(high) and high.endswith(origin), "interval", high)


def coverage_in(answer: Roots) -> Coverage:
    return Coverage(Interval(*one) for one in answer.intervals)


def check_buckets(answer: Buckets, after: str) -> None:
    before = after
    for bucket, name, created, _ in answer.buckets:
        need(_HEX16(bucket) and bucket > before, "bucket", bucket)
        need(name and name.isprintable(), "bucket name", name)
        need(_HEX32(created), "created", created)
        before = bucket
    need(answer.buckets or not answer.more, "page", "empty")


def bitmap(leaves: frozenset[int]) -> bytes:
    bits = bytearray(BITMAP_BYTES)
    for leaf in leaves:
        bits[leaf >> 3] |= 1 << (leaf & 7)
    return bytes(bits)


def leaves_in(bits: bytes) -> frozenset[int]:
    return frozenset(leaf for leaf in range(LEAVES) if bits[leaf >> 3] >> (leaf & 7) & 1)


def packed(items: list[LeafItem], last: str) -> ItemsPage:
    """Items by key, as a page."""
    keys: list[tuple[str, list[Member]]] = []
    for one in items:
        if not keys or keys[-1][0] != one.key:
            keys.append((one.key, []))
        from_hex = bytes.fromhex
        keys[-1][1].append((one.kind, from_hex(one.vid), from_hex(one.stamp), from_hex(one.hash)))
    return ItemsPage(keys, last)


def unpacked(page: ItemsPage, ask: ItemsAsk, leaves: frozenset[int]) -> list[LeafItem]:
    """The items of a page, which must be what was asked for."""
    found: list[LeafItem] = []
    before = ask.after
    for key, members in page.keys:
        check_key(key)
        need(key > before, "order of keys", key)
        need(leaf_of(key) in leaves, "key", key)
        before = key
        for kind, vid, stamp, hashed in members:
            need(kind in KINDS and kind != TOMBSTONE, "kind", kind)
            need((kind in TABLES) == (not ask.bucket), "kind", kind)
            need(len(vid) in (0, HASH_BYTES), "version", vid.hex())
            found.append(LeafItem(kind, key, vid.hex(), stamp.hex(), hashed.hex()))
    need(len(found) <= COMPARE_VERSIONS_MAX, "number of items", len(found))
    if page.last:
        check_key(page.last)
        need(page.last >= before and page.last > ask.after, "end of a page", page.last)
    return found


def checked_states(answer: States, asked: int) -> list[ItemState | None]:
    """The states, one for each item asked for."""
    need(len(answer.states) == asked, "number of states", len(answer.states))
    found: list[ItemState | None] = []
    for one in answer.states:
        if one is None:
            found.append(None)
            continue
        kind, stamp, hashed, seen = one
        need(kind in KINDS, "kind", kind)
        need(_HEX32(stamp), "stamp", stamp)
        need(not hashed or _HEX32(hashed), "hash", hashed)
        need(is_seen(seen), "seen", seen)
        found.append(ItemState(kind, stamp, hashed, seen))
    return found
