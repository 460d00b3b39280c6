"""What a row of the feed, and an item that two DCs compare, is of: a number.

0 and 1 are `model.Kind`: versions. A version, a delete marker and a tombstone of one key and
version id are one item, whatever it is now; its kind is then 0 (`item_kind`).
"""

from typing import Final

TOMBSTONE: Final = 2
CONFLICT: Final = 3
FEED_BUCKET: Final = 10
"""This and those after it are records of the directory."""
FEED_USER: Final = 11
FEED_KEY: Final = 12
FEED_SITE: Final = 13

TABLES: Final = {
    FEED_BUCKET: "buckets",
    FEED_USER: "users",
    FEED_KEY: "keys",
    FEED_SITE: "sites",
}
"""Where the records of the directory are; each has an `id` and its place in the feed, `seq`."""


def item_kind(kind: int) -> int:
    """The kind of the item that something of this kind is of."""
    return 0 if kind <= TOMBSTONE else kind
