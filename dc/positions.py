"""Positions: what names a write to whoever wants to see it in another datacenter.

A position is the stamp of the write and what item it was of: a version, or a setting of a bucket.
The item is told because the feed carries only the last change of each: a write that was replaced
before it was sent never comes, but a later one of the same item does, and is as good.

As text it is `1-`, the 32 hex digits of the stamp, and 16 of the item: 64 bits of BLAKE2b over the
bucket's id, the key and the version id. Nobody needs to read it but who made it, or its peers.
"""

from hashlib import blake2b
from typing import NamedTuple

from dc.stamps import STAMP_LENGTH, Stamp, is_stamp

_FORM = "1-"
_ITEM_BYTES = 8
_STOP = len(_FORM) + STAMP_LENGTH
POSITION_LENGTH = _STOP + 2 * _ITEM_BYTES
_HEX = frozenset("0123456789abcdef")


class Position(NamedTuple):
    """Of one write."""

    stamp: Stamp
    item: str

    def text(self) -> str:
        return f"{_FORM}{self.stamp}{self.item}"


def item_of(bucket_id: str, key: str, vid: str) -> str:
    """The item that a version is, "" for the null one. No key is empty: with "", it is the bucket,
    or with a name for the version id that setting of the bucket."""
    text = f"{bucket_id}\0{key}\0{vid}"
    return blake2b(text.encode(), digest_size=_ITEM_BYTES).hexdigest()


def position_of(stamp: Stamp, bucket_id: str, key: str = "", vid: str = "") -> Position:
    return Position(stamp, item_of(bucket_id, key, vid))


def read_position(text: str) -> Position:
    """ValueError for what is none."""
    stamp, item = text[len(_FORM) : _STOP], text[_STOP:]
    good = len(text) == POSITION_LENGTH and text.startswith(_FORM)
    if not good or not is_stamp(stamp) or not _HEX.issuperset(item):
        raise ValueError(f"{text[:80]!r} is no position")
    return Position(stamp, item)
