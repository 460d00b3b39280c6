"""A tree's leaves in two levels, so that little moves when little differs.

4,096 leaves of 16 bytes are 64 KiB. A group is 64 leaves, and has a hash: 64 of them say in 1 KiB
which groups differ, and each of those is 1 KiB.
"""

from collections.abc import Sequence
from hashlib import blake2b

from dc.names.trees import HASH_BYTES
from replicator.compare_wire import GROUP_LEAVES, GROUPS

GROUP_BYTES = GROUP_LEAVES * HASH_BYTES


def group_hashes(leaves: bytes) -> bytes:
    """16 bytes for each group."""
    return b"".join(
        blake2b(_group(leaves, group), digest_size=HASH_BYTES).digest() for group in range(GROUPS)
    )


def some_leaves(leaves: bytes, groups: Sequence[int]) -> bytes:
    """The leaves of these groups, one after the other."""
    return b"".join(_group(leaves, group) for group in groups)


def differing(ours: bytes, theirs: bytes) -> list[int]:
    """The places at which two rows of hashes differ."""
    assert len(ours) == len(theirs)
    size = HASH_BYTES
    count = len(ours) // size
    return [
        place
        for place in range(count)
        if ours[place * size : (place + 1) * size] != theirs[place * size : (place + 1) * size]
    ]


def _group(leaves: bytes, group: int) -> bytes:
    return leaves[group * GROUP_BYTES : (group + 1) * GROUP_BYTES]
