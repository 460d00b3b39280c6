"""The hash trees: for each bucket, 4,096 leaves that say what is in it, kept as it changes.

An item's hash is the first 128 bits of BLAKE2b over the JSON of all that is equal in all DCs. The
leaf that an item belongs to is found by the CRC-32 of its key; a leaf is the sum of its items'
hashes modulo 2^128, so a change subtracts one and adds another. Tree 0 holds buckets, users, keys
and sites. Tombstones are in no tree.

A tree is sparse while it is small, in memory and on disk. On disk the trees are written at
checkpoints; each transaction only logs its deltas, a few bytes in a table that grows at its end. At
start the log is added to the trees.

Two DCs with the same leaves hold the same, unless somebody works at deceiving: sums can be
forged, and a DC that lies may say anything.
"""

import sqlite3
import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any
from zlib import crc32

import msgspec

from dc.names.transaction import Delta

LEAVES = 4096
HASH_BYTES = 16
TREE_BYTES = LEAVES * HASH_BYTES
DIRECTORY = 0
"""The tree of buckets, users, keys and sites."""
_SPARSE_MAX = 512
_MODULUS = 1 << 128
_DELTA = struct.Struct("<IH16s")
_LEAF = struct.Struct("<H16s")

# Dicts sorted by name: whoever read them in whatever order, the hash is one.
_canonical = msgspec.json.Encoder(order="deterministic").encode


def leaf_of(key: str) -> int:
    """The leaf that a key's items belong to."""
    return crc32(key.encode("utf-8", "surrogatepass")) & (LEAVES - 1)


def item_hash(content: Sequence[Any]) -> str:
    """32 hex digits over everything that is equal in all DCs."""
    return blake2b(_canonical(content), digest_size=HASH_BYTES).hexdigest()


def delta(bucket: int, key: str, old: str, new: str) -> Delta:
    """The change of a tree when an item's hash becomes another; "" when it is not in it."""
    value = (int(new, 16) if new else 0) - (int(old, 16) if old else 0)
    return Delta(bucket, leaf_of(key), value % _MODULUS)


class Tree:
    """The leaves of one bucket."""

    def __init__(self, packed: bytes = b"") -> None:
        self._sparse: dict[int, int] = {}
        self._dense = bytearray()
        if len(packed) == TREE_BYTES:
            self._dense += packed
        else:
            for leaf, value in _LEAF.iter_unpack(packed):
                self._sparse[leaf] = int.from_bytes(value, "little")
        self._root: str | None = None

    def add(self, leaf: int, value: int) -> None:
        self._root = None
        if self._dense:
            at = leaf * HASH_BYTES
            old = int.from_bytes(self._dense[at : at + HASH_BYTES], "little")
            new = (old + value) % _MODULUS
            self._dense[at : at + HASH_BYTES] = new.to_bytes(HASH_BYTES, "little")
            return
        new = (self._sparse.get(leaf, 0) + value) % _MODULUS
        if new:
            self._sparse[leaf] = new
        else:
            self._sparse.pop(leaf, None)
        if len(self._sparse) > _SPARSE_MAX:
            self._dense = bytearray(self.leaves())
            self._sparse.clear()

    def leaves(self) -> bytes:
        """TREE_BYTES: all leaves, each 16 bytes, little-endian."""
        if self._dense:
            return bytes(self._dense)
        dense = bytearray(TREE_BYTES)
        for leaf, value in self._sparse.items():
            at = leaf * HASH_BYTES
            dense[at : at + HASH_BYTES] = value.to_bytes(HASH_BYTES, "little")
        return bytes(dense)

    def packed(self) -> bytes:
        """As it is stored: all leaves, or, of a sparse one, (leaf, value) of those there are."""
        if self._dense:
            return bytes(self._dense)
        return b"".join(
            _LEAF.pack(leaf, value.to_bytes(HASH_BYTES, "little"))
            for leaf, value in sorted(self._sparse.items())
        )

    def is_empty(self) -> bool:
        return not any(self._dense) if self._dense else not self._sparse

    def root(self) -> str:
        """32 hex digits; "" of an empty tree. Found anew only after a change."""
        if self._root is None:
            empty = self.is_empty()
            self._root = "" if empty else blake2b(self.leaves(), digest_size=HASH_BYTES).hexdigest()
        return self._root


class Trees:
    """All trees, by bucket number. Belongs to the event loop."""

    def __init__(self, trees: dict[int, Tree]) -> None:
        self._trees = trees
        self._changed: set[int] = set()

    def apply(self, deltas: Iterable[Delta]) -> None:
        """Take over what a commit changed."""
        for bucket, leaf, value in deltas:
            tree = self._trees.get(bucket)
            if tree is None:
                tree = self._trees[bucket] = Tree()
            tree.add(leaf, value)
            self._changed.add(bucket)

    def leaves(self, bucket: int) -> bytes:
        tree = self._trees.get(bucket)
        return tree.leaves() if tree else bytes(TREE_BYTES)

    def roots(self) -> dict[int, str]:
        """By bucket number; without empty ones."""
        return {number: root for number, tree in self._trees.items() if (root := tree.root())}

    def take_changed(self) -> list[tuple[int, bytes]]:
        """The trees that changed since this was last asked, to be stored."""
        changed, self._changed = self._changed, set()
        return [(number, self._trees[number].packed()) for number in sorted(changed)]

    def put_back(self, stored: Iterable[tuple[int, bytes]]) -> None:
        """They could not be stored."""
        self._changed.update(number for number, _ in stored)


def root_of(roots: Iterable[tuple[str, str]]) -> str:
    """The root of a DC, 32 hex digits: over (bucket id, root) of all trees that are not empty."""
    text = "".join(f"{name}:{root}\n" for name, root in sorted(roots))
    return blake2b(text.encode(), digest_size=HASH_BYTES).hexdigest()


# -- in the database ----------------------------------------------------------------------------


def log_deltas(db: sqlite3.Connection, deltas: Sequence[Delta]) -> None:
    """Note what the transaction changes."""
    packed = b"".join(
        _DELTA.pack(bucket, leaf, value.to_bytes(HASH_BYTES, "little"))
        for bucket, leaf, value in deltas
    )
    db.execute("INSERT INTO tree_log(deltas) VALUES(?)", (packed,))


def store(db: sqlite3.Connection, trees: Sequence[tuple[int, bytes]]) -> None:
    """Fold the log: the trees as they are now take its place."""
    db.executemany("INSERT OR REPLACE INTO trees VALUES(?, ?)", trees)
    db.execute("DELETE FROM tree_log")


def load(db: sqlite3.Connection) -> Trees:
    """The trees as of the last commit."""
    trees = Trees({number: Tree(data) for number, data in db.execute("SELECT * FROM trees")})
    for (packed,) in db.execute("SELECT deltas FROM tree_log"):
        trees.apply(
            Delta(bucket, leaf, int.from_bytes(value, "little"))
            for bucket, leaf, value in _DELTA.iter_unpack(packed)
        )
    return trees
